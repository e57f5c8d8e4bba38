"""Runs jobs of the catalog through their flows, each in the thread that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import logging
import threading
import time
from typing import Protocol

from backup_framework import exceptions
from backup_framework.catalog import Catalog
from backup_framework.conf import Configuration
from backup_framework.engine.monitor import Monitor
from backup_framework.manager import Manager
from backup_framework.model import Job, JobState
from backup_framework.service import flows
from backup_framework.service.flows import Interrupted, Waiting, Work
from backup_framework.service.notifications import Notifications

LOG = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
"""How long a job is left alone here that was given up because something was not there."""

Operations = Callable[[Job, Monitor], contextlib.AbstractContextManager[Work]]


class Claim(Protocol):
    """That a job is this worker's."""

    def is_ours(self) -> bool:
        """Whether it is so, asked where that is known."""

    def check_time(self) -> bool:
        """Whether it may be so still, without asking anybody."""


class _Monitor(Monitor):
    """Looks at the clock of the claim each time the operation asks whether to go on.

    Who was frozen for long must not write one more chunk to a volume.
    """

    claim: Claim | None = None

    def check(self) -> None:
        if self.claim is not None and not self.claim.check_time():
            self.cancel()
        super().check()


class Run:
    """A job that runs here."""

    def __init__(self, job_id: str) -> None:
        self.job = Job(job_id)
        self.monitor = _Monitor()
        self.interrupted = False

    def interrupt(self) -> None:
        """Stop as soon as possible, so that the job can be gone on with."""
        self.interrupted = True
        self.monitor.cancel()


class Runner:
    """:param host: the name under which jobs show who runs them.
    :param operations: what does the steps of a job.
    """

    def __init__(self, catalog: Catalog, store: flows.Store, host: str, operations: Operations,
                 notifications: Notifications) -> None:
        self._catalog = catalog
        self._store = store
        self._host = host
        self._operations = operations
        self._notifications = notifications
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}
        self._not_before: dict[str, float] = {}

    @property
    def running(self) -> list[Run]:
        with self._lock:
            return list(self._runs.values())

    def may_run(self, job_id: str) -> bool:
        """Whether it neither runs here nor was given up here a moment ago."""
        with self._lock:
            return (job_id not in self._runs
                    and time.monotonic() >= self._not_before.get(job_id, 0))

    def interrupt(self) -> None:
        """Stop all that runs."""
        for run in self.running:
            run.interrupt()

    def run(self, run: Run, claim: Claim) -> bool:
        """Go on with a job. Whether it has ended or waits for others; else it is to be run again.

        Nothing is raised: whoever asks has other jobs to run.
        """
        run.monitor.claim = claim
        with self._lock:
            if run.job.id in self._runs:
                return False
            self._runs[run.job.id] = run
        ended = False
        try:
            ended = self._run(run, claim)
        except Waiting:
            ended = True
        except Interrupted:
            LOG.info('Job %s was interrupted', run.job.id)
            self._put_back(run, claim)
        except exceptions.BackupFrameworkError as error:
            LOG.warning('Job %s is tried again: %s', run.job.id, error)
        except Exception:
            LOG.exception('Job %s is tried again: something is wrong in the service', run.job.id)
        finally:
            with self._lock:
                del self._runs[run.job.id]
                now = time.monotonic()
                self._not_before = {job_id: then for job_id, then in self._not_before.items()
                                    if then > now}
                if not ended:
                    self._not_before[run.job.id] = now + RETRY_SECONDS
        return ended

    def _run(self, run: Run, claim: Claim) -> bool:
        try:
            run.job = self._catalog.job(run.job.id)
        except exceptions.JobNotFound:
            return True
        if not self._is_open(run) and not flows.is_kept(self._store, run.job.id):
            # Else it would be to be run for ever.
            self._catalog.drop_parts(run.job.id)
            return True
        self._notifications.started(run.job)
        with self._operations(run.job, run.monitor) as work:
            guarded = _Guarded(run, claim, work, self._is_open)
            flows.run(self._store, run.job, guarded.do)
        if self._is_open(run):
            guarded.check()
            self._end(run.job, guarded.failure)
        self._notifications.ended(self._catalog.job(run.job.id))
        flows.forget(self._store, run.job.id)
        return True

    def _is_open(self, run: Run) -> bool:
        return JobState(self._catalog.job(run.job.id).state).is_open

    def _end(self, job: Job, failure: str | None) -> None:
        """The last step records what came of a job, if it can."""
        reason = failure or 'its last step said nothing of its outcome'
        LOG.error('Job %s has come to its end without an outcome: %s', job.id, reason)
        self._catalog.end_job(job.id, JobState.FAILED, reason)

    def unfinished(self) -> list[Job]:
        """Jobs that have ended, though their flows have not.

        :raises CatalogError: the catalog cannot be read.
        """
        found = []
        for job_id in flows.kept(self._store):
            with contextlib.suppress(exceptions.JobNotFound):
                found.append(self._catalog.job(job_id))
        return [job for job in found if not JobState(job.state).is_open]

    def _put_back(self, run: Run, claim: Claim) -> None:
        """Say that nobody runs it, unless somebody else does by now."""
        try:
            if claim.is_ours():
                self._catalog.put_job_back(run.job.id)
        except exceptions.BackupFrameworkError as error:
            LOG.info('Job %s is shown as running still: %s', run.job.id, error)


