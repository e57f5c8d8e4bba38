"""What two files share, from what the kernel says of their blocks. Real file systems are in
tests/functional/test_cli_snapshots.py.
"""

from collections.abc import Iterator
import os

from hypothesis import given
from hypothesis import strategies as st
import pytest

from backup_framework.engine import fiemap
from backup_framework.engine.fiemap import LAST, MERGED, SHARED, UNWRITTEN, Mapped
from backup_framework.model import Extent

HOLE = None
ODD = [0x2, 0x4, 0x8, 0x80, 0x100, 0x200, 0x400, 0x4000, 0]

units = st.one_of(
    st.just(HOLE),
    st.tuples(st.integers(0, 2), st.sampled_from([SHARED, UNWRITTEN, UNWRITTEN | SHARED])),
    st.tuples(st.integers(0, 2), st.sampled_from(ODD)),
    st.tuples(st.integers(0, 2), st.sampled_from(ODD), st.just(SHARED)).map(
        lambda unit: (unit[0], unit[1] | SHARED)))
files = st.lists(units, max_size=25)


def mapped(file: list, splits: list[bool]) -> Iterator[Mapped]:
    """Units of a file as extents; neighbours that fit are one, but for some."""
    pending: Mapped | None = None
    for index, unit in enumerate(file):
        if unit is HOLE:
            continue
        extent = Mapped(index, 1000 * unit[0] + index, 1, unit[1])
        fits = pending is not None and not splits[index % len(splits)] and (
            pending.end == index and pending.flags == extent.flags
            and pending.physical - pending.logical == extent.physical - index)
        if fits:
            pending = pending._replace(length=pending.length + 1, flags=pending.flags)
            continue
        if pending is not None:
            yield pending
        pending = extent
    if pending is not None:
        yield pending._replace(flags=pending.flags | LAST | MERGED)


def surely_same(one: object, other: object) -> bool:
    zeros = [unit is HOLE or (isinstance(unit, tuple) and unit[1] & ~SHARED == UNWRITTEN)
             for unit in (one, other)]
    return all(zeros) or (one == other and isinstance(one, tuple) and one[1] == SHARED)


@given(files, files, st.lists(st.booleans(), min_size=1), st.lists(st.booleans(), min_size=1),
       st.integers(0, 25))
def test_only_what_is_surely_the_same_is_left_out(new, old, splits, others, size):
    found = list(fiemap.differences(fiemap.runs(mapped(new, splits), size),
                                    fiemap.runs(mapped(old, others), size), size))
    pairs = [tuple((file + [HOLE] * size)[index] for file in (new, old)) for index in range(size)]
    assert ([byte for extent in found for byte in range(extent.offset, extent.end)]
            == [index for index, pair in enumerate(pairs) if not surely_same(*pair)])


@given(files, st.lists(st.booleans(), min_size=1), st.integers(0, 25))
def test_runs_cover_the_file_in_order(file, splits, size):
    ends = [run.end for run in fiemap.runs(mapped(file, splits), size)]
    assert ends == sorted(set(ends)) and ends[-1:] == [size] * bool(size)


@pytest.mark.parametrize('wrong', [Mapped(0, 0, 5, SHARED), Mapped(3, 3, 0, SHARED)])
def test_nothing_is_known_after_extents_out_of_order(wrong):
    extents = [Mapped(0, 0, 5, SHARED), wrong, Mapped(5, 5, 5, SHARED)]
    assert list(fiemap.runs(extents, 10)) == [fiemap.Run(5, 0), fiemap.Run(10, None)]


def test_a_page_may_begin_with_the_extent_that_ended_the_one_before():
    extents = [Mapped(0, 100, 6, SHARED), Mapped(4, 104, 6, SHARED | LAST)]
    assert list(fiemap.runs(extents, 10)) == [fiemap.Run(6, 100), fiemap.Run(10, 100)]


@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 1 << 18)), max_size=60),
       st.integers(1, 10))
def test_few_extents_hold_all(steps, most):
    extents, at = [], 0
    for gap, length in steps:
        extents.append(Extent(at + gap, length))
        at = extents[-1].end
    found = fiemap.joined(iter(extents), most)
    assert len(found) <= most
    assert all(one.end < other.offset for one, other in zip(found, found[1:]))
    assert all(any(wide.offset <= e.offset and e.end <= wide.end for wide in found)
               for e in extents if e.length)
    kept = [e for e in extents if e.length]
    assert [e.end for e in found[-1:]] == [e.end for e in kept[-1:]]
    if len(kept) <= most:
        assert sum(e.length for e in found) == sum(e.length for e in extents)


def test_what_has_no_extents_is_not_known(tmp_path):
    (tmp_path / 'a').write_bytes(b'a')
    with open(tmp_path / 'a', 'rb') as file, open(os.devnull, 'rb') as device:
        assert fiemap.differing(device.fileno(), file.fileno()) is None
        assert fiemap.differing(file.fileno(), device.fileno()) is None
