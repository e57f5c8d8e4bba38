"""Without a board: one process runs the jobs of a catalog, oldest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
import contextlib
import errno
import fcntl
import itertools
import logging
import os
import threading
import time

from backup_framework.catalog import Catalog
from backup_framework.engine import directories
from backup_framework.exceptions import BackupFrameworkError, ConfigurationError
from backup_framework.model import Job
from backup_framework.service.running import Run, Runner

LOG = logging.getLogger(__name__)

POLL_SECONDS = 0.5
WINDOW = 100
"""Jobs that are read at once, at least."""
FURTHER_SECONDS = 5.0
"""How long it is left alone what is behind the first window, and left of jobs that have ended."""
MOST = 1000
"""Threads; how many are used is the limit's matter, which a reload may change."""


class Alone:
    """Keeps a second worker away as long as this process lives."""

    def __init__(self, state_path: str) -> None:
        """:raises ConfigurationError: there is one."""
        directories.make_private(state_path)
        path = os.path.join(state_path, 'worker.lock')
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise ConfigurationError(second(f'{path} is locked')) from None

    def release(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._descriptor)


def second(why: str) -> str:
    """What to say to a second worker without a board."""
    return (f'another worker runs on this catalog already ({why}). Several need a board to share '
            'the jobs: set [jobboard] connection on each of them, or stop the other one')


class _Ours:
    """Nobody else takes jobs."""

    def is_ours(self) -> bool:
        return True

    check_time = is_ours


class Local:
    """Asks the catalog for jobs and runs them.

    :param wanted: whether this worker can do a job.
    :param limit: how many it runs at once.
    """

    def __init__(self, catalog: Catalog, runner: Runner, wanted: Callable[[Job], bool],
                 limit: Callable[[], int]) -> None:
        self._catalog = catalog
        self._runner = runner
        self._wanted = wanted
        self._limit = limit
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._troubled = False
        self._given: set[str] = set()
        self._look_further_at = 0.0

    def run(self) -> None:
        """Until `stop` is called and what runs has ended."""
        with ThreadPoolExecutor(MOST, 'job') as pool:
            while not self._stopped.is_set():
                self._wake.clear()
                self._turn(pool)
                self._wake.wait(POLL_SECONDS)

    def stop(self) -> None:
        """Take no more jobs."""
        self._stopped.set()
        self._wake.set()

    def _turn(self, pool: ThreadPoolExecutor) -> None:
        room = self._limit() - len(self._given)
        if room <= 0:
            return
        try:
            for job in itertools.islice(self._to_run(), room):
                self._given.add(job.id)
                pool.submit(self._run, job.id)
        except BackupFrameworkError as error:
            if not self._troubled:
                LOG.warning('The catalog cannot be read, and is tried again: %s', error)
            self._troubled = True
        else:
            self._troubled = False

    def _to_run(self) -> Iterator[Job]:
        return (job for job in self._found() if job.id not in self._given
                and self._runner.may_run(job.id) and self._wanted(job))

    def _found(self) -> Iterator[Job]:
        """Oldest first, and read only as far as there is room for them.

        What is behind a first window of jobs that nobody wanted is read again after a while.
        """
        window = max(WINDOW, 4 * self._limit())
        found = self._catalog.open_jobs(limit=window)
        yield from found
        if time.monotonic() < self._look_further_at:
            return
        while len(found) == window:
            window *= 4
            found = self._catalog.open_jobs(limit=window, after=found[-1])
            yield from found
        # Of those that were killed, or cancelled while they were left alone for a while.
        yield from self._runner.unfinished()
        self._look_further_at = time.monotonic() + FURTHER_SECONDS

    def _run(self, job_id: str) -> None:
        try:
            self._runner.run(Run(job_id), _Ours())
        finally:
            self._given.discard(job_id)
            self._wake.set()
