"""Small stores of format 2.0.0 as data: a writer that puts blocks where a test wants them.

Bytes are packed here as doc/source/formats/v2.rst says, by `struct`; nothing is decided for the
test: each frame, its codec, its object and its order are given.
"""

from __future__ import annotations

import bz2
from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import json
import random
import struct
from typing import Any
import zlib

import blake3
import zstandard

BLOCK = 512
ZERO = 0xffffffff
COMPRESS = [bytes, zlib.compress, bz2.compress, zstandard.ZstdCompressor(level=1).compress]
DIGESTS = {'blake3': lambda data: blake3.blake3(data).digest(),
           'sha256': lambda data: hashlib.sha256(data).digest()}


@dataclasses.dataclass
class Placed:
    """A frame that was stored: where, and its blocks in order."""

    name: str
    codec: int
    offset: int
    stored: bytes
    blocks: Sequence[bytes]


@dataclasses.dataclass
class Row:
    """A chunk in a map."""

    name: str
    offset: int
    length: int
    digest: bytes
    chunk_digest: bytes
    uses: dict[str, int]


@dataclasses.dataclass
class Maker:
    """Makes backups in `objects`, name by name.

    :ivar placed: of each block that is stored, its frame and its place in it.
    :ivar misplaced: added to the places of tables in footers, whose digests stay right.
    """

    objects: dict[str, bytes]
    chunk_size: int = 8 * BLOCK
    block_size: int = BLOCK
    digest: str = 'blake3'
    placed: dict[bytes, tuple[Placed, int]] = dataclasses.field(default_factory=dict)
    stored: dict[str, int] = dataclasses.field(default_factory=dict)
    misplaced: int = 0

    def of(self, data: bytes) -> bytes:
        return DIGESTS[self.digest](data)

    def blocks(self, data: bytes) -> list[bytes]:
        return [data[at:at + self.block_size] for at in range(0, len(data), self.block_size)]

    def object(self, name: str, chunks: Mapping[int, bytes],
               frames: Sequence[tuple[int, Sequence[bytes]]]) -> dict[int, Row]:
        """An object with these frames (codec, blocks), and the tables of these chunks.

        A codec that does not make its frame shorter becomes none. Blocks of the chunks that are in
        no frame here are zeros, or found in the objects that were made before.
        """
        body = struct.pack('<8sHHIQ32s8s', b'bf2.objt', 1, 0, len(chunks), min(chunks), b'', b'')
        header = body
        self.stored[name] = sum(len(blocks) for _, blocks in frames)
        for codec, blocks in frames:
            plain = b''.join(blocks)
            stored = COMPRESS[codec](plain)
            if len(stored) >= len(plain):
                codec, stored = 0, plain
            frame = Placed(name, codec, len(body), stored, blocks)
            for place, block in enumerate(blocks):
                self.placed[block] = frame, place
            body += stored
        lengths = [len(self.table(name, chunk, data, b'')[0]) for chunk, data in chunks.items()]
        ends = [len(body) + sum(lengths[:number]) for number in range(len(lengths) + 1)]
        footer = b''.join(struct.pack('<QQII', chunk, at - self.misplaced, length, 0)
                          for chunk, at, length in zip(chunks, ends, lengths))
        number = int(name.rpartition('-')[2])
        footer += struct.pack('<QIIQ8s', ends[-1], len(chunks), 0, number, b'bf2.foot')
        rows = {}
        for (chunk, data), at in zip(chunks.items(), ends):
            table, digests, uses = self.table(name, chunk, data, self.of(header + footer))
            body += table
            rows[chunk] = Row(name, at, len(table), self.of(table), self.of(digests), uses)
        self.objects[name] = body + footer
        return rows

    def table(self, name: str, chunk: int, data: bytes, object_digest: bytes
              ) -> tuple[bytes, bytes, dict[str, int]]:
        """The block table, the digests in it, and how many blocks are in which object."""
        frames: list[Placed] = []
        uses = {name: 0}
        numbers, places, digests = [], [], b''
        for block in self.blocks(data):
            digests += self.of(block)
            if not any(block):
                numbers.append(ZERO)
                places.append(0)
                continue
            frame, place = self.placed[block]
            if all(frame is not known for known in frames):
                frames.append(frame)
            numbers.append(next(n for n, known in enumerate(frames) if known is frame))
            places.append(place)
            uses[frame.name] = uses.get(frame.name, 0) + 1
        names = list(uses)
        packed_names = b''.join(struct.pack('<H', len(other)) + other.encode()
                                for other in names[1:])
        head = struct.pack('<4sHHQIIII32s', b'bf2t', 1, 0, chunk, len(numbers), len(frames),
                           len(names) - 1, len(packed_names), object_digest)
        packed = b''.join(
            struct.pack('<IB3sQII32s8s', names.index(frame.name), frame.codec, b'', frame.offset,
                        len(frame.stored), sum(map(len, frame.blocks)), self.of(frame.stored), b'')
            for frame in frames)
        columns = struct.pack(f'<{len(numbers)}I{len(places)}I', *numbers, *places)
        return head + packed_names + packed + digests + columns, digests, uses

    def map(self, name: str, items: Sequence[int | Row]) -> bytes:
        """The map of chunks: a number of them that are zeros, or a row."""
        body = struct.pack('<8sHHI', b'bf2.map.', 1, 0, 0)
        numbers: dict[str, int] = {}
        for item in items:
            if isinstance(item, int):
                body += struct.pack('<B7sQ', 2, b'', item)
                continue
            for used in item.uses:
                if used not in numbers:
                    numbers[used] = len(numbers)
                    body += struct.pack('<BBHIQ', 1, 0, len(used), self.stored[used],
                                        len(self.objects[used])) + used.encode()
            body += struct.pack('<BBHIIIQ32s32s', 3, 0, 0, len(item.uses), numbers[item.name],
                                item.length, item.offset, item.digest, item.chunk_digest)
            body += b''.join(struct.pack('<II', numbers[used], blocks)
                             for used, blocks in item.uses.items())
        self.objects[name] = body + struct.pack('<B7s32s', 0, b'', self.of(body))
        return self.objects[name]

    def manifest(self, prefix: str, size: int, items: Sequence[int | Row], **changed: Any) -> None:
        """The map and the manifest; `changed` members are instead of the right ones."""
        body = self.map(f'{prefix}_map', items)
        used = {name.rpartition('-')[0] for item in items if isinstance(item, Row)
                for name in item.uses}
        own = [name for name in self.objects if name.startswith(f'{prefix}-')]
        members = {
            'version': '2.0.0', 'backup_id': f'id of {prefix}', 'volume_id': 'a volume',
            'backup_name': None, 'backup_description': None,
            'created_at': '2026-11-22T04:08:10+00:00', 'parent_id': None, 'volume_meta': None,
            'extra_metadata': None, 'size': size, 'chunk_size': self.chunk_size,
            'block_size': self.block_size, 'digest': self.digest, 'compression': 'zstd',
            'map': {'name': f'{prefix}_map', 'length': len(body), 'digest': self.of(body).hex()},
            'references': sorted(used - {prefix}), 'object_count': len(own),
            'stored_bytes': len(body) + sum(len(self.objects[name]) for name in own),
            'sealing': None, 'owner': None, 'data_timestamp': None, 'snapshot_id': None,
            'properties': {}} | changed
        self.objects[f'{prefix}_metadata'] = self.sign(members)

    def sign(self, members: dict[str, Any]) -> bytes:
        document = json.dumps(members, indent=2)[:-2].encode()
        return document + b',\n  "manifest_digest": "%s"\n}' % self.of(document).hex().encode()


