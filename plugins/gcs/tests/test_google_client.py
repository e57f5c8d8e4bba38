"""Google's own client library reads what the driver writes, and the driver what it writes."""

from __future__ import annotations

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
import pytest

from backup_framework.testing.bench import pattern
from plugins.gcs.tests.conftest import BUCKET, CHUNK
from plugins.gcs.tests.objects import BOX, read, write

each_size = pytest.mark.parametrize('size', [0, 1000, CHUNK, 2 * CHUNK + 5])
each_name = pytest.mark.parametrize('name', ['plain', 'a+b c%2Fd/ö?#'])
SECONDS = 20.0


@pytest.fixture
def driver(fake_gcs, make_driver):
    driver = make_driver(fake_gcs.url)
    driver.put_container(BOX)
    return driver


@pytest.fixture
def bucket(fake_gcs):
    client = storage.Client(project='any', credentials=AnonymousCredentials(),
                            client_options={'api_endpoint': fake_gcs.url})
    yield client.bucket(BUCKET)
    client.close()


@each_size
@each_name
def test_google_s_client_reads_what_was_written(driver, bucket, size, name):
    name, data = f'{name}-{size}', pattern(size)
    write(driver, name, data)
    blob = bucket.get_blob(f'{BOX}/{name}', timeout=SECONDS, retry=None)
    assert blob.size == size
    assert blob.download_as_bytes(checksum='crc32c', timeout=SECONDS, retry=None) == data
    assert blob.name in [each.name for each in bucket.list_blobs(timeout=SECONDS, retry=None)]


@each_size
@each_name
def test_what_google_s_client_wrote_is_read(driver, bucket, size, name):
    name, data = f'theirs-{name}-{size}', pattern(size)
    blob = bucket.blob(f'{BOX}/{name}', chunk_size=CHUNK)
    blob.upload_from_string(data, checksum='crc32c', timeout=SECONDS, retry=None)
    assert read(driver, name) == data
    assert driver.object_size(BOX, name) == size
    assert name in driver.get_container_entries(BOX, 'theirs-')
    driver.delete_objects(BOX, [name, 'missing'])
    assert not blob.exists(timeout=SECONDS, retry=None)
