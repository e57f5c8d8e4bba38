"""A store that changes what is sealed is found out, whatever it may put in its place.

The store has no key. It can work out every digest that has none, and does, so that nothing but
sealing is left to find it out.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
import hashlib
import itertools
import json
from typing import Any

import blake3
import pytest

from backup_framework import exceptions, model, store
from backup_framework.formats.v2 import key_sets, manifest, sealing
from backup_framework.testing import memory
from tests.trust.sealing import rig
from tests.unit.driver import chains

LENGTH = 6 * rig.CHUNK + 700


def signed(members: dict[str, Any], mac: object = None) -> bytes:
    """A manifest with the digest that it has without a key.

    :param mac: None leaves it out.
    """
    members = {key: value for key, value in members.items()
               if key not in ('manifest_digest', 'manifest_mac')}
    if mac is not None:
        members['manifest_mac'] = mac
    body = json.dumps(members, indent=2).removesuffix('\n}').encode()
    return body + b',\n  "manifest_digest": "%s"\n}' % blake3.blake3(body).hexdigest().encode()


class Case:
    """Two sealed backups of one volume, and another one, on a store that may be changed."""

    def __init__(self) -> None:
        self.driver = rig.driver(rig.ring('main'))
        self.data = chains.make_bytes(LENGTH)
        self.first = chains.take(self.driver, self.data)
        self.second = chains.take(self.driver, rig.changed(self.data), self.first)
        self.other = chains.take(self.driver, chains.make_bytes(LENGTH, 9), volume_id='volume-2')
        self.stored = rig.objects(self.driver)

    def name(self, end: str, of: model.Backup | None = None) -> str:
        return f'{(of or self.second).service_metadata}{end}'

    def refused(self, **changed: bytes | None) -> list[str]:
        """Nothing of the backup comes back; what is said. The store is as before then."""
        rig.put(self.driver, {name: body for name, body in (self.stored | changed).items()
                              if body is not None})
        try:
            return rig.refusals(self.driver, rig.recorded_nowhere(self.second))
        finally:
            rig.put(self.driver, self.stored)


@pytest.fixture(scope='module')
def case() -> Case:
    return Case()


def test_nothing_is_changed_at_first(case: Case) -> None:
    assert chains.bring_back(case.driver, case.second) == rig.changed(case.data)


def test_objects_in_the_place_of_others(case: Case) -> None:
    """All pairs of objects that the backup needs, or may be made to need."""
    needed = [name for name in case.stored if not name.startswith('bf-container.')
              and (name.startswith(str(case.second.service_metadata))
                   or name in chains.data_names(case.driver, case.first))]
    tried = 0
    for name, other in itertools.permutations(case.stored, 2):
        if name in needed:
            case.refused(**{name: case.stored[other]})
            tried += 1
    assert tried >= 50


def tampered(members: dict[str, Any]) -> Iterator[tuple[dict[str, Any], object]]:
    """Manifests as a store could make them, with the MAC to go with them."""
    mac, box = members['manifest_mac'], members['sealing']
    for member in sorted(members.keys() - {'manifest_mac', 'manifest_digest'}):
        yield members | {member: 'other'}, mac
        yield {key: value for key, value in members.items() if key != member}, mac
    for changed in (None, '', 0, False, [], {}, 'aes-256-gcm', {'cipher': 'aes-256-gcm'},
                    box | {'cipher': 'none'}, box | {'cipher': 'aes-128-gcm'},
                    box | {'cipher': None}, box | {'salt': '00' * 32}, box | {'salt': 7},
                    box | {'members': ''}, box | {'members': None}, box | {'members': 'A' * 40}):
        yield members | {'sealing': changed}, mac
        yield members | {'sealing': changed}, None
    for wrong in (None, '', 0, '00' * 32, mac.upper() + ' ', mac[:-2], mac[:-1] + '0' * (
            mac[-1] != '0') or '1', {'mac': mac}):
        yield members, wrong


def test_manifests_that_nobody_with_a_key_wrote(case: Case) -> None:
    name = case.name('_metadata')
    members = json.loads(case.stored[name])
    assert signed(members, members['manifest_mac']) == case.stored[name]
    tried = 0
    for changed, mac in tampered(members):
        case.refused(**{name: signed(changed, mac)})
        tried += 1
    assert tried >= 80


def test_the_version_of_another_format_does_not_help(case: Case) -> None:
    name = case.name('_metadata')
    members = json.loads(case.stored[name])
    for version in ('1.0.0', '1.0.1', '2.0.1', '3.0.0', None):
        case.refused(**{name: signed(members | {'version': version}, members['manifest_mac'])})


def unsealed_in_its_place(case: Case, **options: Any) -> dict[str, bytes | None]:
    """A whole backup that is not sealed, under the names of one that is."""
    forger = rig.driver(**options)
    forged = chains.copy_of(case.second, parent=None, parent_id=None)
    forger.object_prefix = lambda backup: str(case.second.service_metadata)
    chains.take(forger, bytes(LENGTH - 7) + b'forged!', id=forged.id)
    made = rig.objects(forger)
    return {name: None for name in case.stored
            if name.startswith(str(case.second.service_metadata))} | made


@pytest.mark.parametrize('version', ['1.0.0', '2.0.0'])
def test_a_backup_that_is_not_sealed_in_the_place_of_one_that_is(
        case: Case, version: str) -> None:
    made = unsealed_in_its_place(case, format=version)
    for said in case.refused(**made):
        assert 'is not sealed' in said and 'unsealed = accept' in said
    rig.put(case.driver, {name: body for name, body in (case.stored | made).items() if body})
    # The record knows another manifest, so not even who accepts what is not sealed gets this one.
    accepting = rig.driver(rig.ring('main', accepts_unsealed=True), beside=case.driver)
    with pytest.raises(exceptions.FormatError):
        chains.bring_back(accepting, case.second)
    alone = chains.copy_of(case.second, manifest_digest=None, parent=None, parent_id=None)
    assert b'forged!' in chains.bring_back(accepting, alone)
    rig.put(case.driver, case.stored)


def test_a_backup_of_a_stranger_in_the_place_of_ours(case: Case) -> None:
    """Sealed, with keys that fit: but not for us."""
    stranger = rig.driver(rig.ring('stranger'))
    stranger.object_prefix = lambda backup: str(case.second.service_metadata)
    chains.take(stranger, bytes(LENGTH), id=case.second.id)
    made = rig.objects(stranger)
    for said in case.refused(**made):
        assert 'it is sealed for stranger, and no key that is configured here opens it' in said
    # With the keys that were there, whose data key is another one: the manifest commits to it.
    keys = case.name('_keys-1')
    for said in case.refused(**made | {keys: case.stored[keys]}):
        assert 'nobody who has the key of this backup wrote it' in said


def test_a_manifest_opens_under_one_key(case: Case) -> None:
    """GCM alone would let somebody who knows two keys make what opens under both; HMAC does not."""
    name = case.name('_metadata')
    document, prefix = case.stored[name], str(case.second.service_metadata)
    members = json.loads(document)
    key = rig.keys_of(case.driver, case.second, 'main')[prefix]
    assert manifest.opened(document, members, prefix, key)['properties'] == {}
    for number in range(1000):
        with pytest.raises(exceptions.CorruptManifest, match='not authentic'):
            manifest.opened(document, members, prefix, hashlib.sha256(b'%d' % number).digest())


def test_keys_in_the_place_of_others(case: Case) -> None:
    """Between backups, generations and recipients; with digests that fit."""
    name, other = case.name('_keys-1'), case.name('_keys-1', case.other)
    document, strange = json.loads(case.stored[name]), json.loads(case.stored[other])
    changes: list[dict[str, Any]] = [
        {'prefix': document['prefix'], **strange} | {'prefix': document['prefix']},
        document | {'keys': strange['keys']}, document | {'entries': strange['entries']},
        document | {'entries': document['entries'] * 2},
        document | {'entries': [document['entries'][0] | {'name': 'x'}]},
        document | {'generation': 2}, document | {'version': '1.0.0'}, document | {'more': 1},
        document | {'keys': ''}, document | {'keys': '!'}, document | {'entries': []},
        document | {'entries': document['entries'] * 33}, document | {'entries': None},
        document | {'entries': [document['entries'][0] | {'name': 'x' * 256}]},
        document | {'entries': [document['entries'][0] | {'name': 'a\nb'}]},
        document | {'entries': [document['entries'][0] | {'wrapped': {'a': 'x' * 5000}}]},
        document | {'entries': [document['entries'][0] | {'wrapped': 'x'}]},
        document | {'entries': [{}]}, document | {'entries': {}}]
    for changed in changes:
        case.refused(**{name: with_digest(changed)})
    later = case.name('_keys-2')
    case.refused(**{name: None, later: case.stored[name]})
    case.refused(**{name: None})


def with_digest(members: dict[str, Any]) -> bytes:
    """A keys object with the digest that it has without a key."""
    body = json.dumps({key: value for key, value in members.items()
                       if key not in ('keys', 'keys_digest')}, indent=2).removesuffix('\n}')
    covered = f'{body},\n  "keys": "{members["keys"]}"'.encode()
    return covered + key_sets._tail(covered)


def test_keys_that_a_later_generation_hides_are_used(case: Case) -> None:
    """What is damaged, or for others, is passed over while another generation opens."""
    for later in (b'', b'{}', case.stored[case.name('_keys-1', case.other)],
                  b'[' * 1000, bytes(100)):
        rig.put(case.driver, case.stored | {case.name('_keys-9'): later})
        assert chains.bring_back(case.driver, case.second) == rig.changed(case.data)
    rig.put(case.driver, case.stored)


@pytest.mark.parametrize('damage', [
    lambda data: data.replace(b'"generation": 1', b'"generation": ' + b'9' * 5000),
    lambda data: b'[' * 200_000, lambda data: b'{"entries": ' + b'[' * 100_000,
    lambda data: data + bytes(key_sets.LARGEST)])
def test_keys_that_would_take_long_to_read(case: Case, damage: Callable[[bytes], bytes]) -> None:
    name = case.name('_keys-1')
    case.refused(**{name: damage(case.stored[name])})


def test_a_key_of_another_backup_that_is_lacking(case: Case) -> None:
    """Keys that are older than what the backup came to use: said as what it is."""
    box = store.Container(case.driver, rig.CONTAINER)
    prefix = str(case.second.service_metadata)
    own = {prefix: rig.keys_of(case.driver, case.second, 'main')[prefix]}
    key_sets.write(box, prefix, rig.ring('main'), own, 2)
    found = {case.name('_keys-2'): rig.objects(case.driver)[case.name('_keys-2')]}
    for said in case.refused(**found):
        assert f'lack that of {case.first.service_metadata}, whose objects it uses' in said


def sealed_pieces(driver: memory.MemoryBackupDriver, backup: model.Backup
                  ) -> list[tuple[str, int, int]]:
    """Where frames and tables are that a backup uses: (object, offset, length)."""
    state = driver.open_state(rig.recorded_nowhere(backup))
    try:
        found = set()
        for index, row in state.items():
            if hasattr(row, 'offset'):
                name = state.objects[row.object].name
                found.add((name, row.offset, row.length))
                table = state.reader.table(index, row, state.objects)
                holders = [name, *table.names]
                found |= {(holders[frame.object], frame.offset, frame.stored)
                          for frame in table.frames}
        return sorted(found)
    finally:
        state.close()


def test_pieces_in_the_place_of_others(case: Case) -> None:
    """Frames and tables that are as long: within an object, between objects and between backups.

    Their digests would give them away before they are opened; that they do not open either is
    seen by the cipher itself.
    """
    pieces = sealed_pieces(case.driver, case.second) + sealed_pieces(case.driver, case.other)
    keys = (dict(rig.keys_of(case.driver, case.second, 'main'))
            | dict(rig.keys_of(case.driver, case.other, 'main')))
    used = set(sealed_pieces(case.driver, case.second))
    opened = tried = 0
    for piece, other in itertools.product(pieces, pieces):
        (name, offset, length), (_, at, size) = piece, other
        cipher = sealing.cipher_of(keys[name.rpartition('-')[0]], case.stored[name][24:56], name)
        source = case.stored[other[0]]
        kinds = [kind for kind in (sealing.FRAME, sealing.TABLE)
                 if opens(cipher, kind, offset, source[at:at + size])]
        assert len(kinds) == (piece == other)
        opened += len(kinds)
        if piece != other and length == size and piece in used and tried < 60:
            body = bytearray(case.stored[name])
            body[offset:offset + length] = source[at:at + size]
            case.refused(**{name: bytes(body)})
            tried += 1
    assert opened == len(pieces) >= 30 and tried >= 20


def opens(cipher: sealing.Cipher, kind: bytes, offset: int, data: bytes) -> bool:
    try:
        cipher.open(kind, offset, data)
    except exceptions.CorruptObject:
        return False
    return True


def test_a_key_manager_that_gives_a_key_of_another_size(case: Case) -> None:
    class Short(rig.KnownKey):
        def unwrap(self, *_: Any) -> bytes:
            return b'short'

    ring = rig.Keyring([rig.Recipient('main', 'known', Short('main'))])
    with pytest.raises(exceptions.KeyUnavailable, match='of another size'):
        chains.bring_back(rig.driver(ring, beside=case.driver), case.second)


@pytest.mark.parametrize('wrapped', [
    {'wrapped': base64.b64encode(bytes(5000)).decode()}, {'wrapped': b'bytes'}, 'text', None])
def test_a_key_manager_that_wraps_what_no_reader_takes(wrapped: Any) -> None:
    class Odd(rig.KnownKey):
        def wrap(self, *_: Any) -> Any:
            return wrapped

    driver = rig.driver(rig.Keyring([rig.Recipient('main', 'known', Odd('main'))]))
    with pytest.raises(exceptions.ConfigurationError, match='wraps keys as none may'):
        chains.take(driver, chains.make_bytes(LENGTH))
    assert not chains.names(driver)
