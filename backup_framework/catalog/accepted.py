"""The part of the catalog that the service uses: jobs, pages, offered volumes, services."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
import datetime
from typing import Any

import sqlalchemy as sa

from backup_framework import exceptions
from backup_framework.catalog import (
    accepting,
    backups,
    figures,
    jobs,
    moving,
    offers,
    pages,
    parts,
    quotas,
    services,
    splitting,
    waiting,
)
from backup_framework.catalog.database import Database
from backup_framework.catalog.figures import Day, Figures
from backup_framework.catalog.operations import Running
from backup_framework.catalog.pages import Wanted
from backup_framework.catalog.parts import Part
from backup_framework.model import (
    Backup,
    Extent,
    Job,
    Page,
    Quota,
    Service,
    Snapshot,
    Status,
    Volume,
)


class Accepted:
    """Methods of `Catalog`. A project sees its own; for the project None all is to be seen.

    Records that the command line made have no project: only who may see all sees them.
    """

    _database: Database
    _owner: str | None = None

    @property
    def installation(self) -> str:
        """The random id of this installation."""
        raise NotImplementedError

    @property
    def owner(self) -> str:
        """The id that containers belong to: one for all hosts of this catalog.

        The id of the installation that asked first; while the catalog cannot be written and keeps
        none, this installation's.
        """
        if self._owner is None:
            kept = self._database.read(lambda c: services.setting(c, services.OWNER))
            try:
                self._owner = kept or self._database.write(
                    lambda c: services.keep(c, services.OWNER, self.installation))
            except (exceptions.CatalogReadOnly, exceptions.NoSpace):
                return self.installation
        return self._owner

    # Jobs

    def accept(self, job: Job, backup: Backup | None = None, *, volume: Volume | None = None,
               from_: Iterable[str] | None = None, to: str | None = None,
               quota: Quota | None = None, cancel: bool = False) -> Job:
        """Record a job and what it begins with, all or nothing.

        :param backup: a new record, which `quota` must leave room for.
        :param volume: a new record.
        :param from_: the states of which the backup of the job that is there must have one.
        :param to: the state that it gets.
        :param cancel: other jobs of this backup are cancelled; else they refuse a delete.
        :raises QuotaExceeded: its project has too much for that.
        :raises InvalidBackup: the backup has another state, its parent is not available, or the
            same verification or prune was accepted and has not ended.
        :raises BackupInUse: a delete of what others need or work on.
        :raises InvalidVolume: another job backs the volume up or restores to it.
        """
        if backup is not None:
            backup.created_at = backup.created_at or job.created_at
        states = None if from_ is None else tuple(from_)
        self._database.write(lambda c: accepting.accept(
            c, job, backup, volume, states, to, quota, cancel))
        return job

    def job(self, job_id: str, project_id: str | None = None) -> Job:
        """:raises JobNotFound: there is none, or it is another project's."""
        found = self._database.read(lambda c: jobs.get(c, job_id))
        if project_id not in (None, found.project_id):
            raise exceptions.JobNotFound(f'there is no job {job_id!r}')
        return found

    def jobs(self, *, project_id: str | None = None, states: Collection[str] | None = None,
             backup_id: str | None = None, since: datetime.datetime | None = None,
             limit: int | None = None) -> list[Job]:
        """Those that fit, newest first; `since`: accepted then or later."""
        conditions = jobs.chosen(project_id, states, backup_id, since)
        return self._database.read(lambda c: jobs.select(c, *conditions, limit=limit))

    def open_jobs(self, *, limit: int | None = None, after: Job | None = None) -> list[Job]:
        """Those that are to be run, oldest first; `limit` of those behind one.

        One that waits for its parts is not. One that has ended is, while it has parts: it may have
        been cancelled while it waited, and there is something to tidy up.
        """
        return self._database.read(lambda c: jobs.runnable(c, limit, after))

    def start_job(self, job_id: str, host: str) -> int:
        """Record that a worker runs it: which attempt that is, from 1 on.

        0 where it has ended: it must not be run.
        """
        return self._database.write(lambda c: jobs.start(c, job_id, host))

    def put_job_back(self, job_id: str) -> bool:
        """Record that its worker gave it up, and another one may run it; False as above."""
        return self._database.write(lambda c: jobs.put_back(c, job_id))

    def progress(self, job_id: str, phase: str, done: int, total: int | None, *,
                 attempt: int | None = None) -> bool:
        """Record how far it is; False where whoever runs it has to stop.

        That is where it has ended, or another attempt than this was begun.
        """
        return bool(self._database.change(jobs.progress(job_id, phase, done, total, attempt)))

    def change_job(self, job_id: str, **arguments: Any) -> bool:
        """Keep arguments of a job that its worker has to find when it is run again.

        False where it has ended, and nothing is kept.
        """
        return self._database.write(lambda c: jobs.change_arguments(c, job_id, arguments))

    def end_job(self, job_id: str, state: str, reason: str | None = None, *,
                attempt: int | None = None) -> bool:
        """Record how it ended, and with it what that means for its backup and its volume.

        False where its end is recorded already, or where another attempt than this was begun.
        """
        return self._database.write(lambda c: jobs.end(c, job_id, state, reason, attempt))

    def hand_over(self, operation: Running, left: Backup, awaited: Iterable[str]) -> None:
        """Give what an earlier run of a create stored to a record whose delete waits.

        The backup of the create names it no more.

        :param left: the new record, `deleting`.
        :param awaited: the backups that have to end before that can be deleted.
        :raises InvalidBackup: the operation was taken over, or the backup is not creating.
        """
        self._database.write(lambda c: waiting.hand_over(c, operation, left, awaited))

    # Parts of a backup

    def split(self, operation: Running, common: Mapping[str, Any], extents: Sequence[Extent]
              ) -> list[Job]:
        """Record that workers take these parts of a volume; the jobs to do so.

        The job of the operation waits for them from now on.

        :param common: what all of them need to know, kept as the argument `split` of that job.
        :raises InvalidBackup: the operation was taken over.
        :raises OperationCancelled: its job has ended.
        """
        return self._database.write(lambda c: splitting.split(c, operation, common, extents))

    def parts(self, job_id: str) -> list[Part]:
        """What became of the parts of a create, in the order of the volume."""
        return self._database.read(lambda c: parts.every(c, job_id))

    def drop_parts(self, job_id: str) -> None:
        """Forget the parts of a create that has ended."""
        self._database.write(lambda c: parts.drop(c, job_id))

    def progress_of_parts(self, job_id: str) -> None:
        """Record how far a create is, all its parts together."""
        done, total = self._database.read(lambda c: parts.progress(c, job_id))
        self._database.change(jobs.progress(job_id, 'backup', done, total))

    def end_part(self, operation: Running, job: Job, result: str) -> bool:
        """Record what a part stored, with the end of its job; whether the create can go on now.

        The block of the operation is to be left after that.

        :raises InvalidBackup: the operation was taken over.
        """
        done = self._database.write(lambda c: splitting.end(c, operation, job, result))
        operation.recorded = False
        return done

    def reset(self, backup_id: str, status: Status) -> None:
        """Set the status of a backup, whatever it is, and cancel the jobs on it."""
        self._database.write(lambda c: accepting.reset(c, backup_id, status))

    def usage(self, project_id: str) -> Quota:
        """How much a project has, in whichever state."""
        return self._database.read(lambda c: quotas.usage(c, project_id))

    # Backups, volumes and snapshots of projects

    def backup_page(self, project_id: str | None, **wanted: Any) -> Page[Backup]:
        """Backups of a project, or of all.

        :param wanted: fields of `pages.Wanted`; keys are fields of a backup, name and description.
        :raises InvalidInput: there is no such key.
        :raises BackupNotFound: there is no such marker.
        """
        return self._database.read(lambda c: pages.backup_page(c, project_id, Wanted(**wanted)))

    def backup_of(self, backup_id: str, project_id: str | None) -> Backup:
        """:raises BackupNotFound: there is none, or it is another project's."""
        return self._database.read(lambda c: pages.backup_of(c, backup_id, project_id))

    def depended(self, ids: Collection[str]) -> set[str]:
        """Those of the backups without which others cannot be restored."""
        return self._database.read(lambda c: backups.depended(c, ids))

    def offer_volumes(self, source: str, volumes: Iterable[Volume],
                      snapshots: Iterable[Snapshot] = ()) -> None:
        """Record what a source has now; what it had before and has no more is not offered.

        A volume is known by `source_id`, the source's own name. It keeps the id that it got first:
        the one given here, unless that is taken.

        :param snapshots: their `volume_id` is the id or the `source_id` of one of the volumes.
        """
        volumes, snapshots = list(volumes), list(snapshots)
        self._database.write(lambda c: offers.offer(c, source, volumes, snapshots))

    def volume_made(self, volume_id: str, volume: Volume) -> None:
        """Record that a source has made the volume that was recorded before: what it said."""
        self._database.write(lambda c: offers.made(c, volume_id, volume))

    def volume_page(self, project_id: str | None, **wanted: Any) -> Page[Volume]:
        """Offered volumes of a project and of nobody, or all; see `backup_page`."""
        return self._database.read(lambda c: pages.volume_page(c, project_id, Wanted(**wanted)))

    def volume_of(self, volume_id: str, project_id: str | None) -> Volume:
        """:raises VolumeNotFound: none with this id is offered, or it is another project's."""
        return self._database.read(lambda c: pages.volume_of(c, volume_id, project_id))

    def snapshot_page(self, project_id: str | None, **wanted: Any) -> Page[Snapshot]:
        """Snapshots of offered volumes; see `volume_page`."""
        return self._database.read(lambda c: pages.snapshot_page(c, project_id, Wanted(**wanted)))

    def snapshot_of(self, snapshot_id: str, project_id: str | None) -> Snapshot:
        """:raises SnapshotNotFound: there is none, or it is another project's."""
        return self._database.read(lambda c: pages.snapshot_of(c, snapshot_id, project_id))

    # Figures; those of a project, or for None of all

    def figures(self, project_id: str | None) -> Figures:
        """How many backups and jobs there are, how large they are, how old verifications are."""
        return self._database.read(lambda c: figures.figures(c, project_id))

    def days(self, project_id: str | None) -> list[Day]:
        """What was made on each of the last 90 days at most, oldest first, none left out."""
        return self._database.read(lambda c: figures.days(c, project_id))

    def last_successes(self) -> list[tuple[str, str | None, datetime.datetime]]:
        """Id and name of volumes, and when their newest restorable backup was taken.

        Those of the newest 1000 backups; older ones are of volumes that are not backed up any more.
        """
        return self._database.read(figures.last_successes)

    def usages(self) -> list[tuple[str, Quota]]:
        """How much projects have, whichever state; those with the most backups, at most 1000."""
        return self._database.read(figures.usages)

    def next_runs(self) -> dict[str, datetime.datetime]:
        """When schedules are due the next time, by name, as far as a worker has asked."""
        return self._database.read(services.next_runs)

    # Processes and schedules

    def beat(self, service: Service) -> None:
        """Record that a process lives, and what it tells of itself.

        Whether it is disabled stays as others have set it.
        """
        if not self._database.change(services.beat(service)):
            self._database.write(lambda c: services.add(c, service))

    def services(self) -> list[Service]:
        """All that are known, living or not."""
        return self._database.read(services.every)

    def set_service(self, service_id: str, disabled: bool, reason: str | None = None) -> None:
        """Let a process take new jobs, or no more; raises NotFound."""
        self._database.write(lambda c: services.change(c, service_id, disabled, reason))

    def forget_service(self, service_id: str) -> None:
        """Record that a process has ended."""
        self._database.write(lambda c: services.remove(c, service_id))

    def due(self, name: str, now: datetime.datetime, next_at: datetime.datetime,
            until: datetime.datetime | None = None) -> bool:
        """Whether a schedule is due, which is so for one of several that ask.

        One that is asked for the first time is not.

        :param next_at: when it is due the next time.
        :param until: when it is so if it is due now, where that is another time.
        """
        return self._database.write(lambda c: services.due(c, name, now, next_at, until or next_at))

    def purge(self, before: datetime.datetime) -> int:
        """Forget jobs that ended before a time, processes not seen since; how many jobs."""
        def work(connection: sa.Connection) -> int:
            services.purge(connection, before)
            offers.purge(connection, before)
            return jobs.purge(connection, before)
        return self._database.write(work)

    def copy_from(self, other: Accepted, down_time: float = 60) -> dict[str, int]:
        """Take all records of another catalog, and be the owner that it was.

        :param down_time: seconds after which a process that was not seen does not live.
        :return: how many rows, by table.
        :raises Refused: there are records here, or somebody works with the other one.
        """
        # Where it keeps no owner yet, this records who it is.
        _ = other.owner
        def work(mine: sa.Connection) -> dict[str, int]:
            def copy(others: sa.Connection) -> dict[str, int]:
                return moving.copy(others, mine, down_time)
            try:
                # Both are written to, so that nobody else changes either meanwhile.
                return other._database.write(copy)
            except exceptions.CatalogReadOnly:
                # Where nothing can be written, as on a read-only mount, nothing changes.
                return other._database.read(copy)
        return self._database.write(work)
