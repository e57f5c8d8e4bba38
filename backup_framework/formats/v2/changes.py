"""What of a chunk has to be looked at, so that what is as in the parent costs least."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
import dataclasses
from typing import Protocol

from backup_framework import exceptions
from backup_framework.formats import base
from backup_framework.formats.v2 import chunk_map, scan
from backup_framework.formats.v2.frames import Old, Work


class Tables(Protocol):
    """Where block tables come from: the parent, or an earlier run of the same backup."""

    def old(self, number: int, row: chunk_map.Row, objects: Sequence[chunk_map.Object]) -> Old:
        """:raises FormatError: the table is not what it was."""


@dataclasses.dataclass(frozen=True)
class Known:
    """A chunk with the same bounds, as it was.

    :param row: None for zeros.
    :param objects: that the row refers to by their numbers.
    """

    tables: Tables
    row: chunk_map.Row | None
    objects: Sequence[chunk_map.Object]


def work(number: int, chunk: base.Chunk, known: Known | None, scanner: scan.Scanner,
         renewed: Collection[str], tell: Callable[[exceptions.FormatError], None]) -> Work | None:
    """What is to be done for a chunk; None where it is as in the parent.

    :param renewed: objects whose blocks are stored anew.
    :param tell: learns of what is damaged in the parent; the volume has all of it.
    """
    data = scanner.rounded(chunk, chunk.data())
    changed = None if known is None or chunk.changed is None else (
        scanner.rounded(chunk, chunk.changed))
    everything = [(0, scanner.blocks(chunk.length))]
    if known is None or known.row is None:
        return Work(number, chunk, everything if changed is None else changed, data, None)
    stale = any(known.objects[reference].name in renewed
                for reference, _ in known.row.references)
    if changed is not None:
        if not changed and not stale:
            return None
        old = _old(number, known.row, known, tell)
        wanted = [block for first, end in changed for block in range(first, end)]
    else:
        digests = scanner.digests(chunk, data)
        if not stale and scanner.algorithm.of(b''.join(digests)) == known.row.chunk_digest:
            return None
        old = _old(number, known.row, known, tell)
        wanted = [block for block, found in enumerate(digests)
                  if old and found != old.digests[block]]
    if old is None:
        return Work(number, chunk, everything, data, None)
    if stale:
        wanted = sorted({*wanted, *_in_objects(old, renewed)})
    return Work(number, chunk, scan.runs_of(wanted), data, old)


def _old(number: int, row: chunk_map.Row, known: Known,
         tell: Callable[[exceptions.FormatError], None]) -> Old | None:
    try:
        return known.tables.old(number, row, known.objects)
    except exceptions.FormatError as error:
        tell(error)
        return None


def _in_objects(old: Old, renewed: Collection[str]) -> Iterable[int]:
    """The blocks that are in one of these objects."""
    return (block for block, place in enumerate(old.places)
            if place and place[0].object in renewed)
