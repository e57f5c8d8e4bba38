"""CRC32C, the checksum that the service keeps of every object."""

from __future__ import annotations

import base64

import google_crc32c

Buffer = bytes | bytearray | memoryview

PIECE = 256 << 10
"""Copied at a time: the compiled part takes nothing but bytes."""

FAST: bool = google_crc32c.implementation == 'c'
"""Whether the checksum is made by compiled code; else it is a thousand times slower."""


def extend(crc: int, data: Buffer) -> int:
    """The checksum with more bytes behind those that `crc` is of."""
    if isinstance(data, bytes):
        return int(google_crc32c.extend(crc, data))
    view = memoryview(data)
    for start in range(0, len(view), PIECE):
        crc = google_crc32c.extend(crc, bytes(view[start:start + PIECE]))
    return crc


def spelled(crc: int) -> str:
    """As the service spells it."""
    return base64.b64encode(crc.to_bytes(4, 'big')).decode()
