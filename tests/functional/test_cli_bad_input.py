"""What is wrong gets one sentence and its exit code, and does no damage."""

from __future__ import annotations

from collections.abc import Callable
import json
import os
import socket
import sqlite3

import pytest

from tests.functional.command_line import CommandLine


def directory(cli: CommandLine) -> None:
    (cli.directory / 'bad').mkdir()


def fifo(cli: CommandLine) -> None:
    os.mkfifo(cli.directory / 'bad')


def listening(cli: CommandLine) -> None:
    socket.socket(socket.AF_UNIX).bind(str(cli.directory / 'bad'))


def dangling(cli: CommandLine) -> None:
    (cli.directory / 'bad').symlink_to('nowhere')


def endless_link(cli: CommandLine) -> None:
    (cli.directory / 'bad').symlink_to('bad')


def nothing(cli: CommandLine) -> None:
    """There is no such file."""


VOLUMES = [
    (nothing, './bad', 3, 'no volume'),
    (nothing, 'bad', 3, "no volume 'bad'"),
    (nothing, '/dev/zero', 4, 'a character device'),
    (nothing, '/dev/null/x', 3, 'no volume'),
    (nothing, '', 3, "no volume ''"),
    (nothing, 'x' * 5000, 3, 'no volume'),
    (directory, 'bad', 4, 'a directory'),
    (fifo, 'bad', 4, 'a FIFO'),
    (listening, 'bad', 4, 'a socket'),
    (dangling, 'bad', 3, 'no volume'),
    (endless_link, 'bad', 5, 'cannot read volume'),
]


@pytest.mark.parametrize('prepare, path, code, why', VOLUMES)
def test_no_volume(cli, prepare, path, code, why):
    prepare(cli)
    assert why in cli.refused(code, 'backup', 'create', path)
    assert cli.json('backup', 'list') == [] and cli.objects() == []


def test_a_volume_that_may_not_be_read(cli, volume):
    volume.chmod(0)
    message = cli.refused(5, 'backup', 'create', volume, unprivileged=True)
    assert 'Permission denied' in message and str(volume) in message


def test_a_store_that_may_not_be_written(cli, volume):
    cli.store.mkdir(mode=0o555)
    message = cli.refused(5, 'backup', 'create', volume, unprivileged=True)
    assert 'Permission denied' in message and str(cli.store) in message
    made, = cli.json('backup', 'list')
    assert made['status'] == 'error' and made['fail_reason'] in message
    cli.good('backup', 'delete', made['id'], unprivileged=True)


def test_a_store_that_may_not_be_read(cli, volume):
    made = cli.create(volume)
    (cli.store / made['container']).chmod(0)
    for verb in (('restore', made['id'], 'target'), ('verify', made['id'])):
        assert 'Permission denied' in cli.refused(5, 'backup', *verb, unprivileged=True)
    assert not (cli.directory / 'target').exists()


USAGE = [
    ('backup',), ('backup', 'make'), ('backup', 'create'), ('backup', 'show'), ('nonsense',),
    ('backup', 'list', '--nonsense'), ('backup', 'create', 'x', '--property', 'novalue'),
    ('backup', 'create', 'x', '--incremental', '--no-incremental'),
    ('backup', 'set', 'x', '--state', 'creating'), ('--nonsense',), ('backup', 'list', 'extra'),
    ('backup', 'list', '-f', 'nonsense'), ('backup', 'list', '--lim', '1'), ('--config-file',),
]


@pytest.mark.parametrize('words', USAGE, ids=' '.join)
def test_usage(cli, words):
    done = cli.run(*words)
    assert done.code == 2 and done.err and 'Traceback' not in done.err and not done.out


