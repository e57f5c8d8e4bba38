"""Opening volumes, and reading them whatever kind of file they are."""

from __future__ import annotations

from collections.abc import Callable
import errno
import gc
import gzip
import io
import os
import pathlib
import random
import socket
import threading
from typing import BinaryIO

import pytest

from backup_framework import exceptions
from backup_framework.engine import source
from backup_framework.formats import base
from backup_framework.model import Extent
from tests.unit.engine import unprivileged

STEP = 4096


def read(chunk: base.Chunk) -> bytes:
    """All of it at once, then, to be the same, only its data, in pieces."""
    whole = memoryview(bytearray(b'?' * chunk.length))
    if chunk.read is None:
        assert not list(chunk.data())
        return bytes(chunk.length)
    chunk.read(chunk.offset, whole)
    again = bytearray(chunk.length)
    end = chunk.offset
    for extent in chunk.data():
        assert end <= extent.offset and extent.length and extent.end <= chunk.end
        end = extent.end
        for at in range(extent.offset, extent.end, 1000):
            to = slice(at - chunk.offset, min(at + 1000, extent.end) - chunk.offset)
            chunk.read(at, memoryview(again)[to])
    assert again == whole
    return bytes(whole)


def contents(volume: source.Source, step: int = STEP) -> bytes:
    data, offset = bytearray(), 0
    for chunk in volume.chunks(step):
        assert chunk.offset == offset and 0 < chunk.length <= step
        data += read(chunk)
        offset += chunk.length
    assert offset == volume.size == len(data)
    return bytes(data)


@pytest.fixture
def data() -> bytes:
    return random.Random(7).randbytes(3 * STEP + 777)


@pytest.fixture
def volume(tmp_path: pathlib.Path, data: bytes) -> pathlib.Path:
    path = tmp_path / 'volume'
    path.write_bytes(data)
    return path


def make_fifo(path: pathlib.Path) -> None:
    os.mkfifo(path)


def make_socket(path: pathlib.Path) -> None:
    here = os.open('.', os.O_RDONLY)
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


@pytest.mark.timeout(20)
@pytest.mark.parametrize('make, words', [
    (os.mkdir, 'a directory'), (make_fifo, 'a FIFO'), (make_socket, 'a socket'),
    (lambda path: path.symlink_to('/dev/zero'), 'a character device')],
    ids=['directory', 'fifo', 'socket', 'device'])
def test_what_is_no_volume(tmp_path: pathlib.Path, make: Callable[[pathlib.Path], object],
                           words: str) -> None:
    path = tmp_path / 'thing'
    make(path)
    before = len(os.listdir('/proc/self/fd'))
    with pytest.raises(exceptions.InvalidVolume, match=words) as caught:
        source.open_volume(str(path))
    assert str(path) in str(caught.value)
    assert len(os.listdir('/proc/self/fd')) == before


@pytest.mark.parametrize('path, error, words', [
    ('/dev/tty', exceptions.InvalidVolume, 'is a character device'),
    (__file__, exceptions.VolumeError, 'No such device'),
    ('/missing', exceptions.VolumeError, 'No such device')])
def test_a_device_with_nothing_behind_it(monkeypatch: pytest.MonkeyPatch, path: str,
                                         error: type[Exception], words: str) -> None:
    """The kernel says the same of it as of a socket."""
    def fail(*args: object) -> int:
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))

    monkeypatch.setattr(os, 'open', fail)
    with pytest.raises(error, match=words) as caught:
        source.open_volume(path)
    assert type(caught.value) is error


@pytest.mark.parametrize('name', ['missing', 'missing/below', 'file/below', 'dangling', ''])
def test_a_missing_volume(tmp_path: pathlib.Path, name: str) -> None:
    (tmp_path / 'file').touch()
    (tmp_path / 'dangling').symlink_to('nowhere')
    with pytest.raises(exceptions.VolumeNotFound):
        source.open_volume(str(tmp_path / name) if name else '')


@pytest.mark.parametrize('name', ['nul\0byte', 'x' * 300, 'lone\ud800surrogate'])
def test_a_path_that_no_kernel_takes(tmp_path: pathlib.Path, name: str) -> None:
    with pytest.raises((exceptions.VolumeNotFound, exceptions.VolumeError)):
        source.open_volume(f'{tmp_path}/{name}')


