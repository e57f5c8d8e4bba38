"""The map of a backup of format 2.0.0: where the block table of each chunk is.

It is written and read as a stream, because it grows with the volume. What is read is untrusted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
import dataclasses
import struct
from typing import Protocol

from backup_framework import exceptions, store
from backup_framework.formats.v2 import digest, layout, names, sealing

_HEAD = struct.Struct('<8sHHI')
_MAGIC = b'bf2.map.'
_SEALED = 1
_OBJECT = struct.Struct('<BBHIQ')
_ZEROS = struct.Struct('<B7sQ')
_CHUNK = struct.Struct('<BBHIIIQ32s32s')
_REFERENCE = struct.Struct('<II')
_END = struct.Struct('<B7s32s')
LARGEST = 1 << 62
"""What no offset and no length is above."""
SMALLEST = _HEAD.size + _END.size
"""Bytes of a map without objects and chunks."""
_KINDS = {0: _END, 1: _OBJECT, 2: _ZEROS, 3: _CHUNK}
_SHORTEST = min(form.size for form in _KINDS.values())
_PAD = bytes(7)
_LONGEST = store.LONGEST_NAME
SEALED_HEAD_SIZE = _HEAD.size + sealing.SALT_SIZE


@dataclasses.dataclass(slots=True)
class Object:
    """An object that a map refers to.

    :param blocks: that are stored in its frames.
    :param length: in bytes.
    """

    name: str
    blocks: int
    length: int


@dataclasses.dataclass(frozen=True, slots=True)
class Zeros:
    """A run of chunks that are zeros."""

    chunks: int


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A chunk with a block table.

    :param object: the number of the object with the table, in the order of a map's objects.
    :param references: (object, blocks of the chunk in its frames), the table's object among them.
    """

    object: int
    offset: int
    length: int
    table_digest: bytes
    chunk_digest: bytes
    references: Sequence[tuple[int, int]]


def head() -> bytes:
    return _HEAD.pack(_MAGIC, layout.LAYOUT, 0, 0)


def sealed_head(salt: bytes) -> bytes:
    """What stands in front of a map whose bytes follow sealed."""
    return _HEAD.pack(_MAGIC, layout.LAYOUT, _SEALED, 0) + salt


def salt_of(data: bytes) -> bytes:
    """:raises CorruptObject: it is no head of a sealed map."""
    salt = data[_HEAD.size:]
    if len(data) != SEALED_HEAD_SIZE or data != sealed_head(salt):
        raise exceptions.CorruptObject('its first bytes are not those of a sealed map')
    return salt


def encode_object(item: Object) -> bytes:
    name = item.name.encode()
    return _OBJECT.pack(1, 0, len(name), item.blocks, item.length) + name


def encode_zeros(chunks: int) -> bytes:
    return _ZEROS.pack(2, _PAD, chunks)


def encode_row(row: Row) -> bytes:
    fixed = _CHUNK.pack(3, 0, 0, len(row.references), row.object, row.length, row.offset,
                        row.table_digest, row.chunk_digest)
    return fixed + b''.join(_REFERENCE.pack(*reference) for reference in row.references)


def end(everything: bytes) -> bytes:
    """The last record.

    :param everything: the digest of all bytes before it.
    """
    return _END.pack(0, _PAD, everything)


