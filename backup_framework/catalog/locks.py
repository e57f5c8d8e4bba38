"""The files of an installation besides the catalog: its id, and a lock an operation.

A lock tells the living from the dead: the kernel drops it with the last process that holds it,
whatever ended that process, and a reboot drops all.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import uuid

from backup_framework import exceptions
from backup_framework.catalog import sqlite
from backup_framework.engine import directories


class Lock:
    """A locked file. Not inherited: neither by a program that is started nor by a fork."""

    def __init__(self, directory: str, name: str) -> None:
        """Raises CatalogReadOnly, NoSpace or CatalogError when the file cannot be made."""
        self.path = os.path.join(directory, name)
        try:
            directories.make_private(directory)
            self._descriptor = _acquire(self.path)
        except OSError as error:
            raise sqlite.file_error(error, f'cannot make the lock {self.path}') from error
        _held.add(self._descriptor)

    def release(self) -> None:
        """Remove the file, then let go of it."""
        if self._descriptor not in _held:
            return
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        _held.discard(self._descriptor)
        # The kernel lets go of the lock also where it answers with an error.
        with contextlib.suppress(OSError):
            os.close(self._descriptor)


def _acquire(path: str) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # `sweep` may have had the file between its making and its locking.
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def is_free(path: str) -> bool:
    """Whether no living process holds this lock. Raises CatalogError if that cannot be told."""
    try:
        # For writing, because NFS gives an exclusive lock to nobody else.
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError as error:
        raise exceptions.CatalogError(
            f'cannot look at the lock {path}: {error.strerror}') from error
    try:
        return _is_lockable(descriptor)
    finally:
        os.close(descriptor)


def _is_lockable(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def sweep(directory: str, keep: set[str]) -> None:
    """Remove the free locks that no operation of `keep` uses: what a kill left behind."""
    with contextlib.suppress(OSError):
        for name in set(os.listdir(directory)) - keep:
            _remove_free(os.path.join(directory, name))


def _remove_free(path: str) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _is_lockable(descriptor):
                os.unlink(path)
        finally:
            os.close(descriptor)


def installation_id(state_path: str) -> str:
    """The random id of this installation, made at the first call.

    :raises CatalogReadOnly, NoSpace: there is none yet and it cannot be kept.
    :raises CatalogError: it cannot be read, or belongs to another user.
    """
    path = os.path.join(state_path, 'installation')
    try:
        if not os.path.exists(path):
            directories.make_private(state_path)
            _write_once(path, f'{uuid.uuid4()}\n')
        sqlite.check_owner(path)
        with open(path, encoding='ascii') as file:
            return str(uuid.UUID(file.read(100).strip()))
    except OSError as error:
        raise sqlite.file_error(error, f'cannot keep the installation id in {path}') from error
    except ValueError as error:
        raise exceptions.CatalogError(
            f'{path} does not hold the id of an installation: remove it, and a new one is '
            'made (operations that are running will then be taken for dead)') from error


def _write_once(path: str, text: str) -> None:
    """Make the file with this text, whole or not at all; leave another process's alone."""
    temporary = f'{path}.{uuid.uuid4().hex}'
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, 'w', encoding='ascii') as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)


_held: set[int] = set()


def _drop_inherited() -> None:
    """In the child of a fork: close, which leaves the lock with the parent."""
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_drop_inherited)
