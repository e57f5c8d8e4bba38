"""Values of options that make no sense are refused before anything is connected."""

from backup_framework_gcs.driver import GCSBackupDriver
from backup_framework_gcs.options import CHUNK, UNIT
import pytest

from backup_framework import exceptions


@pytest.mark.parametrize('values, said', [
    ({'layout': 'other'}, 'layout cannot be other'),
    ({'layout': 'bucket', 'prefix': 'x'}, 'prefix has no meaning'),
    ({'prefix': 'a//b'}, "prefix cannot be 'a//b'"),
    ({'prefix': '/'}, "prefix cannot be '/'"),
    ({'prefix': '../x'}, 'prefix cannot be'),
    ({'anonymous': True, 'credentials_file': 'key.json'}, 'contradict'),
    ({'prefix': 'a\nb'}, 'control character'),
    ({'bucket': ''}, "bucket cannot be ''"),
    ({'bucket': 'gs://shelf'}, 'without gs://'),
    ({'bucket': 'shelf/inner'}, 'bucket cannot be'),
    ({'bucket': '..'}, 'bucket cannot be'),
    ({'endpoint': 'storage.googleapis.com'}, 'begins with https://'),
    ({'endpoint': 'ftp://host'}, 'begins with https://'),
    ({'endpoint': 'https://'}, 'begins with https://'),
    ({'endpoint': 'http://[::1'}, 'endpoint is no address'),
    ({'endpoint': 'http://host:99999'}, 'endpoint is no address'),
    ({'endpoint': 'http://host:port'}, 'endpoint is no address'),
    ({'endpoint': 'http://host?query'}, 'question mark'),
    ({'endpoint': 'http://host#part'}, 'question mark'),
    ({'endpoint': 'http://ho st'}, 'blank'),
    ({'resumable_chunk_size': UNIT + 1}, 'multiples of 262144'),
    ({'resumable_chunk_size': 0}, 'multiples of 262144'),
])
def test_what_makes_no_sense_is_refused(values, said):
    with pytest.raises(exceptions.ConfigurationError, match=said):
        GCSBackupDriver.make(**{'bucket': 'shelf'} | values)


def test_a_password_in_the_endpoint_is_refused_and_not_told():
    with pytest.raises(exceptions.ConfigurationError, match='has a user in it') as caught:
        GCSBackupDriver.make(bucket='shelf', endpoint='https://me:the-secret@host')
    assert 'the-secret' not in str(caught.value)


@pytest.mark.parametrize('endpoint', [
    'https://host', 'HTTP://host', 'http://[::1]:80/', 'http://127.0.0.1:4443/a/path'])
def test_endpoints(endpoint):
    GCSBackupDriver.make(bucket='shelf', endpoint=endpoint).close()


def test_a_bucket_is_needed():
    with pytest.raises(ValueError, match='missing option: bucket'):
        GCSBackupDriver.make()


def test_the_largest_usual_object_goes_in_one_request():
    """A chunk of 32 MiB that does not compress, and what the codec puts around it."""
    assert CHUNK % UNIT == 0
    assert CHUNK >= (32 << 20) + (64 << 10)


def test_the_default_chunk_leaves_a_chunk_in_the_default_memory():
    settings = GCSBackupDriver.make_settings(bucket='shelf')
    held = min(settings.resumable_chunk_size, 32 << 20)
    assert 2 * (32 << 20) + held <= settings.memory
