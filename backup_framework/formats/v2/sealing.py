"""Sealing: AES-256-GCM over what is stored, with a key of its own for each object.

A backup has one random data key, and each object a fresh random salt. The key of the object comes
from both and from its name, so neither a repeated attempt nor a backup that is taken up again ever
uses a key and a nonce twice. The nonce says what is sealed and where it is in its object.
"""

from __future__ import annotations

import functools
import secrets
import struct
from typing import Any, NamedTuple

from backup_framework import exceptions

CIPHER = 'aes-256-gcm'
KEY_SIZE = SALT_SIZE = 32
OVERHEAD = 16
"""Bytes that sealing adds: the tag."""
MAC_SIZE = 32

FRAME, TABLE, SEGMENT, LAST_SEGMENT = b'fram', b'tabl', b'segm', b'last'
MEMBERS, KEYS = b'memb', b'keys'
"""What is sealed: each kind is in the nonce, so that one is never taken for another."""

_NONCE = struct.Struct('<Q4s')
_OBJECT, _MANIFEST = b'backup_framework 2 object\0', b'backup_framework 2 manifest\0'

Buffer = bytes | bytearray | memoryview


class _Library(NamedTuple):
    """What is used of `cryptography`."""

    aead: Any
    hkdf: Any
    sha256: Any
    invalid_tag: type[Exception]


@functools.cache
def _library() -> _Library:
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError as error:
        raise exceptions.ConfigurationError(
            f'sealed backups need the package cryptography ({error}): '
            'pip install backup-framework[encryption]') from None
    return _Library(AESGCM, HKDF, SHA256, InvalidTag)


def require() -> None:
    """:raises ConfigurationError: `cryptography` is not installed."""
    _library()


def new_key() -> bytes:
    return secrets.token_bytes(KEY_SIZE)


def new_salt() -> bytes:
    return secrets.token_bytes(SALT_SIZE)


class Cipher:
    """Seals and opens the pieces of one object; any thread.

    :param key: never used for another object, nor for another attempt at this one.
    """

    def __init__(self, key: bytes) -> None:
        library = _library()
        self._aead = library.aead(key)
        self._invalid_tag = library.invalid_tag

    def seal(self, kind: bytes, position: int, plain: Buffer, bound: bytes | None = None) -> bytes:
        """The piece with its tag.

        :param position: where it is in the object: no two of a kind are at the same.
        :param bound: what else it opens with only.
        """
        sealed: bytes = self._aead.encrypt(_NONCE.pack(position, kind), plain, bound)
        return sealed

    def open(self, kind: bytes, position: int, sealed: Buffer, bound: bytes | None = None
             ) -> bytes:
        """:raises CorruptObject: it was not sealed so."""
        try:
            plain: bytes = self._aead.decrypt(_NONCE.pack(position, kind), sealed, bound)
        except self._invalid_tag:
            raise exceptions.CorruptObject('what is sealed in it was changed') from None
        return plain


def cipher_of(data_key: bytes, salt: bytes, name: str) -> Cipher:
    """What seals and opens the object with this salt and this name."""
    return Cipher(_derived(data_key, salt, _OBJECT + name.encode()))


def manifest_key(data_key: bytes) -> bytes:
    """What a manifest is authenticated with: it commits to the data key, which GCM does not."""
    return _derived(data_key, None, _MANIFEST)


def _derived(key: bytes, salt: bytes | None, info: bytes) -> bytes:
    library = _library()
    found: bytes = library.hkdf(library.sha256(), KEY_SIZE, salt, info).derive(key)
    return found
