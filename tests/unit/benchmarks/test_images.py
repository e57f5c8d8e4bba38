"""The images that benchmarks back up: what they hold, and that they are the same everywhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
import zlib

import pytest

from benchmarks.volumes import content, images, layout
from benchmarks.volumes.layout import BLOCK, MIB, PAGE

SIZE = 256 * MIB
DIGESTS = ['594f46e74076b1ca', 'f601344a47be3c1d']
"""How those of a pair of 16 MiB begin; when they change, images.RECIPE counts up."""


@pytest.fixture(scope='module')
def held() -> list[layout.Piece]:
    return layout.pieces(SIZE)


@pytest.fixture
def pair(tmp_path: Path) -> images.Pair:
    return images.pair(tmp_path, 16)


def share(found: list[layout.Piece], kind: str) -> float:
    return sum(piece.length for piece in found if piece.kind == kind) / SIZE


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


# Where what lies

def test_every_kind_has_its_share(held: list[layout.Piece]) -> None:
    for kind, wanted in layout.SHARES.items():
        if kind != 'hole':
            assert share(held, kind) == pytest.approx(wanted, abs=0.01), kind
    assert sum(piece.length for piece in held) / SIZE == pytest.approx(0.6, abs=0.01)


def test_a_mib_has_about_one_extent(held: list[layout.Piece]) -> None:
    assert len(layout.extents(held)) == pytest.approx(SIZE // MIB, rel=0.15)
    assert len(layout.extents(layout.pieces(8 * SIZE))) == pytest.approx(2000, rel=0.1)


def test_pieces_follow_one_another_on_pages(held: list[layout.Piece]) -> None:
    assert all(piece.offset % PAGE == piece.length % PAGE == 0 for piece in held)
    assert all(one.end <= other.offset for one, other in zip(held, held[1:]))
    assert held[-1].end <= SIZE


def test_a_copy_is_a_run_of_whole_blocks_of_data(held: list[layout.Piece]) -> None:
    data = [piece for piece in held if piece.kind in ('text', 'records', 'noise')]
    copies = [piece for piece in held if piece.kind == 'copy']
    for copy in copies:
        assert copy.offset % BLOCK == copy.source % BLOCK == copy.length % BLOCK == 0
        assert any(piece.offset <= copy.source and copy.source + copy.length <= piece.end
                   for piece in data)
    assert max(copy.length for copy in copies) > MIB


def test_one_block_in_a_hundred_changes(held: list[layout.Piece]) -> None:
    changed = layout.changes(SIZE, held)
    assert len(changed) == len({piece.offset for piece in changed}) == 41
    assert all(piece.offset % BLOCK == 0 and piece.length == BLOCK for piece in changed)
    kinds = [piece.kind for piece in changed]
    assert [kinds.count(kind) for kind in ('noise', 'text', 'records', 'zeros')] == [20, 10, 7, 4]


def test_cleared_blocks_had_data(held: list[layout.Piece]) -> None:
    data = [piece for piece in held if piece.kind != 'zeros']
    for cleared in layout.changes(SIZE, held):
        if cleared.kind == 'zeros':
            assert any(piece.offset <= cleared.offset and cleared.end <= piece.end
                       for piece in data)


def test_what_touches_is_one_extent() -> None:
    found = [layout.Piece('text', 0, 8), layout.Piece('noise', 8, 8), layout.Piece('text', 24, 8)]
    assert layout.extents(found) == [[0, 16], [24, 8]]


# What it is

@pytest.mark.parametrize('kind, ratio', [('text', 3.9), ('records', 2.6), ('noise', 1.0)])
def test_bytes_compress_as_those_of_a_machine_do(kind: str, ratio: float) -> None:
    data = b''.join(content.stream(kind, 'a seed', MIB))
    assert len(data) == MIB
    assert len(data) / len(zlib.compress(data, 6)) == pytest.approx(ratio, rel=0.1)


def test_no_block_is_there_twice_by_chance() -> None:
    for kind in ('text', 'records', 'noise'):
        data = b''.join(content.stream(kind, 'a seed', 4 * MIB))
        assert len({data[at:at + BLOCK] for at in range(0, len(data), BLOCK)}) == 64


# The files

def test_a_pair_is_the_same_everywhere(pair: images.Pair) -> None:
    assert [images.digest(path)[:16] for path in (pair.first, pair.second)] == DIGESTS


def test_the_states_differ_just_where_the_hints_say(pair: images.Pair) -> None:
    first, second = pair.first.read_bytes(), pair.second.read_bytes()
    assert len(first) == len(second) == pair.size
    differ = [at for at in range(0, pair.size, BLOCK) if first[at:at + BLOCK]
              != second[at:at + BLOCK]]
    hints = json.loads(pair.changes.read_text())
    assert differ == [at for offset, length in hints
                      for at in range(offset, offset + length, BLOCK)]


def test_holes_are_holes_and_zeros_are_written(pair: images.Pair) -> None:
    held = sum(piece.length for piece in layout.pieces(pair.size))
    assert allocated(pair.first) == pytest.approx(held, rel=0.05)
    assert allocated(pair.second) == pytest.approx(held, rel=0.1)
    written = next(piece for piece in layout.pieces(pair.size) if piece.kind == 'zeros')
    with open(pair.first, 'rb') as file:
        assert os.lseek(file.fileno(), written.offset, os.SEEK_DATA) == written.offset


def test_a_pair_is_kept(pair: images.Pair) -> None:
    before = pair.first.stat()
    again = images.pair(pair.first.parents[1], 16)
    assert again == pair
    assert again.first.stat().st_ino == before.st_ino


def test_a_damaged_pair_is_made_again(pair: images.Pair) -> None:
    was = images.digest(pair.second)
    with open(pair.second, 'r+b') as file:
        file.seek(json.loads(pair.changes.read_text())[0][0])
        file.write(b'other')
    assert images.digest(images.pair(pair.first.parents[1], 16).second) == was
    assert sorted(path.name for path in pair.first.parents[1].iterdir()) == [
        pair.first.parent.name]


def test_a_pair_of_other_bytes_has_another_digest(tmp_path: Path) -> None:
    """Not even where only the place differs."""
    paths = [tmp_path / 'one', tmp_path / 'other']
    for path, offset in zip(paths, (0, MIB)):
        with open(path, 'wb') as file:
            file.truncate(4 * MIB)
            file.seek(offset)
            file.write(b'data' * 1024)
    assert images.digest(paths[0]) != images.digest(paths[1])
