"""A key wrapped with another: what opens it, what does not, and what it says then."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import sys
from typing import Any

from cryptography.hazmat.primitives.ciphers import aead
import pytest

from backup_framework import exceptions
from backup_framework.key_managers import wrapping

KEK = bytes(range(32))
KEY = bytes(range(100, 132))
CONTEXT = b'for this backup'


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256, for one block of output."""
    extracted = hmac.new(salt or bytes(32), key, hashlib.sha256).digest()
    return hmac.new(extracted, info + b'\x01', hashlib.sha256).digest()


def by_hand(kek: bytes = KEK, key: bytes = KEY, context: bytes = CONTEXT) -> dict[str, Any]:
    """The same bytes, made without the module."""
    salt, nonce = b'\xaa' * 32, b'\x0b' * 12
    sealing = hkdf(kek, salt, b'backup_framework key wrapping 1')
    return {'key_id': hkdf(kek, b'', b'backup_framework key id 1')[:16].hex(),
            'salt': salt.hex(), 'nonce': nonce.hex(),
            'sealed': aead.AESGCM(sealing).encrypt(nonce, key, context).hex()}


def test_what_is_wrapped_comes_back() -> None:
    wrapped = wrapping.wrap(KEK, KEY, CONTEXT)
    assert wrapping.unwrap(KEK, json.loads(json.dumps(wrapped)), CONTEXT) == KEY
    assert KEY.hex() not in str(wrapped) and KEK.hex() not in str(wrapped)


def test_the_bytes_are_those_that_the_page_tells() -> None:
    """What an earlier release wrapped must open for ever."""
    assert wrapping.unwrap(KEK, by_hand(), CONTEXT) == KEY
    assert wrapping.key_id(KEK) == '2755d65e3aae320dc053317d48adc209'


def test_no_two_wraps_share_anything_secret() -> None:
    made = [wrapping.wrap(KEK, KEY, CONTEXT) for _ in range(2000)]
    assert len({each['salt'] for each in made}) == len({each['nonce'] for each in made}) == 2000
    assert len({each['sealed'] for each in made}) == 2000
    assert {each['key_id'] for each in made} == {wrapping.key_id(KEK)}


def test_another_key_is_told_from_damage() -> None:
    wrapped = wrapping.wrap(KEK, KEY, CONTEXT)
    other = bytes(32)
    with pytest.raises(exceptions.KeyUnavailable, match='key with the id') as caught:
        wrapping.unwrap(other, wrapped, CONTEXT)
    assert wrapping.key_id(KEK) in str(caught.value) and wrapping.key_id(other) in str(caught.value)


def test_it_opens_in_its_context_only() -> None:
    wrapped = wrapping.wrap(KEK, KEY, CONTEXT)
    for context in (b'', b'for this backu', b'for that backup'):
        with pytest.raises(exceptions.KeyUnavailable, match='right key'):
            wrapping.unwrap(KEK, wrapped, context)


def test_each_changed_bit_is_noticed() -> None:
    visited = 0
    for name, value in by_hand().items():
        for bit in range(len(value) * 4):
            changed = bytearray.fromhex(value)
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises(exceptions.KeyUnavailable):
                wrapping.unwrap(KEK, by_hand() | {name: changed.hex()}, CONTEXT)
            visited += 1
    assert visited == 8 * (16 + 32 + 12 + 48)


@pytest.mark.parametrize('value', [
    None, 7, True, [], {}, '', 'zz', 'AA' * 32, 'aa' * 31, 'aa' * 33, 'aa' * 32 + '\n', 'é' * 64,
    '1' * 10_000_000])
def test_what_is_no_hexadecimal_text_of_its_size_is_damage(value: object) -> None:
    visited = 0
    for name in by_hand():
        if isinstance(value, str) and value == by_hand()[name]:
            continue
        with pytest.raises(exceptions.KeyUnavailable, match=f'its {name} is not'):
            wrapping.unwrap(KEK, by_hand() | {name: value}, CONTEXT)
        visited += 1
    assert visited == 4
    with pytest.raises(exceptions.KeyUnavailable, match='damaged'):
        wrapping.unwrap(KEK, {}, CONTEXT)


def test_without_cryptography_it_says_what_to_install() -> None:
    code = ('import sys; sys.modules["cryptography"] = None\n'
            'from backup_framework import exceptions\n'
            'from backup_framework.key_managers import wrapping\n'
            'try: wrapping.wrap(bytes(32), bytes(32), b"")\n'
            'except exceptions.ConfigurationError as error: print(error)')
    done = subprocess.run([sys.executable, '-c', code], text=True, capture_output=True, timeout=60)
    assert 'backup-framework[encryption]' in done.stdout, done.stderr
