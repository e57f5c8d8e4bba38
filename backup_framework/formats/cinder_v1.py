"""Format 1.0.0: what Cinder's chunked drivers store, written so that Cinder restores it.

Objects of a backup: `<prefix>-NNNNN`, one for each stored extent; `<prefix>_sha256file`, the hash
list of the whole volume; `<prefix>_metadata`, the manifest. See doc/source/formats/cinder-v1.rst.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
import dataclasses
import functools
import hashlib
import itertools
import re
from typing import Any

from backup_framework import exceptions, store
from backup_framework.formats import base, codec, digests, hash_list, manifest
from backup_framework.formats.manifest import StoredObject
from backup_framework.model import Backup, Extent

CHUNK_SIZE = 32 << 20
LARGEST_HOLE = 256 << 20
_PIECE = 1 << 20

Buffer = bytes | bytearray | memoryview


def hash_list_name(prefix: str) -> str:
    return f'{prefix}_sha256file'


@dataclasses.dataclass(frozen=True, slots=True)
class _Stored:
    """What storing one chunk came to."""

    digests: bytes
    length: int
    objects: list[StoredObject]
    stored_bytes: int


class Writer:
    """Takes a backup. See `formats.base.Writer`.

    Neighbouring chunks that are holes become one object of up to LARGEST_HOLE bytes; Cinder unpacks
    a whole object in memory, and its own chunks on file systems are seven times as large.

    :param parent: the hash list of the parent for an incremental backup, with the same block size.
    """

    def __init__(self, container: store.Container, prefix: str, header: base.Header, *,
                 chunk_size: int, block_size: int, compression: str,
                 parent: digests.Spool | None = None, spool_directory: str | None = None) -> None:
        if chunk_size % block_size:
            raise exceptions.InvalidInput(
                f'chunk_size {chunk_size} is not a multiple of block_size {block_size}')
        self.chunk_size = chunk_size
        self.largest_hole = LARGEST_HOLE
        self._block_size = block_size
        self._codec = codec.canonical(compression)
        self._container = container
        self._prefix = prefix
        self._header = header
        self._parent = parent
        self._spool = digests.Spool(block_size, spool_directory)
        self._numbers = itertools.count(1)
        self._objects: list[StoredObject] = []
        self._size = 0
        self._stored_bytes = 0
        self._list_digest = hashlib.sha256()

    def store(self, chunk: base.Chunk) -> _Stored:
        data = chunk.read() if chunk.read else None
        if data is None or is_zero(data):
            data, found = None, digests.of_zeros(chunk.length, self._block_size)
        else:
            found = digests.of(data, self._block_size)
        objects, stored_bytes = [], 0
        for extent in self._new_extents(chunk, found):
            at = extent.offset - chunk.offset
            piece = None if data is None else memoryview(data)[at:at + extent.length]
            described, size = self._put(extent, piece)
            objects.append(described)
            stored_bytes += size
        return _Stored(found, chunk.length, objects, stored_bytes)

    def _new_extents(self, chunk: base.Chunk, found: bytes) -> list[Extent]:
        if self._parent is None:
            return [Extent(chunk.offset, chunk.length)]
        first = chunk.offset // self._block_size
        old = self._parent.get(first, len(found) // digests.DIGEST_SIZE)
        runs = digests.changed_runs(old, found, digests.joined_gap(self._block_size))
        return [self._extent(chunk, run) for run in runs]

    def _extent(self, chunk: base.Chunk, run: tuple[int, int]) -> Extent:
        start, blocks = run[0] * self._block_size, run[1] * self._block_size
        return Extent(chunk.offset + start, min(blocks, chunk.length - start))

    def _put(self, extent: Extent, data: memoryview | None) -> tuple[StoredObject, int]:
        name = f'{self._prefix}-{next(self._numbers):05d}'
        body: Buffer
        if data is None:
            marker, body = codec.ZSTD, codec.zero_body(extent.length)
            md5 = zero_md5(extent.length)
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

    def finish(self, tick: Callable[[], None]) -> base.Totals:
        """Hash list, everything durable, manifest, that durable: the manifest is the commit."""
        self._stored_bytes += self._container.put(
            hash_list_name(self._prefix), lambda: self._hash_list(tick))
        header = dataclasses.replace(
            self._header, size=self._size, stored_bytes=self._stored_bytes,
            digests_sha256=self._list_digest.hexdigest())
        document = manifest.dump(header, self._objects, self._block_size)
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
        return base.Totals(len(self._objects), self._size, self._stored_bytes)

    def _require_objects(self) -> None:
        """All must be there still: somebody may have tidied up in the store meanwhile."""
        there = set(self._container.names(self._prefix))
        wanted = [*(stored.name for stored in self._objects), hash_list_name(self._prefix)]
        missing = [name for name in wanted if name not in there]
        if missing:
            raise exceptions.StoreError(
                f'{len(missing)} of {len(wanted)} objects that this backup stored in container '
                f'{self._container.name} are gone, {missing[0]} among them: something removes '
                'files of the store while backups run')

    def _hash_list(self, tick: Callable[[], None]) -> Iterator[bytes]:
        """The object's bytes; each attempt to store them begins their digest anew."""
        self._list_digest = hashlib.sha256()
        fields = manifest.common(self._header) | {'chunk_size': self._block_size}
        for piece in hash_list.text(fields, self._spool):
            tick()
            self._list_digest.update(piece)
            yield piece

    def close(self) -> None:
        self._spool.close()


