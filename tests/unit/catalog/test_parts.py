"""A create in parts: when it waits, when it goes on, and what its end takes along."""

import datetime

import pytest

from backup_framework import exceptions
from backup_framework.model import Backup, Extent, Job, JobState, Status, utcnow

EXTENTS = [Extent(0, 100), Extent(100, 100), Extent(200, 7)]


@pytest.fixture
def create(catalog):
    job = Job(kind='create', backup_id='b1', volume_id='v1', backend='local', source='disks')
    catalog.accept(job, Backup(id='b1', volume_id='v1', service_metadata='p', container='box'))
    return job


def split(catalog, job):
    catalog.start_job(job.id, 'here')
    with catalog.operation('create', backup_id='b1', volume_id='v1', job_id=job.id) as row:
        return catalog.split(row, {'size': 207}, EXTENTS)


def store(catalog, job, result='{}'):
    with catalog.operation('part', backup_id='b1', volume_id='v1', job_id=job.id) as row:
        return catalog.end_part(row, job, result)


def opened(catalog):
    return [job.id for job in catalog.open_jobs()]


def test_each_part_is_a_job(catalog, create):
    jobs = split(catalog, create)
    assert sorted(opened(catalog)) == sorted(job.id for job in jobs)
    first = catalog.job(jobs[1].id)
    assert (first.kind, first.backup_id, first.volume_id, first.backend, first.source,
            first.total, first.arguments) == (
                'part', 'b1', 'v1', 'local', 'disks', 100, {'create': create.id, 'number': 2})
    kept = catalog.job(create.id)
    assert kept.state == JobState.RUNNING and kept.arguments['split'] == {'size': 207}
    assert [part.extent for part in catalog.parts(create.id)] == EXTENTS


def test_its_progress_is_that_of_its_parts(catalog, create):
    jobs = split(catalog, create)
    store(catalog, jobs[0])
    other = Job(kind='part', backup_id='other', arguments={'create': 'another', 'number': 1})
    catalog.accept(other, Backup(id='other', volume_id='v2'))
    for job, phase, done in ((jobs[1], 'backup', 30), (jobs[2], 'hashes', 3), (other, 'backup', 9)):
        catalog.start_job(job.id, 'here')
        catalog.progress(job.id, phase, done, 100)
    catalog.progress_of_parts(create.id)
    found = catalog.job(create.id)
    assert (found.phase, found.done, found.total) == ('backup', 130, 207)


def test_the_create_goes_on_after_the_last_one(catalog, create):
    jobs = split(catalog, create)
    assert [store(catalog, jobs[number], f'result {number}') for number in (2, 0, 1)] == [
        False, False, True]
    assert opened(catalog) == [create.id]
    assert [part.result for part in catalog.parts(create.id)] == [
        'result 0', 'result 1', 'result 2']
    assert {catalog.job(job.id).state for job in jobs} == {JobState.DONE}


def test_of_two_that_end_at_once_one_is_the_last(open_catalog, catalog, create, children):
    jobs = split(catalog, create)
    store(catalog, jobs[0])
    catalog.close()
    for job in jobs[1:]:
        children.start(lambda job=job: store(open_catalog(), job))
    assert sorted([children.answer(), children.answer()]) == [False, True]


@pytest.mark.parametrize('state', [JobState.FAILED, JobState.CANCELLED])
def test_the_create_goes_on_when_one_has_failed(catalog, create, state):
    jobs = split(catalog, create)
    store(catalog, jobs[0])
    catalog.end_job(jobs[1].id, state, 'no space' if state == JobState.FAILED else None)
    assert create.id in opened(catalog) and jobs[2].id in opened(catalog)
    told = [part.fail_reason for part in catalog.parts(create.id)]
    assert told == [None, 'no space' if state == JobState.FAILED else 'it was cancelled', None]


def test_its_end_takes_the_parts_along(catalog, create):
    jobs = split(catalog, create)
    other = Job(kind='verify', backup_id='b1')
    catalog.accept(other)
    catalog.end_job(create.id, JobState.FAILED, 'a part has failed')
    assert {catalog.job(job.id).state for job in jobs} == {JobState.CANCELLED}
    # Whoever finishes it has something to do still.
    assert opened(catalog) == [create.id, other.id]
    catalog.drop_parts(create.id)
    assert catalog.parts(create.id) == [] and opened(catalog) == [other.id]
    assert catalog.get_backup('b1').status == Status.ERROR
    with pytest.raises(exceptions.OperationCancelled):
        store(catalog, jobs[0])


def test_a_delete_of_what_is_made_ends_all(catalog, create):
    jobs = split(catalog, create)
    delete = Job(kind='delete', backup_id='b1')
    catalog.accept(delete, to=Status.DELETING, cancel=True)
    assert opened(catalog) == [create.id, delete.id]
    assert {catalog.job(job.id).state for job in jobs} == {JobState.CANCELLED}


def test_only_who_has_the_job_splits_it_or_ends_it(catalog, create):
    catalog.start_job(create.id, 'here')
    with catalog.operation('create', backup_id='b1', volume_id='v1', job_id=create.id) as row:
        with catalog.operation('create', backup_id='b1', volume_id='v1', job_id=create.id):
            with pytest.raises(exceptions.InvalidBackup, match='taken over'):
                catalog.split(row, {}, EXTENTS)
    assert catalog.parts(create.id) == []
    jobs = split(catalog, create)
    with catalog.operation('part', backup_id='b1', volume_id='v1', job_id=jobs[0].id) as row:
        with catalog.operation('part', backup_id='b1', volume_id='v1', job_id=jobs[0].id):
            with pytest.raises(exceptions.InvalidBackup, match='taken over'):
                catalog.end_part(row, jobs[0], 'late')
    assert catalog.parts(create.id)[0].result is None


def test_a_create_that_has_ended_is_not_split(catalog, create):
    catalog.start_job(create.id, 'here')
    with catalog.operation('create', backup_id='b1', volume_id='v1', job_id=create.id) as row:
        catalog.end_job(create.id, JobState.CANCELLED)
        with pytest.raises(exceptions.OperationCancelled):
            catalog.split(row, {}, EXTENTS)
    assert catalog.parts(create.id) == [] and opened(catalog) == []
    assert [job.id for job in catalog.jobs()] == [create.id]


def test_a_job_that_is_forgotten_takes_its_parts_along(catalog, create):
    split(catalog, create)
    catalog.end_job(create.id, JobState.CANCELLED)
    catalog.purge(utcnow() + datetime.timedelta(days=1))
    assert catalog.parts(create.id) == []


def test_its_objects_are_needed_while_nobody_runs(catalog, create):
    split(catalog, create)
    assert catalog.writers('box') == ['b1']
    assert catalog.recover() == []
    assert catalog.get_backup('b1').status == Status.CREATING
