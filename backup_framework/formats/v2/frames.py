"""What is new in a chunk: its blocks looked at once, and those stored nowhere made into frames."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
import dataclasses
from typing import NamedTuple

from backup_framework.formats import base, codec
from backup_framework.formats.v2 import compaction, digest, layout, scan
from backup_framework.formats.v2.duplicates import Index
from backup_framework.formats.v2.packing import Contents, Frame, New, Place

FRAME = 256 << 10
"""Plain bytes of a frame at most, or one block. Twice as many were measured to save half a percent
of the store, and to have a restore unpack four percent more that it does not need."""


class Old(NamedTuple):
    """The blocks of a chunk as the parent has them; a place is None for zeros."""

    digests: Sequence[bytes]
    places: Sequence[Place | None]


def old_of(table: layout.Table, holder: str) -> Old:
    """What a block table says.

    :param holder: the object that it is in.
    """
    names = [holder, *table.names]
    frames = [Frame(names[frame.object], frame.codec, frame.offset, frame.stored, frame.plain,
                    frame.digest) for frame in table.frames]
    size = digest.SIZE
    return Old(
        [table.digests[at:at + size] for at in range(0, len(table.digests), size)],
        [None if number == layout.ZERO else (frames[number], place)
         for number, place in zip(table.frame_of, table.place_of)])


@dataclasses.dataclass(frozen=True)
class Work:
    """What is to be done for a chunk.

    :param number: of the chunk.
    :param wanted: the blocks to look at; the others are as in `old`, or zeros without it.
    :param data: the blocks that may be something else than zeros.
    """

    number: int
    chunk: base.Chunk
    wanted: Sequence[scan.Run]
    data: Sequence[scan.Run]
    old: Old | None


class Packer:
    """How blocks become frames.

    :param compression: a codec's name.
    :param index: where to look for duplicates; None looks nowhere, not even in the chunk.
    :param renewed: objects whose blocks are stored anew.
    :param is_sealed: what is stored of a frame is made, and digested, when its object is put.
    """

    def __init__(self, scanner: scan.Scanner, compression: str, index: Index | None,
                 renewed: Collection[str], is_sealed: bool) -> None:
        self.scanner = scanner
        self.compression = compression
        self.index = index
        self.renewed = renewed
        self.is_sealed = is_sealed
        self.frame_blocks = max(1, FRAME // scanner.block_size)


class Packing:
    """One attempt at a chunk. Take all of `frames`, then `contents`.

    :ivar found: what is new, by digest: for the index, once it is stored.
    """

    def __init__(self, packer: Packer, work: Work) -> None:
        self.found: dict[bytes, Place] = {}
        self._packer = packer
        self._work = work
        self._end = 0
        zeros = packer.scanner.zero_digests(work.chunk.length)
        self._digests = list(work.old.digests) if work.old else zeros
        self._places: list[Place | None] = (
            list(work.old.places) if work.old else [None] * len(zeros))
        for first, end in work.wanted:
            self._digests[first:end] = zeros[first:end]
            self._places[first:end] = [None] * (end - first)
        self._referred = {place[0].object for place in self._places if place}

    def contents(self) -> Contents:
        return Contents(self._work.number, self._digests, self._places)

    @property
    def is_zero(self) -> bool:
        """Whether all of the chunk is zeros."""
        return not any(self._places)

    @property
    def is_as_before(self) -> bool:
        """Whether nothing was found that differs from the parent."""
        old = self._work.old
        return old is not None and self._digests == old.digests and self._places == old.places

    def frames(self) -> Generator[New, None, None]:
        """New frames; the bytes of each are valid until the next one is asked for."""
        work, scanner = self._work, self._packer.scanner
        data = scan.overlap(work.wanted, work.data)
        if data:
            for unit in scanner.units(work.chunk, data):
                yield from self._frames_of(unit)

    def _frames_of(self, unit: scan.Unit) -> Iterator[New]:
        frame: Frame | None = None
        start = 0
        size = self._packer.scanner.block_size
        for block in range(unit.first, unit.end):
            at = (block - unit.first) * size
            if self._is_stored(unit, block, at):
                if frame:
                    yield self._close(frame, unit.view[start:at])
                    frame = None
                continue
            if frame is None:
                frame, start = Frame(None), at
            self._put_into(frame, block)
            if frame.blocks == self._packer.frame_blocks:
                yield self._close(frame, unit.view[start:at + size])
                frame = None
        if frame:
            yield self._close(frame, unit.view[start:])

    def _is_stored(self, unit: scan.Unit, block: int, at: int) -> bool:
        """Look at a block; whether it needs no place in a frame."""
        scanner = self._packer.scanner
        piece = unit.view[at:at + scanner.block_size]
        if scanner.is_zero(unit, at, len(piece)):
            return True
        found = self._digests[block] = scanner.algorithm.of(piece)
        place = self._places[block] = self._place_of(block, found)
        return place is not None

    def _place_of(self, block: int, found: bytes) -> Place | None:
        old, index = self._work.old, self._packer.index
        if old and old.digests[block] == found:
            place = old.places[block]
            if place and place[0].object not in self._packer.renewed:
                return place
        if index is None:
            return None
        place = self.found.get(found) or index.find(found)
        return place if place and self._may_refer(place[0].object) else None

    def _may_refer(self, name: str | None) -> bool:
        """A chunk in many objects takes long to bring back, and would be compacted soon."""
        if name not in self._referred and len(self._referred) >= compaction.MOST_REFERENCES:
            return False
        self._referred.add(name)
        return True

    def _put_into(self, frame: Frame, block: int) -> None:
        place = (frame, frame.blocks)
        self._places[block] = place
        self.found[self._digests[block]] = place
        frame.blocks += 1

    def _close(self, frame: Frame, plain: memoryview) -> New:
        marker, stored = codec.compress(self._packer.compression, plain)
        frame.codec = layout.CODECS.index(marker)
        frame.offset = self._end
        frame.stored, frame.plain = len(stored), len(plain)
        if not self._packer.is_sealed:
            frame.digest = self._packer.scanner.algorithm.of(stored)
        self._end += len(stored)
        return frame, stored
