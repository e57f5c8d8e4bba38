"""Codecs: every one round trip, damage found, memory bounded whatever a body claims."""

from __future__ import annotations

import bz2
import contextlib
import hashlib
import io
import random
import resource
import tracemalloc
import zlib

from hypothesis import given
from hypothesis import strategies as st
import pytest
import zstandard

from backup_framework import exceptions
from backup_framework.formats import codec

CODECS = ('none', 'zlib', 'bz2', 'zstd')
MIB = 1 << 20


def unpack(name: str, body: bytes, step: int = MIB) -> bytes:
    reader = codec.open_body(codec.canonical(name), io.BytesIO(body))
    pieces = []
    while piece := reader.read(step):
        assert len(piece) <= step
        pieces.append(piece)
    assert reader.read(step) == b'', 'the end stays the end'
    return b''.join(pieces)


def stored(name: str, data: bytes) -> bytes:
    """Compressed, also where that does not pay."""
    return {'none': bytes, 'zlib': zlib.compress, 'bz2': bz2.compress,
            'zstd': zstandard.ZstdCompressor(level=3).compress}[name](data)


@pytest.mark.parametrize('name', CODECS)
@given(data=st.one_of(st.binary(max_size=300), st.binary(max_size=20).map(lambda b: b * 500)))
def test_round_trip(name: str, data: bytes) -> None:
    marker, body = codec.compress(name, data)
    assert unpack(marker, bytes(body)) == data
    assert marker == 'none' or len(body) < len(data)
    assert unpack(name, stored(name, data)) == data


@pytest.mark.parametrize('name', CODECS)
@pytest.mark.parametrize('length', [0, 1, 65535, 65536, MIB - 1, MIB, MIB + 1, 2 * MIB + 7])
def test_sizes(name: str, length: int) -> None:
    data = (random.Random(length).randbytes(min(length, 700_000)) + bytes(length))[:length]
    marker, body = codec.compress(name, memoryview(data))
    assert unpack(marker, bytes(body)) == data
    assert unpack(name, stored(name, data), 70_001) == data


