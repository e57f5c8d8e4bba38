"""Verified bytes of a volume beside its block digests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backup_framework.formats import base, digests
from backup_framework.model import Extent


class Comparer:
    """Compares bytes, coming in runs, with block digests; only whole blocks can be."""

    def __init__(self, known: digests.Spool, size: int) -> None:
        self._known = known
        self._size = size
        self._offset = 0
        self._held = b''

    def feed(self, offset: int, data: memoryview) -> list[base.Problem]:
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
        return list(_describe(self._known, first, found, self._size))


def of_zeros(extents: Iterable[Extent], size: int, known: digests.Spool
             ) -> Iterator[base.Problem]:
    """What of the extents is not zeros by the block digests."""
    for extent in extents:
        start = extent.offset + -extent.offset % known.block_size
        end = extent.end if extent.end == size else extent.end - extent.end % known.block_size
        if start < end:
            yield from _describe(known, start // known.block_size,
                                 digests.of_zeros(end - start, known.block_size), size)


def whole_blocks(extents: Iterable[Extent], size: int, block_size: int) -> bool:
    """Only whole blocks can be compared, and whole blocks are all that writers store."""
    return all(extent.offset % block_size == 0
               and (extent.end % block_size == 0 or extent.end == size) for extent in extents)


def equal(known: digests.Spool, offset: int, data: memoryview) -> Iterator[Extent]:
    """Where the bytes are those that the block digests tell; they begin with a block."""
    size = known.block_size
    found = digests.of(data, size)
    expected = known.get(offset // size, len(found) // digests.DIGEST_SIZE)
    start = 0
    for run, blocks in digests.changed_runs(expected, found, joined_gap=0):
        if run * size > start:
            yield Extent(offset + start, run * size - start)
        start = (run + blocks) * size
    if start < len(data):
        yield Extent(offset + start, len(data) - start)


def _describe(known: digests.Spool, first: int, found: bytes, size: int
              ) -> Iterator[base.Problem]:
    expected = known.get(first, len(found) // digests.DIGEST_SIZE)
    for run, blocks in digests.changed_runs(expected, found, joined_gap=0):
        start = (first + run) * known.block_size
        end = min(start + blocks * known.block_size, size)
        yield base.Problem(
            f'blocks {first + run} to {first + run + blocks - 1} (bytes {start} and on) are not '
            'those of the hash list: a wrong parent, or a damaged hash list',
            extents=[Extent(start, end - start)])
