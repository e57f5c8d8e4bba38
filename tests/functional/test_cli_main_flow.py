"""Create, list, show, restore: what everybody does."""

from __future__ import annotations

import os

from tests.functional.command_line import CommandLine
from tests.functional.conftest import change

KEYS = {'id', 'name', 'description', 'status', 'size', 'volume_id', 'container', 'backend',
        'is_incremental', 'parent_id', 'object_count', 'created_at', 'data_timestamp',
        'fail_reason', 'size_bytes', 'stored_bytes', 'format'}


def restored(cli: CommandLine, ref: str, *argv: str) -> bytes:
    target = cli.directory / 'restored'
    target.unlink(missing_ok=True)
    cli.good('backup', 'restore', ref, target, *argv)
    return target.read_bytes()


def test_a_chain_restores_every_state(cli, volume, version):
    first = volume.read_bytes()
    full = cli.create(volume, '--name', 'monday')
    second = change(volume)
    child = cli.create(volume, '--incremental', '--name', 'tuesday')
    third = change(volume, 200_000, bytes(60_000))
    last = cli.create(volume, '--incremental')
    assert [each['is_incremental'] for each in (full, child, last)] == [False, True, True]
    assert [child['parent_id'], last['parent_id']] == [full['id'], child['id']]
    assert child['stored_bytes'] < full['stored_bytes'] / 5
    assert restored(cli, 'monday') == first
    assert restored(cli, child['id']) == second
    assert restored(cli, last['id'][:9]) == third
    assert restored(cli, str(volume), '--latest') == third


def test_the_keys_of_a_backup(cli, volume):
    made = cli.create(volume, '--name', 'N', '--description', 'D', '--property', 'a=b',
                      '--property', 'c=d=e', '--container', 'shelf')
    assert made.keys() >= KEYS
    assert cli.json('backup', 'show', 'N') == made
    listed, = cli.json('backup', 'list')
    assert listed == {key: made[key] for key in listed} and listed.keys() >= KEYS
    assert made | {'name': 'N', 'description': 'D', 'status': 'available', 'size': 1,
                   'size_bytes': 300_001, 'container': 'shelf', 'backend': 'local',
                   'is_incremental': False, 'parent_id': None, 'fail_reason': None,
                   'format': '2.0.0', 'metadata': {'a': 'b', 'c': 'd=e'},
                   'volume': str(volume), 'owner': None, 'warnings': []} == made
    assert made['created_at'] == made['data_timestamp'] and made['object_count'] == 1
    stored = sum((cli.store / name).stat().st_size for name in cli.objects()
                 if '/bf-container.' not in name)
    assert made['stored_bytes'] == stored


def test_people_get_a_table_that_fits(cli, volume):
    cli.create(volume)
    table = cli.good('backup', 'list').out
    assert '293.0 KiB' in table and 'parent_id' not in table
    assert 'volume_id' in cli.good('backup', 'list', '-c', 'volume_id').out
    sizes = cli.good('backup', 'list', '-f', 'value', '-c', 'size_bytes')
    assert sizes.out == '300001\n'
    assert 'No recognized column' in cli.refused(2, 'backup', 'list', '-c', 'colour')


def test_list_filters_and_pages(cli, make_volume):
    cli.configure('[other]\ndriver = local\npath = $state_path/other',
                  default='enabled_backends = local, other')
    one, two = make_volume('one'), make_volume('two', seed=2)
    ids = [cli.create(one)['id'], cli.create(two, '--backend', 'other')['id'],
           cli.create(one, '--incremental')['id']]

    def listed(*argv: object) -> list[int]:
        return [ids.index(each['id']) for each in cli.json('backup', 'list', *argv)]

    assert listed() == [2, 1, 0]
    assert listed('--volume', one) == listed('--volume', 'one') == [2, 0]
    assert listed('--backend', 'other') == [1]
    assert listed('--status', 'available', '--volume', two) == [1]
    assert listed('--status', 'error') == []
    assert listed('--limit', 2) == [2, 1] and listed('--limit', 0) == []
    assert listed('--marker', ids[1]) == [0]
    assert listed('--limit', 1, '--marker', ids[2][:8]) == [1]
    assert 'no volume' in cli.refused(3, 'backup', 'list', '--volume', 'nowhere')
    assert 'did you mean other' in cli.refused(3, 'backup', 'list', '--backend', 'othr')
    assert 'no backup' in cli.refused(3, 'backup', 'list', '--marker', 'nothing')
    for wrong in (('--status', 'fine'), ('--limit', '-1'), ('--limit', 'x')):
        assert cli.run('backup', 'list', *wrong).code == 2


def test_incremental_without_a_base_is_full_and_says_so(cli, volume):
    done = cli.good('backup', 'create', volume, '--incremental', '-f', 'json')
    assert not done.json['is_incremental']
    assert 'full backup' in done.json['warnings'][0] and 'full backup' in done.err


def test_a_grown_volume_gets_a_full_backup_that_says_why(cli, volume):
    first = cli.create(volume)
    with open(volume, 'ab') as file:
        file.write(b'more')
    done = cli.good('backup', 'create', volume, '--incremental', '-f', 'json')
    assert not done.json['is_incremental'] and done.json['parent_id'] is None
    assert '300005 bytes and had 300001' in done.err
    message = cli.refused(4, 'backup', 'create', volume, '--parent', first['id'])
    assert '300005 bytes and had 300001' in message


def test_the_configuration_may_want_incrementals(cli, volume):
    cli.configure(incremental='yes')
    full = cli.create(volume)
    assert cli.create(volume)['parent_id'] == full['id']
    assert cli.create(volume, '--no-incremental')['parent_id'] is None


