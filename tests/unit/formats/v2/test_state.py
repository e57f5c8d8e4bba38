"""Restoring 2.0.0: any part, as little read as can be, and only what a target lacks."""

from __future__ import annotations

import itertools
import random

import pytest

from backup_framework import exceptions
from backup_framework.formats.v2 import chunk_unit
from backup_framework.model import Extent
from backup_framework.testing import faults, memory
from tests.formats import v2_stores
from tests.unit.formats.v2 import shelf

BLOCK = v2_stores.BLOCK
MAKER, DATA = v2_stores.sample()
CHUNK = MAKER.chunk_size


@pytest.mark.parametrize('ranged', [True, False])
@pytest.mark.parametrize('digest', ['blake3', 'sha256'])
def test_a_backup_is_brought_back_and_sound(digest: str, ranged: bool) -> None:
    maker, data = v2_stores.sample(digest)
    with shelf.opened(shelf.Shelf(maker.objects, ranged)) as found:
        assert shelf.bring_back(found) == data
        assert shelf.problems(found) == []
        assert found.missing(True, shelf.tick) == (7, [])
        assert found.size == len(data) == found.reader.size


def test_any_part_comes_back_alone() -> None:
    with shelf.opened(shelf.Shelf(MAKER.objects)) as found:
        offsets = [0, 1, 511, 512, 700, CHUNK - 1, CHUNK, 3 * CHUNK - 5, 3 * CHUNK, 7 * CHUNK,
                   len(DATA) - 1, len(DATA), len(DATA) + 1]
        for offset, length in itertools.product(offsets, [0, 1, 512, 513, CHUNK, 3 * CHUNK + 9]):
            end = min(offset + length, len(DATA))
            volume = shelf.bring_back(found, Extent(offset, length))
            assert volume[offset:end] == DATA[offset:end]
            outside = volume[:offset] + volume[max(offset, end):]
            assert outside == bytes([shelf.FILLED]) * len(outside)


def test_parts_make_a_whole() -> None:
    with shelf.opened(shelf.Shelf(MAKER.objects)) as found:
        for step in (333, 1024, CHUNK + 7):
            parts = [Extent(at, min(step, len(DATA) - at)) for at in range(0, len(DATA), step)]
            volumes = [shelf.bring_back(found, part) for part in parts]
            assert b''.join(volume[part.offset:part.end]
                            for part, volume in zip(parts, volumes)) == DATA


def test_units_are_chunks_and_runs_of_zeros() -> None:
    with shelf.opened(shelf.Shelf(MAKER.objects)) as found:
        lengths = [unit.length for unit in found.units(Extent(0, len(DATA)))]
        assert lengths == [CHUNK, 2 * CHUNK, *[CHUNK] * 4, len(DATA) - 7 * CHUNK]
        assert all(unit.cost < 8 << 20 for unit in found.units(Extent(0, len(DATA))))


def test_units_may_be_worked_on_in_any_order() -> None:
    with shelf.opened(shelf.Shelf(MAKER.objects)) as found:
        units = list(found.units(Extent(0, len(DATA))))
        random.Random(1).shuffle(units)
        pieces = [unit.pieces() for unit in units]
        volume = bytearray(len(DATA))
        while pieces:
            for stream in tuple(pieces):
                piece = next(stream, None)
                if piece is None:
                    pieces.remove(stream)
                elif piece.data is not None:
                    volume[piece.offset:piece.offset + piece.length] = piece.data
        assert volume == DATA


def test_each_object_is_opened_once_a_unit_and_each_byte_read_once() -> None:
    store = shelf.Shelf(MAKER.objects)
    with shelf.opened(store) as found:
        for unit in found.units(Extent(0, len(DATA))):
            store.opened.clear()
            store.read.clear()
            assert list(unit.pieces())
            assert len(store.opened) == len(set(store.opened))
            ranges = sorted(item for item in store.read if item[2])
            assert all(one[0] != two[0] or one[1] + one[2] <= two[1]
                       for one, two in itertools.pairwise(ranges))


def test_without_ranges_each_object_is_read_once_from_its_start() -> None:
    store = shelf.Shelf(MAKER.objects, ranged=False)
    with shelf.opened(store) as found:
        unit = next(iter(found.units(Extent(6 * CHUNK, CHUNK))))
        store.opened.clear()
        assert list(unit.pieces())
        # Once to see that it has no ranges.
        assert all(store.opened.count(name) <= 2 for name in store.opened)


def test_neighbouring_blocks_are_one_piece() -> None:
    with shelf.opened(shelf.Shelf(MAKER.objects)) as found:
        unit = next(iter(found.units(Extent(5 * CHUNK, CHUNK))))
        assert [(piece.offset, piece.length) for piece in unit.pieces()] == [(5 * CHUNK, CHUNK)]
        unit = next(iter(found.units(Extent(4 * CHUNK, CHUNK))))
        assert (4 * CHUNK + 2 * BLOCK, 5 * BLOCK, None) in list(unit.pieces())


