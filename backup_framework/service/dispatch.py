"""Giving accepted jobs to the workers, and which of these can do one."""

from __future__ import annotations

import datetime
import logging
import threading
import time
from typing import TYPE_CHECKING

from backup_framework.catalog import Catalog
from backup_framework.conf import Configuration
from backup_framework.model import Job, Service, utcnow

if TYPE_CHECKING:
    from backup_framework.service.boards import Board

LOG = logging.getLogger(__name__)


AWAY_SECONDS = 10.0
"""How long nothing is posted after a board did not answer: requests wait for that."""


class Dispatcher:
    """What the API calls with each job that was accepted.

    A job is safe by then: workers look for those that no board has, and post them.
    """

    def __init__(self, configuration: Configuration, catalog: Catalog) -> None:
        self._configuration = configuration
        self._catalog = catalog
        self._config = configuration.jobboard()
        self._lock = threading.Lock()
        self._board: Board | None = None
        self._away_until = 0.0

    def submit(self, job: Job) -> None:
        """Post a job. Without a board there is nothing to do: the worker asks the catalog."""
        if self._config.connection is None or time.monotonic() < self._away_until:
            return
        from taskflow.exceptions import JobFailure

        from backup_framework.service.boards import Board, reason_of
        with self._lock:
            self._board = self._board or Board(self._config)
        try:
            self._board.post(job)
        except JobFailure as error:
            self._away_until = time.monotonic() + AWAY_SECONDS
            LOG.warning('Job %s could not be posted (%s); a worker will do so', job.id,
                        reason_of(error))

    def can_be_done(self, job: Job) -> bool:
        """Whether any worker that is alive can do this job."""
        return can_be_done(self._catalog, job, self._configuration.service().down_time)

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def can_be_done(catalog: Catalog, job: Job, down_time: float) -> bool:
    """Whether a worker that was seen in the last `down_time` seconds can do this job."""
    return any(is_up(service, down_time) and has_what_it_takes(service, job)
               for service in catalog.services() if service.binary == WORKER)


WORKER = 'cinder-backup'
"""What a worker is called in the list of services, as clients of Cinder know it."""


def is_up(service: Service, down_time: float) -> bool:
    seen = service.seen_at
    return seen is not None and utcnow() - seen < datetime.timedelta(seconds=down_time)


def has_what_it_takes(service: Service, job: Job) -> bool:
    """A job that names no backend or no source can be done by anybody."""
    return (not service.disabled
            and (job.backend is None or job.backend in service.backends)
            and (job.source is None or job.source in service.sources))