def test_links_in_a_circle(tmp_path: pathlib.Path) -> None:
    (tmp_path / 'a').symlink_to('b')
    (tmp_path / 'b').symlink_to('a')
    with pytest.raises(exceptions.VolumeError, match='symbolic links'):
        source.open_volume(str(tmp_path / 'a'))


def test_no_permission(volume: pathlib.Path) -> None:
    volume.chmod(0)
    for folder in volume.parents:
        if os.stat(folder).st_uid == os.geteuid() and folder.name.startswith('pytest'):
            folder.chmod(0o755)
    volume.parent.chmod(0o755)
    outcome = unprivileged.run(lambda: source.open_volume(str(volume)))
    assert outcome == f'VolumeError: cannot read volume {volume}: Permission denied'


def test_open_volume_is_plain_and_blocking(volume: pathlib.Path, data: bytes) -> None:
    with source.open_volume(str(volume)) as file:
        assert os.get_blocking(file.fileno()) and not os.get_inheritable(file.fileno())
        assert isinstance(source.open_source(file), source.FileSource)
        assert contents(source.open_source(file)) == data


@pytest.mark.parametrize('size', [0, 1, 511, STEP - 1, STEP, STEP + 1, 5 * STEP, 5 * STEP + 777])
@pytest.mark.parametrize('opened', ['raw', 'buffered', 'random', 'bytes', 'gzip', 'short'])
def test_any_size_through_any_file(tmp_path: pathlib.Path, size: int, opened: str) -> None:
    data = random.Random(size).randbytes(size)
    path = tmp_path / 'volume'
    path.write_bytes(gzip.compress(data) if opened == 'gzip' else data)
    with {'raw': lambda: open(path, 'rb', buffering=0), 'buffered': lambda: open(path, 'rb'),
          'random': lambda: open(path, 'r+b'), 'bytes': lambda: io.BytesIO(data),
          'gzip': lambda: gzip.open(path), 'short': lambda: ShortReads(data)}[opened]() as file:
        volume = source.open_source(file)
        fast = opened in ('raw', 'buffered', 'random')
        assert isinstance(volume, source.FileSource) == fast
        assert contents(volume) == data


