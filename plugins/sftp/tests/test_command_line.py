"""An sftp backend through the real command line: operations, and what is said when one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import json
import os
from pathlib import Path
import random
import subprocess
import sys
import sysconfig
from typing import Any

import pytest

from plugins.sftp.tests import servers
from tests.functional import test_writing_a_driver as building
from tests.functional.command_line import CommandLine
from tools.servers import proxy, sshd

ROOT = Path(__file__).parents[3]
KIB, MIB = 1 << 10, 1 << 20

Configure = Callable[..., CommandLine]


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[CommandLine]:
    made = CommandLine(tmp_path)
    yield made
    made.end()


@pytest.fixture
def configure(cli: CommandLine) -> Configure:
    """Makes "vault", an sftp backend with these options, the one in use."""
    def write(**options: Any) -> CommandLine:
        options = {'use_agent': False, 'timeout': 10, 'chunk_size': '64KiB', 'block_size': '4KiB',
                   'retry_deadline': 1, **options}
        section = '\n'.join(f'{name} = {value}' for name, value in options.items()
                            if value is not None)
        cli.configure(f'[vault]\ndriver = sftp\n{section}\n',
                      default='enabled_backends = vault, local\ndefault_backend = vault')
        return cli
    return write


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / 'disk'
    path.write_bytes(random.Random(1).randbytes(300_001))
    return path


def test_the_driver_is_listed(cli: CommandLine) -> None:
    rows = {row['name']: row for row in cli.json('driver', 'list')}
    assert rows['sftp']['distribution'].startswith('backup-framework-sftp')
    options = {row['option'] for row in cli.json('driver', 'show', 'sftp')}
    assert {'host', 'known_hosts', 'password', 'connections'} <= options


def test_a_backend_is_checked(server: sshd.Server, configure: Configure) -> None:
    cli = configure(**server.options(path=f'{server.path}/checked'))
    rows = {row['verb']: row for row in cli.json('backend', 'check', 'vault')}
    assert not [row for row in rows.values() if row['result'] in ('failed', 'warning')], rows
    for verb in ('write_speed', 'read_speed'):
        assert rows[verb]['value'] > 1e6
    assert rows['free_space']['value'] > MIB
    assert abs(rows['clock']['value']) < 5
    assert 'the transport is' in rows['remarks']['detail']
    assert not [*(server.root / 'checked').rglob('*')], 'a check leaves something'


@pytest.mark.parametrize('transport', ['auto', 'paramiko'])
def test_a_chain(server: sshd.Server, configure: Configure, volume: Path, tmp_path: Path,
                 transport: str) -> None:
    store = server.root / f'chain-{transport}'
    cli = configure(**server.options(path=store, transport=transport))
    first = volume.read_bytes()
    full = cli.create(volume)
    with volume.open('r+b') as file:
        file.write(b'changed' * 1000)
    child = cli.create(volume, '--incremental')
    assert child['parent_id'] == full['id'] and child['backend'] == 'vault'
    assert {row['result'] for row in cli.json('backup', 'verify', '--all')} == {'good'}
    for made, wanted in ((full, first), (child, volume.read_bytes())):
        target = tmp_path / f'restored-{made["id"]}'
        cli.good('backup', 'restore', made['id'], target)
        assert target.read_bytes() == wanted
    cli.good('backup', 'delete', child['id'], full['id'])
    assert cli.json('backup', 'list') == []
    assert not [path for path in store.rglob('*') if path.is_file()]


def test_the_catalog_is_made_again_from_the_store(server: sshd.Server, configure: Configure,
                                                  volume: Path, tmp_path: Path) -> None:
    cli = configure(**server.options(path=server.root / 'rebuilt'))
    made = cli.create(volume)
    for file in cli.state.glob('catalog*'):
        file.unlink()
    cli.good('catalog', 'rebuild', 'vault')
    cli.good('backup', 'restore', made['id'], tmp_path / 'restored')
    assert (tmp_path / 'restored').read_bytes() == volume.read_bytes()


def test_host_keys_are_shown_and_the_line_that_is_shown_is_enough(
        server: sshd.Server, configure: Configure, tmp_path: Path) -> None:
    known = tmp_path / 'known_hosts'
    known.touch()
    cli = configure(**server.options(known_hosts=known, path=server.root / 'known'))
    rows = cli.json('sftp', 'host-key', 'vault')
    assert {row['state'] for row in rows} == {'unknown'}
    host_keys = server.known_hosts.read_text()
    assert all(row['line'].split()[-1] in host_keys for row in rows)
    known.write_text(rows[0]['line'] + '\n')
    cli.good('backend', 'check', 'vault', '--no-speed')


@pytest.mark.parametrize('command', [
    ('backup', 'delete'), ('backup', 'verify'), ('backup', 'restore'), ('catalog', 'rebuild')],
    ids=' '.join)
def test_a_store_that_is_not_there_is_not_an_empty_one(
        server: sshd.Server, configure: Configure, volume: Path, tmp_path: Path,
        command: tuple[str, str]) -> None:
    store = server.root / f'away-{command[1]}'
    cli = configure(**server.options(path=store))
    backup = cli.create(volume)
    arguments = {'restore': [backup['id'], tmp_path / 'target'], 'rebuild': ['vault']}
    aside = store.rename(server.root / f'not-mounted-{command[1]}')
    said = cli.refused(5, *command, *arguments.get(command[1], [backup['id']]))
    assert f'there is no directory {server.options()["username"]}@' in said
    assert f':{store}: correct path' in said
    aside.rename(store)
    cli.good(*command, *arguments.get(command[1], [backup['id']]))


# --- what is said when it fails

FAILURES: dict[str, tuple[dict[str, Any], int, str]] = {
    'another host key': ({'known_hosts': '{other}'}, 5, 'another key'),
    'an unknown host': ({'known_hosts': '{empty}'}, 5, 'sftp host-key'),
    'no file of hosts': ({'known_hosts': '{missing}'}, 5, 'sftp host-key'),
    'a key that is not let in': ({'private_key': '{stranger}'}, 5, 'does not let us in'),
    'no such key': ({'private_key': '{missing}'}, 5, 'missing'),
    'a key that needs a passphrase': ({'private_key': '{locked}'}, 5, 'passphrase'),
    'a server that is down': ({'port': 1}, 5, 'cannot connect'),
    'no such address': ({'host': 'no-such-host.invalid'}, 5, 'no-such-host.invalid'),
    'a path that is a file': ({'path': '{empty}'}, 5, 'not a directory'),
    'a cipher that is none': ({'ciphers': 'rot13'}, 5, 'ciphers'),
    'a transport that is none': ({'transport': 'pigeon'}, 2, 'transport'),
    'an option that is none': ({'pasword': 'x'}, 2, 'password'),
}


@pytest.mark.parametrize('how', FAILURES)
def test_a_failure_is_one_sentence_and_a_code(server: sshd.Server, configure: Configure,
                                              volume: Path, tmp_path: Path, how: str) -> None:
    options, code, sentence = FAILURES[how]
    stranger = server.keys['stranger']
    other = f'[{server.host}]:{server.port} {stranger.with_suffix(".pub").read_text()}'
    (tmp_path / 'other').write_text(other)
    (tmp_path / 'empty').touch()
    places = {'other': tmp_path / 'other', 'empty': tmp_path / 'empty',
              'missing': tmp_path / 'missing', 'stranger': stranger,
              'locked': server.keys['locked']}
    filled = {name: value.format(**places) if isinstance(value, str) else value
              for name, value in options.items()}
    cli = configure(**server.options(**{'path': server.root / 'failures'} | filled))
    assert sentence in cli.refused(code, 'backup', 'create', volume)


@pytest.mark.parametrize('transport', ['openssh', 'paramiko'])
def test_why_a_key_is_not_used_is_said_in_full(
        jail: sshd.Server, configure: Configure, volume: Path, transport: str) -> None:
    """The server offers passwords, and what is said of them is not taken for one."""
    cli = configure(**jail.options('locked', transport=transport))
    said = cli.refused(5, 'backup', 'create', volume)
    assert f'{jail.keys["locked"]} needs private_key_passphrase' in said
    assert 'the server offers publickey,password' in said.replace(', ', ',')
    assert '***' not in said


def test_a_full_disk(jail: sshd.Server, configure: Configure, volume: Path) -> None:
    cli = configure(**jail.options())
    with servers.filled(jail.root, but=64 * KIB):
        assert 'no space' in cli.refused(7, 'backup', 'create', volume)
        assert sorted(jail.root.rglob('*')) == [jail.root / 'ballast']
    made = cli.create(volume)
    cli.good('backup', 'delete', made['id'])


def test_a_server_that_comes_back(server: sshd.Server, configure: Configure, volume: Path,
                                  tmp_path: Path) -> None:
    """A connection that is cut is no failure of the backup: the framework tries again."""
    with proxy.before(server.host, server.port) as between:
        server.is_also_at(between.port)
        cli = configure(**server.options(port=between.port, path=server.root / 'back',
                                         retry_deadline=30))
        between.cut(after=100 * KIB, way='up', times=3)
        made = cli.create(volume)
        cli.good('backup', 'restore', made['id'], tmp_path / 'restored')
    assert (tmp_path / 'restored').read_bytes() == volume.read_bytes()


# --- secrets

SECRETS = {
    'a password': {'private_key': None, 'password': sshd.PASSWORD},
    'a password in a file': {'private_key': None, 'password_file': sshd.PASSWORD},
    'a passphrase in a file': {'key': 'locked', 'private_key_passphrase_file': sshd.PASSPHRASE},
}


@pytest.mark.parametrize('how', SECRETS)
def test_a_secret_opens_the_store_and_is_nowhere_else(
        jail: sshd.Server, configure: Configure, volume: Path, tmp_path: Path, how: str) -> None:
    options = dict(SECRETS[how])
    for name in [name for name in options if name.endswith('_file')]:
        secret = tmp_path / 'secret'
        secret.write_text(f'{options[name]}\n')
        options[name] = str(secret)
    cli = configure(**jail.options(**options))
    said = [cli.good('backup', 'create', volume, '--debug'),
            cli.good('backend', 'show', 'vault', '--debug')]
    said.append(configure(**jail.options(**options, port=1)).run(
        'backup', 'create', volume, '--debug'))
    for done in said:
        assert sshd.PASSWORD not in done.out + done.err
        assert sshd.PASSPHRASE not in done.out + done.err
    for file in cli.state.rglob('*'):
        if file.is_file():
            assert sshd.PASSWORD.encode() not in file.read_bytes()
            assert sshd.PASSPHRASE.encode() not in file.read_bytes()


@pytest.mark.parametrize('wrong', ['password', 'private_key_passphrase'])
def test_a_wrong_secret_is_not_repeated(jail: sshd.Server, configure: Configure, volume: Path,
                                        wrong: str) -> None:
    how = {'key': 'locked', wrong: 'not-the-secret'} | (
        {'private_key': None} if wrong == 'password' else {})
    cli = configure(**jail.options(**how))
    done = cli.run('backup', 'create', volume, '--debug')
    assert done.code == 5
    assert 'not-the-secret' not in done.out + done.err


# --- installing it

def test_installing_it_is_all_it_takes(tmp_path: Path) -> None:
    if not building.can_build():
        pytest.skip('pip cannot build here without fetching anything')
    libraries, site = tmp_path / 'libraries', tmp_path / 'site'
    libraries.mkdir()
    for path in Path(sysconfig.get_path('purelib')).iterdir():
        if not path.name.startswith(('backup_framework_', '__editable__')):
            (libraries / path.name).symlink_to(path)
    (libraries / 'backup_framework').symlink_to(ROOT / 'backup_framework')
    before = listed([libraries], tmp_path)
    assert 'local' in before and 'sftp' not in before
    building.install(ROOT / 'plugins' / 'sftp', site)
    assert listed([libraries, site], tmp_path) == before | {'sftp'}


def listed(paths: list[Path], directory: Path) -> set[str]:
    """What `driver list` shows where only these directories hold installed packages."""
    done = subprocess.run(
        [sys.executable, '-S', '-m', 'backup_framework.cmd.main', 'driver', 'list', '-f', 'json'],
        cwd=directory, capture_output=True, text=True, timeout=60,
        env={'PYTHONPATH': os.pathsep.join(map(str, paths)), 'HOME': str(directory)})
    assert done.returncode == 0, done.stderr
    return {row['name'] for row in json.loads(done.stdout)}
