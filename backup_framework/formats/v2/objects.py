"""Storing the data objects of a backup: each attempt under a number that was not used before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
import itertools

from backup_framework import store
from backup_framework.formats.v2 import chunk_map, digest, layout, names, packing, sealing
from backup_framework.formats.v2.map_writer import Row
from backup_framework.formats.v2.packing import Buffer


@dataclasses.dataclass(frozen=True)
class Payload:
    """A chunk with what is new in it, not stored yet.

    :param frames: that are new.
    :param found: their blocks, for the index.
    """

    frames: Sequence[packing.New]
    contents: packing.Contents
    found: dict[bytes, packing.Place]

    @property
    def size(self) -> int:
        """Bytes that it adds to an object, at most."""
        return (sum(len(data) + sealing.OVERHEAD for _, data in self.frames) + self.contents.size
                + sealing.OVERHEAD + layout.FOOTER_ITEM_SIZE)


class Objects:
    """The data objects of one backup; any thread.

    :param data_key: what they are sealed with; None seals nothing.
    :ivar described: all objects that rows may refer to, by name: those stored here, and what
        others add.
    :ivar stored: the names of those stored here, with their bytes.
    """

    def __init__(self, container: store.Container, prefix: str, algorithm: digest.Algorithm,
                 data_key: bytes | None = None) -> None:
        self.described: dict[str, chunk_map.Object] = {}
        self.stored: dict[str, int] = {}
        self._container = container
        self._prefix = prefix
        self._algorithm = algorithm
        self._data_key = data_key
        self._numbers = itertools.count(1)

    def begin_at(self, number: int) -> None:
        """Leave smaller numbers alone: another run of the same backup may have used them."""
        self._numbers = itertools.count(number)

    def put_stream(self, chunk: int, frames: Iterable[packing.New],
                   contents: Callable[[], packing.Contents]) -> Row:
        """One attempt to store a chunk in an object of its own, while its frames are made.

        :param contents: called when all frames were taken.
        """
        def pieces(body: packing.Body) -> Iterator[Buffer]:
            yield body.header(chunk, 1)
            yield from map(body.frame, frames)
            yield from body.end([contents()])

        return self._put(pieces)[0]

    def put_gathered(self, payloads: Sequence[Payload]) -> list[Row]:
        """Store several chunks as one object, repeated until it succeeds."""
        contents = [payload.contents for payload in payloads]

        def pieces(body: packing.Body) -> Iterator[Buffer]:
            yield body.header(contents[0].chunk, len(contents))
            for payload in payloads:
                yield from map(body.frame, payload.frames)
            yield from body.end(contents)

        return self._container.retry(lambda: self._put(pieces))

    def _put(self, pieces: Callable[[packing.Body], Iterator[Buffer]]) -> list[Row]:
        """One attempt at an object, under a name of its own; the rows of its chunks."""
        number = next(self._numbers)
        name = names.data_name(self._prefix, number)
        body = packing.Body(self._algorithm, number, name, self._data_key)
        length = self._container.put_once(name, lambda: pieces(body))
        blocks = sum(frame.blocks for content in body.contents for frame in content.fresh)
        self.described[name] = chunk_map.Object(name, blocks, length)
        self.stored[name] = length
        rows = []
        placed = iter(body.placed)
        for content, item, table in zip(body.contents, body.items, body.tables):
            uses = {name if used is None else used: count
                    for used, count in content.uses.items()}
            rows.append(Row(name, item.offset, item.length, self._algorithm.of(table),
                            content.chunk_digest(self._algorithm), uses))
            packing.settle(content, name, placed)
        return rows
