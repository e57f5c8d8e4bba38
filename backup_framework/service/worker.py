"""A worker: the process that runs jobs, and what it does beside that."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import logging
import os
import threading
import time
import uuid

from taskflow.exceptions import JobFailure

from backup_framework import exceptions
from backup_framework.catalog import Catalog
from backup_framework.catalog.parts import KIND as PART
from backup_framework.conf import Configuration
from backup_framework.model import Job
from backup_framework.service import flows, notifications, reports
from backup_framework.service.boards import Board, Details
from backup_framework.service.conductors import Conductor
from backup_framework.service.local import Alone, Local
from backup_framework.service.running import RETRY_SECONDS, Operations, Runner, by_manager
from backup_framework.service.tidying import Poster, Tidying

LOG = logging.getLogger(__name__)

LEAVE_SECONDS = 30.0
"""How long a worker that stops waits for what it has interrupted."""


THREAD_SECONDS = 5.0
"""How long it waits for what it does beside jobs, such as a check of a store that hangs."""


class Worker:
    """Runs the jobs that this host can do. To be made after any fork.

    :param operations: what does the steps of a job; the manager.
    """

    def __init__(self, configuration: Configuration, operations: Operations | None = None) -> None:
        """:raises ConfigurationError: without a board, and another worker runs on this catalog."""
        self._configuration = configuration
        self.config = configuration.service()
        board = configuration.jobboard()
        self.catalog = Catalog(configuration.connection, configuration.state_path)
        self.reports = reports.Reports(configuration, self.catalog, self.config.host,
                                       self.config.zone)
        self._notifications = notifications.open(configuration, self.catalog)
        self._store = flows.Store(self.catalog)
        self.runner = Runner(self.catalog, self._store, self.config.host,
                             operations or by_manager(configuration, self.catalog,
                                                      self._post),
                             self._notifications)
        self._board = None if board.connection is None else Board(board, self._wants)
        self._alone = self._keep_others_away() if self._board is None else None
        self._engine: Local | Conductor = self._make_engine()
        self._stopped = threading.Event()
        self._gone = threading.Event()
        self._threads: list[threading.Thread] = []

    def _keep_others_away(self) -> Alone:
        reports.refuse_second(self.catalog, self.config.host, self.config.down_time)
        return Alone(self._configuration.state_path)

    def _make_engine(self) -> Local | Conductor:
        if self._board is None:
            return Local(self.catalog, self.runner, self.reports.can_do,
                         lambda: self.config.max_operations)
        name = f'{self.config.host}:{os.getpid()}:{uuid.uuid4().hex[:8]}'
        return Conductor(name, self._board, self.runner, self.config.max_operations)

    def _wants(self, details: Details) -> bool:
        job = Job(str(details.get('job')), backend=details.get('backend'),
                  source=details.get('source'))
        return self.reports.can_do(job) and self.runner.may_run(job.id)

    def _post(self, job: Job) -> None:
        """Without a board the catalog is asked for jobs; where it fails the poster does it."""
        if self._board is not None:
            with contextlib.suppress(JobFailure):
                self._board.post(job)

    def run(self) -> None:
        """Until `stop` is called by another thread, and is done."""
        self.start()
        self._gone.wait()

    def start(self) -> None:
        """Begin, in threads of its own."""
        self.reports.beat()
        self._begin('jobs', self._run_engine)
        self._every('reports', lambda: self.config.report_interval, self._report)
        self._every('checks', lambda: self.config.check_interval, self.reports.check)
        self._every('volumes', lambda: self.config.check_interval, self.reports.offer)
        tidying = Tidying(self._configuration, self.catalog, self._store)
        self._every('tidying', lambda: self.config.check_interval,
                    lambda: tidying.run(self.config.keep_jobs))
        if self._board is not None:
            self._every('posting', lambda: Poster.SECONDS, Poster(self.catalog, self._board).run)

    def stop(self) -> None:
        """Take no more jobs, wait for those that run, interrupt what takes too long."""
        self._engine.stop()
        if not self._drained(self.config.drain_timeout):
            LOG.warning('%d jobs run still: they are interrupted, and gone on with elsewhere or '
                        'after the next start', len(self.runner.running))
            self.runner.interrupt()
            self._drained(LEAVE_SECONDS)
        self._stopped.set()
        deadline = time.monotonic() + THREAD_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._board is not None:
            self._board.close()
        self._notifications.close()
        if self._alone is not None and not self.runner.running:
            self._alone.release()
        self._gone.set()

    def _drained(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.runner.running and time.monotonic() < deadline:
            time.sleep(0.1)
        return not self.runner.running

    def reload(self) -> None:
        """Take what the mutable options say now."""
        self.config = self._configuration.service()
        if isinstance(self._engine, Conductor):
            self._engine.limit(self.config.max_operations)

    def _run_engine(self) -> None:
        while not self._stopped.is_set():
            try:
                self._engine.run()
                return
            except Exception:
                LOG.exception('Taking jobs has failed, and is tried again')
                self._stopped.wait(RETRY_SECONDS)

    def _report(self) -> None:
        self.reports.beat()
        running = self.runner.running
        for run in running:
            self._notifications.progressed(run.job, run.monitor.done, run.monitor.total)
        for job_id in {run.job.arguments['create'] for run in running if run.job.kind == PART}:
            create = self.catalog.job(job_id)
            self._notifications.progressed(create, create.done, create.total)

    def _begin(self, name: str, work: Callable[[], object]) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _every(self, name: str, seconds: Callable[[], float], work: Callable[[], object]) -> None:
        """Do something now and then, whatever goes wrong. Each in a thread: a store may hang."""
        def run() -> None:
            said = ''
            while True:
                try:
                    work()
                    said = ''
                except exceptions.BackupFrameworkError as error:
                    if str(error) != said:
                        LOG.error('The worker cannot do its %s now: %s', name, error)
                    said = str(error)
                except Exception:
                    LOG.exception('The worker cannot do its %s: something is wrong in it', name)
                if self._stopped.wait(seconds()):
                    return
        self._begin(name, run)
