"""A backend's settings: types, defaults behind them, secrets."""

import pytest

from backup_framework import conf
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.exceptions import BackendNotFound, ConfigurationError
from backup_framework.model import Option, OptionType

MIB = 1 << 20


def section(text, more=''):
    return f'[DEFAULT]\nenabled_backends = a\n{more}\n[a]\ndriver = x\n{text}\n'


def test_the_backend_local_needs_no_section(loaded, path_driver):
    configuration = loaded('')
    settings = configuration.settings('local', path_driver)
    assert settings.path == f'{configuration.state_path}/backups'
    assert settings.workers == 4
    assert settings.file_mode == 0o600


def test_values_arrive_ready(loaded, path_driver):
    settings = loaded(section(
        'path = ~/x\nfile_mode = 0640\nchunk_size = 64M\nblock_size = 64KiB\nincremental = on\n'
        'workers = 0\nretry_deadline = 1.5\nnames = a, b\ncompression = none')).settings(
            'a', path_driver)
    assert settings.path.startswith('/') and settings.path.endswith('/x')
    assert settings.file_mode == 0o640
    assert settings.chunk_size == 64 * MIB
    assert settings.block_size == 65536
    assert settings.incremental is True
    assert settings.workers == 0
    assert settings.retry_deadline == 1.5
    assert settings.names == ['a', 'b']


@pytest.mark.parametrize('text, words', [
    ('chunk_size = 64MB', r'chunk_size must be a size whose unit is.*not .64MB'),
    ('chunk_size = 1K', 'chunk_size must be a size from 4KiB to 2GiB'),
    ('workers = many', 'workers must be an integer from 0 to 256, not .many'),
    ('workers = 257', 'workers must be an integer from 0 to 256'),
    ('incremental = perhaps', 'incremental must be yes or no'),
    ('compression = zip', 'compression must be one of none, zlib, bz2, zstd, not .zip'),
    ('file_mode = rw', 'file_mode must be an octal mode'),
    ('path = $nothing/x', 'path refers to itself or to an option that does not'),
    ('path = $path/x', 'path refers to itself or'),
    ('chunk_sise = 64MiB', 'no such option; did you mean chunk_size'),
    ('Path = /x', 'no such option; did you mean path'),
    ('chunk_size = 100000', 'must be a multiple of block_size'),
    ('chunk_size = 32KiB', 'must be a multiple of block_size'),
    ('chunk_size = 1MiB\nblock_size = 96KiB', 'must be a multiple of block_size'),
    ('block_size = 1000', 'block_size must be a multiple of 512'),
])
def test_what_cannot_be(loaded, path_driver, text, words):
    if not text.lower().startswith('path'):
        text += '\npath = /x'
    configuration = loaded(section(text))
    with pytest.raises(ConfigurationError, match=words) as caught:
        configuration.settings('a', path_driver)
    assert '[a] ' in str(caught.value)


