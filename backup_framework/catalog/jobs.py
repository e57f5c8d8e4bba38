"""The table of jobs: what was accepted, who runs it, how far it is and what came of it."""

from __future__ import annotations

from collections.abc import Collection
import datetime
from typing import Any

import sqlalchemy as sa

from backup_framework import exceptions
from backup_framework.catalog import parts, records, schema
from backup_framework.model import OPEN_STATES, Job, JobState, Status, utcnow

_table = schema.jobs

_PHASE_LENGTH = 32
_INTO_VOLUMES = ('create', 'restore')
_FATES = {
    'create': (Status.CREATING, Status.ERROR),
    'import': (Status.CREATING, Status.ERROR),
    'delete': (Status.DELETING, Status.ERROR_DELETING),
}
RESTORE_FAILED = 'error_restoring'
"""The status of a volume whose source does not know that it holds nothing that makes sense."""
HIDDEN_BY_FAILURE = ('available', 'in-use')
"""What its source may say of it then."""

is_open = _table.c.state.in_([str(state) for state in OPEN_STATES])


def of_operation(operations: sa.Table) -> sa.ColumnElement[bool]:
    """Whether an operation is one of a job that has not ended."""
    return sa.exists().where(_table.c.id == operations.c.job_id, is_open)


def of_backup(backups: sa.FromClause, *kinds: str) -> sa.ColumnElement[bool]:
    """Whether a job on a backup has not ended; of these kinds, or of any."""
    of_kind = _table.c.kind.in_(kinds) if kinds else sa.true()
    return sa.exists().where(_table.c.backup_id == backups.c.id, is_open, of_kind)


def add(connection: sa.Connection, job: Job) -> None:
    job.created_at = job.created_at or utcnow()
    connection.execute(_table.insert().values(records.new_job(job)))


def get(connection: sa.Connection, job_id: str) -> Job:
    """:raises JobNotFound: there is none."""
    found = select(connection, _table.c.id == job_id) if records.is_text(job_id) else []
    if not found:
        raise exceptions.JobNotFound(f'there is no job {job_id!r}')
    return found[0]


def select(connection: sa.Connection, *conditions: sa.ColumnElement[bool],
           limit: int | None = None, oldest_first: bool = False, after: Job | None = None
           ) -> list[Job]:
    """:param after: only those behind this one, oldest first."""
    age = (sa.func.coalesce(_table.c.created_at, ''), _table.c.id)
    order = age if oldest_first else [term.desc() for term in age]
    chosen = sa.select(_table).where(*conditions).order_by(*order).limit(limit)
    if after is not None:
        created = records.time_text(after.created_at) if after.created_at else ''
        chosen = chosen.where(sa.or_(
            age[0] > created, sa.and_(age[0] == created, _table.c.id > after.id)))
    return [records.job(row) for row in connection.execute(chosen).mappings()]


def chosen(project_id: str | None, states: Collection[str] | None, backup_id: str | None,
           since: datetime.datetime | None) -> list[sa.ColumnElement[bool]]:
    """Conditions for `select`; None is any."""
    conditions = [column == value for column, value in
                  ((_table.c.project_id, project_id), (_table.c.backup_id, backup_id))
                  if value is not None]
    if states is not None:
        conditions.append(_table.c.state.in_([str(state) for state in states]))
    if since is not None:
        conditions.append(_table.c.created_at >= records.time_text(since))
    return conditions


def opened(connection: sa.Connection, **wanted: str | None) -> list[Job]:
    """Those that have not ended and have these values, oldest first."""
    conditions = [_table.c[name] == value for name, value in wanted.items()]
    return select(connection, is_open, *conditions, oldest_first=True)


def runnable(connection: sa.Connection, limit: int | None, after: Job | None) -> list[Job]:
    """See `Catalog.open_jobs`."""
    wanted = sa.or_(sa.and_(is_open, ~parts.waits), sa.and_(~is_open, parts.has_parts))
    return select(connection, wanted, limit=limit, oldest_first=True, after=after)


def refuse_busy_volume(connection: sa.Connection, job: Job) -> None:
    """:raises InvalidVolume: another job backs the volume up, or restores to it."""
    if job.kind not in _INTO_VOLUMES or job.volume_id is None:
        return
    for other in opened(connection, volume_id=job.volume_id):
        if other.kind in _INTO_VOLUMES and other.id != job.id:
            doing = 'being backed up' if other.kind == 'create' else 'being restored to'
            # A volume may be everybody's; its backups are not.
            which = f', by backup {other.backup_id}' * (other.project_id == job.project_id)
            raise exceptions.InvalidVolume(
                f'volume {job.volume_id} is {doing} already{which}: wait until that has ended')


