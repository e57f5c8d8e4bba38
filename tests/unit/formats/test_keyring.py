"""Who wraps, who opens, in which order they are asked, and what is said when nobody can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from backup_framework import exceptions
from backup_framework.formats.keyring import Keyring, Recipient
from backup_framework.interface.key_manager import KeyManager
from backup_framework.manager.keyrings import LazyManager

KEY, CONTEXT = bytes(range(32)), b'context'


class Plain(KeyManager):
    """Wraps nothing; opens what names its secret."""

    def __init__(self, secret: str, error: Exception | None = None) -> None:
        self.secret = secret
        self.error = error
        self.asked: list[str] = []

    def wrap(self, key: bytes, context: bytes) -> dict[str, Any]:
        if self.error:
            raise self.error
        return {'secret': self.secret, 'key': key.hex()}

    def unwrap(self, wrapped: Mapping[str, Any], context: bytes) -> bytes:
        self.asked.append(wrapped['secret'])
        if self.error:
            raise self.error
        if wrapped['secret'] != self.secret:
            raise exceptions.KeyUnavailable('another secret')
        return bytes.fromhex(wrapped['key'])


def recipient(name: str, type: str = 'plain', error: Exception | None = None) -> Recipient:
    return Recipient(name, type, Plain(name, error))


def test_each_recipient_alone_opens_what_is_wrapped_for_all() -> None:
    names = ['a', 'b', 'c']
    entries = Keyring([recipient(name) for name in names]).wrap(KEY, CONTEXT)
    assert [(entry['name'], entry['type']) for entry in entries] == [
        (name, 'plain') for name in names]
    for name in names:
        assert Keyring([recipient(name)]).unwrap(entries, CONTEXT) == KEY
        assert Keyring([], [recipient(name)]).unwrap(entries, CONTEXT) == KEY


def test_the_entry_of_its_name_comes_first_and_others_of_its_type_after() -> None:
    entries = Keyring([recipient('a'), recipient('b')]).wrap(KEY, CONTEXT)
    renamed = Recipient('new name', 'plain', Plain('b'))
    assert Keyring([renamed]).unwrap(entries, CONTEXT) == KEY
    same = recipient('b')
    Keyring([same]).unwrap(entries, CONTEXT)
    assert isinstance(same.manager, Plain) and same.manager.asked == ['b']


def test_a_manager_of_another_type_is_not_asked() -> None:
    entries = Keyring([recipient('a')]).wrap(KEY, CONTEXT)
    other = recipient('a', 'other')
    with pytest.raises(exceptions.KeyUnavailable, match='sealed for a, and no key'):
        Keyring([other]).unwrap(entries, CONTEXT)
    assert isinstance(other.manager, Plain) and other.manager.asked == []


@pytest.mark.parametrize('error', [exceptions.KeyUnavailable('gone'),
                                   exceptions.ConfigurationError('chmod 600 it')])
def test_one_that_cannot_does_not_hide_one_that_can(error: Exception) -> None:
    entries = Keyring([recipient('a'), recipient('b')]).wrap(KEY, CONTEXT)
    assert Keyring([recipient('a', error=error)], [recipient('b')]).unwrap(entries, CONTEXT) == KEY
    with pytest.raises(exceptions.KeyUnavailable, match=rf'sealed for a, b.*\[key:a\]: {error}'):
        Keyring([recipient('a', error=error)]).unwrap(entries, CONTEXT)


def test_what_cannot_be_wrapped_for_one_is_wrapped_for_nobody() -> None:
    broken = recipient('b', error=exceptions.KeyUnavailable('gone'))
    with pytest.raises(exceptions.KeyUnavailable, match='gone'):
        Keyring([recipient('a'), broken]).wrap(KEY, CONTEXT)


def test_a_manager_is_made_when_it_is_asked_and_once() -> None:
    made: list[Plain] = []

    def make() -> Plain:
        made.append(Plain('a'))
        return made[-1]

    lazy = LazyManager(make, '[key:a]')
    assert not made
    assert lazy.unwrap(lazy.wrap(KEY, CONTEXT), CONTEXT) == KEY
    assert len(made) == 1


def test_what_escapes_a_foreign_manager_is_a_key_not_at_hand_and_not_shown() -> None:
    lazy = LazyManager(lambda: Plain('a', ValueError('canary')), '[key:a]')
    for call in (lambda: lazy.wrap(KEY, CONTEXT), lambda: lazy.unwrap({'secret': 'a'}, CONTEXT)):
        with pytest.raises(exceptions.KeyUnavailable, match=r'\[key:a\] failed with ValueErr') as e:
            call()
        assert 'canary' not in str(e.value)


def test_a_foreign_manager_that_gives_no_key_is_found_out() -> None:
    class Wrong(Plain):
        def unwrap(self, wrapped: Mapping[str, Any], context: bytes) -> Any:
            return 'text'

    with pytest.raises(exceptions.KeyUnavailable, match='TypeError'):
        LazyManager(lambda: Wrong('a'), '[key:a]').unwrap({}, CONTEXT)
