"""Taking a backup in format 2.0.0.

Chunks are looked at by any thread, in any order. One with much that is new becomes an object of its
own, stored while its frames are made; what is new in others waits in memory until some MiB make an
object. The rows of the map are written in the order of the volume, so those behind a chunk that
waits wait with it.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import functools
import hashlib
import itertools
from typing import Any

from backup_framework import exceptions, store
from backup_framework.formats import base
from backup_framework.formats.v2 import (
    changes,
    chunk_map,
    compaction,
    gathering,
    layout,
    manifest,
    names,
    owner,
    scan,
    sealer,
    sealing,
)
from backup_framework.formats.v2 import choices as choosing
from backup_framework.formats.v2.duplicates import Index
from backup_framework.formats.v2.frames import Packer, Packing, Work
from backup_framework.formats.v2.map_writer import MapWriter, Row, Stored
from backup_framework.formats.v2.objects import Objects, Payload
from backup_framework.formats.v2.packing import New
from backup_framework.formats.v2.parent import Parent, Rows
from backup_framework.formats.v2.resumed import Found, Resumed
from backup_framework.formats.v2.shared import Shared
from backup_framework.formats.v2.state import State
from backup_framework.model import Extent

SMALL = 4 << 20
"""Bytes of new frames from which on a chunk gets an object of its own."""
HOLE_CHUNKS = 1 << 14
"""Chunks of a hole that come as one."""
_BLOCK_COST = 512
"""Bytes of memory for each block of a chunk that is worked on."""


class ChunkWriter:
    """See `formats.base.ChunkWriter`.

    :param parent: of the same container and size; None makes a full backup.
    :param size: of the volume; None where only its end will tell.
    :param joins: see `Sealer`.
    :raises InvalidName: no backup can have this prefix.
    """

    def __init__(self, container: store.Container, prefix: str, header: base.Header,
                 choices: base.Choices, parent: State | None, size: int | None, *,
                 joins: bool = False) -> None:
        self.notes: list[str] = []
        self._bad = frozenset(choices.bad_objects)
        self._is_damaged = self._is_unfit = False
        self._container, self._header = container, header
        self._prefix = names.check_prefix(prefix)
        self.size = size
        self._parent: Parent | None = None
        if parent is None:
            self.parameters = choosing.check(choices)
        else:
            self.parameters, self.notes = choosing.of_parent(choices, parent.reader)
            _check_parent(parent, container, size, choices)
            self._parent = Parent(parent.reader, choices.spool_directory)
        self._size = 0
        self._scanner = scan.Scanner(
            self.parameters.algorithm, self.block_size, self.chunk_size)
        self._first_map = 1
        self._left: Sequence[str] = ()
        self._sealer = sealer.Sealer(container, prefix, choices, self._parent, joins=joins)
        self.notes += self._sealer.notes
        self._objects = Objects(container, prefix, self.parameters.algorithm,
                                self._sealer.data_key)
        with contextlib.ExitStack() as opened:
            if self._parent is not None:
                opened.callback(self._parent.close)
            uses: dict[str, chunk_map.Object] = {}
            self._renewed = self._to_be_renewed(uses)
            self._resumed = self._take_up(choices, size, uses, opened) if choices.resume else None
            self._index = self._find_duplicates(choices, opened)
            self._map = MapWriter(self.parameters.algorithm, self._objects.described,
                                  choices.spool_directory)
            opened.callback(self._map.close)
            self._opened = opened.pop_all()
        self._packer = Packer(self._scanner, self.parameters.compression, self._index,
                              self._renewed, self._sealer.data_key is not None)
        self._gathering = gathering.Gathering(self._objects, self._map, self._index)

    @property
    def chunk_size(self) -> int:
        return self.parameters.chunk_size

    @property
    def block_size(self) -> int:
        return self.parameters.block_size

    @property
    def largest_hole(self) -> int:
        return self.chunk_size * HOLE_CHUNKS

    @property
    def largest_object(self) -> int:
        blocks = self.chunk_size // self.block_size
        beside = layout.largest_table(blocks) + (blocks + 1) * sealing.OVERHEAD
        return max(self.chunk_size, gathering.GATHERED + SMALL) + beside

    def _to_be_renewed(self, uses: dict[str, chunk_map.Object]) -> Collection[str]:
        """Objects that are mostly dead, or bad, whose blocks are stored anew.

        :param uses: learns of all objects of the parent that may be referred to, by name.
        """
        if self._parent is None:
            return self._bad
        committed = {name.removesuffix(base.MANIFEST)
                     for name in self._container.names('', base.MANIFEST)}
        rows = self._parent.rows()
        chosen = compaction.choose(rows, committed)
        uses.update((each.name, each) for each in rows.objects if each.name not in self._bad)
        gone = _gone(self._container, _by_prefix(uses))
        if gone:
            raise exceptions.MissingObject(
                f'object {gone[0]} of container {self._container.name}, which backup '
                f'{self._parent.reader.header.backup_id} needs, is missing')
        return chosen | self._bad

    def _find_duplicates(self, choices: base.Choices, opened: contextlib.ExitStack
                         ) -> Index | None:
        if choices.duplicates == 'none':
            return None
        if choices.duplicates == 'volume':
            return Index(choices.index_size)
        shared = Shared(self._container, self.parameters.algorithm, self.block_size,
                        choices.cache_directory, self._header.owner, self._renewed,
                        self._objects.described, self._sealer.keyring)
        opened.callback(shared.close)
        self._sealer.others = shared.keys
        return Index(choices.index_size, shared.find)

    def _take_up(self, choices: base.Choices, size: int | None,
                 uses: Mapping[str, chunk_map.Object], opened: contextlib.ExitStack) -> Resumed:
        """What an interrupted run stored; no name of it, or of what it sent last, comes again."""
        found = Resumed(self._container, self._prefix, self._earlier_names(), self.parameters,
                        size, uses, self._sealer, choices.spool_directory)
        opened.callback(found.close)
        self._objects.begin_at(found.first_number)
        self._first_map, self._left = found.first_map, found.left
        return found

    def _earlier_names(self) -> list[str]:
        """The names of what earlier runs may have stored."""
        return self._container.names(self._prefix)

    def begin(self) -> None:
        """Keep the keys, durable before anything is sealed with them."""
        self._sealer.begin()

    def stored_before(self) -> Iterator[base.Task]:
        return self._resumed.tasks() if self._resumed else iter(())

    def tasks(self, chunks: Iterable[base.Chunk]) -> Iterator[base.Task]:
        self.begin()
        rows = Rows(self._parent.rows()) if self._parent else None
        for chunk in chunks:
            self._size += chunk.length
            number, count = chunk.offset // self.chunk_size, -(-chunk.length // self.chunk_size)
            if rows:
                rows.skip(number - rows.position)
            if chunk.read is None:
                run = functools.partial(gathering.Zeros, count)
                yield base.Task(chunk.length, 0, run)
            else:
                known = self._known(number, chunk.length, rows) if rows else None
                yield base.Task(chunk.length, self._cost(chunk.length),
                                functools.partial(self._run, number, chunk, known))

    def _cost(self, length: int) -> int:
        return self._scanner.unit + SMALL + self._scanner.blocks(length) * _BLOCK_COST

    def _known(self, number: int, length: int, rows: Rows) -> changes.Known | None:
        """What the parent has there; None where it ends before, or somewhere inside."""
        assert self._parent is not None
        row = rows.take()
        if self._parent.reader.chunk_length(number) != length:
            return None
        return changes.Known(self._parent, row, rows.objects)

    def _run(self, number: int, chunk: base.Chunk, known: changes.Known | None
             ) -> gathering.Result:
        if self._resumed and (stored := self._resumed.known(number, chunk.length)):
            # What it says was read from the volume: so is what it is compared with, all of it.
            known, chunk = stored, dataclasses.replace(chunk, changed=None)
        same = self._same(known) if known and known.row else None
        work = changes.work(number, chunk, known, self._scanner, self._renewed,
                            self._tell_damage)
        if work is None:
            assert same is not None
            return same
        if work.old and self._index is not None:
            self._index.add({found: place for found, place in zip(*work.old)
                             if place and place[0].object not in self._renewed})
        return self._container.retry(functools.partial(self._attempt, work, same))

    def _tell_damage(self, error: exceptions.FormatError) -> None:
        if not self._is_damaged and error.name not in self._bad:
            self._is_damaged = True
            self.notes.append(
                f'{error}. This chunk is stored anew, but chunks that did not change may need what '
                'is damaged: verify this backup, and make a full one if that fails')

    def _same(self, known: changes.Known) -> Row:
        """The parent's row, its objects by their names, which may be referred to from now on."""
        row = known.row
        assert row is not None
        used = [(known.objects[number], blocks) for number, blocks in row.references]
        self._objects.described.update((described.name, described) for described, _ in used)
        return Row(known.objects[row.object].name, row.offset, row.length, row.table_digest,
                   row.chunk_digest, {described.name: blocks for described, blocks in used})

    def _attempt(self, work: Work, same: Row | None) -> gathering.Result:
        """Look at a chunk and store it, or hand back the little that is new."""
        packing = Packing(self._packer, work)
        with contextlib.closing(packing.frames()) as frames:
            gathered, size = collections.deque[New](), 0
            for frame, data in frames:
                gathered.append((frame, bytes(data)))
                size += len(data)
                if size >= SMALL:
                    break
            else:
                if packing.is_zero:
                    return gathering.Zeros(1)
                if same and packing.is_as_before and self._bad.isdisjoint(same.uses):
                    return same
                return Payload(gathered, packing.contents(), packing.found)
            row = self._objects.put_stream(
                work.number, itertools.chain(_emptying(gathered), frames), packing.contents)
        if self._index is not None:
            self._index.add(packing.found)
        return row

    def is_as_parent(self, extent: Extent, data: memoryview) -> bool:
        assert self._parent is not None
        try:
            return self._parent.is_there(extent, self.parameters.algorithm.of(data))
        except exceptions.FormatError as error:
            if error.name in self._bad:
                return True  # nobody can tell, and the chunk is read as a whole anyway
            raise

    def add(self, result: Any) -> None:
        if isinstance(result, Found):
            self._learn(result)
        else:
            self._gathering.add(result)

    def _learn(self, found: Found) -> None:
        assert self._resumed is not None
        self._resumed.add(found)
        if found.described is not None:
            self._objects.described[found.described.name] = found.described
            if self._index is not None and found.described.name not in self._renewed:
                self._index.add(found.places)
        if found.problem and not self._is_unfit:
            self._is_unfit = True
            self.notes.append(f'not all that was stored before could be kept: {found.problem}')

    def store_map(self, numbers: Iterator[int], tick: base.Tick) -> Stored:
        """Store the rows of all chunks that were added, in a map."""
        self._gathering.flush()
        self._map.end()
        return self._map.store(self._container, self._prefix, self._sealer.data_key, numbers, tick)

    def require_objects(self, *own: str) -> None:
        """All that the map names must be there still, and these: somebody may have tidied up in the
        store meanwhile."""
        needed = _by_prefix(self._map.names)
        needed.setdefault(self._prefix, set()).update(own)
        missing = _gone(self._container, needed)
        if missing:
            raise exceptions.StoreError(
                f'{len(missing)} objects that this backup needs in container '
                f'{self._container.name} are gone, {missing[0]} among them: something removes '
                'files of the store while backups run')

    def close(self) -> None:
        self._opened.close()


