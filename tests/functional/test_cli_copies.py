"""Chains copied between backends and formats, and what builds on a copy."""

from __future__ import annotations

import signal

import pytest

from tests.functional.conftest import change

FORMATS = ('1.0.0', '2.0.0')


@pytest.mark.parametrize('theirs', FORMATS)
@pytest.mark.parametrize('ours', FORMATS)
def test_a_chain_of_three_goes_to_another_backend(cli, volume, ours, theirs):
    cli.configure(
        default='enabled_backends = local, other', format=ours,
        more=f'[other]\ndriver = local\npath = {cli.directory}/other\nformat = {theirs}\n'
             'chunk_size = 64KiB\nblock_size = 4KiB')
    made, held = [], []
    for number in range(3):
        held.append(change(volume, number * 9000, bytes([number + 1]) * 5000))
        made.append(cli.create(volume, '--incremental'))
    copies = cli.json('backup', 'copy', made[-1]['id'], '--to-backend', 'other', '--chain')
    assert [each['copied_from'] for each in copies] == [each['id'] for each in made]
    assert {each['format'] for each in copies} == {theirs}
    shown = [cli.json('backup', 'show', each['id']) for each in copies]
    assert [each['parent_id'] for each in shown] == [None, copies[0]['id'], copies[1]['id']]
    for copied, data in zip(copies, held, strict=True):
        target = cli.directory / copied['id']
        cli.good('backup', 'restore', copied['id'], target)
        assert target.read_bytes() == data
    cli.good('backup', 'verify', '--all')
    after = cli.create(volume, '--incremental', '--backend', 'other')
    assert after['parent_id'] == copies[-1]['id'] and not after['warnings']


@pytest.fixture
def two(cli):
    """A second backend, in Cinder's format."""
    cli.configure(
        default='enabled_backends = local, other',
        more=f'[other]\ndriver = local\npath = {cli.directory}/other\nformat = 1.0.0\n'
             'chunk_size = 64KiB\nblock_size = 4KiB')
    return cli


def restored(cli, made: dict) -> bytes:
    return cli.good('backup', 'restore', made['id'], '-').output


def copy(cli, ref: str, *argv: object) -> dict:
    row, = cli.json('backup', 'copy', ref, *argv)
    return cli.json('backup', 'show', row['id'])


def test_one_of_a_chain_is_copied_as_a_full_backup(two, volume):
    first = two.create(volume, '--name', 'N', '--description', 'D', '--property', 'k=v')
    data = change(volume)
    second = two.create(volume, '--incremental', '--name', 'M')
    for made, content in (first, None), (second, data):
        copied = copy(two, made['id'], '--to-backend', 'other')
        assert copied['parent_id'] is None and copied['backend'] == 'other'
        assert (copied['format'], copied['volume_id']) == ('1.0.0', made['volume_id'])
        assert copied['name'] == made['name'] and copied['description'] == made['description']
        assert copied['metadata'] == made['metadata'] | {'copied_from': made['id']}
        assert copied['data_timestamp'] == made['data_timestamp']
        assert restored(two, copied) == restored(two, made)
        assert content is None or restored(two, copied) == content
    two.good('backup', 'verify', '--all')
    assert copied['id'] in two.refused(2, 'backup', 'copy', 'M', '--to-backend', 'other')


def test_a_copy_of_a_copy_and_back(two, volume):
    first = two.create(volume)
    again = copy(two, first['id'], '--to-backend', 'other')
    third = copy(two, again['id'], '--to-backend', 'local')
    same = copy(two, third['id'], '--to-backend', 'local', '--format', '1.0.0')
    assert [each['format'] for each in (first, again, third, same)] == [
        '2.0.0', '1.0.0', '2.0.0', '1.0.0']
    assert [each['metadata']['copied_from'] for each in (again, third, same)] == [
        first['id'], again['id'], third['id']]
    for gone in (first, again, third):
        two.good('backup', 'delete', gone['id'])
    assert restored(two, same) == volume.read_bytes()


@pytest.mark.parametrize('ending', ['-00001', '_metadata', '_map'])
def test_what_is_damaged_is_not_copied(two, volume, ending):
    first = two.create(volume)
    change(volume)
    made = two.create(volume, '--incremental')
    broken, = two.store.rglob(f'*{made["id"]}{ending}')
    data = bytearray(broken.read_bytes())
    data[len(data) // 4] ^= 1
    broken.write_bytes(data)
    said = two.refused(6, 'backup', 'copy', made['id'], '--to-backend', 'other')
    assert broken.name in said or made['id'] in said
    left = [file for file in (two.directory / 'other').rglob('*') if file.is_file()]
    assert left == []
    assert {each['id'] for each in two.json('backup', 'list', '--status', 'available')} == {
        first['id'], made['id']}
    two.good('backup', 'copy', first['id'], '--to-backend', 'other')


def test_what_is_copied_is_not_deleted_meanwhile(cli, gate, volume):
    cli.configure(
        default='enabled_backends = local, other',
        more=f'[other]\ndriver = local\npath = {cli.directory}/other')
    made = cli.create(volume)
    gate.shut('reading *-00001')
    running = cli.start('backup', 'copy', made['id'], '--to-backend', 'other', '-f', 'json')
    gate.wait()
    assert 'copy' in cli.refused(4, 'backup', 'delete', made['id'])
    gate.open()
    done = running.wait()
    assert done.code == 0, done.err
    cli.good('backup', 'delete', made['id'])
    assert restored(cli, done.json[0]) == volume.read_bytes()


def test_a_copy_that_was_interrupted_leaves_nothing(cli, gate, volume):
    cli.configure(
        default='enabled_backends = local, other',
        more=f'[other]\ndriver = local\npath = {cli.directory}/other')
    made = cli.create(volume)
    gate.shut('reading *-00001')
    running = cli.start('backup', 'copy', made['id'], '--to-backend', 'other')
    gate.wait()
    running.signal(signal.SIGTERM)
    gate.open()
    done = running.wait()
    assert done.code == 143 and done.err.count('Error: ') == 1, done.err
    assert [file for file in (cli.directory / 'other').rglob('*') if file.is_file()] == []
    assert len(cli.json('backup', 'list', '--status', 'available')) == 1
    assert cli.json('backup', 'show', made['id'])['status'] == 'available'


def test_copies_that_cannot_be(two, volume):
    made = two.create(volume)
    assert 'no backend' in two.refused(3, 'backup', 'copy', made['id'], '--to-backend', 'nowhere')
    assert two.refused(3, 'backup', 'copy', 'nothing', '--to-backend', 'other')
    assert two.run('backup', 'copy', made['id'], '--to-backend', 'other', '--format',
                   '3.0.0').code == 2
    assert two.run('backup', 'copy', made['id']).code == 2
    two.good('backup', 'set', made['id'], '--state', 'error')
    assert 'is error' in two.refused(4, 'backup', 'copy', made['id'], '--to-backend', 'other')


def test_what_format_is_written(two, volume):
    """`--format` of create is the backup's; that of the output stays `-f`, or --format json."""
    assert two.create(volume, '--format', '1.0.0')['format'] == '1.0.0'
    done = two.good('backup', 'create', volume, '--format', 'json')
    assert done.json['format'] == '2.0.0'
    assert two.create(volume, '--backend', 'other')['format'] == '1.0.0'
    assert two.run('backup', 'create', volume, '--format', '3.0.0').code == 2