CONFIGURATIONS = [
    ('[DEFAULT]\nenabled_backends = locl\n', ('backup', 'list'), 'locl'),
    ('[local]\ndriver = nonsense\npath = x', ('backend', 'check'), 'nonsense'),
    ('[local]\ndriver = nonsense\npath = x', ('backup', 'create', 'disk'), 'nonsense'),
    ('[local]\ndriver = os:path\n', ('backend', 'check'), 'os:path'),
    ('[local]\ndriver = nothing.here:Driver\n', ('backend', 'check'), 'nothing.here'),
    ('[local]\npath = x\n', ('backup', 'list'), 'lacks its driver'),
    ('[local]\ndriver = local\n', ('backend', 'check'), 'path'),
    ('[local]\ndriver = local\npaht = /x\npath = /x\n', ('backend', 'check'), 'did you mean path'),
    ('[local]\ndriver = local\npath = /x\nworkers = many\n', ('backend', 'check'), 'workers'),
    ('[local]\ndriver = local\npath = /x\nchunk_size = 3 apples\n', ('backend', 'check'),
     'chunk_size'),
    ('[local]\ndriver = local\npath = /x\nchunk_size = 5000\n', ('backup', 'create', 'disk'),
     'multiple of block_size'),
    ('[local]\ndriver = nfs\npath = /x\nshare = a:/b\n', ('backend', 'check'), 'section [local]: '),
    ('[database]\nconnection = nonsense\n', ('backup', 'list'), 'connection'),
    ('[database]\nconnection = nonsense://x/y\n', ('backup', 'list'), 'nonsense://x/y'),
    ('state_path = /x', ('backup', 'list'), 'line 1'),
    ('[DEFAULT]\nstate_path = x\n', ('backup', 'list'), 'absolute'),
    ('[volume:x]\nbackend = local\n', ('backup', 'run'), 'lacks the path'),
    ('[volume:x]\npath = disk\n', ('backup', 'run'), 'absolute'),
    ('[volume:x]\npath = /disk\nbackend = other\n', ('backup', 'run'), 'other'),
]


@pytest.mark.parametrize('text, words, why', CONFIGURATIONS)
def test_configurations(cli, volume, text, words, why):
    if '[DEFAULT]' not in text and text.startswith('['):
        text = f'[DEFAULT]\nstate_path = {cli.state}\n{text}'
    cli.config.write_text(text)
    assert why in cli.refused(2, *words)


@pytest.mark.parametrize('endpoint', [
    '', 'garbage', '127.0.0.1:8776/v3/demo', 'ftp://127.0.0.1/v3/demo', 'http://', 'http://[',
    'http://127.0.0.1:port/v3/demo', 'http://127.0.0.1:99999/v3/demo'])
def test_an_endpoint_that_is_no_url(cli, endpoint):
    """Nor is the local catalog asked, where a variable was empty."""
    told = cli.refused(2, '--endpoint', endpoint, 'backup', 'list')
    assert f"'{endpoint}' is no URL" in told and '/v3/PROJECT' in told


def test_clouds_that_cannot_be_asked(cli):
    pytest.importorskip('openstack')
    (cli.directory / 'clouds.yaml').write_text(json.dumps({'clouds': {'here': {
        'auth_type': 'none', 'auth': {'endpoint': 'garbage'}}}}))
    for cloud in ('here', 'there', ''):
        cli.refused(2, '--os-cloud', cloud, 'backup', 'list')


@pytest.mark.parametrize('path, user, warned', [
    ('', {}, True), ('/v3/', {}, True), ('/v3/demo', {}, False),
    ('/v3', {'OS_USERNAME': 'x', 'OS_PASSWORD': 'y'}, False)])
def test_an_endpoint_without_a_project(cli, path, user, warned):
    """It is the default one's backups that are shown; who has a name may have one project."""
    pytest.importorskip('openstack')
    with socket.socket() as nobody:
        nobody.bind(('127.0.0.1', 0))
        endpoint = f'http://127.0.0.1:{nobody.getsockname()[1]}{path}'
        done = cli.run('--endpoint', endpoint, 'backup', 'list', env=user)
    assert done.code == 5 and ('names no project' in done.err) == warned


def test_a_configuration_that_is_not_there(cli):
    assert 'nowhere' in cli.refused(2, 'backup', 'list', '--config-file', 'nowhere')
    assert cli.config.name in cli.refused(2, 'backup', 'list', '--config-file',
                                          cli.config / 'below')


