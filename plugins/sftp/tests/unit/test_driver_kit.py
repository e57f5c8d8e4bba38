"""The conformance kit on OpenSSH's SFTP server without its extensions, reached without SSH."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
from typing import Any

import pytest

from backup_framework.testing import conformance
from plugins.sftp.tests.unit import sftp_server


@pytest.fixture(scope='module', autouse=True)
def server(require_part: Any) -> None:
    if not os.path.exists(sftp_server.PROGRAM):
        require_part('sshd', f'no {sftp_server.PROGRAM}')


class TestDriver(conformance.ChunkedDriverConformance):

    fork_safe = True

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[sftp_server.DirectDriver]:
        driver = sftp_server.make_driver(
            tmp_path / 'store', '-P', 'posix-rename,fsync,statvfs,limits')
        yield driver
        driver.close()

    def raw_names(self, driver: Any, container: str) -> list[str]:
        top = os.path.join(driver.settings.path, container)
        return [os.path.relpath(os.path.join(directory, name), top)
                for directory, _, names in os.walk(top) for name in names]
