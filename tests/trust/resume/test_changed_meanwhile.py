"""Between the two runs the volume changed, the parent went, or what was stored was damaged."""

from __future__ import annotations

import random
import struct

import pytest

from backup_framework import exceptions
from backup_framework.formats.v2 import gathering, layout, writer
from backup_framework.model import Extent
from tests.trust.resume import rig
from tests.trust.resume.rig import BLOCK, CHUNK, Rig

KEPT = 'not all that was stored before could be kept'


@pytest.fixture(params=['streamed', 'gathered'])
def store(request, monkeypatch):
    if request.param == 'streamed':
        monkeypatch.setattr(writer, 'SMALL', BLOCK)
    else:
        monkeypatch.setattr(gathering, 'GATHERED', CHUNK)
    return Rig()


def interrupted(store: Rig, volume: bytes, parent=None, objects: int = 3):
    """A backup that was killed when so many of its objects were stored."""
    backup = store.begin(volume, None, parent, objects)
    assert backup is not None and len(store.data(backup)) == objects
    return backup


@pytest.mark.parametrize('change', [
    lambda data: rig.changed(data, 5),
    lambda data: data[:-CHUNK - 100],
    lambda data: data + rig.noise(2, 9),
    lambda data: bytes(len(data)),
    lambda data: rig.noise(3, 11),
    lambda data: data[CHUNK:] + data[:CHUNK],
], ids=['blocks', 'shorter', 'longer', 'zeros', 'another', 'turned'])
@pytest.mark.parametrize('on_parent', [False, True])
def test_the_volume_changed(store, change, on_parent):
    first = rig.first_volume()
    parent = store.take(first) if on_parent else None
    volume = rig.changed(first)
    backup = interrupted(store, volume, parent)
    now = change(volume)
    store.go_on(backup, now)
    store.check_and_delete(backup, now)


def test_lists_of_changes_are_about_the_parent_not_the_first_run(store):
    """What the first run stored and the list leaves out is as in the parent again."""
    first = rig.first_volume()
    parent = store.take(first)
    backup = interrupted(store, rig.changed(first), parent)
    now = bytearray(first)
    now[5 * BLOCK] ^= 1
    operation = store.go_on(backup, bytes(now), changed=[Extent(5 * BLOCK, 1)])
    assert operation.warnings == []
    store.check_and_delete(backup, bytes(now))


def test_of_a_chunk_that_changed_the_rest_is_kept(store):
    volume = rig.first_volume()
    backup = interrupted(store, volume, objects=4)
    before = store.data(backup)
    now = b'!' + volume[1:]
    store.go_on(backup, now)
    sent = sum(size for name, size in store.data(backup).items() if name not in before)
    whole = store.take(now)
    assert sent <= sum(store.data(whole).values()) - sum(before.values()) + 2 * CHUNK
    store.check_and_delete(backup, now)


@pytest.mark.parametrize('options', [
    {'chunk_size': 2 * CHUNK}, {'block_size': 2 * BLOCK}, {'digest': 'sha256'},
    {'chunk_size': 2 * CHUNK, 'block_size': 2 * BLOCK}])
def test_other_parameters_begin_anew(store, options):
    volume = rig.first_volume()
    backup = interrupted(store, volume)
    before = store.data(backup)
    store.options |= options
    operation = store.go_on(backup, volume)
    assert any(KEPT in note for note in operation.warnings)
    assert store.data(backup).keys().isdisjoint(before)
    store.check_and_delete(backup, volume)


def test_another_compression_is_for_what_is_new(store):
    volume = rig.first_volume()
    backup = interrupted(store, volume)
    before = store.data(backup)
    store.options |= {'compression': 'none'}
    assert store.go_on(backup, volume).warnings == []
    assert before.keys() <= store.data(backup).keys()
    store.check_and_delete(backup, volume)


@pytest.mark.parametrize('duplicates', ['none', 'volume', 'container'])
def test_the_parent_went(store, duplicates):
    """With what only it needed: nothing of that may be referred to."""
    store.options |= {'duplicates': duplicates}
    first = rig.first_volume()
    parent = store.take(first)
    volume = rig.changed(first)
    backup = interrupted(store, volume, parent)
    with store.process() as driver:
        driver.delete_backup(parent)
    assert store.data(parent) == {}
    store.go_on(backup, volume, parent=None, parent_id=None)
    store.check_and_delete(backup, volume)


