"""Backends and drivers: listing, showing, proving, and drivers of other people."""

from __future__ import annotations

import re
import signal

import pytest

ODD = 'tests.functional.odd_drivers'


def test_backends(cli, tmp_path):
    cli.configure(f'[second]\ndriver = local\npath = {tmp_path}/second\nworkers = 7\n',
                  default='enabled_backends = local, second\ndefault_backend = second')
    done = cli.good('backend', 'list', '-f', 'json')
    assert done.json == [{'name': 'local', 'driver': 'local', 'default': False},
                         {'name': 'second', 'driver': 'local', 'default': True}]
    assert str(cli.config) in done.err and str(cli.state / 'catalog.sqlite') in done.err
    shown = cli.json('backend', 'show', 'second')
    assert shown | {'name': 'second', 'driver': 'local', 'path': f'{tmp_path}/second',
                    'workers': 7, 'conditional_create': True} == shown
    assert not (tmp_path / 'second').exists()


@pytest.mark.parametrize('words', [(), ('local',)])
def test_a_check_proves_each_verb_and_leaves_nothing(cli, words):
    rows = {row['verb']: row for row in cli.json('backend', 'check', *words, '--no-speed')}
    tried = ('put_container', 'get_object_writer', 'get_container_entries', 'get_object_reader',
             'seek', 'conditional_create', 'atomic_replace', 'delete_object', 'clean_up')
    assert {rows[verb]['result'] for verb in tried} == {'ok'}
    assert rows['durable']['result'] == 'warning' and not rows.keys() & {'write_speed'}
    assert cli.objects() == [] and list(cli.store.iterdir()) == []


def test_a_check_measures(cli):
    rows = {row['verb']: row for row in cli.json('backend', 'check')}
    for verb in ('write_speed', 'read_speed'):
        assert rows[verb]['result'] == 'ok' and rows[verb]['value'] > 1e6
    assert isinstance(rows['free_space']['value'], int) and rows['sync']['value'] is None
    assert list(cli.store.iterdir()) == []
    shown = cli.good('backend', 'check').out
    assert re.search(r'write_speed +\| ok +\| +\d+\.\d MB/s', shown)
    assert re.search(r'free_space +\| ok +\| \d+\.\d [GT]iB', shown)


def test_a_check_tells_of_clocks_and_remarks(cli):
    cli.configure(driver=f'{ODD}:Remote')
    rows = {row['verb']: row for row in cli.json('backend', 'check', '--no-speed')}
    assert rows['clock']['result'] == 'warning' and 99 < rows['clock']['value'] < 101
    assert rows['remarks'] == {'verb': 'remarks', 'result': 'note', 'value': None,
                               'detail': 'the server of this shelf is a folder'}
    assert '+100.0 s' in cli.good('backend', 'check', '--no-speed').out


def test_a_check_where_nothing_may_be_deleted(cli):
    cli.configure(driver=f'{ODD}:KeepsAll')
    rows = {row['verb']: row for row in cli.json('backend', 'check')}
    assert rows['delete_object']['result'] == rows['clean_up']['result'] == 'warning'
    assert rows['write_speed']['result'] == 'skipped'
    left, = cli.objects()
    container, name = left.split('/')
    assert container in rows['clean_up']['detail'] and name in rows['clean_up']['detail']


def test_a_check_that_is_stopped_leaves_nothing(cli, gate):
    gate.shut('written speed-*')
    running = cli.start('backend', 'check')
    gate.wait()
    running.signal(signal.SIGINT)
    gate.open()
    done = running.wait()
    assert done.code == 130 and 'interrupted' in done.err
    assert cli.objects() == []


def test_a_server_that_is_down(cli, volume, tmp_path):
    """Its options are shown; each operation says in one sentence what is wrong."""
    cli.configure(driver=f'{ODD}:Remote', retry_deadline=0)
    made = cli.create(volume)
    shown = cli.json('backend', 'show', 'local')
    assert shown['ranged_read'] is True and shown['connections'] == 16
    (tmp_path / 'store.down').touch()
    done = cli.good('backend', 'show', 'local', '-f', 'json')
    assert done.json['path'] == str(cli.store) and done.json['ranged_read'] is None
    assert done.json['connections'] == 5
    warning, = done.err.splitlines()[-1:]
    assert warning.startswith('Warning: ') and 'no route to host' in warning
    assert re.search(r'durable +\| unknown', cli.good('backend', 'show', 'local').out)
    for words in (('backup', 'create', volume), ('backup', 'create', volume, '--incremental'),
                  ('backup', 'restore', made['id'], 'new'), ('backup', 'verify', made['id']),
                  ('backup', 'verify', made['id'], '--quick'), ('backup', 'delete', made['id']),
                  ('backend', 'check')):
        assert 'no route to host' in cli.refused(5, *words), words
    assert not (tmp_path / 'new').exists()
    (tmp_path / 'store.down').unlink()
    cli.good('backup', 'delete', made['id'])


