"""Jobs on volumes of real sources, as a worker runs them: offered, backed up, restored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import random
from typing import Any

import pytest

from backup_framework import conf, exceptions
from backup_framework.catalog import Catalog
from backup_framework.manager import Manager
from backup_framework.manager.accepting import CreateJob
from backup_framework.model import Backup, JobState, Volume
from tests.unit.volumes.conftest import loop, reflinks  # noqa: F401
from tests.unit.volumes.test_nbd import programs, qemu, run, serve  # noqa: F401

KIB, MIB = 1 << 10, 1 << 20
BEFORE = random.Random(4).randbytes(4 * MIB) + bytes(2 * MIB) + random.Random(5).randbytes(6 * MIB)
AFTER = BEFORE[:5 * MIB] + b'changed' + BEFORE[5 * MIB + 7:]


class House:
    """An installation in this process, with the sources of a text."""

    def __init__(self, folder: Path, text: str) -> None:
        file = folder / 'backup.conf'
        file.write_text(
            f'[DEFAULT]\nenabled_backends = shelf\nstate_path = {folder}/state\n'
            f'[shelf]\ndriver = local\npath = {folder}/store\nchunk_size = 1MiB\n{text}')
        self.told: list[str] = []
        configuration = conf.load([str(file)])
        self.catalog = Catalog(configuration.connection, configuration.state_path)
        self.manager = Manager(configuration, self.catalog, warn=self.told.append)
        self.manager.__enter__()

    def close(self) -> None:
        self.manager.__exit__(None, None, None)
        self.catalog.close()

    def volumes(self) -> dict[str | None, Volume]:
        """What a worker offers now, by name."""
        for offer in self.manager.sources.offers():
            assert offer.error is None
            self.catalog.offer_volumes(offer.source, offer.volumes, offer.snapshots)
        return {each.name: each for each in self.catalog.volume_page(None).items}

    def back_up(self, name: str, **more: Any) -> Backup:
        backup, job = self.manager.accept_create(CreateJob(self.volumes()[name].id, **more))
        self.manager.run_job(job)
        assert self.catalog.job(job.id).state == JobState.DONE
        return self.catalog.get_backup(backup.id)

    def restore(self, backup: Backup, to: str | None = None) -> Volume:
        volume_id = None if to is None else self.volumes()[to].id
        _, volume, job = self.manager.accept_restore(backup.id, volume_id=volume_id, name='back')
        self.manager.run_job(job)
        return self.catalog.get_volume(volume.id)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[[str], House]]:
    made: list[House] = []

    def make(text: str) -> House:
        made.append(House(tmp_path, text))
        return made[-1]
    yield make
    for each in made:
        each.close()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each call that read a volume."""
    seen: list[int] = []
    preadv = os.preadv

    def counting(fd: int, buffers: list[memoryview], offset: int) -> int:
        seen.append(preadv(fd, buffers, offset))
        return seen[-1]

    monkeypatch.setattr(os, 'preadv', counting)
    return seen


def test_files(house: Callable[[str], House], tmp_path: Path) -> None:
    images = tmp_path / 'images'
    images.mkdir()
    (images / 'disk').write_bytes(BEFORE)
    it = house(f'[volumes:images]\ntype = file\npath = {images}\nproject_id = demo\n')
    with open(images / 'disk', 'r+b') as file:
        with pytest.raises(exceptions.InvalidVolume):
            it.back_up('disk', project_id='demo')
        forced = it.back_up('disk', project_id='demo', force=True)
        assert forced.warnings and 'in use' in forced.warnings[0]
        file.seek(5 * MIB)
        file.write(b'changed')
    backup = it.back_up('disk', project_id='demo', incremental=True)
    made = it.restore(backup)
    assert (made.name, made.source, made.source_id, made.status) == (
        'back', 'images', 'back', 'available')
    assert (images / 'back').read_bytes() == AFTER
    it.restore(forced, 'disk')
    assert (images / 'disk').read_bytes() == BEFORE
    assert sorted(path.name for path in images.iterdir()) == ['back', 'disk']


