"""Backups in parts: as those that one writer takes, whoever dies, and whoever does not."""

from __future__ import annotations

import contextlib
import dataclasses
import random

import hypothesis
from hypothesis import strategies as st
import pytest

from backup_framework import exceptions
from backup_framework.drivers.local import LocalBackupDriver
from backup_framework.formats import base
from backup_framework.formats.splitting import Part
from backup_framework.formats.v2 import gathering, key_sets, names, parts, sweep, writer
from backup_framework.testing.memory import Body, MemoryBackupDriver
from tests.trust.sealing import rig
from tests.unit.formats.v2 import split, volumes
from tests.unit.formats.v2.split import Killed, Taken
from tests.unit.formats.v2.test_writer_properties import PATCHES, PIECE, patched
from tests.unit.formats.v2.volumes import Volume, no_tick

BLOCK = 4096
CHUNK = 4 * BLOCK
CHOICES = base.Choices(chunk_size=CHUNK, block_size=BLOCK)
DATA = random.Random(5).randbytes(10 * CHUNK) + bytes(5 * CHUNK) + random.Random(6).randbytes(999)


@pytest.fixture
def driver() -> MemoryBackupDriver:
    return MemoryBackupDriver()


def taken(driver: MemoryBackupDriver, data: bytes = DATA, choices: base.Choices = CHOICES,
          **fields: object) -> Taken:
    return Taken(lambda: volumes.container(driver), choices, Volume(data),
                 **{'part_size': 4 * CHUNK, **fields})


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each chunk becomes an object of its own."""
    monkeypatch.setattr(writer, 'SMALL', BLOCK)


def data_names(box: object, prefix: str = 'new') -> set[str]:
    return {name for name in box.names(prefix) if names.is_data(prefix, name)}


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    size=st.integers(0, 80 * PIECE), blocks=st.sampled_from([1, 2, 5]), count=st.integers(1, 70),
    history=st.lists(PATCHES, min_size=1, max_size=3), grain=st.sampled_from([None, 100, 512]),
    duplicates=st.sampled_from(['none', 'volume', 'container']),
    seals=st.booleans(), seed=st.integers(0, 99),
    limits=st.tuples(st.sampled_from([700, 1 << 20]), st.sampled_from([900, 1 << 20])))
def test_a_chain_in_parts_is_one_in_one_piece(size, blocks, count, history, grain, duplicates,
                                              seals, seed, limits):
    before = writer.SMALL, gathering.GATHERED
    writer.SMALL, gathering.GATHERED = limits
    choices = base.Choices(chunk_size=512 * blocks, block_size=512, duplicates=duplicates,
                           keyring=rig.ring('a') if seals else None)
    box, data, parent = volumes.container(), bytes(size), None
    try:
        for number, patches in enumerate(history):
            data = patched(data, patches)
            each = Taken(lambda: box, choices, Volume(data, grain), f'backup_{number}', parent,
                         max(1, size // count), seed)
            totals = each.take()
            parent = each.prefix
            assert len(each.split.parts) <= parts.MOST
            assert totals.size_bytes == size
            assert split.restored(box, parent, choices) == data
            keys = set(box.names(f'{parent}_keys'))
            assert len(keys) == seals
            assert set(box.names(parent)) - keys == split.needed(box, parent, choices)
    finally:
        writer.SMALL, gathering.GATHERED = before


def test_parts_have_whole_chunks_and_about_one_size():
    for size in (0, 1, CHUNK, 10 * CHUNK, 10 * CHUNK + 1, 1000 * CHUNK - 5):
        for part_size in (1, CHUNK - 1, 3 * CHUNK, 10 ** 9):
            found = parts._extents(size, CHUNK, part_size)
            assert sum(each.length for each in found) == size
            assert found[0].offset == 0 and len(found) <= parts.MOST
            assert all(one.end == other.offset for one, other in zip(found, found[1:]))
            assert all(each.offset % CHUNK == 0 for each in found)
            lengths = [-(-each.length // CHUNK) for each in found]
            assert max(lengths) - min(lengths) <= 1 and (size == 0 or min(lengths))
            assert len(found) == 1 or part_size < size


def test_each_writer_may_be_another_process(tmp_path, streamed):
    def box():
        return volumes.container(LocalBackupDriver.make(path=str(tmp_path / 'store')))

    (tmp_path / 'store').mkdir()
    each = Taken(box, CHOICES, Volume(DATA), part_size=4 * CHUNK, seed=3)
    each.take()
    assert len(each.split.parts) == 4
    assert split.restored(box(), 'new', CHOICES) == DATA
    assert set(box().names('new')) == split.needed(box(), 'new', CHOICES)


def test_an_attempt_that_died_is_taken_up(driver, streamed):
    each = taken(driver)
    each.begin()
    with pytest.raises(Killed):
        each.store(1, chunks=3)
    box = each.box()
    before = data_names(box)
    assert len(before) == 3
    each.volume.reads.clear()
    resumed = base.Choices(chunk_size=CHUNK, block_size=BLOCK, resume=True)
    stored = [each.store(1, 2, choices=resumed)]
    assert before < data_names(box) and len(data_names(box)) == 4
    stored += [each.store(number) for number in (2, 3, 4)]
    totals = each.end(stored)
    assert not before.intersection(totals.unused)
    assert split.restored(box, 'new', CHOICES) == DATA


def test_what_another_part_has_stored_is_not_taken_up(driver, streamed):
    each = taken(driver)
    each.begin()
    with pytest.raises(Killed):
        each.store(1, chunks=3)
    other = data_names(each.box())
    resumed = base.Choices(chunk_size=CHUNK, block_size=BLOCK, resume=True)
    with contextlib.ExitStack() as stack:
        found = parts.PartWriter(each.box(), 'new', each._header, resumed, None, each.split,
                                 Part(2, 2, each.split.parts[1]))
        stack.callback(found.close)
        assert list(found.stored_before()) == []
    assert other


def test_two_attempts_at_once_share_no_name(driver, streamed):
    """One was taken for dead, and is not."""
    each = taken(driver)
    each.begin()
    stored = [each.store(number) for number in (1, 2, 3, 4)]
    first = {name: each.box().get(name, 1 << 20) for name in each.box().names('new')}
    again = each.store(2, 2)
    assert again.name not in first
    assert len(data_names(each.box())) > len(data_names(each.box()) & first.keys())
    assert all(each.box().get(name, 1 << 20) == data for name, data in first.items())
    totals = each.end([stored[0], again, *stored[2:]])
    each.box().delete_many(totals.unused)
    assert split.restored(each.box(), 'new', CHOICES) == DATA
    assert set(each.box().names('new')) == split.needed(each.box(), 'new', CHOICES)


@pytest.mark.parametrize('at', range(14))
def test_two_ends_at_once(driver, at):
    """The manifest of one comes when the other is done: either serves, whose ever it is."""
    each = taken(driver)
    each.begin()
    stored = [each.store(number) for number in (1, 2, 3, 4)]
    left, other = [at], list[base.Totals]()

    def be_slow():
        left[0] -= 1
        if left[0] == -1:
            other.append(each.end(stored, 2))
            each.box().delete_many(other[0].unused)

    totals = each.end(stored, tick=be_slow)
    each.box().delete_many(totals.unused)
    assert split.restored(each.box(), 'new', CHOICES) == DATA
    assert [totals.manifest_digest] * len(other) == [each.manifest_digest for each in other]
    extra = set(each.box().names('new')) - split.needed(each.box(), 'new', CHOICES)
    assert extra <= {'new_map-64', 'new_map-128'}


@pytest.mark.parametrize('ticks', range(14))
@pytest.mark.parametrize('seals', [False, True])
def test_an_end_that_died_is_repeated(driver, ticks, seals):
    choices = base.Choices(chunk_size=CHUNK, block_size=BLOCK,
                           keyring=rig.ring('a') if seals else None)
    each = taken(driver, choices=choices)
    each.begin()
    stored = [each.store(number) for number in (1, 2, 3, 4)]
    left = [ticks]

    def die():
        left[0] -= 1
        if left[0] < 0:
            raise exceptions.OperationCancelled

    with contextlib.suppress(exceptions.OperationCancelled):
        each.end(stored, tick=die)
    totals = each.end(stored, 2)
    box = each.box()
    box.delete_many(totals.unused)
    assert split.restored(box, 'new', choices) == DATA
    found = set(box.names('new')) - set(box.names('new_keys')) - {'new_map-64'}
    assert found == split.needed(box, 'new', choices) - {'new_map-64'}


def test_the_map_of_a_slower_end_stays(driver):
    """Its manifest may be on the way to a store that lets it replace the other one."""
    each = taken(driver)
    each.begin()
    stored = [each.store(number) for number in (1, 2, 3, 4)]
    manifest = each.end(stored).manifest_digest
    box = each.box()
    slow = box.get('new_metadata', 1 << 20)
    box.delete('new_metadata')
    quick = each.end(stored, 2)
    assert quick.manifest_digest != manifest
    box.delete_many(quick.unused)
    box.delete('new_metadata')
    box.put('new_metadata', lambda: [slow])
    assert split.restored(box, 'new', CHOICES) == DATA


def test_what_is_committed_stays(driver):
    each = taken(driver)
    each.begin()
    stored = [each.store(number) for number in (1, 2, 3, 4)]
    one, other = each.end(stored), each.end(stored, 2)
    assert dataclasses.replace(one, unused=()) == dataclasses.replace(other, unused=())


def test_parts_leave_the_keys_alone(driver):
    choices = base.Choices(chunk_size=CHUNK, block_size=BLOCK, keyring=rig.ring('a'))
    each = taken(driver, choices=choices)
    each.begin()
    box = each.box()
    before = box.get('new_keys-1', 1 << 20)
    each.end([each.store(number) for number in (1, 2, 3, 4)])
    assert box.names('new_keys') == ['new_keys-1']
    assert box.get('new_keys-1', 1 << 20) == before
    key = key_sets.read(box, 'new', choices.keyring).keys['new']
    assert all(key not in body.data for body in driver.store.containers[volumes.CONTAINER].values())


def test_a_part_without_the_keys_stores_nothing(driver):
    choices = base.Choices(chunk_size=CHUNK, block_size=BLOCK, keyring=rig.ring('a'))
    each = taken(driver, choices=choices)
    each.begin()
    each.box().delete('new_keys-1')
    with pytest.raises(exceptions.MissingObject, match='its keys'):
        each.store(1)
    assert each.box().names('new') == []


def test_another_configuration_changes_nothing(driver):
    each = taken(driver)
    each.begin()
    other = base.Choices(chunk_size=2 * CHUNK, block_size=2 * BLOCK, compression='zlib',
                         digest='sha256')
    stored = [each.store(number, choices=other) for number in (1, 2, 3, 4)]
    each.end(stored)
    assert split.restored(each.box(), 'new', CHOICES) == DATA


def test_what_did_not_change_is_not_stored_again(driver, streamed):
    taken(driver, prefix='old').take()
    data = bytearray(DATA)
    data[5 * CHUNK:5 * CHUNK + 3] = b'new'
    each = taken(driver, bytes(data), parent='old')
    totals = each.take()
    assert totals.object_count == 1 and totals.parent_id == 'old'
    assert split.restored(each.box(), 'new', CHOICES) == data
    assert split.open_reader(each.box(), 'new', CHOICES).references == ['old']


def test_a_part_whose_parent_is_gone_is_stored_anew(driver, streamed):
    taken(driver, prefix='old').take()
    each = taken(driver, parent='old')
    each.begin()
    stored = [each.store(number) for number in (1, 2)]
    each.parent = None
    stored += [each.store(number) for number in (3, 4)]
    totals = each.end(stored)
    assert totals.object_count == 3
    assert split.restored(each.box(), 'new', CHOICES) == DATA


def test_an_object_that_went_meanwhile_is_missed(driver, streamed):
    each = taken(driver)
    each.begin()
    stored = [each.store(number) for number in (1, 2, 3, 4)]
    lost = sorted(data_names(each.box()))[4]
    each.box().delete(lost)
    with pytest.raises(exceptions.StoreError, match=lost):
        each.end(stored)
    assert each.box().names('new', base.MANIFEST) == []


@pytest.mark.parametrize('change', ['damaged', 'another', 'shorter'])
def test_the_rows_of_a_part_are_verified(driver, change):
    each = taken(driver)
    each.begin()
    stored = [each.store(number) for number in (1, 2, 3, 4)]
    box = driver.store.containers[volumes.CONTAINER]
    data = bytearray(box[stored[1].name].data)
    if change == 'damaged':
        data[-50] ^= 1
    elif change == 'another':
        data = bytearray(box[stored[2].name].data)
    else:
        del data[-1:]
    box[stored[1].name] = Body(bytes(data), len(data))
    with pytest.raises(exceptions.CorruptObject, match=rf'{stored[1].name} .*\(the map of a part'):
        each.end(stored)
    assert each.box().names('new', base.MANIFEST) == []


def test_what_failed_is_swept(driver, streamed):
    each = taken(driver)
    each.begin()
    for number in (1, 3):
        each.store(number)
    steps = sweep.leftovers(each.box(), 'new', committed=False, tick=no_tick)
    assert {name for step in steps for name in step} == set(each.box().names('new'))


def test_what_failed_can_be_gone_on_with_in_one_piece(driver, streamed):
    each = taken(driver)
    each.begin()
    for number in (1, 3):
        each.store(number)
    kept = data_names(each.box())
    whole = writer.Writer(each.box(), 'new', base.Header('2.0.0'), base.Choices(
        chunk_size=CHUNK, block_size=BLOCK, resume=True), None, len(DATA))
    with contextlib.closing(whole):
        for task in whole.stored_before():
            whole.add(task.run())
        totals = volumes.run(whole, each.volume)
    assert not kept.intersection(totals.unused) and len(kept) == 6
    assert split.restored(each.box(), 'new', CHOICES) == DATA


def test_no_attempt_without_a_name(driver):
    each = taken(driver)
    each.begin()
    each.store(4, parts._MOST_ATTEMPTS)
    with pytest.raises(exceptions.InvalidBackup, match='interrupted 155 times'):
        each.store(4, parts._MOST_ATTEMPTS + 1)
