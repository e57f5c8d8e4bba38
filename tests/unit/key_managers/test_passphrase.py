"""A key made from a passphrase: what it costs, what entries may ask for, what is remembered."""

from __future__ import annotations

import hashlib
import json
import resource
import threading
from typing import Any

import pytest

from backup_framework import exceptions
from backup_framework.key_managers import passphrase, wrapping
from backup_framework.model import Settings

KEY, CONTEXT = bytes(range(32)), b'context'
PHRASE = 'correct horse battery staple'


def manager(phrase: str = PHRASE) -> passphrase.Passphrase:
    return passphrase.Passphrase(
        Settings(passphrase.Passphrase.OPTIONS, {'passphrase': phrase}))


@pytest.fixture(scope='module')
def wrapped() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(manager().wrap(KEY, CONTEXT)))
    return made


@pytest.fixture
def derived(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What scrypt was asked for, instead of doing it."""
    calls: list[dict[str, Any]] = []

    def scrypt(secret: bytes, **parameters: Any) -> bytes:
        calls.append(parameters)
        return hashlib.sha256(secret + parameters['salt']).digest()

    monkeypatch.setattr(hashlib, 'scrypt', scrypt)
    return calls


def test_who_has_the_passphrase_and_the_entry_needs_nothing_else(wrapped: dict[str, Any]) -> None:
    assert manager().unwrap(wrapped, CONTEXT) == KEY


def test_the_key_is_what_the_page_tells(wrapped: dict[str, Any]) -> None:
    key = hashlib.scrypt(PHRASE.encode(), salt=bytes.fromhex(wrapped['kdf_salt']), n=1 << 17, r=8,
                         p=1, maxmem=1 << 28, dklen=32)
    assert (wrapped['kdf'], wrapped['n'], wrapped['r'], wrapped['p']) == ('scrypt', 1 << 17, 8, 1)
    assert wrapping.unwrap(key, wrapped, CONTEXT) == KEY


def test_another_passphrase_is_told_from_damage(wrapped: dict[str, Any]) -> None:
    with pytest.raises(exceptions.KeyUnavailable, match='passphrase is another one'):
        manager('correct horse battery stapler').unwrap(wrapped, CONTEXT)
    ours = manager()
    with pytest.raises(exceptions.KeyUnavailable, match='right key'):
        ours.unwrap(wrapped | {'nonce': '00' * 12}, CONTEXT)
    with pytest.raises(exceptions.KeyUnavailable, match='right key'):
        ours.unwrap(wrapped, b'another backup')


@pytest.mark.parametrize('phrase', ['', ' ', 'hunter2', 'eleven char', 'ä' * 11])
def test_a_short_passphrase_is_refused_and_not_shown(phrase: str) -> None:
    with pytest.raises(exceptions.ConfigurationError, match='too short') as caught:
        manager(phrase)
    assert not phrase.strip() or phrase not in str(caught.value)


def test_many_backups_cost_one_derivation(derived: list[dict[str, Any]]) -> None:
    ours = manager()
    made = [ours.wrap(KEY, b'%d' % number) for number in range(100)]
    assert len({each['salt'] for each in made}) == 100 and len(derived) == 1
    other = manager()
    for number, each in enumerate(made):
        assert other.unwrap(each, b'%d' % number) == KEY
    assert len(derived) == 2
    # A process that opened the parent seals the child with the salt that it knows.
    assert other.wrap(KEY, CONTEXT)['kdf_salt'] == made[0]['kdf_salt']
    assert len(derived) == 2


def test_a_salt_that_proved_nothing_is_not_taken_over(derived: list[dict[str, Any]]) -> None:
    entry = manager().wrap(KEY, CONTEXT)
    ours = manager()
    with pytest.raises(exceptions.KeyUnavailable):
        ours.unwrap(entry | {'kdf_salt': '00' * 32}, CONTEXT)
    assert ours.wrap(KEY, CONTEXT)['kdf_salt'] != '00' * 32
    assert manager().wrap(KEY, CONTEXT)['kdf_salt'] != entry['kdf_salt']


def test_threads_derive_one_after_the_other(wrapped: dict[str, Any],
                                            derived: list[dict[str, Any]]) -> None:
    ours = manager()
    entry = ours.wrap(KEY, CONTEXT)
    other, results = manager(), []
    threads = [threading.Thread(target=lambda: results.append(other.unwrap(entry, CONTEXT)))
               for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [KEY] * 16 and len(derived) == 2


def test_what_is_remembered_has_a_bound(derived: list[dict[str, Any]]) -> None:
    ours, entry = manager(), manager().wrap(KEY, CONTEXT)
    for number in range(5000):
        with pytest.raises(exceptions.KeyUnavailable):
            ours.unwrap(entry | {'kdf_salt': f'{number:064x}'}, CONTEXT)
    assert len(ours._keys) <= 4096


BAD = [
    {'kdf': 'pbkdf2'}, {'kdf': None}, {'n': None}, {'n': '131072'}, {'n': 131072.0}, {'n': True},
    {'n': 0}, {'n': -131072}, {'n': 1}, {'n': 1 << 16}, {'n': (1 << 17) + 1}, {'n': 3 << 16},
    {'n': 1 << 19}, {'n': 1 << 62}, {'n': 10 ** 5000}, {'r': 7}, {'r': 0}, {'r': 17},
    {'r': 1 << 40}, {'p': 0}, {'p': 5}, {'p': 1 << 30}, {'n': 1 << 18, 'r': 9}, {'kdf_salt': ''},
    {'kdf_salt': 'aa' * 33}, {'kdf_salt': 7}]


@pytest.mark.parametrize('change', BAD, ids=range(len(BAD)))
def test_an_entry_cannot_ask_for_too_much_nor_for_too_little(
        change: dict[str, Any], wrapped: dict[str, Any], derived: list[dict[str, Any]]) -> None:
    with pytest.raises(exceptions.KeyUnavailable) as caught:
        manager().unwrap(wrapped | change, CONTEXT)
    assert derived == [] and len(str(caught.value)) < 300


def test_what_is_allowed_takes_no_more_than_256_mib(wrapped: dict[str, Any],
                                                    derived: list[dict[str, Any]]) -> None:
    visited = 0
    for n in (1 << bits for bits in range(30)):
        for r in range(40):
            for p in range(8):
                visited += 1
                with pytest.raises(exceptions.KeyUnavailable):
                    manager().unwrap(wrapped | {'n': n, 'r': r, 'p': p}, CONTEXT)
    assert visited == 30 * 40 * 8
    assert {(each['n'], each['r']) for each in derived} == {
        *((1 << 17, r) for r in range(8, 17)), (1 << 18, 8)}
    assert max(128 * each['n'] * each['r'] for each in derived) == 256 << 20
    assert {each['p'] for each in derived} == {1, 2, 3, 4}


def test_the_largest_cost_that_is_allowed_works() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(exceptions.KeyUnavailable, match='another one'):
        manager().unwrap({'kdf': 'scrypt', 'n': 1 << 18, 'r': 8, 'p': 1, 'kdf_salt': 'aa' * 32,
                          'key_id': '00' * 16, 'salt': '00' * 32, 'nonce': '00' * 12,
                          'sealed': '00' * 48}, CONTEXT)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


def test_the_passphrase_is_in_no_text(wrapped: dict[str, Any]) -> None:
    ours = manager()
    with pytest.raises(exceptions.KeyUnavailable) as caught:
        ours.unwrap(wrapped | {'sealed': '00' * 48}, CONTEXT)
    assert PHRASE not in f'{ours!r} {wrapped} {caught.value!r}'
