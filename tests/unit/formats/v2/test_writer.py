"""What the writer of format 2.0.0 stores, refers to, and does without."""

import contextlib
import random

import pytest

from backup_framework import exceptions
from backup_framework.formats import base
from backup_framework.formats.v2 import (
    chunk_map,
    compaction,
    frames,
    gathering,
    layout,
    scan,
    writer,
)
from backup_framework.model import Extent
from tests.formats import v2_reader
from tests.unit.formats.v2 import volumes
from tests.unit.formats.v2.volumes import Volume, container, restore, take

BLOCK = 4096
CHUNK = 16 * BLOCK
CHOICES = base.Choices(chunk_size=CHUNK, block_size=BLOCK)
NOISE = random.Random(2).randbytes(64 * CHUNK)


def noise(blocks, seed=0):
    return random.Random(seed).randbytes(blocks * BLOCK)


def with_block(data, number, block):
    return data[:number * BLOCK] + block + data[number * BLOCK + len(block):]


def bytes_of(box, prefix):
    return sum(box.size(name) for name in volumes.data_objects(box, prefix))


def rows_of(box, prefix):
    with volumes.open_reader(box, prefix).open_rows() as rows:
        return list(rows), rows.objects


def table_of(box, prefix, number):
    rows, objects = rows_of(box, prefix)
    return volumes.open_reader(box, prefix).table(number, rows[number], objects)


def test_a_store_is_read_by_the_page_alone(tmp_path):
    box = container()
    first = noise(10) + bytes(3 * CHUNK) + b'text ' * 9000 + noise(3) + b'end'
    second = with_block(first, 5, bytes(BLOCK)) + b''
    prefix, totals = take(box, 1, Volume(first), CHOICES)
    take(box, 2, Volume(second), CHOICES, prefix)
    for name in box.names(''):
        (tmp_path / name).write_bytes(box.get(name, 1 << 30))
    assert v2_reader.restore(tmp_path, 'backup_1') == first
    assert v2_reader.restore(tmp_path, 'backup_2') == second
    assert totals.size_bytes == len(first)
    assert totals.stored_bytes == sum(box.size(name) for name in box.names('backup_1'))
    assert totals.object_count == len(volumes.data_objects(box, 'backup_1'))


def test_an_empty_volume():
    box = container()
    prefix, totals = take(box, 1, Volume(b''), CHOICES)
    assert restore(box, prefix) == b''
    assert (totals.object_count, totals.size_bytes) == (0, 0)


def test_an_unchanged_volume_stores_nothing_and_fetches_no_table():
    box = container()
    data = noise(40) + bytes(CHUNK) + noise(5)
    parent, _ = take(box, 1, Volume(data), CHOICES)
    before = rows_of(box, parent)
    read = []
    box.ranges = lambda name, *_: read.append(name)  # a table would be fetched by this
    prefix, totals = take(box, 2, Volume(data), CHOICES, parent)
    del box.ranges
    assert (totals.object_count, read) == (0, [])
    assert rows_of(box, prefix) == before
    assert restore(box, prefix) == data


def test_only_changed_blocks_are_stored_and_the_rest_is_referred_to():
    box = container()
    first = noise(64)
    second = with_block(first, 20, noise(1, 9))
    parent, _ = take(box, 1, Volume(first), CHOICES)
    prefix, totals = take(box, 2, Volume(second), CHOICES, parent)
    assert totals.parent_id == parent
    rows, objects = rows_of(box, prefix)
    assert sum(item.blocks for item in objects if item.name.startswith(prefix)) == 1
    table = table_of(box, prefix, 1)
    assert [frame.object for frame in table.frames].count(0) == 1
    assert bytes_of(box, prefix) < BLOCK + 2048
    # The parent is history: what it alone used may go, and so may its manifest.
    box.delete(parent + '_metadata')
    box.delete(parent + '_map')
    assert restore(box, prefix) == second


def test_a_child_of_a_child_refers_to_both():
    box = container()
    data = noise(32)
    prefix = None
    for number in range(1, 4):
        data = with_block(data, number, noise(1, number))
        prefix, _ = take(box, number, Volume(data), CHOICES, prefix)
    assert volumes.open_reader(box, prefix).references == ['backup_1', 'backup_2']
    assert restore(box, prefix) == data


