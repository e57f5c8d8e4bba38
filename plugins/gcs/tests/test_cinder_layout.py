"""A bucket as Cinder's gcs driver fills it: listed, rebuilt, verified, restored and continued.

The bytes are those that real Cinder wrote (tests/formats/data, case prefix-slash: its posix driver
with the names of its drivers for object stores); what its gcs driver does else is that all objects
of all backups are in one bucket, without anything before their names.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
import re

import pytest

from backup_framework import exceptions, model
from backup_framework.engine.monitor import Operation
from plugins.gcs.tests import misbehaving
from plugins.gcs.tests.conftest import CHUNK
from tests.functional.command_line import CommandLine

WITNESS = Path(__file__).parents[3] / 'tests/formats/data/cinder-29.0.0/prefix-slash'
RECORDS = json.loads((WITNESS / 'records.json').read_text())
EXPECTED = json.loads((WITNESS / 'expected.json').read_text())
CINDERS = 'volumebackups'
BLOCK = RECORDS[0]['options']['backup_sha_block_size_bytes']


@pytest.fixture
def server():
    """Cinder's bucket, with an object in it that is none of a backup's."""
    with misbehaving.server(CINDERS) as running:
        for record in RECORDS:
            box = WITNESS / 'store' / record['container']
            for file in filter(Path.is_file, box.rglob('*')):
                running.storage.put(CINDERS, str(file.relative_to(box)), file.read_bytes())
        running.storage.put(CINDERS, 'somebody/else', b'')
        yield running


@pytest.fixture
def driver(server, make_driver):
    return make_driver(server.url, bucket=CINDERS, layout='bucket', block_size=BLOCK,
                       chunk_size=4 * BLOCK, resumable_chunk_size=CHUNK)


def backups() -> list[model.Backup]:
    """The records as Cinder exports them, each with its parent."""
    made: dict[str, model.Backup] = {}
    for record in RECORDS:
        made[record['id']] = model.Backup(
            id=record['id'], volume_id=record['volume_id'], parent_id=record['parent_id'],
            container=CINDERS, service_metadata=record['service_metadata'], size=record['size'],
            parent=made.get(record['parent_id']))
    return list(made.values())


def restored(driver, backup: model.Backup) -> bytes:
    target = io.BytesIO()
    driver.restore(backup, '', target)
    return target.getvalue()


def test_the_witness_has_cinder_s_names():
    for record in RECORDS:
        assert re.fullmatch(r'volume_[0-9a-f-]{36}/\d{14}/az_nova_backup_' + record['id'],
                            record['service_metadata'])


def test_all_backups_are_found(driver):
    assert sorted(driver.prefixes(CINDERS)) == sorted(
        record['service_metadata'] for record in RECORDS)
    for record in RECORDS:
        header, fields = driver.describe(CINDERS, record['service_metadata'])
        assert (header.backup_id, header.parent_id) == (record['id'], record['parent_id'])
        assert fields['object_count'] == record['object_count']


def test_verified_and_restored_byte_for_byte(driver):
    for backup, expected in zip(backups(), EXPECTED, strict=True):
        assert driver.verify(backup).ok
        assert driver.verify(backup, operation=Operation(quick=True)).ok
        assert hashlib.sha256(restored(driver, backup)).hexdigest() == expected['sha256']


def test_continued_by_an_incremental_with_cinder_s_names(server, driver):
    newest = backups()[-1]
    volume = b'changed' + restored(driver, newest)[7:]
    backup = model.Backup(volume_id=newest.volume_id, parent_id=newest.id, parent=newest,
                          availability_zone='north')
    before = set(server.storage.objects[CINDERS])
    driver.backup(backup, io.BytesIO(volume), operation=Operation(parent_required=True))
    assert backup.container == CINDERS, 'it is not where Cinder would look for it'
    assert restored(driver, backup) == volume and driver.verify(backup).ok
    prefix = rf'volume_{newest.volume_id}/\d{{14}}/az_north_backup_{backup.id}'
    added = set(server.storage.objects[CINDERS]) - before
    assert {re.fullmatch(prefix + r'(-\d{5}|_metadata|_sha256file)', name)[1]
            for name in added} == {'-00001', '_metadata', '_sha256file'}


def test_deleting_one_takes_nothing_else(server, driver):
    *others, newest = backups()
    names = set(server.storage.objects[CINDERS])
    driver.delete(newest)
    assert names - set(server.storage.objects[CINDERS]) == {
        name for name in names if name.startswith(str(newest.service_metadata))}
    for backup, expected in zip(others, EXPECTED):
        assert hashlib.sha256(restored(driver, backup)).hexdigest() == expected['sha256']


def test_other_buckets_are_not_looked_into(driver):
    assert not driver.capabilities().lists_containers
    with pytest.raises(exceptions.NotSupported, match='name the container'):
        driver.list_containers()


def test_rebuilt_by_the_command_line(server, tmp_path):
    cli = CommandLine(tmp_path)
    cli.configure(f'[cinder]\ndriver = gcs\nbucket = {CINDERS}\nlayout = bucket\n'
                  f'endpoint = {server.url}\nanonymous = true\nblock_size = {BLOCK}\n',
                  default='enabled_backends = cinder')
    try:
        cli.good('catalog', 'rebuild', 'cinder', '--container', CINDERS)
        listed = cli.json('backup', 'list')
        assert {each['id'] for each in listed} == {each['id'] for each in EXPECTED}
        for expected in EXPECTED:
            cli.good('backup', 'verify', expected['id'])
        newest = tmp_path / 'newest'
        cli.good('backup', 'restore', EXPECTED[-1]['id'], newest)
        assert hashlib.sha256(newest.read_bytes()).hexdigest() == EXPECTED[-1]['sha256']
    finally:
        cli.end()
