"""Deleting backups of 2.0.0 in any order, also while others are being made."""

from __future__ import annotations

import signal

import pytest

from tests.functional.conftest import change


@pytest.fixture(autouse=True)
def own_format(cli):
    cli.configure(format='2.0.0')


def restored(cli, made) -> bytes:
    target = cli.directory / 'restored'
    cli.good('backup', 'restore', made['id'], target, '--force', '--truncate')
    return target.read_bytes()


def test_any_backup_of_a_chain_is_deleted(cli, volume):
    made, held = [], []
    for number in range(4):
        held.append(change(volume, number * 9000, bytes([number + 1]) * 5000))
        made.append(cli.create(volume, '--incremental'))
    assert [each['parent_id'] for each in made[1:]] == [each['id'] for each in made[:-1]]
    assert not cli.json('backup', 'show', made[0]['id'])['has_dependent_backups']
    for gone in (0, 2, 3):
        [row] = cli.json('backup', 'delete', made[gone]['id'])
        assert row['outcome'] == 'deleted'
        for number in {0: (1, 2, 3), 2: (1, 3), 3: (1,)}[gone]:
            assert restored(cli, made[number]) == held[number]
        assert cli.json('catalog', 'check') == []
        cli.good('backup', 'verify', '--all')
    cli.good('backup', 'delete', made[1]['id'])
    assert cli.objects() == []


def begun(cli, gate, volume, *argv):
    """A create that stands still before its second object is there."""
    gate.shut('writing *_map')
    running = cli.start('backup', 'create', volume, *argv)
    gate.wait()
    return running


def test_a_parent_is_deleted_while_its_child_is_made(cli, gate, volume):
    parent = cli.create(volume)
    data = change(volume)
    running = begun(cli, gate, volume, '--incremental')
    child = cli.json('backup', 'list', '--status', 'creating')[0]
    done = cli.good('backup', 'delete', parent['id'], '-f', 'json')
    assert done.json[0]['outcome'] == 'waits'
    assert child['id'] in done.err
    shown = cli.json('backup', 'show', parent['id'])
    assert shown['status'] == 'deleting' and child['id'] in shown['warnings'][0]
    assert not [name for name in cli.objects() if name.endswith('_metadata')]
    assert [name for name in cli.objects() if parent['id'] in name]
    # Nothing that only reads ends it, nor does asking again.
    cli.good('backup', 'list')
    assert cli.json('backup', 'delete', parent['id'])[0]['outcome'] == 'waits'
    assert cli.json('backup', 'show', parent['id'])['status'] == 'deleting'
    gate.open()
    assert running.wait().code == 0
    assert [each['id'] for each in cli.json('backup', 'list')] == [child['id']]
    assert restored(cli, child) == data
    cli.good('backup', 'verify', '--all')
    cli.good('backup', 'delete', child['id'])
    assert cli.objects() == []


def test_a_delete_does_not_wait_for_what_died(cli, gate, volume):
    parent = cli.create(volume)
    running = begun(cli, gate, volume, '--incremental')
    assert cli.json('backup', 'delete', parent['id'])[0]['outcome'] == 'waits'
    running.signal(signal.SIGKILL)
    running.wait()
    gate.open()
    failed = cli.json('backup', 'list', '--status', 'error')[0]
    cli.good('backup', 'delete', failed['id'])
    assert cli.json('backup', 'list') == []
    cli.good('backend', 'clean', '--older-than', 0)
    assert cli.objects() == []


def test_the_next_backup_frees_what_waits(cli, gate, volume, make_volume):
    """When the one that was waited for failed, so that it could not."""
    parent = cli.create(volume)
    running = begun(cli, gate, volume, '--incremental')
    cli.good('backup', 'delete', parent['id'])
    running.signal(signal.SIGTERM)
    gate.open()
    assert running.wait().code != 0
    assert cli.json('backup', 'show', parent['id'])['status'] == 'deleting'
    other = cli.create(make_volume('other', seed=2))
    assert {each['id'] for each in cli.json('backup', 'list')} >= {other['id']}
    assert parent['id'] not in {each['id'] for each in cli.json('backup', 'list')}
    assert not [name for name in cli.objects() if parent['id'] in name]


def test_backups_elsewhere_are_not_waited_for(cli, gate, volume, make_volume):
    parent = cli.create(volume)
    running = begun(cli, gate, make_volume('other', seed=2))
    assert cli.json('backup', 'delete', parent['id'])[0]['outcome'] == 'deleted'
    gate.open()
    assert running.wait().code == 0


