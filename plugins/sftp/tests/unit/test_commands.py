"""The command `sftp host-key`, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from backup_framework_sftp import commands
import pytest

from backup_framework import exceptions
from tests.functional.command_line import CommandLine
from tools.servers import sshd


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[CommandLine]:
    made = CommandLine(tmp_path)
    yield made
    made.end()


def configure(cli: CommandLine, server: sshd.Server, known_hosts: object) -> None:
    cli.configure(default='enabled_backends = vault, local', more=(
        f'[vault]\ndriver = sftp\nhost = {server.host}\nport = {server.port}\n'
        f'username = {server.username}\npath = x\nknown_hosts = {known_hosts}\n'))


def keys(server: sshd.Server) -> list[str]:
    """Type and key of all host keys."""
    return [' '.join((server.directory / f'host_{kind}.pub').read_text().split()[:2])
            for kind in ('ed25519', 'rsa')]


def test_known_keys(cli: CommandLine, server: sshd.Server) -> None:
    configure(cli, server, server.known_hosts)
    before = len(server.log())
    rows = cli.json('sftp', 'host-key', 'vault')
    assert [row['state'] for row in rows] == ['known', 'known']
    assert [row['line'] for row in rows] == [
        f'[{server.host}]:{server.port} {key}' for key in keys(server)]
    assert all(row['fingerprint'].startswith('SHA256:') for row in rows)
    said = server.log()[before:]
    assert 'Accepted' not in said and 'Failed' not in said, 'it does not log in'


@pytest.mark.parametrize(('line', 'states', 'code'), [
    ('', ['unknown', 'unknown'], 0),
    ('{place} {rsa}', ['unknown', 'known'], 0),
    ('{place} {other}', ['changed', 'unknown'], 5),
    ('@revoked * {rsa}', ['unknown', 'revoked'], 5),
    (None, ['unknown', 'unknown'], 0)])
def test_what_known_hosts_says(cli: CommandLine, server: sshd.Server, tmp_path: Path,
                               line: str | None, states: list[str], code: int) -> None:
    known = tmp_path / 'known'
    if line is not None:
        known.write_text(line.format(
            place=f'[{server.host}]:{server.port}', rsa=keys(server)[1],
            other=server.keys['stranger'].with_suffix('.pub').read_text()))
    before = known.read_text() if line is not None else None
    configure(cli, server, known)
    done = cli.run('sftp', 'host-key', 'vault', '-f', 'json')
    assert ([row['state'] for row in done.json], done.code) == (states, code)
    assert known.exists() == (line is not None) and (line is None or known.read_text() == before)


def test_the_line_makes_the_server_known(cli: CommandLine, server: sshd.Server, tmp_path: Path
                                         ) -> None:
    configure(cli, server, tmp_path / 'known')
    done = cli.good('sftp', 'host-key', 'vault', '-f', 'value', '-c', 'line')
    (tmp_path / 'known').write_text(done.out)
    assert [row['state'] for row in cli.json('sftp', 'host-key', 'vault')] == ['known', 'known']


def test_a_table_is_for_people(cli: CommandLine, server: sshd.Server) -> None:
    server_name = f'{server.host}:{server.port}'
    done = cli.good('sftp', 'host-key', server_name)
    assert max(map(len, done.out.splitlines())) < 100
    for key in keys(server):
        assert f'[{server.host}]:{server.port} {key}' in done.err.splitlines()


@pytest.mark.parametrize(('name', 'code', 'sentence'), [
    ('local', 2, 'has the driver local'), ('127.0.0.1:1', 5, 'Connection refused'),
    ('[::1', 2, 'neither'), ('a b', 2, 'host must be'), ('host:99999', 2, 'port must be'),
    ('user@host', 2, 'host must be')])
def test_what_cannot_be_asked(cli: CommandLine, server: sshd.Server, name: str, code: int,
                              sentence: str) -> None:
    configure(cli, server, server.known_hosts)
    assert sentence in cli.refused(code, 'sftp', 'host-key', name)


@pytest.mark.parametrize(('text', 'host', 'port'), [
    ('host', 'host', 22), ('host:2222', 'host', 2222), ('::1', '::1', 22), ('[::1]', '::1', 22),
    ('[::1]:2222', '::1', 2222), ('fe80::1%eth0', 'fe80::1%eth0', 22)])
def test_servers(text: str, host: str, port: int) -> None:
    assert commands.split(text) == (host, port)


@pytest.mark.parametrize('text', ['', ':22', 'host:', 'host:x', '[::1]x', '[]:1', 'a:1:[2]'])
def test_no_servers(text: str) -> None:
    with pytest.raises(exceptions.InvalidInput):
        commands.split(text)
