"""Damaged stores of 2.0.0: each byte that a digest covers is named by a check, and none comes back
wrong. The page says which are covered: all that the backup uses."""

from __future__ import annotations

from collections.abc import Iterator
import json
import pathlib
import struct
from typing import Any

import pytest

from backup_framework import exceptions
from backup_framework.formats.base import Problem
from backup_framework.formats.v2 import chunk_map, digest
from backup_framework.model import Extent
from tests.formats import v2_reader, v2_stores
from tests.unit.formats.v2 import shelf

BLOCK = v2_stores.BLOCK
MAKER, DATA = v2_stores.sample()
CHUNK = MAKER.chunk_size


def covered(objects: dict[str, bytes], directory: pathlib.Path
            ) -> Iterator[tuple[str, int, int, bool]]:
    """(object, offset, end, whether a restore needs it), found by the independent reader."""
    for name, body in objects.items():
        (directory / name).write_bytes(body)
    for name in ('new_metadata', 'new_map'):
        yield name, 0, len(objects[name]), True
    found = v2_reader.Store(directory, 'new')
    chunk = 0
    for count, row in found.map_rows():
        if row is not None:
            name, length, offset = row[:3]
            table = found.table(chunk, row)
            footer, = struct.unpack_from('<Q', objects[name], len(objects[name]) - 32)
            yield name, 0, 64, False
            yield name, footer, len(objects[name]), False
            yield name, offset, offset + length, True
            for number, _, _, at, stored, *_ in table.frames:
                yield table.names[number], at, at + stored, True
        chunk += count


def restored(objects: dict[str, bytes]) -> str:
    """What the restore says; a wrong byte must not come."""
    try:
        with shelf.opened(shelf.Shelf(objects)) as found:
            for unit in found.units(Extent(0, found.size)):
                for offset, length, data in unit.pieces():
                    assert (bytes(length) if data is None else data) == (
                        DATA[offset:offset + length]), 'wrong bytes'
    except exceptions.FormatError as error:
        return str(error)
    return ''


def checked(objects: dict[str, bytes]) -> str:
    try:
        with shelf.opened(shelf.Shelf(objects)) as found:
            return ' '.join(shelf.problems(found))
    except exceptions.FormatError as error:
        return str(error)


def flip_all(tmp_path: pathlib.Path, step: int) -> None:
    kinds: dict[tuple[str, int], bool] = {}
    for name, start, end, needed in covered(MAKER.objects, tmp_path):
        for at in range(start, end):
            kinds[name, at] = kinds.get((name, at), False) or needed
    everything = [(name, at) for name, body in MAKER.objects.items() for at in range(len(body))]
    assert len(kinds) > 8000 and len(everything) > len(kinds)
    for number, (name, at) in enumerate(everything[::step]):
        body = bytearray(MAKER.objects[name])
        body[at] ^= 1 << number % 8
        objects = MAKER.objects | {name: bytes(body)}
        needed = kinds.get((name, at))
        found, refused = checked(objects), restored(objects)
        assert bool(found) == (needed is not None), (name, at, found)
        assert bool(refused) == bool(needed), (name, at, refused)
        if not name.endswith('_metadata') and found:
            assert name in found and 'shelf' in found and (not refused or name in refused)


def test_flipped_bits(tmp_path: pathlib.Path) -> None:
    flip_all(tmp_path, 17)


@pytest.mark.long
def test_a_flipped_bit_in_every_byte(tmp_path: pathlib.Path) -> None:
    flip_all(tmp_path, 1)


def test_cut_at_each_length() -> None:
    for name in ('new_map', 'new_metadata', 'new-00001', 'new-00003', 'old-00001'):
        body = MAKER.objects[name]
        for length in range(0, len(body), 7):
            objects = MAKER.objects | {name: body[:length]}
            found = checked(objects)
            assert found and (name in found or name == 'new_metadata')
            restored(objects)


def test_missing_objects_are_named() -> None:
    for name in MAKER.objects:
        objects = {key: body for key, body in MAKER.objects.items() if key != name}
        if name.startswith('old_'):
            assert checked(objects) == restored(objects) == ''
            continue
        if name == 'new_metadata':
            continue
        for said in (checked(objects), restored(objects)):
            assert f'object {name} of container shelf (' in said and 'is missing' in said
        with shelf.opened(shelf.Shelf(objects)) as found:
            if name != 'new_map':
                assert found.missing(False, shelf.tick) == (7, [Problem(
                    f'object {name} of container shelf is missing', 'shelf', name)])


def test_sizes_that_are_not_those_of_the_map() -> None:
    objects = MAKER.objects | {'old-00007': MAKER.objects['old-00007'] + b'x'}
    with shelf.opened(shelf.Shelf(objects)) as found:
        size = len(objects['old-00007'])
        assert found.missing(False, shelf.tick) == (7, [])
        assert found.missing(True, shelf.tick) == (7, [Problem(
            f'object old-00007 of container shelf has {size} bytes instead of {size - 1}',
            'shelf', 'old-00007')])