def test_unknown_things(cli, volume):
    assert 'did you mean local' in cli.refused(3, 'backup', 'create', volume, '--backend', 'locl')
    for verb in ('show', 'restore', 'verify', 'export', 'delete', 'forget', 'set', 'unset'):
        more = ['target'] if verb == 'restore' else []
        assert 'no backup nothing' in cli.refused(3, 'backup', verb, 'nothing', *more)
    assert 'nothing' in cli.refused(3, 'volume', 'show', 'nothing')
    assert 'nothing' in cli.refused(3, 'volume', 'set', 'nothing', '--name', 'x')
    for words in (('backend', 'show'), ('backend', 'check'), ('catalog', 'rebuild')):
        assert 'nothing' in cli.refused(3, *words, 'nothing')
    for words in (('driver', 'show'), ('driver', 'check')):
        assert 'nothing' in cli.refused(2, *words, 'nothing')
    assert '[volume:x]' in cli.refused(3, 'backup', 'run', 'x')


@pytest.mark.parametrize('container', ['../x', '/x', 'a//b', '.hidden', 'a b', 'x' * 300, ''])
def test_containers_that_lead_out(cli, volume, container):
    if container:
        cli.refused(2, 'backup', 'create', volume, '--container', container)
    assert cli.json('backup', 'list') == []
    assert cli.objects() == [] and not (cli.directory / 'x').exists()


def test_what_cannot_be_stored_so_leaves_no_record(cli, volume):
    """Of what can be told before the store is asked."""
    cli.good('key', 'generate', cli.directory / 'key')
    cli.configure(
        f'[sealed]\ndriver = local\npath = {cli.directory}/sealed\nencryption = aes-256-gcm\n'
        f'keys = main\n[key:main]\ntype = file\npath = {cli.directory}/key\n',
        default='enabled_backends = local, sealed')
    made = cli.create(volume)
    (cli.directory / 'hint').write_text(f'[[{volume.stat().st_size}, 1]]')
    (cli.directory / 'none' / 'cryptography').mkdir(parents=True)
    (cli.directory / 'none' / 'cryptography' / '__init__.py').write_text('raise ImportError("x")')
    without = {**os.environ, 'PYTHONPATH': str(cli.directory / 'none')}
    for words, why in (
            (('create', volume, '--backend', 'sealed'), 'the package cryptography'),
            (('copy', made['id'], '--to-backend', 'sealed'), 'the package cryptography')):
        done = cli.script('backup', *words, env=without)
        assert done.returncode == 2 and why in done.stderr, done.stderr
    for code, words, why in (
            (2, ('create', volume, '--parent', made['id'], '--changed-extents', 'hint'), 'behind'),
            (2, ('create', volume, '--backend', 'sealed', '--format', '1.0.0'), 'sealed'),
            (2, ('copy', made['id'], '--to-backend', 'sealed', '--format', '1.0.0'), 'sealed'),
            (2, ('copy', made['id'], '--to-backend', 'sealed', '--container', '../x'), '../x')):
        assert why in cli.refused(code, 'backup', *words)
    assert [each['id'] for each in cli.json('backup', 'list')] == [made['id']]
    assert not (cli.directory / 'sealed').exists()


def manifest_with(change: Callable[[dict], object]) -> Callable[[bytes], bytes]:
    def edit(text: bytes) -> bytes:
        manifest = json.loads(text)
        change(manifest)
        return json.dumps(manifest).encode()
    return edit


def first(manifest: dict) -> dict:
    return next(iter(manifest['objects'][0].values()))


def rename(manifest: dict, name: str) -> None:
    manifest['objects'][0] = {name: first(manifest)}


