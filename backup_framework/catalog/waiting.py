"""Deletes that wait: a backup that is running may refer to objects of one that is deleted.

One that was interrupted, and that its job will go on with, counts as running.
"""

from __future__ import annotations

from collections.abc import Iterable
import json
from typing import Any

import sqlalchemy as sa

from backup_framework import exceptions
from backup_framework.catalog import backups, jobs, operations, schema
from backup_framework.model import Backup, Status

_backups = schema.backups
_operations = schema.operations


def writers(connection: sa.Connection, container: str) -> list[sa.RowMapping]:
    """The operations that make a backup in a container of this name, or may do so.

    On any backend: two sections may name one store.
    """
    elsewhere = sa.exists().where(
        _backups.c.id == _operations.c.backup_id, _backups.c.container != container)
    chosen = operations.every(_operations.c.kind == 'create', ~elsewhere)
    return list(connection.execute(chosen.order_by(_operations.c.started_at)).mappings())


def creating(connection: sa.Connection) -> list[sa.RowMapping]:
    """The operations that make a backup."""
    return list(connection.execute(operations.every(_operations.c.kind == 'create')).mappings())


def interrupted(connection: sa.Connection, container: str | None = None) -> list[str]:
    """The backups that have objects and that a job will go on with; in a container, or in all."""
    chosen = sa.select(_backups.c.id).where(
        _backups.c.status == str(Status.CREATING), _backups.c.service_metadata.is_not(None),
        jobs.of_backup(_backups, 'create'))
    if container is not None:
        chosen = chosen.where(_backups.c.container == container)
    return list(connection.scalars(chosen))


def postpone(connection: sa.Connection, operation: operations.Running, backup_id: str,
             awaited: Iterable[str], fields: dict[str, Any]) -> None:
    """See `Catalog.postpone`."""
    operations.finish(connection, operation, backup_id, Status.DELETING, fields)
    _wait(connection, backup_id, awaited)
    operations.end(connection, operation)


def hand_over(connection: sa.Connection, operation: operations.Running, left: Backup,
              awaited: Iterable[str]) -> None:
    """See `Catalog.hand_over`."""
    operations.finish(connection, operation, str(operation.backup_id), Status.CREATING,
                      {'service_metadata': None, 'format': None})
    backups.add(connection, left)
    _wait(connection, left.id, awaited)


def _wait(connection: sa.Connection, backup_id: str, awaited: Iterable[str]) -> None:
    connection.execute(_backups.update().where(_backups.c.id == backup_id).values(
        waits_for=json.dumps(list(awaited))))


def postponed(connection: sa.Connection) -> dict[str, list[str]]:
    """The deletes that wait, oldest first, with the backups that they wait for.

    Not those that somebody goes on with.
    """
    taken_up = sa.exists().where(
        _operations.c.backup_id == _backups.c.id, _operations.c.kind == 'delete')
    chosen = sa.select(_backups.c.id, _backups.c.waits_for).where(
        _backups.c.status == str(Status.DELETING), _backups.c.waits_for.is_not(None), ~taken_up)
    return {row.id: json.loads(row.waits_for)
            for row in connection.execute(chosen.order_by(_backups.c.updated_at))}


def resume(connection: sa.Connection, operation: operations.Running, backup_id: str) -> list[str]:
    """See `Catalog.resume`."""
    operations.check_mine(connection, operation)
    backup = backups.get(connection, backup_id)
    awaited = connection.scalar(
        sa.select(_backups.c.waits_for).where(_backups.c.id == backup_id))
    if backup.status != Status.DELETING or awaited is None:
        raise exceptions.InvalidBackup(
            f'{backups.describe(backup)} is {backup.status}, its delete does not wait')
    found: list[str] = json.loads(awaited)
    return found
