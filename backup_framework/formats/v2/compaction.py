"""Forward compaction: which live blocks a backup stores anew, so that old objects fall away.

An object is deleted as a whole, when no backup uses any block of it. Nothing stored is rewritten:
a backup stores again, from the volume, the blocks of objects that are mostly dead, and the objects
go with the last older backup that uses them.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from backup_framework.formats.v2 import chunk_map, names

DEAD_SHARE = 0.25
"""Dead blocks that are left alone, as a share of the live ones."""
MOST_REFERENCES = 64
"""Objects that one chunk is spread over, before the smallest parts of it are stored anew."""
BUDGET_SHARE = 0.05
"""Of the live blocks of the volume: the most that one backup stores anew."""
BUDGET_FLOOR = 1024
"""Blocks that it may store anew in any case."""


def choose(rows: chunk_map.Rows, committed: Collection[str]) -> frozenset[str]:
    """The objects whose blocks the next backup stores anew, worst first and within a budget.

    :param rows: of the parent's map, not yet read.
    :param committed: the prefixes that have a manifest. The objects of such a backup stay anyway.
    """
    live = array('Q')
    crowding: Counter[int] = Counter()
    for row in rows:
        if isinstance(row, chunk_map.Row):
            live.extend([0] * (len(rows.objects) - len(live)))
            for number, blocks in row.references:
                live[number] += blocks
            crowding.update(crowders(row.references))
    chosen = pick([each.blocks for each in rows.objects], live, crowding, frozenset(
        number for number, each in enumerate(rows.objects)
        if names.prefix_of(each.name) in committed))
    return frozenset(rows.objects[number].name for number in chosen)


def crowders(references: Sequence[tuple[int, int]]) -> dict[int, int]:
    """The objects with the fewest blocks of a chunk that is spread over too many, and how many."""
    if len(references) <= MOST_REFERENCES:
        return {}
    fewest = sorted(references, key=lambda reference: reference[1])
    return dict(fewest[:-MOST_REFERENCES // 2])


def pick(stored: Sequence[int], live: Sequence[int], crowding: Mapping[int, int],
         staying: Collection[int]) -> list[int]:
    """See `choose`; objects are numbers here.

    :param stored: blocks in each object.
    :param live: how often the parent uses one of them: more than it has where it has duplicates.
    :param crowding: how many of these are in crowded chunks. What else an object has must be
        little: the place of many duplicates is not worth storing anew for the chunks that use it.
    """
    budget = max(BUDGET_FLOOR, int(BUDGET_SHARE * sum(live)))
    # A block that the parent uses often is still one: it must not hide those that it does not use.
    alive = [min(used, there) for used, there in zip(live, stored)]
    total = sum(alive)
    dead = sum(stored[number] - alive[number] for number in range(len(live))
               if number not in staying)
    chosen: list[int] = []
    for number in sorted(range(len(live)), key=lambda each: live[each] / max(1, stored[each])):
        wasteful = number not in staying and dead > DEAD_SHARE * total
        if live[number] <= budget and (
                wasteful or 2 * crowding.get(number, 0) > live[number]):
            chosen.append(number)
            budget -= live[number]
            dead -= 0 if number in staying else stored[number] - alive[number]
    return chosen
