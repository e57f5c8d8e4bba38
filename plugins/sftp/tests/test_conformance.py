"""The kit for the sftp driver, on OpenSSH's server with both transports, and on one of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import os
from pathlib import Path
import shutil
from typing import Any
import uuid

from backup_framework_sftp.driver import SFTPBackupDriver
from backup_framework_sftp.packets import Code
import pytest

from backup_framework.testing import conformance
from plugins.sftp.tests import lies, servers
from plugins.sftp.tests.conftest import TRANSPORTS, MakeDriver
from plugins.sftp.tests.lying_server import LyingServer
from tools.servers import proxy, sshd

Hook = contextlib.AbstractContextManager[object] | None


class SFTPKit(conformance.ChunkedDriverConformance):

    def files_below(self, driver: Any) -> Path:
        """The store's directory as this host sees it."""
        raise NotImplementedError

    def raw_names(self, driver: Any, container: str) -> list[str]:
        top = self.files_below(driver) / container
        return [os.path.relpath(os.path.join(directory, name), top)
                for directory, _, names in os.walk(top) for name in names]


class TestOpenSSHServer(SFTPKit):

    listing_size = 2500
    fork_safe = True
    server: sshd.Server

    @pytest.fixture(params=TRANSPORTS)
    def driver(self, roomy_server: sshd.Server, request: pytest.FixtureRequest
               ) -> Iterator[SFTPBackupDriver]:
        self.server = roomy_server
        driver = SFTPBackupDriver.make(**self.server.options(
            path=f'{self.server.path}/{uuid.uuid4().hex}', use_agent=False, timeout=20.0,
            transport=request.param))
        yield driver
        driver.close()
        shutil.rmtree(self.files_below(driver), ignore_errors=True)

    def files_below(self, driver: Any) -> Path:
        return self.server.root / Path(driver.settings.path).relative_to(self.server.path)

    @contextlib.contextmanager
    def outage(self, driver: Any) -> Iterator[Callable[[], int]]:
        """Connections are lost; new ones are accepted and end at once, and are counted."""
        original = driver.settings
        values = {name: getattr(original, name) for name in original}
        with proxy.before(self.server.host, self.server.port) as between:
            between.cut(times=None)
            self.server.drop()
            driver.settings = driver.make_settings(**values | {'port': between.port})
            try:
                yield lambda: between.connections
            finally:
                driver.settings = original


    def forbid(self, driver: Any, container: str) -> Hook:
        directory = self.files_below(driver) / container
        return servers.owned_by_root(directory, 0o700) if self.server.jailed else None

    def protect(self, driver: Any, container: str, name: str) -> Hook:
        """In a directory that all may write, a file can only be deleted by its owner."""
        directory = self.files_below(driver) / container
        return servers.owned_by_root(directory, 0o1777, name) if self.server.jailed else None

    def fill(self, driver: Any, container: str) -> Hook:
        return servers.filled(self.server.root) if self.server.jailed else None


class TestLyingServer(SFTPKit):
    """As long as it is honest it passes for a server. Here a body can be cut short."""

    listing_size = 250
    liar: LyingServer

    @pytest.fixture
    def driver(self, liar: LyingServer, lied_to: MakeDriver) -> SFTPBackupDriver:
        self.liar = liar
        return lied_to()

    def files_below(self, driver: Any) -> Path:
        return self.liar.root / driver.settings.path.strip('/')

    def shorten(self, driver: Any, container: str, name: str) -> bool:
        self.liar.lie('read', lies.gives(lambda data: data[:-1]), number=1)
        self.liar.lie('read', lies.fails(Code.EOF))
        return True
