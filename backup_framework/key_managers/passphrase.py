"""A key that is made from a passphrase, with scrypt."""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
import os
from typing import Any, NamedTuple

from backup_framework import exceptions
from backup_framework.engine import parallel
from backup_framework.interface.key_manager import KeyManager
from backup_framework.key_managers import wrapping
from backup_framework.model import Option, Settings

SHORTEST = 12
MOST_MEMORY = 256 << 20
_MOST_PARALLEL = 4
_REMEMBERED = 4096
"""Keys that are kept. A hostile store may have as many salts as it likes."""


class _Cost(NamedTuple):
    """Parameters of scrypt, in RFC 7914's letters; it takes 128 * n * r bytes of memory."""

    n: int = 1 << 17
    r: int = 8
    p: int = 1


class Passphrase(KeyManager):
    """The key is derived from a passphrase; who has that and a backup needs nothing else."""

    OPTIONS = (
        Option('passphrase', required=True, secret=True, help=(
            f'The passphrase, of {SHORTEST} characters or more. Whoever can read the store can try '
            'passphrases without being seen: take a long one that a program chose, such as seven '
            'random words. Without it nothing that is sealed can be read.')),
    )

    def __init__(self, settings: Settings) -> None:
        passphrase: str = settings.passphrase
        if len(passphrase) < SHORTEST:
            raise exceptions.ConfigurationError(
                f'the passphrase is too short: it needs at least {SHORTEST} characters')
        self._passphrase = passphrase.encode()
        self._lock = parallel.lock()
        self._keys: dict[tuple[bytes, _Cost], bytes] = {}
        self._salt: bytes | None = None

    def wrap(self, key: bytes, context: bytes) -> dict[str, Any]:
        with self._lock:
            # One salt for all wraps: each costs the better part of a second.
            self._salt = self._salt or os.urandom(wrapping.SALT_SIZE)
            cost, salt = _Cost(), self._salt
        wrapped = wrapping.wrap(self._derive(salt, cost), key, context)
        return {'kdf': 'scrypt', **cost._asdict(), 'kdf_salt': salt.hex(), **wrapped}

    def unwrap(self, wrapped: Mapping[str, Any], context: bytes) -> bytes:
        cost = _cost_of(wrapped)
        salt = wrapping.octets(wrapped, 'kdf_salt', wrapping.SALT_SIZE)
        kek = self._derive(salt, cost)
        if wrapped.get('key_id') != wrapping.key_id(kek):
            raise exceptions.KeyUnavailable('the passphrase is another one')
        key = wrapping.unwrap(kek, wrapped, context)
        if cost == _Cost():
            with self._lock:
                # It is ours, as this key has shown: what is wrapped next opens without more cost.
                self._salt = self._salt or salt
        return key

    def _derive(self, salt: bytes, cost: _Cost) -> bytes:
        # One at a time, because of the memory.
        with self._lock:
            key = self._keys.get((salt, cost))
            if key is None:
                key = hashlib.scrypt(self._passphrase, salt=salt, **cost._asdict(),
                                     maxmem=MOST_MEMORY + (64 << 20), dklen=wrapping.KEY_SIZE)
                if len(self._keys) >= _REMEMBERED:
                    self._keys.clear()
                self._keys[salt, cost] = key
            return key


def _cost_of(wrapped: Mapping[str, Any]) -> _Cost:
    """What an entry says of its cost, not lower than ours and not higher than this host bears.

    :raises KeyUnavailable: it says something else.
    """
    n, r, p = (wrapped.get(name) for name in _Cost._fields)
    least = _Cost()
    if (wrapped.get('kdf') != 'scrypt' or type(n) is not int or type(r) is not int
            or type(p) is not int):
        raise exceptions.KeyUnavailable('the entry is damaged: it does not tell the cost of scrypt')
    if not (least.n <= n and n & (n - 1) == 0 and least.r <= r
            and least.p <= p <= _MOST_PARALLEL and 128 * n * r <= MOST_MEMORY):
        raise exceptions.KeyUnavailable(
            f'the entry asks for scrypt that is weaker than n={least.n}, r={least.r}, p={least.p} '
            f'or costs more than {MOST_MEMORY >> 20} MiB or much time: it was changed')
    return _Cost(n, r, p)
