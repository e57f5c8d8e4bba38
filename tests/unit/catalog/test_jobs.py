"""Accepting jobs, running them more than once, ending them; what lives because its job is open."""

from __future__ import annotations

import datetime
import threading
from typing import Any

import pytest

from backup_framework import exceptions
from backup_framework.catalog import Catalog
from backup_framework.model import Backup, Job, JobState, Quota, Status, Volume, utcnow

OPEN = (JobState.QUEUED, JobState.RUNNING)


@pytest.fixture
def accept(catalog):
    """Accepts a create of a volume; gives the backup and the job."""
    def accepts(volume_id='v1', quota=None, size=1, project_id='p', **fields: Any):
        backup = Backup(volume_id=volume_id, size=size, project_id=project_id, **fields)
        job = Job(kind='create', backup_id=backup.id, volume_id=volume_id, project_id=project_id)
        catalog.accept(job, backup, quota=quota)
        return backup, job
    return accepts


def of(backup: Backup, kind: str, **fields: Any) -> Job:
    return Job(kind=kind, backup_id=backup.id, project_id=backup.project_id, **fields)


def test_a_job_is_kept_with_its_backup(catalog, accept):
    backup, job = accept()
    assert catalog.get_backup(backup.id).status == Status.CREATING
    found = catalog.job(job.id)
    assert found == job and found.state == JobState.QUEUED and found.created_at is not None
    assert catalog.open_jobs() == [found]
    assert catalog.jobs(project_id='p') == [found] and catalog.jobs(project_id='q') == []
    assert catalog.jobs(states=[JobState.DONE]) == [] and catalog.jobs(backup_id='x') == []


def test_a_job_of_another_project_is_not_there(catalog, accept):
    _, job = accept()
    assert catalog.job(job.id, 'p').id == job.id
    for job_id, project in ((job.id, 'q'), ('nosuch', None), ('\0', None)):
        with pytest.raises(exceptions.JobNotFound):
            catalog.job(job_id, project)


def test_all_or_nothing(catalog, accept):
    """What is refused leaves neither record nor job."""
    accept()
    with pytest.raises(exceptions.InvalidVolume, match='being backed up'):
        accept()
    with pytest.raises(exceptions.InvalidBackup, match='parent'):
        accept('v2', parent_id='nosuch')
    with pytest.raises(exceptions.QuotaExceeded):
        accept('v3', Quota(backups=1))
    assert len(catalog.backups()) == len(catalog.jobs()) == 1


def test_a_project_hears_nothing_of_the_backup_of_another(catalog, accept):
    """Of a volume that is everybody's."""
    backup, _ = accept()
    with pytest.raises(exceptions.InvalidVolume, match=backup.id):
        accept()
    with pytest.raises(exceptions.InvalidVolume) as refused:
        accept(project_id='q')
    assert backup.id not in str(refused.value)


@pytest.mark.parametrize('kinds', [('create', 'restore'), ('restore', 'create'),
                                   ('restore', 'restore'), ('create', 'create')])
def test_one_job_a_volume(catalog, add, kinds):
    """Of those that read it or write to it; another volume is free."""
    backup = add(volume_id='other')
    first, second = (Job(kind=kind, backup_id=backup.id, volume_id='v1') for kind in kinds)
    catalog.accept(first)
    with pytest.raises(exceptions.InvalidVolume, match='v1 is being'):
        catalog.accept(second)
    catalog.accept(Job(kind=kinds[1], backup_id=backup.id, volume_id='v2'))
    catalog.end_job(first.id, JobState.DONE)
    catalog.accept(second)


# Quotas

@pytest.mark.parametrize('quota, resource', [
    (Quota(backups=2), 'backups'), (Quota(gigabytes=6), 'gigabytes')])
def test_a_quota(catalog, accept, quota, resource):
    accept('v1', quota, size=3)
    backup, _ = accept('v2', quota, size=3)
    accept('v3', quota, project_id='q', size=3)
    with pytest.raises(exceptions.QuotaExceeded) as caught:
        accept('v4', quota, size=3)
    error = caught.value
    assert (error.resource, error.limit) == (resource, 2 if resource == 'backups' else 6)
    assert error.used == (2 if resource == 'backups' else 6)
    assert catalog.usage('p') == Quota(2, 6) and catalog.usage('q') == Quota(1, 3)
    catalog.end_job(catalog.jobs(backup_id=backup.id)[0].id, JobState.FAILED, 'x')
    catalog.forget(backup.id)
    accept('v4', quota, size=3)


