"""Format 1.0.0: what Cinder's chunked drivers store, written so that Cinder restores it.

Objects of a backup: `<prefix>-NNNNN`, one for each stored extent; `<prefix>_sha256file`, the hash
list of the whole volume; `<prefix>_metadata`, the manifest. See doc/source/formats/cinder-v1.rst.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import datetime
import functools
import hashlib
import itertools
import json
import re
from typing import Any

from backup_framework import __version__, exceptions, store
from backup_framework.formats import base, codec, digests, hash_list
from backup_framework.model import Extent

VERSION = '1.0.0'
CHUNK_SIZE = 32 << 20
LARGEST_HOLE = 256 << 20
OURS = 'backup_framework'
"""The member of the manifest that Cinder does not have: exact sizes, times and properties."""

LARGEST_MANIFEST = 512 << 20
LARGEST_OBJECT = 1 << 40
_LARGEST_OFFSET = 1 << 62
_PIECE = 1 << 20
_NUMBER = re.compile(r'-[0-9]{5,}\Z')
_MD5 = re.compile(r'[0-9a-f]{32}\Z')

Buffer = bytes | bytearray | memoryview


def manifest_name(prefix: str) -> str:
    return f'{prefix}_metadata'


def hash_list_name(prefix: str) -> str:
    return f'{prefix}_sha256file'


@dataclasses.dataclass(frozen=True, slots=True)
class StoredObject:
    """An entry of the manifest. `md5` is of the uncompressed bytes."""

    name: str
    offset: int
    length: int
    compression: str
    md5: str


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
        return [self._extent(chunk, run) for run in digests.changed_runs(old, found)]

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

    def finish(self) -> base.Totals:
        """Hash list, everything durable, manifest, that durable: the manifest is the commit."""
        fields = self._common() | {'chunk_size': self._block_size}
        self._stored_bytes += self._container.put(
            hash_list_name(self._prefix), lambda: hash_list.text(fields, self._spool))
        self._container.sync()
        manifest = json.dumps(self._manifest(), sort_keys=True, indent=2).encode()
        self._stored_bytes += self._container.put(manifest_name(self._prefix), lambda: [manifest])
        self._container.sync()
        return base.Totals(len(self._objects), self._size, self._stored_bytes)

    def close(self) -> None:
        self._spool.close()

    def _common(self) -> dict[str, Any]:
        header = self._header
        return {'version': VERSION, 'backup_id': header.backup_id, 'volume_id': header.volume_id,
                'backup_name': header.name, 'backup_description': header.description,
                'created_at': str(header.created_at)}

    def _manifest(self) -> dict[str, Any]:
        header = self._header
        manifest = self._common() | {
            'objects': [_entry(stored) for stored in self._objects],
            'parent_id': header.parent_id, 'volume_meta': header.volume_meta,
            OURS: {'version': __version__, 'size': self._size, 'stored_bytes': self._stored_bytes,
                   'block_size': self._block_size, 'properties': header.properties,
                   'snapshot_id': header.snapshot_id, 'owner': header.owner,
                   'data_timestamp': _iso(header.data_timestamp)}}
        if header.extra_metadata:
            manifest['extra_metadata'] = header.extra_metadata
        return manifest


class Reader:
    """One backup in a store. See `formats.base.Reader`.

    :param whole_limit: objects of more bytes, uncompressed, are streamed twice: checked, then given
        out; smaller ones are held in memory.
    :raises MissingObject: there is no manifest.
    :raises CorruptManifest: it is none that any release of Cinder or of ours wrote.
    :raises UnsupportedVersion: a newer release wrote it.
    """

    def __init__(self, container: store.Container, prefix: str, *,
                 whole_limit: int = 64 << 20) -> None:
        self._container = container
        self._prefix = prefix
        self._whole_limit = whole_limit
        name = manifest_name(prefix)
        try:
            document = container.get(name, LARGEST_MANIFEST)
        except (exceptions.ObjectNotFound, exceptions.ContainerNotFound):
            raise exceptions.MissingObject(
                f'there is no manifest {name} in container {container.name}') from None
        try:
            manifest = _parse(document)
            self.header = _header(manifest)
            self._objects = {o.name: o for o in _objects(manifest, prefix)}
        except exceptions.FormatError as error:
            raise type(error)(f'manifest {name} of container {container.name}: {error}') from None
        ordered = sorted(self._objects.values(), key=lambda stored: stored.offset)
        _check_extents(name, ordered, self.header.size)
        zero = _ZeroTest()
        self.entries: list[base.Entry] = [
            base.Entry(o.offset, o.length, o.name, zero(o)) for o in ordered]

    def missing(self) -> list[str]:
        """Objects of the backup that the container does not list; a hash list may be missing."""
        there = set(self._container.names(self._prefix))
        return [name for name in self._objects if name not in there]

    def read(self, entry: base.Entry, wanted: Sequence[Extent]
             ) -> Iterator[tuple[int, memoryview]]:
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
                return hash_list.parse(reader, spool_directory)[1]
        except (exceptions.ObjectNotFound, exceptions.ContainerNotFound):
            return None
        except exceptions.CorruptManifest as error:
            raise exceptions.CorruptManifest(
                f'{name} of container {self._container.name}: {error}') from None


def infer_size(chain: Sequence[Reader], spool_directory: str | None = None) -> int:
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


def _entry(stored: StoredObject) -> dict[str, dict[str, Any]]:
    return {stored.name: {'offset': stored.offset, 'length': stored.length,
                          'compression': stored.compression, 'md5': stored.md5}}


def _parse(document: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise exceptions.CorruptManifest(f'it is not JSON: {error}') from None
    if not isinstance(manifest, dict):
        raise exceptions.CorruptManifest('it is not a JSON object')
    version = manifest.get('version')
    if version != VERSION:
        raise exceptions.UnsupportedVersion(
            f'it has version {str(version)[:40]!r}; this release reads {VERSION}')
    return manifest


def _header(manifest: dict[str, Any]) -> base.Header:
    ours = manifest.get(OURS)
    ours = ours if isinstance(ours, dict) else {}
    properties = ours.get('properties')
    return base.Header(
        version=VERSION, backup_id=_text(manifest, 'backup_id'),
        volume_id=_text(manifest, 'volume_id'), name=_text(manifest, 'backup_name'),
        description=_text(manifest, 'backup_description'),
        created_at=_time(manifest.get('created_at')), parent_id=_text(manifest, 'parent_id'),
        volume_meta=_text(manifest, 'volume_meta'), extra_metadata=manifest.get('extra_metadata'),
        size=_number(ours, 'size', _LARGEST_OFFSET) if 'size' in ours else None,
        stored_bytes=(_number(ours, 'stored_bytes', _LARGEST_OFFSET)
                      if 'stored_bytes' in ours else None),
        data_timestamp=_time(ours.get('data_timestamp')), snapshot_id=_text(ours, 'snapshot_id'),
        owner=_text(ours, 'owner'),
        properties={str(key): str(value) for key, value in properties.items()}
        if isinstance(properties, dict) else {})


def _objects(manifest: dict[str, Any], prefix: str) -> Iterable[StoredObject]:
    entries = manifest.get('objects')
    if not isinstance(entries, list):
        raise exceptions.CorruptManifest('it has no list of objects')
    names: set[str] = set()
    for entry in entries:
        if not isinstance(entry, dict) or len(entry) != 1:
            raise exceptions.CorruptManifest('an entry of its objects is not one name with values')
        (name, values), = entry.items()
        if not isinstance(values, dict) or name in names:
            raise exceptions.CorruptManifest(f'its entry {name[:80]!r} is impossible')
        names.add(name)
        yield _object(name, values, prefix)


def _object(name: str, values: dict[str, Any], prefix: str) -> StoredObject:
    try:
        store.check_name(name)
    except exceptions.InvalidName as error:
        raise exceptions.CorruptManifest(str(error)) from None
    if not name.startswith(prefix) or not _NUMBER.match(name, len(prefix)):
        raise exceptions.CorruptManifest(
            f'its object {name[:80]!r} is not {prefix}- with a number')
    compression, md5 = values.get('compression'), values.get('md5')
    if not isinstance(compression, str) or compression.lower() not in codec.NAMES:
        raise exceptions.CorruptManifest(f'{name} has an unknown compression: {compression!r:.40}')
    if not isinstance(md5, str) or not _MD5.match(md5.lower()):
        raise exceptions.CorruptManifest(f'{name} has no MD5, so nothing could be verified')
    return StoredObject(name, _number(values, 'offset', _LARGEST_OFFSET),
                        _number(values, 'length', LARGEST_OBJECT), compression, md5.lower())


def _check_extents(name: str, ordered: list[StoredObject], size: int | None) -> None:
    for before, after in itertools.pairwise(ordered):
        if after.offset < before.offset + before.length:
            raise exceptions.CorruptManifest(
                f'manifest {name}: {before.name} and {after.name} overlap')
    end = ordered[-1].offset + ordered[-1].length if ordered else 0
    if size is not None and end > size:
        raise exceptions.CorruptManifest(
            f'manifest {name}: its objects end at {end}, behind the size it tells, {size}')


def _number(values: dict[str, Any], key: str, largest: int) -> int:
    value = values.get(key)
    if type(value) is not int or not 0 <= value <= largest:
        raise exceptions.CorruptManifest(f'{key} is impossible: {str(value)[:40]}')
    return value


def _text(values: dict[str, Any], key: str) -> str | None:
    value = values.get(key)
    if value is not None and not isinstance(value, str):
        raise exceptions.CorruptManifest(f'{key} is not text')
    return value


def _time(value: object) -> datetime.datetime | None:
    """An aware datetime; Cinder writes the word None for none."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.datetime.fromisoformat(value)
        return (time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
                ).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        return None


def _iso(time: datetime.datetime | None) -> str | None:
    return time.isoformat() if time else None
