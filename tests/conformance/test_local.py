"""The kit for the local driver, on a directory."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

from backup_framework.drivers import local
from backup_framework.testing import conformance


class DirectoryKit(conformance.ChunkedDriverConformance):
    """For drivers whose containers are directories below `path`: writers are really killed."""

    fork_safe = True

    def raw_names(self, driver: Any, container: str) -> list[str]:
        top = os.path.join(driver.settings.path, container)
        return [os.path.relpath(os.path.join(directory, name), top)
                for directory, _, names in os.walk(top) for name in names]


    @contextlib.contextmanager
    def outage(self, driver: Any) -> Iterator[None]:
        """A file stands where the directory was. Calls of the system are not counted."""
        path = Path(driver.settings.path)
        aside = path.rename(path.with_name(path.name + '-aside'))
        path.touch()
        try:
            yield
        finally:
            path.unlink()
            aside.rename(path)


class TestLocal(DirectoryKit):

    @pytest.fixture(params=['object', 'backup'])
    def driver(self, tmp_path: Path, request: pytest.FixtureRequest) -> local.LocalBackupDriver:
        return local.LocalBackupDriver.make(
            path=str(tmp_path / 'store'), durability=request.param)
