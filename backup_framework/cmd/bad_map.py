"""The file in which a partial restore says which bytes it left alone."""

from __future__ import annotations

from collections.abc import Iterable
import contextlib
import errno
import io
import json
import os
import stat
import tempfile
from typing import Any, Self

from backup_framework import exceptions
from backup_framework.engine import directories

_LONGEST = 16 << 20
_TYPES = {'offset': int, 'length': int, 'reason': str}


class BadMap:
    """A file for a map, opened before there is anything to lose.

    The map takes the place of an earlier one once all of it is on the disk; into a pipe or a
    character device it is written as it is.

    :raises InvalidInput: it cannot be written, or is the target.
    :raises Refused: something else is there, which would be lost.
    """

    def __init__(self, path: str, target: str) -> None:
        self._path = path
        # A link stays one.
        self._place = os.path.realpath(path)
        self._temporary: str | None = None
        if not path:
            raise exceptions.InvalidInput('--bad-map names no file')
        if self._place == os.path.realpath(target):
            raise exceptions.InvalidInput('TARGET and the file of --bad-map are the same')
        try:
            self._file = self._open()
        except OSError as error:
            raise exceptions.InvalidInput(f'cannot write {path}: {error.strerror}') from error

    def _open(self) -> io.FileIO:
        try:
            mode = os.stat(self._path).st_mode
        except FileNotFoundError:
            mode = None
        if mode is not None and (stat.S_ISBLK(mode)
                                 or stat.S_ISREG(mode) and not _is_map(self._path)):
            raise exceptions.Refused(
                f'{self._path} exists and is no map of bad bytes: name another file')
        # What /dev/stdout leads to is held by who started this.
        if mode is not None and (not stat.S_ISREG(mode) or self._path.startswith('/dev/')):
            return open(self._path, 'ab', buffering=0)
        descriptor, self._temporary = tempfile.mkstemp(
            prefix='.', suffix='.tmp', dir=os.path.dirname(self._place))
        return open(descriptor, 'wb', buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)

    def write(self, all_lost: Iterable[Any]) -> None:
        """:raises NoSpace, VolumeError: it cannot be written."""
        rows = [{'offset': lost.extent.offset, 'length': lost.extent.length,
                 'reason': lost.reason} for lost in all_lost]
        text = json.dumps(rows, indent=1).encode()
        try:
            _write_all(self._file, text)
            if self._temporary is not None:
                os.fsync(self._file.fileno())
                self._put_in_place(self._temporary, text)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise (exceptions.NoSpace if full else exceptions.VolumeError)(
                f'the restore is done, but its map of bad bytes cannot be written to '
                f'{self._path}: {error.strerror}') from error

    def _put_in_place(self, temporary: str, text: bytes) -> None:
        try:
            os.replace(temporary, self._place)
        except OSError as error:
            # A mount of one file, or another user's in /tmp: only what it holds can be replaced.
            if error.errno not in (errno.EBUSY, errno.EPERM):
                raise
            with open(self._place, 'wb', buffering=0) as file:
                _write_all(file, text)
                os.fsync(file.fileno())
            return
        self._temporary = None
        directories.sync(os.path.dirname(self._place))


def _write_all(file: io.FileIO, left: bytes) -> None:
    while left:
        left = left[file.write(left):]


def _is_map(path: str) -> bool:
    """Whether it is what an earlier restore wrote, or empty."""
    with open(path, 'rb') as file:
        text = file.read(_LONGEST + 1)
    try:
        rows = json.loads(text) if 0 < len(text) <= _LONGEST else None
    except (ValueError, RecursionError):
        return False
    return not text or isinstance(rows, list) and all(
        isinstance(row, dict)
        and {name: type(value) for name, value in row.items()} == _TYPES for row in rows)