def test_a_quota_of_nothing_and_none_at_all(accept):
    for quota in (None, Quota(), Quota(0, 0)):
        if quota == Quota(0, 0):
            with pytest.raises(exceptions.QuotaExceeded):
                accept('v', quota)
        else:
            accept(f'v{quota}', quota)


def test_a_quota_holds_when_twenty_ask_at_once(open_catalog):
    twenty_ask([open_catalog() for _ in range(20)])


def test_a_quota_holds_when_twenty_ask_mariadb_at_once(mariadb, state_path):
    url = mariadb.database()
    catalogs = [Catalog(url, state_path) for _ in range(20)]
    try:
        twenty_ask(catalogs)
    finally:
        for each in catalogs:
            each.close()


def twenty_ask(catalogs: list[Catalog]) -> None:
    """Seven fit. Each thread has a connection of its own, as API processes have."""
    catalogs[0].backups()
    told: list[object] = []
    together = threading.Barrier(20)

    def ask(number: int) -> None:
        backup = Backup(volume_id=f'v{number}', project_id='p', size=1)
        together.wait(30)
        try:
            catalogs[number].accept(of(backup, 'create', volume_id=backup.volume_id), backup,
                                    quota=Quota(backups=7))
            told.append('accepted')
        except Exception as error:
            told.append(type(error))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert sorted(map(str, told)) == sorted(
        ['accepted'] * 7 + [str(exceptions.QuotaExceeded)] * 13)
    assert catalogs[0].usage('p') == Quota(7, 7)
    assert len(catalogs[0].open_jobs()) == 7


