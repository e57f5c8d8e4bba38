"""What an interrupted run of a backup has stored, found again without its map.

The footer of each data object says where its block tables are. All of it is untrusted: an object
counts only if its header, its footer and its tables agree, and one of its frames, chosen at random,
is what its table tells. A chunk is kept only while the volume's blocks have the digests that its
table tells, and while all objects that the table uses may be referred to: those of the same run,
those that the parent uses, and those of backups that are committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
import contextlib
import functools
import random
import secrets
from typing import NamedTuple

from backup_framework import exceptions, spool, store
from backup_framework.formats import base
from backup_framework.formats.v2 import (
    changes,
    chunk_map,
    frames,
    layout,
    names,
    packing,
    reader,
    sealing,
)
from backup_framework.formats.v2.choices import Parameters
from backup_framework.formats.v2.map_writer import Row
from backup_framework.formats.v2.sealer import Sealer

GAP = 1000
"""Numbers that are passed over: what the run that died sent last may still arrive. As many more
are chosen at random, for the one of several such runs that stored nothing."""
_MAP_GAP = 50
_MOST_TABLES = 16 << 20
"""Bytes of the block tables of one object, beside a table as large as can be."""
_COST = 1 << 20


class Found(NamedTuple):
    """What there is in an object.

    :param described: None where nothing of it is used.
    :param rows: the chunks that have their tables in it, with their numbers.
    :param ends: for each object that the tables use, how many bytes it has at least.
    :param places: of the blocks in it, by their digests.
    :param problem: why it, or a part of it, is not used; a clause.
    """

    described: chunk_map.Object | None
    rows: Sequence[tuple[int, Row]] = ()
    ends: Mapping[str, int] = {}
    places: Mapping[bytes, packing.Place] = {}
    problem: str | None = None


class Resumed:
    """The objects of an interrupted run. Look at them with `tasks`, take the results in with `add`,
    then ask for chunks, from any thread. Close it.

    :ivar left: the names of its data objects and maps.
    :ivar first_number: of the next data object; no attempt had it, or a later one.
    :ivar first_map: likewise of the map.
    :param stored: the names of what it may have stored.
    :param size: of the volume; None where it is not known yet.
    :param referable: objects of others that may be referred to in any case.
    :param sealer: opens what is sealed.
    :raises InvalidBackup: no names are left for it.
    """

    def __init__(self, container: store.Container, prefix: str, stored: Collection[str],
                 parameters: Parameters, size: int | None,
                 referable: Mapping[str, chunk_map.Object], sealer: Sealer,
                 spool_directory: str | None) -> None:
        self._data = sorted((name for name in stored if names.is_data(prefix, name)),
                            key=names.number_of)
        maps = [name for name in stored if names.is_map(prefix, name)]
        self.left = [*self._data, *maps]
        self.first_number = 1 + GAP + secrets.randbelow(GAP) + (
            names.number_of(self._data[-1]) if self._data else 0)
        self.first_map = 1 + secrets.randbelow(_MAP_GAP) + max(
            (names.attempt_of(prefix, name) for name in maps), default=0)
        if (self.first_map > names.LAST_ATTEMPT * 9 // 10
                or self.first_number > names.LAST_NUMBER * 9 // 10):
            raise exceptions.InvalidBackup(
                'it was interrupted too often to go on with: delete it, and make a new one')
        self._container, self._parameters, self._size = container, parameters, size
        self._referable = dict(referable)
        self._sealer = sealer
        self._directory = spool_directory
        self._numbers: dict[str, int] = {}
        self._objects: list[chunk_map.Object] = []
        self._needed: list[int] = []
        self._spool = spool.Spool(spool_directory)
        self._end = 0
        self._rows: dict[int, int] = {}

    def close(self) -> None:
        self._spool.close()

    def tasks(self) -> Iterator[base.Task]:
        """Looking at each object, the oldest first."""
        for name in self._data:
            yield base.Task(0, _COST, functools.partial(self.look, name))

    def look(self, name: str) -> Found:
        """What there is in an object."""
        try:
            return self._look(name)
        except (exceptions.CorruptObject, exceptions.KeyUnavailable) as error:
            return Found(None, problem=f'object {name} cannot be used: {error}')
        except exceptions.StoreError as error:
            if error.retryable:
                raise
            return Found(None, problem=f'object {name} cannot be read: {error}')

    def _look(self, name: str) -> Found:
        length = self._container.size(name)
        with self._container.ranges(name, self._directory) as ranges:
            header = ranges.read_at(0, layout.HEADER_SIZE)
            told = layout.decode_header(header)
            size = layout.footer_size(told.tables)
            end = length - size
            if end < layout.HEADER_SIZE:
                raise exceptions.CorruptObject('it is shorter than its header tells')
            footer = ranges.read_at(end, size)
            items = layout.decode_footer(footer, end, names.number_of(name))
            start = self._check_items(items, end)
            data = ranges.read_at(start, end - start)
            object_digest = self._parameters.algorithm.of_all(header, footer)
            cipher = self._sealer.cipher(name, told.salt)
            found = _Tables(self._parameters, name, length, start, object_digest, cipher)
            for item in items:
                found.add(item, self._length(item.chunk), data[item.offset - start:][:item.length])
            found.check_one(ranges)
        return found.found()

    def _check_items(self, items: Sequence[layout.FooterItem], end: int) -> int:
        """Where the tables begin; they fill what is between the frames and the footer."""
        blocks = self._parameters.chunk_size // self._parameters.block_size
        most = _MOST_TABLES + layout.largest_table(blocks)
        at = start = items[0].offset
        last = -1
        for item in items:
            if item.offset != at or item.chunk <= last:
                raise exceptions.CorruptObject('its footer tells block tables out of order')
            at, last = at + item.length, item.chunk
        if at != end or end - start > most:
            raise exceptions.CorruptObject('its block tables do not fill their room')
        return start

    def _length(self, chunk: int) -> int:
        """Bytes of a chunk; 0 where the volume has none of that number."""
        size = self._parameters.chunk_size
        return size if self._size is None else max(0, min(size, self._size - chunk * size))

    def add(self, found: Found) -> None:
        """Take in what was found, in the order of the tasks: the newest table of a chunk counts."""
        if found.described is None:
            return
        self._objects[self._number(found.described.name)] = found.described
        self._referable[found.described.name] = found.described
        for name, end in found.ends.items():
            number = self._number(name)
            self._needed[number] = max(self._needed[number], end)
        for chunk, row in found.rows:
            record = chunk_map.encode_row(chunk_map.Row(
                self._number(row.object), row.offset, row.length, row.table_digest,
                row.chunk_digest, [(self._number(name), used) for name, used in row.uses.items()]))
            self._spool.write(self._end, record)
            self._rows[chunk] = self._end
            self._end += len(record)

    def _number(self, name: str) -> int:
        if name not in self._numbers:
            self._numbers[name] = len(self._objects)
            self._objects.append(chunk_map.Object(name, 0, chunk_map.LARGEST))
            self._needed.append(0)
        return self._numbers[name]

    def known(self, chunk: int, length: int) -> changes.Known | None:
        """What was stored of a chunk, as far as it may be referred to; any thread."""
        position = self._rows.get(chunk)
        if position is None or length != self._length(chunk):
            return None
        file = reader.rows_file(self._spool, position)
        rows = chunk_map.Rows(file, self._parameters.algorithm, None)
        rows.objects = self._objects
        row = next(rows.again(file))
        assert isinstance(row, chunk_map.Row)
        if all(self._may_refer(number) for number, _ in row.references):
            return changes.Known(self, row, self._objects)
        return None

    def _may_refer(self, number: int) -> bool:
        described = self._objects[number]
        name = described.name
        if name not in self._referable:
            # Two threads may both look: they find the same.
            committed = names.prefix_of(name) in self._committed
            found = self.look(name).described if committed else None
            self._referable[name] = found or chunk_map.Object(name, 0, -1)
        self._objects[number] = described = self._referable[name]
        return described.length >= self._needed[number]

    @functools.cached_property
    def _committed(self) -> frozenset[str]:
        """Those that are deleted from now on keep their objects until this backup has ended."""
        return frozenset(name.removesuffix(base.MANIFEST)
                         for name in self._container.names('', base.MANIFEST))

    def old(self, number: int, row: chunk_map.Row, objects: Sequence[chunk_map.Object]
            ) -> frames.Old:
        """A chunk's blocks by its table."""
        name = objects[row.object].name
        with _told(name), self._container.ranges(name, self._directory) as ranges:
            data = ranges.read_at(row.offset, row.length)
            if self._parameters.algorithm.of(data) != row.table_digest:
                raise exceptions.CorruptObject('its block table is not what it was just now')
            header = layout.decode_header(ranges.read_at(0, layout.HEADER_SIZE))
            return frames.old_of(_table(
                data, layout.FooterItem(number, row.offset, row.length), self._length(number),
                self._parameters, self._sealer.cipher(name, header.salt)), name)


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except exceptions.CorruptObject as error:
        raise exceptions.CorruptObject(f'object {name} is damaged: {error}') from None
    except (exceptions.ObjectNotFound, exceptions.ContainerNotFound):
        raise exceptions.MissingObject(f'object {name} is missing') from None


