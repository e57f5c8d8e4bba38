"""What is sealed and what is not are never mixed, and a key that is not there is no damage."""

from __future__ import annotations

import random
from typing import Any

import pytest

from backup_framework import exceptions, store
from backup_framework.engine.monitor import Operation
from backup_framework.formats import versions
from backup_framework.formats.keyring import Keyring
from backup_framework.formats.v2 import key_sets
from tests.trust.sealing import rig
from tests.unit.driver import chains

LENGTH = 6 * rig.CHUNK + 700
DATA = chains.make_bytes(LENGTH)


def box_of(driver: rig.memory.MemoryBackupDriver) -> store.Container:
    return store.Container(driver, rig.CONTAINER)


@pytest.mark.parametrize(['before', 'now', 'reason'], [
    (None, rig.ring('main'), 'new backups are'),
    (None, rig.ring('main', accepts_unsealed=True), 'new backups are'),
    (rig.ring('main'), None, 'sealed for main, and no key that is configured here opens it'),
    (rig.ring('main'), rig.ring(others=['main']), 'is sealed, and new backups are not'),
    (rig.ring('main'), rig.ring('another'), 'sealed for main, and no key'),
])
@pytest.mark.parametrize('version', ['1.0.0', '2.0.0'])
def test_a_parent_that_is_not_sealed_alike_makes_a_full_backup(
        before: Keyring | None, now: Keyring | None, reason: str, version: str) -> None:
    if version == '1.0.0' and before is not None:
        pytest.skip('it cannot be sealed')
    old = rig.driver(before, format=version)
    parent = chains.take(old, DATA)
    driver = rig.driver(now, beside=old)
    operation = Operation()
    backup = chains.take(driver, DATA, parent, operation)
    assert backup.parent_id is None and backup.format == '2.0.0'
    assert len(operation.warnings) == 1
    assert 'this is a full backup, because' in operation.warnings[0]
    assert reason in operation.warnings[0]
    assert (chains.manifest(driver, backup)['sealing'] is None) == (not now or not now.recipients)
    assert chains.manifest(driver, backup)['references'] == []
    assert chains.bring_back(driver, backup) == DATA
    with pytest.raises(exceptions.InvalidBackup, match='cannot be the parent'):
        chains.take(driver, DATA, parent, Operation(parent_required=True))


def test_recipients_may_change_from_backup_to_backup() -> None:
    driver = rig.driver(rig.ring('first'))
    parent = chains.take(driver, DATA)
    later = rig.driver(rig.ring('second', others=['first']), beside=driver)
    child = chains.take(later, rig.changed(DATA), parent)
    assert child.parent_id == parent.id
    alone = rig.driver(rig.ring('second'), beside=driver)
    assert chains.bring_back(alone, child) == rig.changed(DATA)
    with pytest.raises(exceptions.KeyUnavailable):
        chains.bring_back(alone, parent)
    later.delete_backup(parent)
    assert chains.bring_back(alone, child) == rig.changed(DATA)


def test_unsealed_backups_are_read_where_they_are_known_or_accepted() -> None:
    plain = rig.driver()
    backup = chains.take(plain, DATA)
    unknown = rig.recorded_nowhere(backup)
    strict = rig.driver(rig.ring('main'), beside=plain)
    assert chains.bring_back(strict, backup) == DATA and rig.verify(strict, backup) == []
    for refused in (chains.bring_back, rig.verify):
        with pytest.raises(exceptions.InvalidBackup, match='somebody may have put it there'):
            refused(strict, unknown)
    with pytest.raises(exceptions.InvalidBackup):
        strict.describe(rig.CONTAINER, str(backup.service_metadata))
    accepting = rig.driver(rig.ring('main', accepts_unsealed=True), beside=plain)
    reading = rig.driver(rig.ring(others=['main']), beside=plain)
    for driver in (accepting, reading):
        assert chains.bring_back(driver, unknown) == DATA
    # It is deleted like any other.
    strict.delete_backup(unknown)
    assert not [name for name in chains.names(plain) if not name.startswith('bf-container.')]


@pytest.mark.parametrize('backup_format', [None, '2.0.0'])
def test_a_delete_without_keys_frees_what_it_can(backup_format: str | None) -> None:
    """Its own objects; the map and the keys stay, for they tell of others when a key is back."""
    driver = rig.driver(rig.ring('main'))
    parent = chains.take(driver, DATA)
    child = chains.take(driver, rig.changed(DATA), parent)
    driver.delete_backup(parent)
    left = set(chains.data_names(driver, parent))
    assert left
    child.format = backup_format
    prefix = str(child.service_metadata)
    keyless = rig.driver(rig.ring('another'), beside=driver, format='1.0.0')
    keyless.delete_backup(child)
    assert {name for name in chains.names(driver) if not name.startswith('bf-container.')} == {
        *left, f'{prefix}_map', f'{prefix}_keys-1'}
    child.format = '2.0.0'
    driver.delete_backup(child)
    assert not [name for name in chains.names(driver) if not name.startswith('bf-container.')]


