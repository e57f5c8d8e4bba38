"""Writing the map of a backup: spooled to a temporary file while its rows come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from backup_framework import spool
from backup_framework.formats.v2 import chunk_map, digest

_PIECE = 1 << 20


class Row(NamedTuple):
    """A chunk with a block table; objects by their names.

    :param uses: for each object, how many blocks of the chunk are in it.
    """

    object: str
    offset: int
    length: int
    table_digest: bytes
    chunk_digest: bytes
    uses: Mapping[str, int]


class MapWriter:
    """Takes the chunks of a volume in order. Close it.

    :param described: all objects that rows may refer to, by name; it may grow.
    :ivar names: of the objects referred to, in the order of their numbers.
    """

    def __init__(self, algorithm: digest.Algorithm, described: Mapping[str, chunk_map.Object],
                 directory: str | None) -> None:
        self.names: dict[str, int] = {}
        self.length = 0
        self._described = described
        self._hasher = algorithm.new()
        self._spool = spool.Spool(directory)
        self._waiting = bytearray(chunk_map.head())
        self._zeros = 0

    def add_zeros(self, chunks: int) -> None:
        self._zeros += chunks

    def add(self, row: Row) -> None:
        self._end_zeros()
        references = [(self._number(name), blocks) for name, blocks in row.uses.items()]
        self._append(chunk_map.encode_row(chunk_map.Row(
            self.names[row.object], row.offset, row.length, row.table_digest, row.chunk_digest,
            references)))

    def seal(self) -> bytes:
        """End the map; the digest of all of it."""
        self._end_zeros()
        self._flush()
        self._append(chunk_map.end(self._hasher.digest()))
        self._flush()
        return self._hasher.digest()

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the map once it is sealed."""
        for at in range(0, self.length, _PIECE):
            yield self._spool.read(at, _PIECE)

    def close(self) -> None:
        self._spool.close()

    def _number(self, name: str) -> int:
        if name not in self.names:
            self._append(chunk_map.encode_object(self._described[name]))
            self.names[name] = len(self.names)
        return self.names[name]

    def _end_zeros(self) -> None:
        if self._zeros:
            self._append(chunk_map.encode_zeros(self._zeros))
            self._zeros = 0

    def _append(self, record: bytes) -> None:
        self._waiting += record
        if len(self._waiting) >= _PIECE:
            self._flush()

    def _flush(self) -> None:
        self._hasher.update(self._waiting)
        self._spool.write(self.length, self._waiting)
        self.length += len(self._waiting)
        self._waiting = bytearray()