def test_a_message_names_the_file(loaded, path_driver, tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        loaded(section('path = /x\nworkers = many')).settings('a', path_driver)
    assert str(caught.value).startswith(f'{tmp_path}/test.conf: [a] workers ')


def test_what_is_required(loaded, secret_driver):
    with pytest.raises(ConfigurationError, match='lacks host and password, which its driver req'):
        loaded(section('')).settings('a', secret_driver)


def test_a_backend_that_is_not_enabled(loaded, path_driver):
    with pytest.raises(BackendNotFound):
        loaded(section('path = /x')).settings('b', path_driver)


# [backend_defaults]

def test_defaults_stand_behind_a_section(loaded, path_driver):
    more = '[backend_defaults]\nworkers = 2\nchunk_size = 8MiB\nfile_mode = 0660\n'
    settings = loaded(section('path = /x\nworkers = 3', more)).settings('a', path_driver)
    assert (settings.workers, settings.chunk_size, settings.file_mode) == (3, 8 * MIB, 0o660)


def test_a_default_applies_where_the_driver_has_the_option(loaded, path_driver, secret_driver):
    configuration = loaded(
        '[DEFAULT]\nenabled_backends = a, b\n[a]\ndriver = x\npath = /x\n[b]\ndriver = y\n'
        'host = h\npassword = long enough\n[backend_defaults]\nport = 2222\n')
    assert 'port' not in list(configuration.settings('a', path_driver))
    assert configuration.settings('b', secret_driver).port == 2222


def test_a_default_that_no_driver_has(loaded, path_driver, secret_driver):
    configuration = loaded(
        '[DEFAULT]\nenabled_backends = a, b\n[a]\ndriver = x\npath = /x\n[b]\ndriver = y\n'
        'host = h\npassword = long enough\n[backend_defaults]\nprot = 2222\n')
    configuration.settings('a', path_driver)
    with pytest.raises(ConfigurationError, match='no enabled backend has.*did you mean port'):
        configuration.settings('b', secret_driver)


def test_a_wrong_default_is_named_where_it_stands(loaded, path_driver):
    with pytest.raises(ConfigurationError, match=r'\[backend_defaults\] workers must be'):
        loaded(section('path = /x', '[backend_defaults]\nworkers = x')).settings('a', path_driver)


def test_a_default_may_refer_to_options(loaded, path_driver):
    configuration = loaded(section('', '[backend_defaults]\npath = $state_path/all'))
    assert configuration.settings('a', path_driver).path == f'{configuration.state_path}/all'


# Secrets

def secret_file(tmp_path, text, mode=0o600):
    file = tmp_path / 'secret'
    file.write_bytes(text.encode())
    file.chmod(mode)
    return file


def test_a_secret_from_a_file(loaded, secret_driver, tmp_path):
    file = secret_file(tmp_path, 'pa$word with blanks \n')
    configuration = loaded(section(f'host = h\npassword_file = {file}'))
    settings = configuration.settings('a', secret_driver)
    assert settings.password == 'pa$word with blanks '
    assert 'password_file' not in list(settings)
    assert conf.mask('x pa$word with blanks y') == 'x ***y'
    assert configuration.warnings == []


def test_a_secret_that_everybody_reads_is_warned_of(loaded, secret_driver, tmp_path):
    file = secret_file(tmp_path, 'something', 0o644)
    configuration = loaded(section(f'host = h\npassword_file = {file}'))
    configuration.settings('a', secret_driver)
    assert 'can be read by every user' in configuration.warnings[0]


@pytest.mark.parametrize('text, words', [
    (None, 'cannot read .*No such file'), ('', 'is empty'), ('\n', 'is empty'),
    ('x' * 70000, 'longer than 64 KiB')])
def test_files_that_hold_no_secret(loaded, secret_driver, tmp_path, text, words):
    file = tmp_path / 'secret' if text is None else secret_file(tmp_path, text)
    with pytest.raises(ConfigurationError, match=words):
        loaded(section(f'host = h\npassword_file = {file}')).settings('a', secret_driver)


def test_option_and_file_at_once(loaded, secret_driver, tmp_path):
    file = secret_file(tmp_path, 'fromfile')
    with pytest.raises(ConfigurationError, match='password and password_file are both given'):
        loaded(section(f'host = h\npassword = x1y2z3\npassword_file = {file}')).settings(
            'a', secret_driver)


def test_the_section_wins_over_a_default_file(loaded, secret_driver, tmp_path):
    more = f'[backend_defaults]\npassword_file = {secret_file(tmp_path, "fromfile")}\n'
    settings = loaded(section('host = h\npassword = inline', more)).settings('a', secret_driver)
    assert settings.password == 'inline'
    settings = loaded(section('host = h', more)).settings('a', secret_driver)
    assert settings.password == 'fromfile'


def test_a_file_in_the_section_wins_over_a_default(loaded, secret_driver, tmp_path):
    file = secret_file(tmp_path, 'fromfile')
    settings = loaded(section(f'host = h\npassword_file = {file}',
                              '[backend_defaults]\npassword = inline\n')).settings(
                                  'a', secret_driver)
    assert settings.password == 'fromfile'


@pytest.mark.parametrize('more, text', [
    ('', 'password = hunt$host'), ('[backend_defaults]\npassword = hunt${host}', ''),
    ('', 'password = hunt$nothing')])
def test_a_dollar_in_a_secret_is_not_a_reference(loaded, secret_driver, more, text):
    with pytest.raises(ConfigurationError, match=r'written \$\$ here; password_file') as caught:
        loaded(section(f'host = h\n{text}', more)).settings('a', secret_driver)
    assert 'hunt' not in str(caught.value)


def test_a_doubled_dollar(loaded, secret_driver):
    settings = loaded(section('host = h\npassword = hunt$$host')).settings('a', secret_driver)
    assert settings.password == 'hunt$host'


class PinDriver(ChunkedBackupDriver):
    OPTIONS = (Option('pin', OptionType.INTEGER, secret=True, help='A secret number.'),)


@pytest.mark.parametrize('more, text', [
    ('', 'pin = hunter2'), ('[backend_defaults]\npin = hunter2', '')])
def test_a_wrong_secret_is_not_shown(loaded, more, text):
    with pytest.raises(ConfigurationError, match='pin is not valid') as caught:
        loaded(section(text, more)).settings('a', PinDriver)
    shown = f'{caught.value} {caught.value.__cause__}'
    assert 'hunter2' not in shown


def test_settings_are_made_once(loaded, path_driver):
    configuration = loaded(section('path = /x'))
    first = configuration.settings('a', path_driver)
    assert configuration.settings('a', path_driver) is first
