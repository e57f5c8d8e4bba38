"""Which extent comes from which object: pure functions on sorted extents."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
import dataclasses
import operator

from backup_framework.model import Extent


@dataclasses.dataclass(frozen=True, slots=True)
class Unit:
    """What one entry gives to a volume: the live extents of entry `entry` of layer `layer`."""

    layer: int
    entry: int
    extents: tuple[Extent, ...]

    @property
    def length(self) -> int:
        return sum(extent.length for extent in self.extents)


def compose(layers: Sequence[Sequence[Extent]], wanted: Extent
            ) -> tuple[list[Unit], list[Extent]]:
    """What each entry contributes to the wanted bytes, the newest layer winning.

    :param layers: oldest first; each sorted by offset and without overlaps.
    :returns: units in volume order, each byte in one of them at most; and the gaps that no layer
        covers.
    """
    gaps = [wanted] if wanted.length else []
    units: list[Unit] = []
    for layer in range(len(layers) - 1, -1, -1):
        found, gaps = _take(layers[layer], gaps)
        units += [Unit(layer, entry, tuple(extents)) for entry, extents in found]
    units.sort(key=lambda unit: unit.extents[0].offset)
    return units, gaps


_end = operator.attrgetter('end')


def _take(entries: Sequence[Extent], gaps: list[Extent]
          ) -> tuple[list[tuple[int, list[Extent]]], list[Extent]]:
    """What `entries` fill of `gaps`, both sorted; and the gaps that are left."""
    found: list[tuple[int, list[Extent]]] = []
    left: list[Extent] = []
    index = bisect.bisect_right(entries, gaps[0].offset, key=_end) if gaps else 0
    for gap in gaps:
        position = gap.offset
        while index < len(entries) and entries[index].end <= position:
            index += 1
        cursor = index
        while cursor < len(entries) and entries[cursor].offset < gap.end:
            start = max(position, entries[cursor].offset)
            end = min(gap.end, entries[cursor].end)
            if start > position:
                left.append(Extent(position, start - position))
            if found and found[-1][0] == cursor:
                found[-1][1].append(Extent(start, end - start))
            else:
                found.append((cursor, [Extent(start, end - start)]))
            position = end
            cursor += 1
        if position < gap.end:
            left.append(Extent(position, gap.end - position))
    return found, left
