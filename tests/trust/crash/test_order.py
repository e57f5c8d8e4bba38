"""The order of durability steps, as the kernel and an SFTP server see it.

`strace` shows the system calls of the real command on directories and on a share; the test server
of the sftp plugin notes the requests of a backup there. Every object of each run is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from pathlib import Path
from typing import Any

from backup_framework_sftp.driver import SFTPBackupDriver
from backup_framework_sftp.packets import Fields
import pytest
import sqlalchemy.engine.default

from plugins.sftp.tests.lies import Honest, Request
from plugins.sftp.tests.lying_server import ANY, LyingServer
from tests.trust.crash import oracle, world
from tests.trust.crash.order import Event, Order
from tests.trust.crash.tracing import Traced
from tests.trust.crash.world import CINDERS, OURS, SECOND, World


def check(traced: Traced) -> int:
    """Two backups, a restore, two deletes: how many objects were looked at."""
    made = traced.world
    count = traced.good('backup', 'create', made.disk, '--name', 'first').check_backup()
    made.set_disk(SECOND)
    count += traced.good('backup', 'create', made.disk, '--incremental', '--name', 'second'
                         ).check_backup()
    restored = traced.good('backup', 'restore', 'second', made.target)
    assert restored.check_restore(str(made.target)) >= 3
    assert made.target.read_bytes() == SECOND
    count += traced.good('backup', 'delete', 'second').check_delete()
    return count + traced.good('backup', 'delete', 'first').check_delete()


def test_a_directory(traced: Callable[..., Traced]) -> None:
    assert check(traced('local', OURS)) >= 8


@pytest.mark.long
@pytest.mark.parametrize('driver', ['local', 'nfs'])
@pytest.mark.parametrize('version', [OURS, CINDERS])
def test_directories_and_shares(traced: Callable[..., Traced], driver: str, version: str) -> None:
    assert check(traced(driver, version)) >= (8 if version == OURS else 20)


class Noting:
    """Notes what an SFTP server is asked to do, and the commits of the catalog between that."""

    def __init__(self, server: LyingServer) -> None:
        self.events: list[Event] = []
        self._server = server
        server.lie(ANY, self._note)

    def _note(self, request: Request, honest: Honest) -> bytes:
        """Noted when it is done: until then nothing may be built on it."""
        event = self._event(request)
        answer = honest()
        self.events += event
        return answer

    def _event(self, request: Request) -> list[Event]:
        fields = Fields(request.body)
        if request.name in ('posix-rename', 'fsync'):
            fields.string()
        if request.name in ('write', 'fsync'):
            handle = self._server._handles[fields.string()]
            kind = 'sync' if request.name == 'fsync' else 'write'
            return [Event(kind, os.readlink(f'/proc/self/fd/{handle.fd}'))]
        if request.name in ('rename', 'posix-rename'):
            source, path = self._path(fields), self._path(fields)
            return [Event('publish', path, source)]
        kinds = {'remove': 'unlink', 'mkdir': 'mkdir'}
        return [Event(kinds[request.name], self._path(fields))] if request.name in kinds else []

    def _path(self, fields: Fields) -> str:
        return str(self._server.root / os.fsdecode(fields.string()).strip('/'))

    def commit(self, *args: Any) -> None:
        self.events.append(Event('commit', ''))


@pytest.fixture
def noting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Noting]:
    root = tmp_path / 'server'
    root.mkdir()
    server = LyingServer(root)
    monkeypatch.setattr(SFTPBackupDriver, 'connect', lambda driver: server.connect(20.0))
    made = Noting(server)
    dialect = sqlalchemy.engine.default.DefaultDialect
    plain = dialect.do_commit

    def commit(self: Any, connection: Any) -> None:
        plain(self, connection)
        made.commit()

    monkeypatch.setattr(dialect, 'do_commit', commit)
    yield made
    server.stop()


@pytest.mark.parametrize('version', [OURS, CINDERS])
def test_an_sftp_server(tmp_path: Path, noting: Noting, version: str) -> None:
    made = World(tmp_path / 'world', version, 'sftp', (
        ('path', '/NAME'), ('host', 'somewhere'), ('use_agent', False)))
    made.write_configuration()
    store, count = str(tmp_path / 'server' / 'main'), 0
    with made.manager() as manager:
        for name in ('first', 'second'):
            made.set_disk(world.STATES[name])
            noting.events.clear()
            made.create(manager, name, incremental=name == 'second')
            count += Order(noting.events, store).check_backup(catalog=False)
        for name in ('second', 'first'):
            noting.events.clear()
            oracle.OPERATIONS['delete' if name == 'second' else 'delete of a parent'].run(
                made, manager)
            count += Order(noting.events, store).check_delete()
    assert count >= (8 if version == OURS else 20)
