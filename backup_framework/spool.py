"""Temporary files that hold what memory should not."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import errno
import os
import tempfile

from backup_framework import exceptions

Buffer = bytes | bytearray | memoryview


class Spool:
    """A temporary file without a name, read and written at positions, from any thread.

    What is not written reads as zeros, up to what was written furthest.

    :param directory: where it grows; None is the system's directory for such.
    :raises NoSpace: from every method: the disk there is full.
    """

    def __init__(self, directory: str | None = None) -> None:
        with told('make a temporary file'):
            self._file = tempfile.TemporaryFile(dir=directory, buffering=0)

    def write(self, offset: int, data: Buffer) -> None:
        view = memoryview(data)
        with told('write a temporary file'):
            while view:
                written = os.pwrite(self._file.fileno(), view, offset)
                view, offset = view[written:], offset + written

    def read(self, offset: int, length: int) -> bytes:
        """So many bytes, or fewer where the file ends."""
        with told('read a temporary file'):
            return os.pread(self._file.fileno(), length, offset)

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill a buffer; behind the end of the file are zeros."""
        with told('read a temporary file'):
            while view:
                got = os.preadv(self._file.fileno(), [view], offset)
                if not got:
                    view[:] = bytes(len(view))
                    return
                view, offset = view[got:], offset + got

    def close(self) -> None:
        """Nobody wants what is in it any more, so how that ends is no matter."""
        with contextlib.suppress(OSError):
            self._file.close()


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Say of an OSError what was being done."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        kind = exceptions.NoSpace if full else exceptions.VolumeError
        raise kind(f'cannot {what}: {error.strerror}') from error