MANIFESTS = {
    'not JSON': (lambda text: text[:-20], 6),
    'not text': (lambda text: b'\xff\xfe' + text, 6),
    'empty': (lambda text: b'', 6),
    'a list': (lambda text: b'[]', 6),
    'deep': (lambda text: b'[' * 200_000, 6),
    'big number': (lambda text: b'{"version": ' + b'9' * 10_000 + b'}', 6),
    'newer': (manifest_with(lambda m: m.update(version='3.0.0')), 4),
    'no version': (manifest_with(lambda m: m.pop('version')), 4),
    'no objects': (manifest_with(lambda m: m.pop('objects')), 6),
    'negative': (manifest_with(lambda m: first(m).update(offset=-1)), 6),
    'absurd': (manifest_with(lambda m: first(m).update(length=1 << 60)), 6),
    'text for a number': (manifest_with(lambda m: first(m).update(offset='0')), 6),
    'climbing': (manifest_with(lambda m: rename(m, '../../x')), 6),
    'absolute': (manifest_with(lambda m: rename(m, '/etc/passwd')), 6),
    'overlapping': (manifest_with(lambda m: first(m).update(length=300_000)), 6),
    'twice': (manifest_with(lambda m: m['objects'].append(m['objects'][0])), 6),
    'another backup': (manifest_with(lambda m: m.update(backup_id='x')), 6),
    'no checksum': (manifest_with(lambda m: first(m).pop('md5')), 6),
    'bad codec': (manifest_with(lambda m: first(m).update(compression='lzma')), 6),
}


IN_EACH_FORMAT = ('not JSON', 'not text', 'empty', 'a list', 'deep', 'big number', 'newer',
                  'no version', 'another backup')


@pytest.mark.parametrize('version, what', [
    *(('1.0.0', what) for what in MANIFESTS), *(('2.0.0', what) for what in IN_EACH_FORMAT)])
def test_manifests(cli, volume, version, what):
    edit, code = MANIFESTS[what]
    cli.configure(format=version)
    made = cli.create(volume)
    file, = cli.store.rglob('*_metadata')
    file.write_bytes(edit(file.read_bytes()))
    target = cli.directory / 'target'
    target.write_bytes(b'precious' * 50_000)
    assert 'manifest' in cli.refused(code, 'backup', 'restore', made['id'], target, '--force')
    assert target.read_bytes() == b'precious' * 50_000
    if code == 6:
        assert cli.run('backup', 'verify', made['id']).code == 6
    cli.good('backup', 'delete', made['id'])
    assert cli.objects() == []


def test_a_bomb(cli, volume):
    """An object that unpacks to much more than its manifest says."""
    cli.configure(compression='zlib', format='1.0.0')
    made = cli.create(volume)
    bomb = cli.directory / 'bomb'
    bomb.write_bytes(bytes(64 << 20))
    big = cli.create(bomb, '--backend', 'local')
    packed = max((cli.store / big['container']).glob('*-00001'))
    for file in (cli.store / made['container']).glob('*-00001'):
        file.write_bytes(packed.read_bytes())
    cli.refused(6, 'backup', 'restore', made['id'], 'target')
    assert not (cli.directory / 'target').exists()


CATALOGS = {
    'not a catalog': lambda file: file.write_bytes(b'nonsense' * 1000),
    'cut': lambda file: file.write_bytes(file.read_bytes()[:5000]),
}


@pytest.mark.parametrize('damage', CATALOGS.values(), ids=list(CATALOGS))
def test_a_damaged_catalog(cli, volume, damage):
    made = cli.create(volume)
    file = cli.state / 'catalog.sqlite'
    damage(file)
    for words in (('backup', 'list'), ('backup', 'create', volume), ('catalog', 'check')):
        assert 'catalog rebuild' in cli.refused(6, *words)
    file.rename(cli.state / 'catalog.sqlite.damaged')
    cli.good('catalog', 'rebuild', 'local')
    assert cli.json('backup', 'show', made['id'])['status'] == 'available'


def test_a_newer_catalog(cli, volume):
    cli.create(volume)
    with sqlite3.connect(cli.state / 'catalog.sqlite') as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert 'newer' in cli.refused(5, 'backup', 'list')


def test_debug_shows_the_traceback_too(cli):
    done = cli.run('backup', 'show', 'nothing', '--debug')
    assert done.code == 3 and 'Traceback' in done.err
    assert 'Error: there is no backup nothing' in done.err
