"""Catalogs on each database, and children to race, to kill and to drop root in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import multiprocessing
import multiprocessing.connection
import os
from pathlib import Path
import shutil
import tempfile
from typing import Any

import pytest

from backup_framework.catalog import Catalog
from backup_framework.model import Backup, Status, utcnow
from tools.servers.parts import PostgreSQL

FORK = multiprocessing.get_context('fork')
NOBODY = 65534


@pytest.fixture(scope='session')
def postgresql(postgresql: PostgreSQL) -> str:
    """The connection of a database for this session's catalogs only."""
    return postgresql.database()


@pytest.fixture
def state_path(tmp_path: Path) -> str:
    return str(tmp_path / 'state')


@pytest.fixture
def sqlite_connection(state_path: str) -> str:
    return f'sqlite:///{state_path}/catalog.sqlite'


@pytest.fixture(params=['sqlite', 'postgresql', pytest.param('mariadb', marks=pytest.mark.long)])
def connection(request: pytest.FixtureRequest) -> str:
    """The connection string of an empty database."""
    if request.param == 'sqlite':
        return request.getfixturevalue('sqlite_connection')
    if request.param == 'mariadb':
        return request.getfixturevalue('mariadb').database()
    import sqlalchemy as sa
    url = request.getfixturevalue('postgresql')
    engine = sa.create_engine(url)
    with engine.begin() as link:
        link.exec_driver_sql('DROP SCHEMA public CASCADE')
        link.exec_driver_sql('CREATE SCHEMA public')
    engine.dispose()
    return url


@pytest.fixture
def open_catalog(connection: str, state_path: str) -> Iterator[Callable[..., Catalog]]:
    """Opens the same catalog again, as another installation where a state path is given."""
    opened = []

    def opens(state: str = state_path) -> Catalog:
        opened.append(Catalog(connection, state))
        return opened[-1]
    yield opens
    for each in opened:
        each.close()


@pytest.fixture
def catalog(open_catalog: Callable[..., Catalog]) -> Catalog:
    return open_catalog()


@pytest.fixture
def add(catalog: Catalog) -> Callable[..., Backup]:
    """Adds a backup that is available and newer than those before."""
    def adds(**fields: Any) -> Backup:
        values = {'volume_id': 'v1', 'status': Status.AVAILABLE, 'data_timestamp': utcnow(),
                  **fields}
        return catalog.add_backup(Backup(**values))
    return adds


class Children:
    """Forked children that run a function of this process; each is killed at the end.

    Each has a pipe of its own: a child that is killed must not hold what the others need.
    """

    def __init__(self) -> None:
        self.running: list[Any] = []
        self.pipes: list[Any] = []
        self.tell: Callable[[Any], None]

    def start(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """A child that answers what the function returns, after what it tells before that."""
        mine, childs = FORK.Pipe(duplex=False)
        child = FORK.Process(target=self._run, args=(childs, function, arguments), daemon=True)
        child.start()
        childs.close()
        self.running.append(child)
        self.pipes.append(mine)
        return child

    def _run(self, pipe: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.tell = pipe.send
        try:
            pipe.send(function(*arguments))
        except BaseException as error:
            pipe.send(error)

    def answer(self) -> Any:
        """The next answer of any child."""
        while self.pipes:
            ready = multiprocessing.connection.wait(self.pipes, timeout=60)
            assert ready, 'no answer'
            try:
                return ready[0].recv()
            except EOFError:
                self.pipes.remove(ready[0])
        raise AssertionError('all children have ended')

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What it returns in a child; what it raises there is raised here."""
        self.start(function, *arguments)
        answer = self.answer()
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture
def children() -> Iterator[Children]:
    found = Children()
    yield found
    for child in found.running:
        child.kill()
        child.join()


@pytest.fixture
def unprivileged(children: Children, tmp_path: Path
                 ) -> Iterator[tuple[Path, Callable[..., Any]]]:
    """A directory of an unprivileged user, and a way to call functions as that user."""
    # What is imported late has to be imported now: that user may not reach the interpreter.
    with Catalog(f'sqlite:///{tmp_path}/warm/c', f'{tmp_path}/warm').operation('verify'):
        pass
    directory = Path(tempfile.mkdtemp(prefix='bf-catalog-', dir='/tmp'))

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        def dropped() -> Any:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            return function(*arguments)
        return children.call(dropped)
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
    yield directory, call
    with contextlib.suppress(OSError):
        for each in directory.rglob('*'):
            each.chmod(0o700)
    shutil.rmtree(directory, ignore_errors=True)
