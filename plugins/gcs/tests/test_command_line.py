"""The gcs driver as users meet it: an INI file, the command line, its sentences and exit codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import json
from pathlib import Path
import random

import pytest

from plugins.gcs.tests import misbehaving
from tests.functional.command_line import CommandLine

Configure = Callable[..., None]
NO_CREDENTIALS = {'NO_GCE_CHECK': 'true', 'GCE_METADATA_HOST': '127.0.0.1:9',
                  'CLOUDSDK_CONFIG': '/nonexistent'}


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[CommandLine]:
    command_line = CommandLine(tmp_path)
    yield command_line
    command_line.end()


@pytest.fixture
def configure(cli: CommandLine) -> Configure:
    """Writes an INI file with one backend, `offsite`."""
    def write(url: str, **options: object) -> None:
        values = {'driver': 'gcs', 'bucket': 'backups', 'endpoint': url, 'anonymous': 'true',
                  'chunk_size': '512KiB', 'block_size': '32KiB', 'resumable_chunk_size': '256KiB',
                  'retry_deadline': 1, 'timeout': 5} | options
        cli.configure('[offsite]\n' + ''.join(
            f'{name} = {value}\n' for name, value in values.items() if value is not None),
            default='enabled_backends = offsite')
    return write


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / 'disk'
    path.write_bytes(random.Random(1).randbytes(1_300_000))
    return path


# --- what works

@pytest.mark.parametrize('name, options', [
    ('fake_gcs', {'prefix': 'some/where'}), ('emulator', {'layout': 'bucket'})])
def test_from_the_first_backup_to_the_last_delete(request, cli, configure, volume, name, options):
    configure(request.getfixturevalue(name).url, **options)
    full = cli.create(volume, '--name', 'monday')
    first = volume.read_bytes()
    second = first[:700_000] + b'changed' + first[700_007:]
    volume.write_bytes(second)
    child = cli.create(volume, '--incremental', '--name', 'tuesday')
    assert (child['is_incremental'], child['backend']) == (True, 'offsite')
    assert child['stored_bytes'] < full['stored_bytes'] / 2
    for name, state in (('monday', first), ('tuesday', second)):
        cli.good('backup', 'verify', name)
        target = cli.directory / name
        cli.good('backup', 'restore', name, target)
        assert target.read_bytes() == state
    cli.good('backup', 'delete', 'tuesday')
    cli.good('backup', 'delete', 'monday')
    assert cli.json('backup', 'list') == []


def test_the_driver_is_listed_and_shown(cli):
    row, = [each for each in cli.json('driver', 'list') if each['name'] == 'gcs']
    assert 'backup-framework-gcs' in json.dumps(row)
    shown = cli.good('driver', 'show', 'gcs').out
    for option in ('bucket', 'prefix', 'project', 'credentials_file', 'anonymous', 'endpoint',
                   'storage_class', 'location', 'resumable_chunk_size', 'connections',
                   'connect_timeout', 'timeout', 'kms_key_name', 'layout', 'retry_deadline'):
        assert option in shown
    assert 'resumable_chunk_size' in cli.good('config', 'sample').out


def test_a_catalog_is_rebuilt_from_the_bucket(cli, configure, volume, fake_gcs):
    configure(fake_gcs.url, bucket='rebuilt')
    made = cli.create(volume)
    (cli.state / 'catalog.sqlite').unlink(missing_ok=True)
    for file in cli.state.glob('catalog*'):
        file.unlink()
    cli.good('catalog', 'rebuild', 'offsite')
    assert [each['id'] for each in cli.json('backup', 'list')] == [made['id']]
    cli.good('backup', 'verify', made['id'])


def test_check_says_what_the_service_promises(cli, configure, server):
    configure(server.url, bucket='bucket')
    done = cli.good('backend', 'check', 'offsite', '--no-speed', '-f', 'json')
    assert 'anonymous' in done.out + done.err
    assert not server.storage.objects['bucket'], 'the check left something'


# --- what does not

def refused_by(cli: CommandLine, volume: Path, code: int = 5) -> str:
    return cli.refused(code, 'backup', 'create', volume, env=NO_CREDENTIALS)


def test_the_bucket_is_missing_and_may_not_be_made(cli, configure, volume, server):
    configure(server.url)
    server.fail('make-bucket', misbehaving.forbidden, times=None)
    error = refused_by(cli, volume)
    assert 'backups' in error and 'storage.buckets.create' in error


@pytest.mark.parametrize('command', ['delete', 'verify', 'restore', 'rebuild'])
def test_a_bucket_that_is_not_there_is_not_an_empty_one(cli, configure, volume, fake_gcs, command):
    configure(fake_gcs.url)
    made = cli.create(volume)
    configure(fake_gcs.url, bucket='bakcups')
    words = {'restore': ['backup', 'restore', made['id'], cli.directory / 'target'],
             'rebuild': ['catalog', 'rebuild', 'offsite']}.get(
                 command, ['backup', command, made['id']])
    assert 'bakcups' in cli.refused(5, *words)
    configure(fake_gcs.url)
    cli.good(*words)


def test_the_service_refuses(cli, configure, volume, server):
    configure(server.url, bucket='bucket')
    server.fail('insert|start', misbehaving.forbidden, times=None)
    error = refused_by(cli, volume)
    assert 'storage.objects.create' in error and 'bucket bucket' in error


@pytest.mark.parametrize('what', ['closed port', 'silent', '503'])
def test_the_service_is_down(cli, configure, server, what):
    url = 'http://127.0.0.1:9' if what == 'closed port' else server.url
    configure(url, bucket='bucket', retry_deadline=0.5, timeout=0.5)
    if what != 'closed port':
        fault = misbehaving.stall if what == 'silent' else misbehaving.status(503)
        server.fail('.*', fault, times=None)
    assert 'bucket bucket' in cli.refused(5, 'catalog', 'rebuild', 'offsite', seconds=20)


def test_there_are_no_credentials(cli, configure, volume, server):
    configure(server.url, anonymous=None)
    error = refused_by(cli, volume)
    assert 'credentials_file' in error and server.count() == 0


@pytest.mark.parametrize('how', ['missing', 'nonsense', 'unreadable'])
def test_the_credentials_are_no_use(cli, configure, volume, server, how):
    file = cli.directory / 'account.json'
    if how != 'missing':
        file.write_text('{"type": "service_account", "private_key": "the-secret"')
    if how == 'unreadable':
        file.chmod(0)
    configure(server.url, anonymous=None, credentials_file=file)
    done = cli.run('backup', 'create', volume, env=NO_CREDENTIALS, unprivileged=True)
    assert done.code == 5 and 'Traceback' not in done.err
    assert str(file) in done.err and 'the-secret' not in done.out + done.err
    assert server.count() == 0


@pytest.mark.parametrize('options, said', [
    ({'bucket': None}, 'bucket'), ({'layout': 'tree'}, 'layout'),
    ({'layout': 'bucket', 'prefix': 'a'}, 'prefix'), ({'prefix': 'a//b'}, 'prefix'),
    ({'resumable_chunk_size': '300KiB'}, 'resumable_chunk_size'),
    ({'resumable_chunk_size': '1KiB'}, 'resumable_chunk_size'),
    ({'credentials_file': '/etc/key'}, 'anonymous'), ({'endpoint': 'no.scheme'}, 'endpoint'),
    ({'timeout': 'inf'}, 'timeout'), ({'connections': 0}, 'connections'),
    ({'buckt': 'x'}, 'bucket')],
    ids=lambda value: value if isinstance(value, str) else '-')
def test_options_that_make_no_sense(cli, configure, volume, server, options, said):
    configure(server.url, **options)
    error = refused_by(cli, volume, code=2)
    assert said in error
    assert server.count() == 0


def test_a_backup_that_was_tampered_with(cli, configure, volume, server):
    configure(server.url, bucket='bucket')
    made = cli.create(volume)
    name = next(name for name in server.storage.objects['bucket'] if name.endswith('-00001'))
    found = server.storage.objects['bucket'][name]
    server.storage.put('bucket', name, found.data[:-1] + b'!')
    done = cli.run('backup', 'verify', made['id'])
    assert done.code == 6 and 'Traceback' not in done.err
    assert name.rpartition('/')[2] in done.out + done.err


def test_no_secret_is_shown(cli, configure, volume, server):
    file = cli.directory / 'account.json'
    file.write_text(json.dumps({
        'type': 'service_account', 'private_key': 'the-secret', 'client_email': 'me@example.org',
        'token_uri': f'{server.url}/token'}))
    configure(server.url, anonymous=None, credentials_file=file)
    for words in (('backend', 'show', 'offsite'), ('backend', 'check', 'offsite'),
                  ('backup', 'create', volume), ('--debug', 'backup', 'create', volume)):
        done = cli.run(*words, env=NO_CREDENTIALS)
        assert 'the-secret' not in done.out + done.err
