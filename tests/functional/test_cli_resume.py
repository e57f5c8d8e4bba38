"""Backups and restores that were killed on their way, and gone on with."""

from __future__ import annotations

import os
import random
import re
import signal

import pytest

from tests.functional.conftest import change

OBJECTS = 12
CHUNK = 5 << 20
"""Chunks so large that each becomes an object of its own."""


@pytest.fixture
def large(cli, gate, tmp_path):
    """A volume of many objects, backed up by one worker after the other."""
    cli.configure(format='2.0.0', chunk_size=CHUNK, block_size='64KiB', workers=1)
    path = tmp_path / 'disk'
    path.write_bytes(random.Random(1).randbytes(OBJECTS * CHUNK))
    return path


def killed(cli, gate, stop: str, *argv: object) -> dict:
    """The record of a create that was killed at this step."""
    gate.shut(stop)
    running = cli.start('backup', 'create', *argv)
    gate.wait()
    running.kill()
    gate.open()
    cli.good('backend', 'clean', '--older-than', 0)
    return cli.json('backup', 'list', '--status', 'error')[0]


def sizes(cli) -> dict[str, int]:
    """The objects of the store, by name."""
    return {name: (cli.store / name).stat().st_size for name in cli.objects()}


@pytest.mark.parametrize('percent', [25, 50, 75, 99])
def test_what_was_stored_is_not_sent_again(cli, gate, large, percent):
    done = OBJECTS * percent // 100
    lost = killed(cli, gate, f'writing *-{done + 1:05d}', large)
    before = sizes(cli)
    assert len([name for name in before if re.search(r'-\d{5}$', name)]) == done
    made = cli.create(large, '--resume')
    assert (made['id'], made['status']) == (lost['id'], 'available')
    after = sizes(cli)
    sent = sum(size for name, size in after.items() if name not in before)
    assert before.items() <= after.items()
    assert sent <= (OBJECTS - done) * (CHUNK + 100_000) + CHUNK
    assert 'interrupted' in made['warnings'][0]
    cli.good('backup', 'restore', made['id'], 'target')
    assert (cli.directory / 'target').read_bytes() == large.read_bytes()
    cli.good('backup', 'delete', made['id'])
    assert [name for name in cli.objects() if made['id'] in name] == []


def small(cli, **options: object) -> None:
    """Many little objects: where they are made does not matter."""
    cli.configure(**{'format': '2.0.0', 'chunk_size': '64KiB', 'block_size': '4KiB', **options})


def test_an_incremental_one_twice_interrupted(cli, gate, volume):
    small(cli)
    base = cli.create(volume)
    now = change(volume, 0, b'x' * 90_000)
    lost = killed(cli, gate, 'written *-00001', volume, '--incremental', '--name', 'night')
    gate.shut('writing *_metadata')
    running = cli.start('backup', 'create', volume, '--resume')
    gate.wait()
    message = cli.refused(4, 'backup', 'create', volume, '--resume')
    assert lost['id'] in message and 'being backed up already' in message
    running.kill()
    gate.open()
    before = sizes(cli)
    made = cli.create(volume, '--resume')
    assert (made['id'], made['name'], made['parent_id']) == (lost['id'], 'night', base['id'])
    assert [name for name in sizes(cli) if re.search(r'-\d{5}$', name) and name not in before] == []
    assert [name for name in cli.objects() if made['id'] in name and '_map' in name][1:] == []
    cli.good('backup', 'delete', base['id'])
    cli.good('backup', 'verify', '--all')
    cli.good('backup', 'restore', 'night', 'target')
    assert (cli.directory / 'target').read_bytes() == now
    assert cli.json('catalog', 'check') == []


def test_with_nothing_to_go_on_with_it_is_a_new_one(cli, volume):
    small(cli)
    done = cli.good('backup', 'create', volume, '--resume')
    assert 'this is a new backup' in done.err
    cli.good('backup', 'create', volume, '--resume')
    assert [each['status'] for each in cli.json('backup', 'list')] == ['available'] * 2


def test_one_that_lacks_only_its_record_is_complete(cli, gate, volume):
    small(cli)
    lost = killed(cli, gate, 'written *_metadata', volume)
    done = cli.run('backup', 'create', volume, '--resume', '-f', 'json')
    assert done.code == 0 and f'{lost["id"]} was complete' in done.err
    assert cli.json('backup', 'show', lost['id'])['status'] == 'available'
    assert done.json['parent_id'] == lost['id']
    cli.good('backup', 'verify', '--all')


def test_one_whose_manifest_lacks_an_object_is_left(cli, gate, volume):
    small(cli)
    lost = killed(cli, gate, 'written *_metadata', volume)
    next(cli.store.rglob('*-00001')).unlink()
    done = cli.good('backup', 'create', volume, '--resume')
    assert lost['id'] in done.err and 'missing' in done.err
    assert cli.json('backup', 'show', lost['id'])['status'] == 'error'


