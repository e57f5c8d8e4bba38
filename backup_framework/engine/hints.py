"""Hints of what changed since the parent: what they leave out is not read, so they are tried first.

A hint comes from whoever keeps track of writes (a dirty bitmap, a difference of snapshots). One
that leaves a change out would lose it without a trace in this backup and in all that follow, so
blocks outside of it are compared with the parent; if one differs the whole volume is read.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Sequence
import dataclasses
import itertools
import json
import random
from typing import Any

from backup_framework import exceptions
from backup_framework.engine.source import Source
from backup_framework.formats import base
from backup_framework.model import Extent

SAMPLES = 16
"""Places outside of a hint that are compared with the parent."""
SAMPLE_BLOCKS = 4
"""Neighbouring blocks that are compared at each."""

_LONGEST = 64 << 20


def load(path: str) -> tuple[str | None, list[Extent]]:
    """A hint in a file: the parent that it is bound to, if it says so, and the changed extents.

    JSON: `{"parent": "ID", "extents": [[OFFSET, LENGTH], ...]}`, or the list of pairs alone.

    :raises InvalidInput: it is not that.
    """
    try:
        with open(path, 'rb') as file:
            document = file.read(_LONGEST + 1)
        hint = json.loads(document) if len(document) <= _LONGEST else None
    except OSError as error:
        raise exceptions.InvalidInput(
            f'cannot read the changed extents from {path}: {error.strerror}') from error
    except (ValueError, RecursionError) as error:
        raise exceptions.InvalidInput(f'{path} is not JSON: {error}') from None
    parent = hint.get('parent') if isinstance(hint, dict) else None
    pairs = hint.get('extents') if isinstance(hint, dict) else hint
    if not isinstance(pairs, list) or not isinstance(parent, str | None):
        raise exceptions.InvalidInput(
            f'{path} is no hint: wanted is {{"parent": "ID", "extents": [[OFFSET, LENGTH], ...]}}')
    try:
        return parent, extents(pairs)
    except exceptions.InvalidInput as error:
        raise exceptions.InvalidInput(f'{path} is no hint: {error}') from None


def of(volume_file: object) -> list[Extent] | None:
    """What a volume's file itself says of its changes since the parent, if it can.

    Source: Cinder's proposed `get_cbt_extents`; here it takes no arguments and gives pairs of an
    offset and a length, or None.

    :raises InvalidInput: it gives something else.
    """
    ask = getattr(volume_file, 'get_cbt_extents', None)
    pairs = None if ask is None else ask()
    return None if pairs is None else extents(list(pairs))


def extents(pairs: Sequence[Any]) -> list[Extent]:
    """Sorted extents, without overlaps, of pairs (offset, length) in any order.

    :raises InvalidInput: one is no pair of such numbers.
    """
    found = sorted(_extent(pair) for pair in pairs)
    merged: list[tuple[int, int]] = []
    for start, end in found:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif end > start:
            merged.append((start, end))
    return [Extent(start, end - start) for start, end in merged]


def _extent(pair: Any) -> tuple[int, int]:
    if isinstance(pair, list | tuple) and len(pair) == 2:
        offset, length = pair
        if type(offset) is int and type(length) is int and offset >= 0 and length >= 0:
            return offset, offset + length
    raise exceptions.InvalidInput(f'{str(pair)[:60]} is no pair of an offset and a length')


def hinted(source: Source, read: base.Fill, writer: base.ChunkWriter, changed: Sequence[Extent],
           warn: Callable[[str], None]) -> Source:
    """The source with the hint, or, where a sample shows that it is wrong, as it was.

    :param read: fills a buffer with the volume's bytes from an offset on.
    :param changed: sorted, without overlaps.
    """
    size = source.size
    assert size is not None, 'only of a volume of which any part can be read'
    check_within(changed, size)
    try:
        wrong = _differing(read, writer, changed, size, source.within or Extent(0, size))
    except exceptions.FormatError as error:
        warn(f'the changed extents were not used, because the parent is damaged: {error}')
        return source
    if wrong is None:
        return HintedSource(source, changed)
    warn(f'the changed extents are wrong: bytes {wrong.offset} to {wrong.end} differ from the '
         'parent and are not among them. The whole volume was read instead.')
    return source


def check_within(changed: Sequence[Extent], size: int) -> None:
    """:raises InvalidInput: a volume of this size has no such extents."""
    if changed and changed[-1].end > size:
        raise exceptions.InvalidInput(
            'the changed extents end behind the end of the volume: they are of another one')


def _differing(read: base.Fill, writer: base.ChunkWriter, changed: Sequence[Extent], size: int,
               within: Extent) -> Extent | None:
    """A block outside of the hint that is not the parent's, if the sample holds one."""
    for block in _sample(changed, size, within, writer.block_size):
        data = memoryview(bytearray(block.length))
        read(block.offset, data)
        if not writer.is_as_parent(block, data):
            return block
    return None


def _sample(changed: Sequence[Extent], size: int, within: Extent, block_size: int
            ) -> Iterator[Extent]:
    """Whole blocks that no extent touches, a few at each of some places chosen at random."""
    start, stop = within.offset // block_size, -(-within.end // block_size)
    clipped = ((max(first, start), min(last, stop))
               for first, last in _untouched(changed, size, block_size))
    gaps = [(first, last) for first, last in clipped if first < last]
    ends = list(itertools.accumulate(last - first for first, last in gaps))
    if not ends:
        return
    # In order, which is how a writer finds the parent's blocks soonest.
    for chosen in sorted(random.randrange(ends[-1]) for _ in range(SAMPLES)):
        index = bisect.bisect_right(ends, chosen)
        first = gaps[index][1] - (ends[index] - chosen)
        for block in range(first, min(first + SAMPLE_BLOCKS, gaps[index][1])):
            yield Extent(block * block_size, min(block_size, size - block * block_size))


def _untouched(changed: Sequence[Extent], size: int, block_size: int
               ) -> Iterator[tuple[int, int]]:
    """Runs (first block, block behind the last) that no extent touches."""
    first = 0
    for extent in changed:
        if extent.offset // block_size > first:
            yield first, extent.offset // block_size
        first = max(first, -(-extent.end // block_size))
    if first < -(-size // block_size):
        yield first, -(-size // block_size)


class HintedSource:
    """A source whose chunks say where they may differ from the parent."""

    def __init__(self, source: Source, changed: Sequence[Extent]) -> None:
        self.size, self.within = source.size, source.within
        self._source = source
        self._changed = changed
        self._ends = [extent.end for extent in changed]

    def chunks(self, chunk_size: int, largest_hole: int = 0) -> Iterator[base.Chunk]:
        for chunk in self._source.chunks(chunk_size, largest_hole):
            yield dataclasses.replace(chunk, changed=tuple(self._inside(chunk)))

    def _inside(self, chunk: base.Chunk) -> Iterator[Extent]:
        index = bisect.bisect_right(self._ends, chunk.offset)
        for extent in itertools.islice(self._changed, index, None):
            if extent.offset >= chunk.end:
                return
            start = max(extent.offset, chunk.offset)
            yield Extent(start, min(extent.end, chunk.end) - start)
