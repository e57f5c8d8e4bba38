"""NBD exports as volumes, of a real qemu-nbd: holes, dirty bitmaps, streams, servers that fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import logging
import os
from pathlib import Path
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from typing import Any
import uuid

import pytest

from backup_framework import conf, exceptions
from backup_framework.engine import writing
from backup_framework.manager import Manager
from backup_framework.model import Extent, Settings, Volume
from backup_framework.testing import sources
from backup_framework.testing.sources import content, write
from backup_framework.volumes import nbd
from backup_framework.volumes.nbd import NBDVolumes

KIB, MIB = 1 << 10, 1 << 20
SIZE = 9 * MIB
DATA = random.Random(2).randbytes(MIB)


@pytest.fixture(autouse=True)
def no_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing stays, however a case ends."""
    folder = tmp_path / 'temporary'
    folder.mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(folder))
    yield
    assert str(folder) not in Path('/proc/mounts').read_text()
    assert not list(folder.iterdir())


@pytest.fixture(autouse=True)
def programs(require_part: Callable[[str, str], None]) -> None:
    for part, program in (('qemu', 'qemu-nbd'), ('nbd', 'nbdinfo'), ('nbd', 'nbdkit')):
        if shutil.which(program) is None:
            require_part(part, f'no {program}')


@pytest.fixture(params=['nbdfuse', 'nbdcopy'])
def fuse(request: pytest.FixtureRequest) -> bool:
    if request.param == 'nbdfuse' and not os.access('/dev/fuse', os.W_OK):
        pytest.skip('this host has no FUSE')
    return request.param == 'nbdfuse'


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Data, a hole, data."""
    made = tmp_path / 'disk.raw'
    with open(made, 'wb') as file:
        file.write(DATA)
        file.seek(8 * MIB)
        file.write(DATA)
    return made


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts a server, and gives the address of its export."""
    with contextlib.ExitStack() as end:
        def start(*command: object, waiting_for: Path | None = None) -> str:
            socket = waiting_for or tmp_path / f'{len(os.listdir(tmp_path))}.sock'
            words = [str(word).format(socket=socket) for word in command]
            process = end.enter_context(subprocess.Popen(words, stderr=subprocess.DEVNULL))
            end.callback(process.kill)
            until = time.monotonic() + 20
            while not socket.exists():
                assert process.poll() is None and time.monotonic() < until
                time.sleep(0.01)
            start.process = process  # type: ignore[attr-defined]
            return f'nbd+unix:///disk?socket={socket}'
        yield start


def run(*words: object, input: bytes | None = None) -> None:
    subprocess.run([str(word) for word in words], input=input, check=True, capture_output=True,
                   timeout=60)


def qemu(image: Path, *options: str, kind: str = 'raw', clients: int = 1) -> list[object]:
    return ['qemu-nbd', '-t', '-e', clients, '-x', 'disk', '-f', kind, '-k', '{socket}', *options,
            image]


def of(*uris: str, **options: Any) -> NBDVolumes:
    return NBDVolumes(Settings(NBDVolumes.OPTIONS, {'uris': list(uris)} | options))


class TestNBD(sources.SourceKit):

    @pytest.fixture
    def source(self, serve: Callable[..., str], image: Path, fuse: bool) -> NBDVolumes:
        other = image.with_name('other.raw')
        shutil.copy(image, other)
        return of(serve(*qemu(image)), serve(*qemu(other)), fuse=fuse)


def first(source: NBDVolumes) -> Volume:
    return next(iter(source.volumes()))


def test_what_an_export_is_called(serve: Callable[..., str], image: Path, tmp_path: Path) -> None:
    uri, gone = serve(*qemu(image)), f'nbd+unix:///other?socket={tmp_path}/gone'
    source = of(uri, gone, uri.replace('disk?', 'nope?'))
    assert [(v.name, v.size_bytes, v.status) for v in source.volumes()] == [
        ('disk', SIZE, 'available'), ('other', None, 'error'), ('nope', None, 'error')]
    with pytest.raises(exceptions.VolumeError, match='cannot use .*gone'):
        source.check()


def test_holes_are_not_read(serve: Callable[..., str], image: Path, fuse: bool) -> None:
    if not fuse:
        pytest.skip('nbdcopy looks for holes by itself')
    source = of(serve(*qemu(image)))
    with source.open(first(source)) as opened:
        assert vars(opened.file)['holes'] == [Extent(MIB, 7 * MIB)]
    assert content(source, first(source)) == image.read_bytes()