class _Guarded:
    """Does the steps of a job as long as it is this worker's, and sorts what goes wrong.

    The failure of a backup is its outcome. That the database is away or that this worker has to
    stop is none.

    :ivar failure: why the last step failed.
    """

    def __init__(self, run: Run, claim: Claim, work: Work, is_open: Callable[[Run], bool]) -> None:
        self._run = run
        self._claim = claim
        self._work = work
        self._is_open = is_open
        self.failure: str | None = None

    def do(self, step: str, failure: str | None) -> str | None:
        self.failure = self._do(step, failure)
        return self.failure

    def _do(self, step: str, failure: str | None) -> str | None:
        self.check()
        try:
            return self._work(step, failure)
        except Exception as error:
            self.check()
            if self._says_nothing(error):
                raise Interrupted from error
            LOG.info('Step %s of job %s failed: %s', step, self._run.job.id, error,
                     exc_info=not isinstance(error, exceptions.BackupFrameworkError))
            return str(error) or type(error).__name__

    def _says_nothing(self, error: Exception) -> bool:
        """Whether it is no outcome. Cancelled jobs have ended; others only have to stop here."""
        return (isinstance(error, exceptions.CatalogError)
                or isinstance(error, exceptions.OperationCancelled) and self._is_open(self._run))

    def check(self) -> None:
        """:raises Interrupted: the job is somebody else's, or not to be gone on with here."""
        if self._run.interrupted or not self._claim.is_ours():
            raise Interrupted


def by_manager(configuration: Configuration, catalog: Catalog, post: Callable[[Job], None]
               ) -> Operations:
    """The steps of jobs as the manager does them, each job with drivers of its own.

    :param post: is given the jobs that come of a job: its parts, and what waited for it.
    """
    @contextlib.contextmanager
    def operations(job: Job, monitor: Monitor) -> Iterator[Work]:
        manager = Manager(configuration, catalog, monitor)
        jobs = manager.jobs

        def work(step: str, failure: str | None) -> str | None:
            match step:
                case 'prepare':
                    jobs.prepare(job)
                case 'store' if failure is None:
                    for part in jobs.store(job):
                        post(part)
                    if JobState(catalog.job(job.id).state).is_open:
                        # Others store its parts. It is run again when they have done so.
                        raise Waiting
                case 'finish':
                    jobs.finish(job, failure)
                case 'run':
                    for following in jobs.run(job):
                        post(following)
            return None

        try:
            yield work
        finally:
            manager.close()
    return operations
