"""Tables, footers and maps: what is packed comes back, and bytes of any kind are told apart."""

from __future__ import annotations

from array import array
import contextlib
import io
import tracemalloc

from hypothesis import given, settings, strategies
import pytest

from backup_framework import exceptions
from backup_framework.formats.v2 import chunk_map, digest, layout
from tests.patience import soon

BLOCK = 512
BLAKE3 = digest.algorithm('blake3')
NUMBERS = strategies.integers(0, 1 << 40)
DIGESTS = strategies.binary(min_size=32, max_size=32)
NAMES = strategies.lists(
    strategies.integers(1, 10**9).map(lambda number: f'a/b-{number:05d}'), unique=True, max_size=4)


@strategies.composite
def tables(draw: strategies.DrawFn) -> tuple[layout.Table, int]:
    """A table and the length of its chunk."""
    blocks = draw(strategies.integers(1, 40))
    length = (blocks - 1) * BLOCK + draw(strategies.integers(1, BLOCK))
    frame_of, place_of, frames = array('I'), array('I'), []
    names = draw(NAMES)[:blocks]
    used = draw(strategies.lists(strategies.integers(0, 4), min_size=blocks, max_size=blocks))
    order = sorted(set(used) - {0})
    for choice in used:
        frame_of.append(layout.ZERO if not choice else order.index(choice))
        place_of.append(0 if not choice else draw(strategies.integers(0, 5)))
    for _ in order:
        codec = draw(strategies.integers(0, 3))
        plain = 6 * BLOCK
        stored = plain if codec == 0 else draw(strategies.integers(1, plain))
        frames.append(layout.Frame(draw(strategies.integers(0, len(names))), codec,
                                   64 + draw(NUMBERS), stored, plain, draw(DIGESTS)))
    names = names[:len(frames)]
    frames = [frame if frame.object <= len(names) else layout.Frame(
        0, frame.codec, frame.offset, frame.stored, frame.plain, frame.digest)
        for frame in frames]
    column = draw(strategies.binary(min_size=32 * blocks, max_size=32 * blocks))
    return layout.Table(draw(NUMBERS), draw(DIGESTS), names, frames, column, frame_of,
                        place_of), length


@given(tables())
def test_tables_come_back(made: tuple[layout.Table, int]) -> None:
    table, length = made
    data = layout.encode_table(table)
    assert len(data) == layout.table_size(table.blocks, len(table.frames), table.names)
    assert len(data) <= layout.largest_table(table.blocks)
    assert layout.decode_table(data, table.chunk, length, BLOCK) == table


@settings(max_examples=40)
@given(tables(), strategies.data())
def test_cut_and_changed_tables_are_told(made: tuple[layout.Table, int],
                                         data: strategies.DataObject) -> None:
    table, length = made
    packed = layout.encode_table(table)
    cut = data.draw(strategies.integers(0, len(packed) - 1))
    for other in (packed[:cut], packed + b'\0'):
        with pytest.raises(exceptions.CorruptObject):
            layout.decode_table(other, table.chunk, length, BLOCK)
    changed = bytearray(packed)
    changed[cut] ^= data.draw(strategies.integers(1, 255))
    with contextlib.suppress(exceptions.CorruptObject):
        layout.decode_table(bytes(changed), table.chunk, length, BLOCK)


@given(strategies.binary(max_size=400))
def test_any_bytes_as_a_table_or_footer(data: bytes) -> None:
    with pytest.raises(exceptions.CorruptObject):
        layout.decode_table(b'bf2t' + data, 0, 5 * BLOCK, BLOCK)
    with pytest.raises(exceptions.CorruptObject):
        layout.decode_footer(data + bytes(32), 1000, 1)


@given(strategies.lists(strategies.tuples(NUMBERS, strategies.integers(64, 2000),
                                          strategies.integers(0, 500)), min_size=1, max_size=5),
       strategies.integers(1, 10**9))
def test_footers_come_back(made: list[tuple[int, int, int]], number: int) -> None:
    items = [layout.FooterItem(*item) for item in made]
    data = layout.footer(items, 2500, number)
    assert len(data) == layout.footer_size(len(items))
    assert layout.decode_footer(data, 2500, number) == items
    for salt in (None, bytes(range(32))):
        found = layout.decode_header(layout.header(7, len(items), salt))
        assert found == layout.Header(len(items), salt)
    for offset, told in ((2499, number), (2500, number + 1)):
        with pytest.raises(exceptions.CorruptObject):
            layout.decode_footer(data, offset, told)


