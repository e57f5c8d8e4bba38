"""Reading a chunk and hashing its blocks: only where it has data, a unit of some MiB at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from backup_framework.formats import base
from backup_framework.formats.v2 import digest
from backup_framework.model import Extent

UNIT = 2 << 20
"""Bytes that are read at a time; one block where blocks are larger."""

Run = tuple[int, int]
"""Neighbouring blocks of a chunk: the first one, and the one behind the last."""


class Unit(NamedTuple):
    """Blocks that were read. `data` and `view` are of the same bytes, the first block in front."""

    first: int
    end: int
    data: bytearray
    view: memoryview


class Scanner:
    """Reads chunks into buffers that are used again: there are as many as threads that read."""

    def __init__(self, algorithm: digest.Algorithm, block_size: int, chunk_size: int) -> None:
        self.algorithm = algorithm
        self.block_size = block_size
        self.unit = min(max(UNIT, block_size), chunk_size)
        self.zero_digest = algorithm.of_zeros(block_size)
        self._zeros = bytes(block_size)
        self._free: list[bytearray] = []

    def blocks(self, length: int) -> int:
        """Blocks in so many bytes; the last one may be short."""
        return -(-length // self.block_size)

    def rounded(self, chunk: base.Chunk, extents: Iterable[Extent]) -> list[Run]:
        """The blocks of a chunk that sorted extents of the volume touch, in runs."""
        runs: list[Run] = []
        for extent in extents:
            start = max(extent.offset, chunk.offset) - chunk.offset
            end = min(extent.end, chunk.end) - chunk.offset
            if start >= end:
                continue
            first, end = start // self.block_size, self.blocks(end)
            if runs and first <= runs[-1][1]:
                runs[-1] = (runs[-1][0], max(end, runs[-1][1]))
            else:
                runs.append((first, end))
        return runs

    def zero_digests(self, length: int) -> list[bytes]:
        """The digests of the blocks of so many zeros."""
        found = [self.zero_digest] * self.blocks(length)
        if length % self.block_size:
            found[-1] = self.algorithm.of_zeros(length % self.block_size)
        return found

    def digests(self, chunk: base.Chunk, data: Sequence[Run]) -> list[bytes]:
        """The digests of all blocks of a chunk; those outside of `data` are zeros."""
        found = self.zero_digests(chunk.length)
        size, zeros, digest_of = self.block_size, self._zeros, self.algorithm.of
        for unit in self.units(chunk, data):
            for block in range(unit.first, unit.end):
                at = (block - unit.first) * size
                piece = unit.view[at:at + size]
                if len(piece) < size or not unit.data.startswith(zeros, at):
                    found[block] = digest_of(piece)
        return found

    def is_zero(self, unit: Unit, at: int, length: int) -> bool:
        """Whether so many bytes of a unit, a block at most, are zeros: memcmp, without a copy."""
        zeros = self._zeros if length == self.block_size else self._zeros[:length]
        return unit.data.startswith(zeros, at)

    def units(self, chunk: base.Chunk, runs: Iterable[Run]) -> Iterator[Unit]:
        """Read runs of blocks. A unit is valid until the next one is asked for."""
        assert chunk.read is not None
        buffer = self._take()
        try:
            for first, end in cut(runs, self.unit // self.block_size):
                start = first * self.block_size
                length = min(end * self.block_size, chunk.length) - start
                view = memoryview(buffer)[:length]
                chunk.read(chunk.offset + start, view)
                yield Unit(first, end, buffer, view)
        finally:
            self._free.append(buffer)

    def _take(self) -> bytearray:
        # Taking from a list and adding to it are atomic.
        try:
            return self._free.pop()
        except IndexError:
            return bytearray(self.unit)


def cut(runs: Iterable[Run], most: int) -> Iterator[Run]:
    """The same blocks in runs of at most so many."""
    for first, end in runs:
        for start in range(first, end, most):
            yield start, min(start + most, end)


def overlap(some: Sequence[Run], others: Sequence[Run]) -> list[Run]:
    """The blocks that are in runs of both."""
    found: list[Run] = []
    at = 0
    for first, end in some:
        while at < len(others) and others[at][1] <= first:
            at += 1
        for other_first, other_end in others[at:]:
            if other_first >= end:
                break
            found.append((max(first, other_first), min(end, other_end)))
    return found


def runs_of(blocks: Iterable[int]) -> list[Run]:
    """Sorted blocks as runs."""
    runs: list[Run] = []
    for block in blocks:
        if runs and runs[-1][1] == block:
            runs[-1] = (runs[-1][0], block + 1)
        else:
            runs.append((block, block + 1))
    return runs