class ShortReads(io.BytesIO):
    """Gives seven bytes at a time."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(7 if size is None or size < 0 else min(size, 7))


class SubclassedFile(io.FileIO):
    """Its bytes are not those of its descriptor."""

    def readinto(self, buffer: object, /) -> int:
        count = super().readinto(buffer)
        view = memoryview(buffer)
        view[:count] = bytes(byte ^ 0xff for byte in view[:count])
        return count

    def read(self, size: int | None = -1, /) -> bytes:
        return bytes(byte ^ 0xff for byte in super().read(size))


@pytest.mark.parametrize('wrap', [lambda raw: raw, io.BufferedReader])
def test_a_file_of_another_class_goes_through_read(volume: pathlib.Path, data: bytes,
                                                   wrap: Callable[[object], object]) -> None:
    with wrap(SubclassedFile(volume)) as file:
        opened = source.open_source(file)
        assert isinstance(opened, source.StreamSource)
        assert contents(opened) == bytes(byte ^ 0xff for byte in data)


def test_writes_that_were_not_flushed_are_seen(volume: pathlib.Path, data: bytes) -> None:
    with open(volume, 'r+b') as file:
        file.seek(100)
        file.write(b'changed')
        assert contents(source.open_source(file)) == data[:100] + b'changed' + data[107:]


def test_reading_begins_at_the_start(data: bytes) -> None:
    file = io.BytesIO(data)
    file.seek(1000)
    assert contents(source.open_source(file)) == data


def test_holes_are_not_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'volume'
    with open(path, 'wb') as file:
        file.truncate(64 << 20)
        file.seek(20 << 20)
        file.write(b'data')
    if os.stat(path).st_blocks * 512 >= 1 << 20:
        pytest.skip('this file system has no holes')
    with open(path, 'rb', buffering=0) as file:
        chunks = list(source.open_source(file).chunks(1 << 20))
        assert [chunk.offset >> 20 for chunk in chunks if chunk.read] == [20]
        assert sum(chunk.length for chunk in chunks) == 64 << 20


@pytest.mark.parametrize('holes', [
    [], [(0, 9)], [(0, 1)], [(8, 1)], [(2, 3)], [(0, 2), (3, 1), (6, 3)], [(1, 1), (3, 1), (5, 1)]])
def test_holes_that_somebody_tells_of(tmp_path: pathlib.Path, holes: list[tuple[int, int]]) -> None:
    """Whatever chunks there are, they have just what is not among them, and holes are not read."""
    path, unit = tmp_path / 'volume', 256 << 10
    data = bytearray(os.urandom(9 * unit - 5))
    for start, length in holes:
        end = min((start + length) * unit, len(data))
        data[start * unit:end] = bytes(end - start * unit)
    path.write_bytes(data)
    for size in (unit, 2 * unit, 3 * unit + 1, 20 * unit):
        with open(path, 'rb', buffering=0) as file:
            vars(file)['holes'] = [
                Extent(start * unit, min(length * unit, len(data) - start * unit))
                for start, length in holes]
            found, wanted = bytearray(), 0
            for chunk in source.open_source(file).chunks(size):
                view = memoryview(bytearray(chunk.length))
                for extent in chunk.data() if chunk.read else ():
                    at = extent.offset - chunk.offset
                    assert chunk.read is not None
                    chunk.read(extent.offset, view[at:at + extent.length])
                    wanted += extent.length
                found += view
        assert found == data
        assert wanted == len(data) - sum(
            min((start + length) * unit, len(data)) - start * unit for start, length in holes)


def piped(data: bytes) -> BinaryIO:
    """What reads `data` from a pipe."""
    receiving, sending = os.pipe()

    def feed() -> None:
        with open(sending, 'wb', buffering=0) as file:
            for at in range(0, len(data), 1500):
                file.write(data[at:at + 1500])

    threading.Thread(target=feed).start()
    return open(receiving, 'rb')


@pytest.mark.parametrize('size', [0, 1, STEP - 1, STEP, STEP + 1, 3 * STEP, 5 * STEP + 777])
def test_a_pipe_is_read_to_its_end(size: int) -> None:
    data = random.Random(size).randbytes(size)
    with piped(data) as file:
        volume = source.open_source(file)
        assert volume.size is None
        assert contents(volume) == data


def test_large_chunks_of_a_pipe_are_spooled(tmp_path: pathlib.Path) -> None:
    """All can be read, in any order, and their files go with them."""
    data = random.Random(3).randbytes((20 << 20) + 777)
    with piped(data) as file:
        volume = source.open_source(file, str(tmp_path))
        chunks = list(volume.chunks(9 << 20))
        assert spooled(tmp_path) == 3 == len(chunks)
        assert b''.join(read(chunk) for chunk in chunks) == data
        assert b''.join(read(chunk) for chunk in reversed(chunks)) != data
        del chunks
        gc.collect()
        assert spooled(tmp_path) == 0


def spooled(directory: pathlib.Path) -> int:
    """Open temporary files there."""
    links = [f'/proc/self/fd/{fd}' for fd in os.listdir('/proc/self/fd')]
    return sum(os.readlink(link).startswith(str(directory)) for link in links
               if os.path.islink(link))


def test_a_pipe_that_would_block_does_not_end() -> None:
    receiving, sending = os.pipe()
    os.set_blocking(receiving, False)
    with open(receiving, 'rb', buffering=0) as file, open(sending, 'wb', buffering=0) as feed:
        feed.write(b'x' * 100)
        with pytest.raises(exceptions.VolumeError, match='nothing yet'):
            contents(source.open_source(file))


def test_data_between_holes(tmp_path: pathlib.Path) -> None:
    """Small holes are read with what is around them, large ones are not."""
    with open(tmp_path / 'volume', 'w+b', buffering=0) as file:
        file.truncate(4 << 20)
        for at in (1 << 20, (1 << 20) + 8192, 3 << 20, (4 << 20) - 4096):
            os.pwrite(file.fileno(), b'x' * 4096, at)
        if os.lseek(file.fileno(), 0, os.SEEK_DATA) != 1 << 20:
            pytest.skip('this file system has no holes')
        chunk, = source.open_source(file).chunks(4 << 20)
        assert list(chunk.data()) == [Extent(1 << 20, 12288), Extent(3 << 20, 4096),
                                      Extent((4 << 20) - 4096, 4096)]
        file.truncate((3 << 20) + 10)
        with pytest.raises(exceptions.VolumeChanged, match='shrank'):
            list(chunk.data())


def test_a_file_that_shrinks(volume: pathlib.Path) -> None:
    with open(volume, 'r+b', buffering=0) as file:
        opened = source.open_source(file)
        with pytest.raises(exceptions.VolumeChanged, match='shrank'):
            for number, chunk in enumerate(opened.chunks(STEP)):
                if number == 1:
                    file.truncate(STEP + 10)
                read(chunk)


@pytest.mark.parametrize('length', [2 * STEP, STEP + 10])
def test_a_file_that_shrinks_at_a_chunk_is_not_a_hole(volume: pathlib.Path, length: int) -> None:
    """Behind the new end SEEK_DATA answers as it does for a hole."""
    with open(volume, 'r+b', buffering=0) as file:
        with pytest.raises(exceptions.VolumeChanged, match='shrank'):
            for number, chunk in enumerate(source.open_source(file).chunks(STEP)):
                read(chunk)
                if number == 1:
                    file.truncate(length)


def test_a_sparse_file_that_shrinks(tmp_path: pathlib.Path) -> None:
    with open(tmp_path / 'volume', 'w+b', buffering=0) as file:
        file.truncate(100 * STEP)
        with pytest.raises(exceptions.VolumeChanged, match='shrank'):
            for number, _ in enumerate(source.open_source(file).chunks(STEP)):
                if number == 50:
                    file.truncate(60 * STEP)


def test_a_file_that_grows_is_backed_up_as_it_was_opened(volume: pathlib.Path,
                                                         data: bytes) -> None:
    with open(volume, 'r+b', buffering=0) as file:
        opened = source.open_source(file)
        file.truncate(100 * STEP)
        assert contents(opened) == data


class Failing(io.BytesIO):
    """Fails at the second read."""

    def __init__(self, data: bytes, error: BaseException | None) -> None:
        super().__init__(data)
        self.error = error
        self.reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads < 2:
            return super().read(size)
        if self.error:
            raise self.error
        return b''


@pytest.mark.parametrize('error', [
    OSError(errno.EIO, 'Input/output error'), EOFError('compressed file ended'),
    RuntimeError('of the library below')])
def test_a_file_that_fails_midway(error: Exception) -> None:
    opened = source.open_source(Failing(bytes(3 * STEP), error))
    with pytest.raises(exceptions.VolumeError, match=f'byte {STEP}.*{error.args[-1]}'):
        contents(opened)


def test_a_stream_that_ends_early() -> None:
    with pytest.raises(exceptions.VolumeChanged, match=f'ends at byte {STEP}'):
        contents(source.open_source(Failing(bytes(3 * STEP), None)))


@pytest.mark.parametrize('damage', [
    lambda packed: packed[:-100], lambda packed: packed[:50] + b'\xff' * 20 + packed[70:],
    lambda packed: packed[:-8] + b'\0' * 8, lambda packed: b'no gzip at all'])
def test_a_damaged_gzip_file(tmp_path: pathlib.Path, data: bytes,
                             damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / 'volume.gz'
    path.write_bytes(damage(gzip.compress(data)))
    with gzip.open(path) as file, pytest.raises(exceptions.VolumeError):
        contents(source.open_source(file))


class ReadsTooMuch(io.BytesIO):
    """Gives more than it was asked for."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size) + b'and more'


def test_a_file_that_gives_more_than_asked() -> None:
    with pytest.raises(exceptions.VolumeError):
        contents(source.open_source(ReadsTooMuch(bytes(3 * STEP))))


def test_the_fast_path_says_where_reading_failed(volume: pathlib.Path) -> None:
    with open(volume, 'rb', buffering=0) as file:
        chunks = list(source.open_source(file).chunks(STEP))
    with pytest.raises(exceptions.VolumeError, match=f'cannot read {volume} at byte {STEP}'):
        read(chunks[1])
