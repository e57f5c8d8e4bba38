"""The table of running operations: who may run beside whom, and what is still one's own."""

from __future__ import annotations

import dataclasses
import datetime
import os
import socket
import time
from typing import Any
import uuid

import sqlalchemy as sa

from backup_framework import exceptions
from backup_framework.catalog import backups, jobs, records, schema
from backup_framework.catalog.locks import Lock
from backup_framework.model import JobState, Status, utcnow

LEASE = datetime.timedelta(minutes=10)
RENEW_SECONDS = 60.0
JOB_LEASE = datetime.timedelta(minutes=2)
RENEW_JOB_SECONDS = 5.0
"""A job may be given to another worker while this one lives; it has to notice soon."""

WITHOUT_ROW = frozenset({'restore', 'verify', 'export'})
"""Kinds that go on when the catalog cannot be written."""

_UNFINISHED = {'create': Status.CREATING, 'delete': Status.DELETING, 'import': Status.CREATING}
REKEY = 'rekey'
"""The kind that wraps the keys of a backend's backups anew; its detail is the backend."""

_table = schema.operations


@dataclasses.dataclass
class Running:
    """A running operation.

    :param detail: what a message about its end should name: the target of a restore.
    :param job_id: the job that it is the work of.
    :param recorded: whether it has a row; False where the catalog cannot be written, and after
        its outcome was recorded.
    """

    kind: str
    backup_id: str | None = None
    volume_id: str | None = None
    detail: str | None = None
    job_id: str | None = None
    id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    pid: int = dataclasses.field(default_factory=os.getpid)
    recorded: bool = False
    lock: Lock | None = dataclasses.field(default=None, repr=False, compare=False)
    renewed: float = dataclasses.field(default_factory=time.monotonic, repr=False)

    @property
    def exclusive(self) -> str | None:
        """What no other row may have; raises InvalidInput when the thing itself is missing."""
        if self.kind not in (*_UNFINISHED, REKEY):
            return None
        thing = {'create': self.volume_id, REKEY: self.detail}.get(self.kind, self.backup_id)
        if not thing:
            raise exceptions.InvalidInput(f'a {self.kind} must say of what')
        return f'{self.kind}:{thing}'

    def is_due(self) -> bool:
        """Whether its lease is to be renewed; not again for some time then."""
        seconds = RENEW_SECONDS if self.job_id is None else RENEW_JOB_SECONDS
        now = time.monotonic()
        if now - self.renewed < seconds:
            return False
        self.renewed = now
        return True

    def release(self) -> None:
        """Let go of the lock."""
        lock, self.lock = self.lock, None
        if lock is not None:
            lock.release()


def insert(connection: sa.Connection, operation: Running, installation: str) -> None:
    """Check who else is running and insert the row; to be called in one transaction."""
    if operation.job_id is not None:
        # Whoever had the job before is dead, or has lost it and finds that out.
        jobs.require_open(connection, operation.job_id)
        connection.execute(_table.delete().where(_table.c.job_id == operation.job_id))
    check_conflicts(connection, operation)
    now = utcnow()
    connection.execute(_table.insert().values(
        id=operation.id, kind=operation.kind, backup_id=operation.backup_id,
        volume_id=operation.volume_id, exclusive=operation.exclusive,
        installation=installation, host=socket.gethostname()[:schema.NAME_LENGTH],
        pid=operation.pid, started_at=records.time_text(now),
        lease_until=records.time_text(now + _lease(operation)), lock_file=operation.id,
        detail=_storable(operation.detail), job_id=operation.job_id))


def _lease(operation: Running) -> datetime.timedelta:
    return LEASE if operation.job_id is None else JOB_LEASE


def _storable(detail: str | None) -> str | None:
    """A path may hold bytes that are no text; it is only shown."""
    if detail is None:
        return None
    return detail.encode(errors='backslashreplace').decode().replace('\0', '\\0')


