"""The database under the catalog: opening, the schema's revision, transactions, errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import os
import random
import sqlite3
import time
from typing import Any, TypeVar
import weakref

import sqlalchemy as sa
from sqlalchemy import exc

from backup_framework import exceptions
from backup_framework.catalog import guests, schema, sqlite

Result = TypeVar('Result')

_QUEUE = sa.select(schema.alembic_version).with_for_update()
_ATTEMPTS = 20
_LONGEST_PAUSE = 0.5
_LOCK_SECONDS = 60
_ALONE = 0x62665f636174616c
"""The number of PostgreSQL's lock: any that nobody else has in this database."""
_MIGRATIONS = 'backup_framework.catalog:migrations'
# SQLSTATEs of PostgreSQL and error numbers of MySQL.
_COLLISIONS = {'40001', '40P01', 1205, 1213}
_NO_SPACE = {'53100', 1021, 1114}
_IDLENESS = {
    'psycopg2': "SET idle_in_transaction_session_timeout = '60s'",
    'psycopg': "SET idle_in_transaction_session_timeout = '60s'",
    'pymysql': 'SET SESSION wait_timeout = 60',
    'MySQLdb': 'SET SESSION wait_timeout = 60',
}
"""By the module of the connection."""
_READ_ONLY = {'25006', 1290, 1792, 1836}


