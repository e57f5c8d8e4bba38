"""SFTP version 3 as bytes: its numbers, and how fields are packed and read again.

Sources: draft-ietf-secsh-filexfer-02, and the file PROTOCOL of OpenSSH for its extensions.
"""

from __future__ import annotations

import dataclasses
import enum
import struct

VERSION = 3


class Kind(enum.IntEnum):
    """Types of packets."""

    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    LSTAT = 7
    FSTAT = 8
    SETSTAT = 9
    FSETSTAT = 10
    OPENDIR = 11
    READDIR = 12
    REMOVE = 13
    MKDIR = 14
    RMDIR = 15
    REALPATH = 16
    STAT = 17
    RENAME = 18
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRS = 105
    EXTENDED = 200
    EXTENDED_REPLY = 201


class Code(enum.IntEnum):
    """Codes of a STATUS. Those above OP_UNSUPPORTED are of later versions; servers send them."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    BAD_MESSAGE = 5
    NO_CONNECTION = 6
    CONNECTION_LOST = 7
    OP_UNSUPPORTED = 8
    INVALID_HANDLE = 9
    NO_SUCH_PATH = 10
    FILE_ALREADY_EXISTS = 11
    WRITE_PROTECT = 12
    NO_MEDIA = 13
    NO_SPACE_ON_FILESYSTEM = 14
    QUOTA_EXCEEDED = 15


class Flag(enum.IntFlag):
    """How OPEN opens a file."""

    READ = 0x01
    WRITE = 0x02
    CREAT = 0x08
    EXCL = 0x20


HAS_SIZE, HAS_OWNER, HAS_MODE, HAS_TIMES, HAS_EXTENDED = 0x1, 0x2, 0x4, 0x8, 0x80000000

READ_ONLY = 0x1
"""A flag of statvfs."""

_U32 = struct.Struct('>I')
_U64 = struct.Struct('>Q')


class Malformed(ValueError):
    """Bytes that are not what the protocol wants at this place."""


@dataclasses.dataclass(frozen=True, slots=True)
class Attributes:
    """What a server tells of a file: None for what it leaves out."""

    size: int | None = None
    mode: int | None = None
    modified: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Space:
    """What a server tells of a file system; bytes where it has blocks."""

    free: int
    files: int
    free_files: int
    read_only: bool


def u32(value: int) -> bytes:
    return _U32.pack(value)


def u64(value: int) -> bytes:
    return _U64.pack(value)


def string(value: bytes) -> bytes:
    return _U32.pack(len(value)) + value


def mode(value: int | None) -> bytes:
    """Attributes that set permissions, or nothing."""
    return u32(0) if value is None else u32(HAS_MODE) + u32(value)


class Fields:
    """Reads the fields of a packet one after the other, never past its end."""

    def __init__(self, body: bytes | bytearray) -> None:
        self._body = body
        self._at = 0

    def u32(self) -> int:
        return self._number(_U32)

    def u64(self) -> int:
        return self._number(_U64)

    def string(self) -> bytes:
        length = self.u32()
        start = self._at
        if length > len(self._body) - start:
            raise Malformed(f'a string of {length} bytes where {len(self._body) - start} are left')
        self._at += length
        return bytes(self._body[start:self._at])

    def attributes(self) -> Attributes:
        flags = self.u32()
        size = self.u64() if flags & HAS_SIZE else None
        if flags & HAS_OWNER:
            self.u64()
        permissions = self.u32() if flags & HAS_MODE else None
        modified = None
        if flags & HAS_TIMES:
            self.u32()
            modified = self.u32()
        if flags & HAS_EXTENDED:
            for _ in range(self.u32()):
                self.string()
                self.string()
        return Attributes(size, permissions, modified)

    def names(self) -> list[tuple[bytes, Attributes]]:
        """The entries of a NAME packet."""
        found = []
        for _ in range(self.u32()):
            name = self.string()
            self.string()  # the line that `ls -l` would show
            found.append((name, self.attributes()))
        return found

    def space(self) -> Space:
        """The body of a reply to statvfs."""
        _, unit, _, _, available, files, _, free_files, _, flags, _ = (
            self.u64() for _ in range(11))
        return Space(available * unit, files, free_files, bool(flags & READ_ONLY))

    def rest(self) -> list[tuple[bytes, bytes]]:
        """Pairs of strings up to the end."""
        pairs = []
        while self._at < len(self._body):
            pairs.append((self.string(), self.string()))
        return pairs

    def _number(self, layout: struct.Struct) -> int:
        try:
            value: int = layout.unpack_from(self._body, self._at)[0]
        except struct.error:
            raise Malformed('a packet that ends too early') from None
        self._at += layout.size
        return value


def name_of(code: int) -> str:
    """A code of a STATUS in words."""
    known = code in Code._value2member_map_
    return Code(code).name.lower().replace('_', ' ') if known else f'status {code}'


def printable(text: bytes, limit: int = 300) -> str:
    """What a server said, fit for a message on a terminal."""
    shown = text[:limit].decode(errors='replace')
    return ''.join(c if c.isprintable() else ' ' for c in shown).strip()
