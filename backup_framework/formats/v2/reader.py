"""Reading what describes a backup of format 2.0.0: manifest, map, block tables, footers.

Everything is checked before it is used: the manifest by its own digest, the map by the manifest's,
each table by the map's, each block by its table's.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import functools
import io
from typing import Any

from backup_framework import exceptions, spool, store
from backup_framework.formats import base
from backup_framework.formats.keyring import Keyring
from backup_framework.formats.v2 import (
    chunk_map,
    digest,
    key_sets,
    layout,
    manifest,
    names,
    sealing,
    segments,
)

_PIECE = 1 << 20
_BUFFERED = 1 << 16
_MOST_CIPHERS = 4096


class Reader:
    """One backup. See `formats.base.Reader`.

    :param document: the bytes of the manifest.
    :param members: of the manifest, as `versions.parse` gives them.
    :param keyring: what may open a sealed backup.
    :ivar keys: of a sealed backup: the data keys of all backups whose objects it uses, by their
        prefixes.
    :raises CorruptManifest: it is not what was stored, or breaks the format.
    :raises UnsupportedVersion: this release cannot read it.
    :raises KeyUnavailable: it is sealed for others.
    """

    def __init__(self, container: store.Container, prefix: str, document: bytes,
                 members: dict[str, Any], keyring: Keyring | None = None) -> None:
        self.keys: Mapping[str, bytes] | None = None
        if manifest.check(document, members):
            self.keys = key_sets.read(container, prefix, keyring).keys
            members = manifest.opened(document, members, prefix, self.keys[prefix])
        self.header, found = manifest.read(members, prefix)
        self.container = container
        self.prefix = prefix
        self.size = self.header.size or 0
        self.chunk_size = found.chunk_size
        self.block_size = found.block_size
        self.compression = found.compression
        self.algorithm = digest.algorithm(found.digest)
        self.references = list(found.references)
        self.map_name = found.map_name
        self.map_length = found.map_length
        self.map_digest = found.map_digest
        self.object_count = found.object_count
        self._ciphers: dict[str, sealing.Cipher] = {}
        self._called = f'object {self.map_name} of container {container.name} (the map)'
        self._check_keys()

    def _check_keys(self) -> None:
        lacking = {self.prefix, *self.references} - set(self.keys or ())
        if self.keys is not None and lacking:
            raise exceptions.CorruptObject(
                f'the keys of the backup with prefix {self.prefix} of container '
                f'{self.container.name} lack that of {min(lacking)}, whose objects it uses')

    @property
    def overhead(self) -> int:
        """Bytes that what is stored is longer than what it was made of."""
        return 0 if self.keys is None else sealing.OVERHEAD

    @property
    def chunks(self) -> int:
        return -(-self.size // self.chunk_size)

    def chunk_length(self, index: int) -> int:
        return min(self.chunk_size, self.size - index * self.chunk_size)

    @contextlib.contextmanager
    def open_rows(self, spool_directory: str | None = None) -> Iterator[chunk_map.Rows]:
        """The map, verified before its first row is given; may be opened several times.

        What the rows say is checked while they are read.

        :raises CorruptObject: it is not what was stored.
        :raises MissingObject: it is gone.
        """
        with contextlib.closing(self.spool_map(spool_directory)) as spooled:
            yield self.rows(spooled)

    def spool_map(self, spool_directory: str | None = None) -> spool.Spool:
        """The map in a temporary file, which the caller closes, verified."""
        stored = _filled(spool_directory, self._fetch_map)
        if self.keys is None:
            return stored
        with contextlib.closing(stored):
            return _filled(spool_directory, functools.partial(self._open_map, stored))

    def _open_map(self, stored: spool.Spool, spooled: spool.Spool) -> None:
        """Open a sealed map, of which the stored bytes are verified."""
        assert self.keys is not None
        position = 0
        try:
            for piece in segments.opened(rows_file(stored), self.keys[self.prefix], self.map_name):
                spooled.write(position, piece)
                position += len(piece)
        except exceptions.CorruptObject as error:
            raise self._of_map(exceptions.CorruptObject, f'is damaged: {error}') from None

    def _fetch_map(self, spooled: spool.Spool) -> None:
        hasher, position = self.algorithm.new(), 0
        try:
            with self.container.open(self.map_name) as reader:
                while piece := reader.read(min(_PIECE, self.map_length + 1 - position)):
                    hasher.update(piece)
                    spooled.write(position, piece)
                    position += len(piece)
        except (exceptions.ObjectNotFound, exceptions.ContainerNotFound):
            raise self._of_map(exceptions.MissingObject, 'is missing') from None
        if position != self.map_length:
            has = f'{position} bytes' if position < self.map_length else 'more bytes'
            raise self._of_map(exceptions.CorruptObject,
                               f'is damaged: it has {has} instead of {self.map_length}')
        if hasher.digest() != self.map_digest:
            raise self._of_map(exceptions.CorruptObject,
                               'is damaged: its digest is not the one in the manifest')

    def _of_map(self, kind: type[exceptions.FormatError], what: str) -> exceptions.FormatError:
        return kind(f'{self._called} {what}', container=self.container.name, name=self.map_name)

    def rows(self, spooled: spool.Spool) -> chunk_map.Rows:
        """The rows of a map that was spooled."""
        return chunk_map.Rows(rows_file(spooled), self.algorithm, self.chunks,
                              {self.prefix, *self.references}, self._called)

    def table(self, index: int, row: chunk_map.Row, objects: Sequence[chunk_map.Object],
              ranges: store.Ranges | None = None) -> layout.Table:
        """The block table of a chunk, verified.

        :param objects: of the map that the row is from.
        :param ranges: of the object that has the table, where that is open already.
        :raises CorruptObject: it is not what was stored.
        :raises MissingObject: its object is gone.
        """
        with self.told(objects[row.object].name, index):
            self._check_place(index, row)
            if ranges is not None:
                data = self._table_bytes(row, ranges)
            else:
                with self.container.ranges(objects[row.object].name) as opened:
                    data = self._table_bytes(row, opened)
            table = layout.decode_table(data, index, self.chunk_length(index), self.block_size,
                                        self.overhead)
            if self.algorithm.of(table.digests) != row.chunk_digest:
                raise exceptions.CorruptObject(
                    'the digests in its block table are not those that the map tells')
            _check_references(table, row, objects)
            check_zeros(table, self.algorithm, self.block_size, self.chunk_length(index))
        return table

    def _table_bytes(self, row: chunk_map.Row, ranges: store.Ranges) -> bytes:
        data = ranges.read_at(row.offset, row.length)
        if self.algorithm.of(data) != row.table_digest:
            raise exceptions.CorruptObject(
                'the digest of its block table is not the one in the map')
        return data if self.keys is None else self.opened(sealing.TABLE, row.offset, data, ranges)

    def opened(self, kind: bytes, offset: int, data: bytes | memoryview, ranges: store.Ranges
               ) -> bytes:
        """What is sealed in an object of a sealed backup; any thread.

        :raises CorruptObject: it is not what was sealed there.
        """
        cipher = self._ciphers.get(ranges.name)
        if cipher is None:
            cipher = self._cipher(ranges)
            if len(self._ciphers) >= _MOST_CIPHERS:
                self._ciphers = {}
            self._ciphers[ranges.name] = cipher
        return cipher.open(kind, offset, data)

    def _cipher(self, ranges: store.Ranges) -> sealing.Cipher:
        salt = layout.decode_header(ranges.read_at(0, layout.HEADER_SIZE)).salt
        if salt is None:
            raise exceptions.CorruptObject('it is not sealed, as its backup is')
        assert self.keys is not None
        return sealing.cipher_of(self.keys[names.prefix_of(ranges.name)], salt, ranges.name)

    def _check_place(self, index: int, row: chunk_map.Row) -> None:
        blocks = -(-self.chunk_length(index) // self.block_size)
        if row.offset < layout.HEADER_SIZE or (
                row.length > layout.largest_table(blocks) + self.overhead):
            raise exceptions.CorruptObject('the map tells an impossible place of its block table')

    @contextlib.contextmanager
    def told(self, name: str, index: int) -> Iterator[None]:
        """Say of what is wrong with an object which it is, and which bytes need it."""
        start = index * self.chunk_size
        place = (f'object {name} of container {self.container.name} (chunk {index}, bytes {start} '
                 f'to {start + self.chunk_length(index)} of the volume)')
        try:
            yield
        except exceptions.CorruptObject as error:
            raise exceptions.CorruptObject(f'{place} is damaged: {error}',
                                           container=self.container.name, name=name) from None
        except (exceptions.ObjectNotFound, exceptions.ContainerNotFound):
            raise exceptions.MissingObject(f'{place} is missing',
                                           container=self.container.name, name=name) from None
        except exceptions.StoreError as error:
            if not base.is_of_object(error):
                raise
            raise exceptions.CorruptObject(f'{place} cannot be read: {error}',
                                           container=self.container.name, name=name) from error


def _filled(directory: str | None, fill: Callable[[spool.Spool], None]) -> spool.Spool:
    """A temporary file with something in it."""
    spooled = spool.Spool(directory)
    try:
        fill(spooled)
    except BaseException:
        spooled.close()
        raise
    return spooled


def rows_file(spooled: spool.Spool, position: int = 0) -> io.BufferedReader:
    """A spooled map as a file of its own, from a place on."""
    return io.BufferedReader(_SpoolFile(spooled, position), _BUFFERED)


class _SpoolFile(io.RawIOBase):
    """Reads a spool from a place on. It does not close it."""

    def __init__(self, spooled: spool.Spool, position: int) -> None:
        self._spool = spooled
        self._position = position

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._spool.read(self._position, len(buffer))
        buffer[:len(data)] = data
        self._position += len(data)
        return len(data)


def runs_of_zeros(frame_of: array[int]) -> Iterator[tuple[int, int]]:
    """Runs (first block, count) of blocks of zeros."""
    first = None
    for block, frame in enumerate(frame_of):
        if frame != layout.ZERO:
            if first is not None:
                yield first, block - first
                first = None
        elif first is None:
            first = block
    if first is not None:
        yield first, len(frame_of) - first


def check_zeros(table: layout.Table, algorithm: digest.Algorithm, block_size: int, length: int
                ) -> None:
    """What is said to be zeros has the digest of zeros.

    :param length: of the chunk.
    :raises CorruptObject: it has another one.
    """
    whole = algorithm.of_zeros(block_size)
    last = table.blocks - 1
    for first, count in runs_of_zeros(table.frame_of):
        expected = whole * count
        if first + count > last:
            expected = whole * (count - 1) + algorithm.of_zeros(length - last * block_size)
        if table.digests[first * digest.SIZE:(first + count) * digest.SIZE] != expected:
            raise exceptions.CorruptObject(
                'its block table gives blocks of zeros the digest of other bytes')


def _check_references(table: layout.Table, row: chunk_map.Row,
                      objects: Sequence[chunk_map.Object]) -> None:
    """The map tells exactly which objects the table uses; each frame is inside of its own."""
    own = objects[row.object]
    named = {objects[number].name: number for number, _ in row.references}
    if own.name in table.names or not all(name in named for name in table.names):
        raise exceptions.CorruptObject('its block table names objects that the map does not')
    numbers = [row.object, *(named[name] for name in table.names)]
    counted: dict[int, int] = {row.object: 0}
    blocks = Counter(table.frame_of)
    for at, frame in enumerate(table.frames):
        number = numbers[frame.object]
        if frame.offset + frame.stored > objects[number].length:
            raise exceptions.CorruptObject('one of its frames is behind the end of its object')
        counted[number] = counted.get(number, 0) + blocks[at]
    if len(set(numbers)) != len(numbers) or counted != dict(row.references):
        raise exceptions.CorruptObject(
            'its block table does not use the objects that the map tells')
