"""What is peculiar to SQLite: a file with an owner, locks that are taken late, its error codes."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import sqlite3
import stat
import urllib.parse

import sqlalchemy as sa

from backup_framework import exceptions
from backup_framework.engine import directories

BUSY_SECONDS = 30.0


def prepare(path: str) -> None:
    """Make the file if there is none, 0600 in a directory 0700.

    :raises CatalogError: it cannot be made, is no plain file, or belongs to another user.
    :raises CatalogReadOnly: the file system is read-only.
    :raises NoSpace: the file system is full.
    """
    try:
        directories.make_private(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            # Never opened when it exists: closing it would drop the locks that SQLite
            # has on it elsewhere in this process.
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            os.close(os.open(path, flags, 0o600))
        check_owner(path)
    except OSError as error:
        raise file_error(error, f'cannot make the catalog {path}') from error


def check_owner(path: str) -> None:
    """Raise CatalogError if this is no plain file, or one of another user."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise exceptions.CatalogError(f'the catalog {path} is not a plain file')
    if found.st_uid != os.geteuid():
        raise exceptions.CatalogError(
            f'{path} belongs to {_user(found.st_uid)}, and this is {_user(os.geteuid())}: '
            f'run the command as {_user(found.st_uid)}, or choose another state_path')


def _user(uid: int) -> str:
    try:
        return f'user {pwd.getpwuid(uid).pw_name}'
    except KeyError:
        return f'user {uid}'


def file_error(error: OSError, doing: str) -> exceptions.BackupFrameworkError:
    """Our error for one of the operating system."""
    sentence = f'{doing}: {error.strerror or error}'
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return exceptions.NoSpace(sentence)
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return exceptions.CatalogReadOnly(sentence)
    return exceptions.CatalogError(sentence)


def create_engine(path: str) -> sa.Engine:
    """An engine whose transactions take the write lock at their beginning if they mean to write.

    Two transactions that both read before they write would otherwise deadlock. There is no pool:
    connections are cheap, and none may pass a fork.
    """
    address = f'file:{urllib.parse.quote(path)}?mode=rw'

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS,
                                     isolation_level=None, check_same_thread=False)
        # One step more than FULL: the directory is synced too, without which the newest
        # commit may be undone by a power cut.
        connection.execute('PRAGMA synchronous=EXTRA')
        return connection

    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get('bf_writes')
        connection.exec_driver_sql('BEGIN IMMEDIATE' if writes else 'BEGIN')

    engine = sa.create_engine('sqlite://', creator=connect, poolclass=sa.pool.NullPool)
    sa.event.listen(engine, 'begin', begin)
    return engine


def writable(path: str) -> bool:
    """Whether a write is likely to succeed: permission, a writable file system, some room."""
    directory = os.path.dirname(path)
    if not all(os.access(each, os.W_OK, effective_ids=True) for each in (path, directory)):
        return False
    return not is_full(directory)


def is_full(directory: str) -> bool:
    """Whether its file system has no bytes or no inodes left."""
    found = os.statvfs(directory)
    free = found.f_bfree if os.geteuid() == 0 else found.f_bavail
    return free == 0 or (found.f_files > 0 and found.f_ffree == 0)


def integrity(connection: sa.Connection) -> list[str]:
    """What SQLite finds damaged in its file."""
    found = connection.exec_driver_sql('PRAGMA quick_check').scalars()
    return [f'the file of the catalog is damaged: {text}' for text in found if text != 'ok']


def our_error(error: sqlite3.Error, path: str) -> exceptions.BackupFrameworkError:
    """The error to raise for one of SQLite's."""
    code = getattr(error, 'sqlite_errorcode', 0)
    primary = code & 0xff
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return exceptions.CatalogCorrupt(
            f'the catalog {path} is damaged or is not a catalog ({error}): move it away, for '
            f'example to {path}.damaged, and make it anew from each backend with '
            '"backup-framework catalog rebuild BACKEND"')
    if primary == sqlite3.SQLITE_FULL:
        return exceptions.NoSpace(f'cannot write to the catalog {path}: no space left')
    if primary == sqlite3.SQLITE_READONLY:
        return exceptions.CatalogReadOnly(f'the catalog {path} can only be read: {error}')
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return exceptions.CatalogError(
            f'the catalog {path} is held by another process; try again when that has ended')
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM):
        return _open_error(error, path)
    return exceptions.CatalogError(f'the catalog {path} cannot be used: {error}')


def _open_error(error: sqlite3.Error, path: str) -> exceptions.BackupFrameworkError:
    """SQLite does not say why it could not open a file or its journal: look."""
    directory = os.path.dirname(path)
    try:
        if not os.access(path, os.R_OK, effective_ids=True):
            return exceptions.CatalogError(f'the catalog {path} may not be read')
        if not os.access(directory, os.W_OK, effective_ids=True):
            return exceptions.CatalogReadOnly(
                f'the catalog {path} can only be read: its directory may not be written')
        if is_full(directory):
            return exceptions.NoSpace(f'cannot write to the catalog {path}: no space left')
    except OSError:
        pass
    return exceptions.CatalogError(f'the catalog {path} cannot be used: {error}')