class Database:
    """One connection string, opened at the first transaction.

    Everything below raises CatalogError and its kinds, or NoSpace; nothing of SQLAlchemy's.
    """

    def __init__(self, connection: str) -> None:
        self._url = _parse(connection)
        self.is_sqlite = self._url.get_backend_name() == 'sqlite'
        self.name = self._url.set(query={}).render_as_string(hide_password=True)
        if self.is_sqlite:
            self.name = os.path.abspath(self._url.database or '')
        self._engine: sa.Engine | None = None
        self._write_refused = False

    @property
    def writable(self) -> bool:
        """Whether writes are likely to succeed. A write may fail all the same."""
        if self.is_sqlite:
            self._open()
            return sqlite.writable(self.name)
        return not self._write_refused

    def check_writable(self, prevented: str) -> None:
        """:raises NoSpace, CatalogReadOnly: `writable` does not hold."""
        if self.writable:
            return
        if self.is_sqlite and sqlite.is_full(os.path.dirname(self.name)):
            raise exceptions.NoSpace(f'no space left on the disk of {self.name}, so {prevented}')
        raise exceptions.CatalogReadOnly(f'{self.name} cannot be written, so {prevented}')

    def read(self, work: Callable[[sa.Connection], Result]) -> Result:
        """What `work` returns, in one transaction that is not committed."""
        with self._our_errors(), self._open().connect() as connection:
            return work(connection)

    def write(self, work: Callable[[sa.Connection], Result]) -> Result:
        """What `work` returns, in one transaction that is alone with the records.

        SQLite lets one writer in at a time. On a server they queue for a row that every catalog
        has: where they ran side by side and the server refused those that would have done
        otherwise alone, half of the transactions of sixteen writers were refused.
        """
        return self._repeated(lambda: self._write_once(work))

    @contextlib.contextmanager
    def apart(self, connection: sa.Connection) -> Iterator[None]:
        """A step of a transaction that leaves nothing of itself where it fails."""
        with self._our_errors(), connection.begin_nested():
            yield

    def change(self, statement: sa.Update | sa.Delete) -> int:
        """Run one statement, which needs not be alone; how many rows it found."""
        def work(connection: sa.Connection) -> int:
            return connection.execute(statement).rowcount
        if self.is_sqlite:
            return self.write(work)
        return self._repeated(lambda: self._in_transaction(work))

    def _repeated(self, transaction: Callable[[], Result]) -> Result:
        """Run it again where it failed only because of another one at the same time."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._our_errors():
                    return transaction()
            except exceptions.BackupFrameworkError as error:
                if attempt == _ATTEMPTS or not _is_collision(error.__cause__):
                    raise
                # At random, or those that collided would do so again.
                time.sleep(random.uniform(0, min(_LONGEST_PAUSE, 0.02 * 2 ** attempt)))
        raise AssertionError('the last attempt returns or raises')

    def engine_for(self, describe: guests.Describe) -> sa.Engine:
        """An engine for a library that has tables of its own in this database; see `guests`."""
        engine = self._open()
        with self._our_errors():
            return guests.engine_of(
                sqlite.create_engine(self.name) if self.is_sqlite else engine, describe)

    def revisions(self) -> tuple[str | None, str]:
        """Of the schema as it is stored, which stays so, and as this release knows it.

        The first is None where there is none.
        """
        if self.is_sqlite and not os.path.exists(self.name):
            return None, schema.REVISION
        engine = self._make_engine()
        try:
            with self._our_errors(), engine.connect() as connection:
                return _revision(connection), schema.REVISION
        finally:
            engine.dispose()

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
        self._engine = None

    def _write_once(self, work: Callable[[sa.Connection], Result]) -> Result:
        def alone(connection: sa.Connection) -> Result:
            if not self.is_sqlite:
                connection.execute(_QUEUE)
            return work(connection)
        return self._in_transaction(alone)

    def _in_transaction(self, work: Callable[[sa.Connection], Result]) -> Result:
        with self._for_writing(self._open()).begin() as connection:
            return work(connection)

    def _for_writing(self, engine: sa.Engine) -> sa.Engine:
        if self.is_sqlite:
            return engine.execution_options(bf_writes=True)
        return engine

    def _open(self) -> sa.Engine:
        if self._engine is None:
            engine = self._make_engine()
            with self._our_errors():
                self._bring_up_to_date(engine)
            self._engine = engine
        return self._engine

    def _make_engine(self) -> sa.Engine:
        if self.is_sqlite:
            sqlite.prepare(self.name)
            return sqlite.create_engine(self.name)
        try:
            # Each statement sees what was committed before its writer's turn in the queue.
            engine = sa.create_engine(self._url, pool_pre_ping=True,
                                      isolation_level='READ COMMITTED')
        except (exc.ArgumentError, ImportError) as error:
            raise exceptions.ConfigurationError(
                f'the catalog {self.name} cannot be used: {error}') from error
        sa.event.listen(engine, 'connect', _limit_idleness)
        _pools.add(engine)
        return engine

    def _bring_up_to_date(self, engine: sa.Engine) -> None:
        with engine.connect() as connection:
            if _revision(connection) == schema.REVISION:
                return
        try:
            with (self._for_writing(engine).begin() as connection,
                  _alone(connection, engine.url.database)):
                self._migrate(connection)
        except exc.DBAPIError:
            # Another process may just have done the same.
            with engine.connect() as connection:
                if _revision(connection) != schema.REVISION:
                    raise

    def _migrate(self, connection: sa.Connection) -> None:
        revision = _revision(connection)
        if revision == schema.REVISION:
            return
        if revision is None:
            self._refuse_foreign(connection)
            schema.create(connection)
        else:
            _upgrade(connection, revision, self.name)

    def _refuse_foreign(self, connection: sa.Connection) -> None:
        """A server's database may be shared with others, a file may not."""
        tables = set(sa.inspect(connection).get_table_names())
        taken = tables if self.is_sqlite else tables & set(schema.metadata.tables)
        if taken:
            raise exceptions.CatalogError(
                f'{self.name} is not a catalog of backup_framework: it holds the tables '
                f'{", ".join(sorted(taken)[:5])} and no revision')

    @contextlib.contextmanager
    def _our_errors(self) -> Iterator[None]:
        try:
            yield
        except exc.SQLAlchemyError as error:
            ours = self._our_error(error)
            self._write_refused |= isinstance(ours, exceptions.CatalogReadOnly)
            raise ours from error

    def _our_error(self, error: exc.SQLAlchemyError) -> exceptions.BackupFrameworkError:
        cause = getattr(error, 'orig', None) or error
        if isinstance(cause, sqlite3.Error):
            return sqlite.our_error(cause, self.name)
        text = ' '.join(str(cause).split())
        if isinstance(error, exc.DataError):
            return exceptions.InvalidInput(f'the catalog {self.name} cannot hold this: {text}')
        code = _code(cause)
        if code in _NO_SPACE:
            return exceptions.NoSpace(f'the catalog {self.name} has no space left: {text}')
        if code in _READ_ONLY:
            return exceptions.CatalogReadOnly(
                f'the catalog {self.name} can only be read: {text}')
        return exceptions.CatalogError(f'the catalog {self.name} cannot be used: {text}')


