"""What workers say that their sources have: volumes and their snapshots."""

from __future__ import annotations

from collections.abc import Iterable
import datetime
from typing import Any
import uuid

import sqlalchemy as sa

from backup_framework import exceptions
from backup_framework.catalog import jobs, records, schema
from backup_framework.model import UNKNOWN, Snapshot, Volume, utcnow

_volumes = schema.volumes
_snapshots = schema.snapshots
_jobs = schema.jobs

_TOLD = ('name', 'size_bytes', 'status', 'description', 'availability_zone', 'metadata',
         'image_metadata', 'bootable', 'project_id')
"""What a source says of a volume."""
_SNAPSHOT_TOLD = ('volume_id', 'name', 'description', 'status', 'size_bytes', 'created_at',
                  'metadata')
_NEW = datetime.timedelta(minutes=2)
"""A list that a worker began to make before a volume was made does not have it."""


def offer(connection: sa.Connection, source: str, volumes: Iterable[Volume],
          snapshots: Iterable[Snapshot]) -> None:
    """See `Catalog.offer_volumes`."""
    now = utcnow()
    ids = _offer_volumes(connection, source, volumes, now)
    _offer_snapshots(connection, source, snapshots, ids)


def _offer_volumes(connection: sa.Connection, source: str, volumes: Iterable[Volume],
                   now: datetime.datetime) -> dict[str, str]:
    """The ids of the records, by the ids and by the source's own names that were given."""
    known = {row['source_id']: row for row in connection.execute(
        sa.select(_volumes).where(_volumes.c.source == source)).mappings() if row['source_id']}
    ids: dict[str, str] = {}
    seen = set()
    for volume in volumes:
        name = str(volume.source_id or volume.id)
        row = known.get(name)
        ids[volume.id] = ids[name] = (
            _add_volume(connection, source, name, volume, now) if row is None
            else _change_volume(connection, row, volume))
        seen.add(ids[name])
    gone = [row['id'] for row in known.values()
            if row['id'] not in seen and row['offered_at'] is not None]
    for each in gone:
        connection.execute(_volumes.update().where(
            _volumes.c.id == each, ~_just_made(now)).values(offered_at=None))
    connection.execute(_volumes.update().where(
        _volumes.c.source == source, _volumes.c.offered_at.is_not(None)).values(
            offered_at=records.time_text(now)))
    return ids


def _add_volume(connection: sa.Connection, source: str, name: str, volume: Volume,
                now: datetime.datetime) -> str:
    """One whose id another record has that belongs to no source takes that record over."""
    fields = {each: getattr(volume, each) for each in _TOLD} | {
        'source': source, 'source_id': name, 'offered_at': now}
    row = connection.execute(
        sa.select(_volumes).where(_volumes.c.id == volume.id)).mappings().first()
    if row is not None and row['source'] in (None, source):
        connection.execute(_volumes.update().where(_volumes.c.id == volume.id).values(
            records.volume_values(fields | {'updated_at': now})))
        return volume.id
    added = volume.id if row is None else str(uuid.uuid4())
    connection.execute(_volumes.insert().values(records.new_volume(
        Volume(id=added, created_at=volume.created_at or now, **fields))))
    return added


def _change_volume(connection: sa.Connection, row: sa.RowMapping, volume: Volume) -> str:
    told = records.volume_values({each: getattr(volume, each) for each in _TOLD})
    if row['status'] == jobs.RESTORE_FAILED and told['status'] in jobs.HIDDEN_BY_FAILURE:
        told['status'] = jobs.RESTORE_FAILED
    # A restore made it for a project; what a source says of nobody's volumes must not share it.
    told['project_id'] = told['project_id'] or row['project_id']
    changes = {each: value for each, value in told.items()
               if value != row[each] and volume.status != UNKNOWN}
    if changes or row['offered_at'] is None:
        now = records.time_text(utcnow())
        connection.execute(_volumes.update().where(_volumes.c.id == row['id']).values(
            changes | {'updated_at': now, 'offered_at': now}))
    return str(row['id'])


def _just_made(now: datetime.datetime) -> sa.ColumnElement[bool]:
    """Whether a restore makes the volume, or did so a moment ago."""
    ended = _jobs.c.ended_at
    return sa.exists().where(
        _jobs.c.volume_id == _volumes.c.id, _jobs.c.kind == 'restore',
        sa.or_(ended.is_(None), ended > records.time_text(now - _NEW)))


def _offer_snapshots(connection: sa.Connection, source: str, snapshots: Iterable[Snapshot],
                     ids: dict[str, str]) -> None:
    of_source = _snapshots.c.volume_id.in_(
        sa.select(_volumes.c.id).where(_volumes.c.source == source))
    known = {(row['volume_id'], row['source_id']): row for row in connection.execute(
        sa.select(_snapshots).where(of_source)).mappings()}
    seen = set()
    for snapshot in snapshots:
        name = str(snapshot.source_id or snapshot.id)
        volume_id = ids.get(snapshot.volume_id, snapshot.volume_id)
        told: dict[str, Any] = {each: getattr(snapshot, each) for each in _SNAPSHOT_TOLD}
        told |= {'volume_id': volume_id, 'source_id': name}
        row = known.get((volume_id, name))
        if row is None:
            seen.add(_add_snapshot(connection, snapshot, told))
            continue
        seen.add(row['id'])
        values = records.snapshot_values(told)
        if any(values[each] != row[each] for each in values):
            connection.execute(
                _snapshots.update().where(_snapshots.c.id == row['id']).values(values))
    for row in known.values():
        if row['id'] not in seen:
            connection.execute(_snapshots.delete().where(_snapshots.c.id == row['id']))


def _add_snapshot(connection: sa.Connection, snapshot: Snapshot, told: dict[str, Any]) -> str:
    taken = connection.scalar(
        sa.select(_snapshots.c.id).where(_snapshots.c.id == snapshot.id)) is not None
    added = str(uuid.uuid4()) if taken else snapshot.id
    connection.execute(_snapshots.insert().values(
        records.new_snapshot(Snapshot(**told | {'id': added}))))
    return added


def purge(connection: sa.Connection, before: datetime.datetime) -> None:
    """Forget the volumes that restores recorded and did not come to make."""
    connection.execute(_volumes.delete().where(
        _volumes.c.source.is_not(None), _volumes.c.source_id.is_(None),
        _volumes.c.status == 'error', _volumes.c.updated_at < records.time_text(before)))


def made(connection: sa.Connection, volume_id: str, found: Volume) -> None:
    """See `Catalog.volume_made`."""
    row = connection.execute(sa.select(_volumes.c.source).where(
        _volumes.c.id == volume_id)).first()
    if row is None:
        raise exceptions.VolumeNotFound(f'there is no volume {volume_id}')
    # A worker may have told of it meanwhile.
    connection.execute(_volumes.delete().where(
        _volumes.c.source == row.source, _volumes.c.source_id == found.source_id,
        _volumes.c.id != volume_id))
    now = utcnow()
    fields = {each: getattr(found, each) for each in _TOLD if each != 'project_id'}
    connection.execute(_volumes.update().where(_volumes.c.id == volume_id).values(
        records.volume_values(fields | {'source_id': found.source_id, 'offered_at': now,
                                        'updated_at': now})))
