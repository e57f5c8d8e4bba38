"""Accepting a job: all that must hold, and all that is recorded, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from backup_framework import exceptions
from backup_framework.catalog import backups, jobs, operations, quotas, schema, volumes
from backup_framework.model import Backup, Job, JobState, Quota, Status, Volume


def accept(connection: sa.Connection, job: Job, backup: Backup | None, volume: Volume | None,
           from_: Iterable[str] | None, to: str | None, quota: Quota | None, cancel: bool) -> None:
    """See `Catalog.accept`."""
    jobs.refuse_busy_volume(connection, job)
    jobs.refuse_again(connection, job)
    if volume is not None:
        volumes.add(connection, volume)
    if backup is not None:
        if quota is not None:
            quotas.check(connection, backup, quota)
        backups.add(connection, backup)
    elif job.backup_id is not None:
        if cancel:
            cancel_others(connection, job.backup_id, f'{job.kind} of the backup was asked for')
        _take(connection, job, from_, to, force=cancel)
    jobs.add(connection, job)


def _take(connection: sa.Connection, job: Job, from_: Iterable[str] | None, to: str | None, *,
          force: bool) -> None:
    """Check that the job may be done to a backup that is there, and change its status."""
    backup_id = str(job.backup_id)
    backup = backups.get(connection, backup_id)
    if from_ is not None and backup.status not in (states := tuple(from_)):
        raise exceptions.InvalidBackup(
            f'{backups.describe(backup)} is {backup.status}, not {" or ".join(states)}')
    if job.kind == 'delete':
        backups.refuse_needed(connection, backup_id)
        backups.refuse_needed_by_orphan(connection, backup_id)
        if not force:
            _refuse_used(connection, backup_id)
    if to is not None:
        backups.update(connection, backup_id, {'status': to, 'fail_reason': None})
        # What is asked for now does not wait for what an earlier delete waited for.
        connection.execute(schema.backups.update().where(
            schema.backups.c.id == backup_id).values(waits_for=None))


def _refuse_used(connection: sa.Connection, backup_id: str) -> None:
    operations.refuse_others(connection, backup_id, None)
    for other in jobs.opened(connection, backup_id=backup_id):
        raise exceptions.BackupInUse(
            f'a {other.kind} of backup {backup_id} was accepted; wait until that has ended')


def cancel_others(connection: sa.Connection, backup_id: str, reason: str) -> None:
    for other in jobs.opened(connection, backup_id=backup_id):
        jobs.end(connection, other.id, JobState.CANCELLED, reason)


def reset(connection: sa.Connection, backup_id: str, status: Status) -> None:
    """See `Catalog.reset`."""
    backups.get(connection, backup_id)
    cancel_others(connection, backup_id, f'the status of the backup was set to {status}')
    backups.update(connection, backup_id, {'status': status})
