"""How drivers of both generations are called, and in which order backups are deleted."""

from __future__ import annotations

import itertools

import pytest

from backup_framework import exceptions
from backup_framework.manager import context, deleting, drivers
from backup_framework.model import Backup
from backup_framework.testing import memory


def of_2017(backup, volume_id, volume_file):
    return backup, volume_id, volume_file


def of_today(backup, volume_id, volume_file, volume_is_new):
    return backup, volume_id, volume_file, volume_is_new


def of_ours(backup, volume_id, volume_file, volume_is_new=False, *, operation=None):
    return backup, volume_id, volume_file, volume_is_new, operation


def of_anybody(*args, **kwargs):
    return *args, *kwargs.values()


@pytest.mark.parametrize('method, expected', [
    (of_2017, 'bvf'), (of_today, 'bvfn'), (of_ours, 'bvfno'), (of_anybody, 'bvfno')])
def test_a_driver_gets_what_it_has_room_for(method, expected):
    assert ''.join(drivers.call(method, 'b', 'v', 'f', 'n', operation='o')) == expected


class Foreign:
    def fails(self):
        raise ZeroDivisionError('division by zero')

    def refuses(self):
        raise exceptions.StoreFull('full')


class Ours(memory.MemoryBackupDriver):
    def fails(self):
        raise ZeroDivisionError('a bug of ours')


def test_who_is_blamed():
    with pytest.raises(exceptions.DriverBug, match='Foreign of .* failed with ZeroDivisionError'):
        drivers.call(Foreign().fails)
    with pytest.raises(exceptions.StoreFull):
        drivers.call(Foreign().refuses)
    with pytest.raises(ZeroDivisionError):
        drivers.call(Ours.make().fails)


def test_todays_name_of_delete_is_preferred():
    class Both:
        def delete(self, backup):
            return 'old'

        def delete_backup(self, backup):
            return 'new'

    assert drivers.call(drivers.delete_method(Both()), None) == 'new'


def test_the_class_path_of_a_record():
    class Known:
        CINDER_CLASS = 'cinder.backup.drivers.posix.PosixBackupDriver'

    known = Known()
    assert drivers.service(known) == Known.CINDER_CLASS
    assert drivers.is_service(known, 'cinder.backup.drivers.posix')
    assert not drivers.is_service(known, 'cinder.backup.drivers')
    assert drivers.service(Foreign()) == f'{__name__}.Foreign'


@pytest.mark.parametrize('error, reason', [
    (exceptions.OperationCancelled(signal=15), 'interrupted by SIGTERM'),
    (exceptions.OperationCancelled(), 'interrupted'), (KeyboardInterrupt(), 'interrupted'),
    (ValueError('why'), 'why'), (ValueError(), 'ValueError'), (ValueError('x' * 5000), 'x' * 1000)])
def test_what_a_record_says_of_a_failure(error, reason):
    assert context.reason_of(error) == reason


@pytest.mark.parametrize('order', list(itertools.permutations('abcde')))
def test_children_go_first(order):
    parents = {'a': None, 'b': 'a', 'c': 'b', 'd': 'b', 'e': 'gone'}
    backups = [Backup(id=name, parent_id=parents[name]) for name in order]
    deleted = [backup.id for backup in deleting.children_first(backups)]
    assert sorted(deleted) == list('abcde')
    for name, parent in parents.items():
        assert parent not in deleted or deleted.index(name) < deleted.index(parent)


def test_a_circle_in_a_catalog_ends():
    backups = [Backup(id='a', parent_id='b'), Backup(id='b', parent_id='a')]
    assert len(deleting.children_first(backups)) == 2
