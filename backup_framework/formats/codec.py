"""Compression of whole objects and of frames, under Cinder's names: none, zlib, bz2 and zstd.

All of it lets other threads run while it works.
"""

from __future__ import annotations

import bz2
from collections.abc import Callable
import functools
from typing import Any, Protocol
import zlib

import zstandard

from backup_framework import exceptions
from backup_framework.formats import pool

try:
    # Some twenty times as fast as zlib's usual level, for a tenth more bytes.
    from isal import igzip_lib, isal_zlib
except ImportError:  # no wheel for this machine
    igzip_lib = isal_zlib = None  # type: ignore[assignment]

NONE = 'none'
ZSTD = 'zstd'
ZSTD_LEVEL = 1

_CANONICAL = {'none': NONE, 'off': NONE, 'no': NONE, 'zlib': 'zlib', 'gzip': 'zlib',
              'bz2': 'bz2', 'bzip2': 'bz2', 'zstd': ZSTD}
NAMES = frozenset(_CANONICAL)
"""Cinder's words for them, in lower case."""

_READ_SIZE = 1 << 18
_ZEROS = bytes(1 << 20)
_LARGEST_WINDOW = 1 << 27
_FRAME_WINDOW = 8 << 20
_DAMAGED: tuple[type[Exception], ...] = (
    zstandard.ZstdError, zlib.error, OSError, ValueError, EOFError,
    *((isal_zlib.error,) if isal_zlib else ()))

Buffer = bytes | bytearray | memoryview


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def canonical(name: str) -> str:
    """The codec behind one of Cinder's words, in any case.

    :raises KeyError: there is none.
    """
    return _CANONICAL[name.lower()]


def compress(codec: str, data: Buffer) -> tuple[str, Buffer]:
    """`data` compressed with the marker of what was done: NONE where it did not get smaller.

    Then it is `data` itself that comes back.
    """
    if codec == NONE:
        return NONE, data
    compressed = _COMPRESS[codec](data)
    return (codec, compressed) if len(compressed) < len(data) else (NONE, data)


def decompress(codec: str, data: Buffer, length: int) -> Buffer:
    """The `length` bytes that `data`, exactly one stream of the codec, was made from.

    Takes memory for no more than that, whatever the stream claims.

    :raises CorruptObject: it is none, has another length, or something follows it.
    """
    try:
        plain = _DECOMPRESS[codec](data, length)
    except _DAMAGED as error:
        raise exceptions.CorruptObject(f'the compressed data are damaged: {error}') from None
    if len(plain) != length:
        raise exceptions.CorruptObject(
            f'it has {len(plain)} bytes or more instead of {length}')
    return plain


@functools.lru_cache(maxsize=8)
def zero_body(length: int) -> bytes:
    """The stored form of so many zeros, the same for every chunk; its marker is ZSTD."""
    frame = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj(size=length)
    pieces = [frame.compress(_ZEROS[:length - at]) for at in range(0, length, len(_ZEROS))]
    return b''.join(pieces) + frame.flush()


def open_body(codec: str, reader: Readable) -> Readable:
    """Something whose `read(n)` gives up to n decompressed bytes, and b'' at the end only.

    Memory stays bounded whatever the body claims.

    :raises CorruptObject: from `read`, where the body is damaged or goes on past its end.
    """
    if codec == NONE:
        return reader
    if codec == ZSTD:
        return _Frames(reader)
    return _Inflater(reader, _INFLATE[codec]())


# Frames with their content size in the header: older readers of Cinder need it.
_compressors = pool.Pool(lambda: zstandard.ZstdCompressor(
    level=ZSTD_LEVEL, write_content_size=True))
_decompressors = pool.Pool(lambda: zstandard.ZstdDecompressor(max_window_size=_FRAME_WINDOW))


def _zstd(data: Buffer) -> bytes:
    with _compressors.one() as compressor:
        return compressor.compress(data)


def _unzstd(data: Buffer, length: int) -> bytes:
    if zstandard.frame_content_size(data) not in (length, -1):
        raise ValueError('the frame says another length')
    with _decompressors.one() as decompressor:
        return decompressor.decompress(data, max_output_size=length, allow_extra_data=False)


def _unzlib(data: Buffer, length: int) -> bytes:
    return _single(_inflater(), data, length)


def _unbz2(data: Buffer, length: int) -> bytes:
    return _single(bz2.BZ2Decompressor(), data, length)


def _single(step: _Decompressor, data: Buffer, length: int) -> bytes:
    # With room for one byte more, so that it comes to the end of the stream and its checksum.
    plain = step.decompress(data, length + 1)
    if not step.eof:
        raise ValueError('the stream does not end where it should')
    if step.unused_data:
        raise ValueError('there are bytes after the end of the stream')
    return plain


def _plain(data: Buffer, length: int) -> Buffer:
    return data


_COMPRESS: dict[str, Callable[[Buffer], bytes]] = {
    'zlib': functools.partial(isal_zlib.compress, level=1) if isal_zlib else zlib.compress,
    'bz2': bz2.compress, ZSTD: _zstd}
_DECOMPRESS: dict[str, Callable[[Buffer, int], Buffer]] = {
    NONE: _plain, 'zlib': _unzlib, 'bz2': _unbz2, ZSTD: _unzstd}


class _Decompressor(Protocol):
    """What bz2's decompressor has."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: Buffer, max_length: int) -> bytes: ...


class _Zlib:
    """zlib's decompressor, as bz2's is."""

    def __init__(self) -> None:
        self._object = zlib.decompressobj()
        self._left = b''

    @property
    def eof(self) -> bool:
        return self._object.eof

    @property
    def needs_input(self) -> bool:
        return not self._left

    @property
    def unused_data(self) -> bytes:
        return self._object.unused_data

    def decompress(self, data: Buffer, max_length: int) -> bytes:
        plain = self._object.decompress(self._left + data if self._left else data, max_length)
        self._left = self._object.unconsumed_tail
        return plain


def _inflater() -> _Decompressor:
    if igzip_lib is None:
        return _Zlib()
    found: _Decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_ZLIB)
    return found


_INFLATE: dict[str, Callable[[], _Decompressor]] = {
    'zlib': _inflater, 'bz2': bz2.BZ2Decompressor}


class _Inflater:
    """A zlib or bz2 stream, one stream a body."""

    def __init__(self, reader: Readable, step: _Decompressor) -> None:
        self._reader = reader
        self._step = step

    def read(self, size: int = -1, /) -> bytes:
        limit = size if size > 0 else _READ_SIZE
        while not self._step.eof:
            data = self._reader.read(_READ_SIZE) if self._step.needs_input else b''
            if not data and self._step.needs_input:
                raise exceptions.CorruptObject('the compressed data end too early')
            try:
                plain = self._step.decompress(data, limit)
            except _DAMAGED as error:
                raise exceptions.CorruptObject(
                    f'the compressed data are damaged: {error}') from None
            if plain:
                return plain
        if self._step.unused_data or self._reader.read(1):
            raise exceptions.CorruptObject('there are bytes after the end of the compressed data')
        return b''


class _Frames:
    """Zstandard frames, several being legal."""

    def __init__(self, reader: Any) -> None:
        self._stream = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).stream_reader(
            reader, read_size=_READ_SIZE, read_across_frames=True)

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._stream.read(size if size > 0 else _READ_SIZE)
        except zstandard.ZstdError as error:
            raise exceptions.CorruptObject(f'the compressed data are damaged: {error}') from None