def test_a_restore_asks_no_other_backend(cli, volume, tmp_path):
    cli.configure(f'[far]\ndriver = {ODD}:Remote\npath = {tmp_path}/far\n',
                  default='enabled_backends = local, far')
    made = cli.create(volume)
    (tmp_path / 'far.down').touch()
    cli.good('backup', 'restore', made['id'], 'target')
    assert (tmp_path / 'target').read_bytes() == volume.read_bytes()
    assert not (tmp_path / 'far.connected').exists()
    (tmp_path / 'far').mkdir()
    assert 'is inside' in cli.refused(4, 'backup', 'restore', made['id'], 'far/target')


def test_backends_that_cannot_be_opened_do_not_stop_a_restore_from_another(cli, volume, tmp_path):
    """But nothing is restored to where their stores may be."""
    cli.configure(f'[typo]\ndriver = local\npath = {tmp_path}/typo\npaht = x\n'
                  '[absent]\ndriver = shelf\npath = /\nkeep = ${state_path}/absent\n'
                  f'[starts]\ndriver = {ODD}:FailsToStart\npath = {tmp_path}/starts\n'
                  f'[copy]\ndriver = {ODD}:CopyDriver\npath = $state_path/copies\n',
                  default='enabled_backends = local, typo, absent, starts, copy')
    made = cli.create(volume)
    cli.good('backup', 'restore', made['id'], 'target')
    for place in ('typo', 'starts', 'state/copies', 'state/absent'):
        directory = tmp_path / place
        directory.mkdir(exist_ok=True)
        (directory / 'object').write_bytes(b'kept')
        message = cli.refused(4, 'backup', 'restore', made['id'], directory / 'object', '--force')
        assert 'where backups are kept' in message
        assert (directory / 'object').read_bytes() == b'kept'


def test_a_check_finds_a_store_that_cannot_be_used(cli):
    cli.store.mkdir(mode=0o555)
    assert 'Permission denied' in cli.refused(5, 'backend', 'check', unprivileged=True)


def test_a_check_finds_a_driver_that_does_not_keep_the_contract(cli):
    cli.configure(driver=f'{ODD}:ForgetsWhatItIsGiven')
    done = cli.run('backend', 'check', '-f', 'json')
    assert done.code == 5
    row, = [row for row in done.json if row['result'] == 'error']
    assert row['verb'] == 'get_container_entries' and 'probe-00001' in row['detail']


def test_drivers(cli):
    rows = {row['name']: row for row in cli.json('driver', 'list')}
    assert rows.keys() >= {'local', 'nfs'}
    assert rows['local']['distribution'] == 'backup-framework'
    options = {row['option']: row for row in cli.json('driver', 'show', 'local')}
    assert options['path']['required'] and options['chunk_size']['type'] == 'size'
    for name in ('local', 'nfs', f'{ODD}:CopyDriver'):
        done = cli.run('driver', 'check', name, '-f', 'json')
        assert done.code == 0, done
        assert not [row for row in done.json if row['level'] == 'error']


def test_a_check_tells_an_author_what_is_missing(cli):
    done = cli.run('driver', 'check', f'{ODD}:Abstract', '-f', 'json')
    assert done.code == 4
    missing = ' '.join(row['finding'] for row in done.json)
    for verb in ('get_container_entries', 'get_object_writer', 'get_object_reader',
                 'delete_object'):
        assert verb in missing
    assert 'put_container' not in missing