class Reader:
    """One backup in a store. See `formats.base.Reader`.

    :param members: of the manifest, as `versions.parse` gives them.
    :param whole_limit: objects of more bytes, uncompressed, are streamed twice: checked, then given
        out; smaller ones are held in memory.
    :raises CorruptManifest: it is none that any release of Cinder or of ours wrote.
    """

    def __init__(self, container: store.Container, prefix: str, members: dict[str, Any], *,
                 whole_limit: int) -> None:
        self._container = container
        self._prefix = prefix
        self._whole_limit = whole_limit
        self.header, ordered = manifest.read(members, prefix)
        self._objects = {stored.name: stored for stored in ordered}
        zero = _ZeroTest()
        self.entries: list[base.Entry] = [
            base.Entry(o.offset, o.length, o.name, zero(o)) for o in ordered]

    def problems(self, sizes: bool) -> list[str]:
        there = set(self._container.names(self._prefix))
        missing = [f'object {name} is missing' for name in self._objects if name not in there]
        if not sizes:
            return missing
        plain = [stored for stored in self._objects.values()
                 if stored.name in there and codec.canonical(stored.compression) == codec.NONE]
        found = ((stored, self._container.size(stored.name)) for stored in plain)
        return missing + [
            f'object {stored.name} has {size} bytes instead of {stored.length}'
            for stored, size in found if size != stored.length]

    def cost(self, entry: base.Entry) -> int:
        if entry.zero or entry.length > self._whole_limit:
            return _PIECE
        return entry.length

    def read(self, entry: base.Entry, wanted: Sequence[Extent]
             ) -> Generator[tuple[int, memoryview], None, None]:
        if entry.length > self._whole_limit:
            self._check_stream(entry)
        for offset, piece in self._pieces(entry):
            for extent in wanted:
                start = max(extent.offset, offset)
                end = min(extent.end, offset + len(piece))
                if start < end:
                    yield start, piece[start - offset:end - offset]

    def check(self, entry: base.Entry) -> None:
        if entry.zero and self._is_zero_body(entry):
            return
        self._check_stream(entry)

    def _check_stream(self, entry: base.Entry) -> None:
        for _ in self._verified(entry):
            pass

    def _is_zero_body(self, entry: base.Entry) -> bool:
        """Whether the stored bytes are those that we store for zeros: no need to unpack them."""
        if codec.canonical(self._objects[entry.name].compression) != codec.ZSTD:
            return False
        body = codec.zero_body(entry.length)
        try:
            return self._container.get(entry.name, len(body)) == body
        except exceptions.CorruptObject:
            return False
        except (exceptions.ObjectNotFound, exceptions.ContainerNotFound):
            raise self._missing(entry) from None

    def _pieces(self, entry: base.Entry) -> Iterator[tuple[int, memoryview]]:
        if entry.length > self._whole_limit:
            yield from self._verified(entry)
            return
        data = bytearray(entry.length)
        for offset, piece in self._verified(entry):
            data[offset - entry.offset:offset - entry.offset + len(piece)] = piece
        yield entry.offset, memoryview(data)

    def _verified(self, entry: base.Entry) -> Iterator[tuple[int, memoryview]]:
        """The object's bytes in pieces, raising behind the last one if they were not right."""
        stored = self._objects[entry.name]
        md5 = hashlib.md5(usedforsecurity=False)
        position = 0
        try:
            with self._container.open(entry.name) as reader:
                body = codec.open_body(codec.canonical(stored.compression), reader)
                while piece := body.read(_PIECE):
                    if position + len(piece) > stored.length:
                        raise exceptions.CorruptObject('it has more bytes than its manifest says')
                    md5.update(piece)
                    yield stored.offset + position, memoryview(piece)
                    position += len(piece)
        except exceptions.CorruptObject as error:
            raise self._corrupt(stored, str(error)) from None
        except (exceptions.ObjectNotFound, exceptions.ContainerNotFound):
            raise self._missing(entry) from None
        if position != stored.length:
            raise self._corrupt(stored, f'it has {position} bytes instead of {stored.length}')
        if md5.hexdigest() != stored.md5:
            raise self._corrupt(stored, 'its MD5 is not the one in the manifest')

    def _corrupt(self, stored: StoredObject, reason: str) -> exceptions.CorruptObject:
        return exceptions.CorruptObject(
            f'object {stored.name} of container {self._container.name} (bytes {stored.offset} to '
            f'{stored.offset + stored.length} of the volume) is damaged: {reason}')

    def _missing(self, entry: base.Entry) -> exceptions.MissingObject:
        return exceptions.MissingObject(
            f'object {entry.name} of container {self._container.name} (bytes {entry.offset} to '
            f'{entry.end} of the volume) is missing')

    def digests(self, spool_directory: str | None = None) -> digests.Spool | None:
        """The hash list in a spool that the caller closes; None where the store has none.

        :raises CorruptManifest: it is damaged.
        """
        name = hash_list_name(self._prefix)
        try:
            with self._container.open(name) as reader:
                hashing = _Hashing(reader)
                fields, spool = hash_list.parse(hashing, spool_directory)
        except (exceptions.ObjectNotFound, exceptions.ContainerNotFound):
            return None
        except exceptions.CorruptManifest as error:
            raise exceptions.CorruptManifest(
                f'{name} of container {self._container.name}: {error}') from None
        if self._is_own(fields, hashing.sha256.hexdigest()):
            return spool
        spool.close()
        raise exceptions.CorruptManifest(f'{name} of container {self._container.name} is not the '
                                         'hash list that was stored with its manifest')

    def _is_own(self, fields: dict[str, Any], sha256: str) -> bool:
        """What it leaves out of the next incremental would be lost if it were another's."""
        if self.header.digests_sha256 is not None:
            return sha256 == self.header.digests_sha256
        told = ((fields.get('backup_id'), self.header.backup_id),
                (fields.get('volume_id'), self.header.volume_id))
        return all(theirs == ours for theirs, ours in told if theirs and ours)