def _limit_idleness(connection: Any, record: object) -> None:
    """A process that is frozen within a transaction must not hold up all others for ever."""
    with contextlib.closing(connection.cursor()) as cursor:
        statement = _IDLENESS.get(type(connection).__module__.partition('.')[0])
        if statement is not None:
            cursor.execute(statement)
    connection.commit()


def _parse(connection: str) -> sa.URL:
    """Raises ConfigurationError for what is no connection string, or a catalog in memory."""
    try:
        url = sa.make_url(connection)
        backend = url.get_backend_name()
    except exc.ArgumentError as error:
        # Not shown: it may hold a password.
        raise exceptions.ConfigurationError(
            'the connection of the catalog is not like sqlite:////path/to/file or '
            'postgresql+psycopg2://user:password@host/name') from error
    if backend == 'sqlite' and url.database in (None, '', ':memory:'):
        raise exceptions.ConfigurationError('the catalog must be a file, not in memory')
    return url


@contextlib.contextmanager
def _alone(connection: sa.Connection, database: str | None) -> Iterator[None]:
    """Keep others from changing the tables meanwhile; ends with its link, or its transaction.

    SQLite has one writer anyway.
    """
    if connection.dialect.name not in ('mysql', 'mariadb'):
        if connection.dialect.name == 'postgresql':
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ALONE)))
        yield
        return
    name = f'backup_framework {database}'[:64]
    connection.scalar(sa.select(sa.func.get_lock(name, _LOCK_SECONDS)))
    try:
        yield
    finally:
        connection.scalar(sa.select(sa.func.release_lock(name)))


def _revision(connection: sa.Connection) -> str | None:
    """The stored revision, '' before the first migration, None where there is no catalog."""
    if not sa.inspect(connection).has_table(schema.alembic_version.name):
        return None
    return connection.scalar(sa.select(schema.alembic_version.c.version_num)) or ''


def _upgrade(connection: sa.Connection, revision: str, name: str) -> None:
    from alembic import command, config, script, util

    settings = config.Config()
    settings.set_main_option('script_location', _MIGRATIONS)
    settings.attributes['connection'] = connection
    try:
        script.ScriptDirectory.from_config(settings).get_revision(revision or 'base')
    except util.CommandError as error:
        raise exceptions.CatalogError(
            f'the catalog {name} was written by a newer release (revision {revision}, this one '
            f'knows {schema.REVISION}): use that release') from error
    command.upgrade(settings, 'head')


def _code(error: Any) -> str | int | None:
    """The SQLSTATE of PostgreSQL's clients, the number of MySQL's."""
    code = getattr(error, 'pgcode', None) or getattr(error, 'sqlstate', None)
    first = next(iter(getattr(error, 'args', ())), None)
    return first if code is None and isinstance(first, int) else code


def _is_collision(error: BaseException | None) -> bool:
    """Whether a transaction failed only because of another one at the same time.

    A broken unique constraint is one too: `work` looks before it inserts, so the second time
    it sees what was in the way and says so.
    """
    cause = getattr(error, 'orig', None)
    if isinstance(cause, sqlite3.Error):
        return False
    return isinstance(error, exc.IntegrityError) or _code(cause) in _COLLISIONS


_pools: weakref.WeakSet[sa.Engine] = weakref.WeakSet()


def _forget_pools() -> None:
    """A child must not speak on its parent's connections to a server."""
    for engine in list(_pools):
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_forget_pools)
