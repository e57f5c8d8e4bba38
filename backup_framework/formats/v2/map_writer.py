"""Writing the map of a backup: spooled to a temporary file while its rows come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from backup_framework import spool, store
from backup_framework.formats import base
from backup_framework.formats.v2 import chunk_map, digest, names, sealing, segments

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


class Stored(NamedTuple):
    """A map in a store: all of its bytes, as a manifest tells of them."""

    name: str
    length: int
    digest: bytes


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
        self._algorithm = algorithm
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

    def end(self) -> None:
        """Write the last record."""
        self._end_zeros()
        self._flush()
        self._append(chunk_map.end(self._hasher.digest()))
        self._flush()

    def store(self, container: store.Container, prefix: str, data_key: bytes | None,
              numbers: Iterator[int], tick: base.Tick) -> Stored:
        """Put the map, which has its end, into a container.

        :param data_key: what it is sealed with; None does not seal it.
        :param numbers: of the attempts. Under one number all have the same bytes.
        """
        salt = None if data_key is None else sealing.new_salt()

        def attempt() -> Stored:
            name = names.map_name(prefix, next(numbers))
            hasher = self._algorithm.new()
            length = container.put_once(name, lambda: _digested(
                self._pieces(name, data_key, salt, tick), hasher))
            return Stored(name, length, hasher.digest())

        return container.retry(attempt)

    def _pieces(self, name: str, data_key: bytes | None, salt: bytes | None, tick: base.Tick
                ) -> Iterator[bytes]:
        """The bytes to be stored."""
        plain = self._plain(tick)
        if data_key is None or salt is None:
            return plain
        return segments.sealed(plain, self.length, data_key, salt, name)

    def _plain(self, tick: base.Tick) -> Iterator[bytes]:
        for at in range(0, self.length, _PIECE):
            tick()
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


def _digested(pieces: Iterable[bytes], hasher: digest.Hasher) -> Iterator[bytes]:
    for piece in pieces:
        hasher.update(piece)
        yield piece
