"""Restores around damage: all that is right, and where the rest would be."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.functional.conftest import CINDERS, OURS
from tests.functional.test_cli_checks import flip, object_of

SIZE = 500_001
CHUNK, BLOCK = 64 << 10, 4 << 10
FILLED = b'\xaa'


@pytest.fixture
def damaged(cli, make_volume, version) -> tuple[dict, bytes, Path]:
    """A backup with a bad byte, what the volume was, and the bad object."""
    # Without workers objects have numbers in the order of the volume.
    cli.configure(compression='none', workers=0)
    volume = make_volume(size=SIZE)
    made = cli.create(volume)
    file = object_of(cli, made, '-00002' if version == CINDERS else '-00001')
    body = bytearray(file.read_bytes())
    body[20_000] ^= 1
    file.write_bytes(body)
    return made, volume.read_bytes(), file


def holes(bad: list[dict]) -> list[tuple[int, int]]:
    return [(each['offset'], each['offset'] + each['length']) for each in bad]


def patched(before: bytes, data: bytes, bad: list[dict]) -> bytes:
    """The data, with what was there before in its bad extents."""
    expected = bytearray(data)
    for start, end in holes(bad):
        expected[start:end] = before[start:end]
    return bytes(expected)


def partial(cli, *words) -> list[dict]:
    done = cli.run('backup', 'restore', *words, '--partial', '--bad-map', 'bad.json')
    bad = json.loads((cli.directory / 'bad.json').read_text())
    assert done.code == 6 and bad, done.err
    assert 'has only a part of the backup' in done.err
    for each in bad:
        end = each['offset'] + each['length']
        assert f'bytes {each["offset"]} to {end} of the volume were not restored' in done.err
    return bad


def test_a_new_file_has_all_but_the_bad_block(cli, damaged, tmp_path, version):
    made, data, file = damaged
    assert file.name in cli.refused(6, 'backup', 'restore', made['id'], 'target')
    assert not (tmp_path / 'target').exists()
    bad, = partial(cli, made['id'], 'target')
    # A block by the hash list; in 2.0.0 a frame, which is a chunk here.
    assert bad['length'] == (BLOCK if version == CINDERS else CHUNK)
    assert file.name in bad['reason'] and data[bad['offset']:][:bad['length']].strip(b'\0')
    assert (tmp_path / 'target').read_bytes() == patched(bytes(SIZE), data, [bad])


@pytest.mark.parametrize('delta', [False, True])
def test_an_existing_file_keeps_what_it_has_there(cli, damaged, tmp_path, delta):
    made, data, _ = damaged
    target = tmp_path / 'target'
    target.write_bytes(FILLED * SIZE)
    words = ['--delta'] if delta else []
    bad = partial(cli, made['id'], 'target', '--force', *words)
    assert target.read_bytes() == patched(FILLED * SIZE, data, bad)
    if delta:
        # What is right already is nothing that has to be restored: only 2.0.0 can tell.
        target.write_bytes(data)
        done = cli.run('backup', 'restore', made['id'], 'target', '--force', '--delta', '--partial',
                       '--bad-map', 'bad.json')
        assert done.code == (0 if made['format'] == OURS else 6)
        assert target.read_bytes() == data


def test_a_range(cli, damaged, tmp_path):
    made, data, _ = damaged
    bad, = partial(cli, made['id'], 'whole')
    middle = bad['offset'] + bad['length'] // 2
    got, = partial(cli, made['id'], 'part', '--range', f'1000:{middle - 1000}')
    assert got['offset'] == max(1000, bad['offset']) and got['offset'] + got['length'] == middle
    expected = patched(bytes(SIZE), data, [got])[1000:middle]
    assert (tmp_path / 'part').read_bytes() == expected
    end = bad['offset'] + bad['length']
    done = cli.good('backup', 'restore', made['id'], 'rest', '--partial', '--bad-map', 'none.json',
                    '--range', f'{end}:{SIZE - end}')
    assert json.loads((tmp_path / 'none.json').read_text()) == [] and 'only a part' not in done.err
    assert (tmp_path / 'rest').read_bytes() == data[end:]


def test_objects_that_are_cut_or_gone(cli, damaged, tmp_path, version):
    made, data, file = damaged
    body = file.read_bytes()
    file.write_bytes(body[:40_000])
    bad = partial(cli, made['id'], 'cut')
    restored = (tmp_path / 'cut').read_bytes()
    assert restored == patched(bytes(SIZE), data, bad)
    if version == CINDERS:
        # A byte is wrong, and the end is missing: nine blocks of this chunk are there.
        assert sum(each['length'] for each in bad) == CHUNK - 8 * BLOCK
    file.unlink()
    bad = partial(cli, made['id'], 'gone')
    assert (tmp_path / 'gone').read_bytes() == patched(bytes(SIZE), data, bad)


@pytest.mark.parametrize('put', [os.mkfifo, lambda path: path.symlink_to('disk')])
def test_an_object_that_the_store_cannot_give(cli, damaged, tmp_path, put):
    """It is the damage of one object, not the end of everything."""
    made, data, file = damaged
    file.unlink()
    put(file)
    bad = partial(cli, made['id'], 'target')
    assert (tmp_path / 'target').read_bytes() == patched(bytes(SIZE), data, bad)
    done = cli.run('backup', 'verify', made['id'], '-f', 'json')
    problem, *_ = done.json[0]['problems']
    assert done.code == 6 and problem['object'] == file.name and problem['extents']


def test_an_incremental_of_cinders_format(cli, make_volume, tmp_path):
    """What the newest backup has anew is right, though the object below it is bad."""
    # Without workers objects have numbers in the order of the volume.
    cli.configure(format=CINDERS, compression='zlib', workers=0)
    volume = make_volume(size=SIZE)
    full = cli.create(volume)
    with volume.open('r+b') as file:
        file.seek(CHUNK)
        file.write(b'new' * 5000)
    made = cli.create(volume, '--incremental')
    flip(object_of(cli, full, '-00002'))
    bad = partial(cli, made['id'], 'target')
    assert (tmp_path / 'target').read_bytes() == patched(bytes(SIZE), volume.read_bytes(), bad)
    assert all(CHUNK + 15_000 // BLOCK * BLOCK <= start and end <= 2 * CHUNK
               for start, end in holes(bad))


def test_what_describes_the_backup_must_be_there(cli, damaged, tmp_path, version):
    made, _, _ = damaged
    flip(object_of(cli, made, '_metadata'))
    cli.refused(6, 'backup', 'restore', made['id'], 'target', '--partial')
    assert not (tmp_path / 'target').exists()


def test_where_it_cannot_be(cli, damaged, tmp_path):
    made, _, _ = damaged
    done = cli.run('backup', 'restore', made['id'], '-', '--partial')
    assert done.code == 2 and done.output == b'' and 'a stream has no place' in done.err
    assert 'is for --partial' in cli.refused(
        2, 'backup', 'restore', made['id'], 'target', '--bad-map', 'x.json')
    assert 'cannot write' in cli.refused(
        2, 'backup', 'restore', made['id'], 'target', '--partial', '--bad-map', 'nosuch/x.json')
    assert not (tmp_path / 'target').exists()


def test_a_map_overwrites_nothing_else(cli, damaged, tmp_path):
    """The arguments in a wrong order must not cost a volume."""
    made, data, _ = damaged
    disk = tmp_path / 'disk'
    words = ('backup', 'restore', made['id'], 'target', '--partial', '--bad-map')
    assert 'is no map' in cli.refused(4, *words, disk)
    assert disk.read_bytes() == data and not (tmp_path / 'target').exists()
    assert 'are the same' in cli.refused(2, *words, tmp_path / 'target', '--force', '--truncate')
    assert not (tmp_path / 'target').exists()


NO_MAPS = {
    'configuration': b'[local]\ndriver = local\n',
    'list': b'[1, 2]',
    'objects with more': b'[{"offset": 0, "length": 1, "reason": "x", "more": 1}]',
    'objects with less': b'[{"offset": 0, "length": 1}]',
    'other types': b'[{"offset": "0", "length": true, "reason": 1}]',
    'object': b'{}',
    'deep': b'[' * 100_000,
    'text behind a list': b'[] and more',
    'a long number': b'[' + b'1' * 5000 + b']',
    'no text': b'[\xff]',
    'long': b'[' + b' ' * (16 << 20) + b']',
}


@pytest.mark.parametrize('name', NO_MAPS)
def test_what_only_begins_like_a_map_is_kept(cli, make_volume, tmp_path, name):
    """Also where nothing is damaged, and before the restore begins."""
    made = cli.create(make_volume(size=BLOCK))
    (tmp_path / 'mine').write_bytes(NO_MAPS[name])
    (tmp_path / 'target').write_bytes(FILLED)
    assert 'is no map' in cli.refused(4, 'backup', 'restore', made['id'], 'target', '--partial',
                                      '--bad-map', 'mine', '--force')
    assert (tmp_path / 'mine').read_bytes() == NO_MAPS[name]
    assert (tmp_path / 'target').read_bytes() == FILLED


@pytest.mark.parametrize('earlier', [
    b'', b'[]', b'[{"reason": "gone", "length": 4096, "offset": 0}]'])
def test_an_earlier_map_is_replaced(cli, damaged, tmp_path, earlier):
    made, _, _ = damaged
    (tmp_path / 'kept').write_bytes(earlier)
    (tmp_path / 'bad.json').symlink_to('kept')
    first = partial(cli, made['id'], 'target')
    assert partial(cli, made['id'], 'again') == first
    assert (tmp_path / 'bad.json').is_symlink() and not list(tmp_path.glob('.*.tmp'))


def test_a_map_that_cannot_be_written_leaves_the_earlier_one(cli, damaged, tmp_path):
    made, _, _ = damaged
    bad = partial(cli, made['id'], 'target')
    (tmp_path / 'target').write_bytes(FILLED)
    cli.refused(4, 'backup', 'restore', made['id'], 'target', '--partial', '--bad-map', 'bad.json')
    assert json.loads((tmp_path / 'bad.json').read_text()) == bad
    assert not list(tmp_path.glob('.*.tmp'))


def test_no_map_of_a_restore_that_failed(cli, damaged, tmp_path):
    made, _, _ = damaged
    (tmp_path / 'target').touch()
    cli.refused(4, 'backup', 'restore', made['id'], 'target', '--partial', '--bad-map', 'bad.json')
    assert not (tmp_path / 'bad.json').exists()


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full')
def test_a_map_that_finds_no_space(cli, damaged, tmp_path):
    made, data, _ = damaged
    done = cli.run('backup', 'restore', made['id'], 'target', '--partial', '--bad-map', '/dev/full')
    assert done.code == 7 and 'were not restored' in done.err
    assert 'cannot be written to /dev/full: No space left' in done.err
    assert (tmp_path / 'target').stat().st_size == len(data)
