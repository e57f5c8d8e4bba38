"""Killed, interrupted, two at once: what was committed stays, what was not goes away."""

from __future__ import annotations

import os
import signal

import pytest

from tests.functional.command_line import until
from tests.functional.conftest import change, in_cinders_format

STOPS = [
    ('1.0.0', 'writing *-00001'), ('1.0.0', 'written *-00003'), ('1.0.0', 'written *_metadata'),
    ('2.0.0', 'writing *-00001'), ('2.0.0', 'written *_map'), ('2.0.0', 'writing *_metadata'),
    ('2.0.0', 'written *_metadata')]


def killed_create(cli, gate, volume, stop: str, *argv: str) -> dict:
    """The record of a create that was killed at this step."""
    gate.shut(stop)
    running = cli.start('backup', 'create', volume, *argv)
    gate.wait()
    running.signal(signal.SIGKILL)
    assert running.wait().code == -signal.SIGKILL
    gate.open()
    return cli.json('backup', 'list')[0]


@pytest.mark.parametrize('version, stop', STOPS)
def test_a_killed_create(cli, gate, volume, version, stop):
    """Also one killed between the commit in the store and that in the catalog."""
    cli.configure(format=version)
    first = volume.read_bytes()
    base = cli.create(volume, '--name', 'base')
    before = cli.objects()
    change(volume, 0, b'x' * 290_000)
    made = killed_create(cli, gate, volume, stop, '--incremental')
    assert made['status'] == 'error' and made['fail_reason'].startswith('interrupted')
    assert 'is error' in cli.refused(4, 'backup', 'restore', made['id'], 'target')
    child = cli.create(volume, '--incremental')
    assert child['parent_id'] == base['id']
    cli.good('backup', 'delete', made['id'], child['id'])
    cli.good('backend', 'clean', '--older-than', 0)
    assert cli.objects() == before
    cli.good('backup', 'restore', 'base', 'target')
    assert (cli.directory / 'target').read_bytes() == first
    cli.good('backup', 'verify', '--all')
    assert cli.json('catalog', 'check') == []


def test_the_next_command_tells_of_a_kill_once(cli, gate, volume):
    gate.shut('writing *-00001')
    running = cli.start('backup', 'create', volume, '--name', 'night')
    gate.wait()
    running.kill()
    assert 'night) was interrupted' in cli.good('volume', 'list').err
    assert cli.good('volume', 'list').err == ''


def test_deleting_a_failed_backup_takes_old_leftovers_along(cli, gate, volume):
    made = killed_create(cli, gate, volume, 'writing *-00001')
    left = list(cli.store.rglob('.tmp-*'))
    assert left
    for file in left:
        os.utime(file, (0, 0))
    cli.good('backup', 'delete', made['id'])
    assert list(cli.store.iterdir()) == []


def test_what_a_running_backup_writes_is_no_leftover(cli, gate, volume, make_volume):
    gate.shut('writing *-00001')
    running = cli.start('backup', 'create', volume)
    gate.wait()
    for file in cli.store.rglob('.tmp-*'):
        os.utime(file, (file.stat().st_mtime - 1800,) * 2)
    assert cli.json('backend', 'clean', '--older-than', 0)['removed'] == 0
    gate.open()
    assert running.wait().code == 0
    cli.good('backup', 'verify', '--all')


def test_clean_keeps_what_is_young(cli, gate, volume):
    killed_create(cli, gate, volume, 'writing *-00001')
    assert cli.json('backend', 'clean')['removed'] == 0
    assert cli.json('backend', 'clean', 'local', '--older-than', 0)['removed'] >= 1
    assert not list(cli.store.rglob('.tmp-*'))
    for nonsense in ('long', '-1', '1e99', '1 hour', 'nan', ''):
        done = cli.run('backend', 'clean', '--older-than', nonsense)
        assert done.code == 2 and 'a time like 12h' in done.err


@pytest.mark.parametrize('time, seconds', [
    ('90m', 5400), ('2h', 7200), ('30d', 30 * 86400), ('2', 7200), ('1.5', 5400)])