def test_a_block_that_became_zeros_gets_a_table_and_a_chunk_of_zeros_none():
    box = container()
    first = noise(48)
    second = bytes(CHUNK) + with_block(first[CHUNK:], 3, bytes(BLOCK))
    parent, _ = take(box, 1, Volume(first), CHOICES)
    prefix, _ = take(box, 2, Volume(second, grain=None), CHOICES, parent)
    rows, objects = rows_of(box, prefix)
    assert rows[0] == chunk_map.Zeros(1)
    table = table_of(box, prefix, 1)
    assert table.frame_of[3] == layout.ZERO
    own = [item.blocks for item in objects if item.name.startswith(prefix)]
    assert own == [0]
    assert restore(box, prefix) == second


def test_holes_are_not_read():
    volume = Volume(bytes(CHUNK) + noise(2) + bytes(8 * BLOCK) + noise(6) + bytes(4 * CHUNK))
    box = container()
    parent, _ = take(box, 1, volume, CHOICES)
    assert volume.reads == [Extent(CHUNK, 2 * BLOCK), Extent(CHUNK + 10 * BLOCK, 6 * BLOCK)]
    volume.reads.clear()
    take(box, 2, volume, CHOICES, parent)
    assert sum(extent.length for extent in volume.reads) == 8 * BLOCK


def test_extents_are_rounded_to_blocks():
    data = bytes(1000) + b'x' * 100 + bytes(CHUNK)
    volume = Volume(data, grain=512)
    box = container()
    prefix, _ = take(box, 1, volume, CHOICES)
    assert volume.reads == [Extent(0, BLOCK)]
    assert restore(box, prefix) == data


def test_a_volume_that_changes_while_it_is_read_is_stored_as_it_was_read_last():
    box = container()
    first = noise(16)
    parent, _ = take(box, 1, Volume(first), CHOICES)
    volume = Volume(with_block(first, 2, noise(1, 5)))
    plain_read = volume.read

    def read(offset, view):
        plain_read(offset, view)
        volume.data = with_block(first, 2, noise(1, 6))

    volume.read = read
    prefix, _ = take(box, 2, volume, CHOICES, parent)
    assert restore(box, prefix) == volume.data


def test_a_hint_is_all_that_is_read():
    box = container()
    first = noise(64)
    second = with_block(first, 20, noise(1, 7))
    parent, _ = take(box, 1, Volume(first), CHOICES)
    changed = [Extent(20 * BLOCK + 17, 100), Extent(40 * BLOCK, BLOCK)]
    volume = Volume(second, changed=changed)
    prefix, totals = take(box, 2, volume, CHOICES, parent)
    assert volume.reads == [Extent(20 * BLOCK, BLOCK), Extent(40 * BLOCK, BLOCK)]
    assert restore(box, prefix) == second
    # The chunk in which nothing differed in the end has the parent's row.
    rows, objects = rows_of(box, prefix)
    assert objects[rows[2].object].name == 'backup_1-00001'
    assert objects[rows[1].object].name == 'backup_2-00001'
    assert bytes_of(box, prefix) < BLOCK + 2048


def test_a_hint_against_chunks_of_zeros():
    box = container()
    first = bytes(2 * CHUNK) + noise(16)
    second = with_block(first, 5, noise(1, 8))
    parent, _ = take(box, 1, Volume(first), CHOICES)
    volume = Volume(second, grain=None, changed=[Extent(5 * BLOCK, BLOCK)])
    prefix, _ = take(box, 2, volume, CHOICES, parent)
    assert volume.reads == [Extent(5 * BLOCK, BLOCK)]
    assert restore(box, prefix) == second