def test_each_damaged_frame_is_a_problem_of_its_own() -> None:
    body = bytearray(MAKER.objects['new-00003'])
    body[70] ^= 1
    body[-500] ^= 1
    with shelf.opened(shelf.Shelf(MAKER.objects | {'new-00003': bytes(body)})) as found:
        units = list(found.units(Extent(0, len(DATA))))
        three, four = (unit.problems(shelf.tick) for unit in units[2:4])
    problem, = three
    assert 'frame at byte 64' in problem.sentence
    assert f'(chunk 3, bytes {3 * CHUNK} to {4 * CHUNK} of the volume)' in problem.sentence
    assert (problem.container, problem.object) == ('shelf', 'new-00003')
    assert problem.extents and all(
        3 * CHUNK <= extent.offset < extent.end <= 4 * CHUNK for extent in problem.extents)
    problem, = four
    assert 'chunk 4' in problem.sentence


def test_objects_that_changed_places() -> None:
    for one, two in (('new-00001', 'new-00003'), ('new-00005', 'old-00001'),
                     ('new_map', 'old_map'), ('new-00004', 'new-00005')):
        objects = MAKER.objects | {one: MAKER.objects[two], two: MAKER.objects[one]}
        assert one in checked(objects) and restored(objects)


MEMBERS = json.loads(MAKER.objects['new_metadata'])
IMPOSSIBLE: list[tuple[str, Any]] = [
    ('size', -1), ('size', 1 << 63), ('size', '5'), ('size', 5.0), ('size', None), ('size', True),
    ('chunk_size', 0), ('chunk_size', 513), ('chunk_size', 65537 * BLOCK), ('chunk_size', []),
    ('block_size', 0), ('block_size', 256), ('block_size', 768), ('block_size', 32 << 20),
    ('digest', 'md5'), ('digest', None), ('digest', 7), ('compression', 'lzma'),
    ('compression', None), ('map', None), ('map', 'new_map'), ('map', {}),
    ('map', MEMBERS['map'] | {'name': 'old_map'}), ('map', MEMBERS['map'] | {'name': '../x'}),
    ('map', MEMBERS['map'] | {'name': 'new_map-1'}), ('map', MEMBERS['map'] | {'length': 55}),
    ('map', MEMBERS['map'] | {'length': 1 << 64}), ('map', MEMBERS['map'] | {'digest': 'ab'}),
    ('map', MEMBERS['map'] | {'digest': 'AB' * 32}), ('map', MEMBERS['map'] | {'digest': None}),
    ('references', None), ('references', 'old'), ('references', ['old', 'a']),
    ('references', ['old', 'old']), ('references', ['new', 'old']), ('references', ['../old']),
    ('references', ['bf-container.keys']), ('references', [1]), ('references', ['x' * 300]),
    ('object_count', -1), ('object_count', None), ('stored_bytes', None), ('sealing', {}),
    ('sealing', False), ('properties', None), ('properties', {'a': 1}), ('owner', 1),
    ('created_at', 'yesterday'), ('created_at', '2026-11-22T04:08:10'), ('created_at', 7),
    ('data_timestamp', ''), ('volume_meta', {}), ('parent_id', [])]


@pytest.mark.parametrize(['member', 'value'], IMPOSSIBLE)
def test_impossible_members_of_a_manifest(member: str, value: Any) -> None:
    document = MAKER.sign(MEMBERS | {member: value})
    with pytest.raises((exceptions.CorruptManifest, exceptions.UnsupportedVersion)) as caught:
        shelf.open_reader(shelf.Shelf(MAKER.objects | {'new_metadata': document}))
    if member == 'sealing':
        assert 'what seals the backup is unknown' in str(caught.value)


def test_a_reference_that_is_missing_or_idle() -> None:
    document = MAKER.sign(MEMBERS | {'references': ['other']})
    objects = MAKER.objects | {'new_metadata': document}
    assert 'the manifest does not name' in restored(objects)
    document = MAKER.sign(MEMBERS | {'references': ['old', 'other']})
    objects = MAKER.objects | {'new_metadata': document}
    assert 'refers to other' in checked(objects) and restored(objects) == ''


def signed_map(body: bytes, **members: Any) -> dict[str, bytes]:
    """The sample with another map: its records between head and end, digests made right."""
    whole = body + struct.pack('<B7s32s', 0, b'', MAKER.of(body))
    described = {'name': 'new_map', 'length': len(whole), 'digest': MAKER.of(whole).hex()}
    document = MAKER.sign(MEMBERS | {'map': described} | members)
    return MAKER.objects | {'new_map': whole, 'new_metadata': document}


def test_each_byte_of_a_map_with_right_digests() -> None:
    """Refused, but where a number does not matter to a restore: an object's blocks and length."""
    body = MAKER.objects['new_map'][:-40]
    assert checked(signed_map(body)) == ''
    accepted = set()
    for at in range(len(body)):
        for change in (1, 0x80, 0xff):
            changed = bytearray(body)
            changed[at] ^= change
            if not restored(signed_map(bytes(changed))):
                accepted.add(at)
    records = [body.index(name.encode()) - 16 for name in MAKER.objects
               if '-' in name and name.encode() in body]
    assert accepted <= {start + at for start in records for at in range(4, 16)}


