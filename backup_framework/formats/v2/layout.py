"""The bytes of a data object of format 2.0.0: header, frames, block tables, footer.

What is read is untrusted: every number is checked against its bounds before it is used.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
import dataclasses
import struct
import sys

from backup_framework import exceptions, store
from backup_framework.formats.v2 import digest, sealing

LAYOUT = 1
MOST_BLOCKS = 65536
"""Blocks in a chunk, and block tables in an object, at most."""
LARGEST_PLAIN = 16 << 20
"""Plain bytes of a block at most."""
LARGEST_FRAME = 1 << 20
"""Plain bytes of a frame at most, where its block is not larger: a table whose every block is in a
frame of its own must not cost much more than its chunk."""
ZERO = 0xffffffff
"""In place of a frame's number: a block of zeros."""
CODECS = ('none', 'zlib', 'bz2', 'zstd')
"""A frame's codec is its place here."""

_HEADER = struct.Struct('<8sHHIQ32s8s')
_FOOTER_ITEM = struct.Struct('<QQII')
_TRAILER = struct.Struct('<QIIQ8s')
_TABLE_HEAD = struct.Struct('<4sHHQIIII32s')
_FRAME = struct.Struct('<IB3sQII32s8s')
_NAME_LENGTH = struct.Struct('<H')

HEADER_SIZE = _HEADER.size
FOOTER_ITEM_SIZE = _FOOTER_ITEM.size
TRAILER_SIZE = _TRAILER.size
_OBJECT_MAGIC, _FOOTER_MAGIC, _TABLE_MAGIC = b'bf2.objt', b'bf2.foot', b'bf2t'
_NO_SALT, _RESERVED = bytes(sealing.SALT_SIZE), bytes(8)
_SEALED = 1
_MOST_NAMES = MOST_BLOCKS * (2 + store.LONGEST_NAME)


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """Blocks compressed as one: where they are.

    :param object: 0 is the object that holds the table, n the n-th of the table's `names`.
    :param digest: of the stored bytes.
    """

    object: int
    codec: int
    offset: int
    stored: int
    plain: int
    digest: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """Where the blocks of one chunk are; columns have an item a block.

    :param object_digest: of header and footer of the object that holds the table.
    :param names: of the other objects that frames are in.
    :param digests: of all blocks, one behind the other.
    :param frame_of: each block's frame, or ZERO.
    :param place_of: each block's place in its plain frame, in blocks.
    """

    chunk: int
    object_digest: bytes
    names: Sequence[str]
    frames: Sequence[Frame]
    digests: bytes
    frame_of: array[int]
    place_of: array[int]

    @property
    def blocks(self) -> int:
        return len(self.frame_of)

    def digest_of(self, block: int) -> bytes:
        return self.digests[block * digest.SIZE:(block + 1) * digest.SIZE]


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """What the header of a data object says.

    :param tables: how many block tables it has.
    :param salt: None unless the object is sealed.
    """

    tables: int
    salt: bytes | None


@dataclasses.dataclass(frozen=True, slots=True)
class FooterItem:
    """Where a block table is in its object."""

    chunk: int
    offset: int
    length: int


def header(first_chunk: int, tables: int, salt: bytes | None) -> bytes:
    """:param salt: of a sealed object."""
    return _HEADER.pack(_OBJECT_MAGIC, LAYOUT, _SEALED if salt else 0, tables, first_chunk,
                        salt or _NO_SALT, _RESERVED)


def footer(items: Iterable[FooterItem], offset: int, number: int) -> bytes:
    """The footer that begins at `offset` of the object with this number in its name."""
    packed = [_FOOTER_ITEM.pack(item.chunk, item.offset, item.length, 0) for item in items]
    return b''.join(packed) + _TRAILER.pack(offset, len(packed), 0, number, _FOOTER_MAGIC)


def footer_size(tables: int) -> int:
    return tables * FOOTER_ITEM_SIZE + TRAILER_SIZE


def decode_header(data: bytes) -> Header:
    """:raises CorruptObject: it is no header."""
    magic, layout, flags, tables, _, salt, reserved = _HEADER.unpack(data)
    if ((magic, layout, reserved) != (_OBJECT_MAGIC, LAYOUT, _RESERVED)
            or flags not in (0, _SEALED) or (flags == 0) != (salt == _NO_SALT)
            or not 0 < tables <= MOST_BLOCKS):
        raise exceptions.CorruptObject('its header is not that of a data object')
    return Header(tables, salt if flags else None)


def decode_footer(data: bytes, offset: int, number: int) -> list[FooterItem]:
    """Where the block tables of an object are.

    :param data: the footer, which begins at `offset`.
    :param number: the one in the object's name.
    :raises CorruptObject: it is no footer of this object.
    """
    items = len(data) - TRAILER_SIZE
    told, tables, reserved, told_number, magic = _TRAILER.unpack_from(data, items)
    if ((told, tables * FOOTER_ITEM_SIZE, reserved, told_number, magic)
            != (offset, items, 0, number, _FOOTER_MAGIC)):
        raise exceptions.CorruptObject('its footer does not fit it')
    found = []
    for chunk, at, length, reserved in _FOOTER_ITEM.iter_unpack(data[:items]):
        if reserved or not HEADER_SIZE <= at <= offset - length:
            raise exceptions.CorruptObject('its footer names an impossible block table')
        found.append(FooterItem(chunk, at, length))
    return found


