"""How much a project has, and whether that may be more."""

from __future__ import annotations

import sqlalchemy as sa

from backup_framework import exceptions
from backup_framework.catalog import schema
from backup_framework.model import Backup, Quota

_backups = schema.backups


def usage(connection: sa.Connection, project_id: str | None) -> Quota:
    """Of all records of a project, in whichever state; None: of those that have none."""
    row = connection.execute(sa.select(
        sa.func.count(), sa.func.coalesce(sa.func.sum(_backups.c.size), 0)).where(
            _backups.c.project_id == project_id)).one()
    return Quota(int(row[0]), int(row[1]))


def check(connection: sa.Connection, backup: Backup, limit: Quota) -> None:
    """:raises QuotaExceeded: with this one more its project would have too much."""
    if limit.backups < 0 and limit.gigabytes < 0:
        return
    used = usage(connection, backup.project_id)
    for resource, most, has, wanted in (
            ('backups', limit.backups, used.backups, 1),
            ('gigabytes', limit.gigabytes, used.gigabytes, backup.size)):
        if 0 <= most < has + wanted:
            raise exceptions.QuotaExceeded(resource, most, has, wanted)