def test_kept_states(house: Callable[[str], House], reflinks: Path,  # noqa: F811
                     read: list[int]) -> None:
    """Consistent though somebody writes, and the next one reads what changed."""
    (reflinks / 'disk').write_bytes(BEFORE)
    try:
        it = house(f'[volumes:images]\ntype = file\npath = {reflinks}\nkeep_snapshot = yes\n')
        with open(reflinks / 'disk', 'r+b') as file:
            first = it.back_up('disk', force=True)
            assert not first.warnings
            file.seek(5 * MIB)
            file.write(b'changed')
        read.clear()
        second = it.back_up('disk', incremental=True)
        assert not second.warnings and 0 < sum(read) < 8 * MIB
        assert len(list(reflinks.glob('.*'))) == 1
        it.restore(second)
        assert (reflinks / 'back').read_bytes() == AFTER
        assert it.told == []
    finally:
        for path in reflinks.iterdir():
            path.unlink()


def test_a_failed_backup_leaves_no_snapshot(house: Callable[[str], House],
                                            reflinks: Path, tmp_path: Path) -> None:  # noqa: F811
    (reflinks / 'disk').write_bytes(BEFORE)
    try:
        it = house(f'[volumes:images]\ntype = file\npath = {reflinks}\nkeep_snapshot = yes\n')
        (tmp_path / 'store').write_text('in the way')
        with pytest.raises(exceptions.BackupFrameworkError):
            it.back_up('disk')
        assert [path.name for path in reflinks.iterdir()] == ['disk']
    finally:
        for path in reflinks.iterdir():
            path.unlink()


def test_a_block_device(house: Callable[[str], House], loop: Callable[..., str],  # noqa: F811
                        tmp_path: Path) -> None:
    (tmp_path / 'image').write_bytes(BEFORE)
    device = loop(tmp_path / 'image')
    it = house(f'[volumes:disks]\ntype = block\ndevices = {device}\n')
    name = os.path.basename(device)
    backup = it.back_up(name)
    with open(device, 'r+b') as file:
        file.write(bytes(MIB))
    it.restore(backup, name)
    assert (tmp_path / 'image').read_bytes() == BEFORE
    with pytest.raises(exceptions.Refused, match='no volume can be made'):
        it.restore(backup)


@pytest.mark.parametrize('fuse', ['yes', 'no'])
def test_an_nbd_export(house: Callable[[str], House], serve: Callable[..., str],  # noqa: F811
                       tmp_path: Path, fuse: str, read: list[int]) -> None:
    if fuse == 'yes' and not os.access('/dev/fuse', os.W_OK):
        pytest.skip('this host has no FUSE')
    raw, image, socket = tmp_path / 'raw', tmp_path / 'disk.qcow2', tmp_path / '0.sock'
    raw.write_bytes(BEFORE)
    run('qemu-img', 'convert', '-q', '-O', 'qcow2', raw, image)
    it = house(f'[volumes:exports]\ntype = nbd\nuris = nbd+unix:///disk?socket={socket}\n'
               f'fuse = {fuse}\n')

    def served(*options: str) -> Any:
        serve(*qemu(image, *options, kind='qcow2'), waiting_for=socket)
        return serve.process  # type: ignore[attr-defined]

    def stop(process: Any) -> None:
        process.terminate()
        process.wait(20)
        socket.unlink(missing_ok=True)

    process = served('-r')
    first = it.back_up('disk')
    stop(process)
    run('qemu-img', 'bitmap', '--add', '-g', '65536', image, f'backup-{first.id}')
    run('qemu-io', '-c', 'write -s /dev/stdin 5M 512', image,
        input=AFTER[5 * MIB:5 * MIB + 512])
    process = served('-r', '-B', f'backup-{first.id}')
    read.clear()
    second = it.back_up('disk', incremental=True)
    assert second.is_incremental and not second.warnings
    if fuse == 'yes':
        assert 64 * KIB < sum(read) < 8 * MIB
    stop(process)
    process = served()
    it.restore(first, 'disk')
    stop(process)
    run('qemu-img', 'convert', '-O', 'raw', image, raw)
    assert raw.read_bytes() == BEFORE
    process = served()
    it.restore(second, 'disk')
    stop(process)
    run('qemu-img', 'convert', '-O', 'raw', image, raw)
    assert raw.read_bytes() == AFTER
