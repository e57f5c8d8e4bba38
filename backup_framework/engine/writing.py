"""Writing verified bytes to a volume: to a file, a device, or any object that can seek."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import ctypes
import errno
import fcntl
import os
import stat
import struct
from typing import BinaryIO, Protocol

from backup_framework import exceptions
from backup_framework.engine import mounts, parallel, source
from backup_framework.formats import base

_PUNCH_HOLE = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, linux/falloc.h
_BLKZEROOUT = 0x127f  # linux/fs.h
_ZERO_RUN = 64 << 10
_SECTORS = 4 << 10
_WORTH_FLUSHING = 64 << 10
_ZEROS = bytes(1 << 20)
_COMPARED = len(_ZEROS)


class Target(Protocol):
    """Where restored bytes go; any thread, any order, each byte once."""

    @property
    def present(self) -> base.Fill | None:
        """Reads what it has, where that is of use: what is there already need not be written."""

    def write(self, offset: int, data: memoryview) -> None: ...

    def zero(self, offset: int, length: int) -> None: ...

    def finish(self, size: int) -> None:
        """All is written: make it durable and at least `size` bytes long."""


def wrap(volume_file: BinaryIO, fresh: bool, delta: bool = False) -> Target:
    """The way to write to `volume_file`.

    :param fresh: it reads as zeros wherever nothing is written.
    :param delta: read it first, and write only what differs.
    """
    raw = source.plain_file(volume_file)
    if raw is None:
        if delta:
            raise exceptions.InvalidTarget('the target is neither a regular file nor a block '
                                           'device, so what differs in it cannot be told')
        return StreamTarget(volume_file, fresh)
    if fcntl.fcntl(raw.fileno(), fcntl.F_GETFL) & os.O_APPEND:
        raise exceptions.InvalidTarget(
            'the target is open for appending; bytes cannot be written at their places')
    file = FileTarget(raw.fileno(), fresh)
    return DeltaTarget(file) if delta and not fresh else file


def write_to(volume_file: BinaryIO) -> Callable[[memoryview], None]:
    """What writes to a file that cannot seek, one piece behind the other."""
    position = 0

    def write(data: memoryview) -> None:
        nonlocal position
        with told(position):
            while data:
                written = volume_file.write(data)
                if written == 0:
                    raise OSError(errno.EIO, 'it takes no more bytes')
                written = len(data) if written is None else written
                data, position = data[written:], position + written

    return write


class FileTarget:
    """A regular file or block device."""

    present: base.Fill | None = None

    def __init__(self, fd: int, fresh: bool) -> None:
        self._fd = fd
        self._fresh = fresh
        self._device = stat.S_ISBLK(os.fstat(fd).st_mode)
        self._zero = _zero_device if self._device else _punch_hole
        mount = None if self._device else mounts.mount_of_descriptor(fd)
        if mount is not None and mount.fs_type.startswith('fuse'):
            # Some take a hole for a hint: what is punched through nbdfuse may keep its bytes.
            self._zero = _leave

    def write(self, offset: int, data: memoryview) -> None:
        with told(offset):
            if not self._fresh:
                self._write(offset, data)
                return
            for start, end in data_runs(data):
                self._write(offset + start, data[start:end])

    def zero(self, offset: int, length: int) -> None:
        if self._fresh or not length:
            return
        with told(offset):
            if not self._device:
                # What is beyond the end of a file reads as zeros once `finish` has lengthened it.
                length = max(0, min(length, os.fstat(self._fd).st_size - offset))
            if length and not self._zero(self._fd, offset, length):
                self._write_zeros(offset, length)

    def read(self, offset: int, view: memoryview) -> None:
        """Fill `view`; behind the end of a file are zeros, as `finish` leaves it."""
        with told(offset, 'read from'):
            while view:
                got = os.preadv(self._fd, [view], offset)
                if not got:
                    view[:] = bytes(len(view))
                view, offset = view[got:] if got else view[:0], offset + got

    def finish(self, size: int) -> None:
        with told(size):
            if not self._device and os.fstat(self._fd).st_size < size:
                os.ftruncate(self._fd, size)
            os.fsync(self._fd)

    def _write(self, offset: int, data: memoryview) -> None:
        start, length = offset, len(data)
        while data:
            written = os.pwrite(self._fd, data, offset)
            data, offset = data[written:], offset + written
        if length >= _WORTH_FLUSHING:
            # The kernel begins to write it, so that the last sync finds little left to do.
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._fd, start, length, os.POSIX_FADV_DONTNEED)

    def _write_zeros(self, offset: int, length: int) -> None:
        for at in range(0, length, len(_ZEROS)):
            self._write(offset + at, memoryview(_ZEROS)[:length - at])


class DeltaTarget:
    """A file or device of which only what differs is written."""

    def __init__(self, file: FileTarget) -> None:
        self._file = file
        self.present: base.Fill | None = file.read

    def write(self, offset: int, data: memoryview) -> None:
        for at in range(0, len(data), _COMPARED):
            piece = data[at:at + _COMPARED]
            there = bytearray(len(piece))
            self._file.read(offset + at, memoryview(there))
            for start, end in _differing(there, piece):
                self._file.write(offset + at + start, piece[start:end])

    def zero(self, offset: int, length: int) -> None:
        for at in range(offset, offset + length, _COMPARED):
            there = bytearray(min(_COMPARED, offset + length - at))
            self._file.read(at, memoryview(there))
            if not _ZEROS.startswith(there):
                self._file.zero(at, len(there))

    def finish(self, size: int) -> None:
        self._file.finish(size)


def _differing(there: bytearray, data: memoryview) -> Iterator[tuple[int, int]]:
    """Runs (start, end) that are not the same, in steps of 4 KiB."""
    return _runs(len(data), _SECTORS,
                 lambda at: there.startswith(data[at:at + _SECTORS], at))


class StreamTarget:
    """Any object with `write` and `seek`, one call at a time."""

    present: base.Fill | None = None

    def __init__(self, file: BinaryIO, fresh: bool) -> None:
        self._file = file
        self._fresh = fresh
        self._end = 0
        self._lock = parallel.lock()

    def write(self, offset: int, data: memoryview) -> None:
        runs = data_runs(data) if self._fresh else [(0, len(data))]
        for start, end in runs:
            self._write(offset + start, data[start:end])

    def zero(self, offset: int, length: int) -> None:
        if self._fresh:
            return
        for at in range(0, length, len(_ZEROS)):
            self._write(offset + at, memoryview(_ZEROS)[:length - at])

    def finish(self, size: int) -> None:
        if self._fresh and self._end < size:
            self._write(size - 1, memoryview(b'\0'))
        with told(size):
            self._file.flush()

    def _write(self, offset: int, data: memoryview) -> None:
        end = offset + len(data)
        with self._lock, told(offset):
            self._file.seek(offset)
            while data:
                # bytes, because some targets insist on them (Cinder bug 2082587).
                written = self._file.write(bytes(data))
                if written == 0:
                    raise OSError(errno.EIO, 'it takes no more bytes')
                data = data[len(data) if written is None else written:]
            self._end = max(self._end, end)


def data_runs(data: memoryview) -> Iterator[tuple[int, int]]:
    """Runs (start, end) of `data` that are not zeros, in steps of 64 KiB."""
    # A memcmp, where comparing a memoryview goes byte by byte.
    return _runs(len(data), _ZERO_RUN,
                 lambda at: _ZEROS.startswith(data[at:at + _ZERO_RUN]))


def _runs(length: int, step: int, passed_over: Callable[[int], bool]
          ) -> Iterator[tuple[int, int]]:
    """Runs (start, end) of the steps that are not passed over."""
    start: int | None = None
    for at in range(0, length, step):
        if passed_over(at):
            if start is not None:
                yield start, at
            start = None
        elif start is None:
            start = at
    if start is not None:
        yield start, length


def _punch_hole(fd: int, offset: int, length: int) -> bool:
    """Whether the range of a regular file is a hole now."""
    call = ctypes.CDLL(None, use_errno=True).fallocate
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return bool(call(fd, _PUNCH_HOLE, offset, length) == 0)


def _leave(fd: int, offset: int, length: int) -> bool:
    return False


def _zero_device(fd: int, offset: int, length: int) -> bool:
    """Whether the range of a block device reads as zeros now; wants sector boundaries."""
    if offset % 4096 or length % 4096:
        return False
    try:
        fcntl.ioctl(fd, _BLKZEROOUT, struct.pack('=QQ', offset, length))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def told(offset: int, what: str = 'write to') -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise exceptions.NoSpace(
                f'no space left on the target at byte {offset}') from error
        raise exceptions.VolumeError(
            f'cannot {what} the target at byte {offset}: {error.strerror or error}') from error
    except Exception as error:
        # Whatever the library of a stream raises.
        raise exceptions.VolumeError(
            f'cannot {what} the target at byte {offset}: {error}') from error
