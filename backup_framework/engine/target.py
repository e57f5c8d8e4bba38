"""Writing a volume back: opening the target by path, and writing verified bytes to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
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


def can_seek(volume_file: BinaryIO) -> bool:
    """Whether bytes can be written at their places."""
    return not hasattr(volume_file, 'seekable') or volume_file.seekable()


def write_to(volume_file: BinaryIO) -> Callable[[memoryview], None]:
    """What writes to a file that cannot seek, one piece behind the other."""
    position = 0

    def write(data: memoryview) -> None:
        nonlocal position
        with _told(position):
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

    def write(self, offset: int, data: memoryview) -> None:
        with _told(offset):
            if not self._fresh:
                self._write(offset, data)
                return
            for start, end in data_runs(data):
                self._write(offset + start, data[start:end])

    def zero(self, offset: int, length: int) -> None:
        if self._fresh or not length:
            return
        with _told(offset):
            if not self._device:
                # What is beyond the end of a file reads as zeros once `finish` has lengthened it.
                length = max(0, min(length, os.fstat(self._fd).st_size - offset))
            zero = _zero_device if self._device else _punch_hole
            if length and not zero(self._fd, offset, length):
                self._write_zeros(offset, length)

    def read(self, offset: int, view: memoryview) -> None:
        """Fill `view`; behind the end of a file are zeros, as `finish` leaves it."""
        with _told(offset, 'read from'):
            while view:
                got = os.preadv(self._fd, [view], offset)
                if not got:
                    view[:] = bytes(len(view))
                view, offset = view[got:] if got else view[:0], offset + got

    def finish(self, size: int) -> None:
        with _told(size):
            if not self._device and os.fstat(self._fd).st_size < size:
                os.ftruncate(self._fd, size)
            os.fsync(self._fd)

    def _write(self, offset: int, data: memoryview) -> None:
        while data:
            written = os.pwrite(self._fd, data, offset)
            data, offset = data[written:], offset + written

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
    start: int | None = None
    for at in range(0, len(data), _SECTORS):
        if there.startswith(data[at:at + _SECTORS], at):
            if start is not None:
                yield start, at
            start = None
        elif start is None:
            start = at
    if start is not None:
        yield start, len(data)


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
        with _told(size):
            self._file.flush()

    def _write(self, offset: int, data: memoryview) -> None:
        end = offset + len(data)
        with self._lock, _told(offset):
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
    start: int | None = None
    for at in range(0, len(data), _ZERO_RUN):
        # A memcmp, where comparing a memoryview goes byte by byte.
        if _ZEROS.startswith(data[at:at + _ZERO_RUN]):
            if start is not None:
                yield start, at
            start = None
        elif start is None:
            start = at
    if start is not None:
        yield start, len(data)


@contextlib.contextmanager
def open_target(path: str, size: int, *, force: bool = False, truncate: bool = False,
                forbidden: Iterable[str] = ()) -> Iterator[tuple[BinaryIO, bool]]:
    """The file to restore `size` bytes to, and whether it is fresh.

    A new file is written under a partial name beside `path` and appears when the block ends well.
    An existing file or device wants `force`, and is damaged where the block fails after a write.

    :param truncate: cut or lengthen an existing file to `size`, when the block ends well.
    :param forbidden: directories in which nothing may be restored.
    :raises InvalidTarget: before a byte was written.
    """
    _refuse_name(path)
    _refuse_inside(path, forbidden)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        with _new_file(path) as file:
            yield file, True
        return
    except OSError as error:
        raise exceptions.InvalidTarget(f'cannot restore to {path}: {error.strerror}') from error
    with _existing(path, mode, size, force, truncate) as file:
        untouched = _modified(file)
        try:
            yield file, False
        except BaseException as error:
            if untouched is None or _modified(file) != untouched:
                error.add_note(f'{path} is damaged now: it holds a part of the backup. '
                               'Restore to it again before you use it.')
            raise
        if truncate and stat.S_ISREG(mode):
            with _told(size):
                os.ftruncate(file.fileno(), size)
                os.fsync(file.fileno())


def _modified(file: BinaryIO) -> int | None:
    """When a regular file was last written, in ns; None for a device, which does not say."""
    found = os.fstat(file.fileno())
    return found.st_mtime_ns if stat.S_ISREG(found.st_mode) else None


def tail_of(path: str, size: int) -> int:
    """Bytes that an existing regular file has behind `size`."""
    try:
        found = os.stat(path)
    except OSError:
        return 0
    return max(0, found.st_size - size) if stat.S_ISREG(found.st_mode) else 0


@contextlib.contextmanager
def _new_file(path: str) -> Iterator[BinaryIO]:
    directory, name = os.path.split(os.path.abspath(path))
    if os.path.lexists(path):
        raise exceptions.InvalidTarget(f'{path} is a link to nowhere')
    # Cut as bytes: a name may have 255 of them.
    beginning = f'.{os.fsdecode(os.fsencode(name)[:200])}.'
    try:
        _remove_abandoned(directory, beginning)
        partial, fd = _make_partial(directory, beginning)
    except OSError as error:
        raise exceptions.InvalidTarget(
            f'cannot make a file in {directory}: {error.strerror}') from error
    try:
        with open(fd, 'r+b', buffering=0) as file:
            yield file
            # Before its lock goes.
            _publish(partial, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        raise


def _make_partial(directory: str, beginning: str) -> tuple[str, int]:
    """A new file that is locked: path and descriptor."""
    while True:
        partial = os.path.join(directory, f'{beginning}{secrets.token_hex(4)}.partial')
        fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):  # where nothing can be locked nothing is removed
            fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return partial, fd
        os.close(fd)  # another restore took it for abandoned before it was locked


def _remove_abandoned(directory: str, beginning: str) -> None:
    """Remove what killed restores to the same name left: nobody holds its lock any more."""
    pattern = re.compile(re.escape(beginning) + r'[0-9a-f]{8}\.partial')
    for name in filter(pattern.fullmatch, os.listdir(directory)):
        path = os.path.join(directory, name)
        with (contextlib.suppress(OSError),
              open(path, 'rb', buffering=0, opener=_without_following) as file):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)


def _without_following(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _publish(partial: str, path: str) -> None:
    """Give the finished file its name, unless something has it by now."""
    try:
        os.link(partial, path)
        os.unlink(partial)
    except OSError as error:
        if isinstance(error, FileExistsError) or os.path.lexists(path):
            raise exceptions.InvalidTarget(
                f'{path} came into being meanwhile; it was left alone') from None
        # No hard links here.
        os.rename(partial, path)
    # Without the right to read the directory its name can be given, but not made durable.
    with contextlib.suppress(OSError):
        directory = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextlib.contextmanager
def _existing(path: str, mode: int, size: int, force: bool, truncate: bool
              ) -> Iterator[BinaryIO]:
    device = stat.S_ISBLK(mode)
    if not device and not stat.S_ISREG(mode):
        raise exceptions.InvalidTarget(f'{path} is neither a regular file nor a block device')
    if not force:
        raise exceptions.InvalidTarget(
            f'{path} exists; --force overwrites it with the backup')
    _refuse_mounted(path)
    file = _open_existing(path, device)
    with file:
        try:
            length = os.lseek(file.fileno(), 0, os.SEEK_END)
        except OSError as error:
            raise exceptions.InvalidTarget(
                f'{path} has no size, so it cannot be a target: {error.strerror}') from error
        if not device and os.fstat(file.fileno()).st_nlink > 1:
            raise exceptions.InvalidTarget(
                f'{path} has other names (hard links), whose content would change as well')
        if length < size and (device or not truncate):
            raise exceptions.InvalidTarget(
                f'{path} has {length} bytes, the backup has {size}'
                + ('' if device else '; --truncate gives the file the length of the backup'))
        yield file


def _open_existing(path: str, device: bool) -> BinaryIO:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_EXCL if device else 0)
    try:
        fd = os.open(path, flags)
    except OSError as error:
        reason = 'it is in use' if error.errno == errno.EBUSY else error.strerror
        raise exceptions.InvalidTarget(f'cannot restore to {path}: {reason}') from error
    os.set_blocking(fd, True)
    return open(fd, 'r+b', buffering=0)


def _refuse_mounted(path: str) -> None:
    devices = mounts.devices_of(path)
    for mount in mounts.mounts():
        if mount.device in devices:
            raise exceptions.InvalidTarget(f'{path} is mounted at {mount.mount_point}')


def _refuse_name(path: str) -> None:
    try:
        possible = os.path.basename(path) != '' and b'\0' not in os.fsencode(path)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise exceptions.InvalidTarget(f'{path!r} cannot be the name of a file')


def _refuse_inside(path: str, forbidden: Iterable[str]) -> None:
    """By the directories themselves, because a store may be seen under several paths."""
    above = set(_identities(os.path.realpath(path)))
    device, place = mounts.place_of(path)
    for directory in forbidden:
        theirs, top = mounts.place_of(directory)
        if _identity(os.path.realpath(directory)) in above or (
                device == theirs and os.path.commonpath([place, top]) == top):
            raise exceptions.InvalidTarget(
                f'{path} is inside {directory}, where backups are kept, or their records')


def _identities(path: str) -> Iterator[tuple[int, int] | str]:
    """Of a path and of all directories above it."""
    while True:
        yield _identity(path)
        parent = os.path.dirname(path)
        if parent == path:
            return
        path = parent


def _identity(path: str) -> tuple[int, int] | str:
    """Device and inode; the path itself where nothing is there."""
    try:
        found = os.stat(path)
    except OSError:
        return path
    return found.st_dev, found.st_ino


def _punch_hole(fd: int, offset: int, length: int) -> bool:
    """Whether the range of a regular file is a hole now."""
    call = ctypes.CDLL(None, use_errno=True).fallocate
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return bool(call(fd, _PUNCH_HOLE, offset, length) == 0)


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
def _told(offset: int, what: str = 'write to') -> Iterator[None]:
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
