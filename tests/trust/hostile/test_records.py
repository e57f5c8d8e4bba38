"""Records that somebody made: they bring a backup in, and set nothing that is not theirs."""

from __future__ import annotations

from collections.abc import Iterator
import datetime
import logging
from pathlib import Path
from typing import Any
import uuid

import pytest

from backup_framework import exceptions
from backup_framework.manager import restoring
from tests.functional.command_line import CommandLine
from tests.trust.hostile import mutations
from tests.trust.hostile.names import NAMES
from tests.trust.hostile.shop import SERVICE, Shop, decoded

MARK = 'c0ffee-in-the-record'
OTHER = '1de88bfc-301c-42a0-8d5b-cf6f66808161'
"""An id that no backup and no volume has."""

OF_THE_STORE = ('container', 'service_metadata', 'parent_id', 'size', 'object_count', 'size_bytes',
                'stored_bytes', 'format', 'volume_id', 'id')
"""What the manifest says, whatever the record does."""
OURS: dict[str, Any] = {
    'status': 'available', 'fail_reason': None, 'project_id': None, 'user_id': None, 'host': None,
    'owner': None, 'backend': 'local', 'service': SERVICE, 'warnings': [], 'damage': [],
    'verified_at': None, 'on_save': None, 'parent': None}
"""What no record can set."""
VALUES = [*mutations.HOSTILE[::4], *NAMES[::100], OTHER, 'deleting', 'error', 'local', 'admin',
          1 << 40, 'x' * 255, 'ä' * 255, '2001-02-03T04:05:06Z', MARK]
FIELDS = ('id', 'volume_id', 'parent_id', 'snapshot_id', 'status', 'fail_reason', 'display_name',
          'display_description', 'service', 'container', 'service_metadata', 'host',
          'availability_zone', 'user_id', 'project_id', 'encryption_key_id', 'created_at',
          'updated_at', 'data_timestamp', 'size', 'object_count', 'metadata', 'driver_info',
          'temp_volume_id', 'deleted', 'owner', 'backend', 'on_save', 'parent', 'size_bytes',
          'warnings', 'damage', 'verified_at', 'manifest_digest', '__class__', '__init__')


def exported(cli: CommandLine, volume: Path, *more: object) -> dict[str, Any]:
    """What is in the record of a new backup, which the catalog then forgets."""
    made = cli.create(volume, *more)
    record = cli.json('backup', 'export', made['id'])
    cli.good('backup', 'forget', made['id'])
    return decoded(record)


@pytest.fixture(params=['1.0.0', '2.0.0'])
def shop(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shop]:
    made = Shop(tmp_path, request.param)
    with made.manager:
        yield made


def test_each_field_with_each_value(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """A field that another one of the store contradicts is refused or not looked at."""
    caplog.set_level(logging.INFO)
    right = shop.create()
    fields = shop.fields(right)
    shop.manager.forget(right.id)
    asked = taken = 0
    for field in FIELDS:
        for value in VALUES[::2 if right.format == '1.0.0' else 4]:
            asked += 1
            try:
                found = shop.take(fields | {field: value})
            except exceptions.BackupFrameworkError as error:
                # A name too long for the store is known to the store alone.
                assert isinstance(error, exceptions.InvalidInput) or (
                    field in {'container', 'service_metadata'}
                    and isinstance(error, exceptions.StoreError)), (field, value, error)
                assert len(str(error)) < 2500
                assert not shop.manager.catalog.backups()
                continue
            taken += 1
            kept = shop.manager.catalog.get_backup(found.id)
            assert {name: kept[name] for name in OF_THE_STORE} == {
                name: right[name] for name in OF_THE_STORE}, (field, value)
            assert {name: kept[name] for name in OURS} == OURS, (field, value)
            assert isinstance(kept.created_at, datetime.datetime)
            shop.manager.forget(found.id)
    assert taken > asked // 4 and asked > (400 if right.format == '1.0.0' else 200)
    assert MARK not in caplog.text and MARK not in ''.join(shop.warned)


def test_a_record_of_a_backup_that_is_known(shop: Shop) -> None:
    """Refused, and nothing of what is known changes: Cinder deleted the existing record."""
    backup = shop.create()
    fields = shop.fields(backup)
    before = shop.manager.catalog.get_backup(backup.id)
    for changed in ({}, {'status': 'error'}, {'id': backup.id.upper()}, {'container': 'x/y'},
                    {'display_name': MARK}):
        for how in ({}, {'adopt': True}, {'backend': 'other'}, {'backend': None}):
            with pytest.raises(exceptions.Refused):
                shop.take(fields | changed, **how)
    assert shop.manager.catalog.get_backup(backup.id) == before


def test_a_record_cannot_point_elsewhere(shop: Shop) -> None:
    """Neither to another container, nor to another backup's objects, nor to another backend."""
    first, second = shop.create(), shop.create(container='elsewhere')
    fields, others = shop.fields(first), shop.fields(second)
    shop.manager.forget(first.id)
    for changed in ({'container': others['container']},
                    {'service_metadata': others['service_metadata']},
                    {name: others[name] for name in ('container', 'service_metadata')},
                    {'id': str(uuid.uuid4())}, {'volume_id': OTHER}, {'parent_id': OTHER},
                    {'parent_id': second.id}, {'container': '', 'service_metadata': 'x'}):
        with pytest.raises(exceptions.InvalidInput):
            shop.take(fields | changed)
    with pytest.raises(exceptions.InvalidInput):
        shop.take(fields, backend='other')
    assert [each.id for each in shop.manager.catalog.backups()] == [second.id]
    assert shop.take(fields).id == first.id


def test_a_parent_of_another_volume_or_backend_gives_no_bytes(shop: Shop) -> None:
    """Where a manifest was forged as well: the restore is refused before a byte is read."""
    full = shop.create()
    shop.volume.write_bytes(b'other' * 5000)
    child = shop.create(incremental=True)
    target = shop.volume.with_name('target')
    request = restoring.Request(str(target))
    for changed in ({'volume_id': OTHER}, {'backend': 'other'}):
        known = shop.manager.catalog.get_backup(full.id)
        shop.manager.catalog.update_backup(full.id, **changed)
        if child.needs_parent:
            with pytest.raises(exceptions.InvalidBackup, match='its parent'):
                shop.manager.restore(child.id, request)
            assert not target.exists()
        shop.manager.catalog.update_backup(full.id, **{
            name: known[name] for name in changed})
    shop.manager.restore(child.id, request)
    assert target.read_bytes() == shop.volume.read_bytes()


def test_records_are_not_logged(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Cinder wrote them into its log at INFO."""
    backup = shop.create(name=MARK)
    fields = shop.fields(backup) | {'encryption_key_id': MARK, 'driver_info': {'x': MARK}}
    shop.manager.forget(backup.id)
    caplog.set_level(logging.INFO)
    for spoiled in ({'size': MARK}, {'id': OTHER}, {'driver_info': [MARK]}, {}):
        try:
            shop.take(fields | spoiled)
        except exceptions.InvalidInput as error:
            assert len(str(error)) < 400
    assert MARK not in caplog.text