def test_what_the_target_has_is_left_out_and_not_fetched() -> None:
    store = shelf.Shelf(MAKER.objects)
    target = bytearray(DATA)

    def present(offset: int, buffer: memoryview) -> None:
        buffer[:] = target[offset:offset + len(buffer)]

    with shelf.opened(store) as found:
        assert not [piece for unit in found.units(Extent(0, len(DATA)))
                    for piece in unit.pieces(present)]
        store.read.clear()
        for unit in found.units(Extent(0, len(DATA))):
            list(unit.pieces(present))
        assert all(length < 1200 for _, _, length in store.read), 'frames were fetched'
        changed = [3, CHUNK + 5, 5 * CHUNK + 3 * BLOCK, 4 * CHUNK + 3 * BLOCK, len(DATA) - 1]
        for at in changed:
            target[at] ^= 255
        pieces = [piece for unit in found.units(Extent(0, len(DATA)))
                  for piece in unit.pieces(present)]
        for offset, length, data in pieces:
            target[offset:offset + length] = bytes(length) if data is None else data
        assert target == DATA
        assert sorted(piece.length for piece in pieces if piece.offset // CHUNK not in (1, 2)) == [
            100, BLOCK, BLOCK, BLOCK]


def test_a_part_with_a_target_at_odd_places() -> None:
    source = random.Random(5)

    def present(offset: int, buffer: memoryview) -> None:
        assert wanted.offset <= offset and offset + len(buffer) <= wanted.end
        buffer[:] = target[offset:offset + len(buffer)]

    with shelf.opened(shelf.Shelf(MAKER.objects)) as found:
        for _ in range(60):
            offset = source.randrange(len(DATA))
            wanted = Extent(offset, source.randrange(1, len(DATA) - offset + 1))
            target = bytearray(DATA)
            for at in source.sample(range(len(DATA)), 3):
                target[at] ^= 1
            expected = bytes(target[:offset]) + DATA[offset:wanted.end] + target[wanted.end:]
            for unit in found.units(wanted):
                for at, length, data in unit.pieces(present):
                    target[at:at + length] = bytes(length) if data is None else data
            assert target == expected


def test_near_frames_are_fetched_together_and_far_ones_are_not(
        monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = v2_stores.make_blocks(7, 8, plain=False)
    fillers = v2_stores.make_blocks(8, 8, plain=False)
    maker = v2_stores.Maker({})
    rows = maker.object('new-00001', {0: b''.join(blocks)}, [
        (0, [block]) for pair in zip(blocks, fillers) for block in pair])
    maker.manifest('new', CHUNK, [rows[0]])
    for gap, group, reads in ((0, 1 << 20, 8), (BLOCK, 1 << 20, 1), (BLOCK, 3 * BLOCK, 4)):
        monkeypatch.setattr(chunk_unit, 'GAP', gap)
        monkeypatch.setattr(chunk_unit, 'GROUP', group)
        store = shelf.Shelf(maker.objects)
        with shelf.opened(store) as found:
            unit = next(iter(found.units(Extent(0, CHUNK))))
            store.read.clear()
            assert b''.join(bytes(piece.data or b'') for piece in unit.pieces()) == b''.join(blocks)
            assert len(store.read) == reads + 1, 'the table, and the frames'


def test_a_map_of_many_rows_is_entered_in_its_middle() -> None:
    maker = v2_stores.Maker({})
    block = v2_stores.make_blocks(9, 1)[0]
    chunks = dict.fromkeys(range(0, 2000, 2), block + bytes(7 * BLOCK))
    rows = maker.object('new-00001', chunks, [(3, [block])])
    maker.manifest('new', 2000 * CHUNK, [item for row in rows.values() for item in (row, 1)])
    with shelf.opened(shelf.Shelf(maker.objects)) as found:
        for chunk in (0, 1, 510, 511, 512, 513, 1000, 1998, 1999):
            (index, _), *_ = found.items(chunk)
            assert index == chunk
            units = list(found.units(Extent(chunk * CHUNK + 1, CHUNK)))
            pieces = [piece for unit in units for piece in unit.pieces()]
            assert sum(piece.length for piece in pieces) == min(CHUNK, 2000 * CHUNK - pieces[0][0])


def test_an_empty_volume_and_one_of_zeros_of_any_size() -> None:
    maker = v2_stores.Maker({}, chunk_size=64 << 20, block_size=64 << 10)
    maker.manifest('new', 0, [])
    with shelf.opened(shelf.Shelf(maker.objects)) as found:
        assert list(found.units(Extent(0, 10))) == [] == shelf.problems(found)
    maker.manifest('new', (16 << 40) + 1, [(16 << 40 >> 26) + 1])
    with shelf.opened(shelf.Shelf(maker.objects)) as found:
        unit, = found.units(Extent(0, 1 << 60))
        assert list(unit.pieces()) == [(0, (16 << 40) + 1, None)]
        unit, = found.units(Extent(5, 1 << 30))
        assert list(unit.pieces()) == [(5, 1 << 30, None)]


@pytest.mark.parametrize('verb', ['get_object_reader', 'read'])
def test_a_connection_that_drops_while_it_is_read(verb: str) -> None:
    """Each read once in turn; what follows it goes on where it was."""
    driver = faults.FaultyDriver(memory.MemoryBackupDriver())
    driver.put_container('shelf')
    for name, body in MAKER.objects.items():
        with driver.get_object_writer('shelf', name) as writer:
            writer.write(body)
    dropped = exceptions.StoreUnavailable('the connection dropped')
    for call in itertools.count(1):
        driver.plan = [faults.Fault(verb, call=call, error=dropped)]
        with shelf.opened(driver) as found:
            assert shelf.bring_back(found) == DATA
        if not driver.happened:
            break
    assert call > 10