def test_clean_takes_the_times_that_others_take(cli, gate, volume, time, seconds):
    """A bare number is one of hours, as it was when nothing else was taken."""
    killed_create(cli, gate, volume, 'writing *-00001')
    file, = cli.store.rglob('.tmp-*')
    now = file.stat().st_mtime
    for age, removed in ((seconds - 600, 0), (seconds + 600, 1)):
        os.utime(file, (now - age,) * 2)
        assert cli.json('backend', 'clean', '--older-than', time)['removed'] == removed


@pytest.mark.parametrize('version, stop', [
    ('1.0.0', 'deleted *_metadata'), ('1.0.0', 'deleting *-00002'), ('1.0.0', 'deleted *-00005'),
    ('2.0.0', 'deleted *_metadata'), ('2.0.0', 'deleted *-00001'), ('2.0.0', 'deleted *_map')])
def test_a_killed_delete(cli, gate, volume, version, stop):
    cli.configure(format=version)
    made = cli.create(volume)
    other = cli.create(volume)
    gate.shut(stop)
    running = cli.start('backup', 'delete', made['id'])
    gate.wait()
    running.kill()
    gate.open()
    shown = cli.json('backup', 'show', made['id'])
    assert shown['status'] == 'error_deleting' and 'interrupted' in shown['fail_reason']
    cli.refused(4, 'backup', 'restore', made['id'], 'target')
    cli.good('backup', 'delete', made['id'])
    assert all(other['id'] in name or 'bf-container.' in name for name in cli.objects())
    cli.good('backup', 'verify', '--all')


def test_a_killed_restore_to_a_new_file(cli, gate, volume):
    made = cli.create(volume, '--name', 'good')
    target = cli.directory / 'target'
    gate.shut('reading *-0000?')
    running = cli.start('backup', 'restore', 'good', 'target')
    gate.wait()
    assert cli.json('backup', 'show', 'good')['status'] == 'restoring'
    running.kill()
    gate.open()
    assert not target.exists() and len(list(cli.directory.glob('.target.*.partial'))) == 1
    done = cli.good('backup', 'list')
    assert f'into {target} was interrupted' in done.err and 'damaged' not in done.err
    assert cli.json('backup', 'show', 'good')['status'] == 'available'
    cli.good('backup', 'restore', made['id'], 'target')
    assert target.read_bytes() == volume.read_bytes()
    assert not list(cli.directory.glob('.target*'))


def test_a_killed_restore_to_an_existing_file(cli, gate, volume, make_volume, version):
    cli.create(volume, '--name', 'good')
    target = make_volume('target', seed=3)
    gate.shut('reading *-0000?')
    running = cli.start('backup', 'restore', 'good', 'target', '--force')
    gate.wait()
    running.kill()
    gate.open()
    assert f'into {target} was interrupted; its target is damaged' in cli.good('volume', 'list').err
    cli.good('backup', 'restore', 'good', 'target', '--force')
    assert target.read_bytes() == volume.read_bytes()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('version, stop', [
    ('1.0.0', 'writing *-00001'), ('1.0.0', 'writing *-00005'), ('2.0.0', 'writing *-00001'),
    ('2.0.0', 'writing *-00002')])
def test_an_interrupted_create_leaves_nothing(cli, gate, make_volume, number, version, stop):
    cli.configure(format=version)
    volume = make_volume()
    if stop.endswith('2'):
        cli.configure(chunk_size='5MiB', block_size='64KiB')
        volume = make_volume(size=24 << 20)
    gate.shut(stop)
    running = cli.start('backup', 'create', volume)
    gate.wait()
    running.signal(number)
    gate.open()
    done = running.wait()
    assert done.code == 128 + number and 'Traceback' not in done.err
    assert done.err.count('Error: ') == 1 and not done.out
    assert cli.objects() == []
    made, = cli.json('backup', 'list')
    assert made['status'] == 'error' and 'interrupted' in made['fail_reason']


