"""Bringing back a backup of format 2.0.0: its chunks, found by its map."""

from __future__ import annotations

from array import array
import bisect
from collections.abc import Collection, Generator, Iterator, Sequence

from backup_framework import spool
from backup_framework.formats import base
from backup_framework.formats.v2 import chunk_map, chunk_unit, names
from backup_framework.formats.v2.reader import Reader, rows_file
from backup_framework.model import Extent

_COMPARED = 1 << 20
_ROWS_A_MARK = 256


class State:
    """See `formats.base.State`. A unit is a chunk, or a run of chunks of zeros.

    :param spool_directory: where the map, and objects of a store without ranges, pass through.
    """

    def __init__(self, reader: Reader, spool_directory: str | None = None) -> None:
        self.reader = reader
        self.header = reader.header
        self.size = reader.size
        self.notes: Sequence[str] = ()
        self._spool_directory = spool_directory
        self._map: spool.Spool | None = None
        self._rows: chunk_map.Rows | None = None
        self._marks = array('Q'), array('Q')

    @property
    def rows(self) -> chunk_map.Rows:
        """The map's, all of them checked; read with `items`."""
        if self._rows is None:
            self._map = self._map or self.reader.spool_map(self._spool_directory)
            rows = self.reader.rows(self._map)
            self._mark(rows)
            self._rows = rows
            self._source = chunk_unit.Source(self.reader, rows.objects, self._spool_directory)
        return self._rows

    @property
    def objects(self) -> Sequence[chunk_map.Object]:
        return self.rows.objects

    def _mark(self, rows: chunk_map.Rows) -> None:
        """Remember where some rows are, so that a part of the volume is found at once."""
        chunks, positions = array('Q'), array('Q')
        chunk, position = 0, len(chunk_map.head())
        for count, item in enumerate(rows):
            if count % _ROWS_A_MARK == 0:
                chunks.append(chunk)
                positions.append(position)
            chunk += item.chunks if isinstance(item, chunk_map.Zeros) else 1
            position = rows.position
        self._marks = chunks, positions

    def items(self, first: int = 0) -> Iterator[tuple[int, chunk_map.Zeros | chunk_map.Row]]:
        """The map's rows with the number of their first chunk, from that with chunk `first` on."""
        rows = self.rows
        chunks, positions = self._marks
        if self._map is None or not chunks:
            return
        mark = bisect.bisect_right(chunks, first) - 1
        chunk = chunks[mark]
        for item in rows.again(rows_file(self._map, positions[mark])):
            following = chunk + (item.chunks if isinstance(item, chunk_map.Zeros) else 1)
            if following > first:
                yield chunk, item
            chunk = following

    def units(self, wanted: Extent) -> Iterator[base.Unit]:
        end = min(wanted.end, self.size)
        if wanted.offset >= end:
            return
        size = self.reader.chunk_size
        for index, item in self.items(wanted.offset // size):
            start = max(wanted.offset, index * size)
            if start >= end:
                return
            if isinstance(item, chunk_map.Zeros):
                stop = min(end, (index + item.chunks) * size)
                yield ZeroUnit(Extent(start, stop - start))
            else:
                stop = min(end, (index + 1) * size)
                yield chunk_unit.ChunkUnit(self._source, index, item, Extent(start, stop - start))

    def prepare_check(self) -> list[base.Problem]:
        named = {names.prefix_of(thing.name) for thing in self.objects}
        idle = [prefix for prefix in self.reader.references if prefix not in named]
        return [base.Problem(f'the manifest refers to {prefix}, but the map names no object of it')
                for prefix in idle]

    def missing(self, sizes: bool, tick: base.Tick) -> tuple[int, list[base.Problem]]:
        container = self.reader.container
        there: set[str] = set()
        for prefix in (self.reader.prefix, *self.reader.references):
            tick()
            there.update(container.names(prefix))
        needed = [(self.reader.map_name, self.reader.map_length),
                  *((thing.name, thing.length) for thing in self.objects)]
        problems = [base.of_object(container.name, name, 'is missing')
                    for name, _ in needed if name not in there]
        for name, length in needed if sizes else ():
            tick()
            if name in there and (found := container.size(name)) != length:
                problems.append(base.of_object(
                    container.name, name, f'has {found} bytes instead of {length}'))
        return len(needed), problems

    def uses(self) -> dict[str, base.Use]:
        used = array('Q', bytes(8 * len(self.objects)))
        for _, item in self.items():
            for number, blocks in item.references if isinstance(item, chunk_map.Row) else ():
                used[number] += blocks
        found = {self.reader.map_name: base.Use(self.reader.map_length, 1.0)}
        for thing, blocks in zip(self.objects, used):
            # Duplicates count each time: a block that is used often is still one.
            share = min(1.0, blocks / thing.blocks) if thing.blocks else 1.0
            found[thing.name] = base.Use(thing.length, share)
        return found

    def extents_of(self, objects: Collection[str]) -> dict[str, list[Extent]]:
        """To a chunk: which of its blocks are in an object only its block table tells."""
        wanted = {number: thing.name for number, thing in enumerate(self.objects)
                  if thing.name in objects}
        found: dict[str, list[Extent]] = {}
        for index, item in self.items() if wanted else ():
            if isinstance(item, chunk_map.Row):
                chunk = Extent(index * self.reader.chunk_size, self.reader.chunk_length(index))
                for number, _ in item.references:
                    if number in wanted:
                        found.setdefault(wanted[number], []).append(chunk)
        return {name: base.joined(extents) for name, extents in found.items()}

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
        self._map = self._rows = None


class ZeroUnit:
    """Chunks that are zeros: nothing is read for them."""

    cost = 2 * _COMPARED

    def __init__(self, extent: Extent) -> None:
        self.extent = extent
        self.length = extent.length

    def pieces(self, present: base.Fill | None = None, tell: base.Tell | None = None
               ) -> Generator[base.Piece, None, None]:
        if present is None:
            yield base.Piece(self.extent.offset, self.length, None)
            return
        zeros = bytes(min(_COMPARED, self.length))
        for at in range(self.extent.offset, self.extent.end, _COMPARED):
            buffer = bytearray(min(_COMPARED, self.extent.end - at))
            present(at, memoryview(buffer))
            if buffer != (zeros if len(buffer) == len(zeros) else bytes(len(buffer))):
                yield base.Piece(at, len(buffer), None)

    def problems(self, tick: base.Tick) -> list[base.Problem]:
        return []
