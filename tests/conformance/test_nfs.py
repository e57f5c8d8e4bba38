"""The kit for the nfs driver, on a directory that plays the mounted share."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_framework.drivers import nfs
from backup_framework.engine import mounts
from tests.conformance import directory_kit


class TestNFS(directory_kit.DirectoryKit):

    @pytest.fixture
    def driver(self, tmp_path: Path) -> nfs.NFSBackupDriver:
        mount = mounts.mount_of(str(tmp_path))
        assert mount is not None, f'the mount table has nothing above {tmp_path}'
        (tmp_path / 'share').mkdir()
        return nfs.NFSBackupDriver.make(
            path=str(tmp_path / 'share'), accepted_types=[mount.fs_type])
