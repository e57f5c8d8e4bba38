"""Cinder's record of a backup for export: {backup_service, backup_url}, the latter base64 JSON.

Source: `cinder.objects.Backup.encode_record` and `decode_record`. What comes in is untrusted: only
known fields are taken, each checked.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
import datetime
import json
from typing import Any
import uuid

from backup_framework import exceptions, model, store
from backup_framework.formats import document

LONGEST_RECORD = 1 << 20
_LONGEST_TEXT = 255

_IDS = ('volume_id', 'parent_id', 'snapshot_id')
_TEXTS = ('status', 'fail_reason', 'display_name',
          'display_description', 'service', 'container', 'service_metadata', 'host',
          'availability_zone', 'user_id', 'project_id', 'encryption_key_id')
_TIMES = ('created_at', 'updated_at', 'data_timestamp')
_ONLY_CINDERS = ('temp_volume_id', 'temp_snapshot_id', 'restore_volume_id', 'deleted_at')


def encode(backup: model.Backup, service: str, driver_info: Mapping[str, Any],
           dependents: int = 0) -> dict[str, str]:
    """The record of a backup as Cinder imports it.

    :param service: the class path of the driver, as Cinder knows it.
    :param driver_info: what the driver's `export_record` gave.
    """
    fields: dict[str, Any] = {'driver_info': dict(driver_info)}
    fields |= {name: getattr(backup, name) for name in (*_IDS, *_TEXTS)}
    fields |= {name: _iso(getattr(backup, name)) for name in _TIMES}
    fields |= dict.fromkeys(_ONLY_CINDERS)
    fields |= {'id': backup.id, 'size': backup.size, 'object_count': backup.object_count,
               'metadata': backup.metadata, 'num_dependent_backups': dependents,
               'deleted': False, 'service': service}
    text = json.dumps(fields, sort_keys=True).encode()
    return {'backup_service': service, 'backup_url': base64.b64encode(text).decode('ascii')}


def decode(record: object) -> tuple[str, model.Backup, dict[str, Any]]:
    """Class path of the driver, the backup that the record tells of, and its driver_info.

    :raises InvalidInput: it is no such record, or one that no Cinder wrote.
    """
    if not isinstance(record, Mapping):
        raise exceptions.InvalidInput('a record is a JSON object with backup_service, backup_url')
    inner = record.get('backup-record')
    members = inner if isinstance(inner, Mapping) else record
    service, url = members.get('backup_service'), members.get('backup_url')
    if not isinstance(service, str) or not service or not isinstance(url, str):
        raise exceptions.InvalidInput('the record lacks backup_service or backup_url')
    fields = _fields(url)
    try:
        return service, _backup(fields), _driver_info(fields)
    except (ValueError, TypeError, exceptions.InvalidName) as error:
        raise exceptions.InvalidInput(f'the record cannot be imported: {error}') from None


def _fields(url: str) -> dict[str, Any]:
    if len(url) > LONGEST_RECORD:
        raise exceptions.InvalidInput('the backup_url of the record is too long')
    try:
        fields = document.loads(base64.b64decode(url, validate=True).decode())
    except (ValueError, binascii.Error, RecursionError):
        raise exceptions.InvalidInput('the backup_url of the record is not base64 of JSON'
                                      ) from None
    if not isinstance(fields, dict):
        raise exceptions.InvalidInput('the backup_url of the record is not a JSON object')
    return fields


def _driver_info(fields: dict[str, Any]) -> dict[str, Any]:
    info = fields.get('driver_info') or {}
    if not isinstance(info, dict):
        raise ValueError('its driver_info is not an object')
    return info


def _backup(fields: dict[str, Any]) -> model.Backup:
    backup = model.Backup(id=_uuid(fields, 'id'), volume_id=_uuid(fields, 'volume_id'))
    for name in _TEXTS:
        setattr(backup, name, _text(fields, name, 1024 if name == 'service_metadata' else
                                    _LONGEST_TEXT))
    backup.parent_id = _uuid(fields, 'parent_id') if fields.get('parent_id') else None
    backup.snapshot_id = _uuid(fields, 'snapshot_id') if fields.get('snapshot_id') else None
    for name in _TIMES:
        setattr(backup, name, _time(fields, name))
    backup.size = _number(fields, 'size')
    backup.object_count = _number(fields, 'object_count')
    backup.metadata = _pairs(fields.get('metadata') or {})
    store.check_name(backup.container)
    store.check_name(backup.service_metadata)
    return backup


def is_uuid(value: object) -> bool:
    """Whether it is spelled as ids are: one must not be the beginning of another."""
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False


def _uuid(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not is_uuid(value):
        raise ValueError(f'its {name} is not a UUID: {value!r:.60}')
    return value.lower()


def _text(fields: dict[str, Any], name: str, longest: int) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > longest or '\0' in value:
        raise ValueError(f'its {name} is not text of at most {longest} characters')
    return value


def _number(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name) or 0
    if type(value) is not int or not 0 <= value <= 1 << 40:
        raise ValueError(f'its {name} is impossible: {value!r:.60}')
    return value


def _pairs(value: object) -> dict[str, str]:
    texts = [*value.keys(), *value.values()] if isinstance(value, dict) else [None]
    if not isinstance(value, dict) or not all(
            isinstance(text, str) and len(text) <= _LONGEST_TEXT for text in texts):
        raise ValueError('its metadata are not pairs of short texts')
    return value


def _time(fields: dict[str, Any], name: str) -> datetime.datetime | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f'its {name} is not a time')
    try:
        time = datetime.datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f'its {name} is not a time: {value[:40]!r}') from None
    time = time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
    try:
        return time.astimezone(datetime.UTC)
    except OverflowError:
        raise ValueError(f'its {name} is outside of the calendar') from None


def _iso(time: datetime.datetime | None) -> str | None:
    """As Cinder writes it: UTC, to the second, with a Z."""
    if time is None:
        return None
    return time.astimezone(datetime.UTC).strftime('%Y-%m-%dT%H:%M:%SZ')
