"""Reading a volume: opening it by path, and cutting it into chunks with its holes known."""

from __future__ import annotations

from collections.abc import Iterator
import errno
import functools
import io
import os
import stat
from typing import BinaryIO, Protocol

from backup_framework import exceptions
from backup_framework.engine import mounts
from backup_framework.formats import base


class Source(Protocol):
    """A volume as chunks. `size` in bytes is fixed when it is opened."""

    size: int

    def chunks(self, chunk_size: int, largest_hole: int = 0) -> Iterator[base.Chunk]:
        """The whole volume in order, each chunk beginning at a multiple of `chunk_size`.

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
        if error.errno == errno.ENXIO:
            raise exceptions.InvalidVolume(f'{path} is a socket, not a volume') from None
        raise exceptions.VolumeError(f'cannot read volume {path}: {error.strerror}') from error
    except ValueError as error:
        # A NUL byte, or what no file name can be encoded from.
        raise exceptions.VolumeNotFound(f'{path!r} cannot be the path of a volume: {error}'
                                        ) from None
    kind = _kind(os.fstat(fd).st_mode)
    if kind:
        os.close(fd)
        raise exceptions.InvalidVolume(
            f'{path} is {kind}; a volume is a regular file or a block device')
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


def open_source(volume_file: BinaryIO) -> Source:
    """The way to read `volume_file`: several threads where the kernel's file is at hand.

    That is only for a plain `io` file directly on a regular file or block device: others have a
    `fileno()` too, but its bytes are not theirs (gzip).
    """
    raw = plain_file(volume_file)
    if raw is None:
        return StreamSource(volume_file)
    return FileSource(raw.fileno(), str(getattr(volume_file, 'name', 'volume')))


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
    """A regular file or block device: `preadv` from any thread, holes by SEEK_DATA."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._name = name
        self.size = os.lseek(fd, 0, os.SEEK_END)

    def chunks(self, chunk_size: int, largest_hole: int = 0) -> Iterator[base.Chunk]:
        offset, data_at = 0, -1
        while offset < self.size:
            if data_at < offset:
                data_at = self._next_data(offset)
            holes = (data_at - offset) // chunk_size if data_at < self.size else -1
            if holes:
                end = self.size if holes < 0 else offset + holes * chunk_size
                length = min(end - offset, max(chunk_size, largest_hole // chunk_size * chunk_size))
                self._check_length(offset + length)
                yield base.Chunk(offset, length, None)
            else:
                length = min(chunk_size, self.size - offset)
                yield base.Chunk(offset, length, functools.partial(self._read, offset, length))
            offset += length

    def _next_data(self, offset: int) -> int:
        """Where the next data are, at `offset` or behind; the size where only a hole is left."""
        try:
            return os.lseek(self._fd, offset, os.SEEK_DATA)
        except OSError as error:
            # ENXIO: only a hole is left. Others: holes are not known here, so all is data.
            return self.size if error.errno == errno.ENXIO else offset

    def _check_length(self, end: int) -> None:
        """Behind the end of a file that was cut SEEK_DATA answers as it does for a hole."""
        length = os.lseek(self._fd, 0, os.SEEK_END)
        if length < end:
            raise self._shrank(length)

    def _shrank(self, length: int) -> exceptions.VolumeChanged:
        return exceptions.VolumeChanged(
            f'{self._name} shrank while it was read: it ends before byte {length}')

    def _read(self, offset: int, length: int) -> bytearray:
        buffer = bytearray(length)
        view = memoryview(buffer)
        while view:
            try:
                got = os.preadv(self._fd, [view], offset + length - len(view))
            except OSError as error:
                raise exceptions.VolumeError(
                    f'cannot read {self._name} at byte {offset + length - len(view)}: '
                    f'{error.strerror}') from error
            if not got:
                raise self._shrank(offset + length - len(view))
            view = view[got:]
        return buffer


class StreamSource:
    """Any object with `read`, `seek` and `tell`: read in order, in one thread."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        try:
            file.seek(0, os.SEEK_END)
            self.size = file.tell()
            file.seek(0)
        except Exception as error:
            # Whatever the library below raises; so too when it reads.
            raise exceptions.VolumeError(f'cannot seek in the volume: {error}') from error

    def chunks(self, chunk_size: int, largest_hole: int = 0) -> Iterator[base.Chunk]:
        for offset in range(0, self.size, chunk_size):
            data = self._read(offset, min(chunk_size, self.size - offset))
            yield base.Chunk(offset, len(data), functools.partial(_same, data))

    def _read(self, offset: int, length: int) -> bytes:
        pieces: list[bytes] = []
        left = length
        while left:
            try:
                piece = self._file.read(left)
            except Exception as error:
                raise exceptions.VolumeError(
                    f'cannot read the volume at byte {offset + length - left}: {error}') from error
            if not piece:
                raise exceptions.VolumeChanged(
                    f'the volume ends at byte {offset + length - left}, before its size '
                    f'{self.size}')
            if len(piece) > left:
                raise exceptions.VolumeError(
                    f'the volume gave {len(piece)} bytes where {left} were asked for')
            pieces.append(piece)
            left -= len(piece)
        return pieces[0] if len(pieces) == 1 else b''.join(pieces)


def _same(data: bytes) -> bytes:
    return data