@pytest.mark.parametrize('duplicates', ['none', 'volume', 'container'])
def test_the_parent_went_and_its_own_parent_has_its_objects(store, duplicates):
    store.options |= {'duplicates': duplicates}
    first = rig.first_volume()
    root = store.take(first)
    parent = store.take(rig.changed(first, 3), root)
    volume = rig.changed(first, 4, 2 * CHUNK)
    backup = interrupted(store, volume, parent)
    before = store.data(backup)
    with store.process() as driver:
        driver.delete_backup(parent)
    store.go_on(backup, volume, parent=None, parent_id=None)
    assert before.keys() & store.data(backup).keys()
    store.check_and_delete(backup, volume)
    store.check_and_delete(root, first)


def test_the_root_of_the_parent_went_and_the_parent_has_its_objects(store):
    first = rig.first_volume()
    root = store.take(first)
    second = rig.changed(first, 3, 3 * CHUNK)
    parent = store.take(second, root)
    with store.process() as driver:
        driver.delete_backup(root)
    volume = rig.changed(second, 4)
    backup = interrupted(store, volume, parent)
    before = store.data(backup)
    assert store.go_on(backup, volume).warnings == []
    assert before.keys() <= store.data(backup).keys()
    store.check_and_delete(backup, volume)
    store.check_and_delete(parent, second)


DAMAGES = {
    'empty': lambda data: b'', 'header alone': lambda data: data[:64],
    'no footer': lambda data: data[:-1], 'half': lambda data: data[:len(data) // 2],
    'longer': lambda data: data + b'\0', 'zeros': lambda data: bytes(len(data)),
    'first byte': lambda data: b'x' + data[1:], 'last byte': lambda data: data[:-1] + b'x',
    'no frames': lambda data: data[:64] + bytes(len(data) - 64 - 400) + data[-400:],
    'gone': lambda data: None}


@pytest.mark.parametrize('damage', DAMAGES.values(), ids=DAMAGES)
def test_damaged_objects_are_stored_anew(store, damage):
    volume = rig.first_volume()
    backup = interrupted(store, volume)
    for name in list(store.data(backup)):
        damaged = store.objects()[name]
        store.put(name, damage(damaged))
        operation = store.go_on(backup, volume)
        assert any(name in note for note in operation.warnings) or damage(damaged) is None
        store.check(backup, volume)
        with store.process() as driver:
            driver.delete_backup(backup)
        backup = interrupted(store, volume)
        if name not in store.data(backup):
            break
    store.check_and_delete(store.take(volume), volume)


def test_foreign_objects_are_not_taken(store):
    """Of another backup of the same volume, under the names of this one."""
    volume = rig.first_volume()
    backup = interrupted(store, volume)
    other = store.take(rig.changed(volume, 13))
    objects = store.objects()
    wrong = list(zip(store.data(backup), reversed(store.data(other))))
    for name, another in wrong:
        store.put(name, objects[another])
    store.put(f'{backup.service_metadata}-00500', objects[next(iter(store.data(other)))])
    store.go_on(backup, volume)
    assert f'{backup.service_metadata}-00500' not in store.data(backup)
    store.check_and_delete(backup, volume)


def flips(data: bytes) -> list[int]:
    """Every byte of header, block tables and footer, by a step; none of the frames."""
    tables = struct.unpack_from('<Q', data[-32:])[0]
    first = struct.unpack_from('<QQ', data[tables:])[1]
    return [*range(64), *range(first, first + 64), *range(first + 64, tables, 37),
            *range(tables, len(data))]


def test_flipped_bits_of_what_describes_an_object(monkeypatch):
    """Whatever the flip, what is committed can be read; or nothing is, and the error says so.

    Digests of frames and the places of blocks in them are covered by nothing before there is a map:
    such a flip is trusted, as the bytes of frames are, and `verify` finds it.
    """
    monkeypatch.setattr(writer, 'SMALL', BLOCK)
    store = Rig()
    volume = rig.noise(2, 3)
    visited = trusted = 0
    backup = interrupted(store, volume, objects=1)
    name, = store.data(backup)
    good = store.objects()[name]
    for at in flips(good):
        backup = interrupted(store, volume, objects=1)
        name, = store.data(backup)
        bad = bytearray(store.objects()[name])
        bad[at] ^= 1 << (at % 8)
        store.put(name, bytes(bad))
        store.go_on(backup, volume)
        with store.process() as driver:
            report = driver.verify(backup)
        if report.ok:
            store.check_and_delete(backup, volume)
        else:
            trusted += 1
            assert all(name in str(problem) for problem in report.problems)
        visited += 1
    assert visited >= 180 and trusted <= visited // 10


def hostile(data: bytes) -> list[bytes]:
    """Footers and headers that lie, with everything around them as it should be."""
    at, = struct.unpack_from('<Q', data[-32:])
    chunk, offset, length, _ = struct.unpack_from('<QQII', data[at:])
    largest = [0, 1, 63, 64, len(data), 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 64) - 1]
    made = []
    for value in largest:
        for item in ((value, offset, length), (chunk, value, length),
                     (chunk, offset, value & 0xffffffff)):
            made.append(data[:at] + struct.pack('<QQII', *item, 0) + data[at + 24:])
        made.append(data[:-32] + struct.pack('<Q', value) + data[-24:])
        made.append(data[:-24] + struct.pack('<I', value & 0xffffffff) + data[-20:])
        made.append(data[:12] + struct.pack('<I', value & 0xffffffff) + data[16:])
    return made