def check_conflicts(connection: sa.Connection, operation: Running) -> None:
    """Raise InvalidVolume or BackupInUse if this may not run beside what runs already."""
    exclusive = operation.exclusive
    if operation.kind == 'create':
        row = _first(connection, _table.c.exclusive == exclusive)
        if row is not None:
            raise exceptions.InvalidVolume(
                f'volume {_volume_name(connection, operation.volume_id)} is being backed up '
                f'already: backup {row["backup_id"]}, {_since(row)}; wait until that has ended')
        jobs.refuse_split_volume(connection, operation.volume_id, operation.job_id)
    if operation.kind == REKEY:
        row = _first(connection, _table.c.exclusive == exclusive)
        if row is not None:
            raise exceptions.Refused(f'the keys of backend {operation.detail} are being changed '
                                     f'already, {_since(row)}; wait until that has ended')
    if operation.backup_id is None:
        return
    condition = _table.c.backup_id == operation.backup_id
    if operation.kind != 'delete':
        condition &= _table.c.kind == 'delete'
    refuse_running(connection, operation.backup_id, condition)
    if operation.kind == 'delete':
        backups.refuse_needed(connection, operation.backup_id)
        backups.refuse_needed_by_orphan(connection, operation.backup_id)


def refuse_running(connection: sa.Connection, backup_id: str,
                   condition: sa.ColumnElement[bool]) -> None:
    """Raise BackupInUse if there is such an operation."""
    row = _first(connection, condition)
    if row is not None:
        raise exceptions.BackupInUse(
            f'a {row["kind"]} of backup {backup_id} is running, {_since(row)}; '
            'wait until that has ended')


def _first(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> sa.RowMapping | None:
    chosen = sa.select(_table).where(condition).order_by(_table.c.started_at, _table.c.id)
    return connection.execute(chosen.limit(1)).mappings().first()


def _since(row: sa.RowMapping) -> str:
    since = row['started_at'][:19].replace('T', ' ')
    return f'since {since} UTC by process {row["pid"]} on {row["host"]}'


def _volume_name(connection: sa.Connection, volume_id: str | None) -> str:
    volumes = schema.volumes
    row = connection.execute(sa.select(volumes.c.name, volumes.c.path).where(
        volumes.c.id == volume_id)).first()
    return (row and (row.name or row.path)) or str(volume_id)


def check_mine(connection: sa.Connection, operation: Running) -> None:
    """Raise InvalidBackup if `recover` has taken the operation for dead: its row is gone."""
    if _first(connection, _table.c.id == operation.id) is None:
        raise lost(operation)


def lost(operation: Running) -> exceptions.InvalidBackup:
    return exceptions.InvalidBackup(
        f'this {operation.kind} of backup {operation.backup_id} was taken over by another worker'
        if operation.job_id else
        f'this {operation.kind} of backup {operation.backup_id} was taken for dead by another '
        'process, because its lease ran out or its lock file was removed; start it again')


def finish(connection: sa.Connection, operation: Running, backup_id: str, to: str,
           fields: dict[str, Any]) -> None:
    """See `Catalog.finish`; the row stays."""
    check_mine(connection, operation)
    unfinished = _UNFINISHED.get(operation.kind)
    if unfinished is None:
        backups.update(connection, backup_id, {**fields, 'status': to})
    else:
        backups.transition(connection, backup_id, (unfinished,), to, fields)
    if operation.kind == 'import':
        backups.check_parent_stays(connection, backups.get(connection, backup_id))


def renewal(operation: Running) -> sa.Update:
    """Gives the lease as much time again; finds no row if the operation was taken for dead."""
    until = records.time_text(utcnow() + _lease(operation))
    return _table.update().where(_table.c.id == operation.id).values(lease_until=until)


def end(connection: sa.Connection, operation: Running, failed: str | None = None) -> None:
    """Delete the row, and end the job that it was the work of; `failed` says why that failed.

    In the transaction of the outcome, because every one waits for the disk several times.
    """
    remove(connection, operation.id)
    if operation.job_id is not None:
        state = JobState.DONE if failed is None else JobState.FAILED
        jobs.end(connection, operation.job_id, state, failed)


def every(*conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """The rows that fit, each with what tells the living from the dead."""
    return sa.select(_table, jobs.of_operation(_table).label('has_job')).where(*conditions)


def removal(operation_id: str) -> sa.Delete:
    return _table.delete().where(_table.c.id == operation_id)


def remove(connection: sa.Connection, operation_id: str) -> bool:
    """Delete the row; False if it was gone."""
    return bool(connection.execute(removal(operation_id)).rowcount)


def refuse_others(connection: sa.Connection, backup_id: str, own: Running | None) -> None:
    """Raise BackupInUse if an operation other than `own` works on this backup."""
    condition = _table.c.backup_id == backup_id
    if own is not None:
        condition &= _table.c.id != own.id
    refuse_running(connection, backup_id, condition)