def test_one_that_was_complete_once_is_left(cli, volume):
    """Its manifest was lost: another state must not get its id."""
    small(cli)
    lost = cli.create(volume)
    next(cli.store.rglob('*_metadata')).unlink()
    cli.good('catalog', 'check', '--repair')
    assert cli.json('backup', 'show', lost['id'])['status'] == 'error'
    change(volume)
    assert cli.create(volume, '--resume')['id'] != lost['id']


@pytest.mark.parametrize('options', [
    {'version': '1.0.0'}, {'durability': 'backup'}], ids=str)
def test_what_cannot_be_gone_on_with(cli, gate, volume, options):
    small(cli, **{'format': options.pop('version', '2.0.0'), **options})
    lost = killed(cli, gate, 'written *-00001', volume)
    made = cli.create(volume, '--resume')
    assert made['id'] != lost['id']
    cli.good('backup', 'delete', lost['id'])
    cli.good('backup', 'verify', made['id'])


@pytest.mark.parametrize('asked', [
    ['--container', 'other'], ['--format', '1.0.0'], ['--no-incremental']])
def test_what_was_asked_for_is_another_one(cli, gate, volume, asked):
    small(cli)
    cli.create(volume)
    change(volume)
    lost = killed(cli, gate, 'writing *_metadata', volume, '--incremental')
    cli.good('backup', 'list')
    # The newest is the interrupted one, whatever is complete before it.
    assert cli.create(volume, '--resume', *asked)['id'] != lost['id']


def test_an_older_one_than_one_that_is_complete_is_left(cli, gate, volume):
    small(cli)
    lost = killed(cli, gate, 'writing *_metadata', volume)
    cli.create(volume)
    assert cli.create(volume, '--resume')['id'] != lost['id']


def test_a_copy_that_was_interrupted_is_no_backup_of_the_volume(cli, gate, volume):
    small(cli)
    second = f'[second]\ndriver = local\npath = {cli.directory}/second\n'
    cli.configure(second, default='enabled_backends = local, second')
    made = cli.create(volume, '--backend', 'second')
    gate.shut('writing *_metadata')
    running = cli.start('backup', 'copy', made['id'], '--to-backend', 'local')
    gate.wait()
    running.kill()
    gate.open()
    lost, = cli.json('backup', 'list', '--status', 'error')
    assert cli.create(volume, '--resume')['id'] != lost['id']


def test_a_stream_that_comes_again(cli, gate, volume):
    small(cli)
    data = volume.read_bytes()
    gate.shut('written *-00001')
    running = cli.start('backup', 'create', '-', '--volume', 'vm', stdin=data)
    gate.wait()
    running.kill()
    gate.open()
    before = sizes(cli)
    made = cli.create('-', '--volume', 'vm', '--resume', stdin=data)
    assert any(made['id'] in name for name in before)
    cli.good('backup', 'restore', made['id'], 'target')
    assert (cli.directory / 'target').read_bytes() == data


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_interrupted_with_resume_it_leaves_what_it_stored(cli, gate, large, number):
    gate.shut('writing *-00004')
    running = cli.start('backup', 'create', large, '--resume')
    gate.wait()
    running.signal(number)
    gate.open()
    done = running.wait()
    assert done.code == 128 + number and '--resume' in done.err and done.err.count('Error: ') == 1
    lost, = cli.json('backup', 'list')
    before = sizes(cli)
    assert len(before) >= 3
    made = cli.create(large, '--resume')
    assert made['id'] == lost['id'] and before.items() <= sizes(cli).items()


@pytest.mark.parametrize('remover', [
    ['catalog', 'check', '--repair'], ['backup', 'delete']], ids=' '.join)
def test_what_is_being_removed_is_not_gone_on_with(cli, gate, volume, remover):
    """Neither at once nor by halves: objects that are kept must not go afterwards."""
    small(cli)
    lost = killed(cli, gate, 'writing *_metadata', volume)
    gate.shut('deleting *-00001')
    running = cli.start(*remover, *([lost['id']] if 'delete' in remover else []))
    gate.wait()
    done = cli.run('backup', 'create', volume, '--resume')
    gate.open()
    assert running.wait().code == 0
    assert lost['id'] in done.err if done.code else 'new backup' in done.err
    cli.good('backup', 'create', volume, '--resume')
    cli.good('backup', 'verify', '--all')
    assert cli.json('catalog', 'check') == []


def test_run_goes_on(cli, gate, volume, make_volume):
    small(cli)
    other = make_volume('other', seed=2)
    cli.configure(f'[volume:one]\npath = {volume}\n[volume:two]\npath = {other}\n')
    gate.shut('writing *_metadata')
    running = cli.start('backup', 'run')
    gate.wait()
    running.kill()
    gate.open()
    lost, = cli.json('backup', 'list')
    rows = cli.json('backup', 'run', '--resume')
    assert [row['status'] for row in rows] == ['available'] * 2
    assert rows[0]['backup'] == lost['id']