class Writer(ChunkWriter):
    """See `formats.base.Writer`."""

    def finish(self, tick: base.Tick) -> base.Totals:
        """Everything that the manifest leads to is durable and there before it is written."""
        stored_map = self.store_map(self._map_numbers(), tick)
        references = {names.prefix_of(name) for name in self._map.names} - {self._prefix}
        keys = self._sealer.end(references)
        self._container.sync()
        tick()
        self.require_objects(stored_map.name, *keys)
        own = [self._objects.described[name] for name in self._map.names
               if names.prefix_of(name) == self._prefix]
        stored_bytes = sum(each.length for each in own) + stored_map.length
        parent_id = self._header.parent_id if self._builds_on_parent() else None
        header = dataclasses.replace(
            self._header, size=self._size, stored_bytes=stored_bytes, parent_id=parent_id)
        document = manifest.dump(header, manifest.Parameters(
            self.chunk_size, self.block_size, self.parameters.algorithm.name,
            self.parameters.compression, *stored_map, sorted(references), len(own)),
            self._prefix, self._sealer.data_key)
        # Again, because the mark went with what was the last backup, or somebody took it over.
        owner.claim(self._container, self._header.owner)
        tick()
        stored_bytes += self._container.put(
            names.manifest_name(self._prefix), lambda: [document])
        self._container.sync()
        return base.Totals(
            len(own), self._size, stored_bytes, parent_id, hashlib.sha256(document).hexdigest(),
            [name for name in self._left if name not in self._map.names])

    def _map_numbers(self) -> Iterator[int]:
        """Of the attempts at the map."""
        return itertools.count(self._first_map)

    def _builds_on_parent(self) -> bool:
        return self._parent is not None and self._parent.reader.size == self._size


