"""The kit for the sftp driver: on OpenSSH's server, and on one that lacks what others may lack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import os
from pathlib import Path
from typing import Any
import uuid

from backup_framework_sftp.driver import SFTPBackupDriver
import pytest

from backup_framework.testing import conformance
from plugins.sftp.tests import lying_server
from plugins.sftp.tests.conftest import TRANSPORTS, MakeDriver
from plugins.sftp.tests.lying_server import LyingServer
from tools.servers import proxy, sshd


class SFTPKit(conformance.ChunkedDriverConformance):

    listing_size = 2500

    def files_below(self, driver: Any) -> Path:
        """The store's directory as this host sees it."""
        raise NotImplementedError

    def raw_names(self, driver: Any, container: str) -> list[str]:
        top = self.files_below(driver) / container
        return [os.path.relpath(os.path.join(directory, name), top)
                for directory, _, names in os.walk(top) for name in names]


class TestOpenSSHServer(SFTPKit):

    fork_safe = True
    server: sshd.Server

    @pytest.fixture(params=TRANSPORTS)
    def driver(self, server: sshd.Server, request: pytest.FixtureRequest
               ) -> Iterator[SFTPBackupDriver]:
        self.server = server
        driver = SFTPBackupDriver.make(**server.options(
            path=f'{server.path}/{uuid.uuid4().hex}', use_agent=False, timeout=20.0,
            transport=request.param))
        yield driver
        driver.close()

    def files_below(self, driver: Any) -> Path:
        return Path(driver.settings.path)

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


class TestServerOfOurOwn(SFTPKit):
    """Without SSH, so that a body can be cut short."""

    liar: LyingServer

    @pytest.fixture
    def driver(self, liar: LyingServer, lied_to: MakeDriver) -> SFTPBackupDriver:
        self.liar = liar
        return lied_to()

    def files_below(self, driver: Any) -> Path:
        return self.liar.root / driver.settings.path.strip('/')

    def shorten(self, driver: Any, container: str, name: str) -> bool:
        self.liar.lie('read', lying_server.gives(lambda data: data[:-1]), number=1)
        self.liar.lie('read', lying_server.fails(lying_server.Code.EOF))
        return True


class TestServerWithoutExtensions(TestServerOfOurOwn):

    @pytest.fixture
    def driver(self, liar: LyingServer, lied_to: MakeDriver) -> SFTPBackupDriver:
        self.liar = liar
        liar.extensions.clear()
        return lied_to()