def test_parent_is_the_one_that_was_named(cli, make_volume):
    volume, other = make_volume(), make_volume('other', seed=2)
    first, _, foreign = cli.create(volume), cli.create(volume), cli.create(other)
    assert cli.create(volume, '--parent', first['id'])['parent_id'] == first['id']
    assert 'another volume' in cli.refused(
        4, 'backup', 'create', volume, '--parent', foreign['id'])
    assert cli.refused(3, 'backup', 'create', volume, '--parent', 'nothing')
    assert cli.run('backup', 'create', volume, '--parent', first['id'],
                   '--incremental').code == 2


def test_a_volume_with_a_new_path_each_night(cli, make_volume):
    ids = []
    for night in range(3):
        path = make_volume(f'snapshot-{night}')
        content = change(path, 1000 * night, b'night')
        ids.append(cli.create(path, '--volume', 'database', '--incremental'))
        os.unlink(path)
    assert [each['parent_id'] for each in ids] == [None, ids[0]['id'], ids[1]['id']]
    assert {each['volume'] for each in ids} == {'database'}
    assert restored(cli, 'database', '--latest') == content
    assert 'no volume' in cli.refused(3, 'backup', 'create', 'database')


def test_a_known_volume_by_name_or_id(cli, volume):
    made = cli.create(volume, '--volume', 'mine')
    by_name = cli.create('mine', '--incremental')
    by_id = cli.create(made['volume_id'], '--incremental')
    assert [by_name['parent_id'], by_id['parent_id']] == [made['id'], by_name['id']]


def test_a_path_is_known_by_its_absolute_spelling(cli, volume):
    full = cli.create(volume)
    assert cli.create('disk', '--incremental')['parent_id'] == full['id']
    (cli.directory / 'link').symlink_to('disk')
    assert cli.create('link', '--incremental')['volume_id'] != full['volume_id']


def test_sizes_of_every_kind(cli, make_volume, version):
    for size in (0, 1, 4095, 65536, 65537):
        path = make_volume(f'size-{size}', size)
        made = cli.create(path)
        assert made['size_bytes'] == size
        assert restored(cli, made['id']) == path.read_bytes()


def test_restore_to_a_new_file_is_sparse_and_private(cli, make_volume):
    made = cli.create(make_volume(size=3_000_000))
    target = cli.directory / 'new'
    done = cli.json('backup', 'restore', made['id'], target)
    assert done['size_bytes'] == 3_000_000 and done['backup_id'] == made['id']
    assert target.stat().st_blocks * 512 < 2_500_000
    assert target.stat().st_mode & 0o777 == 0o600
    assert not list(cli.directory.glob('.*'))


def test_restore_to_an_existing_file(cli, make_volume, version):
    volume = make_volume()
    made = cli.create(volume)
    target = make_volume('target', 400_000, seed=5)
    before = target.read_bytes()
    assert '--force' in cli.refused(4, 'backup', 'restore', made['id'], target)
    assert target.read_bytes() == before
    done = cli.good('backup', 'restore', made['id'], target, '--force')
    assert target.read_bytes() == volume.read_bytes() + before[300_001:]
    assert 'last 99999 bytes were left as they were' in done.err
    done = cli.good('backup', 'restore', made['id'], target, '--force', '--truncate')
    assert target.read_bytes() == volume.read_bytes() and not done.err


def test_restore_to_a_smaller_file_is_refused_before_a_byte(cli, make_volume):
    volume = make_volume()
    made = cli.create(volume)
    target = make_volume('target', 1000, seed=5)
    before = target.read_bytes()
    message = cli.refused(4, 'backup', 'restore', made['id'], target, '--force')
    assert '1000 bytes' in message and '--truncate' in message
    assert target.read_bytes() == before
    cli.good('backup', 'restore', made['id'], target, '--force', '--truncate')
    assert target.read_bytes() == volume.read_bytes()


def test_where_nothing_is_restored_to(cli, volume):
    made = cli.create(volume)
    directory = cli.directory / 'directory'
    directory.mkdir()
    os.mkfifo(cli.directory / 'fifo')
    for target, why in ((cli.store / 'x', 'where backups are kept'),
                        (cli.state / 'x', 'where backups are kept'),
                        (cli.state / 'catalog.sqlite', 'where backups are kept'),
                        (directory, 'neither a regular file'),
                        (cli.directory / 'fifo', 'neither a regular file')):
        assert why in cli.refused(4, 'backup', 'restore', made['id'], target, '--force')
    (directory / 'link').symlink_to(cli.store)
    assert 'where backups are kept' in cli.refused(
        4, 'backup', 'restore', made['id'], directory / 'link' / 'x')


def test_restore_onto_the_volume_itself(cli, volume):
    first = volume.read_bytes()
    made = cli.create(volume)
    change(volume, 0, bytes(300_001))
    cli.good('backup', 'restore', made['id'], 'disk', '--force')
    assert volume.read_bytes() == first


def test_latest_of_a_volume_without_backups(cli, volume):
    assert cli.refused(3, 'backup', 'restore', '--latest', volume, 'x')
    cli.run('backup', 'create', volume, '--container', '../x')
    assert 'no available backup' in cli.refused(3, 'backup', 'restore', '--latest', volume, 'x')


def test_a_target_where_nothing_can_be(cli, volume):
    """Nothing is there that must not be written; perhaps its disk is not mounted."""
    made = cli.create(volume)
    for target, why in ((cli.directory / 'missing' / 'x', 'No such file'),
                        (volume / 'x', 'Not a directory')):
        for more in ((), ('--force',)):
            assert why in cli.refused(5, 'backup', 'restore', made['id'], target, *more)
    cli.refused(4, 'backup', 'restore', made['id'], volume)
