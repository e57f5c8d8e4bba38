"""Backups in parts through drivers: each step by another one, as workers have them."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
import random

import pytest

from backup_framework import exceptions, model
from backup_framework.engine import hints, source
from backup_framework.engine.monitor import Operation
from backup_framework.formats.splitting import Part, Split, StoredPart
from backup_framework.formats.v2 import sealer, writer
from backup_framework.testing import memory
from tests.trust.sealing import rig
from tests.unit.driver import chains
from tests.unit.driver.test_hints import Tracked

CHUNK = chains.CHUNK
DATA = chains.make_bytes(40 * CHUNK + 777)
CHANGED = DATA[:17 * CHUNK] + b'changed' + DATA[17 * CHUNK + 7:]
FIELDS = ('format', 'object_count', 'size', 'size_bytes', 'parent_id', 'container')


class Workers:
    """Each step has a driver of its own, on one store."""

    def __init__(self, **values: object) -> None:
        self.values = {'format': '2.0.0', 'workers': 2} | values
        self.keys = None
        self.first = self.driver()
        self.operation = Operation()

    def driver(self) -> memory.MemoryBackupDriver:
        made = chains.make_driver(**self.values)
        if hasattr(self, 'first'):
            made.store = self.first.store
        made.keys = self.keys
        return made

    def begin(self, backup: model.Backup, volume: object, part_size: int = 10 * CHUNK
              ) -> Split | None:
        return self.driver().begin_parts(backup, volume, part_size, operation=self.operation)

    def store(self, backup: model.Backup, volume: object, split: Split, number: int,
              attempt: int = 1) -> StoredPart:
        return self.driver().store_part(
            backup, volume, split, Part(number, attempt, split.parts[number - 1]),
            operation=self.operation)

    def take(self, data: bytes, parent: model.Backup | None = None, opened: object = io.BytesIO,
             **fields: object) -> model.Backup:
        backup = chains.record(parent, **fields)
        split = self.begin(backup, opened(data))
        assert split is not None
        numbers = list(range(1, len(split.parts) + 1))
        random.shuffle(numbers)
        stored = {number: self.store(backup, opened(data), split, number) for number in numbers}
        return self.end(backup, split, [stored[number] for number in sorted(stored)])

    def end(self, backup: model.Backup, split: Split, stored: list[StoredPart], attempt: int = 1
            ) -> model.Backup:
        found = self.driver().end_parts(backup, split, stored, attempt, operation=self.operation)
        for name, value in found.items():
            setattr(backup, name, value)
        return backup


@pytest.fixture
def workers() -> Workers:
    return Workers()


def test_it_is_a_backup_like_any_other(workers: Workers) -> None:
    whole = chains.take(chains.make_driver(**workers.values), DATA)
    backup = workers.take(DATA, id=whole.id)
    assert [backup[name] for name in FIELDS if name != 'object_count'] == [
        whole[name] for name in FIELDS if name != 'object_count']
    assert chains.bring_back(workers.driver(), backup) == DATA
    assert workers.driver().verify(backup).ok
    assert workers.driver().describe(backup.container, backup.service_metadata)[1] == {
        name: backup[name] for name in (
            'container', 'service_metadata', 'format', 'object_count', 'size_bytes', 'size',
            'stored_bytes', 'parent_id', 'manifest_digest')}
    assert workers.operation.warnings == []
    maps = [name for name in chains.names(workers.first) if '_map' in name]
    assert len(maps) == 1


def test_of_files_only_the_part_is_read(workers: Workers, tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'volume'
    path.write_bytes(DATA)
    with open(path, 'r+b') as file:
        file.truncate(len(DATA) + 30 * CHUNK)
    read: list[tuple[int, int]] = []
    known = source.FileSource.read_ahead
    monkeypatch.setattr(source.FileSource, 'read_ahead', lambda self, offset, length: (
        read.append((offset, length)), known(self, offset, length)))
    backup = chains.record()
    with open(path, 'rb') as file:
        split = workers.begin(backup, file)
        assert split is not None
        stored = []
        for number, extent in enumerate(split.parts, 1):
            read.clear()
            stored.append(workers.store(backup, file, split, number))
            assert all(extent.offset <= offset and offset + length <= extent.end
                       for offset, length in read)
            assert workers.operation.monitor.done == 0
    workers.end(backup, split, stored)
    assert chains.bring_back(workers.driver(), backup) == path.read_bytes()


def test_an_incremental_in_parts(workers: Workers) -> None:
    parent = workers.take(DATA)
    backup = workers.take(CHANGED, parent)
    assert backup.parent_id == parent.id and backup.object_count == 1
    workers.driver().delete_backup(parent)
    assert chains.bring_back(workers.driver(), backup) == CHANGED


@pytest.mark.parametrize('told', [True, False])
def test_what_a_hint_leaves_out_is_not_read(workers: Workers, told: bool,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    """The file knows what changed, or the caller does."""
    monkeypatch.setattr(hints, 'SAMPLES', 1)
    parent = workers.take(DATA)
    read: list[int] = []

    def opened(data: bytes) -> Tracked:
        volume = Tracked(data, [(17 * CHUNK, 7)] if told else [])
        known = volume.read
        volume.read = lambda size=-1: (  # type: ignore[method-assign]
            read.append(len(found := known(size))), found)[1]
        workers.operation = Operation(changed=None if told else [model.Extent(17 * CHUNK, 7)])
        return volume

    backup = workers.take(CHANGED, parent, opened)
    assert chains.bring_back(workers.driver(), backup) == CHANGED
    assert workers.operation.warnings == []
    assert sum(read) < len(DATA) / 4


def test_a_wrong_hint_reads_everything(workers: Workers) -> None:
    parent = workers.take(DATA)
    other = bytes(byte ^ 1 for byte in DATA)
    workers.operation.changed = [model.Extent(0, 1)]
    backup = workers.take(other, parent)
    assert chains.bring_back(workers.driver(), backup) == other
    # Each part has compared what is its own.
    assert len(workers.operation.warnings) == 5
    assert all('changed extents are wrong' in told for told in workers.operation.warnings)


def test_a_parent_that_goes_while_it_runs(workers: Workers) -> None:
    parent = workers.take(DATA)
    backup = chains.record(parent)
    split = workers.begin(backup, io.BytesIO(CHANGED))
    assert split is not None
    stored = [workers.store(backup, io.BytesIO(CHANGED), split, 1)]
    chains.overwrite(workers.first, f'{parent.service_metadata}_metadata', None)
    stored += [workers.store(backup, io.BytesIO(CHANGED), split, number)
               for number in range(2, len(split.parts) + 1)]
    workers.end(backup, split, stored)
    assert 'a part of it is as in a full backup' in workers.operation.warnings[0]
    assert chains.bring_back(workers.driver(), backup) == CHANGED


def test_sealed_backups_have_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(encryption='required', keys=['a'])
    workers.keys = rig.ring('a')
    parent = workers.take(DATA)
    backup = workers.take(CHANGED, parent)
    assert chains.bring_back(workers.driver(), backup) == CHANGED
    assert [name.rpartition('_')[2] for name in chains.names(workers.first)
            if '_keys' in name] == ['keys-1'] * 2
    workers.driver().delete_backup(parent)
    assert chains.bring_back(workers.driver(), backup) == CHANGED


def test_a_backup_that_is_complete_keeps_its_map(workers: Workers) -> None:
    """Another attempt made it whole: its parts are in nobody's way, and its map is no part's."""
    backup = chains.record()
    split = workers.begin(backup, io.BytesIO(DATA))
    assert split is not None
    stored = [workers.store(backup, io.BytesIO(DATA), split, number)
              for number in range(1, len(split.parts) + 1)]
    workers.driver().backup(backup, io.BytesIO(DATA), operation=workers.operation)
    workers.end(backup, split, stored, attempt=2)
    assert chains.bring_back(workers.driver(), backup) == DATA


def test_an_attempt_is_taken_up_where_that_is_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    for together in (False, True):
        workers = Workers()
        backup = chains.record()
        split = workers.begin(backup, io.BytesIO(DATA))
        assert split is not None
        one = workers.store(backup, io.BytesIO(DATA), split, 1)
        before = chains.data_names(workers.first, backup)
        able = dataclasses.replace(workers.first.capabilities(), durable_together=together)
        monkeypatch.setattr(memory.MemoryBackupDriver, 'capabilities', lambda self, able=able: able)
        two = workers.store(backup, io.BytesIO(DATA), split, 1, 2)
        assert one.name != two.name
        assert (chains.data_names(workers.first, backup) == before) != together


def test_another_volume_is_refused(workers: Workers) -> None:
    backup = chains.record()
    split = workers.begin(backup, io.BytesIO(DATA))
    assert split is not None
    with pytest.raises(exceptions.VolumeChanged, match=f'had {len(DATA)} when the backup began'):
        workers.store(backup, io.BytesIO(DATA + b'\0'), split, 1)


def test_a_beginning_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(encryption='required', keys=['a'])
    workers.keys = rig.ring('a')
    known = sealer.Sealer.begin

    def fail(self: sealer.Sealer) -> None:
        known(self)
        assert len(chains.names(workers.first)) == 1
        raise exceptions.StoreFull('no space')

    monkeypatch.setattr(sealer.Sealer, 'begin', fail)
    with pytest.raises(exceptions.StoreFull):
        workers.begin(chains.record(), io.BytesIO(DATA))
    assert chains.names(workers.first) == []


def test_each_step_asks_whether_the_store_is_there(workers: Workers,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    backup = chains.record()
    split = workers.begin(backup, io.BytesIO(DATA))
    assert split is not None
    stored = [workers.store(backup, io.BytesIO(DATA), split, number)
              for number in range(1, len(split.parts) + 1)]

    def gone(self: object, kind: str) -> None:
        raise exceptions.StoreError(f'{kind}: nothing is mounted')

    monkeypatch.setattr(memory.MemoryBackupDriver, 'before_operation', gone)
    for step in (lambda: workers.begin(chains.record(), io.BytesIO(DATA)),
                 lambda: workers.store(backup, io.BytesIO(DATA), split, 1, 2),
                 lambda: workers.end(backup, split, stored)):
        with pytest.raises(exceptions.StoreError, match='backup: nothing is mounted'):
            step()


def test_writers_are_closed(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    known = writer.ChunkWriter.close
    monkeypatch.setattr(writer.ChunkWriter, 'close',
                        lambda self: (closed.append(type(self).__name__), known(self)))
    workers.take(DATA)
    assert closed == ['Writer', *['PartWriter'] * 5, 'EndWriter']


def test_what_has_no_parts(workers: Workers) -> None:
    assert Workers(format='1.0.0').begin(chains.record(), io.BytesIO(DATA)) is None
    stream = io.BytesIO(DATA)
    stream.seekable = lambda: False  # type: ignore[method-assign]
    assert workers.begin(chains.record(), stream) is None
    assert chains.names(workers.first) == []


def test_a_failed_one_is_deleted_like_any_other(workers: Workers) -> None:
    backup = chains.record()
    split = workers.begin(backup, io.BytesIO(DATA))
    assert split is not None
    workers.store(backup, io.BytesIO(DATA), split, 2)
    assert len(chains.names(workers.first)) > 1
    workers.driver().delete_backup(backup)
    assert chains.names(workers.first) == []
