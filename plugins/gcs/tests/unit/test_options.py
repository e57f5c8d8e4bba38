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
    ({'endpoint': 'storage.googleapis.com'}, 'begins with https://'),
    ({'resumable_chunk_size': UNIT + 1}, 'multiples of 262144'),
    ({'resumable_chunk_size': 0}, 'multiples of 262144'),
])
def test_what_makes_no_sense_is_refused(values, said):
    with pytest.raises(exceptions.ConfigurationError, match=said):
        GCSBackupDriver.make(bucket='shelf', **values)


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
