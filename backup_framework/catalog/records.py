"""Rows and records: how the fields of backups and volumes are stored, and how they come back."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import datetime
import json
from typing import Any

import sqlalchemy as sa

from backup_framework import exceptions
from backup_framework.catalog import schema
from backup_framework.model import Backup, Job, JobState, Service, Snapshot, Status, Volume

Values = dict[str, Any]

_NOT_STORED = {'parent', 'on_save'}
_TIMES = {'created_at', 'updated_at', 'data_timestamp', 'verified_at', 'fully_verified_at',
          'started_at', 'ended_at', 'offered_at', 'seen_at'}
_JSON: dict[str, type] = {'metadata': dict, 'base': dict, 'image_metadata': dict,
                          'warnings': list, 'damage': list, 'arguments': dict,
                          'sources': list, 'backends': dict}


def _fields(of: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(of) if field.name not in _NOT_STORED)


_BACKUP_FIELDS, _VOLUME_FIELDS = _fields(Backup), _fields(Volume)
_JOB_FIELDS, _SNAPSHOT_FIELDS, _SERVICE_FIELDS = _fields(Job), _fields(Snapshot), _fields(Service)
_LARGEST = (1 << 63) - 1
_MOST_METADATA = 16 << 10
"""Characters, as JSON. A list has many of these."""


def time_text(time: datetime.datetime) -> str:
    """A time as the catalog stores it; one without a zone is taken as UTC, as in Cinder."""
    if time.tzinfo is not None:
        time = time.astimezone(datetime.UTC).replace(tzinfo=None)
    return time.isoformat(timespec='microseconds')


def text_time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


def backup_values(fields: Mapping[str, Any]) -> Values:
    """The columns for these fields of a backup.

    :raises InvalidInput: a value that cannot be stored.
    :raises TypeError: there is no such field.
    """
    values = _values(schema.backups, _BACKUP_FIELDS, fields)
    if 'status' in values:
        _check_status(values['status'])
    return values


def volume_values(fields: Mapping[str, Any]) -> Values:
    """The columns for these fields of a volume; raises as `backup_values` does."""
    return _values(schema.volumes, _VOLUME_FIELDS, fields)


def new_backup(backup: Backup) -> Values:
    return backup_values({name: getattr(backup, name) for name in _BACKUP_FIELDS})


def new_volume(volume: Volume) -> Values:
    return volume_values({name: getattr(volume, name) for name in _VOLUME_FIELDS})


def job_values(fields: Mapping[str, Any]) -> Values:
    """The columns for these fields of a job; raises as `backup_values` does."""
    return _values(schema.jobs, _JOB_FIELDS, fields)


def snapshot_values(fields: Mapping[str, Any]) -> Values:
    """The columns for these fields of a snapshot; raises as `backup_values` does."""
    return _values(schema.snapshots, _SNAPSHOT_FIELDS, fields)


def new_job(job: Job) -> Values:
    return job_values({name: getattr(job, name) for name in _JOB_FIELDS})


def new_snapshot(snapshot: Snapshot) -> Values:
    return snapshot_values({name: getattr(snapshot, name) for name in _SNAPSHOT_FIELDS})


def new_service(service: Service) -> Values:
    return _values(schema.services, _SERVICE_FIELDS,
                   {name: getattr(service, name) for name in _SERVICE_FIELDS})


def backup(row: sa.RowMapping) -> Backup:
    """The record in a row; raises CatalogCorrupt if the row cannot be read."""
    values = _loaded('backup', _BACKUP_FIELDS, row)
    shown = row.get('shown_status', values['status'])
    values['status'] = Status(shown) if shown in set(Status) else shown
    return Backup(**values)


def volume(row: sa.RowMapping) -> Volume:
    """The record in a row; raises CatalogCorrupt if the row cannot be read."""
    values = _loaded('volume', _VOLUME_FIELDS, row)
    values['status'] = row.get('shown_status', values['status'])
    return Volume(**values)


def job(row: sa.RowMapping) -> Job:
    """The record in a row; raises CatalogCorrupt if the row cannot be read."""
    values = _loaded('job', _JOB_FIELDS, row)
    values['state'] = JobState(values['state'])
    return Job(**values)


def snapshot(row: sa.RowMapping) -> Snapshot:
    """The record in a row; raises CatalogCorrupt if the row cannot be read."""
    return Snapshot(**_loaded('snapshot', _SNAPSHOT_FIELDS, row))


def service(row: sa.RowMapping) -> Service:
    """The record in a row; raises CatalogCorrupt if the row cannot be read."""
    return Service(**_loaded('service', _SERVICE_FIELDS, row))


def _values(table: sa.Table, known: tuple[str, ...], fields: Mapping[str, Any]) -> Values:
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise TypeError(f'no such field of {table.name}: {", ".join(unknown)}')
    values = {name: _stored(name, value) for name, value in fields.items()}
    for name, value in values.items():
        _check(table.c[name], value)
    return values


def _stored(name: str, value: Any) -> Any:
    if name in _TIMES and isinstance(value, datetime.datetime):
        return time_text(value)
    if name in _JSON:
        return json.dumps(value)
    # A Status is a str of its own kind, which not every database client takes.
    return str(value) if isinstance(value, str) else value


def _check(column: sa.Column[Any], value: Any) -> None:
    """Refuse here what one database refuses and another cuts, or stores as it is."""
    if value is None:
        if not column.nullable:
            raise exceptions.InvalidInput(f'{column.name} must have a value')
        return
    if isinstance(column.type, sa.BigInteger):
        if type(value) is not int or not -_LARGEST <= value <= _LARGEST:
            raise exceptions.InvalidInput(f'{column.name} must be a whole number, not {value!r}')
        return
    if isinstance(column.type, sa.Boolean):
        if not isinstance(value, bool):
            raise exceptions.InvalidInput(f'{column.name} must be true or false, not {value!r}')
        return
    if not isinstance(value, str):
        raise exceptions.InvalidInput(f'{column.name} must be text, not {value!r}')
    if not is_text(value):
        raise exceptions.InvalidInput(f'{column.name} is not valid text: {value!r}')
    limit = getattr(column.type, 'length', None)
    if limit is not None and len(value) > limit:
        raise exceptions.InvalidInput(
            f'{column.name} is longer than {limit} characters: {value[:40]!r}…')


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Bound what users give. What a store or another catalog has is taken in as it is.

    :raises InvalidInput: it is more.
    """
    text = json.dumps(metadata)
    if len(text) > _MOST_METADATA:
        raise exceptions.InvalidInput(
            f'metadata as JSON is longer than {_MOST_METADATA} characters: {text[:40]!r}…')


def is_text(text: str) -> bool:
    """Whether a database can store this, or look for it."""
    if '\0' in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_status(status: str) -> None:
    if status == Status.RESTORING:
        raise exceptions.InvalidInput(
            'restoring is shown while a restore runs, it is never stored')
    if status not in set(Status):
        raise exceptions.InvalidInput(
            f'there is no status {status}; there are {", ".join(Status)}')


def _loaded(noun: str, names: tuple[str, ...], row: sa.RowMapping) -> Values:
    values = {name: row[name] for name in names}
    try:
        for name, value in values.items():
            if name in _TIMES and value is not None:
                values[name] = text_time(value)
            elif name in _JSON:
                values[name] = _json(value, _JSON[name])
    except (TypeError, ValueError) as error:
        raise exceptions.CatalogCorrupt(
            f'the catalog\'s record of {noun} {values["id"]} cannot be read: {name} is damaged '
            f'({error}); run "backup-framework catalog check"') from error
    return values


def _json(text: str, kind: type) -> Any:
    value = json.loads(text)
    if not isinstance(value, kind):
        raise ValueError(f'not a {kind.__name__}')
    return value