HEAD = struct.pack('<8sHHI', b'bf2.map.', 1, 0, 0)


@pytest.mark.parametrize('records', [
    b'', struct.pack('<B7sQ', 2, b'', 0), struct.pack('<B7sQ', 2, b'', 1 << 63),
    struct.pack('<B7sQ', 2, b'', 9), struct.pack('<B7sQ', 2, b'', 7), bytes([4]) * 50,
    struct.pack('<BBHIQ', 1, 0, 65535, 1, 1), struct.pack('<BBHIQ', 1, 0, 3, 1, 1) + b'../',
    struct.pack('<BBHIIIQ32s32s', 3, 0, 0, 0xffffffff, 0, 1, 1, b'', b''),
    struct.pack('<BBHIIIQ32s32s', 3, 0, 0, 65537, 0, 1, 1, b'', b''),
    struct.pack('<BBHIIIQ32s32s', 3, 0, 0, 1, 0, 1, 1, b'', b'') + bytes(8)])
def test_maps_that_cannot_be(records: bytes) -> None:
    assert '(the map) is damaged' in restored(signed_map(HEAD + records))


def test_each_byte_of_a_table_with_right_digests() -> None:
    """A table whose digests are right all the way up: refused or the right bytes, never others."""
    reader = shelf.open_reader(shelf.Shelf(MAKER.objects))
    with reader.open_rows() as rows:
        row = next(iter(rows))
        name = rows.objects[row.object].name
    table = MAKER.objects[name][row.offset:row.offset + row.length]
    place = MAKER.objects['new_map'].index(row.table_digest)
    refused = 0
    for at in range(len(table)):
        for change in (1, 0x80, 0xff):
            changed = bytearray(table)
            changed[at] ^= change
            data = bytearray(MAKER.objects['new_map'][:-40])
            data[place:place + digest.SIZE] = MAKER.of(bytes(changed))
            objects = signed_map(bytes(data))
            body = bytearray(objects[name])
            body[row.offset:row.offset + row.length] = changed
            refused += bool(restored(objects | {name: bytes(body)}))
    # All but the digest of header and footer, which only a check looks at.
    assert refused == 3 * (len(table) - digest.SIZE)


def test_a_map_that_is_sound_but_another() -> None:
    """Its own digest is right, but not that in the manifest."""
    body = bytearray(MAKER.objects['new_map'][:-40])
    body[body.index(b'new-00001') - 12] ^= 1
    longer = bytes(body) + chunk_map.encode_object(chunk_map.Object('new-00099', 0, 100))
    for other in (bytes(body), longer):
        found = MAKER.objects | {'new_map': other + chunk_map.end(MAKER.of(other))}
        assert '(the map) is damaged' in checked(found) and restored(found)


def test_a_table_that_claims_an_impossible_place_is_not_read() -> None:
    body = struct.pack('<BBHIQ', 1, 0, 9, 0, 1 << 60) + b'new-00001'
    for offset, length in ((63, 200), (64, 1 << 30), (1 << 59, (1 << 32) - 1)):
        row = chunk_map.encode_row(
            chunk_map.Row(0, offset, length, bytes(32), bytes(32), [(0, 0)]))
        objects = signed_map(HEAD + body + row + chunk_map.encode_zeros(7))
        store = shelf.Shelf(objects)
        with shelf.opened(store) as found:
            unit = next(iter(found.units(Extent(0, CHUNK))))
            with pytest.raises(exceptions.CorruptObject, match='impossible place'):
                list(unit.pieces())
        assert not [name for name, _, size in store.read if name == 'new-00001' and size]


def test_a_footer_that_tells_another_place() -> None:
    maker = v2_stores.Maker({}, misplaced=1)
    block = v2_stores.make_blocks(1, 1)[0]
    rows = maker.object('new-00001', {0: block + bytes(BLOCK)}, [(0, [block])])
    maker.manifest('new', 2 * BLOCK, [rows[0]])
    assert 'new-00001' in checked(maker.objects) and 'footer' in checked(maker.objects)
    with shelf.opened(shelf.Shelf(maker.objects)) as found:
        assert shelf.bring_back(found) == block + bytes(BLOCK)


def test_blocks_of_zeros_whose_digest_is_of_other_bytes() -> None:
    """A target that has those bytes would keep them."""
    maker = v2_stores.Maker({})
    block, other = v2_stores.make_blocks(1, 2)
    zero, right = maker.of(bytes(BLOCK)), maker.of
    maker.of = lambda data: right(other) if right(data) == zero else right(data)  # type: ignore
    for data in (block + bytes(BLOCK), bytes(BLOCK) + block, block + bytes(BLOCK) + block):
        rows = maker.object('new-00001', {0: data}, [(0, [block])])
        maker.manifest('new', len(data), [rows[0]])
        assert 'blocks of zeros' in restored(maker.objects)
