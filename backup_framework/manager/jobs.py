"""Running accepted jobs: one that is run again goes on where the last run was interrupted."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
from contextlib import AbstractContextManager
import dataclasses
import datetime
import functools
import logging
import time
from typing import Any

from backup_framework import exceptions
from backup_framework.catalog.operations import LEASE
from backup_framework.engine.monitor import Monitor, Sample
from backup_framework.interface.volume_source import Reading
from backup_framework.manager import (
    deleting,
    making,
    pruning,
    records,
    restoring,
    retention,
    splitting,
    verifying,
)
from backup_framework.manager.context import Context, as_reason, reason_of
from backup_framework.manager.sources import Sources
from backup_framework.model import OPEN_STATES, Backup, Job, JobState, Snapshot, Status, Volume

LOG = logging.getLogger(__name__)

PROGRESS_SECONDS = 2.0
"""How often it is told how far a job is, and asked whether it is to go on."""
_PATIENCE = 180.0
"""Seconds that a delete waits for those whose jobs were cancelled for it; longer than a lease."""


Work = Callable[[Job], str | list[Job] | None]


class Jobs:
    """The steps of jobs. Each may be called again, after an error as well as after a kill.

    A step returns when there is no more for it to do. It raises what the job failed with, which is
    recorded then with what it means for backup and volume; or, where the job has not ended, why it
    has to be run again: the catalog is away, or this process was asked to stop.
    """

    def __init__(self, context: Context, sources: Sources) -> None:
        self._context = context
        self._catalog = context.catalog
        self._sources = sources

    def prepare(self, job: Job) -> None:
        """Of a create: have the source make a snapshot, where it does that for this volume."""
        self._attempt(job, self._prepare)

    def store(self, job: Job) -> list[Job]:
        """Of a create: make the backup; of a large volume the jobs of its parts.

        The job has not ended then. This is to be called again when the parts are stored; before
        that it does nothing.
        """
        if splitting.waits(self._context, job):
            return []
        return self._attempt(job, self._store)

    def finish(self, job: Job, error: str | None = None) -> None:
        """Of a create: remove what `prepare` made, and record a failure that is not recorded yet.

        :param error: why an earlier step failed.
        """
        current = self._catalog.job(job.id)
        try:
            if 'snapshot' in current.arguments:
                self._remove_snapshot(current, _kept_snapshot(current))
        finally:
            if error is not None:
                self._catalog.end_job(job.id, JobState.FAILED, error)
            self._catalog.drop_parts(job.id)
        self._take_up()

    def _take_up(self) -> None:
        """No part of the job, which has ended: what this process has no time for waits on."""
        with contextlib.suppress(exceptions.OperationCancelled):
            deleting.take_up(self._context)

    def _remove_snapshot(self, job: Job, snapshot: Snapshot | None) -> None:
        """Where it is not known, what was made when the process that would have told was killed."""
        try:
            if snapshot is None:
                self._sources.drop_snapshot(self._volume(job), job.id)
            else:
                self._sources.delete_snapshot(self._volume(job), snapshot)
        except exceptions.BackupFrameworkError as problem:
            name = snapshot and snapshot.source_id or f'for job {job.id}'
            self._context.warn(f'snapshot {name} of volume {job.volume_id} could not be removed: '
                               f'{problem}')

    def run(self, job: Job) -> list[Job]:
        """All of a job of another kind. The last part of a create gives that, which can go on."""
        works: dict[str, Work] = {
            'restore': self._restore, 'delete': self._delete, 'verify': self._verify,
            'import': self._import, 'prune': self._prune, 'part': self._store_part}
        found = self._attempt(job, works[job.kind], ends=True)
        if job.kind == 'delete':
            self._take_up()
        return found

    def _attempt(self, job: Job, work: Work, *, ends: bool = False) -> list[Job]:
        """Do a step, and record how the job ended, if it did; gives the jobs that can be run now.

        :param work: returns these, or why the job failed although all of it was done.
        """
        attempt = self._catalog.start_job(job.id, self._context.configuration.service().host)
        if not attempt:
            return []
        whole = self._context.monitor
        self._context.monitor = _Step(whole)
        self._context.monitor.heartbeat = _Watch(self._context, job, attempt)
        try:
            found = work(dataclasses.replace(self._catalog.job(job.id), attempts=attempt))
        except Exception as error:
            if not _is_interruption(error):
                self._catalog.end_job(job.id, JobState.FAILED, reason_of(error), attempt=attempt)
            raise
        finally:
            self._context.monitor = whole
        reason = as_reason(found) if isinstance(found, str) else None
        if ends or reason is not None:
            state = JobState.DONE if reason is None else JobState.FAILED
            self._catalog.end_job(job.id, state, reason, attempt=attempt)
        return found if isinstance(found, list) else []

    def _volume(self, job: Job) -> Volume:
        return self._catalog.get_volume(str(job.volume_id))

    def _prepare(self, job: Job) -> None:
        backup = self._catalog.backup_of(str(job.backup_id), None)
        if backup.snapshot_id is not None or _kept_snapshot(job) is not None:
            return
        volume = self._volume(job)
        if not (self._sources.makes_snapshot(volume)
                and self._catalog.change_job(job.id, snapshot=None)):
            return
        snapshot = self._sources.snapshot(volume, job.id)
        if snapshot is not None and not self._catalog.change_job(job.id, snapshot={
                'id': snapshot.id, 'volume_id': snapshot.volume_id, 'name': snapshot.name,
                'source_id': snapshot.source_id}):
            # It was cancelled meanwhile, and `finish` will not know of this one.
            self._remove_snapshot(job, snapshot)

    def _store(self, job: Job) -> list[Job]:
        backup = self._catalog.backup_of(str(job.backup_id), None)
        return making.make(self._context, self._sources, job, self._snapshot(backup, job))

    def _store_part(self, job: Job) -> list[Job]:
        return splitting.store(self._context, job, functools.partial(self._read, job.id))

    def _read(self, key: str, backup: Backup, create: Job) -> AbstractContextManager[Reading]:
        return self._sources.read(self._volume(create), self._snapshot(backup, create),
                                  since=backup.parent_id, key=key)

    def _snapshot(self, backup: Backup, create: Job) -> Snapshot | None:
        """What is read in the place of the volume."""
        if backup.snapshot_id is not None:
            return self._catalog.snapshot_of(backup.snapshot_id, None)
        return _kept_snapshot(create)

    def _restore(self, job: Job) -> None:
        backup = self._catalog.backup_of(str(job.backup_id), None)
        volume = self._volume(job)
        fresh = volume.source is not None and volume.source_id is None
        if fresh:
            # That it holds zeros only is not what the restore is for.
            self._writing(job)
            made = self._sources.create(str(volume.source), str(volume.name),
                                        int(volume.size_bytes or 0), volume.project_id, job.id)
            self._catalog.volume_made(volume.id, made)
            volume = self._volume(job)
        with self._sources.target(volume, job.id) as target:
            request = restoring.Request(
                target if isinstance(target, str) else str(volume.name or volume.id), force=True,
                stream=None if isinstance(target, str) else target, volume_id=volume.id,
                fresh=fresh, before_writing=functools.partial(self._writing, job))
            if request.stream is not None:
                request.force = False
            restoring.restore(self._context, backup, request, job.id)

    def _writing(self, job: Job) -> None:
        """Record that from now on there is no telling what the volume of a restore holds."""
        if not self._catalog.change_job(job.id, written=True):
            raise exceptions.OperationCancelled(f'job {job.id} has ended')

    def _delete(self, job: Job) -> None:
        patience = time.monotonic() + _PATIENCE
        while True:
            try:
                backup = self._catalog.backup_of(str(job.backup_id), None)
            except exceptions.BackupNotFound:
                return
            try:
                deleting.delete_accepted(self._context, backup, job.id, job.arguments['was'])
                break
            except exceptions.BackupInUse:
                if time.monotonic() > patience:
                    raise
            self._recover()
            self._context.monitor.sleep(1)

    def _recover(self) -> None:
        for sentence in self._catalog.recover():
            self._context.warn(sentence)

    def _verify(self, job: Job) -> str | None:
        backup = self._catalog.backup_of(str(job.backup_id), None)
        wanted: dict[str, Any] = job.arguments
        sample = Sample(**wanted['sample']) if wanted['sample'] else None
        how = verifying.How(wanted['quick'], sample, wanted['mark_bad'])
        report = verifying.verify(self._context, backup, how, job_id=job.id).report
        if report.ok:
            return None
        return f'{len(report.problems)} {verifying.FOUND}: {report.problems[0]}'

    def _import(self, job: Job) -> None:
        known = self._catalog.backup_of(str(job.backup_id), None)
        with self._context.running('import', known, job_id=job.id) as (row, _):
            found = records.look_up(self._context, job.arguments['record'], job.backend)
            self._catalog.finish(row, known.id, Status.AVAILABLE, **{
                name: getattr(found, name) for name in _IMPORTED})

    def _prune(self, job: Job) -> str | None:
        rules = dict(job.arguments['rules'])
        if rules.get('within') is not None:
            rules['within'] = datetime.timedelta(seconds=rules['within'])
        request = pruning.Request([] if job.volume_id is None else [self._volume(job)],
                                  job.backend, rules, job.project_id)
        failed = self._prune_all([retention.Verdict(backup, ()) for backup in self._left(job)])
        verdicts = pruning.plan(self._context, request)
        going = [verdict.backup.id for verdict in verdicts if not verdict.stays]
        begun = sorted({*job.arguments.get('going', ()), *going})
        if not self._catalog.change_job(job.id, going=begun):
            raise exceptions.OperationCancelled(f'job {job.id} has ended')
        self._context.monitor.start('prune', len(going))
        return '; '.join(failed + self._prune_all(verdicts)) or None

    def _prune_all(self, verdicts: list[retention.Verdict]) -> list[str]:
        """Which of them failed, and why."""
        return [f'backup {backup.id}: {result}'
                for backup, result in pruning.apply(self._context, verdicts)
                if isinstance(result, Exception)]

    def _left(self, job: Job) -> list[Backup]:
        """What an earlier run of a prune was deleting, once its process is known to be dead."""
        going = set(job.arguments.get('going', ())) - set(self._catalog.postponed())
        patience = time.monotonic() + LEASE.total_seconds()
        while going:
            self._recover()
            deleting, left = ([backup for backup in self._catalog.backups(
                status=status, projects=[job.project_id]) if backup.id in going]
                for status in (Status.DELETING, Status.ERROR_DELETING))
            others = deleting and {each.backup_id for each in self._catalog.jobs(
                states=OPEN_STATES) if each.kind == 'delete'}
            deleting = [backup for backup in deleting if backup.id not in others]
            if not deleting or time.monotonic() > patience:
                return left + deleting
            self._context.monitor.sleep(1)
        return []


_IMPORTED = (
    'volume_id', 'container', 'service_metadata', 'parent_id', 'snapshot_id', 'size',
    'object_count', 'metadata', 'created_at', 'data_timestamp', 'service', 'backend', 'format',
    'size_bytes', 'stored_bytes', 'owner', 'manifest_digest', 'display_name',
    'display_description')
"""What an import takes over of the record and of the manifest."""


def _kept_snapshot(job: Job) -> Snapshot | None:
    kept = job.arguments.get('snapshot')
    return None if kept is None else Snapshot(**kept)


def _is_interruption(error: Exception) -> bool:
    """Whether it says nothing of the job: that was cancelled, or is to be run again."""
    return isinstance(error, exceptions.OperationCancelled | exceptions.CatalogError)


class _Step(Monitor):
    """Of one step: what stops its job does not stop what this process does after that."""

    def __init__(self, whole: Monitor) -> None:
        super().__init__()
        self._whole = whole

    def start(self, phase: str, total: int | None = None) -> None:
        self._whole.start(phase, total)
        super().start(phase, total)

    def advance(self, length: int) -> None:
        self._whole.advance(length)
        super().advance(length)

    def check(self) -> None:
        self._whole.check()
        super().check()


class _Watch:
    """Called now and then while a job runs: tells how far it is, and stops it where it ended."""

    def __init__(self, context: Context, job: Job, attempt: int) -> None:
        self._catalog = context.catalog
        self._monitor: Monitor = context.monitor
        self._job, self._attempt = job, attempt
        self._told = time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._told < PROGRESS_SECONDS:
            return
        self._told = now
        monitor = self._monitor
        try:
            goes_on = self._catalog.progress(self._job.id, monitor.phase, monitor.done,
                                             monitor.total, attempt=self._attempt)
            if 'create' in self._job.arguments:
                self._catalog.progress_of_parts(self._job.arguments['create'])
        except (exceptions.CatalogError, exceptions.NoSpace) as error:
            LOG.warning('The progress of job %s could not be recorded: %s', self._job.id, error)
            return
        if not goes_on:
            monitor.cancel()