def _table(data: bytes, item: layout.FooterItem, length: int, parameters: Parameters,
           cipher: sealing.Cipher | None) -> layout.Table:
    """A block table as it is stored, opened where it is sealed."""
    overhead = 0
    if cipher is not None:
        data, overhead = cipher.open(sealing.TABLE, item.offset, data), sealing.OVERHEAD
    return layout.decode_table(data, item.chunk, length, parameters.block_size, overhead)


class _Tables:
    """The block tables of one object, checked one after the other.

    :param start: where they begin: the frames of the object end there.
    :param object_digest: of its header and its footer.
    :param cipher: what it is sealed with, if it is.
    """

    def __init__(self, parameters: Parameters, name: str, length: int, start: int,
                 object_digest: bytes, cipher: sealing.Cipher | None) -> None:
        self._parameters = parameters
        self._cipher = cipher
        self._name, self._length, self._start = name, length, start
        self._digest = object_digest
        self._rows: list[tuple[int, Row]] = []
        self._ends: dict[str, int] = {}
        self._places: dict[bytes, packing.Place] = {}
        self._fresh: dict[int, layout.Frame] = {}
        self._problem: str | None = None

    def add(self, item: layout.FooterItem, length: int, data: bytes) -> None:
        """Take a table in, if it can be one.

        :param length: of its chunk; 0 where there is none.
        """
        try:
            if not length:
                raise exceptions.CorruptObject('the volume ends before its chunk')
            self._add(item, length, data)
        except exceptions.CorruptObject as error:
            self._problem = f'chunk {item.chunk} in object {self._name} cannot be used: {error}'

    def _add(self, item: layout.FooterItem, length: int, data: bytes) -> None:
        of = self._parameters.algorithm.of
        table = _table(data, item, length, self._parameters, self._cipher)
        if table.object_digest != self._digest:
            raise exceptions.CorruptObject(
                'its block table is of another object, or made with another digest')
        reader.check_zeros(table, self._parameters.algorithm, self._parameters.block_size, length)
        used = [self._name, *table.names]
        if len(set(used)) != len(used):
            raise exceptions.CorruptObject('its block table names an object twice')
        uses, ends = {self._name: 0}, dict[str, int]()
        blocks = Counter(table.frame_of)
        for at, frame in enumerate(table.frames):
            name = used[frame.object]
            names.prefix_of(name)
            uses[name] = uses.get(name, 0) + blocks[at]
            ends[name] = max(ends.get(name, 0), frame.offset + frame.stored)
        if ends.get(self._name, 0) > self._start:
            raise exceptions.CorruptObject('one of its frames is behind the frames of its object')
        self._fresh |= {frame.offset: frame for frame in table.frames if frame.object == 0}
        for name, end in ends.items():
            self._ends[name] = max(self._ends.get(name, 0), end)
        self._places |= {found: place for found, place in zip(*frames.old_of(table, self._name))
                         if place and place[0].object == self._name}
        self._rows.append((item.chunk, Row(
            self._name, item.offset, item.length, of(data), of(table.digests), uses)))

    def check_one(self, ranges: store.Ranges) -> None:
        """One of the frames at random: what a power cut spoilt is mostly spoilt as a whole."""
        if self._fresh:
            frame = random.choice(list(self._fresh.values()))
            stored = ranges.read_at(frame.offset, frame.stored)
            if self._parameters.algorithm.of(stored) != frame.digest:
                raise exceptions.CorruptObject(
                    f'the digest of its frame at byte {frame.offset} is not the one in the block '
                    'table')

    def found(self) -> Found:
        if not self._rows:
            return Found(None, problem=self._problem)
        size = self._parameters.block_size
        blocks = sum(-(-frame.plain // size) for frame in self._fresh.values())
        return Found(chunk_map.Object(self._name, blocks, self._length), self._rows, self._ends,
                     self._places, self._problem)