def test_a_driver_without_the_chunked_base(cli, volume):
    cli.configure(f'[copy]\ndriver = {ODD}:CopyDriver\npath = $state_path/copies\n',
                  default='enabled_backends = local, copy')
    made = cli.create(volume, '--backend', 'copy', '--name', 'whole')
    assert made['status'] == 'available' and made['size_bytes'] == 300_001
    for force in ([], ['--force']):
        cli.good('backup', 'restore', 'whole', 'target', *force)
        assert (cli.directory / 'target').read_bytes() == volume.read_bytes()
    for words in (('backup', 'verify', 'whole'), ('catalog', 'rebuild', 'copy'),
                  ('backend', 'clean', 'copy')):
        assert 'chunked base' in cli.refused(4, *words)
    assert cli.json('backend', 'check', 'copy')
    assert cli.json('backend', 'show', 'copy')['driver'] == f'{ODD}:CopyDriver'
    assert cli.json('backup', 'export', 'whole')
    copied, = (cli.state / 'copies').iterdir()
    copied.write_bytes(b'short')
    assert '5 of 300001 bytes' in cli.refused(1, 'backup', 'restore', 'whole', 'new')
    assert not (cli.directory / 'new').exists()
    copied.rename(cli.directory / 'gone')
    assert 'failed with FileNotFoundError' in cli.refused(
        1, 'backup', 'restore', 'whole', 'new')
    (cli.directory / 'gone').rename(copied)
    cli.good('backup', 'delete', 'whole')
    assert not list((cli.state / 'copies').iterdir())


@pytest.mark.parametrize('name, code, why', [
    ('FailsToStart', 2, 'KeyError'), ('Abstract', 2, 'get_object_writer'),
    ('Buggy', 1, 'IndexError'),
])
def test_bugs_of_a_driver_are_its_own(cli, volume, name, code, why):
    """They are named, and other backends go on working."""
    path = '' if name == 'Abstract' else 'path = $state_path/odd'
    cli.configure(f'[odd]\ndriver = {ODD}:{name}\n{path}\n',
                  default='enabled_backends = local, odd')
    message = cli.refused(code, 'backup', 'create', volume, '--backend', 'odd')
    assert name in message and why in message
    made = cli.create(volume)
    cli.good('backup', 'restore', made['id'], 'target')
    cli.good('backup', 'verify', '--all')


def test_a_backend_that_is_no_longer_there(cli, volume, tmp_path):
    cli.configure(f'[second]\ndriver = local\npath = {tmp_path}/second\n',
                  default='enabled_backends = local, second')
    made = cli.create(volume, '--backend', 'second')
    cli.configure()
    assert cli.json('backup', 'list')[0]['backend'] == 'second'
    assert len(cli.json('backup', 'list', '--backend', 'second')) == 1
    assert cli.json('backup', 'show', made['id'])['status'] == 'available'
    for words in (('restore', made['id'], 'x'), ('verify', made['id']), ('delete', made['id'])):
        assert 'no backend second' in cli.refused(3, 'backup', *words)
    assert cli.json('backup', 'show', made['id'])['status'] == 'available'
    assert 'no backend second' in cli.run('catalog', 'check').out
    cli.good('backup', 'forget', made['id'])


def test_an_incremental_does_not_cross_backends(cli, volume, tmp_path):
    cli.configure(f'[second]\ndriver = local\npath = {tmp_path}/second\n',
                  default='enabled_backends = local, second')
    first = cli.create(volume)
    other = cli.create(volume, '--incremental', '--backend', 'second')
    assert not other['is_incremental']
    assert cli.create(volume, '--incremental')['parent_id'] == first['id']
    assert 'on backend' in cli.refused(4, 'backup', 'create', volume, '--parent', first['id'],
                                       '--backend', 'second')


def test_formats_of_chunks_may_change_between_backups(cli, volume):
    """Another chunk size or codec keeps a chain of 1.0.0, another block size ends it."""
    cli.configure(format='1.0.0')
    first = cli.create(volume)
    cli.configure(chunk_size='128KiB', compression='bz2')
    second = cli.create(volume, '--incremental')
    assert second['parent_id'] == first['id']
    cli.configure(block_size='8KiB')
    done = cli.good('backup', 'create', volume, '--incremental', '-f', 'json')
    assert not done.json['is_incremental'] and 'block_size' in done.err
    cli.good('backup', 'verify', '--all')


def test_sizes_of_chunks_wait_for_the_next_full_backup(cli, volume):
    first = cli.create(volume)
    cli.configure(chunk_size='128KiB', block_size='8KiB', compression='bz2')
    done = cli.good('backup', 'create', volume, '--incremental', '-f', 'json')
    assert done.json['parent_id'] == first['id']
    for name in 'chunk_size', 'block_size':
        assert re.search(f'{name}.*next full backup', done.err), done.err
    assert cli.good('backup', 'create', volume).err == ''
    cli.good('backup', 'verify', '--all')
