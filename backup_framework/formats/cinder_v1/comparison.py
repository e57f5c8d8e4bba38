"""Verified bytes of a volume beside its block digests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backup_framework.formats import digests
from backup_framework.model import Extent


class Comparer:
    """Compares bytes, coming in runs, with block digests; only whole blocks can be."""

    def __init__(self, known: digests.Spool, size: int) -> None:
        self._known = known
        self._size = size
        self._offset = 0
        self._held = b''

    def feed(self, offset: int, data: memoryview) -> list[str]:
        if offset != self._offset + len(self._held):
            self._held = b''
        if not self._held:
            # A run that begins inside a block: that block cannot be compared here.
            skipped = min(len(data), -offset % self._known.block_size)
            offset, data = offset + skipped, data[skipped:]
            self._offset = offset
        joined = memoryview(self._held + bytes(data)) if self._held else data
        whole = len(joined) - len(joined) % self._known.block_size
        if self._offset + len(joined) == self._size:
            whole = len(joined)
        first = self._offset // self._known.block_size
        found = digests.of(joined[:whole], self._known.block_size)
        self._offset, self._held = self._offset + whole, bytes(joined[whole:])
        return list(_describe(self._known, first, found))


def of_zeros(extents: Iterable[Extent], size: int, known: digests.Spool) -> Iterator[str]:
    """What of the extents is not zeros by the block digests."""
    for extent in extents:
        start = extent.offset + -extent.offset % known.block_size
        end = extent.end if extent.end == size else extent.end - extent.end % known.block_size
        if start < end:
            yield from _describe(known, start // known.block_size,
                                 digests.of_zeros(end - start, known.block_size))


def whole_blocks(extents: Iterable[Extent], size: int, block_size: int) -> bool:
    """Only whole blocks can be compared, and whole blocks are all that writers store."""
    return all(extent.offset % block_size == 0
               and (extent.end % block_size == 0 or extent.end == size) for extent in extents)


def _describe(known: digests.Spool, first: int, found: bytes) -> Iterator[str]:
    expected = known.get(first, len(found) // digests.DIGEST_SIZE)
    for run, blocks in digests.changed_runs(expected, found, joined_gap=0):
        yield (f'blocks {first + run} to {first + run + blocks - 1} (bytes '
               f'{(first + run) * known.block_size} and on) are not those of the hash list: a '
               'wrong parent, or a damaged hash list')
