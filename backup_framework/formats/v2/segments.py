"""A sealed map: a head with its salt, and the map in segments of one size, each sealed.

So it is still written and read as a stream. The number of a segment and whether it is the last one
are bound to it: none can be left out, moved or cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import io
import itertools

from backup_framework import exceptions
from backup_framework.formats.v2 import chunk_map, sealing

SIZE = 64 << 10
"""Bytes of the map in each segment but the last one, which may have fewer."""


def sealed(pieces: Iterable[bytes], length: int, data_key: bytes, salt: bytes, name: str
           ) -> Iterator[bytes]:
    """The bytes to be stored of a map.

    :param pieces: of the map, each of a multiple of SIZE bytes but the last one.
    :param length: of the map.
    :param salt: a new one for each map.
    """
    cipher = sealing.cipher_of(data_key, salt, name)
    yield chunk_map.sealed_head(salt)
    number, last = 0, (length - 1) // SIZE
    for piece in pieces:
        for at in range(0, len(piece), SIZE):
            kind = sealing.LAST_SEGMENT if number == last else sealing.SEGMENT
            yield cipher.seal(kind, number, piece[at:at + SIZE])
            number += 1


def opened(file: io.BufferedIOBase, data_key: bytes, name: str) -> Iterator[bytes]:
    """The segments of a stored map.

    :raises CorruptObject: it is none, or not the one that was sealed under this name.
    """
    salt = chunk_map.salt_of(file.read(chunk_map.SEALED_HEAD_SIZE))
    cipher = sealing.cipher_of(data_key, salt, name)
    following = file.read(SIZE + sealing.OVERHEAD)
    for number in itertools.count():
        found, following = following, file.read(SIZE + sealing.OVERHEAD)
        kind = sealing.SEGMENT if following else sealing.LAST_SEGMENT
        try:
            yield cipher.open(kind, number, found)
        except exceptions.CorruptObject:
            raise exceptions.CorruptObject(
                f'its segment {number} does not open with the key of its backup') from None
        if not following:
            return


class Opened(io.RawIOBase):
    """The map again, as a file that passes by once."""

    def __init__(self, segments: Iterator[bytes]) -> None:
        super().__init__()
        self._segments = segments
        self._left = memoryview(b'')

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._left:
            self._left = memoryview(next(self._segments, b''))
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