def table_size(blocks: int, frames: int, names: Sequence[str]) -> int:
    """Bytes of a block table."""
    return (_TABLE_HEAD.size + sum(_NAME_LENGTH.size + len(name.encode()) for name in names)
            + frames * _FRAME.size + blocks * (digest.SIZE + 8))


def largest_table(blocks: int) -> int:
    """Bytes that the block table of a chunk may have at most."""
    most_names = blocks * (_NAME_LENGTH.size + store.LONGEST_NAME)
    return table_size(blocks, blocks, ()) + most_names


def encode_table(table: Table) -> bytes:
    names = b''.join(_NAME_LENGTH.pack(len(encoded)) + encoded
                     for encoded in (name.encode() for name in table.names))
    head = _TABLE_HEAD.pack(_TABLE_MAGIC, LAYOUT, 0, table.chunk, table.blocks, len(table.frames),
                            len(table.names), len(names), table.object_digest)
    frames = b''.join(
        _FRAME.pack(frame.object, frame.codec, b'\0\0\0', frame.offset, frame.stored, frame.plain,
                    frame.digest, _RESERVED) for frame in table.frames)
    return b''.join((head, names, frames, table.digests,
                     _little(table.frame_of), _little(table.place_of)))


def decode_table(data: bytes, chunk: int, length: int, block_size: int, overhead: int = 0
                 ) -> Table:
    """The table of a chunk of `length` bytes.

    :param overhead: bytes that each frame is longer in the store than its codec made it.
    :raises CorruptObject: it cannot be that.
    """
    blocks = -(-length // block_size)
    if len(data) < _TABLE_HEAD.size:
        raise _corrupt('it ends inside its head')
    magic, layout, flags, told, told_blocks, frames, others, names_size, object_digest = (
        _TABLE_HEAD.unpack_from(data))
    if (magic, layout, flags) != (_TABLE_MAGIC, LAYOUT, 0):
        raise _corrupt('its first bytes are not those of one')
    if (told, told_blocks) != (chunk, blocks):
        raise _corrupt(f'it is of chunk {told} with {told_blocks} blocks')
    if not others <= frames <= blocks or names_size > _MOST_NAMES:
        raise _corrupt('it has impossible counts')
    at = _TABLE_HEAD.size + names_size
    columns = at + frames * _FRAME.size
    if len(data) != columns + blocks * (digest.SIZE + 8):
        raise _corrupt('its length does not fit its counts')
    found = _frames(data[at:columns], others, max(LARGEST_FRAME, block_size), overhead)
    frame_of, place_of = array('I'), array('I')
    ends = (columns + blocks * digest.SIZE, columns + blocks * (digest.SIZE + 4), len(data))
    frame_of.frombytes(data[ends[0]:ends[1]])
    place_of.frombytes(data[ends[1]:ends[2]])
    if sys.byteorder == 'big':
        frame_of.byteswap()
        place_of.byteswap()
    _check_places(frame_of, place_of, found, length, block_size)
    return Table(chunk, object_digest, _names(data[_TABLE_HEAD.size:at], others), found,
                 data[columns:ends[0]], frame_of, place_of)


def _names(data: bytes, count: int) -> list[str]:
    names: list[str] = []
    at = 0
    for _ in range(count):
        if at + _NAME_LENGTH.size > len(data):
            raise _corrupt('its names end too early')
        length, = _NAME_LENGTH.unpack_from(data, at)
        at += _NAME_LENGTH.size
        names.append(_name(data[at:at + length]))
        at += length
    if at != len(data):
        raise _corrupt('its names do not fill their room')
    return names


def _name(encoded: bytes) -> str:
    try:
        return store.check_new_name(encoded.decode())
    except (UnicodeDecodeError, exceptions.InvalidName):
        raise _corrupt('it names an object as none is named') from None


def _frames(data: bytes, others: int, largest: int, overhead: int) -> list[Frame]:
    frames: list[Frame] = []
    for number, codec, pad, offset, stored, plain, stored_digest, reserved in (
            _FRAME.iter_unpack(data)):
        if (number > others or codec >= len(CODECS) or pad != b'\0\0\0' or reserved != _RESERVED
                or offset < HEADER_SIZE or not 0 < stored - overhead <= plain <= largest
                or codec == 0 and stored - overhead != plain):
            raise _corrupt('one of its frames is impossible')
        frames.append(Frame(number, codec, offset, stored, plain, stored_digest))
    return frames


def _check_places(frame_of: array[int], place_of: array[int], frames: Sequence[Frame],
                  length: int, block_size: int) -> None:
    """Each block is inside its frame; the last one of a volume may be short."""
    used = bytearray(len(frames))
    last = len(frame_of) - 1
    short = length - last * block_size
    for block, frame in enumerate(frame_of):
        if frame == ZERO:
            if place_of[block]:
                raise _corrupt('a block of zeros has a place')
            continue
        end = place_of[block] * block_size + (short if block == last else block_size)
        if frame >= len(frames) or end > frames[frame].plain:
            raise _corrupt('one of its blocks is outside of its frame')
        used[frame] = 1
    if 0 in used:
        raise _corrupt('no block uses one of its frames')


def _little(column: array[int]) -> bytes:
    if sys.byteorder == 'big':
        column = column[:]
        column.byteswap()
    return column.tobytes()


def _corrupt(reason: str) -> exceptions.CorruptObject:
    return exceptions.CorruptObject(f'the block table is damaged: {reason}')
