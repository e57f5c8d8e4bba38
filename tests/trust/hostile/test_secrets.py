"""Canaries in the place of every secret, and not one of them in anything that a command leaves."""

from __future__ import annotations

import base64
from collections.abc import Callable
import contextlib
import dataclasses
import json
from pathlib import Path
import urllib.parse

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
import pytest

from tests.functional.command_line import CommandLine
from tests.functional.conftest import change
from tests.functional.conftest import cli as cli
from tests.functional.conftest import make_volume as make_volume
from tests.functional.conftest import volume as volume
from tools.servers import sshd


@dataclasses.dataclass
class Planted:
    """What must not be found: each canary under the name of what it is."""

    directory: Path
    secrets: dict[str, str] = dataclasses.field(default_factory=dict)

    def canary(self, what: str) -> str:
        number = len(self.secrets)
        return self.secrets.setdefault(what, f'Kanarie{number:02d}/x+y{number * 7919}Z')

    def file(self, what: str, text: str | None = None) -> Path:
        """A file that holds a canary, or a text whose every long line is one."""
        path = self.directory / what
        path.parent.mkdir(exist_ok=True)
        path.write_text(self.canary(what) if text is None else text)
        path.chmod(0o600)
        for number, line in enumerate((text or '').splitlines()):
            if len(line) > 30 and not line.startswith('---'):
                self.secrets[f'{what}, line {number}'] = line
        return path

    def account(self, token_uri: str) -> Path:
        """The key of a service account of Google's."""
        key = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()).decode()
        for number, line in enumerate(key.splitlines()[1:-1]):
            self.secrets[f'account, line {number}'] = line
        path = self.directory / 'account.json'
        path.write_text(json.dumps({
            'type': 'service_account', 'private_key': key, 'token_uri': token_uri,
            'private_key_id': self.canary('id of the key of the account'), 'project_id': 'p',
            'client_email': 'a@p.iam.gserviceaccount.com', 'client_id': '1'}))
        return path

    def found_in(self, data: bytes) -> list[str]:
        return [what for what, secret in self.secrets.items()
                if any(spelled in data for spelled in _spellings(secret))]


def _spellings(secret: str) -> list[bytes]:
    encoded = secret.encode()
    return [encoded, base64.b64encode(encoded)[:-4], encoded.hex().encode(),
            urllib.parse.quote(secret, safe='').encode()]


@pytest.fixture
def planted(cli: CommandLine) -> Planted:
    made = Planted(cli.directory / 'secrets')
    made.directory.mkdir(mode=0o700)
    return made


def leaves_nothing(cli: CommandLine, planted: Planted) -> int:
    """Look into every file of the test but those that hold the secrets; how many there were."""
    count = 0
    for path in cli.directory.rglob('*'):
        if path.is_file() and path != cli.config and planted.directory not in path.parents:
            found = planted.found_in(path.read_bytes())
            assert not found, (path, found)
            count += 1
    return count


SEALED = """
[key:phrase]
type = passphrase
passphrase = {phrase}
[key:file]
type = file
path = {key}
"""


def test_where_all_goes_well(cli: CommandLine, volume: Path, planted: Planted) -> None:
    """Catalog, store, exported record and what --debug says of each command."""
    key = planted.directory / 'main.key'
    cli.good('key', 'generate', key)
    planted.file('main.key', key.read_text())
    env = {'HTTPS_PROXY': f'http://u:{planted.canary("proxy")}@127.0.0.1:9',
           'OS_LOCAL__X': planted.canary('environment')}
    cli.configure(SEALED.format(phrase=planted.canary('passphrase'), key=key),
                  encryption='aes-256-gcm', keys='phrase, file')
    made = cli.create(volume, '--debug', env=env)['id']
    change(volume)
    cli.create(volume, '--incremental', '--debug', env=env)
    for argv in (('backup', 'restore', made, 'target'), ('backup', 'verify', made),
                 ('backup', 'list'), ('backup', 'show', made), ('backup', 'export', made),
                 ('backend', 'show', 'local'), ('backend', 'list'), ('backend', 'check', 'local'),
                 ('catalog', 'check'), ('catalog', 'rebuild', 'local'), ('key', 'list')):
        cli.good(*argv, '--debug', env=env)
    assert leaves_nothing(cli, planted) > 40 and len(planted.secrets) >= 4


CRASHING = """
[crash]
driver = tests.trust.hostile.crashing.CrashingDriver
token = {token}
retry_deadline = 0
"""


@pytest.mark.parametrize('debug', [[], ['--debug']], ids=['', 'debug'])
def test_where_a_driver_tells_its_secrets(cli: CommandLine, volume: Path, planted: Planted,
                                          debug: list[str]) -> None:
    """In messages, tracebacks, the record of the failure, and what is logged."""
    cli.configure(CRASHING.format(token=planted.canary('token').replace('$', '$$')),
                  default='enabled_backends = local, crash\nlog_file = '
                          f'{cli.directory}/log')
    done = cli.run('backup', 'create', volume, '--backend', 'crash', *debug)
    assert done.code != 0 and '***' in done.err and ('Traceback' in done.err) == bool(debug)
    failed = cli.json('backup', 'list')[0]['id']
    for argv in (('backup', 'show', failed), ('backend', 'check', 'crash'),
                 ('catalog', 'check'), ('backend', 'clean', 'crash'),
                 ('backup', 'delete', failed), ('catalog', 'rebuild', 'crash', '--container', 'x')):
        cli.run(*argv, *debug)
    assert leaves_nothing(cli, planted) > 10


