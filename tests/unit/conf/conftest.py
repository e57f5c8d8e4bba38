"""Files to load, and drivers that do nothing."""

import pytest

from backup_framework import conf
from backup_framework.conf import files
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.model import Option, OptionType


class PathDriver(ChunkedBackupDriver):
    OPTIONS = (
        Option('path', OptionType.PATH, required=True, help='Where.'),
        Option('file_mode', OptionType.MODE, 0o600, help='Permissions.'),
        Option('names', OptionType.LIST, (), help='Several.'),
    )


class SecretDriver(ChunkedBackupDriver):
    OPTIONS = (
        Option('host', required=True, help='Where.'),
        Option('password', secret=True, required=True, help='What nobody knows.'),
        Option('port', OptionType.INTEGER, 22, minimum=1, maximum=65535, help='Which.'),
    )


@pytest.fixture(autouse=True)
def no_files_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setattr(files, 'MAIN_FILE', str(tmp_path / 'etc' / 'backup_framework.conf'))
    monkeypatch.setattr(files, 'MAIN_DIRECTORY', str(tmp_path / 'etc' / 'conf.d'))
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'xdg'))


@pytest.fixture
def loaded(tmp_path):
    """Loads the text of a file; the state is below tmp_path unless the test says otherwise."""
    def load(text, state_path=str(tmp_path / 'state'), name='test.conf'):
        file = tmp_path / name
        file.write_text(text)
        return conf.load([str(file)], state_path=state_path)
    return load


@pytest.fixture
def path_driver():
    return PathDriver


@pytest.fixture
def secret_driver():
    return SecretDriver