def _by_prefix(wanted: Iterable[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name in wanted:
        found.setdefault(names.prefix_of(name), set()).add(name)
    return found


def _gone(container: store.Container, needed: Mapping[str, set[str]]) -> list[str]:
    """Those of these objects, which are told by their prefixes, that the container lacks."""
    return [name for prefix, wanted in needed.items()
            for name in sorted(wanted.difference(container.names(prefix)))]


def _emptying(frames: collections.deque[New]) -> Iterator[New]:
    """The frames, each let go when the next one is asked for."""
    while frames:
        yield frames.popleft()


def _check_parent(parent: State, container: store.Container, size: int | None,
                  choices: base.Choices) -> None:
    """:raises InvalidBackup: a backup cannot be built on this one."""
    reader = parent.reader
    if reader.header.sealed != choices.seals:
        raise exceptions.InvalidBackup(
            f'backup {reader.header.backup_id} is not sealed, and new backups are'
            if choices.seals else
            f'backup {reader.header.backup_id} is sealed, and new backups are not')
    if reader.container.name != container.name:
        raise exceptions.InvalidBackup(
            f'backup {reader.header.backup_id} is in container {reader.container.name}: a backup '
            f'in container {container.name} cannot build on it')
    if size is not None and size != reader.size:
        raise exceptions.InvalidBackup(
            f'the volume has {size} bytes and had {reader.size} at backup '
            f'{reader.header.backup_id}')
