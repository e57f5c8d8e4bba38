"""Objects with keys that open, and say what none that we wrote says."""

from __future__ import annotations

import base64
import json

import pytest

from backup_framework import exceptions, store
from backup_framework.formats.v2 import key_sets, names, sealing
from backup_framework.testing.memory import MemoryBackupDriver
from tests.trust.sealing import rig
from tests.unit.formats.v2 import volumes

PREFIX = 'p'
OTHER = base64.b64encode(bytes(sealing.KEY_SIZE)).decode()


@pytest.fixture
def box() -> store.Container:
    return volumes.container(MemoryBackupDriver())


def put(box: store.Container, plain: bytes) -> None:
    """The first generation, right in all but what is sealed in it."""
    ring, key = rig.ring('a'), sealing.new_key()
    entries = ring.wrap(key, key_sets._context(PREFIX, 1))
    body = json.dumps({'version': key_sets.VERSION, 'prefix': PREFIX, 'generation': 1,
                       'entries': list(entries)}, indent=2).removesuffix('\n}').encode()
    sealed = sealing.Cipher(key).seal(sealing.KEYS, 0, plain, body)
    covered = body + key_sets._KEYS + base64.b64encode(sealed) + b'"'
    box.put(names.keys_name(PREFIX, 1), lambda: [covered + key_sets._tail(covered)])


def test_what_is_right_opens(box: store.Container) -> None:
    put(box, json.dumps({PREFIX: OTHER}).encode())
    assert key_sets.read(box, PREFIX, rig.ring('a')).keys == {PREFIX: bytes(sealing.KEY_SIZE)}


@pytest.mark.parametrize('plain, words', [
    (json.dumps({'q': OTHER}), 'the key of the backup itself is not among them'),
    ('{}', 'the key of the backup itself is not among them'),
    (json.dumps({PREFIX: OTHER[4:]}), 'one of its keys is none'),
    (json.dumps({PREFIX: None}), 'one of its keys is none'),
    (json.dumps({PREFIX: OTHER, 'q': 7}), 'one of its keys is none'),
    (json.dumps({PREFIX: '*' * 44}), 'its base64 is none'),
    ('[]', 'is damaged'), ('', 'is damaged'), ('{', 'is damaged'),
])
def test_keys_that_are_none(box: store.Container, plain: str, words: str) -> None:
    put(box, plain.encode())
    with pytest.raises(exceptions.CorruptObject, match=words) as caught:
        key_sets.read(box, PREFIX, rig.ring('a'))
    assert caught.value.name == names.keys_name(PREFIX, 1)


def test_an_object_without_keys(box: store.Container) -> None:
    put(box, json.dumps({PREFIX: OTHER}).encode())
    name = names.keys_name(PREFIX, 1)
    covered = box.get(name, 1 << 20).rpartition(key_sets._KEYS)[0] + b',\n  "other": 1'
    box.delete(name)
    box.put(name, lambda: [covered + key_sets._tail(covered)])
    with pytest.raises(exceptions.CorruptObject, match='it has no keys'):
        key_sets.read(box, PREFIX, rig.ring('a'))
