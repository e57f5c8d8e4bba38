"""Which extent comes from which object: compared with writing the layers one after the other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backup_framework.formats import plan
from backup_framework.model import Extent


@st.composite
def layers_of_extents(draw: st.DrawFn) -> list[list[Extent]]:
    """Up to four layers; extents sorted, without overlaps, sometimes touching or empty."""
    layers = []
    for _ in range(draw(st.integers(0, 4))):
        position, layer = 0, []
        for gap, length in draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7)),
                                         max_size=8)):
            layer.append(Extent(position + gap, length))
            position += gap + length
        layers.append(layer)
    return layers


def replay(layers: list[list[Extent]], size: int) -> list[tuple[int, int] | None]:
    """Who wrote each byte, when the layers are written one over the other."""
    written: list[tuple[int, int] | None] = [None] * size
    for number, layer in enumerate(layers):
        for entry, extent in enumerate(layer):
            for at in range(extent.offset, min(extent.end, size)):
                written[at] = (number, entry)
    return written


@given(layers_of_extents(), st.integers(0, 60))
def test_equals_writing_layer_after_layer(layers: list[list[Extent]], size: int) -> None:
    units, gaps = plan.compose(layers, Extent(0, size))
    composed: list[tuple[int, int] | None] = [None] * size
    covered = [0] * size
    for unit in units:
        for extent in unit.extents:
            for at in range(extent.offset, extent.end):
                composed[at] = (unit.layer, unit.entry)
                covered[at] += 1
    for gap in gaps:
        for at in range(gap.offset, gap.end):
            covered[at] += 1
    assert composed == replay(layers, size)
    assert covered == [1] * size, 'each byte is in one unit or in one gap'


@given(layers_of_extents(), st.integers(0, 60))
def test_each_entry_is_fetched_once_and_in_volume_order(layers: list[list[Extent]],
                                                        size: int) -> None:
    units, gaps = plan.compose(layers, Extent(0, size))
    fetched = [(unit.layer, unit.entry) for unit in units]
    assert len(fetched) == len(set(fetched))
    starts = [unit.extents[0].offset for unit in units]
    assert starts == sorted(starts)
    assert [gap.offset for gap in gaps] == sorted(gap.offset for gap in gaps)
    assert all(gap.length > 0 for gap in gaps)


def test_nothing_in_nothing() -> None:
    assert plan.compose([], Extent(0, 0)) == ([], [])
    assert plan.compose([[Extent(0, 10)]], Extent(0, 0)) == ([], [])


def test_without_layers_all_is_a_gap() -> None:
    assert plan.compose([], Extent(0, 10)) == ([], [Extent(0, 10)])


def test_a_shrunk_volume_takes_the_beginning_of_an_entry() -> None:
    units, gaps = plan.compose([[Extent(0, 100)], [Extent(40, 20)]], Extent(0, 50))
    assert units == [plan.Unit(0, 0, (Extent(0, 40),)), plan.Unit(1, 0, (Extent(40, 10),))]
    assert not gaps


def test_an_entry_that_newer_ones_cut_in_pieces_is_one_unit() -> None:
    units, _ = plan.compose([[Extent(0, 10)], [Extent(2, 1), Extent(5, 2)]], Extent(0, 10))
    root = [unit for unit in units if unit.layer == 0]
    assert root == [plan.Unit(0, 0, (Extent(0, 2), Extent(3, 2), Extent(7, 3)))]
    assert root[0].length == 7


def test_a_large_plan_is_not_quadratic() -> None:
    """Alternating blocks, four layers: a second is generous even on a slow machine."""
    count = 20_000
    layers = [[Extent(0, count)]] + [
        [Extent(at, 1) for at in range(first, count, 4)] for first in (0, 1, 2)]
    units, gaps = plan.compose(layers, Extent(0, count))
    assert not gaps and sum(unit.length for unit in units) == count
