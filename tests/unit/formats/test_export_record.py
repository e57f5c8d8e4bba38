"""Export records: Cinder's shape both ways, and what hostile ones come to."""

from __future__ import annotations

import base64
import datetime
import json
from typing import Any
import uuid

import pytest

from backup_framework import exceptions, model
from backup_framework.formats import export_record

SERVICE = 'cinder.backup.drivers.posix.PosixBackupDriver'


def fields(**changed: Any) -> dict[str, Any]:
    return {'driver_info': {}, 'id': str(uuid.uuid4()), 'volume_id': str(uuid.uuid4()),
            'container': 'ab/cd/x', 'service_metadata': 'prefix', 'size': 1, 'object_count': 2,
            'created_at': '2026-01-02T03:04:05Z'} | changed


def record(document: object) -> dict[str, str]:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return {'backup_service': SERVICE, 'backup_url': base64.b64encode(text).decode()}


def test_round_trip() -> None:
    backup = model.Backup(
        volume_id=str(uuid.uuid4()), parent_id=str(uuid.uuid4()), container='a/b',
        service_metadata='prefix', display_name='näme', size=3, object_count=4,
        metadata={'k': 'v'}, created_at=datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))
    service, read, info = export_record.decode(export_record.encode(backup, SERVICE, {'x': 1}))
    assert (service, info) == (SERVICE, {'x': 1})
    for name in ('id', 'volume_id', 'parent_id', 'container', 'service_metadata', 'display_name',
                 'size', 'object_count', 'metadata', 'created_at'):
        assert read[name] == backup[name], name


@pytest.mark.parametrize('given', [
    None, 5, [], 'text', {}, {'backup_service': SERVICE}, {'backup_url': 'e30='},
    {'backup_service': '', 'backup_url': 'e30='}, {'backup_service': SERVICE, 'backup_url': 5},
    {'backup_service': SERVICE, 'backup_url': 'not base64!'},
    {'backup_service': SERVICE, 'backup_url': 'ö'}, {'backup_service': SERVICE, 'backup_url': ''},
    {'backup_service': SERVICE, 'backup_url': 'A' * (2 << 20)},
    {'backup-record': None}, record(b'not json'), record(b'\xff'), record([]), record(None),
    record(b'[' * 200_000), record(b'{"size": ' + b'7' * 10_000 + b'}'), record({})], ids=range(21))
def test_what_is_no_record(given: object) -> None:
    with pytest.raises(exceptions.InvalidInput) as caught:
        export_record.decode(given)
    assert len(str(caught.value)) < 300 and str(caught.value).isprintable()


@pytest.mark.parametrize('changed', [
    {'id': '../../etc'}, {'id': None}, {'id': 5}, {'volume_id': 'x'}, {'parent_id': 'x'},
    {'container': '../x'}, {'container': '/etc'}, {'container': None}, {'container': 'a\0'},
    {'container': 'x' * 300}, {'service_metadata': ''}, {'service_metadata': '../x'},
    {'service_metadata': None}, {'service_metadata': 'x' * 1100}, {'size': -1}, {'size': '1'},
    {'size': 1.5}, {'size': 1 << 60}, {'size': True}, {'object_count': [1]}, {'metadata': [1]},
    {'metadata': {'k': 5}}, {'metadata': {'k': 'x' * 300}}, {'created_at': 'yesterday'},
    {'created_at': 5}, {'created_at': '0001-01-01T00:00:00+23:59'},
    {'updated_at': '9999-12-31T23:59:59-23:59'}, {'display_name': 5},
    {'display_name': '\ud800'}, {'metadata': {'\ud800': 'v'}}, {'driver_info': [1]},
    {'display_name': 'x' * 256}, {'snapshot_id': '../x'}], ids=lambda value: ascii(value)[:40])
def test_hostile_fields(changed: dict[str, Any]) -> None:
    with pytest.raises(exceptions.InvalidInput) as caught:
        export_record.decode(record(fields(**changed)))
    assert len(str(caught.value)) < 400 and str(caught.value).isprintable()


def test_unknown_fields_are_dropped() -> None:
    _, backup, _ = export_record.decode(record(fields(on_save='x', owner='y', backend='z')))
    assert backup.on_save is None and backup.owner is None and backup.backend is None
