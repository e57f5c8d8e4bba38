"""What containers hold, as the command line tells it."""

import random

import pytest

from tests.functional.conftest import change


def stored(cli) -> int:
    return sum((cli.store / name).stat().st_size for name in cli.objects())


def test_what_is_stored(cli, volume, make_volume, version):
    """The sum of all objects is what the store's files have."""
    one, two = cli.create(volume), cli.create(make_volume('other', 70_000, seed=5))
    listed = {row['container']: row for row in cli.json('container', 'list')}
    assert set(listed) == {one['container'], two['container']}
    assert sum(row['stored_bytes'] for row in listed.values()) == stored(cli)
    assert listed[one['container']]['logical_bytes'] == one['size_bytes']
    assert {row['reclaimable_bytes'] for row in listed.values()} == {0}
    shown = cli.json('container', 'show', one['container'])
    assert {**listed[one['container']], **shown} == shown
    assert (shown['backups'], shown['notes'], shown['unused_objects']) == (1, [], 0)
    assert shown['objects'] == len([name for name in cli.objects()
                                    if name.startswith(one['container'] + '/')
                                    and not name.endswith('/.container')])


def test_what_an_interrupted_backup_left_is_unused(cli, gate, volume):
    made = cli.create(volume)
    before = cli.json('container', 'show', made['container'])
    change(volume, 0, random.Random(2).randbytes(300_000))
    gate.shut('writing *_map')
    running = cli.start('backup', 'create', volume, '--incremental')
    gate.wait()
    running.kill()
    gate.open()
    shown = cli.json('container', 'show', made['container'])
    assert shown['unused_objects'] == shown['objects'] - before['objects'] > 0
    assert shown['unused_bytes'] == shown['stored_bytes'] - before['stored_bytes'] > 290_000
    assert shown['reclaimable_bytes'] == shown['unused_bytes'] + shown['dead_bytes']
    cli.good('catalog', 'check', '--repair')
    assert cli.json('container', 'show', made['container']) == before


def test_what_is_dead_in_objects_that_are_needed(cli, volume):
    """Half of what the full backup stored, when only the incremental one is left."""
    full = cli.create(volume)
    change(volume, 0, b'\1' * 50_000)
    cli.create(volume, '--incremental')
    assert cli.json('container', 'show', full['container'])['dead_bytes'] == 0
    cli.good('backup', 'delete', full['id'])
    shown = cli.json('container', 'show', full['container'])
    assert 45_000 < shown['dead_bytes'] < 60_000 and shown['unused_bytes'] == 0


def test_a_damaged_backup_makes_figures_uncertain(cli, volume):
    made = cli.create(volume)
    manifest, = cli.store.rglob('*_metadata')
    manifest.write_bytes(manifest.read_bytes()[:-10])
    done = cli.run('container', 'show', made['container'], '-f', 'json')
    assert done.code == 6 and 'cannot be read' in done.json['notes'][0]
    done = cli.run('container', 'list')
    assert done.code == 6 and 'cannot be read' in done.err


@pytest.mark.parametrize('argv, code', [
    (('show', 'nosuch'), 3), (('show', '../up'), 2), (('show', 'x', '--backend', 'nosuch'), 3),
    (('list', '--backend', 'nosuch'), 3)])
def test_refusals(cli, volume, argv, code):
    cli.create(volume)
    cli.refused(code, 'container', *argv)


@pytest.mark.parametrize('name', ['.', '../up', 'x' * 300])
def test_a_container_that_was_refused_stops_nothing(cli, volume, name):
    """The failed backup has its name in the catalog."""
    made = cli.create(volume)
    cli.refused(2, 'backup', 'create', volume, '--container', name)
    shown, = cli.json('container', 'list')
    assert shown['container'] == made['container']
    assert cli.json('catalog', 'check', '--repair') == []


def test_an_empty_store(cli, volume):
    cli.good('backup', 'delete', cli.create(volume)['id'])
    assert cli.json('container', 'list') == []


def test_a_backend_that_fails_hides_no_other(cli, volume, tmp_path):
    cli.configure(f'[away]\ndriver = local\npath = {tmp_path}/away\n',
                  default='enabled_backends = away, local\ndefault_backend = local')
    made = cli.create(volume)
    done = cli.run('container', 'list', '-f', 'json')
    assert done.code == 5 and 'away' in done.err
    assert [row['container'] for row in done.json] == [made['container']]
