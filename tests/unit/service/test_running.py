"""What becomes of a job when a step fails, when it is somebody else's, when it has to stop."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
import contextlib
from pathlib import Path
from typing import Any

import pytest

from backup_framework import exceptions
from backup_framework.catalog import Catalog, parts
from backup_framework.engine.monitor import Monitor
from backup_framework.model import Backup, Extent, Job, JobState
from backup_framework.service import flows, local, running
from backup_framework.service.flows import Work
from backup_framework.service.notifications import Notifications
from backup_framework.service.running import Run, Runner


class Claim:
    def __init__(self) -> None:
        self.ours = True

    def is_ours(self) -> bool:
        return self.ours

    check_time = is_ours


class Told(Notifications):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def started(self, job: Job) -> None:
        self.said.append('started')

    def ended(self, job: Job) -> None:
        self.said.append(str(job.state))


class Place:
    """A runner, whose jobs do what `steps` say: functions of the failure, by name."""

    def __init__(self, folder: Path) -> None:
        self.catalog = Catalog(f'sqlite:///{folder}/catalog.sqlite', str(folder))
        self.store = flows.Store(self.catalog)
        self.told = Told()
        self.steps: dict[str, Any] = {}
        self.done: list[str] = []
        self.claim = Claim()
        self.runner = Runner(self.catalog, self.store, 'here', self._operations, self.told)

    @contextlib.contextmanager
    def _operations(self, job: Job, monitor: Monitor) -> Iterator[Work]:
        def work(step: str, failure: str | None) -> str | None:
            self.done.append(step)
            attempt = self.catalog.start_job(job.id, 'here')
            if step in self.steps:
                self.steps[step](failure)
            elif step in ('finish', 'run'):
                state = JobState.FAILED if failure else JobState.DONE
                self.catalog.end_job(job.id, state, failure, attempt=attempt)
            return None
        yield work

    def accept(self, kind: str = 'create') -> Job:
        return self.catalog.accept(Job(kind=kind))

    def run(self, job: Job, run: Run | None = None) -> bool:
        return self.runner.run(run or Run(job.id), self.claim)

    def state(self, job: Job) -> tuple[str, str | None]:
        found = self.catalog.job(job.id)
        return found.state, found.fail_reason


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def fail(error: Exception) -> Any:
    def step(failure: str | None) -> None:
        raise error
    return step


def test_a_job_that_is_done_is_told_of_and_leaves_no_flow(place: Place):
    job = place.accept()
    assert place.run(job)
    assert place.state(job) == (JobState.DONE, None)
    assert place.told.said == ['started', 'done']
    assert flows.kept(place.store) == set()


def test_a_failure_is_an_outcome(place: Place):
    job = place.accept()
    place.steps['store'] = fail(exceptions.StoreFull('no room'))
    assert place.run(job)
    assert place.state(job) == (JobState.FAILED, 'no room')
    assert place.done == ['prepare', 'store', 'finish']


@pytest.mark.parametrize('kind, last', [('create', 'finish'), ('verify', 'run')])
def test_a_last_step_that_fails_ends_the_job_with_its_reason(place: Place, kind: str, last: str):
    job = place.accept(kind)
    place.steps[last] = fail(KeyError('what a bug says'))
    assert place.run(job)
    assert place.state(job) == (JobState.FAILED, "'what a bug says'")


def test_a_catalog_that_is_away_is_none(place: Place):
    job = place.accept()
    place.steps['store'] = fail(exceptions.CatalogError('gone'))
    assert not place.run(job)
    assert place.state(job) == (JobState.QUEUED, None)
    assert not place.runner.may_run(job.id)
    del place.steps['store']
    assert place.run(job)
    assert place.done == ['prepare', 'store', 'store', 'finish']


def test_what_another_worker_has_by_now_is_not_touched(place: Place):
    job = place.accept()

    def lose(failure: str | None) -> None:
        place.claim.ours = False
        place.catalog.start_job(job.id, 'there')
        raise exceptions.InvalidBackup('taken for dead')
    place.steps['store'] = lose
    assert not place.run(job)
    assert place.done == ['prepare', 'store']
    found = place.catalog.job(job.id)
    assert (found.state, found.host) == (JobState.RUNNING, 'there')
    assert place.told.said == ['started']


def test_an_interrupted_job_is_put_back(place: Place):
    job = place.accept()
    run = Run(job.id)

    def stop(failure: str | None) -> None:
        run.interrupt()
        run.monitor.check()
    place.steps['store'] = stop
    assert not place.run(job, run)
    assert place.state(job) == (JobState.QUEUED, None)
    assert place.runner.running == []


def test_a_job_that_has_ended_is_not_run(place: Place):
    job = place.accept()
    place.catalog.end_job(job.id, JobState.CANCELLED)
    assert place.run(job)
    assert place.run(Job('unknown'))
    assert place.done == place.told.said == []


def test_parts_of_a_job_that_has_ended_and_has_no_flow_are_dropped(place: Place):
    """The flow may have been lost with its database; the job is to be run as long as it has parts.
    """
    job = place.accept()
    place.catalog._database.write(lambda c: parts.add(c, job.id, [Extent(0, 1)]))
    place.catalog.end_job(job.id, JobState.CANCELLED)
    assert [each.id for each in place.catalog.open_jobs()] == [job.id]
    assert place.run(job)
    assert place.catalog.open_jobs() == [] and place.done == []


def test_what_is_left_of_a_job_that_has_ended_is_done(place: Place):
    """Its worker was killed between the two: a snapshot may be there still."""
    job = place.accept()
    place.steps['store'] = lambda failure: place.catalog.end_job(job.id, JobState.DONE) and None

    def die(failure: str | None) -> None:
        raise flows.Interrupted
    place.steps['finish'] = die
    assert not place.run(job)
    assert [job.id for job in place.runner.unfinished()] == [job.id]
    del place.steps['finish']
    assert place.run(job)
    assert place.done == ['prepare', 'store', 'finish', 'finish']
    assert place.runner.unfinished() == []


def test_a_job_that_was_cancelled_is_cleaned_up_after(place: Place):
    job = place.accept()

    def cancel(failure: str | None) -> None:
        place.catalog.end_job(job.id, JobState.CANCELLED, 'not wanted')
        raise exceptions.OperationCancelled
    place.steps['store'] = cancel
    assert place.run(job)
    assert place.done == ['prepare', 'store', 'finish']
    assert place.state(job) == (JobState.CANCELLED, 'not wanted')


def test_an_operation_that_stops_for_another_attempt_is_no_outcome(place: Place):
    job = place.accept()
    place.steps['store'] = fail(exceptions.OperationCancelled())
    assert not place.run(job)
    assert place.state(job)[0] == JobState.QUEUED


def test_a_job_runs_here_once_at_a_time(place: Place):
    job = place.accept('verify')
    said: list[bool] = []

    def again(failure: str | None) -> None:
        said.append(place.runner.may_run(job.id))
        said.append(place.run(job))
        place.catalog.end_job(job.id, JobState.DONE)
    place.steps['run'] = again
    assert place.run(job)
    assert said == [False, False]


def test_a_job_that_is_cancelled_before_it_is_tried_again_is_cleaned_up_after(
        place: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, 'RETRY_SECONDS', 0.0)
    monkeypatch.setattr(local, 'FURTHER_SECONDS', 0.0)
    worker = local.Local(place.catalog, place.runner, lambda job: True, lambda: 1)
    with ThreadPoolExecutor(1) as pool:
        worker._turn(pool)
    job = place.accept()
    place.steps['store'] = fail(exceptions.CatalogError('gone'))
    assert not place.run(job)
    place.catalog.end_job(job.id, JobState.CANCELLED)
    del place.steps['store']
    with ThreadPoolExecutor(1) as pool:
        worker._turn(pool)
    assert place.done[-1] == 'finish'
    assert place.runner.unfinished() == []


def test_a_create_that_waits_for_its_parts_is_left_alone(
        place: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, 'RETRY_SECONDS', 0.0)
    monkeypatch.setattr(local, 'FURTHER_SECONDS', 0.0)
    create = place.catalog.accept(Job(kind='create', backup_id='b', volume_id='v'),
                                  Backup(id='b', volume_id='v'))

    def split(failure: str | None) -> None:
        with place.catalog.operation('create', backup_id='b', volume_id='v',
                                     job_id=create.id) as row:
            place.catalog.split(row, {}, [Extent(0, 10)])
        raise flows.Waiting
    place.steps['store'] = split
    worker = local.Local(place.catalog, place.runner, lambda job: job.kind == 'create', lambda: 1)
    for _ in range(3):
        with ThreadPoolExecutor(1) as pool:
            worker._turn(pool)
    assert place.done == ['prepare', 'store'] and place.told.said == ['started']
    part, = (job for job in place.catalog.jobs() if job.kind == 'part')
    place.catalog.end_job(part.id, JobState.FAILED)
    del place.steps['store']
    with ThreadPoolExecutor(1) as pool:
        worker._turn(pool)
    assert place.done == ['prepare', 'store', 'store', 'finish']
