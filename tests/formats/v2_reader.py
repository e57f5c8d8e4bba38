"""A reader of format 2.0.0 written from doc/source/formats/v2.rst alone.

It imports nothing of the framework, reads a directory with one file an object, as the local driver
keeps a container, and checks all that the page lets one check. Of sealed backups it is handed what
unwraps a key: (name and type of the recipient, what was wrapped, context).
"""

from __future__ import annotations

import base64
import bz2
from collections.abc import Callable, Iterator
import hashlib
import hmac
import json
import pathlib
import re
import struct
import zlib

import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
import zstandard

Unwrap = Callable[[tuple[str, str], dict, bytes], bytes]

ZERO = 0xffffffff
LARGEST = 1 << 62


class Damaged(Exception):
    """A check of the page failed."""


def require(right: bool, what: str) -> None:
    if not right:
        raise Damaged(what)


def _blake3(data: bytes) -> bytes:
    return blake3.blake3(data).digest()


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _unzlib(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    plain = stream.decompress(data)
    require(stream.eof and not stream.unused_data, 'not one zlib stream')
    return plain


def _unbz2(data: bytes) -> bytes:
    stream = bz2.BZ2Decompressor()
    plain = stream.decompress(data)
    require(stream.eof and not stream.unused_data, 'not one bz2 stream')
    return plain


def _unzstd(data: bytes) -> bytes:
    stream = zstandard.ZstdDecompressor().decompressobj()
    plain = stream.decompress(data)
    require(stream.eof and not stream.unused_data, 'not one zstd frame')
    return plain


CODECS: list[Callable[[bytes], bytes]] = [bytes, _unzlib, _unbz2, _unzstd]


def _derived(key: bytes, salt: bytes | None, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt, info).derive(key)


def _opened(key: bytes, position: int, kind: bytes, sealed: bytes,
            bound: bytes | None = None) -> bytes:
    try:
        return AESGCM(key).decrypt(struct.pack('<Q4s', position, kind), sealed, bound)
    except InvalidTag:
        raise Damaged(f'what is sealed as {kind!r} at {position}') from None


def data_keys(directory: pathlib.Path, prefix: str, unwrap: Unwrap) -> dict[str, bytes]:
    """What the highest generation of a backup's keys holds, which has to open."""
    start = f'{prefix}_keys-'
    generation = max(int(path.name.removeprefix(start)) for path in directory.glob(f'{start}*'))
    document = (directory / f'{start}{generation}').read_bytes()
    require(1 <= generation <= 9999 and len(document) <= 16 << 20, 'the keys')
    members = json.loads(document)
    require(list(members) == ['version', 'prefix', 'generation', 'entries', 'keys', 'keys_digest'],
            'the members of the keys')
    require([members[key] for key in ('version', 'prefix', 'generation')]
            == ['2.0.0', prefix, generation], 'the keys')
    covered, comma, _ = document.rpartition(b',\n  "keys_digest": "')
    tail = ',\n  "keys_digest": "%s"\n}' % _sha256(covered).hex()
    require(document == covered + tail.encode(), 'the digest of the keys')
    bound, comma, sealed = covered.rpartition(b',\n  "keys": "')
    context = b'backup_framework 2 keys\0%s\0%d' % (prefix.encode(), generation)
    entry = members['entries'][0]
    key = unwrap((entry['name'], entry['type']), entry['wrapped'], context)
    plain = _opened(key, 0, b'keys', base64.b64decode(sealed.removesuffix(b'"')), bound)
    return {other: base64.b64decode(key) for other, key in json.loads(plain).items()}


class Store:
    """One backup in a directory."""

    def __init__(self, directory: pathlib.Path, prefix: str, unwrap: Unwrap | None = None) -> None:
        self.directory = directory
        self.prefix = prefix
        document = (directory / f'{prefix}_metadata').read_bytes()
        self.members = members = json.loads(document)
        require(members['version'] == '2.0.0', 'version')
        self.keys: dict[str, bytes] = {}
        """The data keys of a sealed backup."""
        self.digest = {'blake3': _blake3, 'sha256': _sha256}[members['digest']]
        body, comma, _ = document.rpartition(b',\n  "manifest_digest": "')
        tail = ',\n  "manifest_digest": "%s"\n}' % self.digest(body).hex()
        require(document == body + tail.encode(), 'the digest of the manifest')
        require((unwrap is None) == (members['sealing'] is None), 'sealed, or not')
        if unwrap is not None:
            self.keys = data_keys(directory, prefix, unwrap)
            self.open_manifest(body)
        self.size, self.chunk_size, self.block_size = (
            members[key] for key in ('size', 'chunk_size', 'block_size'))
        size = self.block_size
        require(512 <= size <= 16 << 20 and size & (size - 1) == 0, 'block_size')
        require(self.chunk_size % size == 0 and 0 < self.chunk_size <= 65536 * size, 'chunk_size')
        require(members['references'] == sorted(set(members['references'])), 'references')
        self.named: dict[str, tuple[int, int]] = {}
        """Blocks in the frames of each object that the map names, and its length."""

    def open_manifest(self, body: bytes) -> None:
        box = self.members['sealing']
        require(box['cipher'] == 'aes-256-gcm', 'the cipher')
        plain, comma, _ = body.rpartition(b',\n  "manifest_mac": "')
        key = _derived(self.keys[self.prefix], None, b'backup_framework 2 manifest\0')
        tail = ',\n  "manifest_mac": "%s"' % hmac.new(key, plain, 'sha256').hexdigest()
        require(body == plain + tail.encode(), 'the MAC of the manifest')
        sealed = ('backup_name', 'backup_description', 'volume_meta', 'extra_metadata',
                  'properties')
        require(all(self.members[key] is None for key in sealed), 'what is sealed is null')
        key = self.object_key(f'{self.prefix}_metadata', bytes.fromhex(box['salt']))
        opened = json.loads(_opened(key, 0, b'memb', base64.b64decode(box['members'])))
        require(opened.keys() == set(sealed), 'the sealed members')
        self.members |= opened

    def object_key(self, name: str, salt: bytes) -> bytes:
        prefix = re.sub('(-[0-9]{5,}|_map(-[0-9]+)?|_metadata)$', '', name)
        return _derived(self.keys[prefix], salt, b'backup_framework 2 object\0' + name.encode())

    def plain_map(self, name: str, data: bytes) -> bytes:
        require(struct.unpack_from('<8sHHI', data) == (b'bf2.map.', 1, 1, 0), 'a sealed map')
        key, sealed, size = self.object_key(name, data[16:48]), data[48:], 65536 + 16
        segments = [sealed[at:at + size] for at in range(0, len(sealed), size)]
        return b''.join(
            _opened(key, number, b'segm' if number + 1 < len(segments) else b'last', segment)
            for number, segment in enumerate(segments))

    def map_rows(self) -> Iterator[tuple[int, tuple | None]]:
        """(number of chunks, None for zeros or the fields and references of a row)."""
        described = self.members['map']
        data = (self.directory / described['name']).read_bytes()
        require(re.fullmatch(re.escape(self.prefix) + '_map(-[0-9]+)?', described['name'])
                is not None, 'the name of the map')
        require(len(data) == described['length'], 'the length of the map')
        require(self.digest(data).hex() == described['digest'], 'the digest of the map')
        if self.keys:
            data = self.plain_map(described['name'], data)
        require(struct.unpack_from('<8sHHI', data) == (b'bf2.map.', 1, 0, 0), 'its head')
        at, names = 16, []
        while data[at] != 0:
            if data[at] == 1:
                _, reserved, length, blocks, size = struct.unpack_from('<BBHIQ', data, at)
                name = data[at + 16:at + 16 + length].decode()
                require(reserved == 0 and name not in names and size <= LARGEST, 'an object')
                prefix = re.sub('-[0-9]{5,}$', '', name)
                require(prefix in (self.prefix, *self.members['references']), 'a reference')
                names.append(name)
                self.named[name] = blocks, size
                at += 16 + length
            elif data[at] == 2:
                _, reserved, chunks = struct.unpack_from('<B7sQ', data, at)
                require(reserved == bytes(7) and chunks > 0, 'zeros')
                at += 16
                yield chunks, None
            else:
                fields = struct.unpack_from('<BBHIIIQ32s32s', data, at)
                require(fields[:3] == (3, 0, 0), 'a chunk')
                at += 88
                uses = {names[number]: blocks for number, blocks in
                        struct.iter_unpack('<II', data[at:at + 8 * fields[3]])}
                require(len(uses) == fields[3] and names[fields[4]] in uses, 'its objects')
                at += 8 * fields[3]
                yield 1, (names[fields[4]], *fields[5:], uses)
        _, reserved, everything = struct.unpack_from('<B7s32s', data, at)
        require(reserved == bytes(7) and everything == self.digest(data[:at]), 'its end')
        require(at + 40 == len(data), 'nothing follows its end')

    def part(self, name: str, offset: int, length: int) -> bytes:
        with open(self.directory / name, 'rb') as file:
            file.seek(offset)
            data = file.read(length)
        require(len(data) == length, f'{name} ends too early')
        return data

    def plain(self, name: str, offset: int, kind: bytes, data: bytes) -> bytes:
        if not self.keys:
            return data
        header = self.part(name, 0, 64)
        require(header[10:12] == b'\1\0' and any(header[24:56]), f'{name} is sealed')
        return _opened(self.object_key(name, header[24:56]), offset, kind, data)

    def table(self, chunk: int, row: tuple) -> Table:
        name, length, offset, digest, chunk_digest, uses = row
        data = self.part(name, offset, length)
        require(self.digest(data) == digest, f'the table of chunk {chunk}')
        table = Table(self.plain(name, offset, b'tabl', data), chunk, name)
        require(self.digest(b''.join(table.digests)) == chunk_digest, 'the digest of the chunk')
        used = dict.fromkeys([name, *table.names[1:]], 0)
        for frame in table.frame_of:
            if frame != ZERO:
                used[table.names[table.frames[frame][0]]] += 1
        require(used == uses, 'the references of the chunk')
        return table

    def check_object(self, chunk: int, row: tuple, table: Table) -> None:
        """Header and footer of the object with the table."""
        name, length, offset = row[:3]
        data = (self.directory / name).read_bytes()
        require(len(data) == self.named[name][1], f'the length of {name}')
        magic, layout, flags, tables, _, salt, reserved = struct.unpack_from('<8sHHIQ32s8s', data)
        require((magic, layout, flags, reserved) == (b'bf2.objt', 1, bool(self.keys), bytes(8))
                and any(salt) == bool(self.keys), f'the header of {name}')
        at, count, reserved, number, magic = struct.unpack_from('<QIIQ8s', data, len(data) - 32)
        require((at + 24 * tables + 32, count, reserved, magic)
                == (len(data), tables, 0, b'bf2.foot'), f'the footer of {name}')
        require(name.endswith(f'-{number:05d}'), f'the number of {name}')
        require(self.digest(data[:64] + data[at:]) == table.object_digest, f'the ends of {name}')
        items = list(struct.iter_unpack('<QQII', data[at:-32]))
        require((chunk, offset, length, 0) in items, f'the item of chunk {chunk} in {name}')

    def chunk(self, chunk: int, row: tuple) -> bytes:
        table = self.table(chunk, row)
        self.check_object(chunk, row, table)
        length = min(self.chunk_size, self.size - chunk * self.chunk_size)
        require(len(table.digests) == -(-length // self.block_size), 'the number of blocks')
        frames = [self.frame(table, *fields) for fields in table.frames]
        require(set(range(len(frames))) == set(table.frame_of) - {ZERO}, 'all frames are used')
        pieces = []
        for block, digest in enumerate(table.digests):
            size = min(self.block_size, length - block * self.block_size)
            at = table.place_of[block] * self.block_size
            number = table.frame_of[block]
            require(number != ZERO or at == 0, 'a place of zeros')
            piece = bytes(size) if number == ZERO else frames[number][at:at + size]
            require(len(piece) == size and self.digest(piece) == digest,
                    f'block {block} of chunk {chunk}')
            pieces.append(piece)
        return b''.join(pieces)

    def frame(self, table: Table, number: int, codec: int, reserved: bytes, offset: int,
              stored: int, plain: int, digest: bytes, more: bytes) -> bytes:
        largest = max(1 << 20, self.block_size)
        data = self.part(table.names[number], offset, stored)
        require(self.digest(data) == digest, f'the frame at {offset} of {table.names[number]}')
        data = self.plain(table.names[number], offset, b'fram', data)
        require(reserved + more == bytes(11) and 1 <= len(data) <= plain <= largest, 'a frame')
        require((codec == 0) == (len(data) == plain), 'the codec of a frame')
        found = CODECS[codec](data)
        require(len(found) == plain, 'the plain length of a frame')
        return found


class Table:
    """A block table; `names` begins with the object that holds it."""

    def __init__(self, data: bytes, chunk: int, name: str) -> None:
        (magic, layout, flags, told, blocks, frames, others, names_length, self.object_digest
         ) = struct.unpack_from('<4sHHQIIII32s', data)
        require((magic, layout, flags, told) == (b'bf2t', 1, 0, chunk), 'the head of a table')
        require(others <= frames <= blocks <= 65536, 'the counts of a table')
        at = 64
        self.names = [name]
        for _ in range(others):
            length, = struct.unpack_from('<H', data, at)
            self.names.append(data[at + 2:at + 2 + length].decode())
            at += 2 + length
        require(at == 64 + names_length, 'the names of a table')
        require(len(data) == at + 64 * frames + 40 * blocks, 'the length of a table')
        self.frames = list(struct.iter_unpack('<IB3sQII32s8s', data[at:at + 64 * frames]))
        at += 64 * frames
        self.digests = [data[at + 32 * block:at + 32 * block + 32] for block in range(blocks)]
        at += 32 * blocks
        self.frame_of = struct.unpack_from(f'<{blocks}I', data, at)
        self.place_of = struct.unpack_from(f'<{blocks}I', data, at + 4 * blocks)


def chunks(directory: pathlib.Path, prefix: str, unwrap: Unwrap | None = None
           ) -> Iterator[tuple[int, bytes | None]]:
    """The volume in order: (length, bytes), None for zeros.

    :raises Damaged: something is not what the page says.
    """
    found = Store(directory, prefix, unwrap)
    chunk = 0
    for count, row in found.map_rows():
        end = min((chunk + count) * found.chunk_size, found.size)
        require(chunk * found.chunk_size < found.size, 'more chunks than the volume has')
        yield (end - chunk * found.chunk_size,
               None if row is None else found.chunk(chunk, row))
        chunk += count
    require(chunk == -(-found.size // found.chunk_size), 'all chunks of the volume')
    used = {re.sub('-[0-9]{5,}$', '', name) for name in found.named} - {prefix}
    require(used == set(found.members['references']), 'references')


def restore(directory: pathlib.Path, prefix: str, unwrap: Unwrap | None = None) -> bytes:
    return b''.join(bytes(length) if data is None else data
                    for length, data in chunks(directory, prefix, unwrap))
