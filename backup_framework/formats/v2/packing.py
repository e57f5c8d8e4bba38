"""Block tables before their object is known, and the end of an object around them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
import dataclasses
from typing import NamedTuple

from backup_framework.formats.v2 import digest, layout, sealing

Buffer = bytes | bytearray | memoryview


@dataclasses.dataclass(slots=True)
class Frame:
    """Blocks compressed as one, and where they are.

    :param object: its name; None while it is not stored, when `offset` counts from the beginning
        of its chunk's frames, and `stored` and `digest` are those of bytes that are not sealed.
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

New = tuple[Frame, Buffer]
"""A new frame with its bytes as its codec made them."""


class Placed(NamedTuple):
    """Where a new frame is in its object, as it is stored."""

    offset: int
    stored: int
    digest: bytes


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

    def encode(self, placed: Iterator[Placed], object_digest: bytes) -> bytes:
        """The table's bytes.

        :param placed: where the fresh frames are in the object that holds the table, in order.
        """
        numbers: dict[str | None, int] = {name: at for at, name in enumerate(self.names, 1)}
        numbers[None] = 0
        frames = []
        for _, frame in self._frames.values():
            place = next(placed) if frame.object is None else frame
            frames.append(layout.Frame(numbers[frame.object], frame.codec, place.offset,
                                       place.stored, frame.plain, place.digest))
        return layout.encode_table(layout.Table(
            self.chunk, object_digest, self.names, frames, self._digests, self._frame_of,
            self._place_of))


class Body:
    """One attempt at an object: gives its bytes from the first one on, sealed if there is a key.

    :param number: in its name.
    :param data_key: of the backup; None seals nothing.
    :ivar placed: where its frames are, in order.
    :ivar contents: of its block tables; `items` says where these are, `tables` has their bytes.
    """

    def __init__(self, algorithm: digest.Algorithm, number: int, name: str,
                 data_key: bytes | None) -> None:
        self.placed: list[Placed] = []
        self.contents: Sequence[Contents] = ()
        self.items: list[layout.FooterItem] = []
        self.tables: list[bytes] = []
        self._algorithm = algorithm
        self._number = number
        self._end = layout.HEADER_SIZE
        self._header = b''
        self._salt: bytes | None = None
        self._cipher: sealing.Cipher | None = None
        if data_key is not None:
            self._salt = sealing.new_salt()
            self._cipher = sealing.cipher_of(data_key, self._salt, name)

    def header(self, first_chunk: int, tables: int) -> bytes:
        self._header = layout.header(first_chunk, tables, self._salt)
        return self._header

    def frame(self, new: New) -> Buffer:
        """The stored bytes of the next frame."""
        frame, data = new
        found = frame.digest
        if self._cipher is not None:
            data = self._cipher.seal(sealing.FRAME, self._end, data)
            found = self._algorithm.of(data)
        self.placed.append(Placed(self._end, len(data), found))
        self._end += len(data)
        return data

    def end(self, contents: Sequence[Contents]) -> Iterator[bytes]:
        """The block tables of the chunks whose frames were given, and the footer."""
        overhead = 0 if self._cipher is None else sealing.OVERHEAD
        for content in contents:
            item = layout.FooterItem(content.chunk, self._end, content.size + overhead)
            self.items.append(item)
            self._end += item.length
        footer = layout.footer(self.items, self._end, self._number)
        covered = self._algorithm.of_all(self._header, footer)
        placed = iter(self.placed)
        for content, item in zip(contents, self.items):
            table = content.encode(placed, covered)
            if self._cipher is not None:
                table = self._cipher.seal(sealing.TABLE, item.offset, table)
            self.tables.append(table)
        self.contents = contents
        yield from self.tables
        yield footer


def settle(contents: Contents, name: str, placed: Iterator[Placed]) -> None:
    """Say of a chunk's new frames where they are, now that their object is stored."""
    for frame in contents.fresh:
        frame.object = name
        frame.offset, frame.stored, frame.digest = next(placed)
