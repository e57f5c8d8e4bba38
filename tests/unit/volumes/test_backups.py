"""Backups of what sources give, through the driver: hints that are right, wrong, or of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import random
import uuid

import pytest

from backup_framework.engine.monitor import Operation
from backup_framework.interface.volume_source import VolumeSource
from backup_framework.model import Backup, Settings, Volume
from backup_framework.testing import memory
from backup_framework.volumes.file import FileVolumes
from backup_framework.volumes.nbd import NBDVolumes
from tests.unit.driver import chains
from tests.unit.volumes.test_nbd import programs, qemu, run, serve  # noqa: F401

Take = Callable[..., tuple[Backup, Operation]]
KIB, MIB = 1 << 10, 1 << 20
BEFORE = random.Random(3).randbytes(16 * MIB)
AFTER = BEFORE[:5 * MIB] + b'changed' + BEFORE[5 * MIB + 7:]


@pytest.fixture
def driver() -> memory.MemoryBackupDriver:
    return chains.make_driver(format='2.0.0', chunk_size=MIB, block_size=64 * KIB, workers=2)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Bytes of each call that read a volume."""
    seen: list[int] = []
    preadv = os.preadv

    def counting(fd: int, buffers: list[memoryview], offset: int) -> int:
        got = preadv(fd, buffers, offset)
        seen.append(got)
        return got

    monkeypatch.setattr(os, 'preadv', counting)
    yield seen


def back_up(driver: memory.MemoryBackupDriver, source: VolumeSource, volume: Volume,
            parent: Backup | None = None) -> tuple[Backup, Operation]:
    """As a worker does: the parent is named, and its hint, if any, goes to the driver."""
    keeps = source.capabilities().keeps
    snapshot = source.make_snapshot(volume) if keeps else None
    with source.open(volume, snapshot, since=parent.id if parent else None) as opened:
        operation = Operation(changed=opened.changed)
        backup = chains.take(driver, opened.file, parent, operation)
        if keeps:
            source.keep(volume, str(opened.taken), backup.id)
    return backup, operation


class TestBitmaps:
    """Of a real qcow2: QEMU notes what qemu-io writes."""

    @pytest.fixture
    def image(self, tmp_path: Path) -> Path:
        made = tmp_path / 'disk.qcow2'
        (tmp_path / 'raw').write_bytes(BEFORE)
        run('qemu-img', 'convert', '-q', '-O', 'qcow2', tmp_path / 'raw', made)
        return made

    @pytest.fixture(params=[True, False])
    def take(self, request: pytest.FixtureRequest, serve: Callable[..., str],  # noqa: F811
             driver: memory.MemoryBackupDriver, image: Path) -> Take:
        """Backs up the image as it is now, with the bitmaps that are named."""
        if request.param and not os.access('/dev/fuse', os.W_OK):
            pytest.skip('this host has no FUSE')

        def take(parent: Backup | None = None, *bitmaps: str) -> tuple[Backup, Operation]:
            options = [word for name in bitmaps for word in ('-B', name)]
            uri = serve(*qemu(image, '-r', *options, kind='qcow2'))
            source = NBDVolumes(Settings(NBDVolumes.OPTIONS, {
                'uris': [uri], 'fuse': request.param}))
            try:
                return back_up(driver, source, next(iter(source.volumes())), parent)
            finally:
                # It locks the image.
                serve.process.terminate()  # type: ignore[attr-defined]
                serve.process.wait(20)  # type: ignore[attr-defined]

        take.hinted = request.param  # type: ignore[attr-defined]
        return take

    def test_only_what_it_names_is_read(
            self, driver: memory.MemoryBackupDriver, image: Path, read: list[int], take: Take
            ) -> None:
        parent, _ = take()
        name = f'backup-{parent.id}'
        run('qemu-img', 'bitmap', '--add', '-g', '65536', image, name)
        run('qemu-io', '-c', 'write -s /dev/stdin 5M 512', image,
            input=b'changed' + BEFORE[5 * MIB + 7:5 * MIB + 512])
        read.clear()
        backup, operation = take(parent, name)
        assert chains.bring_back(driver, backup) == AFTER
        assert not operation.warnings
        if take.hinted:  # type: ignore[attr-defined]
            assert 64 * KIB < sum(read) < 8 * MIB

    def test_one_that_leaves_a_change_out(
            self, driver: memory.MemoryBackupDriver, image: Path, take: Take) -> None:
        """Begun too late: most of the volume was written before."""
        parent, _ = take()
        run('qemu-io', '-c', 'write -P 9 0 15M', image)
        name = f'backup-{parent.id}'
        run('qemu-img', 'bitmap', '--add', '-g', '65536', image, name)
        backup, operation = take(parent, name)
        assert chains.bring_back(driver, backup) == b'\x09' * (15 * MIB) + BEFORE[15 * MIB:]
        if take.hinted:  # type: ignore[attr-defined]
            assert 'changed extents are wrong' in operation.warnings[0]

    def test_one_of_another_backup(
            self, driver: memory.MemoryBackupDriver, image: Path, take: Take) -> None:
        parent, _ = take()
        run('qemu-io', '-c', 'write -P 9 0 64k', image)
        name = f'backup-{uuid.uuid4()}'
        run('qemu-img', 'bitmap', '--add', '-g', '65536', image, name)
        backup, operation = take(parent, name)
        assert chains.bring_back(driver, backup) == b'\x09' * 65536 + BEFORE[65536:]
        assert not operation.warnings


