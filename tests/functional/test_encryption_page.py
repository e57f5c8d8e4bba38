"""The page "Encryption": its configurations and commands in their order, and its key manager."""

from __future__ import annotations

import configparser
import os
from pathlib import Path
import re
import shlex
import subprocess
import sys
import textwrap

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'doc/source/encryption.rst').read_text()
BLOCK = re.compile(r'^\.\. code-block:: (\w+)\n((?:   :.*\n)*)\n((?:   .*\n|\n)+)', re.MULTILINE)
MODULE = """import sys
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
key, data = AESGCM(bytes(32)), sys.stdin.buffer.read()
made = key.encrypt(bytes(12), data, b'') if sys.argv[1] == 'seal' else key.decrypt(
    bytes(12), data, b'')
sys.stdout.buffer.write(made)
"""


class Reader:
    """Somebody who does what the page says, with files of their own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.config = configparser.ConfigParser(default_section='', interpolation=None)
        self.config.read_dict({'DEFAULT': {'state_path': str(place / 'state')}})
        self.environment = os.environ | {
            'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}',
            'PYTHONPATH': str(place)}
        (place / 'db').write_bytes(os.urandom(100_000))
        phrase = place / 'escrow.passphrase'
        phrase.touch(0o600)
        phrase.write_text('seven random words that nobody else has\n')

    def here(self, text: str) -> str:
        for theirs, ours in (('/etc/backup_framework', ''), ('/srv/backups', 'store'),
                             ('/dev/vg/db', 'db')):
            text = text.replace(theirs, str(self.place / ours).rstrip('/'))
        return text

    def configure(self, block: str) -> None:
        """Sections are added, and options of the same name replaced."""
        self.config.read_string(self.here(block))
        with open(self.place / 'conf', 'w') as file:
            self.config.write(file)

    def run(self, line: str) -> str:
        words = shlex.split(self.here(line))
        assert words[0] == 'backup-framework'
        done = subprocess.run([words[0], '--config-file', str(self.place / 'conf'), *words[1:]],
                              cwd=self.place, env=self.environment, text=True,
                              capture_output=True, timeout=60)
        assert done.returncode == 0, f'{line}\n{done.stdout}\n{done.stderr}'
        return done.stdout

    def restore(self) -> None:
        (self.place / 'out').unlink(missing_ok=True)
        self.run('backup-framework backup restore first out')
        assert (self.place / 'out').read_bytes() == (self.place / 'db').read_bytes()


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def blocks(page: str) -> list[tuple[str, str, str]]:
    """Language, file name or '', and text of all."""
    return [(language, options.partition(':caption: ')[2].strip(), textwrap.dedent(text))
            for language, options, text in BLOCK.findall(page)]


def test_the_page_from_its_beginning_to_its_end(reader: Reader) -> None:
    ran = 0
    for language, _, text in blocks(PAGE.partition('A key manager of your own')[0]):
        if language == 'ini':
            reader.configure(text)
            continue
        for line in text.strip().splitlines():
            assert line.startswith('$ ')
            told = reader.run(line[2:])
            ran += 1
        reader.restore()
    assert ran == 7
    assert 'main-2027 (file), escrow (passphrase)' in told
    (reader.place / 'main-2027.key').rename(reader.place / 'lost')
    reader.restore()


def test_the_key_manager_of_the_page(reader: Reader) -> None:
    """Installed as pip would, found by its entry point; it seals, opens and tells backups apart."""
    first, *_ = (text for language, _, text in blocks(PAGE) if language == 'ini')
    files = {name: text for _, name, text in blocks(PAGE) if name}
    (reader.place / 'module_keys.py').write_text(files['module_keys.py'])
    packaging = configparser.ConfigParser(default_section='')
    packaging.read_string(files['setup.cfg'])
    info = reader.place / 'module_keys-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: module-keys\nVersion: 1.0\n')
    [(group, entries)] = packaging['options.entry_points'].items()
    (info / 'entry_points.txt').write_text(f'[{group}]{entries}\n')
    client = reader.place / 'client.py'
    client.write_text(MODULE)
    *_, section = (text for language, _, text in blocks(PAGE) if language == 'ini')
    reader.configure(first.replace('keys = main', 'keys = module'))
    reader.configure(section.replace('/usr/local/bin/module-client',
                                     f'{sys.executable} {client}'))
    assert 'True' in reader.run('backup-framework key list --noindent -f json').title()
    reader.run('backup-framework backup create /dev/vg/db --name first')
    reader.restore()
    reader.run('backup-framework key rotate --backend offsite')
    reader.restore()
    client.write_text('raise SystemExit(3)')
    done = subprocess.run(
        ['backup-framework', '--config-file', 'conf', 'backup', 'restore', 'first', 'x'],
        cwd=reader.place, env=reader.environment, text=True, capture_output=True, timeout=60)
    assert done.returncode == 4 and 'ended with 3' in done.stderr