def test_a_sweep_stops_at_what_it_cannot_open() -> None:
    driver = rig.driver(rig.ring('main'))
    parent = chains.take(driver, DATA)
    child = chains.take(driver, rig.changed(DATA), parent)
    stranger = chains.take(rig.driver(rig.ring('stranger'), beside=driver), DATA, volume_id='v')
    keyless = rig.driver(rig.ring('stranger'), beside=driver)
    with pytest.raises(exceptions.KeyUnavailable, match='no objects of the deleted backup'):
        keyless.delete_backup(parent)
    assert chains.bring_back(driver, child) == rig.changed(DATA)
    # What nobody can open stands in the way of its own objects only.
    again = chains.take(driver, DATA, volume_id='w')
    driver.delete_backup(again)
    assert not chains.data_names(driver, again) and chains.data_names(driver, stranger)


def test_format_1_cannot_be_sealed() -> None:
    driver = rig.driver(rig.ring('main'), format='1.0.0')
    with pytest.raises(exceptions.ConfigurationError, match='format 2.0.0 can'):
        chains.take(driver, DATA)
    assert not chains.names(driver)
    opened = rig.driver(rig.ring(others=['main']), format='1.0.0')
    backup = chains.take(opened, DATA)
    assert chains.bring_back(opened, backup) == DATA


def test_a_recipient_who_is_not_there_stops_the_backup() -> None:
    class Away(rig.KnownKey):
        def wrap(self, *_: Any) -> dict[str, Any]:
            raise exceptions.KeyUnavailable('the safe is shut')

    ring = Keyring([rig.recipient('main'), rig.Recipient('escrow', 'known', Away('escrow'))])
    driver = rig.driver(ring)
    with pytest.raises(exceptions.KeyUnavailable, match='the safe is shut'):
        chains.take(driver, DATA)
    assert not chains.names(driver)


def test_who_has_no_key_is_told_whose_it_is_and_whether_the_manifest_is_whole() -> None:
    driver = rig.driver(rig.ring('main', 'escrow'))
    backup = chains.take(driver, DATA)
    prefix = str(backup.service_metadata)
    box = box_of(driver)
    assert list(key_sets.generations(box)) == [prefix]
    assert key_sets.recipients(box, prefix) == [('main', 'known'), ('escrow', 'known')]
    with pytest.raises(exceptions.KeyUnavailable, match='sealed for escrow, main'):
        versions.open_reader(box, prefix)
    name = f'{prefix}_metadata'
    chains.overwrite(driver, name, chains.body(driver, name).replace(b'volume-1', b'volume-2'))
    with pytest.raises(exceptions.CorruptManifest, match='when it was stored'):
        versions.open_reader(box, prefix)


def test_keys_of_others_are_no_business_of_a_backup() -> None:
    """A key that its parent had for what only the parent used is not handed on."""
    driver = rig.driver(rig.ring('main'))
    first = chains.take(driver, DATA)
    second = chains.take(driver, rig.changed(DATA), first)
    noise = random.Random(9).randbytes(LENGTH)
    third = chains.take(driver, noise, second)
    fourth = chains.take(driver, noise, third)
    prefixes = [str(each.service_metadata) for each in (first, second, third, fourth)]
    assert chains.manifest(driver, fourth)['references'] == [prefixes[2]]
    assert set(rig.keys_of(driver, second, 'main')) == {*prefixes[:2]}
    assert set(rig.keys_of(driver, fourth, 'main')) == {*prefixes[2:]}


def test_a_backup_that_is_not_committed_has_no_keys_to_wrap() -> None:
    driver = rig.driver(rig.ring('main'))
    backup = chains.take(driver, DATA)
    prefix = str(backup.service_metadata)
    chains.overwrite(driver, f'{prefix}_metadata', None)
    assert key_sets.generations(box_of(driver)) == {}
    with pytest.raises(exceptions.MissingObject, match='without them nothing opens it'):
        key_sets.read(box_of(driver), 'another', rig.ring('main'))
    with pytest.raises(exceptions.MissingObject):
        key_sets.recipients(box_of(driver), 'another')


def test_the_last_generation_is_the_last() -> None:
    driver = rig.driver(rig.ring('main'))
    backup = chains.take(driver, DATA)
    prefix = str(backup.service_metadata)
    box = box_of(driver)
    keys = rig.keys_of(driver, backup, 'main')
    key_sets.write(box, prefix, rig.ring('main'), keys, 9999)
    with pytest.raises(exceptions.Refused, match='copy the backup instead'):
        key_sets.rewrap(box, prefix, rig.ring('main'))
    assert chains.bring_back(driver, backup) == DATA


@pytest.mark.parametrize('keys', [None, rig.ring(), rig.ring(others=['old'])])
def test_a_driver_without_recipients_stores_nothing_unsealed(keys):
    """Its settings want encryption, and whoever made it forgot the keys."""
    driver = rig.driver(keys, encryption='aes-256-gcm')
    with pytest.raises(exceptions.ConfigurationError, match='nothing is stored unsealed'):
        chains.take(driver, bytes(chains.CHUNK))
    assert rig.objects(driver) == {}
