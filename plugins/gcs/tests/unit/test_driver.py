"""What the driver is without a server: capabilities, names, remarks, credentials."""

import re
import subprocess
import sys

from backup_framework_gcs import checksum, sample
from backup_framework_gcs.driver import GCSBackupDriver
import pytest

from backup_framework import exceptions, model

BACKUP = model.Backup(id='b1', volume_id='v1')


def test_the_module_needs_no_sdk():
    """Commands load the drivers of all backends."""
    seen = subprocess.run([sys.executable, '-c', """
import sys
from backup_framework_gcs.driver import GCSBackupDriver
GCSBackupDriver.make(bucket='shelf').capabilities()
print(sorted({'google.auth', 'requests', 'urllib3', 'google_crc32c'} & set(sys.modules)))
"""], capture_output=True, text=True, check=True, timeout=60)
    assert seen.stdout.strip() == '[]'


def test_capabilities_follow_the_options():
    able = GCSBackupDriver.make(
        bucket='shelf', prefix='some', connections=3, resumable_chunk_size=1 << 20).capabilities()
    assert (able.connections, able.writer_buffer, able.longest_name) == (3, 1 << 20, 1019)
    assert able.lists_containers
    assert not GCSBackupDriver.make(bucket='shelf', layout='bucket').capabilities().lists_containers


def test_containers_that_are_buckets_cannot_be_listed():
    with pytest.raises(exceptions.NotSupported, match='layout = bucket'):
        GCSBackupDriver.make(bucket='shelf', layout='bucket').list_containers()


def test_names_of_cinders_layout():
    driver = GCSBackupDriver.make(bucket='shelf', layout='bucket')
    assert driver.update_container_name(BACKUP, None) == 'shelf'
    assert driver.update_container_name(BACKUP, 'box') is None
    assert re.fullmatch(r'volume_v1/\d{14}/az_nova_backup_b1', driver.object_prefix(BACKUP))


def test_names_of_our_layout():
    driver = GCSBackupDriver.make(bucket='shelf')
    assert driver.update_container_name(BACKUP, None) is None
    assert re.fullmatch(r'volume_v1_\d{14}_backup_b1', driver.object_prefix(BACKUP))


@pytest.fixture
def no_emulator(monkeypatch):
    monkeypatch.delenv('STORAGE_EMULATOR_HOST', raising=False)


@pytest.mark.parametrize('values, said', [
    ({}, []),
    ({'anonymous': True}, ['no credentials']),
    ({'endpoint': 'http://gcs.example.org'}, ['gcs.example.org is spoken to without TLS']),
    ({'endpoint': 'http://127.0.0.1:4443'}, []),
    ({'endpoint': 'https://gcs.example.org'}, []),
])
def test_remarks(no_emulator, values, said):
    remarks = list(GCSBackupDriver.make(bucket='shelf', **values).remarks())
    assert len(remarks) == len(said)
    assert all(part in remark for part, remark in zip(said, remarks))


def test_remark_on_a_slow_checksum(no_emulator, monkeypatch):
    monkeypatch.setattr(checksum, 'FAST', False)
    (remark,) = GCSBackupDriver.make(bucket='shelf').remarks()
    assert 'compiled part' in remark


def test_remark_on_an_emulator(monkeypatch):
    monkeypatch.setenv('STORAGE_EMULATOR_HOST', 'http://gcs.example.org:1')
    remarks = list(GCSBackupDriver.make(bucket='shelf').remarks())
    assert ['STORAGE_EMULATOR_HOST' in remark for remark in remarks] == [True, False]
    assert not list(GCSBackupDriver.make(
        bucket='shelf', endpoint='https://gcs.example.org').remarks())


@pytest.mark.parametrize('text', [
    '', 'no json', '[]', '{"type": "service_account"}', '{"type": "else"}',
    '{"type": "service_account", "client_email": "a@b", "token_uri": "x", '
    '"private_key": "-----BEGIN PRIVATE KEY-----\\nc2VjcmV0\\n-----END PRIVATE KEY-----"}'])
def test_credentials_that_cannot_be_used(tmp_path, text):
    file = tmp_path / 'key.json'
    file.write_text(text)
    driver = GCSBackupDriver.make(bucket='shelf', credentials_file=str(file))
    with pytest.raises(exceptions.PermissionDenied, match='credentials') as raised:
        driver.check_for_setup_error()
    assert 'c2VjcmV0' not in str(raised.value)


def test_credentials_that_are_missing(tmp_path):
    driver = GCSBackupDriver.make(bucket='shelf', credentials_file=str(tmp_path / 'key.json'))
    with pytest.raises(exceptions.PermissionDenied, match='No such file'):
        driver.object_size('box', 'name')


def test_nothing_is_listening():
    driver = GCSBackupDriver.make(bucket='shelf', anonymous=True, endpoint='http://127.0.0.1:9')
    with pytest.raises(exceptions.StoreUnavailable, match='refused'):
        driver.object_size('box', 'name')
    driver.close()
    driver.close()


def test_the_section_of_the_sample():
    ((group, made),) = sample.list_opts()
    assert str(group.name) == 'gcs'
    assert {'driver', 'bucket', 'layout'} <= {option.name for option in made}
