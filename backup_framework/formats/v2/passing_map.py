"""A stored map that passes by once, for those who need not go back in it."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import io

from backup_framework import store
from backup_framework.formats import base
from backup_framework.formats.v2 import chunk_map, digest, segments
from backup_framework.interface import chunked_driver

_READ_SIZE = 1 << 20


class PassingMap(io.RawIOBase):
    """A map while it is read.

    :param data_key: what it is sealed with, if it is.
    :ivar length: bytes that were read.
    """

    def __init__(self, container: store.Container, name: str, algorithm: digest.Algorithm,
                 data_key: bytes | None, tick: base.Tick) -> None:
        super().__init__()
        self.length = 0
        self._container = container
        self._name = name
        self._algorithm = algorithm
        self._data_key = data_key
        self._hasher = algorithm.new()
        self._tick = tick
        self._reader: chunked_driver.ObjectReader | None = None

    @contextlib.contextmanager
    def rows(self, chunks: int | None = None) -> Iterator[chunk_map.Rows]:
        """Its rows, to be read in the block; raises CorruptObject, and ObjectNotFound of the store.

        :param chunks: how many it has; None takes what comes.
        """
        with self._container.open(self._name) as self._reader:
            file: io.BufferedIOBase = io.BufferedReader(self, _READ_SIZE)
            if self._data_key is not None:
                file = io.BufferedReader(segments.Opened(
                    segments.opened(file, self._data_key, self._name)))
            yield chunk_map.Rows(file, self._algorithm, chunks)

    def objects(self) -> list[str]:
        """The names of all objects; raises what `rows` does."""
        with self.rows() as rows:
            for _ in rows:
                pass
        return [each.name for each in rows.objects]

    def digest(self) -> bytes:
        """Of all that was read."""
        return self._hasher.digest()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        assert self._reader is not None
        self._tick()
        data = self._reader.read(len(buffer))
        buffer[:len(data)] = data
        self._hasher.update(data)
        self.length += len(data)
        return len(data)
