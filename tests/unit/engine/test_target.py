"""Opening targets: what is refused, and that nothing is lost where something fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import ctypes
import io
import os
import pathlib
import random
import subprocess

import pytest

from backup_framework import exceptions
from backup_framework.engine import mounts, target, writing
from tests.unit.engine import unprivileged

SIZE = 10_000
NOISE = random.Random(1).randbytes(3 << 20)


def listing(folder: pathlib.Path) -> list[str]:
    return sorted(os.listdir(folder))


def refusal(path: object, size: int = SIZE, **options: object) -> str:
    """The sentence of an InvalidTarget, raised before the block was entered."""
    with pytest.raises(exceptions.InvalidTarget) as caught:
        with target.open_target(str(path), size, **options):
            pytest.fail('the target was opened')
    return str(caught.value)


@pytest.mark.timeout(20)
@pytest.mark.parametrize('force', [False, True])
@pytest.mark.parametrize('make, words', [
    (os.mkdir, 'neither a regular file nor'), (os.mkfifo, 'neither a regular file nor'),
    (lambda path: path.symlink_to('/dev/null'), 'neither a regular file nor'),
    (lambda path: path.symlink_to('/proc/self/missing'), ''),
    (lambda path: path.symlink_to(path.name), 'symbolic links'),
], ids=['directory', 'fifo', 'device', 'dangling', 'circle'])
def test_what_is_no_target(tmp_path: pathlib.Path, make: Callable[[pathlib.Path], object],
                           words: str, force: bool) -> None:
    path = tmp_path / 'target'
    make(path)
    assert words in refusal(path, force=force)
    assert listing(tmp_path) == ['target']


@pytest.mark.parametrize('name', ['', 'missing/target', 'file/target', 'nul\0byte', 'new/',
                                  'file/', 'x' * 300])
def test_impossible_names(tmp_path: pathlib.Path, name: str) -> None:
    (tmp_path / 'file').write_bytes(b'kept')
    refusal(f'{tmp_path}/{name}' if name else '', force=True)
    assert listing(tmp_path) == ['file'] and (tmp_path / 'file').read_bytes() == b'kept'


def test_an_existing_file_wants_force(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'target'
    path.write_bytes(bytes(SIZE))
    assert '--force' in refusal(path)
    with target.open_target(str(path), SIZE, force=True) as (file, fresh):
        assert not fresh and file.fileno() >= 0


def test_a_smaller_file_is_refused_and_kept(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'target'
    path.write_bytes(b'kept')
    sentence = refusal(path, force=True)
    assert '4 bytes' in sentence and str(SIZE) in sentence and '--truncate' in sentence
    assert path.read_bytes() == b'kept'


@pytest.mark.parametrize('length', [5, SIZE, 2 * SIZE])
def test_truncate_gives_the_file_the_length_of_the_backup(tmp_path: pathlib.Path,
                                                          length: int) -> None:
    path = tmp_path / 'target'
    path.write_bytes(NOISE[:length])
    with target.open_target(str(path), SIZE, force=True, truncate=True) as (file, fresh):
        restored = writing.wrap(file, fresh)
        restored.zero(0, SIZE)
        restored.finish(SIZE)
    assert path.read_bytes() == bytes(SIZE)


def test_the_tail_of_a_longer_file_is_told(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'target'
    path.write_bytes(bytes(SIZE + 3))
    assert target.tail_of(str(path), SIZE) == 3
    assert target.tail_of(str(path), SIZE + 4) == 0
    assert target.tail_of(str(tmp_path / 'missing'), SIZE) == 0
    assert target.tail_of('/dev/null', SIZE) == 0


@pytest.mark.parametrize('name', ['store/target', 'store', 'store/ab/../target', 'link/target',
                                  'to-object', './store//target', 'up/store/target'])
def test_nothing_is_restored_into_a_store(tmp_path: pathlib.Path, name: str) -> None:
    store = tmp_path / 'store'
    (store / 'ab').mkdir(parents=True)
    (store / 'object').write_bytes(b'kept')
    (tmp_path / 'link').symlink_to('store/ab')
    (tmp_path / 'to-object').symlink_to('store/object')
    (tmp_path / 'up').symlink_to('.')
    assert 'where backups are kept' in refusal(
        f'{tmp_path}/{name}', 2, force=True, truncate=True, forbidden=[str(store)])
    assert (store / 'object').read_bytes() == b'kept' and listing(store) == ['ab', 'object']


def test_a_store_behind_a_link_is_a_store(tmp_path: pathlib.Path) -> None:
    (tmp_path / 'real').mkdir()
    (tmp_path / 'store').symlink_to('real')
    refusal(tmp_path / 'real' / 'target', forbidden=[str(tmp_path / 'store')])


def test_a_neighbour_with_a_similar_name_is_no_store(tmp_path: pathlib.Path) -> None:
    (tmp_path / 'store').mkdir()
    path = tmp_path / 'store-2'
    with target.open_target(str(path), 0, forbidden=[str(tmp_path / 'store')]):
        pass
    assert path.exists()


def test_a_new_file_appears_at_the_end(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'target'
    with target.open_target(str(path), SIZE) as (file, fresh):
        assert fresh and not path.exists()
        partial, = listing(tmp_path)
        assert partial.startswith('.') and partial.endswith('.partial')
        assert os.stat(tmp_path / partial).st_mode & 0o777 == 0o600
        file.write(b'data')
    assert listing(tmp_path) == ['target'] and path.read_bytes() == b'data'


@pytest.mark.parametrize('name', ['a' * 255, 'ö' * 127, '日' * 85, '\udcff' * 255, ' ', '-f'],
                         ids=['ascii', 'umlauts', 'kanji', 'bytes', 'blank', 'dash'])
def test_every_name_that_a_file_may_have(tmp_path: pathlib.Path, name: str) -> None:
    with target.open_target(f'{tmp_path}/{name}', 0):
        pass
    assert listing(tmp_path) == [name]


@pytest.mark.parametrize('error', [OSError('of all things'), KeyboardInterrupt(),
                                   exceptions.CorruptObject('damaged')])
def test_a_failure_leaves_no_new_file(tmp_path: pathlib.Path, error: BaseException) -> None:
    with pytest.raises(type(error)), target.open_target(str(tmp_path / 'target'), SIZE) as (
            file, _):
        file.write(b'half')
        raise error
    assert listing(tmp_path) == []
    assert not getattr(error, '__notes__', [])


def test_a_failure_says_that_an_existing_file_is_damaged(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'target'
    path.write_bytes(bytes(SIZE))
    with pytest.raises(exceptions.CorruptObject) as caught:
        with target.open_target(str(path), SIZE, force=True) as (file, _):
            file.write(b'half')
            raise exceptions.CorruptObject('damaged')
    assert f'{path} is damaged now' in caught.value.__notes__[0]


@pytest.mark.parametrize('links', [True, False])
@pytest.mark.parametrize('make', [lambda path: path.write_bytes(b'kept'), os.mkdir,
                                  lambda path: path.symlink_to('nowhere')],
                         ids=['file', 'directory', 'link'])
def test_a_target_that_appears_meanwhile_is_left_alone(
        tmp_path: pathlib.Path, make: Callable[[pathlib.Path], object], links: bool,
        monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:
        monkeypatch.setattr(os, 'link', no_links)
    path = tmp_path / 'target'
    with pytest.raises(exceptions.InvalidTarget, match='meanwhile'):
        with target.open_target(str(path), SIZE) as (file, _):
            file.write(b'data')
            make(path)
    assert listing(tmp_path) == ['target']
    assert not path.is_file() or path.read_bytes() == b'kept'


def no_links(*args: object) -> None:
    raise PermissionError(1, 'Operation not permitted')


def test_a_file_system_without_hard_links(tmp_path: pathlib.Path,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, 'link', no_links)
    with target.open_target(str(tmp_path / 'target'), SIZE) as (file, _):
        file.write(b'data')
    assert listing(tmp_path) == ['target']


def test_no_permission(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / 'folder'
    folder.mkdir()
    path = folder / 'target'
    for above in (tmp_path, *tmp_path.parents):
        # Those that pytest made, also when workers have one more in between.
        if above.name.startswith(('pytest-', 'popen-', 'test_')):
            above.chmod(0o755)
    folder.chmod(0o555)
    assert unprivileged.run(lambda: open_and_close(folder / 'new')) == (
        f'InvalidTarget: cannot make a file in {folder}: Permission denied')
    folder.chmod(0o755)
    path.write_bytes(bytes(SIZE))
    path.chmod(0o444)
    assert unprivileged.run(lambda: open_and_close(path)) == (
        f'InvalidTarget: cannot restore to {path}: Permission denied')


def open_and_close(path: pathlib.Path) -> None:
    with target.open_target(str(path), SIZE, force=True):
        pass


@contextlib.contextmanager
def loop_device(path: pathlib.Path) -> Iterator[str]:
    """A block device that is this file."""
    if os.geteuid():
        pytest.skip('only root makes loop devices')
    made = subprocess.run(['losetup', '--find', '--show', str(path)], capture_output=True,
                          text=True, check=False)
    if made.returncode:
        pytest.skip(f'no loop device here: {made.stderr.strip()}')
    try:
        yield made.stdout.strip()
    finally:
        subprocess.run(['losetup', '--detach', made.stdout.strip()], check=True)


@pytest.fixture
def device(tmp_path: pathlib.Path) -> Iterator[str]:
    path = tmp_path / 'backing'
    path.write_bytes(NOISE)
    with loop_device(path) as made:
        yield made


def test_a_device(device: str) -> None:
    assert '--force' in refusal(device, SIZE)
    assert f'{len(NOISE)} bytes' in refusal(device, len(NOISE) + 1, force=True, truncate=True)
    with target.open_target(device, SIZE, force=True) as (file, fresh):
        restored = writing.wrap(file, fresh)
        restored.write(0, memoryview(b'first'))
        restored.zero(5, 100)
        restored.zero(4096, 4096)
        restored.zero(1 << 20, 1 << 20)
        restored.finish(SIZE)
    expected = bytearray(NOISE)
    expected[:105] = b'first' + bytes(100)
    expected[4096:8192] = bytes(4096)
    expected[1 << 20:2 << 20] = bytes(1 << 20)
    with open(device, 'rb') as read:
        assert read.read() == bytes(expected)


def test_a_device_in_use(device: str) -> None:
    held = os.open(device, os.O_RDONLY | os.O_EXCL)
    try:
        assert 'in use' in refusal(device, SIZE, force=True)
    finally:
        os.close(held)


@pytest.fixture
def mounted(tmp_path: pathlib.Path) -> Iterator[tuple[pathlib.Path, str, pathlib.Path]]:
    """A mounted image: file, device, mount point."""
    image, point = tmp_path / 'image', tmp_path / 'mount point'
    with open(image, 'wb') as file:
        file.truncate(4 << 20)
    made = subprocess.run(['/usr/sbin/mke2fs', '-q', image], capture_output=True, check=False)
    if made.returncode:
        pytest.skip('mke2fs does not work here')
    point.mkdir()
    with loop_device(image) as made_device:
        tried = subprocess.run(['mount', made_device, point], capture_output=True, text=True,
                               check=False)
        if tried.returncode:
            pytest.skip(f'mounting is not possible: {tried.stderr.strip()}')
        try:
            yield image, made_device, point
        finally:
            subprocess.run(['umount', point], check=True)


def test_a_mounted_device_or_image_is_refused(
        mounted: tuple[pathlib.Path, str, pathlib.Path]) -> None:
    image, made_device, point = mounted
    for path in (image, made_device):
        assert refusal(path, SIZE, force=True) == f'{path} is mounted at {point}'
    held = mounts.mount_of(str(point / 'lost+found'))
    assert held is not None and held.mount_point == str(point) and held.writable


class Picky(io.BytesIO):
    """Takes bytes only, and not many at once."""

    def write(self, data: object, /) -> int:
        assert type(data) is bytes
        return super().write(data[:1000])


class Silent(io.BytesIO):
    """Does not say how much it took, and cannot tell where it is."""

    def write(self, data: object, /) -> None:
        super().write(data)

    def tell(self) -> int:
        raise io.UnsupportedOperation('tell')


class Full(io.BytesIO):
    """Takes nothing."""

    def write(self, data: object, /) -> int:
        return 0


@pytest.mark.parametrize('kind', [Picky, Silent, io.BytesIO])
@pytest.mark.parametrize('fresh', [False, True])
def test_objects_with_write_and_seek(kind: type[io.BytesIO], fresh: bool) -> None:
    file = kind() if fresh else kind(NOISE[:250_000])
    restored = writing.wrap(file, fresh)
    restored.zero(200_000, 10_000)
    restored.write(5, memoryview(b'\0' * 100_000 + NOISE[:50_000]))
    restored.zero(0, 5)
    restored.zero(150_005, 49_995)
    restored.finish(210_000)
    expected = bytes(100_005) + NOISE[:50_000] + bytes(59_995)
    assert file.getvalue() == expected + (b'' if fresh else NOISE[210_000:250_000])


@pytest.mark.timeout(20)
def test_a_target_that_takes_nothing_is_an_error() -> None:
    with pytest.raises(exceptions.VolumeError):
        writing.wrap(Full(), False).write(0, memoryview(b'data'))


@pytest.mark.parametrize('make', [
    lambda path: open(path, 'rb', buffering=0), lambda path: open(path, 'rb'),
    lambda path: open(path, 'ab')], ids=['read-only', 'buffered', 'append'])
def test_files_that_cannot_be_written_at_a_place(tmp_path: pathlib.Path,
                                                 make: Callable[[object], object]) -> None:
    path = tmp_path / 'target'
    path.write_bytes(NOISE[:SIZE])
    with make(path) as file, pytest.raises(exceptions.BackupFrameworkError):
        writing.wrap(file, False).write(0, memoryview(b'data'))
    assert path.read_bytes() == NOISE[:SIZE]


def test_a_pipe_is_no_target() -> None:
    receiving, sending = os.pipe()
    with open(receiving, 'rb'), open(sending, 'wb') as file:
        with pytest.raises(exceptions.VolumeError):
            writing.wrap(file, True).write(0, memoryview(b'data'))


def test_a_full_file_system(tmp_path: pathlib.Path) -> None:
    """RLIMIT_FSIZE would be EFBIG; a small tmpfs is the real thing."""
    if os.geteuid():
        pytest.skip('only root mounts a small tmpfs')
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b'tmpfs', os.fsencode(tmp_path), b'tmpfs', 0, b'size=1m'):
        pytest.skip('mounting a tmpfs is not possible')
    try:
        with pytest.raises(exceptions.NoSpace, match='at byte'):
            with target.open_target(str(tmp_path / 'target'), len(NOISE)) as (file, fresh):
                writing.wrap(file, fresh).write(0, memoryview(NOISE))
        assert listing(tmp_path) == []
    finally:
        libc.umount2(os.fsencode(tmp_path), 2)


def test_zeroing_a_used_file_does_not_lengthen_it_at_once(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'target'
    path.write_bytes(NOISE[:SIZE])
    with open(path, 'r+b', buffering=0) as file:
        restored = writing.wrap(file, False)
        restored.zero(SIZE - 10, 1 << 40)
        restored.finish(SIZE + 5)
    assert path.read_bytes() == NOISE[:SIZE - 10] + bytes(15)


@pytest.mark.parametrize('data, runs', [
    (b'', []), (bytes(1), []), (b'x', [(0, 1)]), (bytes(1 << 20), []),
    (bytes(65536) + b'x', [(65536, 65537)]), (b'x' + bytes(65536), [(0, 65536)]),
    (b'x' * 65536 + bytes(65536) + b'x' * 10, [(0, 65536), (131072, 131082)])])
def test_data_runs(data: bytes, runs: list[tuple[int, int]]) -> None:
    assert list(writing.data_runs(memoryview(data))) == runs


def test_a_failure_before_the_first_write_damages_nothing(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'target'
    path.write_bytes(b'k' * (SIZE + 5))
    with pytest.raises(exceptions.CorruptManifest) as caught:
        with target.open_target(str(path), SIZE, force=True, truncate=True):
            raise exceptions.CorruptManifest('damaged')
    assert not hasattr(caught.value, '__notes__')
    assert path.read_bytes() == b'k' * (SIZE + 5)


def test_a_file_with_other_names_is_left_alone(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'target'
    path.write_bytes(b'k' * SIZE)
    (tmp_path / 'object').hardlink_to(path)
    assert 'hard links' in refusal(path, force=True)


def test_a_store_is_known_under_another_mount(tmp_path: pathlib.Path) -> None:
    if os.geteuid():
        pytest.skip('only root mounts')
    store, elsewhere = tmp_path / 'store', tmp_path / 'elsewhere'
    store.mkdir()
    elsewhere.mkdir()
    subprocess.run(['mount', '--bind', store, elsewhere], check=True)
    try:
        assert 'where backups are kept' in refusal(
            elsewhere / 'target', forbidden=[str(store)])
    finally:
        subprocess.run(['umount', elsewhere], check=True)
    assert list(store.iterdir()) == []


def test_an_object_is_known_under_a_mount_of_its_own(tmp_path: pathlib.Path) -> None:
    if os.geteuid():
        pytest.skip('only root mounts')
    store, elsewhere = tmp_path / 'store', tmp_path / 'elsewhere'
    store.mkdir()
    (store / 'object').write_bytes(b'k' * SIZE)
    elsewhere.touch()
    subprocess.run(['mount', '--bind', store / 'object', elsewhere], check=True)
    try:
        assert 'where backups are kept' in refusal(
            elsewhere, force=True, truncate=True, forbidden=[str(store)])
    finally:
        subprocess.run(['umount', elsewhere], check=True)
    assert (store / 'object').read_bytes() == b'k' * SIZE
