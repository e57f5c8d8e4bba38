"""A stored state as a volume to back up: how backups are copied between stores and formats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
import contextlib
import weakref

from backup_framework import spool
from backup_framework.formats import base
from backup_framework.model import Extent


class StateSource:
    """The bytes of a state, each verified before it is given out. See `engine.source.Source`.

    :param spool_directory: where a temporary file for each chunk may grow; None is the system's.
    """

    within: Extent | None = None

    def __init__(self, state: base.State, spool_directory: str | None = None) -> None:
        self.size: int | None = state.size
        self._state = state
        self._spool_directory = spool_directory

    def chunks(self, chunk_size: int, largest_hole: int = 0) -> Iterator[base.Chunk]:
        size = self._state.size
        for offset in range(0, size, chunk_size):
            wanted = Extent(offset, min(chunk_size, size - offset))
            # In the thread that pulls the chunks, for a state tells its units to one at a time.
            held = _Held(wanted, list(self._state.units(wanted)), self._spool_directory)
            yield base.Chunk(wanted.offset, wanted.length, held.read, held.data)


class _Held:
    """The bytes of one chunk, fetched when they are first asked for.

    They are kept outside of memory, because a format may have them only as a whole, and a writer
    asks for pieces, and again when it repeats itself. One thread at a time works on a chunk.
    """

    def __init__(self, wanted: Extent, units: Sequence[base.Unit], directory: str | None) -> None:
        self._wanted = wanted
        self._units = units
        self._directory = directory
        self._fetched: tuple[spool.Spool, list[Extent]] | None = None

    def data(self) -> Iterable[Extent]:
        return self._fetch()[1]

    def read(self, offset: int, view: memoryview) -> None:
        self._fetch()[0].read_into(offset - self._wanted.offset, view)

    def _fetch(self) -> tuple[spool.Spool, list[Extent]]:
        if self._fetched is None:
            held = spool.Spool(self._directory)
            weakref.finalize(self, held.close)
            self._fetched = held, sorted(self._fill(held), key=lambda extent: extent.offset)
        return self._fetched

    def _fill(self, held: spool.Spool) -> Iterator[Extent]:
        for unit in self._units:
            with contextlib.closing(unit.pieces()) as pieces:
                for offset, length, data in pieces:
                    if data is not None:
                        held.write(offset - self._wanted.offset, data)
                        yield Extent(offset, length)