def make_blocks(seed: int, count: int, size: int = BLOCK, plain: bool = True) -> list[bytes]:
    """Blocks with different bytes; `plain` ones compress."""
    source = random.Random(seed)
    return [(source.randbytes(16) * (size // 16 + 1))[:size] if plain else source.randbytes(size)
            for _ in range(count)]


def sample(digest: str = 'blake3') -> tuple[Maker, bytes]:
    """Backup `new` on backup `old`: every kind of chunk and frame, and an odd size.

    Chunk 0 has frames of all codecs, out of order, and a block that stands twice; 1 and 2 are
    zeros; 3 and 4 share an object and a frame of it; 5 is the row of `old`; 6 has a table in `new`
    but all its bytes in two objects of `old`, some behind a dead block; 7 is short.
    """
    maker = Maker({}, digest=digest)
    old = make_blocks(1, 20)
    five, six = b''.join(old[:8]), b''.join([*old[8:11], bytes(BLOCK), *old[12:15], old[3]])
    rows = maker.object('old-00001', {5: five}, [(3, old[:8])])
    maker.object('old-00007', {6: b''.join(old[8:16])}, [(1, old[8:12]), (0, old[12:16])])
    maker.manifest('old', 8 * maker.chunk_size, [5, rows[5], 2])
    new, noise = make_blocks(2, 12), make_blocks(3, 4, plain=False)
    tail = make_blocks(4, 1)[0][:100]
    zero = [*new[2:4], bytes(BLOCK), noise[0], new[0], new[2], bytes(BLOCK), new[1]]
    three = [*new[4:8], *make_blocks(5, 1), bytes(BLOCK), noise[1], new[8]]
    four = [new[8], new[5], *[bytes(BLOCK)] * 5, new[9]]
    seven = [noise[2], bytes(BLOCK), tail]
    rows |= maker.object('new-00001', {0: b''.join(zero)}, [
        (1, new[:2]), (2, new[2:4] * 4), (0, noise[:1])])
    rows |= maker.object('new-00003', {3: b''.join(three), 4: b''.join(four)}, [
        (3, [*new[4:8], three[4]]), (1, new[8:10]), (3, noise[1:2])])
    rows |= maker.object('new-00004', {6: six}, [])
    rows |= maker.object('new-00005', {7: b''.join(seven)}, [(0, noise[2:3]), (2, [tail])])
    size = 7 * maker.chunk_size + 2 * BLOCK + 100
    maker.manifest('new', size, [rows[0], 2, *(rows[number] for number in (3, 4, 5, 6, 7))])
    data = b''.join([*zero, bytes(2 * maker.chunk_size), *three, *four, five, six, *seven])
    assert len(data) == size
    return maker, data
