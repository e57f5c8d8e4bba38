"""A backup in parts: each stored by a writer of its own, and the end that makes it one.

A part stores the objects of its chunks, then their rows as a map that no manifest names. The end
puts these rows together in the map of the backup and writes the manifest. So what is stored is a
backup like any other: the maps of the parts are attempts at its map, and are removed like these.

Every name of an attempt is made of the attempt's number, so no name ever has two contents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import dataclasses
import hashlib
import itertools

from backup_framework import exceptions, store
from backup_framework.formats import base, document
from backup_framework.formats.splitting import Part, Split, StoredPart
from backup_framework.formats.v2 import chunk_map, map_writer, names
from backup_framework.formats.v2.passing_map import PassingMap
from backup_framework.formats.v2.reader import Reader
from backup_framework.formats.v2.state import State
from backup_framework.formats.v2.writer import ChunkWriter, Writer
from backup_framework.model import Extent

MOST = 63
"""Parts of a backup."""
OBJECTS = 10 ** 9
"""Numbers of data objects for each run."""

_RUNS = MOST + 1
"""Numbers of runs for each attempt: one a part, and 0 for the end."""
_MOST_ATTEMPTS = names.LAST_ATTEMPT // _RUNS - 1


def begin(writer: ChunkWriter, part_size: int) -> Split:
    """See `formats.splitting.Splitting`."""
    writer.begin()
    size, parameters = writer.size or 0, writer.parameters
    return Split(size, parameters.chunk_size, parameters.block_size, parameters.algorithm.name,
                 parameters.compression, _extents(size, parameters.chunk_size, part_size))


def _extents(size: int, chunk_size: int, part_size: int) -> list[Extent]:
    """Whole chunks each, of about one size."""
    chunks = -(-size // chunk_size)
    count = max(1, min(MOST, chunks, -(-size // part_size)))
    ends = [min(size, chunks * number // count * chunk_size) for number in range(count + 1)]
    return [Extent(start, end - start) for start, end in itertools.pairwise(ends)]


class PartWriter(ChunkWriter):
    """See `formats.splitting.PartWriter`.

    :raises InvalidBackup: there were too many attempts.
    """

    def __init__(self, container: store.Container, prefix: str, header: base.Header,
                 choices: base.Choices, parent: State | None, split: Split, part: Part) -> None:
        self._part = part
        self._run_number = _run_number(part.attempt, part.number)
        super().__init__(container, prefix, header, _as_planned(choices, split), parent,
                         split.size, joins=True)
        self._objects.begin_at(self._run_number * OBJECTS + 1)

    def _earlier_names(self) -> list[str]:
        return [name for name in self._container.names(f'{self._prefix}-')
                if names.is_data(self._prefix, name)
                and names.number_of(name) // OBJECTS % _RUNS == self._part.number]

    def end(self, tick: base.Tick) -> StoredPart:
        found = self.store_map(itertools.repeat(self._run_number), tick)
        self._container.sync()
        tick()
        self.require_objects(found.name)
        return StoredPart(self._part.extent, found.name, found.length, found.digest.hex())


class EndWriter(Writer):
    """Has the rows of all parts, and writes what describes the backup with its `finish`."""

    def __init__(self, container: store.Container, prefix: str, header: base.Header,
                 choices: base.Choices, split: Split, parts: Sequence[StoredPart], attempt: int
                 ) -> None:
        self._run_number = _run_number(attempt, 0)
        choices = dataclasses.replace(_as_planned(choices, split), duplicates='none', resume=False)
        super().__init__(container, prefix, header, choices, None, split.size, joins=True)
        self._parts = parts
        self._choices = choices
        self._left = [name for name in container.names(prefix) if self._may_go(name)]

    def _may_go(self, name: str) -> bool:
        """The map of another attempt at the end stays: the manifest may still come that names it,
        where that one is taken for dead and is not."""
        if names.is_map(self._prefix, name):
            return names.attempt_of(self._prefix, name) % _RUNS != 0
        return names.is_data(self._prefix, name)

    def finish(self, tick: base.Tick) -> base.Totals:
        """Once there is a manifest, that is it, whichever attempt wrote it."""
        if self._is_committed():
            return self._committed()
        try:
            for part in self._parts:
                self._take(part, tick)
                self._size += part.extent.length
            return super().finish(tick)
        except (exceptions.ObjectExists, exceptions.ObjectNotFound):
            # Another attempt was quicker, and removed the maps of the parts.
            if not self._is_committed():
                raise
            return self._committed()

    def _is_committed(self) -> bool:
        manifest = names.manifest_name(self._prefix)
        return manifest in self._container.names(manifest)

    def _committed(self) -> base.Totals:
        data = self._container.get(names.manifest_name(self._prefix), base.LARGEST_MANIFEST)
        found = Reader(self._container, self._prefix, data, document.parse(data),
                       self._choices.keyring)
        with found.open_rows(self._choices.spool_directory) as rows:
            for _ in rows:
                pass
        used = {found.map_name, *(each.name for each in rows.objects)}
        return base.Totals(
            found.object_count, found.size, (found.header.stored_bytes or 0) + len(data),
            found.header.parent_id, hashlib.sha256(data).hexdigest(),
            [name for name in self._left if name not in used])

    def _take(self, part: StoredPart, tick: base.Tick) -> None:
        """Add the rows of a part."""
        found = PassingMap(self._container, part.name, self.parameters.algorithm,
                           self._sealer.data_key, tick)
        try:
            with found.rows(-(-part.extent.length // self.chunk_size)) as rows:
                for item in rows:
                    self._add(item, rows.objects)
            if (found.length, found.digest().hex()) != (part.length, part.digest):
                raise exceptions.CorruptObject('it is not what was stored')
        except exceptions.CorruptObject as error:
            raise exceptions.CorruptObject(
                f'object {part.name} of container {self._container.name} (the map of a part) is '
                f'damaged: {error}') from None

    def _add(self, item: chunk_map.Zeros | chunk_map.Row, objects: Sequence[chunk_map.Object]
             ) -> None:
        if isinstance(item, chunk_map.Zeros):
            self._map.add_zeros(item.chunks)
            return
        used = [(objects[number], blocks) for number, blocks in item.references]
        self._objects.described.update((each.name, each) for each, _ in used)
        self._map.add(map_writer.Row(
            objects[item.object].name, item.offset, item.length, item.table_digest,
            item.chunk_digest, {each.name: blocks for each, blocks in used}))

    def _map_numbers(self) -> Iterator[int]:
        return itertools.repeat(self._run_number)

    def _builds_on_parent(self) -> bool:
        return True


def _run_number(attempt: int, number: int) -> int:
    if attempt > _MOST_ATTEMPTS:
        raise exceptions.InvalidBackup(
            f'a part of it was interrupted {_MOST_ATTEMPTS} times: make a new backup')
    return attempt * _RUNS + number


def _as_planned(choices: base.Choices, split: Split) -> base.Choices:
    """The configuration of who works on a part may be another one by now."""
    return dataclasses.replace(
        choices, chunk_size=split.chunk_size, block_size=split.block_size, digest=split.digest,
        compression=split.compression)