def test_hostile_footers(monkeypatch):
    monkeypatch.setattr(writer, 'SMALL', BLOCK)
    store = Rig()
    volume = rig.noise(2, 3)
    visited = 0
    for number in range(len(hostile(bytes(500)[:-32] + bytes(32)))):
        backup = interrupted(store, volume, objects=1)
        name, = store.data(backup)
        store.put(name, hostile(store.objects()[name])[number])
        store.go_on(backup, volume)
        store.check_and_delete(backup, volume)
        visited += 1
    assert visited == 54


@pytest.mark.parametrize('order', [(1, 0), (0, 0), (1, 1), (0,)])
def test_block_tables_in_another_order(monkeypatch, order):
    """Where an object has several, its footer names them as they stand there, and all of them."""
    monkeypatch.setattr(gathering, 'GATHERED', 3 * CHUNK)
    store = Rig()
    volume = rig.noise(9, 3)
    backup = interrupted(store, volume, objects=2)
    found = {name: data for name, data in store.objects().items()
             if name in store.data(backup) and struct.unpack_from('<I', data, 12)[0] > 1}
    assert found, 'no object has two block tables'
    for name, data in found.items():
        footer, = struct.unpack_from('<Q', data[-32:])
        items = [data[at:at + 24] for at in range(footer, len(data) - 32, 24)]
        changed = [items[at] for at in order] + items[2:]
        store.put(name, data[:footer] + b''.join(changed) + data[-32:])
    operation = store.go_on(backup, volume)
    assert any('could be kept' in note for note in operation.warnings)
    store.check_and_delete(backup, volume)


def test_a_table_that_tells_of_zeros_where_there_are_none(monkeypatch):
    """All digests of blocks are right, so the chunk looks like the volume's."""
    monkeypatch.setattr(writer, 'SMALL', BLOCK)
    store = Rig()
    volume = rig.noise(2, 3)
    backup = interrupted(store, volume, objects=1)
    name, = store.data(backup)
    data = bytearray(store.objects()[name])
    tables = struct.unpack_from('<Q', data[-32:])[0]
    blocks = CHUNK // BLOCK
    struct.pack_into('<I', data, tables - 8 * blocks, layout.ZERO)
    struct.pack_into('<I', data, tables - 4 * blocks, 0)
    store.put(name, bytes(data))
    operation = store.go_on(backup, volume)
    assert any('zeros' in note for note in operation.warnings)
    store.check_and_delete(backup, volume)


def test_random_bytes_as_objects(store):
    volume = rig.first_volume()
    backup = interrupted(store, volume)
    source = random.Random(17)
    for number in range(600, 640):
        junk = layout.header(0, 1, None) + source.randbytes(source.randrange(300))
        store.put(f'{backup.service_metadata}-{number:05d}', junk)
    store.put(f'{backup.service_metadata}_map-7', source.randbytes(100))
    store.go_on(backup, volume)
    assert f'{backup.service_metadata}_map-7' not in store.objects()
    store.check_and_delete(backup, volume)


def test_a_number_so_high_that_none_is_left(store):
    volume = rig.first_volume()
    backup = interrupted(store, volume)
    store.put(f'{backup.service_metadata}-{10 ** 18 - 1}', b'')
    with pytest.raises(exceptions.InvalidBackup, match='too often'):
        store.go_on(backup, volume)
    with store.process() as driver:
        driver.delete_backup(backup)
    assert store.objects() == {}
