"""The kit for the local driver, on a directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_framework.drivers import local
from tests.conformance import directory_kit


class TestLocal(directory_kit.DirectoryKit):

    @pytest.fixture(params=['object', 'backup'])
    def driver(self, tmp_path: Path, request: pytest.FixtureRequest) -> local.LocalBackupDriver:
        return local.LocalBackupDriver.make(
            path=str(tmp_path / 'store'), durability=request.param)