def test_where_the_configuration_is_wrong(cli: CommandLine, volume: Path, planted: Planted) -> None:
    """Options that do not exist, values that do not fit, secrets given twice."""
    secret = planted.canary
    odd = planted.file('many lines', 'first line of a secret that is far too long\n' * 3000)
    wrong = [
        f'pasword = {secret("a misspelled option")}', f'password = {secret("one of two")}\n'
        f'password_file = {planted.file("two of two")}',
        f'password = {secret("a reference")}$host', f'password_file = {odd}',
        f'private_key_passphrase = {secret("passphrase")}\nport = many',
        f'private_key_passphrase_file = {planted.file("a file")}\nport = 0',
        f'password = {secret("password")}\nhosst = x', f'token = {secret("unknown")}',
        f'passphrase = {secret("no such option")}', f'api_key={secret("api key")}']
    for lines in wrong:
        cli.configure(f'[vault]\ndriver = sftp\nhost = 127.0.0.1\npath = /x\n{lines}\n',
                      default='enabled_backends = local, vault')
        done = cli.run('backup', 'create', volume, '--backend', 'vault', '--debug')
        assert done.code == 2, (lines, done.err)
    for lines in (f'[key:k]\ntype = passphrase\npassphrase = {secret("short")[:4]}',
                  f'[key:k]\ntype = file\npath = {planted.file("no key")}',
                  f'[key:k]\ntype = passphrase\npassphraze = {secret("another")}'):
        cli.configure(lines, encryption='aes-256-gcm', keys='k')
        assert cli.run('backup', 'create', volume, '--debug').code == 2
    cli.configure(f'[database]\nconnection = postgresql://bf:{secret("catalog")}@127.0.0.1:1/x')
    for argv in (('backup', 'list'), ('backend', 'list'), ('backup', 'create', volume)):
        assert cli.run(*argv, '--debug').code in (0, 1, 2, 5)
    cli.configure(f'[database]\nconnection = nonsense://bf:{secret("a catalog")}@host/x')
    assert cli.run('backup', 'list', '--debug').code != 0
    assert leaves_nothing(cli, planted) > 30 and len(planted.secrets) >= 14


def test_where_servers_refuse(cli: CommandLine, volume: Path, planted: Planted,
                              require_part: Callable[[str, str], None]) -> None:
    """A host that is down, one that is unknown, one that lets nobody in, a token refused."""
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH,
        serialization.BestAvailableEncryption(planted.canary('passphrase of a key').encode()))
    locked = planted.file('id_ed25519', key.decode())
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(sshd.serving())
        except sshd.Missing as error:
            require_part('sshd', str(error))
            raise
        empty = planted.file('known_hosts', '')
        logins = [
            f'port = 1\nknown_hosts = {empty}\npassword = {planted.canary("a password")}',
            f'port = {server.port}\nknown_hosts = {empty}\npassword = '
            f'{planted.canary("for a stranger")}',
            f'port = {server.port}\nknown_hosts = {server.known_hosts}\npassword_file = '
            f'{planted.file("password in a file")}',
            f'port = {server.port}\nknown_hosts = {server.known_hosts}\nprivate_key = {locked}\n'
            f'private_key_passphrase = {planted.canary("passphrase of a key")}',
            f'port = {server.port}\nknown_hosts = {server.known_hosts}\nprivate_key = {locked}\n'
            f'private_key_passphrase = {planted.canary("a wrong passphrase")}']
        env = {'HTTP_PROXY': f'http://u:{planted.canary("proxy")}@127.0.0.1:9',
               'HTTPS_PROXY': f'http://u:{planted.canary("proxy")}@127.0.0.1:9',
               'HOME': str(cli.directory), 'SSH_AUTH_SOCK': ''}
        for login in logins:
            cli.configure('[vault]\ndriver = sftp\nhost = 127.0.0.1\npath = /nowhere/x\n'
                          f'timeout = 10\nretry_deadline = 0\n{login}\n',
                          default='enabled_backends = local, vault')
            done = cli.run('backup', 'create', volume, '--backend', 'vault', '--debug', env=env)
            assert done.code in (2, 5), done.err
        cli.configure('[cloud]\ndriver = gcs\nbucket = b\nretry_deadline = 0\ntimeout = 5\n'
                      f'endpoint = http://127.0.0.1:1\ncredentials_file = '
                      f'{planted.account("http://127.0.0.1:1/token")}\n',
                      default='enabled_backends = local, cloud')
        done = cli.run('backup', 'create', volume, '--backend', 'cloud', '--debug', env=env)
        assert done.code in (2, 5), done.err
    assert leaves_nothing(cli, planted) > 15 and len(planted.secrets) > 30
