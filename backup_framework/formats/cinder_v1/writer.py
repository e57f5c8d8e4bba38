"""Taking a backup in format 1.0.0."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import dataclasses
import functools
import hashlib
import itertools

from backup_framework import exceptions, store
from backup_framework.formats import base, codec, digests, hash_list, manifest, pool
from backup_framework.formats.cinder_v1 import names, zeros
from backup_framework.formats.cinder_v1.state import State
from backup_framework.formats.manifest import StoredObject
from backup_framework.model import Extent

BLOCK_SIZE = base.BLOCK_SIZES[manifest.VERSION]
CHUNK_SIZE = 32 << 20
LARGEST_HOLE = 256 << 20

_ZEROS = memoryview(bytes(1 << 20))


@dataclasses.dataclass(frozen=True, slots=True)
class _Stored:
    """What storing one chunk came to."""

    digests: bytes
    length: int
    objects: list[StoredObject]
    stored_bytes: int


class Writer:
    """See `formats.base.Writer`. A task is a chunk, and each changed extent of it an object.

    Neighbouring chunks that are holes become one object of up to LARGEST_HOLE bytes; Cinder unpacks
    a whole object in memory, and its own chunks on file systems are seven times as large.
    """

    largest_hole = LARGEST_HOLE

    def __init__(self, container: store.Container, prefix: str, header: base.Header,
                 choices: base.Choices, parent: base.State | None, size: int | None) -> None:
        self.notes: list[str] = []
        _check_unsealed(choices, parent)
        self.block_size = choices.block_size or BLOCK_SIZE
        self.chunk_size = choices.chunk_size or max(
            self.block_size, CHUNK_SIZE // self.block_size * self.block_size)
        self.largest_object = self.chunk_size
        if self.chunk_size % self.block_size:
            raise exceptions.InvalidInput(f'chunk_size {self.chunk_size} is not a multiple of '
                                          f'block_size {self.block_size}')
        self._codec = codec.canonical(choices.compression)
        self._container = container
        self._prefix = prefix
        self._header = header
        self._parent = None if parent is None else self._fitting(parent, size, choices)
        self._spool = digests.Spool(self.block_size, choices.spool_directory)
        self._buffers = pool.Buffers()
        self._numbers = itertools.count(1)
        self._objects: list[StoredObject] = []
        self._size = 0
        self._stored_bytes = 0
        self._list_digest = hashlib.sha256()

    def _fitting(self, parent: base.State, size: int | None, choices: base.Choices
                 ) -> digests.Spool:
        """The parent's hash list.

        :raises InvalidBackup: nothing can be built on it.
        """
        told = f'backup {parent.header.backup_id}'
        if not isinstance(parent, State):
            raise exceptions.InvalidBackup(f'{told} has format {parent.header.version}')
        if size is None:
            raise exceptions.InvalidBackup(
                'the size of a stream is known at its end only, and format 1.0.0 has to know '
                'that it is the one of the parent')
        if size != parent.size:
            raise exceptions.InvalidBackup(
                f'the volume has {size} bytes and had {parent.size} at {told}')
        bad = parent.extents_of(choices.bad_objects)
        if bad:
            raise exceptions.InvalidBackup(
                f'{told} needs object {min(bad)}, which is marked as bad')
        known = parent.hash_list()
        if known is None:
            raise exceptions.InvalidBackup(f'{told} has no hash list')
        if known.block_size != self.block_size:
            raise exceptions.InvalidBackup(
                f'block_size is {self.block_size} and was {known.block_size} at {told}')
        if known.length != digests.count(size, known.block_size):
            raise exceptions.InvalidBackup(f'the hash list of {told} is not complete')
        return known

    def stored_before(self) -> Iterable[base.Task]:
        """Its objects do not tell which bytes they have."""
        return ()

    def tasks(self, chunks: Iterable[base.Chunk]) -> Iterator[base.Task]:
        for chunk in chunks:
            cost = 0
            if chunk.read:
                cost = chunk.length if self._codec == codec.NONE else 2 * chunk.length
            yield base.Task(chunk.length, cost, functools.partial(self._store, chunk))

    def is_as_parent(self, extent: Extent, data: memoryview) -> bool:
        if self._parent is None:
            return False
        old = self._parent.get(extent.offset // self.block_size, 1)
        return old == digests.of(data, self.block_size)

    def _store(self, chunk: base.Chunk) -> _Stored:
        if chunk.read is None:
            return self._store_data(
                chunk, None, digests.of_zeros(chunk.length, self.block_size))
        with self._buffers.one(chunk.length) as data:
            found = self._read(chunk, chunk.read, data)
            if found == digests.of_zeros(chunk.length, self.block_size):
                return self._store_data(chunk, None, found)
            return self._store_data(chunk, data, found)

    def _read(self, chunk: base.Chunk, read: base.Fill, data: memoryview) -> bytes:
        """Fill `data`, as far as it may have changed; gives the digests of the whole chunk."""
        parts, found = [Extent(chunk.offset, chunk.length)], bytearray()
        if self._parent is not None and chunk.changed is not None:
            parts = self._changed_parts(chunk, chunk.changed)
            found += self._parent.get(chunk.offset // self.block_size,
                                      digests.count(chunk.length, self.block_size))
        known = list(chunk.data()) if parts else []
        for part in parts:
            piece = data[part.offset - chunk.offset:part.end - chunk.offset]
            _fill(part, known, read, piece)
            first = (part.offset - chunk.offset) // self.block_size * digests.DIGEST_SIZE
            new = digests.of(piece, self.block_size)
            found[first:first + len(new)] = new
        return bytes(found)

    def _changed_parts(self, chunk: base.Chunk, changed: Iterable[Extent]) -> list[Extent]:
        """Whole blocks around the changed extents, and what would be stored between them."""
        block = self.block_size
        gap = digests.joined_gap(block) * block
        parts: list[tuple[int, int]] = []
        for extent in changed:
            start = extent.offset // block * block
            end = min(-(-extent.end // block) * block, chunk.end)
            if parts and start - parts[-1][1] <= gap:
                parts[-1] = (parts[-1][0], max(end, parts[-1][1]))
            else:
                parts.append((start, end))
        return [Extent(start, end - start) for start, end in parts]

    def _store_data(self, chunk: base.Chunk, data: memoryview | None, found: bytes) -> _Stored:
        objects, stored_bytes = [], 0
        for extent in self._new_extents(chunk, found):
            at = extent.offset - chunk.offset
            piece = None if data is None else data[at:at + extent.length]
            described, size = self._put(extent, piece)
            objects.append(described)
            stored_bytes += size
        return _Stored(found, chunk.length, objects, stored_bytes)

    def _new_extents(self, chunk: base.Chunk, found: bytes) -> list[Extent]:
        if self._parent is None:
            return [Extent(chunk.offset, chunk.length)]
        first = chunk.offset // self.block_size
        old = self._parent.get(first, len(found) // digests.DIGEST_SIZE)
        runs = digests.changed_runs(old, found, digests.joined_gap(self.block_size))
        return [self._extent(chunk, run) for run in runs]

    def _extent(self, chunk: base.Chunk, run: tuple[int, int]) -> Extent:
        start, blocks = run[0] * self.block_size, run[1] * self.block_size
        return Extent(chunk.offset + start, min(blocks, chunk.length - start))

    def _put(self, extent: Extent, data: memoryview | None) -> tuple[StoredObject, int]:
        name = names.data_name(self._prefix, next(self._numbers))
        body: codec.Buffer
        if data is None:
            marker, body = codec.ZSTD, codec.zero_body(extent.length)
            md5 = zeros.zero_md5(extent.length)
        else:
            marker, body = codec.compress(self._codec, data)
            md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        size = self._container.put(name, lambda: [body])
        return StoredObject(name, extent.offset, extent.length, marker, md5), size

    def add(self, stored: _Stored) -> None:
        self._spool.append(stored.digests)
        self._objects += stored.objects
        self._size += stored.length
        self._stored_bytes += stored.stored_bytes

    def finish(self, tick: base.Tick) -> base.Totals:
        """Hash list, everything durable, manifest, that durable: the manifest is the commit."""
        self._stored_bytes += self._container.put(
            names.hash_list_name(self._prefix), lambda: self._hash_list(tick))
        header = dataclasses.replace(
            self._header, size=self._size, stored_bytes=self._stored_bytes,
            digests_sha256=self._list_digest.hexdigest())
        document = manifest.dump(header, self._objects, self.block_size)
        if len(document) > base.LARGEST_MANIFEST:
            raise exceptions.InvalidBackup(
                f'the changes are scattered over {len(self._objects)} objects, more than a '
                'manifest can name; a full backup, or a larger block_size, needs fewer')
        self._container.sync()
        tick()
        self._require_objects()
        self._stored_bytes += self._container.put(
            self._prefix + base.MANIFEST, lambda: [document])
        self._container.sync()
        return base.Totals(len(self._objects), self._size, self._stored_bytes,
                           self._header.parent_id, hashlib.sha256(document).hexdigest())

    def _require_objects(self) -> None:
        """All must be there still: somebody may have tidied up in the store meanwhile."""
        there = set(self._container.names(self._prefix))
        wanted = [*(stored.name for stored in self._objects), names.hash_list_name(self._prefix)]
        missing = [name for name in wanted if name not in there]
        if missing:
            raise exceptions.StoreError(
                f'{len(missing)} of {len(wanted)} objects that this backup stored in container '
                f'{self._container.name} are gone, {missing[0]} among them: something removes '
                'files of the store while backups run')

    def _hash_list(self, tick: base.Tick) -> Iterator[bytes]:
        """The object's bytes; each attempt to store them begins their digest anew."""
        self._list_digest = hashlib.sha256()
        fields = manifest.common(self._header) | {'chunk_size': self.block_size}
        for piece in hash_list.text(fields, self._spool):
            tick()
            self._list_digest.update(piece)
            yield piece

    def close(self) -> None:
        self._spool.close()


def _fill(part: Extent, known: Iterable[Extent], read: base.Fill, data: memoryview) -> None:
    """The part's bytes; outside of the known extents they are zeros."""
    position = part.offset
    for extent in known:
        start, end = max(extent.offset, part.offset), min(extent.end, part.end)
        if start < end:
            _clear(data[position - part.offset:start - part.offset])
            read(start, data[start - part.offset:end - part.offset])
            position = end
    _clear(data[position - part.offset:])


def _clear(data: memoryview) -> None:
    for at in range(0, len(data), len(_ZEROS)):
        piece = data[at:at + len(_ZEROS)]
        piece[:] = _ZEROS[:len(piece)]


def _check_unsealed(choices: base.Choices, parent: base.State | None) -> None:
    """:raises InvalidBackup: the backup should be sealed, and its parent is not.
    :raises ConfigurationError: it should be sealed, which this format cannot be."""
    if choices.seals and parent is not None:
        raise exceptions.InvalidBackup(
            f'backup {parent.header.backup_id} is not sealed, and new backups are')
    if choices.seals:
        raise exceptions.ConfigurationError(
            'format 1.0.0 cannot be sealed, because Cinder could not read it: format 2.0.0 can')