@pytest.mark.parametrize('length', [1, 5, 4096, 65537, MIB + 1])
@pytest.mark.parametrize('step', [1000, MIB])
@pytest.mark.parametrize('name', CODECS)
def test_output_of_many_reads_from_little_input(name: str, length: int, step: int) -> None:
    """A decompressor may hold output back when its input has ended."""
    for data in (bytes(length), b'ab' * (length // 2)):
        assert unpack(name, stored(name, data), step) == data


@pytest.mark.parametrize('word, name', [
    ('none', 'none'), ('off', 'none'), ('no', 'none'), ('zlib', 'zlib'), ('gzip', 'zlib'),
    ('bz2', 'bz2'), ('bzip2', 'bz2'), ('zstd', 'zstd'), ('ZSTD', 'zstd'), ('GZip', 'zlib')])
def test_words_of_cinder(word: str, name: str) -> None:
    assert codec.canonical(word) == name and word.lower() in codec.NAMES


@pytest.mark.parametrize('word', ['', 'lz4', 'zlib ', 'none\n', 'İ'])
def test_other_words(word: str) -> None:
    with pytest.raises(KeyError):
        codec.canonical(word)
    assert word.lower() not in codec.NAMES


def test_interchange_with_the_standard_library() -> None:
    data = b'words and words ' * 5000
    assert zlib.decompress(codec.compress('zlib', data)[1]) == data
    assert bz2.decompress(codec.compress('bz2', data)[1]) == data
    body = bytes(codec.compress('zstd', data)[1])
    assert zstandard.frame_content_size(body) == len(data), 'older readers need it'


@pytest.mark.parametrize('length', [1, 4096, 32 * MIB])
def test_the_body_of_zeros(length: int) -> None:
    body = codec.zero_body(length)
    assert body == codec.zero_body(length) and zstandard.frame_content_size(body) == length
    assert unpack('zstd', body) == bytes(length)


def streamed(data: bytes) -> bytes:
    """A frame that does not say how much is in it."""
    compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return compressor.compress(data) + compressor.flush()


def test_zstandard_as_other_programs_write_it() -> None:
    data = random.Random(5).randbytes(100_000) + bytes(2 * MIB)
    assert unpack('zstd', streamed(data)) == data
    assert unpack('zstd', streamed(data) + stored('zstd', b'tail')) == data + b'tail'
    assert unpack('zstd', stored('zstd', b'') + stored('zstd', data)) == data
    skippable = b'\x50\x2a\x4d\x18' + (5).to_bytes(4, 'little') + b'hello'
    assert unpack('zstd', skippable + stored('zstd', data)) == data
    assert unpack('zstd', zstandard.ZstdCompressor(write_checksum=True).compress(data)) == data


@pytest.mark.parametrize('name', ['zlib', 'bz2', 'zstd'])
def test_truncated_at_every_length(name: str) -> None:
    """An error, or fewer bytes, which the length in the manifest shows."""
    data = b'words and words ' * 40 + random.Random(1).randbytes(50)
    body = stored(name, data)
    for length in range(len(body)):
        try:
            assert len(unpack(name, body[:length])) < len(data)
        except exceptions.CorruptObject:
            pass


@pytest.mark.parametrize('name', ['zlib', 'bz2', 'zstd'])
def test_each_flipped_bit_is_found_or_harmless(name: str) -> None:
    data = b'words and words ' * 10 + random.Random(1).randbytes(20)
    body, md5 = stored(name, data), hashlib.md5(data).digest()
    for bit in range(8 * len(body)):
        altered = bytearray(body)
        altered[bit // 8] ^= 1 << bit % 8
        try:
            found = unpack(name, bytes(altered))
        except exceptions.CorruptObject:
            continue
        assert found == data or hashlib.md5(found).digest() != md5


@pytest.mark.parametrize('name', ['zlib', 'bz2', 'zstd'])
@pytest.mark.parametrize('tail', [b'\0', b'\n', b'garbage', bytes(4096)])
def test_bytes_behind_the_end(name: str, tail: bytes) -> None:
    with pytest.raises(exceptions.CorruptObject):
        unpack(name, stored(name, b'words' * 100) + tail)


@pytest.mark.parametrize('name', ['zlib', 'bz2'])
def test_a_second_stream_is_damage(name: str) -> None:
    """Cinder would drop it without a word."""
    with pytest.raises(exceptions.CorruptObject):
        unpack(name, stored(name, b'words') + stored(name, b'more words'))


@pytest.mark.parametrize('name', ['zlib', 'bz2', 'zstd'])
@pytest.mark.parametrize('body', [b'', b'\0', b'words', bytes(1000)])
def test_what_was_never_compressed(name: str, body: bytes) -> None:
    if name == 'zstd' and not body:
        assert unpack(name, body) == b'', 'no frames at all; the length shows it'
        return
    with pytest.raises(exceptions.CorruptObject):
        unpack(name, body)


@pytest.fixture(scope='module')
def bombs() -> dict[str, bytes]:
    """256 MiB of zeros, except that bz2 takes too long for more than 64."""
    packers = {'zlib': zlib.compressobj(), 'bz2': bz2.BZ2Compressor(),
               'zstd': zstandard.ZstdCompressor().compressobj()}
    return {name: b''.join(packer.compress(bytes(MIB)) for _ in range(64 if name == 'bz2' else 256)
                           ) + packer.flush() for name, packer in packers.items()}


@pytest.mark.parametrize('name', ['zlib', 'bz2', 'zstd'])
def test_a_bomb_is_unpacked_a_piece_at_a_time(bombs: dict[str, bytes], name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    try:
        reader = codec.open_body(name, io.BytesIO(bombs[name]))
        assert len(reader.read(MIB)) <= MIB and len(reader.read(100)) <= 100
        assert tracemalloc.get_traced_memory()[1] < 24 * MIB
    finally:
        tracemalloc.stop()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_a_frame_that_claims_a_huge_size_or_window() -> None:
    """16 EiB of contents; a window of 2 GiB: neither is allocated."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for header in (b'\xe0' + b'\xff' * 8, b'\x00\xa8', b'\x00\xff'):
        with pytest.raises(exceptions.CorruptObject):
            unpack('zstd', b'\x28\xb5\x2f\xfd' + header + b'\x01\x00\x00' * 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10


FRAMES = {'text': b'abc log line 12345 text\n' * 3000, 'short': b'x' * 40, 'zeros': bytes(1 << 20),
          'noise and zeros': random.Random(1).randbytes(5000) + bytes(60_000)}


@pytest.mark.parametrize('name', ['zlib', 'bz2', 'zstd'])
@pytest.mark.parametrize('plain', FRAMES.values(), ids=FRAMES)
def test_a_frame_comes_back(name: str, plain: bytes) -> None:
    used, data = codec.compress(name, memoryview(plain))
    assert (len(data) < len(plain)) == (used == name)
    assert codec.decompress(used, memoryview(data), len(plain)) == plain


@pytest.mark.parametrize('name', ['none', 'zlib', 'bz2', 'zstd'])
def test_a_frame_that_is_not_what_it_should_be(name: str) -> None:
    plain = FRAMES['text']
    data = bytes(codec.compress(name, plain)[1])
    wrong = [(data, len(plain) - 1), (data, len(plain) + 1), (data[:-1], len(plain)), (b'', 1),
             (data + b'x', len(plain)), (data + data, len(plain))]
    if name != 'none':
        wrong += [(data + data, 2 * len(plain)), (b'\xff' * 100, 100), (data[1:], len(plain))]
    for damaged, length in wrong:
        with pytest.raises(exceptions.CorruptObject):
            codec.decompress(name, damaged, length)


@pytest.mark.parametrize('name', ['zlib', 'bz2', 'zstd'])
def test_a_flipped_bit_never_gives_more_than_was_asked_for(name: str) -> None:
    plain = FRAMES['noise and zeros']
    data = codec.compress(name, plain)[1]
    for bit in range(0, 8 * len(data), 97):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(exceptions.CorruptObject):
            assert len(codec.decompress(name, flipped, len(plain))) == len(plain)


@pytest.mark.parametrize('told', [True, False])
def test_a_bomb_takes_no_memory(told: bool) -> None:
    """Whether or not the frame says how large it is, and how far it looks back."""
    parameters = zstandard.ZstdCompressionParameters(
        window_log=27, write_content_size=told, compression_level=1)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj(
        size=1 << 28 if told else -1)
    data = b''.join(frame.compress(bytes(1 << 20)) for _ in range(256)) + frame.flush()
    tracemalloc.start()
    try:
        with pytest.raises(exceptions.CorruptObject):
            codec.decompress('zstd', data, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()
