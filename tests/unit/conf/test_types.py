"""Sizes, modes, numbers and paths, as people write them."""

from hypothesis import given, strategies
import pytest

from backup_framework.conf import types

MIB = 1 << 20


@pytest.mark.parametrize('text, size', [
    ('64MiB', 64 * MIB), ('64M', 64 * MIB), ('64 MiB', 64 * MIB), ('64mib', 64 * MIB),
    ('65536', 65536), ('4K', 4096), ('2G', 2 << 30), ('1TiB', 1 << 40), ('0', 0)])
def test_sizes(text, size):
    assert types.parse_size(text) == size


@pytest.mark.parametrize('text', [
    '', 'MiB', '-1', '1.5GiB', '64MB', '64 kb', '64Mi', '64MiBs', '1e6', '٣', '9' * 5000,
    '64M 1'])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match='a size'):
        types.parse_size(text)


def test_decimal_units_are_refused_with_the_reason():
    with pytest.raises(ValueError, match='KB, MB and GB mean different things'):
        types.parse_size('64MB')


@given(strategies.integers(0, 1 << 50))
def test_a_shown_size_reads_back(size):
    assert types.parse_size(types.format_size(size)) == size


@given(strategies.text(max_size=30))
def test_any_text_is_a_size_or_a_value_error(text):
    try:
        assert types.parse_size(text) >= 0
    except ValueError:
        pass


@pytest.mark.parametrize('text, seconds', [
    ('90s', 90), ('90m', 5400), ('12H', 43200), ('30d', 2592000), ('8 w', 4838400),
    (' 1y ', 31536000), ('0d', 0)])
def test_lengths_of_time(text, seconds):
    assert types.parse_duration(text).total_seconds() == seconds
    assert types.Duration()(text) == types.parse_duration(text)


@pytest.mark.parametrize('text', ['', 'd', '30', '-1d', '1.5d', '30 days', '٣d', '999999999y',
                                  '9' * 5000 + 'd', '1d 2h'])
def test_what_is_no_length_of_time(text):
    with pytest.raises(ValueError, match='a time like 12h, 30d'):
        types.parse_duration(text)


@pytest.mark.parametrize('text, mode', [('0660', 0o660), ('640', 0o640), ('0o600', 0o600),
                                        ('2770', 0o2770)])
def test_modes(text, mode):
    assert types.Mode()(text) == mode


@pytest.mark.parametrize('text', ['', '6', '888', 'rw-', '-640', '77777', '0x1ff'])
def test_what_is_no_mode(text):
    with pytest.raises(ValueError, match='octal'):
        types.Mode()(text)


def test_bounds_are_named_in_the_units_of_people():
    with pytest.raises(ValueError, match='a size from 512 to 16MiB'):
        types.Size(512, 16 * MIB)('17MiB')
    with pytest.raises(ValueError, match='an integer from 0 to 256'):
        types.Number(True, 0, 256)('257')
    with pytest.raises(ValueError, match='a number of at least 1'):
        types.Number(False, 1)('nan')


def test_home_is_found(monkeypatch):
    monkeypatch.setenv('HOME', '/home/somebody')
    assert types.Path()('~/x') == '/home/somebody/x'


def test_equal_types_are_equal_so_that_options_register_twice():
    assert types.Size(1, 2) == types.Size(1, 2)
    assert types.Size(1, 2) != types.Size(1, 3)
    assert types.Mode() != types.Path()