def test_a_server_that_lies_about_zeros_is_not_believed(
        serve: Callable[..., str], image: Path, tmp_path: Path, fuse: bool,
        caplog: pytest.LogCaptureFixture) -> None:
    if not fuse:
        pytest.skip('nbdcopy believes it')
    image.write_bytes(DATA * (SIZE // MIB))
    uri = serve('nbdkit', '-f', '-r', '-U', '{socket}', '-e', 'disk', 'sh', liar(tmp_path, image))
    source = of(uri)
    with caplog.at_level(logging.WARNING):
        assert content(source, first(source)) == image.read_bytes()
    assert 'and they are not' in caplog.text


def liar(folder: Path, image: Path) -> Path:
    script = folder / 'liar.sh'
    script.write_text(textwrap.dedent(f"""\
        #!/bin/sh
        case "$1" in
          get_size) stat -c %s {image} ;;
          pread) dd if={image} bs=65536 iflag=skip_bytes,count_bytes skip=$4 count=$3 status=none ;;
          can_extents) exit 0 ;;
          extents) echo 0 {SIZE} hole,zero ;;
          *) exit 2 ;;
        esac
        """))
    script.chmod(0o755)
    return script


@pytest.fixture
def tracked(tmp_path: Path, image: Path) -> tuple[Path, str]:
    """A qcow2 with a bitmap since backup ID, in which 64 KiB at 2 MiB and at 8 MiB were written."""
    made, backup = tmp_path / 'disk.qcow2', str(uuid.uuid4())
    for words in (['qemu-img', 'convert', '-q', '-O', 'qcow2', image, made],
                  ['qemu-img', 'bitmap', '--add', '-g', '65536', made, f'backup-{backup}'],
                  ['qemu-io', '-c', 'write -P 7 2M 4k', '-c', 'write -P 8 8M 64k', made]):
        run(*words)
    return made, backup


def test_a_dirty_bitmap_of_the_parent(serve: Callable[..., str], tracked: tuple[Path, str],
                                      fuse: bool) -> None:
    image, backup = tracked
    source = of(serve(*qemu(image, '-r', '-B', f'backup-{backup}', kind='qcow2')), fuse=fuse)
    expected = [Extent(2 * MIB, 64 * KIB), Extent(8 * MIB, 64 * KIB)] if fuse else None
    with source.open(first(source), since=backup) as opened:
        assert opened.changed == expected
        assert opened.changed_since == (backup if fuse else None)
    with source.open(first(source)) as opened:
        assert opened.changed is None
    with source.open(first(source), since=str(uuid.uuid4())) as opened:
        assert opened.changed is None


def test_a_read_only_export_is_no_target(serve: Callable[..., str], image: Path) -> None:
    source = of(serve(*qemu(image, '-r')))
    with pytest.raises(exceptions.InvalidTarget, match='read-only'), \
            source.open_target(first(source)):
        pass


def test_a_server_that_dies_while_it_is_read(serve: Callable[..., str], image: Path, fuse: bool
                                             ) -> None:
    with open(image, 'r+b') as file:
        for _ in range(64):
            file.write(DATA)
    source = of(serve(*qemu(image)), fuse=fuse)
    with pytest.raises(exceptions.VolumeError, match=r'cannot read|to its end: nbdcopy: .+'), \
            source.open(first(source)) as opened:
        serve.process.kill()  # type: ignore[attr-defined]
        for chunk in sources.reading.open_source(opened.file).chunks(MIB):
            assert chunk.read is not None
            chunk.read(chunk.offset, memoryview(bytearray(chunk.length)))


def test_zeros_that_are_restored_through_nbdfuse_are_zeros(
        serve: Callable[..., str], image: Path, tmp_path: Path, fuse: bool) -> None:
    """It makes a trim of a hole that is punched, and qemu-nbd need not heed that."""
    if not fuse:
        pytest.skip('this is of nbdfuse')
    point = tmp_path / 'point'
    point.mkdir()
    process = subprocess.Popen(['nbdfuse', point / 'volume', serve(*qemu(image))])
    try:
        until = time.monotonic() + 20
        while not (point / 'volume').exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        with open(point / 'volume', 'r+b', buffering=0) as file:
            to = writing.wrap(file, fresh=False)
            to.zero(0, SIZE)
            to.finish(SIZE)
    finally:
        process.terminate()
        process.wait(20)
    assert image.read_bytes() == bytes(SIZE)


def test_a_server_that_dies_while_it_is_written(serve: Callable[..., str], image: Path) -> None:
    source = of(serve(*qemu(image)))
    with pytest.raises((exceptions.VolumeError, OSError)), source.open_target(first(source)) as to:
        serve.process.kill()  # type: ignore[attr-defined]
        assert not isinstance(to, str)
        for _ in range(SIZE // MIB):
            to.write(DATA)


def test_more_than_there_is_room_for(serve: Callable[..., str], image: Path) -> None:
    source = of(serve(*qemu(image)))
    with pytest.raises((exceptions.VolumeError, OSError)):
        write(source, first(source), bytes(SIZE) + DATA)


def test_a_restore_that_fails_writes_no_more(serve: Callable[..., str], image: Path) -> None:
    """What is in the pipe then is lost; it must not be taken for the end of the volume."""
    source = of(serve(*qemu(image)))
    with pytest.raises(ZeroDivisionError), source.open_target(first(source)) as to:
        assert not isinstance(to, str)
        to.write(bytes(64 * KIB))
        raise ZeroDivisionError
    assert image.read_bytes()[8 * MIB:] == DATA


def test_a_killed_process_leaves_no_mount(serve: Callable[..., str], image: Path, fuse: bool,
                                          tmp_path: Path) -> None:
    uri, folder = serve(*qemu(image)), tmp_path / 'of the child'
    folder.mkdir()

    def mounted() -> int:
        return Path('/proc/mounts').read_text().count(f'{tmp_path}/of\\040the\\040child')

    child = subprocess.Popen([sys.executable, '-c', textwrap.dedent(f"""
        import time
        from backup_framework.model import Settings, Volume
        from backup_framework.volumes.nbd import NBDVolumes
        source = NBDVolumes(Settings(NBDVolumes.OPTIONS, {{'uris': [{uri!r}], 'fuse': {fuse}}}))
        with source.open(Volume(source_id={uri!r})):
            print('open', flush=True)
            time.sleep(60)
        """)], stdout=subprocess.PIPE, env=os.environ | {'TMPDIR': str(folder)})
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b'open\n'
        assert (mounted() > 0) == fuse
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    until = time.monotonic() + 10
    while mounted():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_server_that_does_not_answer_hides_no_other(
        serve: Callable[..., str], image: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / 's'))
        listening.listen()
        source = of(f'nbd+unix:///x?socket={tmp_path}/s', serve(*qemu(image)))
        assert [volume.status for volume in source.volumes()] == ['unknown', 'available']


@pytest.mark.parametrize(('options', 'words'), [
    ({'uris': ['/dev/nbd0']}, 'is no address'),
    ({'uris': ['nbd://h/x'], 'bitmap': 'nightly'}, 'since which backup')])
def test_sections_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(exceptions.ConfigurationError, match=words):
        NBDVolumes(Settings(NBDVolumes.OPTIONS, options))


def test_a_host_without_libnbd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(exceptions.VolumeError, match='no program nbdinfo.*libnbd-bin'):
        of('nbd://127.0.0.1:1/x').check()


def test_what_is_known_of_an_export_stays_while_its_only_client_is_served(
        serve: Callable[..., str], image: Path, fuse: bool, monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path) -> None:
    uri = serve(*qemu(image))
    (tmp_path / 'conf').write_text(f'[DEFAULT]\nstate_path = {tmp_path}/state\n'
                                   f'[volumes:a]\ntype = nbd\nuris = {uri}\nfuse = {fuse}\n')
    with Manager(conf.load([str(tmp_path / 'conf')])) as manager:
        def known() -> list[tuple[str, int | None]]:
            for offer in manager.sources.offers():
                assert offer.error is None
                manager.catalog.offer_volumes(offer.source, offer.volumes, offer.snapshots)
            return [(volume.status, volume.size_bytes)
                    for volume in manager.catalog.volume_page(None).items]

        def known_while_taken() -> list[tuple[str, int | None]]:
            with socket.socket(socket.AF_UNIX) as client, monkeypatch.context() as patch:
                client.connect(uri.partition('socket=')[2])
                patch.setattr(nbd, '_SECONDS_TO_LIST', 0.3)
                return known()

        assert known_while_taken() == [('unknown', None)]
        assert known() == known_while_taken() == [('available', SIZE)]
        for way in (manager.sources.read, manager.sources.target):
            volume, = manager.catalog.volume_page(None).items
            with way(volume), monkeypatch.context() as patch:
                patch.setattr(subprocess, 'Popen', None)  # it is not asked
                assert known() == [('available', SIZE)]


def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nbd, '_SECONDS', 0.3)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / 's'))
        listening.listen()
        with pytest.raises(exceptions.VolumeError, match=r'no answer within 0\.3 s'):
            of(f'nbd+unix:///x?socket={tmp_path}/s').check()
