"""Hints of what changed: reading them, trying them on a sample, handing them to chunks."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from backup_framework import exceptions
from backup_framework.engine import hints
from backup_framework.formats import base
from backup_framework.model import Extent

BLOCK = 16
pairs = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 60)), max_size=20)


class Volume:
    """A source and the little of a writer that hints use: `parent` is what its parent had."""

    block_size = BLOCK

    within = None

    def __init__(self, data: bytes, parent: bytes | None = None) -> None:
        self.size = len(data)
        self.data = data
        self.parent = data if parent is None else parent
        self.compared: list[Extent] = []

    def chunks(self, chunk_size, largest_hole=0):
        for offset in range(0, self.size, chunk_size):
            yield base.Chunk(offset, min(chunk_size, self.size - offset), self.read, list)

    def read(self, offset, view):
        view[:] = self.data[offset:offset + len(view)]

    def is_as_parent(self, extent, data):
        self.compared.append(extent)
        return data == self.parent[extent.offset:extent.end]


def hinted(volume, changed):
    told: list[str] = []
    return hints.hinted(volume, volume.read, volume, changed, told.append), told


def write(tmp_path, hint):
    path = tmp_path / 'hint.json'
    path.write_text(hint if isinstance(hint, str) else json.dumps(hint))
    return str(path)


def test_a_list_alone(tmp_path):
    assert hints.load(write(tmp_path, [[32, 8], [0, 16]])) == (
        None, [Extent(0, 16), Extent(32, 8)])


def test_a_hint_with_its_parent(tmp_path):
    assert hints.load(write(tmp_path, {'parent': 'abc', 'extents': []})) == ('abc', [])


@pytest.mark.parametrize('hint', [
    'nonsense', '7', '{}', '[' * 100_000, {'extents': 3}, {'parent': 3, 'extents': []}, [[1]],
    [[1, 2, 3]], [[-1, 2]], [[1, -2]], [[1.5, 2]], [[True, 2]], ['ab'], [None]])
def test_what_is_no_hint(tmp_path, hint):
    with pytest.raises(exceptions.InvalidInput, match=r'hint\.json'):
        hints.load(write(tmp_path, hint))


def test_a_missing_file(tmp_path):
    with pytest.raises(exceptions.InvalidInput, match='No such file'):
        hints.load(str(tmp_path / 'nothing'))


@given(pairs)
def test_extents_are_sorted_apart_and_the_same_bytes(found):
    extents = hints.extents(found)
    assert all(a.end < b.offset for a, b in zip(extents, extents[1:]))
    assert ({byte for e in extents for byte in range(e.offset, e.end)}
            == {byte for offset, length in found for byte in range(offset, offset + length)})


@settings(max_examples=50)
@given(pairs, st.integers(1, 560), st.integers(1, 5))
def test_chunks_are_told_what_is_inside_them(found, size, blocks):
    changed = [e for e in hints.extents(found) if e.end <= size]
    source, told = hinted(Volume(bytes(size)), changed)
    inside = [e for chunk in source.chunks(blocks * BLOCK) for e in chunk.changed]
    assert not told
    assert hints.extents([(e.offset, e.length) for e in inside]) == changed
    assert sum(e.length for e in inside) == sum(e.length for e in changed)


@given(pairs, st.integers(1, 560))
def test_only_whole_blocks_outside_are_compared(found, size):
    changed = [e for e in hints.extents(found) if e.end <= size]
    volume = Volume(bytes(size))
    hinted(volume, changed)
    for block in volume.compared:
        assert block.offset % BLOCK == 0
        assert block.end == min(block.offset + BLOCK, size)
        assert not any(e.offset < block.end and block.offset < e.end for e in changed)
    touched = {byte // BLOCK for e in changed for byte in range(e.offset, e.end)}
    assert bool(volume.compared) == (len(touched) < -(-size // BLOCK))


def test_a_hint_that_leaves_a_change_out():
    data = bytes(64 * BLOCK)
    volume = Volume(data, parent=b'\1' * len(data))
    source, told = hinted(volume, [Extent(0, BLOCK)])
    assert source is volume
    assert 'differ from the parent' in told[0]
    assert all(chunk.changed is None for chunk in source.chunks(4 * BLOCK))


def test_a_hint_behind_the_end():
    with pytest.raises(exceptions.InvalidInput, match='behind the end'):
        hinted(Volume(bytes(100)), [Extent(90, 20)])


class Snapshot:
    """A volume's file that knows what changed."""

    def __init__(self, answer):
        self.get_cbt_extents = lambda: answer


def test_a_file_that_knows_what_changed():
    assert hints.of(Snapshot([(16, 8), (0, 4)])) == [Extent(0, 4), Extent(16, 8)]
    assert hints.of(Snapshot(iter([]))) == []
    assert hints.of(Snapshot(None)) is None
    assert hints.of(object()) is None
    with pytest.raises(exceptions.InvalidInput):
        hints.of(Snapshot([3]))


def test_a_parent_that_is_damaged():
    class Damaged(Volume):
        def is_as_parent(self, extent, data):
            raise exceptions.CorruptObject('object x is damaged')

    volume = Damaged(bytes(64 * BLOCK))
    source, told = hinted(volume, [Extent(0, BLOCK)])
    assert source is volume and 'object x is damaged' in told[0]
