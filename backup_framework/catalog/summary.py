"""What the catalog holds of each volume on each backend, counted by the database."""

from __future__ import annotations

import dataclasses
import datetime

import sqlalchemy as sa

from backup_framework.catalog import records, schema
from backup_framework.model import Status

_backups = schema.backups
_volumes = schema.volumes


@dataclasses.dataclass
class Summary:
    """The backups of a volume on a backend.

    :param volume: its name, else its path, else its id.
    :param counts: how many there are in each state.
    :param newest: the time of the newest state that can be restored; None without any.
    :param stored_bytes: of those that can be restored.
    :param damaged: how many of them are known to be damaged.
    :param unverified: how many of them were never verified in full.
    :param oldest_verification: the oldest last full verification of the others.
    """

    volume: str
    backend: str
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    newest: datetime.datetime | None = None
    stored_bytes: int = 0
    damaged: int = 0
    unverified: int = 0
    oldest_verification: datetime.datetime | None = None


def summaries(connection: sa.Connection) -> list[Summary]:
    """One for each volume and backend with backups, in the order of their names."""
    verified = _backups.c.fully_verified_at
    chosen = sa.select(
        _backups.c.volume_id, _backups.c.backend, _backups.c.status,
        sa.func.coalesce(_volumes.c.name, _volumes.c.path, _backups.c.volume_id).label('volume'),
        sa.func.count().label('count'), sa.func.max(_backups.c.data_timestamp).label('newest'),
        sa.func.coalesce(sa.func.sum(_backups.c.stored_bytes), 0).label('stored_bytes'),
        sa.func.sum(sa.case((_backups.c.damage == '[]', 0), else_=1)).label('damaged'),
        (sa.func.count() - sa.func.count(verified)).label('unverified'),
        sa.func.min(verified).label('oldest_verification'),
    ).outerjoin(_volumes, _volumes.c.id == _backups.c.volume_id).group_by(
        _backups.c.volume_id, _backups.c.backend, _backups.c.status,
        _volumes.c.name, _volumes.c.path)
    found: dict[tuple[str, str], Summary] = {}
    for row in connection.execute(chosen).mappings():
        backend = str(row['backend'])
        summary = found.setdefault((row['volume_id'], backend), Summary(row['volume'], backend))
        summary.counts[row['status']] = row['count']
        if row['status'] == str(Status.AVAILABLE):
            summary.newest = _time(row['newest'])
            summary.stored_bytes = int(row['stored_bytes'])
            summary.damaged, summary.unverified = int(row['damaged']), row['unverified']
            summary.oldest_verification = _time(row['oldest_verification'])
    return sorted(found.values(), key=lambda each: (each.volume, each.backend))


def _time(text: str | None) -> datetime.datetime | None:
    return records.text_time(text) if text else None
