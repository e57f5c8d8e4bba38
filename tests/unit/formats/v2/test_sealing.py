"""AES-256-GCM and HKDF as their specifications say, and sealed maps as streams."""

from __future__ import annotations

import io
import sys

import pytest

from backup_framework import exceptions
from backup_framework.formats.v2 import chunk_map, sealing, segments

# NIST, "The Galois/Counter Mode of Operation (GCM)", test cases 13 to 16: 256-bit keys.
GCM = [
    ('00' * 32, '00' * 12, '', '', '', '530f8afbc74536b9a963b4f1c4cb738b'),
    ('00' * 32, '00' * 12, '', '00' * 16, 'cea7403d4d606b6e074ec5d3baf39d18',
     'd0d1c8a799996bf0265b98b5d48ab919'),
    ('feffe9928665731c6d6a8f9467308308' * 2, 'cafebabefacedbaddecaf888', '',
     'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72'
     '1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255',
     '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa'
     '8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad',
     'b094dac5d93471bdec1a502270e3cc6c'),
    ('feffe9928665731c6d6a8f9467308308' * 2, 'cafebabefacedbaddecaf888',
     'feedfacedeadbeeffeedfacedeadbeefabaddad2',
     'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72'
     '1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39',
     '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa'
     '8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662',
     '76fc6ece0f4e1768cddf8853bb2d551b'),
]
# RFC 5869, A.1 to A.3: the first 32 bytes of what comes out.
HKDF = [
    ('0b' * 22, '000102030405060708090a0b0c', 'f0f1f2f3f4f5f6f7f8f9',
     '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf'),
    (bytes(range(80)).hex(), bytes(range(0x60, 0xb0)).hex(), bytes(range(0xb0, 0x100)).hex(),
     'b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c'),
    ('0b' * 22, '', '', '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d'),
]


@pytest.mark.parametrize(['key', 'nonce', 'bound', 'plain', 'sealed', 'tag'], GCM)
def test_gcm(key: str, nonce: str, bound: str, plain: str, sealed: str, tag: str) -> None:
    position, kind = sealing._NONCE.unpack(bytes.fromhex(nonce))
    cipher = sealing.Cipher(bytes.fromhex(key))
    found = cipher.seal(kind, position, bytes.fromhex(plain), bytes.fromhex(bound))
    assert found.hex() == sealed + tag
    assert cipher.open(kind, position, found, bytes.fromhex(bound)).hex() == plain


@pytest.mark.parametrize(['key', 'salt', 'info', 'expected'], HKDF)
def test_hkdf(key: str, salt: str, info: str, expected: str) -> None:
    found = sealing._derived(bytes.fromhex(key), bytes.fromhex(salt) or None, bytes.fromhex(info))
    assert found.hex() == expected


def test_a_piece_opens_only_as_what_it_is_where_it_is() -> None:
    key, salt = sealing.new_key(), sealing.new_salt()
    cipher = sealing.cipher_of(key, salt, 'p-00001')
    sealed = cipher.seal(sealing.FRAME, 64, b'plain')
    assert len(sealed) == len(b'plain') + sealing.OVERHEAD
    assert cipher.open(sealing.FRAME, 64, memoryview(sealed)) == b'plain'
    others = [
        (cipher, sealing.TABLE, 64, sealed, None), (cipher, sealing.FRAME, 65, sealed, None),
        (cipher, sealing.FRAME, 64, sealed, b'bound'),
        (cipher, sealing.FRAME, 64, sealed[:-1], None),
        (cipher, sealing.FRAME, 64, sealed + b'\0', None), (cipher, sealing.FRAME, 64, b'', None),
        (sealing.cipher_of(key, salt, 'p-00002'), sealing.FRAME, 64, sealed, None),
        (sealing.cipher_of(key, sealing.new_salt(), 'p-00001'), sealing.FRAME, 64, sealed, None),
        (sealing.cipher_of(sealing.new_key(), salt, 'p-00001'), sealing.FRAME, 64, sealed, None)]
    for other, kind, position, data, bound in others:
        with pytest.raises(exceptions.CorruptObject):
            other.open(kind, position, data, bound)


def test_without_the_package_a_sentence_says_what_to_install(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'cryptography.hazmat.primitives.ciphers.aead', None)
    sealing._library.cache_clear()
    try:
        with pytest.raises(exceptions.ConfigurationError,
                           match=r'pip install backup-framework\[encryption\]'):
            sealing.require()
    finally:
        sealing._library.cache_clear()


KEY, NAME = bytes(range(32)), 'p_map'


def seal(plain: bytes) -> bytes:
    pieces = [plain[at:at + 1 << 20] for at in range(0, len(plain), 1 << 20)]
    return b''.join(segments.sealed(pieces, len(plain), KEY, sealing.new_salt(), NAME))


def open_(stored: bytes, name: str = NAME) -> bytes:
    return b''.join(segments.opened(io.BytesIO(stored), KEY, name))


@pytest.mark.parametrize('length', [
    1, 56, segments.SIZE - 1, segments.SIZE, segments.SIZE + 1, 3 * segments.SIZE,
    (1 << 20) + 5])
def test_a_map_comes_back_as_a_stream(length: int) -> None:
    plain = (bytes(range(251)) * (length // 251 + 1))[:length]
    stored = seal(plain)
    assert len(stored) == (chunk_map.SEALED_HEAD_SIZE + length
                           + -(-length // segments.SIZE) * sealing.OVERHEAD)
    assert open_(stored) == plain
    file = io.BufferedReader(segments.Opened(segments.opened(io.BytesIO(stored), KEY, NAME)), 100)
    assert b''.join(iter(lambda: file.read(77), b'')) == plain
    with pytest.raises(exceptions.CorruptObject):
        open_(stored, 'p_map-2')


def test_a_map_that_is_cut_or_put_together_otherwise_does_not_open() -> None:
    stored = seal(bytes(3 * segments.SIZE + 100))
    whole = segments.SIZE + sealing.OVERHEAD
    head, rest = stored[:48], stored[48:]
    parts = [rest[at:at + whole] for at in range(0, len(rest), whole)]
    assert len(parts) == 4
    cuts = [stored[:length] for length in range(0, 49)]
    cuts += [head + b''.join(parts[:count]) for count in (1, 2, 3)]
    cuts += [head + b''.join(parts[:count]) + parts[3] for count in (0, 1, 2)]
    cuts += [stored + b'\0', stored + parts[3], stored[:-1],
             head + parts[1] + parts[0] + parts[2] + parts[3]]
    for cut in cuts:
        with pytest.raises(exceptions.CorruptObject):
            open_(cut)