def refuse_again(connection: sa.Connection, job: Job) -> None:
    """What runs once at a time; else one project could fill the queue with it.

    :raises InvalidBackup: it was accepted already, and has not ended.
    """
    if job.kind == 'verify' and job.backup_id is not None:
        same, of = {'backup_id': job.backup_id}, f'backup {job.backup_id}'
    elif job.kind == 'prune':
        same = {name: getattr(job, name) for name in ('project_id', 'volume_id', 'backend')}
        of = f'volume {job.volume_id}' if job.volume_id else 'all volumes'
    else:
        return
    for other in opened(connection, kind=job.kind, **same):
        raise exceptions.InvalidBackup(
            f'a {job.kind} of {of} was accepted already, as job {other.id}: wait until that has '
            'ended')


def refuse_split_volume(connection: sa.Connection, volume_id: str | None, own: str | None) -> None:
    """The create has no operation while its parts are stored, and needs one when they are.

    :raises InvalidVolume: parts of a backup of it are stored, by another job than `own`.
    """
    for other in select(connection, is_open, _table.c.kind == 'create', parts.has_parts,
                        _table.c.volume_id == volume_id):
        if other.id != own:
            raise exceptions.InvalidVolume(
                f'volume {volume_id} is being backed up already: parts of backup '
                f'{other.backup_id} are stored; wait until that has ended')


def start(connection: sa.Connection, job_id: str, host: str) -> int:
    now = records.time_text(utcnow())
    if not _change(connection, job_id, state=str(JobState.RUNNING), host=host,
                   attempts=_table.c.attempts + 1,
                   started_at=sa.func.coalesce(_table.c.started_at, now)):
        return 0
    return get(connection, job_id).attempts


def put_back(connection: sa.Connection, job_id: str) -> bool:
    return _change(connection, job_id, state=str(JobState.QUEUED), host=None)


def change_arguments(connection: sa.Connection, job_id: str, changes: dict[str, Any]) -> bool:
    job = get(connection, job_id)
    return _change(connection, job_id, **records.job_values({'arguments': job.arguments | changes}))


def progress(job_id: str, phase: str, done: int, total: int | None, attempt: int | None = None
             ) -> sa.Update:
    return _changing(job_id, attempt).values(phase=phase[:_PHASE_LENGTH], done=done, total=total)


def end(connection: sa.Connection, job_id: str, state: str, reason: str | None,
        attempt: int | None = None) -> bool:
    if JobState(state).is_open:
        raise exceptions.InvalidInput(f'a job does not end {state}')
    changed = _change(connection, job_id, attempt, **records.job_values(
        {'state': state, 'fail_reason': reason, 'ended_at': utcnow()}))
    if changed:
        job = get(connection, job_id)
        parts.job_ended(connection, job)
        if job.kind == 'restore':
            _end_restore(connection, job)
        elif state != JobState.DONE and job.kind in _FATES:
            _fail(connection, job)
    return changed


def _fail(connection: sa.Connection, job: Job) -> None:
    """What the job was to do with its backup did not come to its end, unless that is recorded."""
    from_, to = _FATES[job.kind]
    backups = schema.backups
    connection.execute(backups.update().where(
        backups.c.id == job.backup_id, backups.c.status == str(from_),
        backups.c.waits_for.is_(None)).values(records.backup_values(
            {'status': to, 'fail_reason': job.fail_reason, 'updated_at': utcnow()})))


def _end_restore(connection: sa.Connection, job: Job) -> None:
    """Until a restore that wrote to it comes to its end, nobody can tell what a volume holds."""
    volumes = schema.volumes
    mine = volumes.c.id == job.volume_id
    change = volumes.update().values(updated_at=records.time_text(utcnow()))
    if job.state == JobState.DONE:
        connection.execute(change.where(mine, volumes.c.status == RESTORE_FAILED)
                           .values(status='available'))
        return
    connection.execute(change.where(mine, volumes.c.source_id.is_(None),
                                    volumes.c.status == 'creating').values(status='error'))
    if job.arguments.get('written'):
        # The restore itself may be who its source saw to use it.
        connection.execute(change.where(mine, volumes.c.status.in_(HIDDEN_BY_FAILURE))
                           .values(status=RESTORE_FAILED))


def require_open(connection: sa.Connection, job_id: str) -> None:
    """:raises OperationCancelled: it has ended."""
    job = get(connection, job_id)
    if not JobState(job.state).is_open:
        raise exceptions.OperationCancelled(f'job {job_id} is {job.state} already')


def purge(connection: sa.Connection, before: datetime.datetime) -> int:
    forgotten = sa.and_(~is_open, _table.c.ended_at < records.time_text(before))
    parts.drop_of(connection, sa.select(_table.c.id).where(forgotten))
    return connection.execute(_table.delete().where(forgotten)).rowcount


def _change(connection: sa.Connection, job_id: str, attempt: int | None = None, **values: Any
            ) -> bool:
    """Whether it has not ended, and no other attempt was begun; only then it is changed."""
    return bool(connection.execute(_changing(job_id, attempt).values(values)).rowcount)


def _changing(job_id: str, attempt: int | None) -> sa.Update:
    mine = sa.true() if attempt is None else _table.c.attempts == attempt
    return _table.update().where(_table.c.id == job_id, is_open, mine)
