"""Verify, delete, forget; and what damage in a store comes to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.functional.conftest import CINDERS, change, in_cinders_format


def object_of(cli, made, ending: str = '-00001') -> Path:
    """The file of one object of a backup."""
    found, = (cli.store / made['container']).glob(f'*{made["id"]}{ending}')
    return found


def chain(cli, volume, length: int = 3) -> list[dict]:
    made = [cli.create(volume, '--name', 'link-0')]
    for number in range(1, length):
        change(volume, 50_000 * number, b'%d' % number)
        made.append(cli.create(volume, '--incremental', '--name', f'link-{number}'))
    return made


def test_verify_what_is_good(cli, volume, version):
    made = chain(cli, volume)
    rows = cli.json('backup', 'verify', '--all')
    assert {row['id'] for row in rows} == {each['id'] for each in made}
    assert {row['result'] for row in rows} == {'good'} and rows[0]['checked_bytes'] > 300_000
    row, = cli.json('backup', 'verify', 'link-1', '--quick')
    assert row['result'] == 'good' and row['objects'] >= (6 if version == CINDERS else 3)
    again = cli.json('backup', 'verify', 'link-0', made[2]['id'])
    assert [row | {'verified_at': None} for row in again] == [
        rows[2] | {'verified_at': None}, rows[0] | {'verified_at': None}]


def test_verify_wants_to_know_what(cli):
    assert 'or --all' in cli.refused(2, 'backup', 'verify')
    assert 'or --all' in cli.refused(2, 'backup', 'verify', 'x', '--all')
    assert cli.json('backup', 'verify', '--all') == []


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


DAMAGE = {
    'altered': flip,
    'truncated': lambda file: file.write_bytes(file.read_bytes()[:-5]),
    'longer': lambda file: file.write_bytes(file.read_bytes() + b'x'),
    'empty': lambda file: file.write_bytes(b''),
    'missing': lambda file: file.unlink(),
}


@in_cinders_format
@pytest.mark.parametrize('damage', DAMAGE)
def test_a_damaged_object_is_named_and_nothing_wrong_is_written(cli, volume, damage, version):
    cli.configure(workers=0)  # objects have numbers in the order of the volume
    made = cli.create(volume)
    broken = object_of(cli, made, '-00002')
    DAMAGE[damage](broken)
    assert broken.name in cli.refused(6, 'backup', 'verify', made['id'])
    target = cli.directory / 'target'
    message = cli.refused(6, 'backup', 'restore', made['id'], target)
    assert broken.name in message and 'bytes 65536 to 131072' in message
    assert not target.exists() and not list(cli.directory.glob('.*'))
    target.write_bytes(bytes(300_001))
    done = cli.run('backup', 'restore', made['id'], target, '--force')
    assert done.code == 6 and f'{target} is damaged now' in done.err
    assert target.read_bytes()[65536:131072] == bytes(65536)
    row, = cli.run('backup', 'verify', made['id'], '-f', 'json').json
    assert row['result'] == 'bad' and broken.name in row['problems'][0]['problem']
    quick = cli.run('backup', 'verify', made['id'], '--quick')
    assert quick.code == (6 if damage == 'missing' else 0)


@pytest.mark.parametrize('damage', ['altered', 'halved', 'empty', 'missing'])
def test_damage_in_an_object_of_many_chunks(cli, volume, damage):
    """What is written is right up to the last byte, and all that is not there is named."""
    made = cli.create(volume)
    broken = object_of(cli, made)
    if damage == 'halved':
        broken.write_bytes(broken.read_bytes()[:100_000])
    else:
        DAMAGE[damage](broken)
    target = cli.directory / 'target'
    message = cli.refused(6, 'backup', 'restore', made['id'], target)
    assert broken.name in message and 'of the volume' in message
    assert not target.exists() and not list(cli.directory.glob('.*'))
    target.write_bytes(bytes(300_001))
    done = cli.run('backup', 'restore', made['id'], target, '--force')
    data, written = volume.read_bytes(), target.read_bytes()
    assert done.code == 6 and (f'{target} is damaged now' in done.err or not any(written))
    for at in range(0, len(data), 4096):
        assert written[at:at + 4096] in (data[at:at + 4096], bytes(len(data[at:at + 4096])))
    verified = cli.run('backup', 'verify', made['id'], '-f', 'json')
    assert verified.code == 6 and verified.json[0]['result'] == 'bad'
    lost = [at for at in range(0, len(data), 65536)
            if written[at:at + 65536] != data[at:at + 65536]]
    problems = [found['problem'] for found in verified.json[0]['problems']]
    assert all(broken.name in problem for problem in problems)
    # The restore ended at one of them; what it had not come to yet is not there either.
    named = {at for at in range(0, len(data), 65536)
             if any(f'bytes {at} to' in problem for problem in problems)}
    assert named and named <= set(lost)
    quick = cli.run('backup', 'verify', made['id'], '--quick')
    assert quick.code == (0 if damage == 'altered' else 6)


@pytest.mark.parametrize('damage', ['truncated', 'longer'])
def test_the_end_of_an_object_is_not_needed(cli, volume, damage):
    """The map knows where everything is; verify tells of an end that is gone or another one."""
    made = cli.create(volume)
    DAMAGE[damage](object_of(cli, made))
    assert cli.run('backup', 'verify', made['id']).code == 6
    cli.good('backup', 'restore', made['id'], 'target')
    assert (cli.directory / 'target').read_bytes() == volume.read_bytes()


def test_swapped_objects_of_two_backups_are_found(cli, volume):
    made = [cli.create(volume)]
    change(volume)
    made.append(cli.create(volume))
    one, two = (object_of(cli, each) for each in made)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    done = cli.run('backup', 'verify', '--all')
    assert done.code == 6 and one.name in done.err and two.name in done.err


@in_cinders_format
def test_swapped_objects_are_found(cli, volume, version):
    made = cli.create(volume)
    one, two = object_of(cli, made), object_of(cli, made, '-00002')
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    done = cli.run('backup', 'verify', made['id'])
    assert done.code == 6 and one.name in done.err and two.name in done.err


def test_one_bad_backup_does_not_hide_the_others(cli, make_volume):
    bad = cli.create(make_volume('bad'))
    good = cli.create(make_volume('good', seed=2))
    object_of(cli, bad, '_metadata').unlink()
    done = cli.run('backup', 'verify', '--all', '-f', 'json')
    assert done.code == 6 and 'there is no manifest' in done.err
    assert {row['id']: row['result'] for row in done.json} == {
        bad['id']: 'bad', good['id']: 'good'}
    found, = cli.run('catalog', 'check', '-f', 'json').json
    assert bad['id'] in found['finding'] and 'there is no manifest' in found['finding']


@in_cinders_format
def test_a_damaged_parent_makes_its_children_bad_and_the_next_backup_full(cli, volume, version):
    made = chain(cli, volume)
    object_of(cli, made[0], '_metadata').write_bytes(b'{')
    assert 'cannot be read as JSON' in cli.refused(6, 'backup', 'restore', 'link-2', 'new')
    done = cli.good('backup', 'create', volume, '--incremental', '-f', 'json')
    assert not done.json['is_incremental'] and 'full backup' in done.err


def test_damaged_descriptions_spare_children(cli, volume):
    """Only their own backup is lost, and what comes next builds on another one."""
    made = chain(cli, volume)
    kept = volume.read_bytes()
    object_of(cli, made[0], '_metadata').write_bytes(b'{')
    object_of(cli, made[2], '_map').write_bytes(b'')
    cli.refused(6, 'backup', 'restore', 'link-0', 'new')
    cli.refused(6, 'backup', 'restore', 'link-2', 'new')
    cli.good('backup', 'verify', 'link-1')
    done = cli.good('backup', 'create', volume, '--incremental', '-f', 'json')
    assert not done.json['is_incremental'] and 'full backup' in done.err
    cli.good('backup', 'restore', done.json['id'], 'new')
    assert (cli.directory / 'new').read_bytes() == kept


@in_cinders_format
def test_a_backup_without_its_hash_list(cli, volume, version):
    made = cli.create(volume)
    object_of(cli, made, '_sha256file').unlink()
    done = cli.good('backup', 'verify', made['id'])
    assert 'no hash list' in done.err
    done = cli.good('backup', 'create', volume, '--incremental', '-f', 'json')
    assert not done.json['is_incremental'] and 'no hash list' in done.err


@in_cinders_format
def test_delete_refuses_what_others_need_and_names_them(cli, volume, version):
    made = chain(cli, volume)
    before = cli.objects()
    message = cli.refused(4, 'backup', 'delete', 'link-0')
    assert made[1]['id'] in message and 'link-1' in message and '--with-dependents' in message
    message = cli.refused(4, 'backup', 'delete', 'link-1', 'link-0')
    assert made[2]['id'] in message
    assert cli.objects() == before
    assert cli.json('backup', 'show', 'link-0')['has_dependent_backups']


@in_cinders_format
def test_dry_run_deletes_nothing(cli, volume, version):
    made = chain(cli, volume)
    before = cli.objects()
    rows = cli.json('backup', 'delete', 'link-0', '--with-dependents', '--dry-run')
    assert [row['id'] for row in rows] == [each['id'] for each in reversed(made)]
    assert {row['outcome'] for row in rows} == {'would be deleted'}
    assert cli.objects() == before and len(cli.json('backup', 'list')) == 3


@in_cinders_format
def test_delete_with_dependents_leaves_nothing(cli, volume, make_volume, version):
    made = chain(cli, volume)
    other = cli.create(make_volume('other'))
    rows = cli.json('backup', 'delete', made[1]['id'][:8], '--with-dependents')
    assert [row['name'] for row in rows] == ['link-2', 'link-1']
    assert {each['id'] for each in cli.json('backup', 'list')} == {made[0]['id'], other['id']}
    cli.good('backup', 'delete', 'link-0', other['id'])
    assert cli.objects() == [] and list(cli.store.iterdir()) == []


def test_delete_several_at_once_whatever_their_order(cli, volume):
    made = chain(cli, volume)
    rows = cli.json('backup', 'delete', *(each['id'] for each in made), made[0]['id'])
    assert [row['name'] for row in rows] == ['link-2', 'link-1', 'link-0']
    assert cli.objects() == []


def test_destructive_commands_want_an_exact_name(cli, volume):
    first, second = cli.create(volume, '--name', 'same'), cli.create(volume, '--name', 'same')
    short = first['id'][:7]
    assert cli.json('backup', 'show', short)['id'] == first['id']
    for verb in (('delete',), ('forget',), ('set', '--name', 'x'), ('unset', '--name')):
        assert 'at least 8 characters' in cli.refused(2, 'backup', *verb, short)
        message = cli.refused(2, 'backup', *verb, 'same')
        assert first['id'] in message and second['id'] in message
        assert cli.refused(3, 'backup', *verb, 'nothing')
        assert cli.refused(3, 'backup', *verb, '%')
    assert cli.refused(3, 'backup', 'delete', first['id'], 'nothing')
    assert len(cli.json('backup', 'list')) == 2
    assert cli.good('backup', 'delete', first['id'][:8]).code == 0


@in_cinders_format
def test_forget_leaves_the_store_and_rebuild_finds_it_again(cli, volume, version):
    made = chain(cli, volume, 2)
    before = cli.objects()
    assert made[1]['id'] in cli.refused(4, 'backup', 'forget', 'link-0')
    done = cli.good('backup', 'forget', 'link-1')
    assert made[1]['id'] in done.err and not done.out
    assert cli.objects() == before and len(cli.json('backup', 'list')) == 1
    cli.good('catalog', 'rebuild', 'local')
    again = cli.json('backup', 'show', made[1]['id'])
    assert again == made[1] | {'warnings': []}


def test_delete_of_what_the_store_lost(cli, volume):
    made = cli.create(volume)
    for file in cli.store.rglob('*_metadata'):
        file.unlink()
    cli.good('backup', 'delete', made['id'])
    assert cli.objects() == []


def test_delete_leaves_what_is_not_of_the_backup(cli, volume):
    made = [cli.create(volume, '--container', 'shelf') for _ in range(2)]
    stranger = cli.store / 'shelf' / 'README'
    stranger.write_text('not ours')
    cli.good('backup', 'delete', made[0]['id'])
    assert all(made[1]['id'] in name or name in ('shelf/README', 'shelf/bf-container.owner-1')
               for name in cli.objects())
    cli.good('backup', 'verify', made[1]['id'])
    assert json.loads(object_of(cli, made[1], '_metadata').read_text())


def test_an_incremental_on_a_parent_that_lost_an_object_is_a_full_backup(cli, volume):
    full = cli.create(volume)
    object_of(cli, full).unlink()
    assert 'cannot be the parent' in cli.refused(4, 'backup', 'create', volume, '--parent',
                                                 full['id'])
    made = cli.create(volume, '--incremental')
    assert made['parent_id'] is None and full['id'] in made['warnings'][0]
    assert cli.good('backup', 'restore', made['id'], '-').output == volume.read_bytes()


def test_an_incremental_tells_of_a_damaged_parent(cli, volume):
    full = cli.create(volume)
    change(volume)
    file = object_of(cli, full)
    file.write_bytes(b'')
    made = cli.create(volume, '--incremental')
    warning, = made['warnings']
    assert file.name in warning and 'verify this backup' in warning
