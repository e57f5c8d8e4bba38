"""Chunks with little new, gathered into objects, and the rows that wait for them."""

from __future__ import annotations

import dataclasses

from backup_framework.formats.v2.duplicates import Index
from backup_framework.formats.v2.map_writer import MapWriter, Row
from backup_framework.formats.v2.objects import Objects, Payload

GATHERED = 8 << 20
"""Bytes of chunks that wait which make an object."""
WAITING = 8192
"""Zeros and references of rows that may wait for an object; each takes some hundred bytes."""


@dataclasses.dataclass(frozen=True)
class Zeros:
    """So many chunks of zeros."""

    chunks: int


Result = Zeros | Row | Payload


class Gathering:
    """Takes what the chunks of a volume came to, in order, and writes the map.

    :param index: learns what was stored.
    """

    def __init__(self, objects: Objects, chunk_map: MapWriter, index: Index | None) -> None:
        self._objects = objects
        self._map = chunk_map
        self._index = index
        self._waiting: list[Result] = []
        self._payloads: list[Payload] = []
        self._size = 0
        self._weight = 0

    def add(self, result: Result) -> None:
        if isinstance(result, Payload):
            self._payloads.append(result)
            self._size += result.size
        elif not self._payloads:
            self._write(result)
            return
        self._waiting.append(result)
        self._weight += len(result.uses) if isinstance(result, Row) else 1
        if self._size >= GATHERED or self._weight >= WAITING:
            self.flush()

    def flush(self) -> None:
        """Store what waits."""
        if not self._payloads:
            return
        rows = iter(self._objects.put_gathered(self._payloads))
        for result in self._waiting:
            self._write(next(rows) if isinstance(result, Payload) else result)
        if self._index is not None:
            for payload in self._payloads:
                self._index.add(payload.found)
        self._waiting, self._payloads = [], []
        self._size = self._weight = 0

    def _write(self, result: Zeros | Row) -> None:
        if isinstance(result, Zeros):
            self._map.add_zeros(result.chunks)
        else:
            self._map.add(result)
