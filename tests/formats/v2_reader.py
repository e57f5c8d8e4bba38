"""A reader of format 2.0.0 written from doc/source/formats/v2.rst alone.

It imports nothing of the framework, reads a directory with one file an object, as the local driver
keeps a container, and checks all that the page lets one check.
"""

from __future__ import annotations

import bz2
from collections.abc import Callable, Iterator
import hashlib
import json
import pathlib
import re
import struct
import zlib

import blake3
import zstandard

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


class Store:
    """One backup in a directory."""

    def __init__(self, directory: pathlib.Path, prefix: str) -> None:
        self.directory = directory
        self.prefix = prefix
        document = (directory / f'{prefix}_metadata').read_bytes()
        self.members = members = json.loads(document)
        require(members['version'] == '2.0.0' and members['sealing'] is None, 'version')
        self.digest = {'blake3': _blake3, 'sha256': _sha256}[members['digest']]
        body, comma, _ = document.rpartition(b',\n  "manifest_digest": "')
        tail = ',\n  "manifest_digest": "%s"\n}' % self.digest(body).hex()
        require(document == body + tail.encode(), 'the digest of the manifest')
        self.size, self.chunk_size, self.block_size = (
            members[key] for key in ('size', 'chunk_size', 'block_size'))
        size = self.block_size
        require(512 <= size <= 16 << 20 and size & (size - 1) == 0, 'block_size')
        require(self.chunk_size % size == 0 and 0 < self.chunk_size <= 65536 * size, 'chunk_size')
        require(members['references'] == sorted(set(members['references'])), 'references')
        self.named: dict[str, tuple[int, int]] = {}
        """Blocks in the frames of each object that the map names, and its length."""

    def map_rows(self) -> Iterator[tuple[int, tuple | None]]:
        """(number of chunks, None for zeros or the fields and references of a row)."""
        described = self.members['map']
        data = (self.directory / described['name']).read_bytes()
        require(re.fullmatch(re.escape(self.prefix) + '_map(-[0-9]+)?', described['name'])
                is not None, 'the name of the map')
        require(len(data) == described['length'], 'the length of the map')
        require(self.digest(data).hex() == described['digest'], 'the digest of the map')
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

    def table(self, chunk: int, row: tuple) -> Table:
        name, length, offset, digest, chunk_digest, uses = row
        data = self.part(name, offset, length)
        require(self.digest(data) == digest, f'the table of chunk {chunk}')
        table = Table(data, chunk, name)
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
        require((magic, layout, flags, salt, reserved)
                == (b'bf2.objt', 1, 0, bytes(32), bytes(8)), f'the header of {name}')
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
        require(reserved + more == bytes(11) and 1 <= stored <= plain <= largest, 'a frame')
        data = self.part(table.names[number], offset, stored)
        require(self.digest(data) == digest, f'the frame at {offset} of {table.names[number]}')
        require((codec == 0) == (stored == plain), 'the codec of a frame')
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


def chunks(directory: pathlib.Path, prefix: str) -> Iterator[tuple[int, bytes | None]]:
    """The volume in order: (length, bytes), None for zeros.

    :raises Damaged: something is not what the page says.
    """
    found = Store(directory, prefix)
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


def restore(directory: pathlib.Path, prefix: str) -> bytes:
    return b''.join(bytes(length) if data is None else data
                    for length, data in chunks(directory, prefix))
