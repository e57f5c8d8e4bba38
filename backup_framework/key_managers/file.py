"""A key in a file of this host."""

from __future__ import annotations

from collections.abc import Mapping
import errno
import functools
import os
import re
import stat
from typing import Any

from backup_framework import exceptions
from backup_framework.interface.key_manager import KeyManager
from backup_framework.key_managers import wrapping
from backup_framework.model import Option, OptionType, Settings

_SAMPLE = '/etc/backup_framework/main.key'
_TEXT = re.compile(rb'[0-9A-Fa-f]{64}\n?')
_LONGEST = 66
"""One byte more than fits, so that a longer file is seen."""


class KeyFile(KeyManager):
    """The key is 64 hexadecimal digits in a file that only its owner can read."""

    OPTIONS = (
        Option('path', OptionType.PATH, required=True, sample=_SAMPLE, help=(
            'The file that holds the key: 64 hexadecimal digits and a line feed. It must belong to '
            'the user of this program or to root, and nobody else may read it. "backup-framework '
            'key generate" makes one. Keep a copy elsewhere: without it nothing that is sealed '
            'can be read.')),
    )

    def __init__(self, settings: Settings) -> None:
        self._path: str = settings.path

    def wrap(self, key: bytes, context: bytes) -> dict[str, Any]:
        return wrapping.wrap(self._key, key, context)

    def unwrap(self, wrapped: Mapping[str, Any], context: bytes) -> bytes:
        return wrapping.unwrap(self._key, wrapped, context)

    @functools.cached_property
    def _key(self) -> bytes:
        return read(self._path)


def read(path: str) -> bytes:
    """The key in a file.

    :raises KeyUnavailable: it cannot be read.
    :raises ConfigurationError: others may read or replace it, or it holds no key.
    """
    try:
        # Not blocking, because opening a FIFO would wait. What was opened is what is judged.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _check(path, os.fstat(descriptor))
            text = os.read(descriptor, _LONGEST)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise exceptions.KeyUnavailable(
            f'the key file {path} cannot be read: {error.strerror}') from None
    if not _TEXT.fullmatch(text):
        raise exceptions.ConfigurationError(
            f'the key file {path} holds no key: it must be 64 hexadecimal digits and a line feed, '
            f'and nothing else')
    return bytes.fromhex(text.decode())


def _check(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise exceptions.ConfigurationError(f'the key file {path} is not a regular file')
    if status.st_uid not in (0, os.geteuid()):
        raise exceptions.ConfigurationError(
            f'the key file {path} belongs to user {status.st_uid}, who knows the key or can '
            f'replace it: chown it to the user of this program, or to root')
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise exceptions.ConfigurationError(
            f'the key file {path} has mode {mode:04o}, so others may use it: chmod '
            f'{mode & 0o700:o} {path}')


def generate(path: str) -> None:
    """Make a file with a new key; it is durable when this returns.

    :raises Refused: there is something of this name.
    :raises ConfigurationError: it cannot be written; then there is no file.
    :raises NoSpace: likewise.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise exceptions.Refused(
            f'{path} is there already, and a key is never overwritten: what it sealed could not '
            f'be read any more') from None
    except OSError as error:
        raise _cannot_write(path, error) from None
    try:
        try:
            _write(descriptor, f'{os.urandom(wrapping.KEY_SIZE).hex()}\n'.encode())
        finally:
            os.close(descriptor)
        _sync_directory(os.path.dirname(path) or '.')
    except BaseException as error:
        os.unlink(path)
        raise (_cannot_write(path, error) if isinstance(error, OSError) else error) from None


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data):]
    os.fsync(descriptor)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(path: str, error: OSError) -> exceptions.BackupFrameworkError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    kind = exceptions.NoSpace if full else exceptions.ConfigurationError
    return kind(f'the key file {path} cannot be written: {error.strerror}')
