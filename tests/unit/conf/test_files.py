"""Which files are read, and what happens to those that cannot be."""

import os
import subprocess
import sys

import pytest

from backup_framework import conf
from backup_framework.conf import files
from backup_framework.exceptions import ConfigurationError


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w') as stream:
        stream.write(text)
    return str(path)


def test_no_file_at_all():
    configuration = conf.load()
    assert configuration.files == []
    assert configuration.enabled_backends == ['local']
    assert configuration.default_backend == 'local'
    assert configuration.backend('local').driver == 'local'
    assert configuration.warnings == []


def test_default_file_and_directory_in_order():
    main = write(files.MAIN_FILE, '[DEFAULT]\nenabled_backends = a\n[a]\ndriver = x\n')
    second = write(f'{files.MAIN_DIRECTORY}/20-b.conf', '[DEFAULT]\nenabled_backends = a, b\n')
    first = write(f'{files.MAIN_DIRECTORY}/10-b.conf', '[b]\ndriver = y\n')
    write(f'{files.MAIN_DIRECTORY}/.hidden.conf', 'nonsense')
    write(f'{files.MAIN_DIRECTORY}/old.conf~', 'nonsense')
    configuration = conf.load()
    assert configuration.files == [main, first, second]
    assert configuration.enabled_backends == ['a', 'b']


def test_a_named_file_is_read_instead(tmp_path):
    write(files.MAIN_FILE, '[DEFAULT]\nenabled_backends = a\n[a]\ndriver = x\n')
    mine = write(tmp_path / 'mine.conf', '[DEFAULT]\n')
    assert conf.load([mine]).files == [mine]


def test_a_named_directory(tmp_path):
    mine = write(tmp_path / 'd' / 'x.conf', '[DEFAULT]\ndebug = yes\n')
    configuration = conf.load(config_dirs=[str(tmp_path / 'd')])
    assert configuration.files == [mine]
    assert configuration.debug is True


@pytest.mark.parametrize('arguments', [
    {'config_files': ['/nowhere/x.conf']}, {'config_dirs': ['/nowhere/d']},
    {'config_files': ['/']}])
def test_what_was_named_must_be_readable(arguments):
    with pytest.raises(ConfigurationError, match='cannot read the configuration /'):
        conf.load(**arguments)


@pytest.mark.parametrize('text, line, words', [
    ('[DEFAULT]\nhunter2 is my password\n', 2, "no ':' or '='"),
    ('x = hunter2\n', 1, 'section must be started'),
    ('[DEFAULT\n', 1, 'invalid section'),
    ('[DEFAULT]\n\n= hunter2\n', 3, 'key cannot be empty'),
    ('[DEFAULT]\n  hunter2\n', 2, 'unexpected continuation')])
def test_parse_errors_name_file_and_line_and_no_text(tmp_path, text, line, words):
    file = write(tmp_path / 'bad.conf', text)
    with pytest.raises(ConfigurationError) as caught:
        conf.load([file])
    assert f'{file}, line {line}: ' in str(caught.value)
    assert words in str(caught.value)
    assert 'hunter2' not in str(caught.value)


def test_what_is_no_text(tmp_path):
    (tmp_path / 'bad.conf').write_bytes(b'[DEFAULT]\nx = \xff\xfe\n')
    with pytest.raises(ConfigurationError, match='bad.conf is not a text in UTF-8'):
        conf.load([str(tmp_path / 'bad.conf')])


CHILD = """
import os, sys
from backup_framework import conf
from backup_framework.conf import files
from backup_framework.exceptions import ConfigurationError
files.MAIN_FILE = sys.argv[1]
files.MAIN_DIRECTORY = sys.argv[2]
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    conf.load()
except ConfigurationError as error:
    print(error)
"""


@pytest.mark.parametrize('closed', ['file', 'directory', 'conf.d'])
def test_a_file_that_may_not_be_read_is_not_taken_for_none(tmp_path, closed):
    """Defaults in place of root's own configuration would back up to another place."""
    os.chmod(tmp_path, 0o755)
    for parent in tmp_path.parents[:3]:
        if os.stat(parent).st_uid == os.geteuid() and not os.stat(parent).st_mode & 1:
            os.chmod(parent, 0o755)
    main = write(tmp_path / 'e' / 'main.conf', '[DEFAULT]\n')
    inner = write(tmp_path / 'conf.d' / 'x.conf', '[DEFAULT]\n')
    shut = {'file': main, 'directory': os.path.dirname(main), 'conf.d': os.path.dirname(inner)}
    os.chmod(shut[closed], 0)
    try:
        done = subprocess.run([sys.executable, '-c', CHILD, main, os.path.dirname(inner)],
                              capture_output=True, text=True)
    finally:
        os.chmod(shut[closed], 0o755)
    assert 'cannot read the configuration' in done.stdout, done.stderr
    assert 'Permission denied' in done.stdout


def test_sections_that_differ_in_case_only(tmp_path):
    file = write(tmp_path / 'x.conf', '[volume:Web]\npath = /a\n[volume:web]\npath = /b\n')
    with pytest.raises(ConfigurationError, match=r'\[volume:Web\] and \[volume:web\] differ only'):
        conf.load([file])