def test_a_delete_waits_for_what_is_built_on_a_backup_that_goes_too(cli, gate, volume):
    """No manifest says any more what the running backup takes over from the first one."""
    root = cli.create(volume)
    change(volume, 0)
    parent = cli.create(volume, '--incremental')
    killed = begun(cli, gate, volume, '--incremental')
    assert cli.json('backup', 'delete', root['id'])[0]['outcome'] == 'waits'
    killed.signal(signal.SIGKILL)
    killed.wait()
    data = change(volume, 200_000)
    gate.shut('writing *_metadata')
    running = cli.start('backup', 'create', volume, '--incremental')
    gate.wait()
    assert cli.json('backup', 'delete', parent['id'])[0]['outcome'] == 'waits'
    assert [name for name in cli.objects() if root['id'] in name]
    gate.open()
    assert running.wait().code == 0
    child, = cli.json('backup', 'list', '--status', 'available')
    assert restored(cli, child) == data
    assert {each['id'] for each in cli.json('backup', 'list')}.isdisjoint(
        {root['id'], parent['id']})


def test_two_commands_take_up_one_delete(cli, gate, volume):
    """The second finds the first at it, and lets it."""
    parent = cli.create(volume)
    running = begun(cli, gate, volume, '--incremental')
    cli.good('backup', 'delete', parent['id'])
    running.signal(signal.SIGTERM)
    gate.open()
    running.wait()
    gate.shut('deleting *-00001')
    first = cli.start('backup', 'delete', parent['id'])
    gate.wait()
    assert 'is deleting' in cli.refused(4, 'backup', 'delete', parent['id'])
    cli.create(volume, '--container', 'else')
    gate.open()
    assert first.wait().code == 0
    assert parent['id'] not in {each['id'] for each in cli.json('backup', 'list')}


def test_a_delete_that_was_killed_after_waiting_is_repeated(cli, gate, volume):
    parent = cli.create(volume)
    running = begun(cli, gate, volume, '--incremental')
    cli.good('backup', 'delete', parent['id'])
    running.signal(signal.SIGKILL)
    running.wait()
    gate.shut('deleting *-00001')
    killed = cli.start('backup', 'delete', parent['id'])
    gate.wait()
    killed.kill()
    gate.open()
    assert cli.json('backup', 'show', parent['id'])['status'] == 'deleting'
    cli.good('backup', 'delete', parent['id'])
    assert not [name for name in cli.objects() if parent['id'] in name]


def test_a_manifest_that_cannot_be_read_stops_the_delete(cli, volume):
    first = cli.create(volume)
    change(volume, 0, bytes(300_000))
    second = cli.create(volume, '--incremental')
    change(volume, 200_000)
    third = cli.create(volume, '--incremental')
    [manifest] = cli.store.rglob(f'*{third["id"]}_metadata')
    kept = manifest.read_bytes()
    manifest.write_bytes(kept[:-9])
    told = cli.refused(6, 'backup', 'delete', first['id'])
    assert manifest.name in told
    assert cli.json('backup', 'show', first['id'])['status'] == 'error_deleting'
    manifest.write_bytes(kept)
    cli.good('backup', 'delete', first['id'])
    cli.good('backup', 'verify', second['id'], third['id'])


def test_another_container_or_format_makes_a_full_backup(cli, volume):
    first = cli.create(volume)
    done = cli.good('backup', 'create', volume, '--incremental', '--container', 'else', '-f',
                    'json')
    assert done.json['parent_id'] is None and done.json['container'] == 'else'
    assert 'full backup, because the container is else' in done.err
    assert 'the container is' in cli.refused(
        4, 'backup', 'create', volume, '--parent', first['id'], '--container', 'elsewhere')
    done = cli.good('backup', 'create', volume, '--incremental', '--format', '1.0.0', '-f', 'json')
    assert done.json['parent_id'] is None and done.json['format'] == '1.0.0'
    assert 'the format is 1.0.0 and was 2.0.0' in done.err
    cli.configure(format='2.0.0')
    told = cli.good('backup', 'create', volume, '--incremental', '-f', 'json')
    child = told.json
    assert child['parent_id'] == done.json['id'] and child['format'] == '1.0.0'
    assert '2.0.0 takes effect with the next full backup' in told.err
    assert 'needed by' in cli.refused(4, 'backup', 'delete', done.json['id'])