@strategies.composite
def maps(draw: strategies.DrawFn) -> tuple[bytes, list[chunk_map.Zeros | chunk_map.Row],
                                           list[chunk_map.Object], int]:
    """The bytes of a map, its rows, its objects, and how many chunks it has."""
    objects = [chunk_map.Object(f'p-{number:05d}', draw(strategies.integers(0, 9)), 1 << 50)
               for number in range(1, draw(strategies.integers(1, 5)) + 1)]
    data, items, told, chunks = [chunk_map.head()], [], 0, 0
    for _ in range(draw(strategies.integers(0, 8))):
        if draw(strategies.booleans()):
            count = draw(strategies.integers(1, 1 << 30))
            items.append(chunk_map.Zeros(count))
            data.append(chunk_map.encode_zeros(count))
            chunks += count
            continue
        known = draw(strategies.integers(max(1, told), len(objects)))
        data += map(chunk_map.encode_object, objects[told:known])
        told = known
        used = draw(strategies.lists(strategies.integers(0, known - 1), unique=True, min_size=1))
        row = chunk_map.Row(used[0], draw(NUMBERS), draw(strategies.integers(1, 1 << 20)),
                            draw(DIGESTS), draw(DIGESTS), [(number, 3) for number in used])
        items.append(row)
        data.append(chunk_map.encode_row(row))
        chunks += 1
    body = b''.join(data)
    return body + chunk_map.end(BLAKE3.of(body)), items, objects[:told], chunks


@given(maps())
def test_maps_come_back(made: tuple) -> None:
    data, items, objects, chunks = made
    rows = chunk_map.Rows(io.BytesIO(data), BLAKE3, chunks, {'p'})
    places = [len(chunk_map.head())]
    for row, expected in zip(rows, items, strict=True):
        assert row == expected
        places.append(rows.position)
    assert rows.objects == objects
    for number, place in enumerate(places):
        file = io.BytesIO(data)
        file.seek(place)
        assert list(rows.again(file)) == items[number:]


def test_a_map_that_names_an_object_twice() -> None:
    """Blocks that the records count apart would be those of one object."""
    one = chunk_map.encode_object(chunk_map.Object('p-00001', 1, 1000))
    row = chunk_map.encode_row(chunk_map.Row(0, 64, 1, bytes(32), bytes(32), [(0, 1)]))
    body = chunk_map.head() + one + row
    for objects, good in (([], True), ([one], False)):
        data = b''.join([body, *objects, row])
        rows = chunk_map.Rows(io.BytesIO(data + chunk_map.end(BLAKE3.of(data))), BLAKE3, 2)
        if good:
            assert len(list(rows)) == 2
        else:
            with pytest.raises(exceptions.CorruptObject, match='p-00001 is impossible'):
                list(rows)


@given(maps(), strategies.data())
def test_any_other_bytes_are_no_map(made: tuple, data: strategies.DataObject) -> None:
    packed, _, _, chunks = made
    at = data.draw(strategies.integers(0, len(packed) - 1))
    changed = bytearray(packed)
    changed[at] ^= data.draw(strategies.integers(1, 255))
    for other in (packed[:at], packed + b'\0', bytes(changed)):
        with pytest.raises(exceptions.CorruptObject):
            list(chunk_map.Rows(io.BytesIO(other), BLAKE3, chunks))
    for other in (chunks - 1, chunks + 1):
        with pytest.raises(exceptions.CorruptObject):
            list(chunk_map.Rows(io.BytesIO(packed), BLAKE3, other))


@pytest.mark.parametrize('names, told, words', [
    (b'\5\0p-002', 1, None),
    (b'\5\0p-002\0', 1, 'do not fill their room'),
    (b'\5\0p-00', 1, 'do not fill their room'),
    (b'\5\0p-002\5', 2, 'end too early'),
    (b'\5\0p-002', 2, 'end too early'),
    (b'\5\0p-\xff02', 1, 'as none is named'),
    (b'\5\0p/../', 1, 'as none is named'),
    (b'\0\0', 1, 'as none is named'),
])
def test_names_in_a_table(names: bytes, told: int, words: str | None) -> None:
    """Frames and blocks are right, and there are as many frames as names at least."""
    frames = [layout.Frame(0, 0, 64 + at * BLOCK, BLOCK, BLOCK, bytes(32)) for at in range(2)]
    data = bytearray(layout.encode_table(layout.Table(
        0, bytes(32), [], frames, bytes(64), array('I', [0, 1]), array('I', [0, 0]))))
    head = list(layout._TABLE_HEAD.unpack_from(data))
    head[6:8] = told, len(names)
    data[:layout._TABLE_HEAD.size] = layout._TABLE_HEAD.pack(*head) + names
    if words is None:
        assert layout.decode_table(bytes(data), 0, 2 * BLOCK, BLOCK).names == ['p-002']
        return
    with pytest.raises(exceptions.CorruptObject, match=words):
        layout.decode_table(bytes(data), 0, 2 * BLOCK, BLOCK)


def test_huge_counts_take_neither_time_nor_memory() -> None:
    head = bytearray(layout.encode_table(layout.Table(
        0, bytes(32), [], [], bytes(32), array('I', [layout.ZERO]), array('I', [0]))))

    def decode() -> None:
        for at in range(16, 32):
            changed = bytearray(head)
            changed[at] = 0xff
            with pytest.raises(exceptions.CorruptObject):
                layout.decode_table(bytes(changed), 0, BLOCK, BLOCK)
        row = chunk_map.encode_row(chunk_map.Row(0, 0, 1, bytes(32), bytes(32), []))
        row = row[:4] + b'\xff\xff\0\0' + row[8:]
        with pytest.raises(exceptions.CorruptObject):
            list(chunk_map.Rows(io.BytesIO(chunk_map.head() + row), BLAKE3, None))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20

    tracemalloc.start()
    try:
        soon(decode, 5)
    finally:
        tracemalloc.stop()
