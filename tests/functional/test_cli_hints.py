"""Lists of what changed since the parent: used, refused, found wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.functional.conftest import change
from tests.functional.test_cli_streams import piped

SIZE = 3_000_000


@pytest.fixture
def volume(make_volume) -> Path:
    return make_volume(size=SIZE)


def hint(cli, content: object, name: str = 'hint') -> Path:
    path = cli.directory / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def restored(cli, made: dict) -> bytes:
    return cli.good('backup', 'restore', made['id'], '-').output


def test_what_is_listed_is_stored(cli, volume, version):
    """And the bytes are those of the volume all the same."""
    full = cli.create(volume)
    before = volume.read_bytes()
    change(volume, 100_000, b'a' * 5000)
    change(volume, 2_500_000, b'b' * 10)
    listed = hint(cli, {'parent': full['id'], 'extents': [[2_500_000, 10], [100_000, 5000]]})
    done = cli.good('backup', 'create', volume, '--incremental', '--changed-extents', listed,
                    '-f', 'json')
    made = done.json
    assert made['parent_id'] == full['id'] and not done.err
    assert restored(cli, made) == volume.read_bytes()
    assert restored(cli, full) == before
    assert made['stored_bytes'] < full['stored_bytes'] / 10
    child = cli.create(volume, '--incremental')
    assert restored(cli, child) == volume.read_bytes()
    cli.good('backup', 'verify', '--all')


def test_a_wrong_list_is_found_by_its_sample(cli, volume, version):
    """All but one block is listed, and that one differs: every sample has it."""
    full = cli.create(volume)
    change(volume, 0, b'x' * SIZE)
    listed = hint(cli, [[0, 4096 * 4], [4096 * 5, SIZE - 4096 * 5]])
    done = cli.good('backup', 'create', volume, '--parent', full['id'], '--changed-extents', listed,
                    '-f', 'json')
    assert 'the changed extents are wrong' in done.err and 'bytes 16384 to 20480' in done.err
    assert 'The whole volume was read instead' in done.json['warnings'][0]
    assert restored(cli, done.json) == volume.read_bytes()


def test_an_empty_list_is_an_unchanged_volume(cli, volume, version):
    full = cli.create(volume)
    made = cli.create(volume, '--parent', full['id'], '--changed-extents', hint(cli, []))
    assert made['is_incremental'] and restored(cli, made) == volume.read_bytes()
    cli.good('backup', 'verify', made['id'])


def test_a_list_alone_wants_its_parent(cli, volume):
    full = cli.create(volume)
    listed = hint(cli, [[0, 4096]])
    for words in ([], ['--incremental']):
        assert '--parent' in cli.refused(
            2, 'backup', 'create', volume, '--changed-extents', listed, *words)
    assert len(cli.json('backup', 'list')) == 1
    assert cli.create(volume, '--parent', full['id'], '--changed-extents', listed)['parent_id']


def test_a_list_of_another_parent_is_not_used(cli, volume, version):
    """Without a word of the parent, the one of the list is taken."""
    first = cli.create(volume)
    change(volume, 1_000_000, b'in the second')
    second = cli.create(volume, '--incremental')
    change(volume, 0, b'new')
    listed = hint(cli, {'parent': first['id'], 'extents': [[0, 3], [1_000_000, 13]]})
    words = ('backup', 'create', volume, '--changed-extents', listed, '-f', 'json')
    done = cli.good(*words, '--parent', second['id'])
    assert done.json['parent_id'] == second['id']
    assert first['id'] in done.err and 'not used' in done.err
    assert restored(cli, done.json) == volume.read_bytes()
    done = cli.good(*words)
    assert done.json['parent_id'] == first['id'] and not done.err
    assert restored(cli, done.json) == volume.read_bytes()


def test_a_list_for_a_full_backup_is_of_no_use(cli, volume):
    full = cli.create(volume)
    change(volume)
    listed = hint(cli, {'parent': full['id'], 'extents': []})
    made = cli.create(volume, '--no-incremental', '--changed-extents', listed)
    assert made['parent_id'] is None and restored(cli, made) == volume.read_bytes()


def test_a_list_of_a_stream_is_not_used(cli, volume):
    data = volume.read_bytes()
    full = piped(cli, data).json
    listed = hint(cli, {'parent': full['id'], 'extents': []})
    done = piped(cli, data[:-3] + b'end', '--incremental', '--changed-extents', listed)
    assert 'not used' in done.err
    assert restored(cli, done.json) == data[:-3] + b'end'


@pytest.mark.parametrize('content, words', [
    ('{', 'is not JSON'), ('', 'is not JSON'), ('[' * 100_000, 'is not JSON'),
    ('7', 'is no hint'), ({'extents': 'all'}, 'is no hint'),
    ({'parent': 7, 'extents': []}, 'is no hint'), ([[0]], 'no pair'), ([[0, '9']], 'no pair'),
    ([[-1, 9]], 'no pair'), ([[0, 1.5]], 'no pair'), ([[True, 1]], 'no pair'),
    ([[SIZE - 1, 2]], 'behind the end'), ([[1 << 80, 1]], 'behind the end')], ids=str)
def test_lists_that_are_none(cli, volume, content, words):
    full = cli.create(volume)
    said = cli.refused(2, 'backup', 'create', volume, '--parent', full['id'], '--changed-extents',
                       hint(cli, content))
    assert words in said
    assert not [each for each in cli.json('backup', 'list') if each['status'] == 'available'
                and each['id'] != full['id']]


def test_a_list_that_is_not_there(cli, volume):
    assert 'cannot read' in cli.refused(
        2, 'backup', 'create', volume, '--changed-extents', 'nowhere')
    assert cli.json('backup', 'list') == []
