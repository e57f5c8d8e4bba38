"""What workers do for one another: jobs that no board has are posted, and old things go."""

from __future__ import annotations

import datetime
import logging
from typing import ClassVar

from taskflow.exceptions import JobFailure

from backup_framework.catalog import Catalog
from backup_framework.conf import Configuration
from backup_framework.manager import Manager
from backup_framework.model import utcnow
from backup_framework.service import flows
from backup_framework.service.boards import Board

LOG = logging.getLogger(__name__)

PURGE_EVERY = datetime.timedelta(hours=1)


class Poster:
    """Posts jobs that no board has: whoever accepted them died first, or the board was emptied."""

    SECONDS: ClassVar[float] = 5.0
    GRACE: ClassVar[datetime.timedelta] = datetime.timedelta(seconds=10)
    """Who has just accepted a job is about to post it."""

    def __init__(self, catalog: Catalog, board: Board) -> None:
        self._catalog = catalog
        self._board = board

    def run(self) -> None:
        """One worker does so each time, else each would post them."""
        now = utcnow()
        if not self._catalog.due('jobboard', now, now + datetime.timedelta(seconds=self.SECONDS)):
            return
        try:
            # In this order: a job that ends meanwhile is not posted again.
            posted = {posting.details.get('job') for posting in self._board.postings()}
            for job in self._catalog.open_jobs():
                created = job.created_at or now
                if job.id not in posted and now - created > self.GRACE:
                    LOG.warning('Job %s is open, but no board has it: it is posted again', job.id)
                    self._board.post(job)
        except JobFailure as error:
            LOG.info('No jobs are posted while the board is away: %s', error)


class Tidying:
    """Operations that died, deletes that waited, jobs that ended long ago."""

    def __init__(self, configuration: Configuration, catalog: Catalog, store: flows.Store) -> None:
        self._configuration = configuration
        self._catalog = catalog
        self._store = store

    def run(self, keep_jobs: datetime.timedelta) -> None:
        for sentence in self._catalog.recover():
            LOG.warning('%s', sentence)
        manager = Manager(self._configuration, self._catalog)
        try:
            manager.take_up()
        finally:
            manager.close()
        now = utcnow()
        if self._catalog.due('purge', now, now + PURGE_EVERY):
            purge(self._catalog, self._store, now - keep_jobs)


def purge(catalog: Catalog, store: flows.Store, before: datetime.datetime) -> int:
    """Forget jobs that ended before a time, and flows that no job needs; how many jobs."""
    purged = catalog.purge(before)
    kept = flows.kept(store)
    for job_id in kept - {job.id for job in catalog.jobs()}:
        flows.forget(store, job_id)
    return purged
