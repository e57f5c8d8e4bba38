"""Block tables before their object is known, and the end of an object around them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
import dataclasses
from typing import NamedTuple

from backup_framework.formats.v2 import digest, layout


@dataclasses.dataclass(slots=True)
class Frame:
    """Blocks compressed as one, and where they are.

    :param object: its name; None while it is not stored, when `offset` counts from the beginning
        of its chunk's frames.
    :param blocks: of an own frame; 0 where nobody needs to know.
    """

    object: str | None
    codec: int = 0
    offset: int = 0
    stored: int = 0
    plain: int = 0
    digest: bytes = b''
    blocks: int = 0


Place = tuple[Frame, int]
"""Where a block is: its frame, and its place there, in blocks."""


class Contents:
    """What the block table of a chunk will say.

    :param places: of the blocks; None for zeros.
    :ivar fresh: the frames that are not stored yet, in order.
    :ivar uses: for each object, how many blocks are in it; None is the one that is not stored yet.
    """

    def __init__(self, chunk: int, digests: Iterable[bytes], places: Iterable[Place | None]
                 ) -> None:
        self.chunk = chunk
        self.uses: dict[str | None, int] = {None: 0}
        self._digests = b''.join(digests)
        self._frames: dict[tuple[str | None, int], tuple[int, Frame]] = {}
        self._frame_of, self._place_of = array('I'), array('I')
        for place in places:
            self._append(place)
        self.names = [name for name in self.uses if name is not None]
        self.fresh = [frame for _, frame in self._frames.values() if frame.object is None]
        self.size = layout.table_size(len(self._frame_of), len(self._frames), self.names)

    def _append(self, place: Place | None) -> None:
        if place is None:
            self._frame_of.append(layout.ZERO)
            self._place_of.append(0)
            return
        frame, at = place
        # One frame may have come from several tables.
        number, _ = self._frames.setdefault((frame.object, frame.offset),
                                            (len(self._frames), frame))
        self._frame_of.append(number)
        self._place_of.append(at)
        self.uses[frame.object] = self.uses.get(frame.object, 0) + 1

    def chunk_digest(self, algorithm: digest.Algorithm) -> bytes:
        return algorithm.of(self._digests)

    def encode(self, start: int, object_digest: bytes) -> bytes:
        """The table's bytes.

        :param start: where the frames of the chunk begin in the object that holds the table.
        """
        numbers: dict[str | None, int] = {name: at for at, name in enumerate(self.names, 1)}
        numbers[None] = 0
        frames = [
            layout.Frame(numbers[frame.object], frame.codec,
                         frame.offset + (start if frame.object is None else 0),
                         frame.stored, frame.plain, frame.digest)
            for _, frame in self._frames.values()]
        return layout.encode_table(layout.Table(
            self.chunk, object_digest, self.names, frames, self._digests, self._frame_of,
            self._place_of))


class Tail(NamedTuple):
    """What stands behind the frames of an object.

    :param offsets: of the tables in the object.
    """

    offsets: Sequence[int]
    tables: Sequence[bytes]
    footer: bytes


def tail(algorithm: digest.Algorithm, number: int, contents: Sequence[Contents],
         starts: Sequence[int], end: int) -> Tail:
    """Block tables and footer of an object.

    :param number: in its name.
    :param starts: where the frames of each chunk begin.
    :param end: where those of the last one end.
    """
    items: list[layout.FooterItem] = []
    for item in contents:
        items.append(layout.FooterItem(item.chunk, end, item.size))
        end += item.size
    footer = layout.footer(items, end, number)
    covered = algorithm.of_all(head(contents), footer)
    tables = [item.encode(start, covered) for item, start in zip(contents, starts)]
    return Tail([item.offset for item in items], tables, footer)


def head(contents: Sequence[Contents]) -> bytes:
    return layout.header(contents[0].chunk, len(contents))


def settle(contents: Contents, name: str, start: int) -> None:
    """Say of a chunk's new frames where they are, now that their object is stored."""
    for frame in contents.fresh:
        frame.object = name
        frame.offset += start
