"""Reading a volume: opening it by path, and cutting it into chunks with its holes known."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
import contextlib
import errno
import functools
import io
import os
import stat
from typing import BinaryIO, Protocol
import weakref

from backup_framework import exceptions, spool
from backup_framework.engine import mounts, parallel
from backup_framework.formats import base
from backup_framework.model import Extent

_SMALLEST_GAP = 64 << 10
"""Bytes of a hole that are worth a call; smaller ones are read with what is around them."""

_HELD = 8 << 20
"""Bytes of a stream's chunk that are kept in memory; longer ones go to a temporary file."""

_STEP = 1 << 20


class Source(Protocol):
    """A volume as chunks. `size` is in bytes; None until its end was seen if it is not known.

    :ivar within: the only bytes of which chunks are given, all chunks whole; None is the volume.
    """

    size: int | None
    within: Extent | None

    def chunks(self, chunk_size: int, largest_hole: int = 0) -> Iterator[base.Chunk]:
        """All of it in order, each chunk beginning at a multiple of `chunk_size`.

        A chunk has `chunk_size` bytes, the last one what is left. Several that are holes may come
        as one of up to `largest_hole` bytes.
        """


def absolute(path: str) -> str:
    """The spelling by which a volume is known: absolute, links not resolved."""
    return os.path.abspath(path)


def open_volume(path: str) -> io.FileIO:
    """Open a regular file or block device for reading.

    :raises VolumeNotFound: there is nothing at `path`.
    :raises InvalidVolume: a directory, FIFO, socket or character device is.
    :raises VolumeError: it may not be read.
    """
    try:
        # Not blocking, so that a FIFO without a writer does not keep us here.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise exceptions.VolumeNotFound(f'there is no volume {path}') from None
    except OSError as error:
        # Of a socket; of a device also where nothing is behind it.
        kind = _kind_at(path) if error.errno == errno.ENXIO else None
        if kind:
            raise _no_volume(path, kind) from None
        raise exceptions.VolumeError(f'cannot read volume {path}: {error.strerror}') from error
    except ValueError as error:
        # A NUL byte, or what no file name can be encoded from.
        raise exceptions.VolumeNotFound(f'{path!r} cannot be the path of a volume: {error}'
                                        ) from None
    kind = _kind(os.fstat(fd).st_mode)
    if kind:
        os.close(fd)
        raise _no_volume(path, kind)
    os.set_blocking(fd, True)
    # By its path, which then is its name in messages.
    return io.FileIO(path, 'rb', opener=lambda name, flags: fd)


def size_of(file: io.FileIO) -> int:
    """Bytes of an opened volume; it is at its beginning afterwards.

    :raises InvalidVolume: it has no size, as files of /proc.
    """
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        return size
    except OSError as error:
        raise exceptions.InvalidVolume(
            f'{file.name} is not a volume: its size cannot be told ({error.strerror})') from error


def _no_volume(path: str, kind: str) -> exceptions.InvalidVolume:
    return exceptions.InvalidVolume(
        f'{path} is {kind}; a volume is a regular file or a block device')


def _kind_at(path: str) -> str | None:
    try:
        return _kind(os.stat(path).st_mode)
    except OSError:
        return None


def _kind(mode: int) -> str | None:
    """What it is that cannot be a volume, or None."""
    if stat.S_ISREG(mode) or stat.S_ISBLK(mode):
        return None
    names = ((stat.S_ISDIR, 'a directory'), (stat.S_ISFIFO, 'a FIFO'),
             (stat.S_ISCHR, 'a character device'), (stat.S_ISSOCK, 'a socket'))
    return next((name for test, name in names if test(mode)), 'no file')


def writable_mounts(path: str) -> list[str]:
    """Where the file system of this volume is mounted read-write: it changes while it is read."""
    devices = mounts.devices_of(path)
    return [m.mount_point for m in mounts.mounts() if m.device in devices and m.writable]


def open_source(volume_file: BinaryIO, spool_directory: str | None = None, *,
                anywhere: bool = False) -> Source:
    """The way to read `volume_file`: several threads where the kernel's file is at hand.

    That is only for a plain `io` file directly on a regular file or block device: others have a
    `fileno()` too, but its bytes are not theirs (gzip). One that cannot seek is read to its end.
    An attribute `holes`, sorted extents, says where the file has none but zeros, for file systems
    that cannot.

    :param spool_directory: where temporary files for parts of a stream may grow.
    :param anywhere: only parts of it are wanted; one that can seek is read where they are.
    """
    raw = plain_file(volume_file)
    if raw is None:
        if anywhere and can_seek(volume_file):
            return SeekSource(volume_file)
        return StreamSource(volume_file, spool_directory)
    return FileSource(raw.fileno(), str(getattr(volume_file, 'name', 'volume')),
                      getattr(volume_file, 'holes', None))


