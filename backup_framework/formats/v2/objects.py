"""Storing the data objects of a backup: each attempt under a number that was not used before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
import itertools

from backup_framework import store
from backup_framework.formats.v2 import chunk_map, digest, layout, names, packing
from backup_framework.formats.v2.map_writer import Row

Buffer = bytes | bytearray | memoryview


@dataclasses.dataclass(frozen=True)
class Payload:
    """A chunk with what is new in it, not stored yet.

    :param frames: the bytes of its new frames.
    :param found: their blocks, for the index.
    """

    frames: Sequence[Buffer]
    contents: packing.Contents
    found: dict[bytes, packing.Place]

    @property
    def size(self) -> int:
        """Bytes that it adds to an object."""
        return sum(map(len, self.frames)) + self.contents.size + layout.FOOTER_ITEM_SIZE


class Objects:
    """The data objects of one backup; any thread.

    :ivar described: all objects that rows may refer to, by name: those stored here, and what
        others add.
    :ivar stored: the names of those stored here, with their bytes.
    """

    def __init__(self, container: store.Container, prefix: str, algorithm: digest.Algorithm
                 ) -> None:
        self.described: dict[str, chunk_map.Object] = {}
        self.stored: dict[str, int] = {}
        self._container = container
        self._prefix = prefix
        self._algorithm = algorithm
        self._numbers = itertools.count(1)

    def begin_at(self, number: int) -> None:
        """Leave smaller numbers alone: another run of the same backup may have used them."""
        self._numbers = itertools.count(number)

    def put_stream(self, chunk: int, frames: Iterable[Buffer],
                   contents: Callable[[], packing.Contents]) -> Row:
        """One attempt to store a chunk in an object of its own, while its frames are made.

        :param contents: called when all frames were taken.
        """
        number = next(self._numbers)
        finished: list[tuple[packing.Contents, packing.Tail]] = []

        def pieces() -> Iterator[Buffer]:
            yield layout.header(chunk, 1)
            end = layout.HEADER_SIZE
            for frame in frames:
                end += len(frame)
                yield frame
            content = contents()
            tail = packing.tail(self._algorithm, number, [content], [layout.HEADER_SIZE], end)
            finished.append((content, tail))
            yield from (*tail.tables, tail.footer)

        name = names.data_name(self._prefix, number)
        length = self._container.put_once(name, pieces)
        content, tail = finished.pop()
        return self._settle(name, length, [content], [layout.HEADER_SIZE], tail)[0]

    def put_gathered(self, payloads: Sequence[Payload]) -> list[Row]:
        """Store several chunks as one object, repeated until it succeeds."""
        return self._container.retry(lambda: self._put_gathered(payloads))

    def _put_gathered(self, payloads: Sequence[Payload]) -> list[Row]:
        number = next(self._numbers)
        name = names.data_name(self._prefix, number)
        contents = [payload.contents for payload in payloads]
        starts = [layout.HEADER_SIZE]
        for payload in payloads:
            starts.append(starts[-1] + sum(map(len, payload.frames)))
        tail = packing.tail(self._algorithm, number, contents, starts, starts[-1])

        def pieces() -> Iterator[Buffer]:
            yield packing.head(contents)
            for payload in payloads:
                yield from payload.frames
            yield from (*tail.tables, tail.footer)

        length = self._container.put_once(name, pieces)
        return self._settle(name, length, contents, starts, tail)

    def _settle(self, name: str, length: int, contents: Sequence[packing.Contents],
                starts: Sequence[int], tail: packing.Tail) -> list[Row]:
        """Know an object that was stored; the rows of its chunks."""
        blocks = sum(frame.blocks for content in contents for frame in content.fresh)
        self.described[name] = chunk_map.Object(name, blocks, length)
        self.stored[name] = length
        rows = []
        for content, start, offset, table in zip(contents, starts, tail.offsets, tail.tables):
            uses = {name if used is None else used: count
                    for used, count in content.uses.items()}
            rows.append(Row(name, offset, len(table), self._algorithm.of(table),
                            content.chunk_digest(self._algorithm), uses))
            packing.settle(content, name, start)
        return rows
