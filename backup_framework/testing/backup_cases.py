"""The cases of the kit that look at whole backups: sentences B."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import io
import tempfile
from typing import Any, BinaryIO
import uuid

import pytest

from backup_framework import exceptions, model
from backup_framework.formats import versions
from backup_framework.testing import hooks
from backup_framework.testing.bench import Bench, pattern, refused, same
from backup_framework.testing.sentences import sentence

each_format = pytest.mark.parametrize('version', sorted(versions.FORMATS))
"""Marks a case: it runs for every format of backups that this release writes."""


class ReadFails(OSError):
    """What a volume raises in the cases."""


class BackupCases(hooks.Hooks):
    """Whole backups through the driver; small chunks, so that a few KiB are many objects."""

    @sentence('B1')
    @each_format
    def test_b1_a_volume_of_any_size(self, bench: Bench, version: str) -> None:
        self._prepare(bench, version)
        for size in self.volume_sizes:
            data = pattern(size, seed=size)
            record = back_up(bench, data)
            assert record.format == version, f'format {version} was asked, {record.format} written'
            same(restored(bench, record), data, f'a volume of {size} bytes')
            verified(bench, record)

    @sentence('B1')
    @each_format
    @pytest.mark.parametrize('workers', [0, 4])
    def test_b1_a_chain(self, bench: Bench, version: str, workers: int) -> None:
        self._prepare(bench, version, workers=workers)
        states = self._states()
        records = chain(bench, states)
        for number, (record, state) in enumerate(zip(records, states)):
            same(restored(bench, record), state, f'backup {number} of a chain')
        verified(bench, records[-1])

    @sentence('B1')
    @each_format
    def test_b1_an_incremental_without_a_change(self, bench: Bench, version: str) -> None:
        self._prepare(bench, version)
        data = self._states()[0]
        _full, again = chain(bench, [data, data])
        same(restored(bench, again), data, 'an incremental backup of an unchanged volume')

    @sentence('B1')
    @each_format
    @pytest.mark.parametrize('change', [-1000, 1000])
    def test_b1_a_volume_of_another_size(self, bench: Bench, version: str, change: int) -> None:
        self._prepare(bench, version)
        data = pattern(self.chunk_size * 3)
        later = pattern(len(data) + change)
        _full, second = chain(bench, [data, later])
        same(restored(bench, second), later, f'a volume that changed by {change} bytes')

    @sentence('B1')
    @each_format
    def test_b1_zeros(self, bench: Bench, version: str) -> None:
        self._prepare(bench, version)
        for data in (bytes(self.chunk_size * 3), bytes(self.chunk_size * 2) + b'end'):
            same(restored(bench, back_up(bench, data)), data, 'a volume of zeros')

    @sentence('B1')
    @each_format
    def test_b1_a_volume_in_a_file(self, bench: Bench, version: str) -> None:
        self._prepare(bench, version)
        data = self._states()[0]
        with tempfile.TemporaryFile() as volume:
            volume.write(data)
            volume.flush()
            record = back_up(bench, volume)
        same(restored(bench, record), data, 'a volume in a file')

    @sentence('B1')
    @each_format
    def test_b1_metadata_of_the_volume(self, bench: Bench, version: str) -> None:
        self._prepare(bench, version)
        kept = Metadata()
        self._replace(bench, 'volume_metadata', kept)
        record = back_up(bench, b'data', backup_metadata=True)
        assert kept.asked, 'backup did not ask for the metadata of the volume'
        restored(bench, record)
        assert kept.given is not None, 'restore did not bring the metadata of the volume back'

    @sentence('B2')
    @each_format
    @pytest.mark.parametrize('error', [ReadFails, KeyboardInterrupt])
    def test_b2_a_failed_backup_is_none(self, bench: Bench, version: str,
                                        error: type[BaseException]) -> None:
        self._prepare(bench, version)
        box, record = bench.container(), new_record()
        record.container = box
        with broken_off():
            bench.driver.backup(record, Failing(pattern(self.chunk_size * 5), error))
            raise AssertionError(f'backup returned though reading the volume raised {error}')
        with refused(exceptions.BackupFrameworkError, what='restoring a backup that failed'):
            restored(bench, record)
        with contextlib.suppress(exceptions.BackupFrameworkError):
            bench.driver.delete(record)
        left = bench.names(box)
        assert not left, f'a backup that failed left {left} after it was deleted'

    @sentence('B2')
    @each_format
    def test_b2_a_failed_incremental_spares_its_parent(self, bench: Bench, version: str) -> None:
        self._prepare(bench, version)
        data = self._states()[0]
        parent = back_up(bench, data)
        record = new_record(parent)
        with broken_off():
            bench.driver.backup(record, Failing(bytes(len(data)), ReadFails))
        with refused(exceptions.BackupFrameworkError, what='restoring a backup that failed'):
            restored(bench, record)
        same(restored(bench, parent), data, 'the parent of a backup that failed')

    @sentence('B3')
    @each_format
    def test_b3_into_a_used_target(self, bench: Bench, version: str) -> None:
        self._prepare(bench, version)
        states = self._states()
        used = b'\xff' * len(states[0])
        for record, state in zip(chain(bench, states), states):
            same(restored(bench, record, used), state, 'a used target in memory')
            with tempfile.TemporaryFile() as target:
                target.write(used)
                target.flush()
                same(restored(bench, record, target), state, 'a used target in a file')

    @sentence('B3')
    @each_format
    def test_b3_into_a_new_target(self, bench: Bench, version: str) -> None:
        self._prepare(bench, version)
        states = self._states()
        for record, state in zip(chain(bench, states), states):
            with tempfile.TemporaryFile() as target:
                same(restored(bench, record, target, is_new=True), state, 'a new target')

    @sentence('B3')
    @each_format
    @pytest.mark.parametrize('how', ['flipped', 'cut', 'empty', 'missing', 'another'])
    def test_b3_damage_is_told(self, bench: Bench, version: str, how: str) -> None:
        """Whichever object is damaged: an error, or the right bytes all the same."""
        self._prepare(bench, version)
        data = self._states()[0]
        record = back_up(bench, data)
        box = record.container or ''
        found = 0
        for name in sorted(bench.names(box)):
            original = bench.contents(box, name)
            bench.driver.delete_object(box, name)
            damaged = DAMAGES[how](original)
            if damaged is not None:
                bench.put(box, name, damaged)
            try:
                same(restored(bench, record), data, f'a restore with {name} {how}')
            except exceptions.BackupFrameworkError:
                found += 1
            bench.driver.delete_object(box, name)
            bench.put(box, name, original)
        assert found, f'no restore told that an object was {how}'
        same(restored(bench, record), data, 'a restore after all damage was undone')

    @sentence('B4')
    @each_format
    def test_b4_delete_leaves_nothing(self, bench: Bench, version: str) -> None:
        self._prepare(bench, version)
        record = back_up(bench, self._states()[0])
        bench.driver.delete(record)
        left = bench.names(record.container or '')
        assert not left, f'a deleted backup left {left}'
        bench.driver.delete(record)

    @sentence('B4')
    @each_format
    def test_b4_a_deleted_chain_leaves_nothing(self, bench: Bench, version: str) -> None:
        self._prepare(bench, version)
        records = chain(bench, self._states())
        for record in reversed(records):
            bench.driver.delete(record)
        left = bench.names(records[0].container or '')
        assert not left, f'deleted backups left {left}'

    @sentence('B5')
    @each_format
    def test_b5_delete_spares_others(self, bench: Bench, version: str) -> None:
        self._prepare(bench, version)
        states = self._states()
        full, child = chain(bench, states[:2])
        other = back_up(bench, states[2], full.container)
        bench.driver.delete(child)
        same(restored(bench, full), states[0], 'the parent of a deleted backup')
        bench.driver.delete(full)
        same(restored(bench, other), states[2], 'a backup beside a deleted one')

    @sentence('B5')
    @each_format
    @pytest.mark.parametrize('order', [(2, 1, 0), (0, 1, 2), (1, 2, 0)])
    def test_b5_a_chain_goes_in_any_order(self, bench: Bench, version: str,
                                          order: tuple[int, ...]) -> None:
        if versions.FORMATS[version].needs_parent:
            order = (2, 1, 0)
        self._prepare(bench, version)
        states = self._states()
        left = dict(enumerate(chain(bench, states)))
        for gone in order:
            bench.driver.delete(left.pop(gone))
            for number, record in left.items():
                same(restored(bench, record), states[number],
                     f'backup {number} of a chain after backup {gone} was deleted')
                verified(bench, record)

    @sentence('B5')
    @each_format
    def test_b5_volumes_with_the_same_bytes(self, bench: Bench, version: str) -> None:
        self._prepare(bench, version, duplicates='container')
        data = self._states()[0]
        first = back_up(bench, data, bench.container())
        second = back_up(bench, data, first.container)
        bench.driver.delete(first)
        same(restored(bench, second), data, 'a volume with the bytes of one that was deleted')
        verified(bench, second)

    def _prepare(self, bench: Bench, version: str, **values: Any) -> None:
        bench.settings(**{
            'format': version, 'chunk_size': self.chunk_size, 'block_size': self.block_size,
            'compression': 'zlib', 'workers': 0, **values})

    def _replace(self, bench: Bench, attribute: str, value: object) -> None:
        bench.afterwards(setattr, bench.driver, attribute, getattr(bench.driver, attribute))
        setattr(bench.driver, attribute, value)

    def _states(self) -> list[bytes]:
        """A volume with zeros in it; then changed in a few blocks; then with more zeros."""
        size, block = self.chunk_size * 4 + 17 * 512, self.block_size
        first = bytearray(pattern(size))
        first[self.chunk_size:self.chunk_size * 2] = bytes(self.chunk_size)
        second = bytearray(first)
        second[block + 5:block + 6] = b'!'
        second[self.chunk_size + block:self.chunk_size + 2 * block] = pattern(block, seed=1)
        third = bytearray(second)
        third[2 * block:4 * block] = bytes(2 * block)
        third[-block:] = bytes(block)
        return [bytes(first), bytes(second), bytes(third)]


def new_record(parent: model.Backup | None = None) -> model.Backup:
    """A record of a backup to be made."""
    if parent is None:
        return model.Backup(volume_id=str(uuid.uuid4()))
    return model.Backup(volume_id=parent.volume_id, container=parent.container,
                        parent_id=parent.id, parent=parent)


def back_up(bench: Bench, volume: bytes | BinaryIO, container: str | None = None,
            parent: model.Backup | None = None, backup_metadata: bool = False) -> model.Backup:
    """Make a backup; its record."""
    record = new_record(parent)
    record.container = container or record.container or bench.name_container()
    source = io.BytesIO(volume) if isinstance(volume, bytes) else volume
    size = source.seek(0, io.SEEK_END)
    source.seek(0)
    record.size_bytes, record.size = size, model.size_gib(size)
    updates = bench.driver.backup(record, source, backup_metadata) or {}
    for field, value in updates.items():
        setattr(record, field, value)
    record.status = model.Status.AVAILABLE
    return record


def chain(bench: Bench, states: list[bytes]) -> list[model.Backup]:
    """A full backup of the first state and incrementals of the others."""
    records: list[model.Backup] = []
    for state in states:
        records.append(back_up(bench, state, parent=records[-1] if records else None))
    return records


def restored(bench: Bench, record: model.Backup, target: bytes | BinaryIO = b'',
             is_new: bool = False) -> bytes:
    """What restoring makes of a target."""
    file = io.BytesIO(target) if isinstance(target, bytes) else target
    bench.driver.restore(record, record.volume_id, file, is_new)
    file.seek(0)
    return file.read()


def verified(bench: Bench, record: model.Backup) -> None:
    report = bench.driver.verify(record)
    assert report.ok, f'verify says of a good backup: {report}'


@contextlib.contextmanager
def broken_off():  # type: ignore[no-untyped-def]
    """A backup that must not end well; how it ends is the framework's business."""
    try:
        yield
    except AssertionError:
        raise
    except (Exception, KeyboardInterrupt):
        return
    raise AssertionError('backup returned though the volume could not be read')


class Failing(io.BytesIO):
    """A volume whose second half cannot be read."""

    def __init__(self, data: bytes, error: type[BaseException]) -> None:
        super().__init__(data)
        self._error = error
        self._good = len(data) // 2

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0 or self.tell() + size > self._good:
            raise self._error('the second half of this volume cannot be read')
        return super().read(size)


class Metadata:
    """A volume's metadata, and who asked for it."""

    def __init__(self) -> None:
        self.asked = False
        self.given: str | None = None

    def get(self, volume_id: str) -> str:
        self.asked = True
        return ('{"version": 2, "volume-base-metadata": {"display_name": "kit"}, '
                '"volume-metadata": {"colour": "blue"}}')

    def put(self, volume_id: str, json_metadata: str) -> None:
        self.given = json_metadata


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1:]


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    'flipped': _flipped,
    'cut': lambda data: data[:-1],
    'empty': lambda data: b'',
    'missing': lambda data: None,
    'another': lambda data: pattern(len(data), seed=99),
}