def plain_file(file: object) -> io.FileIO | None:
    """The FileIO under `file` if that is a regular file or block device, and nothing is between."""
    raw = file
    if type(file) in (io.BufferedReader, io.BufferedRandom, io.BufferedWriter):
        assert isinstance(file, io.BufferedReader | io.BufferedRandom | io.BufferedWriter)
        file.flush()
        raw = file.raw
    if type(raw) is not io.FileIO:
        return None
    mode = os.fstat(raw.fileno()).st_mode
    return raw if stat.S_ISREG(mode) or stat.S_ISBLK(mode) else None


class FileSource:
    """A regular file or block device: `preadv` from any thread, holes by SEEK_DATA.

    :ivar ahead: whether whole chunks are wanted, so that the kernel is asked to read on.
    """

    def __init__(self, fd: int, name: str, holes: Sequence[Extent] | None = None) -> None:
        self.ahead = True
        self.within: Extent | None = None
        self._holes = holes
        self._fd = fd
        self._name = name
        self._length = os.lseek(fd, 0, os.SEEK_END)
        self.size: int | None = self._length

    def chunks(self, chunk_size: int, largest_hole: int = 0) -> Iterator[base.Chunk]:
        within = self.within or Extent(0, self._length)
        offset, data_at, size = within.offset, -1, within.end
        while offset < size:
            if data_at < offset:
                data_at = self._next_data(offset)
            holes = (data_at - offset) // chunk_size if data_at < size else -1
            if holes:
                end = size if holes < 0 else offset + holes * chunk_size
                length = min(end - offset, max(chunk_size, largest_hole // chunk_size * chunk_size))
                self._check_length(offset + length)
                yield base.Chunk(offset, length, None, tuple)
            else:
                length = min(chunk_size, size - offset)
                if self.ahead:
                    # The chunk is not worked on before those in front of it.
                    self.read_ahead(offset, length)
                yield base.Chunk(offset, length, self.read,
                                 functools.partial(self._data, offset, length))
            offset += length

    def read(self, offset: int, view: memoryview) -> None:
        """Fill `view` with the bytes from `offset` on; any thread."""
        while view:
            try:
                got = os.preadv(self._fd, [view], offset)
            except OSError as error:
                raise exceptions.VolumeError(
                    f'cannot read {self._name} at byte {offset}: {error.strerror}') from error
            if not got:
                raise self._shrank(offset)
            view, offset = view[got:], offset + got

    def _data(self, offset: int, length: int) -> Iterator[Extent]:
        """Where a chunk is no hole. The descriptor's position moves, but nobody uses it."""
        end = offset + length
        start = stop = self._next_data(offset)
        while stop < end:
            stop = min(self._next_hole(stop), end)
            after = self._next_data(stop) if stop < end else end
            if after >= end or after - stop >= _SMALLEST_GAP:
                yield Extent(start, stop - start)
                start = after
            stop = after
        self._check_length(end)

    def read_ahead(self, offset: int, length: int) -> None:
        """Have the kernel begin to read what is not a hole."""
        for extent in self._data(offset, min(length, self._length - offset)):
            # It takes a few MiB a call and leaves the rest.
            for at in range(extent.offset, extent.end, _STEP):
                with contextlib.suppress(OSError):
                    os.posix_fadvise(self._fd, at, min(_STEP, extent.end - at),
                                     os.POSIX_FADV_WILLNEED)

    def _next_data(self, offset: int) -> int:
        """Where the next data are, at `offset` or behind; the size where only a hole is left."""
        if self._holes is not None:
            behind = bisect.bisect_right(self._holes, offset, key=lambda hole: hole.offset)
            end = self._holes[behind - 1].end if behind else 0
            return min(max(offset, end), self._length)
        try:
            return os.lseek(self._fd, offset, os.SEEK_DATA)
        except OSError as error:
            # ENXIO: only a hole is left. Others: holes are not known here, so all is data.
            return self._length if error.errno == errno.ENXIO else offset

    def _next_hole(self, offset: int) -> int:
        if self._holes is not None:
            behind = bisect.bisect_right(self._holes, offset, key=lambda hole: hole.offset)
            return self._holes[behind].offset if behind < len(self._holes) else self._length
        try:
            return os.lseek(self._fd, offset, os.SEEK_HOLE)
        except OSError:
            return self._length

    def _check_length(self, end: int) -> None:
        """Behind the end of a file that was cut SEEK_DATA answers as it does for a hole."""
        length = os.lseek(self._fd, 0, os.SEEK_END)
        if length < end:
            raise self._shrank(length)

    def _shrank(self, length: int) -> exceptions.VolumeChanged:
        return exceptions.VolumeChanged(
            f'{self._name} shrank while it was read: it ends before byte {length}')


class StreamSource:
    """Any object with `read`: read in order, in one thread. Its chunks can be read again."""

    within: Extent | None = None

    def __init__(self, file: BinaryIO, spool_directory: str | None = None) -> None:
        self._file = file
        self._spool_directory = spool_directory
        self.size: int | None = None
        try:
            if can_seek(file):
                file.seek(0, os.SEEK_END)
                self.size = file.tell()
                file.seek(0)
        except Exception as error:
            # Whatever the library below raises; so too when it reads.
            raise exceptions.VolumeError(f'cannot seek in the volume: {error}') from error

    def chunks(self, chunk_size: int, largest_hole: int = 0) -> Iterator[base.Chunk]:
        offset = 0
        while wanted := self._wanted(offset, chunk_size):
            read, length = self._hold(offset, wanted)
            if length:
                extent = Extent(offset, length)
                yield base.Chunk(offset, length, read, functools.partial(_only, extent))
                offset += length
            if length < wanted:
                self._end(offset)

    def _wanted(self, offset: int, chunk_size: int) -> int:
        return chunk_size if self.size is None else min(chunk_size, self.size - offset)

    def _end(self, offset: int) -> None:
        if self.size is not None:
            raise exceptions.VolumeChanged(
                f'the volume ends at byte {offset}, before its size {self.size}')
        self.size = offset

    def _hold(self, offset: int, length: int) -> tuple[base.Fill, int]:
        """Read on; gives what fills buffers with it, and how much it is."""
        if length <= _HELD:
            data = b''.join(self._read(offset, length))
            return functools.partial(_copy, offset, data), len(data)
        held, position = _Spooled(offset, self._spool_directory), 0
        for piece in self._read(offset, length):
            held.spool.write(position, piece)
            position += len(piece)
        return held.read, position

    def _read(self, offset: int, length: int) -> Iterator[bytes]:
        """Pieces of so many bytes in all, or fewer where the stream ends."""
        left = length
        while left:
            try:
                piece = self._file.read(min(left, _STEP))
            except Exception as error:
                raise exceptions.VolumeError(
                    f'cannot read the volume at byte {offset + length - left}: {error}') from error
            if piece is None or len(piece) > min(left, _STEP):
                raise exceptions.VolumeError(
                    f'the volume gave {"nothing yet" if piece is None else len(piece)} where '
                    f'{min(left, _STEP)} bytes were asked for')
            if not piece:
                return
            yield piece
            left -= len(piece)


class SeekSource:
    """An object with `read` and `seek`, of which parts are wanted: read there, a call at a time."""

    ahead = False

    def __init__(self, file: BinaryIO) -> None:
        self.within: Extent | None = None
        self._file = file
        self._lock = parallel.lock()
        with _readable(0):
            self._length = file.seek(0, os.SEEK_END)
        self.size: int | None = self._length

    def chunks(self, chunk_size: int, largest_hole: int = 0) -> Iterator[base.Chunk]:
        within = self.within or Extent(0, self._length)
        for offset in range(within.offset, within.end, chunk_size):
            extent = Extent(offset, min(chunk_size, within.end - offset))
            yield base.Chunk(offset, extent.length, self.read, functools.partial(_only, extent))

    def read(self, offset: int, view: memoryview) -> None:
        """Fill `view` with the bytes from `offset` on; any thread."""
        with self._lock, _readable(offset):
            self._file.seek(offset)
            while view:
                piece = self._file.read(len(view))
                if not piece or len(piece) > len(view):
                    raise exceptions.VolumeChanged(
                        f'the volume gave {len(piece or b"")} of {len(view)} bytes at its end')
                view[:len(piece)] = piece
                view = view[len(piece):]


def can_seek(file: BinaryIO) -> bool:
    """Whether its bytes can be read or written at their places."""
    return not hasattr(file, 'seekable') or file.seekable()


@contextlib.contextmanager
def _readable(offset: int) -> Iterator[None]:
    """Whatever the library below raises."""
    try:
        yield
    except exceptions.BackupFrameworkError:
        raise
    except Exception as error:
        raise exceptions.VolumeError(
            f'cannot read the volume at byte {offset}: {error}') from error


class _Spooled:
    """A chunk in a temporary file, which goes with it."""

    def __init__(self, offset: int, directory: str | None) -> None:
        self.spool = spool.Spool(directory)
        self._offset = offset
        weakref.finalize(self, self.spool.close)

    def read(self, offset: int, view: memoryview) -> None:
        self.spool.read_into(offset - self._offset, view)


def _copy(start: int, data: bytes, offset: int, view: memoryview) -> None:
    view[:] = memoryview(data)[offset - start:offset - start + len(view)]


def _only(extent: Extent) -> Iterable[Extent]:
    return (extent,)