class _Hashing:
    """A reader that hashes what it reads."""

    def __init__(self, reader: hash_list.Readable) -> None:
        self._reader = reader
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._reader.read(size)
        self.sha256.update(data)
        return data


def volume_size(chain: Sequence[base.Reader], spool_directory: str | None = None) -> int:
    """The volume's bytes at the newest backup of a chain, root first.

    Our own manifests say it. Otherwise the full backup's extents do, unless the hash list of an
    incremental has another number of blocks; the last of these may be shorter than its block,
    which shows where an extent ends in it.
    """
    newest = chain[-1]
    if newest.header.size is not None:
        return newest.header.size
    ends = [max((entry.end for entry in reader.entries), default=0) for reader in chain]
    if len(chain) == 1:
        return ends[0]
    spool = newest.digests(spool_directory)
    if spool is None:
        return max(ends[0], ends[-1])
    with spool:
        last = spool.length * spool.block_size
        if ends[-1] > last:
            raise exceptions.CorruptManifest(
                f'the hash list of backup {newest.header.backup_id} ends at byte {last}, before '
                f'what the backup has stored, which ends at {ends[-1]}')
        inside = [end for end in ends if last - spool.block_size < end <= last]
        return inside[-1] if inside else last


def is_zero(data: bytes | bytearray) -> bool:
    """Whether all bytes are zero; compares slices, which is memcmp, and stops at the first."""
    zeros = _zeros(_PIECE)
    return all(data[at:at + _PIECE] == zeros[:len(data) - at]
               for at in range(0, len(data), _PIECE))


@functools.lru_cache(maxsize=1)
def _zeros(length: int) -> bytes:
    return bytes(length)


@functools.lru_cache(maxsize=256)
def zero_md5(length: int) -> str:
    """The MD5 of so many zeros."""
    md5 = hashlib.md5(usedforsecurity=False)
    for _ in range(length // _PIECE):
        md5.update(_zeros(_PIECE))
    md5.update(_zeros(_PIECE)[:length % _PIECE])
    return md5.hexdigest()


class _ZeroTest:
    """Whether an object is all zeros, by its MD5: for the few lengths that chunks have."""

    _LENGTHS = 64
    _LONGEST = 256 << 20
    _MOST = 3 << 29  # bytes hashed in all: a manifest with many lengths must not cost minutes

    def __init__(self) -> None:
        self._known: dict[int, str] = {}
        self._left = self._MOST

    def __call__(self, stored: StoredObject) -> bool:
        length = stored.length
        if length not in self._known:
            if (length > min(self._LONGEST, self._left)
                    or len(self._known) >= self._LENGTHS):
                return False
            self._left -= length
            self._known[length] = zero_md5(length)
        return self._known[length] == stored.md5


def _container(backup: Backup) -> str:
    """As Cinder has it on file systems: one container a backup."""
    return f'{backup.id[:2]}/{backup.id[2:4]}/{backup.id}'


FORMAT = base.Format(
    version=manifest.VERSION, chunk_size=CHUNK_SIZE,
    belongs=re.compile(r'(-[0-9]{5,}|_sha256file|_metadata)\Z'), open_reader=Reader,
    open_writer=Writer, volume_size=volume_size, container=_container)
