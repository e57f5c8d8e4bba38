"""Deletes that wait until backups that were running have ended."""

import pytest

from backup_framework import exceptions
from backup_framework.model import Backup, Status

HERE = {'backend': 'local', 'container': 'box'}


@pytest.fixture
def delete(catalog):
    """Begins to delete b1 and leaves it waiting."""
    def begin(*awaited, **fields):
        with catalog.operation('delete', backup_id='b1') as row:
            catalog.transition('b1', [Status.AVAILABLE], Status.DELETING)
            catalog.postpone(row, 'b1', awaited, **fields)
    return begin


def creating(catalog, backup_id, **fields):
    """An operation that makes a backup; its record is there unless `fields` are None."""
    running = catalog.operation('create', backup_id=backup_id, volume_id=f'volume of {backup_id}')
    running.__enter__()
    catalog.add_backup(Backup(id=backup_id, **fields))
    return running


def test_who_may_refer_to_a_container(catalog, add):
    add(id='done', **HERE)
    assert catalog.writers('box') == []
    running = [creating(catalog, 'here', **HERE),
               creating(catalog, 'undecided', backend='local'),
               creating(catalog, 'same name', backend='other', container='box'),
               creating(catalog, 'beside', backend='local', container='crate')]
    with catalog.operation('create', backup_id='unknown', volume_id='v'):
        assert catalog.writers('box') == ['here', 'undecided', 'same name', 'unknown']
    for each in running:
        each.__exit__(None, None, None)
    assert catalog.writers('box') == []


def test_a_delete_waits_for_those_that_were_running(catalog, add, delete):
    add(id='b1', **HERE)
    running = creating(catalog, 'here', **HERE)
    delete('here', warnings=['it waits'])
    later = creating(catalog, 'later', **HERE)
    assert catalog.postponed() == {'b1': ['here']}
    assert catalog.get_backup('b1').warnings == ['it waits']
    assert catalog.get_backup('b1').status == Status.DELETING
    running.__exit__(None, None, None)
    assert catalog.postponed() == {'b1': []}
    later.__exit__(None, None, None)


def test_one_that_waits_is_not_taken_for_dead(catalog, add, delete):
    add(id='b1', **HERE)
    delete('gone')
    assert catalog.recover() == []
    assert catalog.get_backup('b1').status == Status.DELETING
    assert catalog.check() == []


def test_of_two_that_go_on_one_wins(catalog, open_catalog, add, delete):
    add(id='b1', **HERE)
    delete('gone')
    other = open_catalog()
    with catalog.operation('delete', backup_id='b1') as row:
        with pytest.raises(exceptions.BackupInUse), other.operation('delete', backup_id='b1'):
            pytest.fail('two at once')
        assert catalog.resume(row, 'b1') == ['gone']
        assert other.postponed() == {}
    with catalog.operation('delete', backup_id='b1') as row:
        assert other.postponed() == {}
        catalog.forget('b1', operation=row)
    assert catalog.backups() == []


def test_what_does_not_wait_is_not_gone_on_with(catalog, add):
    add(id='b1', **HERE)
    with catalog.operation('delete', backup_id='b1') as row:
        with pytest.raises(exceptions.InvalidBackup, match='does not wait'):
            catalog.resume(row, 'b1')


def test_one_that_died_after_waiting_waits_again(catalog, open_catalog, add, delete, children):
    add(id='b1', **HERE)
    delete('gone')

    def die():
        with catalog.operation('delete', backup_id='b1') as row:
            catalog.resume(row, 'b1')
            children.tell('resumed')
            import os
            os._exit(1)
    children.start(die).join(30)
    assert children.answer() == 'resumed'
    assert catalog.postponed() == {}
    assert catalog.recover() == []
    assert catalog.get_backup('b1').status == Status.DELETING
    assert catalog.postponed() == {'b1': []}


def test_one_that_failed_after_waiting_waits_no_more(catalog, add, delete):
    """Not even when it is repeated, and that is killed."""
    add(id='b1', **HERE)
    delete('gone')
    with catalog.operation('delete', backup_id='b1') as row:
        catalog.finish(row, 'b1', Status.ERROR_DELETING, fail_reason='it is damaged')
    catalog.transition('b1', [Status.ERROR_DELETING], Status.DELETING)
    assert catalog.postponed() == {}
    assert 'b1' in catalog.recover()[0]
    assert catalog.get_backup('b1').status == Status.ERROR_DELETING


def test_a_backup_that_is_deleted_is_no_parent(catalog, add, delete):
    add(id='b1', **HERE)
    delete('gone')
    with pytest.raises(exceptions.InvalidBackup, match='only an available backup'):
        catalog.add_backup(Backup(id='b2', parent_id='b1'))


@pytest.mark.parametrize('version', ['2.0.0', '1.0.0', None])
def test_who_needs_a_parent(catalog, add, version):
    add(id='b1', format=version)
    add(id='b2', parent_id='b1', format=version)
    needed = version != '2.0.0'
    assert [each.id for each in catalog.dependents('b1')] == ['b2'] * needed
    assert [each.id for each in catalog.chain(catalog.get_backup('b2'))] == [
        *['b1'] * needed, 'b2']
    if needed:
        with pytest.raises(exceptions.BackupInUse, match='b2'):
            catalog.forget('b1')
        return
    catalog.forget('b1')
    assert catalog.check() == []
    assert catalog.chain(catalog.get_backup('b2')) == [catalog.get_backup('b2')]