@pytest.mark.parametrize('version', ['1.0.0', '2.0.0'])
def test_an_interrupted_restore_says_what_became_of_the_target(cli, gate, make_volume, version):
    cli.configure(format=version, chunk_size='5MiB', block_size='64KiB', workers=0)
    size = 24 << 20
    cli.create(make_volume(size=size), '--name', 'good')
    old = make_volume('old', size, seed=3)
    for target, more in ((old, ['--force']), (cli.directory / 'new', [])):
        gate.shut('reading *-00002')
        running = cli.start('backup', 'restore', 'good', target, *more)
        gate.wait()
        running.signal(signal.SIGTERM)
        gate.open()
        done = running.wait()
        assert done.code == 143 and done.err.count('Error: ') == 1
        assert (f'{target} is damaged now' in done.err) == bool(more)
    assert not target.exists() and not list(cli.directory.glob('.*'))
    assert cli.good('volume', 'list').err == ''


def test_a_second_signal_does_not_ask(cli, gate, volume):
    gate.shut('writing *-00001')
    running = cli.start('backup', 'create', volume)
    gate.wait()
    running.signal(signal.SIGTERM)
    assert running.alive
    until(lambda: running.signal(signal.SIGTERM) or not running.alive, 'the end')
    assert running.wait().code in (-signal.SIGTERM, 128 + signal.SIGTERM)
    gate.open()
    assert cli.json('backup', 'list')[0]['status'] == 'error'


def test_two_creates_of_one_volume(cli, gate, volume, make_volume):
    gate.shut('writing *-00001')
    running = cli.start('backup', 'create', volume)
    gate.wait()
    first, = cli.json('backup', 'list', '--status', 'creating')
    assert first['status'] == 'creating'
    message = cli.refused(4, 'backup', 'create', volume)
    assert first['id'] in message and str(volume) in message
    assert 'creating' in cli.refused(4, 'backup', 'delete', first['id'])
    assert 'creating' in cli.refused(4, 'backup', 'restore', first['id'], 'target')
    assert cli.refused(4, 'backup', 'set', first['id'], '--state', 'error')
    gate.open()
    assert running.wait().code == 0
    assert [each['status'] for each in cli.json('backup', 'list')] == ['available']


def test_two_volumes_at_once(cli, volume, make_volume):
    other = make_volume('other', seed=2)
    started = [cli.start('backup', 'create', path, '--container', 'shelf')
               for path in (volume, other)]
    assert [each.wait().code for each in started] == [0, 0]
    cli.good('backup', 'verify', '--all')


def test_what_is_restored_is_not_deleted(cli, gate, volume):
    cli.create(volume, '--name', 'good')
    gate.shut('reading *-0000?')
    started = [cli.start('backup', 'restore', 'good', name) for name in ('one', 'two')]
    gate.wait()
    message = cli.refused(4, 'backup', 'delete', 'good')
    assert 'restor' in message
    cli.refused(4, 'backup', 'forget', 'good')
    gate.open()
    assert [each.wait().code for each in started] == [0, 0]
    for name in ('one', 'two'):
        assert (cli.directory / name).read_bytes() == volume.read_bytes()
    cli.good('backup', 'delete', 'good')


@in_cinders_format
def test_a_parent_that_is_being_used_is_not_deleted(cli, gate, volume, version):
    base = cli.create(volume)
    gate.shut('writing *_sha256file')
    running = cli.start('backup', 'create', volume, '--incremental')
    gate.wait()
    child = cli.json('backup', 'list')[0]
    assert child['id'] in cli.refused(4, 'backup', 'delete', base['id'])
    gate.open()
    assert running.wait().code == 0
    cli.good('backup', 'verify', '--all')


def test_what_is_deleted_is_no_parent(cli, gate, volume):
    base = cli.create(volume)
    gate.shut('deleting *_metadata')
    running = cli.start('backup', 'delete', base['id'])
    gate.wait()
    made = cli.create(volume, '--incremental')
    assert made['parent_id'] is None
    assert cli.refused(4, 'backup', 'create', volume, '--parent', base['id'])
    gate.open()
    assert running.wait().code == 0
