"""What the writer of format 2.0.0 does when its store fails, or loses what it stored."""

import contextlib
import random

import pytest

from backup_framework import exceptions
from backup_framework.formats import base
from backup_framework.formats.v2 import names, writer
from backup_framework.model import Extent
from backup_framework.testing.faults import Fault, FaultyDriver
from backup_framework.testing.memory import MemoryBackupDriver
from tests.unit.formats.v2 import volumes
from tests.unit.formats.v2.volumes import Volume, container, restore, take

BLOCK = 4096
CHOICES = base.Choices(chunk_size=16 * BLOCK, block_size=BLOCK)
DATA = random.Random(3).randbytes(40 * BLOCK)


def numbers(box, prefix):
    return [names.number_of(name) for name in volumes.data_objects(box, prefix)]


@pytest.mark.parametrize('small', [writer.SMALL, BLOCK], ids=['gathered', 'streamed'])
@pytest.mark.parametrize('after', [False, True], ids=['failed', 'answer lost'])
def test_each_attempt_has_a_fresh_number(monkeypatch, small, after):
    monkeypatch.setattr(writer, 'SMALL', small)
    driver = FaultyDriver(MemoryBackupDriver(), [
        Fault('commit', name='*-00001', error=exceptions.StoreUnavailable, after=after)])
    box = container(driver)
    prefix, totals = take(box, 1, Volume(DATA), CHOICES)
    assert driver.happened
    found = numbers(box, prefix)
    assert (1 in found) == after
    with volumes.open_reader(box, prefix).open_rows() as rows:
        list(rows)
        assert volumes.data_objects(box, prefix)[int(after):] == [
            item.name for item in rows.objects]
        assert totals.object_count == len(rows.objects)
    assert restore(box, prefix) == DATA


def test_a_write_that_fails_half_way_is_repeated_from_the_volume(monkeypatch):
    monkeypatch.setattr(writer, 'SMALL', BLOCK)
    driver = FaultyDriver(MemoryBackupDriver(), [
        Fault('write', call=3, error=exceptions.StoreUnavailable)])
    box = container(driver)
    data = DATA[:8 * BLOCK] * 2 + DATA
    prefix, _ = take(box, 1, Volume(data), CHOICES)
    assert numbers(box, prefix) == [2, 3, 4, 5]
    assert restore(box, prefix) == data


def test_each_attempt_at_the_map_has_its_own_name():
    driver = FaultyDriver(MemoryBackupDriver(), [
        Fault('commit', name='*_map*', error=exceptions.StoreUnavailable, after=True)])
    box = container(driver)
    prefix, _ = take(box, 1, Volume(DATA), CHOICES)
    assert volumes.open_reader(box, prefix).map_name == 'backup_1_map-2'
    box.delete('backup_1_map')
    assert restore(box, prefix) == DATA


def test_what_will_not_pass_ends_the_backup_without_a_manifest():
    driver = FaultyDriver(MemoryBackupDriver(), [
        Fault('commit', name='*-00001', error=exceptions.StoreFull)])
    box = container(driver)
    with pytest.raises(exceptions.StoreFull):
        take(box, 1, Volume(DATA), CHOICES)
    assert box.names('', '_metadata') == []


@pytest.mark.parametrize('lost', ['backup_1-00001', 'backup_2-00001', 'backup_2_map'])
def test_objects_that_went_while_the_backup_ran_are_missed(lost):
    driver = FaultyDriver(MemoryBackupDriver())
    box = container(driver)
    parent, _ = take(box, 1, Volume(DATA), CHOICES)
    driver.plan = [Fault('sync', hook=lambda: driver.driver.delete_object(
        volumes.CONTAINER, lost))]
    with pytest.raises(exceptions.StoreError, match=lost):
        take(box, 2, Volume(b'new' + DATA[3:]), CHOICES, parent)
    assert 'backup_2_metadata' not in box.names('')


def test_a_request_to_stop_leaves_no_manifest():
    box = container()
    new = writer.Writer(box, 'backup_1', base.Header('2.0.0'), CHOICES, None, len(DATA))
    for task in new.tasks(Volume(DATA).chunks(new.chunk_size, new.largest_hole)):
        new.add(task.run())

    def stop():
        raise exceptions.OperationCancelled('stopped')

    with contextlib.closing(new), pytest.raises(exceptions.OperationCancelled):
        new.finish(stop)
    assert box.names('', '_metadata') == []


def test_a_parent_that_lacks_an_object_is_refused():
    """Before anything is read, so that the backup can be a full one."""
    box = container()
    parent, _ = take(box, 1, Volume(DATA), CHOICES)
    box.delete('backup_1-00001')
    with pytest.raises(exceptions.MissingObject, match='backup_1-00001'):
        take(box, 2, Volume(DATA), CHOICES, parent)


@pytest.mark.parametrize('hinted', [False, True])
def test_a_chunk_whose_table_is_damaged_is_stored_anew(hinted):
    driver = MemoryBackupDriver()
    box = container(driver)
    parent, _ = take(box, 1, Volume(DATA), CHOICES)
    stored = bytearray(box.get('backup_1-00001', 1 << 20))
    with volumes.open_reader(box, parent).open_rows() as rows:
        first = next(iter(rows))
    stored[first.offset + first.length - 1] ^= 1
    box.delete('backup_1-00001')
    with driver.get_object_writer(volumes.CONTAINER, 'backup_1-00001') as file:
        file.write(bytes(stored))
    data = b'new' + DATA[3:]
    volume = Volume(data, changed=[Extent(0, 3)] if hinted else None)
    with contextlib.ExitStack() as stack:
        new = writer.Writer(box, 'backup_2', base.Header('2.0.0', parent_id=parent), CHOICES,
                            volumes.open_state(stack, box, parent), len(data))
        stack.callback(new.close)
        volumes.run(new, volume)
    assert restore(box, 'backup_2') == data
    note, = new.notes
    assert 'backup_1-00001' in note and 'verify this backup' in note


@pytest.mark.parametrize('prefix', ['p' * (names.LONGEST_PREFIX + 1), names.CONTAINER + 'keys'])
def test_a_prefix_that_no_reader_takes_is_refused(prefix):
    """Objects would have names that break the format: a backup that nothing restores."""
    with pytest.raises(exceptions.InvalidName):
        writer.Writer(container(), prefix, base.Header('2.0.0'), CHOICES, None, len(DATA))
