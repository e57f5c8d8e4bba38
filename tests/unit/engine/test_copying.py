"""A stored state as a source of chunks."""

from __future__ import annotations

from collections.abc import Iterator
import threading

from backup_framework.engine import copying, parallel
from backup_framework.formats import base
from backup_framework.model import Extent

CHUNK = 4096


class Unit:
    """Gives its bytes when all units of a group are being worked on."""

    cost = 0

    def __init__(self, extent: Extent, together: threading.Barrier) -> None:
        self.length = extent.length
        self._extent = extent
        self._together = together

    def pieces(self, present: base.Fill | None = None) -> Iterator[base.Piece]:
        self._together.wait(10)
        data = bytes([self._extent.offset // CHUNK + 1]) * self.length
        yield base.Piece(self._extent.offset, self.length, memoryview(data))


class State:
    """A state whose units are told to one thread at a time, as `formats.base` has it."""

    def __init__(self, chunks: int, together: int) -> None:
        self.size = chunks * CHUNK
        self.threads: set[int] = set()
        self._together = threading.Barrier(together)

    def units(self, wanted: Extent) -> Iterator[Unit]:
        self.threads.add(threading.get_ident())
        yield Unit(wanted, self._together)


def test_chunks_are_fetched_side_by_side_and_units_told_to_one_thread() -> None:
    state = State(8, together=4)

    def read(chunk: base.Chunk) -> bytes:
        assert chunk.read is not None
        assert list(chunk.data()) == [Extent(chunk.offset, chunk.length)]
        buffer = bytearray(chunk.length)
        chunk.read(chunk.offset, memoryview(buffer))
        return bytes(buffer)

    source = copying.StateSource(state)  # type: ignore[arg-type]
    found = list(parallel.ordered_map(read, source.chunks(CHUNK), workers=4, budget=1,
                                      cost=lambda chunk: 0))
    assert found == [bytes([number + 1]) * CHUNK for number in range(8)]
    assert state.threads == {threading.get_ident()}