def left_by_a_restore(cli, gate, stop: str = 'reading *-00009', *argv: object):
    """The partial file of a restore that was killed."""
    gate.shut(stop)
    running = cli.start('backup', 'restore', 'good', 'target', *argv)
    gate.wait()
    assert 'another restore to' in cli.refused(4, 'backup', 'restore', 'good', 'target')
    assert 'another restore to' in cli.refused(
        4, 'backup', 'restore', 'good', 'target', '--resume')
    running.kill()
    gate.open()
    partial, = cli.directory.glob('.target.*.partial')
    return partial


@pytest.fixture
def stored(cli, large):
    cli.configure(workers=0)
    return cli.create(large, '--name', 'good')


def test_a_restore_fetches_only_what_it_lacks(cli, gate, large, stored):
    partial = left_by_a_restore(cli, gate)
    assert '--resume' in cli.good('backup', 'list').err
    inode = partial.stat().st_ino
    for number in range(1, 9):
        # Where these bytes were fetched, it would fail.
        with open(next(cli.store.rglob(f'*-{number:05d}')), 'r+b') as file:
            file.seek(64)
            file.write(bytes(CHUNK))
    cli.good('backup', 'restore', 'good', 'target', '--resume')
    target = cli.directory / 'target'
    assert target.read_bytes() == large.read_bytes() and target.stat().st_ino == inode
    assert not list(cli.directory.glob('.target*'))


def test_what_a_restore_left_is_not_trusted(cli, gate, large, stored):
    partial = left_by_a_restore(cli, gate)
    with open(partial, 'r+b') as file:
        file.write(b'garbage')
        file.seek(3 * CHUNK)
        file.write(bytes(CHUNK))
        file.truncate(OBJECTS * CHUNK + 5000)
    cli.good('backup', 'restore', 'good', 'target', '--resume')
    assert (cli.directory / 'target').read_bytes() == large.read_bytes()


def test_what_another_restore_left_is_removed(cli, gate, volume):
    small(cli)
    cli.create(volume, '--name', 'good')
    partial = left_by_a_restore(cli, gate, 'reading *-00001')
    now = change(volume)
    cli.create(volume, '--name', 'other')
    cli.good('backup', 'restore', 'other', 'target', '--resume')
    assert (cli.directory / 'target').read_bytes() == now and not partial.exists()


@pytest.mark.parametrize('spoil', [
    lambda file: file.chmod(0o666), lambda file: os.link(file, file.with_name('second')),
    lambda file: (file.unlink(), file.symlink_to('second')),
    lambda file: (file.unlink(), file.mkdir())], ids=['writable', 'linked', 'symlink', 'directory'])
def test_what_others_can_write_to_is_not_taken_up(cli, gate, volume, spoil):
    small(cli)
    cli.create(volume, '--name', 'good')
    partial = left_by_a_restore(cli, gate, 'reading *-00001')
    inode = partial.stat().st_ino
    with open(partial, 'rb'):  # so that no other file gets its inode
        spoil(partial)
        cli.good('backup', 'restore', 'good', 'target', '--resume')
    target = cli.directory / 'target'
    assert target.read_bytes() == volume.read_bytes()
    assert not target.is_symlink() and target.stat().st_ino != inode
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_restore_interrupted_with_resume_leaves_what_it_has(cli, gate, large, stored):
    gate.shut('reading *-00009')
    running = cli.start('backup', 'restore', 'good', 'target', '--resume')
    gate.wait()
    running.signal(signal.SIGTERM)
    gate.open()
    done = running.wait()
    assert done.code == 143 and '--resume goes on with it' in done.err
    partial, = cli.directory.glob('.target.*.partial')
    inode = partial.stat().st_ino
    cli.good('backup', 'restore', 'good', 'target', '--resume')
    assert (cli.directory / 'target').stat().st_ino == inode
    assert (cli.directory / 'target').read_bytes() == large.read_bytes()


def test_on_what_exists_it_is_a_delta(cli, volume, make_volume):
    small(cli)
    cli.create(volume, '--name', 'good')
    target = make_volume('target')
    change(target)
    assert '--force' in cli.refused(4, 'backup', 'restore', 'good', 'target', '--resume')
    cli.good('backup', 'restore', 'good', 'target', '--resume', '--force')
    assert target.read_bytes() == volume.read_bytes()


def test_a_restore_that_cannot_go_on(cli, volume):
    small(cli)
    cli.create(volume, '--name', 'good')
    assert '--resume' in cli.refused(2, 'backup', 'restore', 'good', '-', '--resume')
    assert '--partial' in cli.refused(2, 'backup', 'restore', 'good', 'x', '--resume', '--partial')