class File(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Rows:
    """The rows of a map in the order of the volume, read from a file as they are asked for.

    `objects` grows while they are: each object is there before the first row that refers to it.

    :ivar position: behind the row that was given last, in bytes.
    :param file: at the beginning of a map.
    :param chunks: how many chunks the volume has; None takes what comes.
    :param prefixes: of the backups whose objects it may name; None takes all.
    :param called: what errors call it.
    """

    def __init__(self, file: File, algorithm: digest.Algorithm, chunks: int | None,
                 prefixes: Collection[str] | None = None, called: str = 'the map') -> None:
        self.objects: list[Object] = []
        self.position = 0
        self._file = file
        self._chunks = chunks
        self._prefixes = prefixes
        self._called = called
        self._algorithm = algorithm
        self._hasher = algorithm.new()
        self._seen: set[bytes] = set()

    def __iter__(self) -> Iterator[Zeros | Row]:
        """:raises CorruptObject: it is no map of so many chunks."""
        if self._take(_HEAD.size) != head():
            raise self._corrupt('its first bytes are not those of one')
        found = 0
        known: set[str] = set()
        while True:
            first = self._take(_SHORTEST, hashed=False)
            kind = first[0]
            if kind not in _KINDS:
                raise self._corrupt(f'it has a record of kind {kind}')
            form = _KINDS[kind]
            fixed = first if form.size == _SHORTEST else first + self._take(
                form.size - _SHORTEST, hashed=False)
            if kind == 0:
                break
            fields = form.unpack(fixed)
            if kind == 1:
                self._object(fixed, fields, known)
                continue
            self._hash(fixed)
            item: Zeros | Row = self._row(fields) if kind == 3 else self._zeros(fields)
            found += item.chunks if isinstance(item, Zeros) else 1
            if self._chunks is not None and found > self._chunks:
                raise self._corrupt('it has more chunks than the volume')
            yield item
        self._end(fixed)
        if self._chunks is not None and found != self._chunks:
            raise self._corrupt(f'it has {found} of the {self._chunks} chunks of the volume')

    def again(self, file: File) -> Iterator[Zeros | Row]:
        """The rows once more, from a place on where one begins; those of a map that was read to
        its end, so that its objects are known."""
        rows = Rows(file, self._algorithm, None, called=self._called)
        rows.objects = self.objects
        while (kind := rows._take(1, hashed=False)[0]) != 0:
            data = bytes([kind]) + rows._take(_KINDS[kind].size - 1, hashed=False)
            fields = _KINDS[kind].unpack(data)
            if kind == 1:
                rows._take(fields[2], hashed=False)
            else:
                yield rows._row(fields) if kind == 3 else rows._zeros(fields)

    def _object(self, fixed: bytes, fields: tuple[int, int, int, int, int],
                known: set[str]) -> None:
        _, reserved, length, blocks, size = fields
        encoded = self._take(length, hashed=False)
        self._hash(fixed + encoded)
        prefix, _, number = encoded.rpartition(b'-')
        # Most names have a prefix that was seen before: then only the number is left to check.
        if prefix not in self._seen or not names.is_number(number) or len(encoded) > _LONGEST:
            self._check_name(encoded)
            self._seen.add(prefix)
        name = encoded.decode()
        if reserved or name in known or size > LARGEST:
            raise self._corrupt(f'its record of object {name} is impossible')
        known.add(name)
        self.objects.append(Object(name, blocks, size))

    def _check_name(self, encoded: bytes) -> None:
        try:
            name = store.check_new_name(encoded.decode())
            prefix = names.prefix_of(name)
        except (UnicodeDecodeError, exceptions.InvalidName, exceptions.CorruptObject):
            raise self._corrupt('it names an object as none is named') from None
        if self._prefixes is not None and prefix not in self._prefixes:
            raise self._corrupt(f'it names {name}, of a backup that the manifest does not name')

    def _row(self, fields: tuple[int, int, int, int, int, int, int, bytes, bytes]) -> Row:
        _, flags, reserved, count, number, length, offset, table_digest, chunk_digest = fields
        if flags or reserved or not 0 < count <= layout.MOST_BLOCKS + 1:
            raise self._corrupt('one of its rows is impossible')
        data = self._take(count * _REFERENCE.size)
        references = list(_REFERENCE.iter_unpack(data))
        used = {reference for reference, _ in references}
        if len(used) != count or number not in used or max(used) >= len(self.objects):
            raise self._corrupt('one of its rows refers to objects that it does not name')
        if offset + length > self.objects[number].length:
            raise self._corrupt('one of its block tables is behind the end of its object')
        return Row(number, offset, length, table_digest, chunk_digest, references)

    def _end(self, record: bytes) -> None:
        everything = self._hasher.digest()
        _, pad, told = _END.unpack(record)
        if pad != _PAD or told != everything:
            raise self._corrupt('its digest is not the one of its bytes')
        if self._file.read(1):
            raise self._corrupt('it goes on behind its end')

    def _take(self, length: int, hashed: bool = True) -> bytes:
        data = self._file.read(length)
        if len(data) != length:
            raise self._corrupt('it ends too early')
        self.position += length
        return self._hash(data) if hashed else data

    def _hash(self, data: bytes) -> bytes:
        self._hasher.update(data)
        return data

    def _zeros(self, fields: tuple[int, bytes, int]) -> Zeros:
        _, pad, chunks = fields
        if pad != _PAD or not chunks:
            raise self._corrupt('one of its runs of zeros is impossible')
        return Zeros(chunks)

    def _corrupt(self, reason: str) -> exceptions.CorruptObject:
        return exceptions.CorruptObject(f'{self._called} is damaged: {reason}')
