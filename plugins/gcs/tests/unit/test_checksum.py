"""CRC32C over any buffer, spelled as the service does."""

from backup_framework_gcs import checksum
import pytest


def test_the_value_that_everybody_has():
    assert checksum.extend(0, b'123456789') == 0xE3069283
    assert checksum.spelled(0xE3069283) == '4waSgw=='
    assert checksum.spelled(0) == 'AAAAAA=='


@pytest.mark.parametrize('kind', [bytes, bytearray, memoryview])
def test_pieces_of_any_kind_give_the_same(kind):
    data = bytes(range(256)) * 3000
    half = checksum.extend(0, kind(data[:300_000]))
    assert checksum.extend(half, kind(data[300_000:])) == checksum.extend(0, data)


def test_it_is_compiled():
    assert checksum.FAST