class TestKeptStates:

    @pytest.fixture
    def source(self, reflinks: Path) -> Iterator[FileVolumes]:
        (reflinks / 'disk').write_bytes(BEFORE)
        yield FileVolumes(Settings(FileVolumes.OPTIONS, {
            'path': str(reflinks), 'keep_snapshot': True}))
        for path in reflinks.iterdir():
            path.unlink()

    def test_only_what_differs_is_read(self, driver: memory.MemoryBackupDriver, reflinks: Path,
                                       source: FileVolumes, read: list[int]) -> None:
        volume = next(iter(source.volumes()))
        parent, _ = back_up(driver, source, volume)
        assert sum(read) >= 16 * MIB
        with open(reflinks / 'disk', 'r+b') as file:
            file.seek(5 * MIB)
            file.write(b'changed')
        read.clear()
        backup, operation = back_up(driver, source, volume, parent)
        assert chains.bring_back(driver, backup) == AFTER
        assert not operation.warnings and 0 < sum(read) < 8 * MIB

    def test_a_state_that_is_another(self, driver: memory.MemoryBackupDriver, reflinks: Path,
                                     source: FileVolumes) -> None:
        """Somebody has put the present state in its place: nothing seems to have changed."""
        volume = next(iter(source.volumes()))
        parent, _ = back_up(driver, source, volume)
        (kept,) = reflinks.glob('.*')
        (reflinks / 'disk').write_bytes(bytes(16 * MIB - 7) + b'changed')
        kept.unlink()
        run('cp', '--reflink=always', reflinks / 'disk', kept)
        backup, operation = back_up(driver, source, volume, parent)
        assert chains.bring_back(driver, backup) == bytes(16 * MIB - 7) + b'changed'
        assert 'changed extents are wrong' in operation.warnings[0]


def test_files_that_change_while_they_are_read(driver: memory.MemoryBackupDriver, reflinks: Path
                                               ) -> None:
    """From a snapshot of the source the backup is of one moment."""
    (reflinks / 'disk').write_bytes(BEFORE)
    try:
        source = FileVolumes(Settings(FileVolumes.OPTIONS, {'path': str(reflinks)}))
        volume = next(iter(source.volumes()))
        snapshot = source.make_snapshot(volume)
        with source.open(volume, snapshot) as opened:
            (reflinks / 'disk').write_bytes(AFTER[::-1])
            backup = chains.take(driver, opened.file)
        source.delete_snapshot(volume, snapshot)
        assert chains.bring_back(driver, backup) == BEFORE
    finally:
        for path in reflinks.iterdir():
            path.unlink()
