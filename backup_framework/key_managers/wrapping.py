"""One key sealed with another: AES-256-GCM under a key that is derived anew for each wrap."""

from __future__ import annotations

from collections.abc import Mapping
import hmac
import os
import re
from typing import TYPE_CHECKING, Any

from backup_framework import exceptions

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import aead

KEY_SIZE = 32
SALT_SIZE = 32
_NONCE_SIZE = 12
_TAG_SIZE = 16
_ID_SIZE = 16

_WRAPPING = b'backup_framework key wrapping 1'
_IDENTITY = b'backup_framework key id 1'


def wrap(kek: bytes, key: bytes, context: bytes) -> dict[str, Any]:
    """`key`, sealed with the key-encryption key.

    Each wrap has a key of its own, derived with a random salt, so their number has no limit.
    """
    salt, nonce = os.urandom(SALT_SIZE), os.urandom(_NONCE_SIZE)
    sealed = _cipher(kek, salt).encrypt(nonce, key, context)
    return {'key_id': key_id(kek), 'salt': salt.hex(), 'nonce': nonce.hex(), 'sealed': sealed.hex()}


def unwrap(kek: bytes, wrapped: Mapping[str, Any], context: bytes) -> bytes:
    """The key again.

    :raises KeyUnavailable: says whether it takes another key, or was changed.
    """
    salt, nonce = octets(wrapped, 'salt', SALT_SIZE), octets(wrapped, 'nonce', _NONCE_SIZE)
    sealed = octets(wrapped, 'sealed', KEY_SIZE + _TAG_SIZE)
    wanted, ours = octets(wrapped, 'key_id', _ID_SIZE).hex(), key_id(kek)
    if not hmac.compare_digest(wanted, ours):
        raise exceptions.KeyUnavailable(
            f'the key with the id {wanted} is needed, and the one at hand has the id {ours}')
    cipher = _cipher(kek, salt)
    from cryptography.exceptions import InvalidTag
    try:
        return cipher.decrypt(nonce, sealed, context)
    except InvalidTag:
        raise exceptions.KeyUnavailable(
            'this is the right key, but what it wrapped was changed or belongs to something else'
        ) from None


def key_id(kek: bytes) -> str:
    """What tells one key from another, and nothing else about it."""
    return _derive(kek, None, _IDENTITY)[:_ID_SIZE].hex()


def octets(wrapped: Mapping[str, Any], name: str, size: int) -> bytes:
    """A member of something that anybody may have changed: bytes in hexadecimal digits.

    :raises KeyUnavailable: it is not.
    """
    value = wrapped.get(name)
    if not isinstance(value, str) or not re.fullmatch(f'[0-9a-f]{{{2 * size}}}', value):
        raise exceptions.KeyUnavailable(
            f'the entry is damaged: its {name} is not {size} bytes in hexadecimal digits')
    return bytes.fromhex(value)


def _cipher(kek: bytes, salt: bytes) -> aead.AESGCM:
    key = _derive(kek, salt, _WRAPPING)
    from cryptography.hazmat.primitives.ciphers import aead
    return aead.AESGCM(key)


def _derive(kek: bytes, salt: bytes | None, purpose: bytes) -> bytes:
    try:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.kdf import hkdf
    except ImportError as error:
        raise exceptions.ConfigurationError(
            'keys need the package cryptography, which cannot be imported here: install '
            'backup-framework[encryption]') from error
    return hkdf.HKDF(hashes.SHA256(), KEY_SIZE, salt, purpose).derive(kek)