def test_one_of_ten_deletes_wins(open_catalog, add):
    backup = add(project_id='p')
    catalogs = [open_catalog() for _ in range(10)]
    told: list[object] = []

    def ask(catalog: Any) -> None:
        try:
            catalog.accept(of(backup, 'delete'), from_=[Status.AVAILABLE], to=Status.DELETING)
            told.append('accepted')
        except exceptions.InvalidBackup:
            told.append('refused')

    threads = [threading.Thread(target=ask, args=(each,)) for each in catalogs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(told) == ['accepted'] + ['refused'] * 9


# What is done to backups that are there

def test_a_delete_of_what_is_in_use(catalog, add):
    backup = add()
    reading = catalog.accept(of(backup, 'verify'), from_=[Status.AVAILABLE])
    with pytest.raises(exceptions.BackupInUse, match='a verify of backup'):
        catalog.accept(of(backup, 'delete'), from_=[Status.AVAILABLE], to=Status.DELETING)
    catalog.end_job(reading.id, JobState.DONE)
    with catalog.operation('verify', backup_id=backup.id):
        with pytest.raises(exceptions.BackupInUse, match='a verify of backup'):
            catalog.accept(of(backup, 'delete'), from_=[Status.AVAILABLE], to=Status.DELETING)
    catalog.accept(of(backup, 'delete'), from_=[Status.AVAILABLE], to=Status.DELETING)
    assert catalog.get_backup(backup.id).status == Status.DELETING


def test_a_delete_of_what_others_need(catalog, add):
    backup = add()
    child = add(parent_id=backup.id, format='1.0.0')
    for cancel in (False, True):
        with pytest.raises(exceptions.BackupInUse, match=child.id):
            catalog.accept(of(backup, 'delete'), to=Status.DELETING, cancel=cancel)
    assert catalog.get_backup(backup.id).status == Status.AVAILABLE
    assert catalog.depended([backup.id, child.id]) == {backup.id}
    catalog.update_backup(child.id, format='2.0.0')
    assert catalog.depended([backup.id, child.id]) == set()
    catalog.accept(of(backup, 'delete'), to=Status.DELETING)


def test_a_delete_by_force_cancels_the_create(catalog, accept):
    backup, create = accept()
    catalog.accept(of(backup, 'delete'), to=Status.DELETING, cancel=True)
    assert catalog.job(create.id).state == JobState.CANCELLED
    assert 'delete of the backup' in catalog.job(create.id).fail_reason
    assert catalog.start_job(create.id, 'host') == 0
    assert catalog.get_backup(backup.id).status == Status.DELETING
    assert [job.kind for job in catalog.open_jobs()] == ['delete']


def test_a_backup_is_restoring_while_a_restore_is_open(catalog, add):
    backup = add()
    job = catalog.accept(of(backup, 'restore', volume_id='v2'), from_=[Status.AVAILABLE])
    assert catalog.get_backup(backup.id).status == Status.RESTORING
    assert [each.id for each in catalog.backups(status='restoring')] == [backup.id]
    with pytest.raises(exceptions.InvalidBackup, match='is restoring, not available or error'):
        catalog.accept(of(backup, 'delete'), from_=[Status.AVAILABLE, Status.ERROR],
                       to=Status.DELETING)
    catalog.end_job(job.id, JobState.DONE)
    assert catalog.get_backup(backup.id).status == Status.AVAILABLE


def test_one_verification_of_a_backup_is_open_at_a_time(catalog, add):
    backup, other = add(project_id='p'), add(project_id='p')
    job = catalog.accept(of(backup, 'verify'))
    with pytest.raises(exceptions.InvalidBackup, match=f'job {job.id}'):
        catalog.accept(of(backup, 'verify', arguments={'quick': True}))
    catalog.accept(of(other, 'verify'))
    catalog.accept(of(backup, 'restore', volume_id='v2'))
    catalog.end_job(job.id, JobState.CANCELLED)
    catalog.accept(of(backup, 'verify'))


def test_one_prune_of_a_volume_is_open_at_a_time(catalog):
    def prune(**fields: Any) -> Job:
        return catalog.accept(Job(**{'kind': 'prune', 'project_id': 'p', **fields}))

    for fields, said in (({'volume_id': 'v1'}, 'volume v1'), ({}, 'all volumes')):
        job = prune(**fields)
        with pytest.raises(exceptions.InvalidBackup, match=f'{said} .* job {job.id}'):
            prune(arguments={'rules': {'last': 9}}, **fields)
        prune(project_id=None, **fields)
        prune(project_id='q', **fields)
        prune(backend='vault', **fields)
        catalog.end_job(job.id, JobState.FAILED)
        prune(**fields)
    prune(volume_id='v2')


def test_of_two_that_ask_at_once_for_the_same_one_is_refused(open_catalog, catalog, add, children):
    backup = add()
    catalog.close()

    def ask() -> bool:
        try:
            return bool(open_catalog().accept(of(backup, 'verify')))
        except exceptions.InvalidBackup:
            return False

    for _ in range(3):
        children.start(ask)
    assert sorted(children.answer() for _ in range(3)) == [False, False, True]


def test_reset_cancels(catalog, accept):
    backup, job = accept()
    catalog.reset(backup.id, Status.AVAILABLE)
    assert catalog.get_backup(backup.id).status == Status.AVAILABLE
    assert catalog.job(job.id).state == JobState.CANCELLED
    with pytest.raises(exceptions.BackupNotFound):
        catalog.reset('nosuch', Status.ERROR)


# Running and ending

def test_the_way_of_a_job(catalog, accept):
    _, job = accept()
    assert catalog.start_job(job.id, 'h1') == 1
    assert catalog.progress(job.id, 'backup', 5, 10)
    found = catalog.job(job.id)
    assert (found.state, found.host, found.phase, found.done, found.total) == (
        JobState.RUNNING, 'h1', 'backup', 5, 10)
    assert catalog.change_job(job.id, snapshot='s')
    assert catalog.change_job(job.id, more=1)
    assert catalog.job(job.id).arguments == {'snapshot': 's', 'more': 1}
    assert catalog.put_job_back(job.id) and catalog.job(job.id).state == JobState.QUEUED
    assert catalog.start_job(job.id, 'h2') == 2
    assert catalog.job(job.id).started_at == found.started_at
    assert catalog.end_job(job.id, JobState.DONE)
    ended = catalog.job(job.id)
    assert ended.state == JobState.DONE and ended.ended_at is not None
    # An end is recorded once.
    assert not catalog.end_job(job.id, JobState.FAILED, 'late')
    assert not catalog.start_job(job.id, 'h3') and not catalog.put_job_back(job.id)
    assert not catalog.progress(job.id, 'backup', 6, 10)
    assert not catalog.change_job(job.id, more=2)
    assert catalog.job(job.id) == ended
    with pytest.raises(exceptions.InvalidInput):
        catalog.end_job(job.id, JobState.RUNNING)


def test_an_attempt_that_another_one_followed_says_nothing(catalog, accept):
    backup, job = accept()
    first = catalog.start_job(job.id, 'h1')
    second = catalog.start_job(job.id, 'h2')
    assert not catalog.progress(job.id, 'backup', 1, 2, attempt=first)
    assert not catalog.end_job(job.id, JobState.FAILED, 'x', attempt=first)
    assert catalog.get_backup(backup.id).status == Status.CREATING
    assert catalog.progress(job.id, 'backup', 1, 2, attempt=second)
    assert catalog.end_job(job.id, JobState.DONE, attempt=second)


@pytest.mark.parametrize('kind, before, after', [
    ('create', Status.CREATING, Status.ERROR), ('import', Status.CREATING, Status.ERROR),
    ('delete', Status.DELETING, Status.ERROR_DELETING)])
@pytest.mark.parametrize('state', [JobState.FAILED, JobState.CANCELLED])
def test_what_a_failure_means_for_the_backup(catalog, add, kind, before, after, state):
    backup, done = add(status=before), add()
    for each in (backup, done):
        job = catalog.accept(of(each, kind))
        catalog.end_job(job.id, state, 'the reason')
    found = catalog.get_backup(backup.id)
    assert (found.status, found.fail_reason) == (after, 'the reason')
    # Its outcome was recorded before.
    assert catalog.get_backup(done.id).status == Status.AVAILABLE


def test_what_a_failure_means_for_the_volume(catalog, add):
    backup = add()
    catalog.offer_volumes('s', [Volume(id='old', source_id='old')])

    def status(volume_id: str) -> str:
        return catalog.volume_of(volume_id, None).status

    def restore(volume_id: str, state: JobState, *, begun: bool = True, written: bool = True,
                volume: Volume | None = None) -> None:
        job = catalog.accept(of(backup, 'restore', volume_id=volume_id), volume=volume)
        if begun:
            catalog.start_job(job.id, 'h')
            catalog.change_job(job.id, **{'written': True} if written else {})
        catalog.end_job(job.id, state)

    new = Volume(id='new', source='s', status='creating', offered_at=utcnow())
    restore('new', JobState.FAILED, volume=new)
    assert status('new') == 'error'
    restore('old', JobState.CANCELLED, begun=False)
    assert status('old') == 'available'
    restore('old', JobState.FAILED, written=False)
    assert status('old') == 'available'
    restore('old', JobState.FAILED)
    assert status('old') == 'error_restoring'
    # Its source sees nothing wrong.
    catalog.offer_volumes('s', [Volume(source_id='old')])
    assert status('old') == 'error_restoring'
    restore('old', JobState.DONE)
    assert status('old') == 'available'


# Operations of jobs

def test_an_operation_takes_the_place_of_an_earlier_one(catalog, open_catalog, accept, tmp_path):
    """On another host, while the first process lives and knows nothing of it."""
    backup, job = accept()
    other = open_catalog(str(tmp_path / 'elsewhere'))
    with catalog.operation('create', backup_id=backup.id, volume_id='v1', job_id=job.id) as first:
        with other.operation('create', backup_id=backup.id, volume_id='v1',
                             job_id=job.id) as second:
            first.renewed -= 3600
            with pytest.raises(exceptions.InvalidBackup, match='taken over'):
                catalog.renew(first)
            with pytest.raises(exceptions.InvalidBackup, match='taken over'):
                catalog.finish(first, backup.id, Status.ERROR, fail_reason='x')
            assert catalog.writers('c') == [backup.id]
            other.finish(second, backup.id, Status.AVAILABLE)
    assert catalog.get_backup(backup.id).status == Status.AVAILABLE
    assert catalog.job(job.id).state == JobState.DONE


def test_an_operation_of_a_job_that_has_ended(catalog, accept):
    backup, job = accept()
    catalog.end_job(job.id, JobState.CANCELLED)
    with pytest.raises(exceptions.OperationCancelled):
        with catalog.operation('create', backup_id=backup.id, volume_id='v1', job_id=job.id):
            pytest.fail('it was begun')


def test_an_outcome_ends_the_job(catalog, add, accept):
    backup, job = accept()
    with catalog.operation('create', backup_id=backup.id, volume_id='v1', job_id=job.id) as row:
        catalog.finish(row, backup.id, Status.ERROR, fail_reason='the reason')
    found = catalog.job(job.id)
    assert (found.state, found.fail_reason) == (JobState.FAILED, 'the reason')
    gone = add()
    job = catalog.accept(of(gone, 'delete'), to=Status.DELETING)
    with catalog.operation('delete', backup_id=gone.id, job_id=job.id) as row:
        catalog.forget(gone.id, operation=row)
    assert catalog.job(job.id).state == JobState.DONE
    later = add()
    job = catalog.accept(of(later, 'delete'), to=Status.DELETING)
    with catalog.operation('delete', backup_id=later.id, job_id=job.id) as row:
        catalog.postpone(row, later.id, ['b'])
    assert catalog.job(job.id).state == JobState.DONE
    assert catalog.postponed() == {later.id: []}


def die(open_catalog: Any, backup: Backup, job: Job) -> None:
    """What a killed worker leaves: a row, and a lock that is free."""
    catalog = open_catalog()
    context = catalog.operation('create', backup_id=backup.id, volume_id='v1', job_id=job.id)
    row = context.__enter__()
    row.release()
    # Nothing tidies up after it.
    row.pid = 0


def test_what_has_an_open_job_is_not_buried(catalog, open_catalog, accept):
    backup, job = accept()
    queued, _ = accept('v2')
    catalog.start_job(job.id, 'h')
    die(open_catalog, backup, job)
    assert open_catalog().recover() == []
    assert [each.status for each in catalog.backups()] == [Status.CREATING] * 2
    assert catalog.check() == []
    assert catalog.writers('c') == [backup.id]
    catalog.update_backup(queued.id, container='c', service_metadata='prefix')
    assert catalog.writers('c') == [backup.id, queued.id]
    assert catalog.writers('other') == [backup.id]
    catalog.update_backup(queued.id, service_metadata=None)
    assert catalog.writers('c') == [backup.id]


def test_what_has_no_open_job_is_buried(catalog, open_catalog, accept):
    backup, job = accept()
    die(open_catalog, backup, job)
    catalog.end_job(job.id, JobState.CANCELLED, 'cancelled')
    assert catalog.writers('c') == []
    catalog.recover()
    with catalog.operation('create', volume_id='v1'):
        assert catalog.get_backup(backup.id).fail_reason == 'cancelled'


def test_deletes_wait_for_what_a_job_goes_on_with(catalog, open_catalog, accept, add):
    backup, job = accept()
    gone = add()
    with catalog.operation('delete', backup_id=gone.id) as row:
        catalog.transition(gone.id, [Status.AVAILABLE], Status.DELETING)
        catalog.postpone(row, gone.id, [backup.id])
    assert catalog.postponed() == {gone.id: []}
    catalog.update_backup(backup.id, container='c', service_metadata='prefix')
    assert catalog.postponed() == {gone.id: [backup.id]}
    die(open_catalog, backup, job)
    assert catalog.postponed() == {gone.id: [backup.id]}
    catalog.end_job(job.id, JobState.FAILED)
    assert catalog.postponed() == {gone.id: []}


def test_purge(catalog, accept):
    _, job = accept()
    _, other = accept('v2')
    catalog.end_job(job.id, JobState.DONE)
    assert catalog.purge(utcnow() - datetime.timedelta(hours=1)) == 0
    assert catalog.purge(utcnow() + datetime.timedelta(hours=1)) == 1
    assert [each.id for each in catalog.jobs()] == [other.id]
