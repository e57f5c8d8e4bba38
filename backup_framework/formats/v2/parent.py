"""The backup that a new one is compared with: its rows in step with the chunks, and its tables."""

from __future__ import annotations

from collections.abc import Sequence

from backup_framework import spool
from backup_framework.formats.v2 import chunk_map, frames
from backup_framework.formats.v2.reader import Reader
from backup_framework.model import Extent


class Parent:
    """See the module.

    :param spool_directory: where its map is kept while it is read.
    """

    def __init__(self, reader: Reader, spool_directory: str | None) -> None:
        self.reader = reader
        self._directory = spool_directory
        self._map: spool.Spool | None = None
        self._sampling: Rows | None = None
        self._chunk: int | None = None
        self._blocks: frames.Old | None = None

    def rows(self) -> chunk_map.Rows:
        """The rows from the first one on; the map is fetched once.

        :raises CorruptObject: it is not what was stored.
        :raises MissingObject: it is gone.
        """
        if self._map is None:
            self._map = self.reader.spool_map(self._directory)
        return self.reader.rows(self._map)

    def old(self, number: int, row: chunk_map.Row, objects: Sequence[chunk_map.Object]
            ) -> frames.Old:
        """A chunk's blocks by its table, which uses no objects but those that the row names."""
        return frames.old_of(self.reader.table(number, row, objects), objects[row.object].name)

    def is_there(self, extent: Extent, found: bytes) -> bool:
        """Whether the block at this extent has this digest; quick where extents are in order."""
        number, inside = divmod(extent.offset, self.reader.chunk_size)
        if number >= self.reader.chunks:
            return False
        if number != self._chunk:
            self._chunk, self._blocks = number, self._load(number)
        if self._blocks is None:
            return found == self.reader.algorithm.of_zeros(extent.length)
        return self._blocks.digests[inside // self.reader.block_size] == found

    def _load(self, number: int) -> frames.Old | None:
        if self._sampling is None or self._sampling.position > number:
            self._sampling = Rows(self.rows())
        self._sampling.skip(number - self._sampling.position)
        row = self._sampling.take()
        return None if row is None else self.old(number, row, self._sampling.objects)

    def close(self) -> None:
        if self._map is not None:
            self._map.close()


class Rows:
    """The rows of a map in step with chunks.

    :ivar position: the chunk whose row comes next.
    :ivar objects: that rows refer to by their numbers; it grows with the rows.
    """

    def __init__(self, rows: chunk_map.Rows) -> None:
        self.position = 0
        self.objects = rows.objects
        self._items = iter(rows)
        self._zeros = 0

    def take(self) -> chunk_map.Row | None:
        """The next chunk's row; None for zeros, and behind the end."""
        self.position += 1
        if self._zeros:
            self._zeros -= 1
            return None
        item = next(self._items, None)
        if isinstance(item, chunk_map.Zeros):
            self._zeros = item.chunks - 1
            return None
        return item

    def skip(self, chunks: int) -> None:
        end = self.position + chunks
        while self.position < end:
            self.take()
            run = min(self._zeros, end - self.position)
            self._zeros -= run
            self.position += run