def test_samples_are_compared_with_the_parent():
    box = container()
    data = noise(20) + bytes(2 * CHUNK) + noise(5) + b'short'
    parent, _ = take(box, 1, Volume(data), CHOICES)
    with contextlib.ExitStack() as stack:
        state = volumes.open_state(stack, box, parent)
        new = writer.Writer(box, 'backup_2', base.Header('2.0.0'), CHOICES, state, len(data))
        stack.callback(new.close)
        for block in (3, 18, 25, 50, 2, len(data) // BLOCK, 19):
            piece = data[block * BLOCK:(block + 1) * BLOCK]
            extent = Extent(block * BLOCK, len(piece))
            assert new.is_as_parent(extent, memoryview(piece))
            assert not new.is_as_parent(extent, memoryview(b'x' + piece[1:]))


def test_duplicates_are_stored_once_and_none_if_so_chosen():
    data = noise(10) * 6
    stored = {}
    for duplicates in ('none', 'volume'):
        box = container()
        prefix, _ = take(box, 1, Volume(data), base.Choices(
            chunk_size=CHUNK, block_size=BLOCK, duplicates=duplicates))
        assert restore(box, prefix) == data
        stored[duplicates] = sum(item.blocks for item in rows_of(box, prefix)[1])
    # Chunks that wait for one object do not know of one another.
    assert stored == {'none': 60, 'volume': 40}


@pytest.mark.parametrize('module, limit', [(gathering, 'GATHERED'), (writer, 'SMALL')])
def test_duplicates_are_found_in_objects_stored_before(monkeypatch, module, limit):
    monkeypatch.setattr(module, limit, CHUNK)
    box = container()
    data = noise(16) * 4
    prefix, _ = take(box, 1, Volume(data), CHOICES)
    assert sum(item.blocks for item in rows_of(box, prefix)[1]) == 16
    assert restore(box, prefix) == data


def test_a_chunk_is_not_spread_over_many_objects(monkeypatch):
    monkeypatch.setattr(compaction, 'MOST_REFERENCES', 3)
    monkeypatch.setattr(writer, 'SMALL', 1)
    box = container()
    pieces = [random.Random(n).randbytes(BLOCK) for n in range(8)]
    apart = b''.join(piece + bytes(CHUNK - BLOCK) for piece in pieces)
    prefix, _ = take(box, 1, Volume(apart + b''.join(pieces)), CHOICES)
    rows, _ = rows_of(box, prefix)
    # Three others, and its own with what was in too many.
    assert len(rows[-1].references) == 4
    assert restore(box, prefix) == apart + b''.join(pieces)


def test_blocks_that_moved_are_found_in_the_parent():
    box = container()
    first = noise(32)
    second = first[:3 * BLOCK] + first[8 * BLOCK:9 * BLOCK] + first[4 * BLOCK:]
    parent, _ = take(box, 1, Volume(first), CHOICES)
    prefix, _ = take(box, 2, Volume(second), CHOICES, parent)
    assert [item.blocks for item in rows_of(box, prefix)[1] if item.name.startswith(prefix)] == [0]
    assert restore(box, prefix) == second


def test_many_new_bytes_are_streamed_and_frames_are_bounded(monkeypatch):
    monkeypatch.setattr(writer, 'SMALL', 3 * BLOCK)
    monkeypatch.setattr(frames, 'FRAME', 4 * BLOCK)
    monkeypatch.setattr(scan, 'UNIT', 8 * BLOCK)
    box = container()
    data = noise(14) + b'text' * BLOCK + noise(16, 1) + noise(2, 2) + bytes(12 * BLOCK)
    prefix, totals = take(box, 1, Volume(data), CHOICES)
    assert totals.object_count == 3
    assert max(frame.plain for frame in table_of(box, prefix, 0).frames) == 4 * BLOCK
    assert restore(box, prefix) == data


@pytest.mark.parametrize('compression', ['none', 'zlib', 'bz2', 'zstd'])
@pytest.mark.parametrize('digest', ['blake3', 'sha256'])
def test_codecs_and_digests(compression, digest):
    box = container()
    data = b''.join(b'%08d compressible\n' % line for line in range(6000)) + noise(3)
    prefix, totals = take(box, 1, Volume(data), base.Choices(
        chunk_size=CHUNK, block_size=BLOCK, compression=compression, digest=digest))
    assert restore(box, prefix) == data
    assert (totals.stored_bytes < len(data) // 2) == (compression != 'none')
    assert volumes.open_reader(box, prefix).compression == compression


def test_rows_do_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(gathering, 'WAITING', 8)
    box = container()
    data = noise(40 * 16)
    parent, _ = take(box, 1, Volume(data), CHOICES)
    second = with_block(with_block(data, 3, noise(1, 3)), 500, noise(1, 4))
    prefix, totals = take(box, 2, Volume(second), CHOICES, parent)
    assert totals.object_count == 2
    assert restore(box, prefix) == second


def test_a_stream_of_unknown_length():
    box = container()
    data = noise(20) + b'rest'
    parent, totals = take(box, 1, Volume(data), CHOICES, streamed=True)
    assert totals.size_bytes == len(data)
    same, totals = take(box, 2, Volume(data), CHOICES, parent, streamed=True)
    assert (totals.object_count, totals.parent_id) == (0, parent)
    for number, other in enumerate([data + noise(30, 4), data[:18 * BLOCK], b''], 3):
        prefix, totals = take(box, number, Volume(other), CHOICES, parent, streamed=True)
        assert totals.parent_id is None
        assert volumes.open_reader(box, prefix).header.parent_id is None
        assert restore(box, prefix) == other


def test_a_parent_of_another_size_or_place_is_refused():
    box = container()
    parent, _ = take(box, 1, Volume(noise(16)), CHOICES)
    with pytest.raises(exceptions.InvalidBackup, match='bytes and had'):
        take(box, 2, Volume(noise(17)), CHOICES, parent)
    with contextlib.ExitStack() as stack:
        state = volumes.open_state(stack, box, parent)
        state.reader.container = container()
        state.reader.container.name = 'vo/lu/other'
        with pytest.raises(exceptions.InvalidBackup, match='cannot build'):
            writer.Writer(box, 'x', base.Header('2.0.0'), CHOICES, state, 16 * BLOCK)


def test_parameters_of_a_chain_are_those_of_its_parent():
    box = container()
    data = noise(16)
    parent, _ = take(box, 1, Volume(data), CHOICES)
    other = base.Choices(chunk_size=1 << 20, block_size=512, digest='sha256', compression='none')
    with contextlib.ExitStack() as stack:
        state = volumes.open_state(stack, box, parent)
        new = writer.Writer(box, 'backup_2', base.Header('2.0.0'), other, state, len(data))
        stack.callback(new.close)
        assert (new.chunk_size, new.block_size) == (CHUNK, BLOCK)
        assert [note.split()[0] for note in new.notes] == ['chunk_size', 'block_size', 'digest']
        volumes.run(new, Volume(data))
    assert volumes.open_reader(box, 'backup_2').algorithm.name == 'blake3'


@pytest.mark.parametrize('choices, named', [
    ({'block_size': 1000}, 'block_size'), ({'block_size': 256}, 'block_size'),
    ({'block_size': 32 << 20}, 'block_size'), ({'block_size': 0}, 'block_size'),
    ({'chunk_size': 100_000}, 'chunk_size'), ({'chunk_size': 0}, 'chunk_size'),
    ({'block_size': 512, 'chunk_size': 64 << 20}, 'chunk_size'),
    ({'compression': 'lz4'}, 'compression'), ({'digest': 'md5'}, 'digest'),
    ({'duplicates': 'all'}, 'duplicates')])
def test_choices_that_cannot_be(choices, named):
    with pytest.raises(exceptions.ConfigurationError, match=named):
        writer.Writer(container(), 'x', base.Header('2.0.0'), base.Choices(**choices), None, None)


def test_defaults_fit_small_blocks():
    new = writer.Writer(container(), 'x', base.Header('2.0.0'), base.Choices(block_size=512), None,
                        None)
    assert new.chunk_size == layout.MOST_BLOCKS * 512
    assert new.largest_hole % new.chunk_size == 0
    assert new.largest_object > new.chunk_size
    new.close()


def test_equal_volumes_make_equal_stores():
    def store():
        box = container()
        prefix, _ = take(box, 1, Volume(NOISE), CHOICES)
        take(box, 2, Volume(with_block(NOISE, 9, b'new')), CHOICES, prefix)
        return {name: box.get(name, 1 << 30) for name in box.names('')}

    assert store() == store()


@pytest.mark.parametrize('hinted', [False, True])
def test_live_blocks_of_mostly_dead_objects_are_stored_anew(hinted):
    box = container()
    first = noise(48)
    second = noise(12, 1) + first[12 * BLOCK:16 * BLOCK] + noise(24, 2) + first[40 * BLOCK:]
    take(box, 1, Volume(first), CHOICES)
    parent, _ = take(box, 2, Volume(second), CHOICES, 'backup_1')
    for name in ('backup_1_metadata', 'backup_1_map'):
        box.delete(name)
    third = with_block(second, 0, noise(1, 3))
    changed = [Extent(0, BLOCK)] if hinted else None
    prefix, _ = take(box, 3, Volume(third, changed=changed), CHOICES, parent)
    assert volumes.open_reader(box, prefix).references == ['backup_2']
    own, = (item.blocks for item in rows_of(box, prefix)[1] if item.name.startswith(prefix))
    assert own == 1 + 4 + 8
    for name in volumes.data_objects(box, 'backup_1'):
        box.delete(name)
    assert restore(box, prefix) == third
