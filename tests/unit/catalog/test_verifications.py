"""What verifying found, in the records; marks of bad objects."""

import json

import pytest

from backup_framework import exceptions, model
from backup_framework.catalog import schema
from backup_framework.model import Status


def damage_of(catalog, backup_id):
    return catalog.get_backup(backup_id).damage


def needs(name, container='box'):
    return f'object {name} of container {container} is bad'


def test_results(catalog, add):
    add(id='b1', backend='local')
    catalog.record_verification('b1', model.QUICK, [])
    quick = catalog.get_backup('b1')
    assert quick.verified_how == 'quick' and quick.fully_verified_at is None
    catalog.record_verification('b1', model.FULL, ['one', 'two'], manifest_digest='ab' * 32)
    full = catalog.get_backup('b1')
    assert full.verified_at == full.fully_verified_at > quick.verified_at
    assert (full.damage, full.manifest_digest) == (['one', 'two'], 'ab' * 32)
    catalog.record_verification('b1', model.SAMPLED, ['two', 'three'])
    last = catalog.get_backup('b1')
    assert last.damage == ['one', 'two', 'three'] and last.verified_how == 'sampled'
    assert last.fully_verified_at == full.fully_verified_at < last.verified_at
    catalog.record_verification('b1', model.FULL, [])
    assert damage_of(catalog, 'b1') == []
    with pytest.raises(exceptions.BackupNotFound):
        catalog.record_verification('nosuch', model.QUICK, [])


def test_more_damage_than_a_record_takes(catalog, add):
    """Also with what takes six characters each in JSON."""
    add(id='b1', backend='local')
    for sentence in ('x' * 900, 'é' * 200):
        catalog.record_verification('b1', model.FULL, [f'{sentence}{n}' for n in range(100)])
        damage = damage_of(catalog, 'b1')
        assert damage[-1] == model.MORE_DAMAGE and damage[0] == f'{sentence}0' and len(damage) > 5
        assert len(json.dumps(damage)) <= schema.DAMAGE_LENGTH
        catalog.record_verification('b1', model.QUICK, ['one more'])
        assert damage_of(catalog, 'b1') in (damage, [*damage[:-1], 'one more', damage[-1]],
                                            [*damage, 'one more'])


def test_marks_are_of_a_container(catalog, add):
    add(id='b1', backend='local')
    catalog.mark_bad('local', {('box', 'o-1'), ('box', 'o-2'), ('crate', 'o-1')},
                     {'b1': [needs('o-1')], 'nosuch': ['x']})
    catalog.mark_bad('local', {('box', 'o-1')}, {'b1': [needs('o-1')]})
    assert catalog.bad_objects('local', 'box') == {'o-1', 'o-2'}
    assert catalog.bad_objects('local', 'crate') == {'o-1'}
    assert catalog.bad_objects('other', 'box') == set()
    assert damage_of(catalog, 'b1') == [needs('o-1')]


def test_a_mark_goes_with_the_last_damage(catalog, add):
    for backup_id in ('b1', 'b2', 'b3'):
        add(id=backup_id, backend='other' if backup_id == 'b3' else 'local')
    catalog.mark_bad('other', {('box', 'o-1')}, {'b3': [needs('o-1')]})
    catalog.mark_bad('local', {('box', 'o-1'), ('box', 'o-10')},
                     {'b1': [needs('o-1'), needs('o-10')], 'b2': [needs('o-10')]})
    catalog.record_verification('b2', model.QUICK, [])
    assert catalog.bad_objects('local', 'box') == {'o-1', 'o-10'}
    catalog.record_verification('b1', model.FULL, [needs('o-1')])
    assert catalog.bad_objects('local', 'box') == {'o-1', 'o-10'}
    catalog.record_verification('b1', model.FULL, [])
    assert catalog.bad_objects('local', 'box') == {'o-10'}
    with catalog.operation('delete', backup_id='b2') as row:
        catalog.forget('b2', operation=row)
    assert catalog.bad_objects('local', 'box') == set()
    assert catalog.bad_objects('other', 'box') == {'o-1'}


def test_who_was_not_looked_at_is_suspected(catalog, add):
    """Who was made meanwhile, or is made now, or failed and may be complete."""
    here = {'backend': 'local', 'container': 'box', 'service_metadata': 'prefix'}
    add(id='seen', **here)
    add(id='later', **here)
    add(id='in crate', **here | {'container': 'crate'})
    add(id='elsewhere', **here | {'backend': 'other'})
    add(id='failed', status=Status.ERROR, **here)
    add(id='deleted', status=Status.DELETING, **here)
    add(id='accepted', status=Status.CREATING, backend='local')
    add(id='made', status=Status.CREATING, **here)
    add(id='child', status=Status.CREATING, parent_id='later', format='1.0.0',
        **here | {'container': 'crate'})
    with catalog.operation('create', backup_id='begun', volume_id='v1') as row:
        add(id='begun', status=Status.CREATING, backend='local', container='asked for')
        catalog.mark_bad('local', {('box', 'o-1')}, {'seen': []})
        catalog.finish(row, 'begun', Status.AVAILABLE, container='box', service_metadata='x')
    suspected = {'later', 'failed', 'made', 'child', 'begun'}
    damage = {backup.id: backup.damage for backup in catalog.backups()}
    assert {backup_id for backup_id, found in damage.items() if found} == suspected
    assert {sentence for found in damage.values() for sentence in found} == {
        f'{needs("o-1")}, and whether it is needed could not be found out'}
    add(id='last', status=Status.CREATING, **here)
    catalog.mark_bad('local', {('box', 'o-1'), ('crate', 'o-2')}, {})
    assert damage_of(catalog, 'last') == []  # it began with the mark
    assert 'o-2' in damage_of(catalog, 'in crate')[0]


def test_a_record_that_is_dropped_takes_no_mark_along(catalog, add):
    """Its objects stay in the store, where others may find them."""
    add(id='b1', backend='local')
    catalog.mark_bad('local', {('box', 'o-1')}, {'b1': [needs('o-1')]})
    catalog.forget('b1')
    assert catalog.bad_objects('local', 'box') == {'o-1'}


def test_damage_that_was_cut_keeps_all_marks(catalog, add):
    add(id='b1', backend='local')
    add(id='b2', backend='local')
    catalog.mark_bad('local', {('box', 'o-1')}, {})
    catalog.record_verification('b1', model.FULL, ['x' * 900] * 100)
    catalog.record_verification('b2', model.FULL, [])
    assert catalog.bad_objects('local', 'box') == {'o-1'}
    catalog.record_verification('b1', model.FULL, [])
    assert catalog.bad_objects('local', 'box') == set()
