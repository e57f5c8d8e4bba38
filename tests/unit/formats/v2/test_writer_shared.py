"""Duplicates across the backups of a container: savings, never at the price of a right restore."""

import random
import sqlite3
import uuid

import pytest

from backup_framework import exceptions
from backup_framework.formats import base
from backup_framework.formats.v2 import owner, shared
from tests.unit.formats.v2 import volumes
from tests.unit.formats.v2.volumes import Volume, container, restore, take

BLOCK = 4096
DATA = random.Random(4).randbytes(40 * BLOCK)


@pytest.fixture
def choices(tmp_path):
    return base.Choices(chunk_size=16 * BLOCK, block_size=BLOCK, duplicates='container',
                        cache_directory=str(tmp_path / 'cache'))


@pytest.fixture
def cache(tmp_path):
    """The file, once a backup has made it."""
    def find():
        found, = (tmp_path / 'cache').iterdir()
        return found
    return find


def new_blocks(box, prefix):
    with volumes.open_reader(box, prefix).open_rows() as rows:
        list(rows)
        return sum(item.blocks for item in rows.objects if item.name.startswith(prefix))


def test_another_volume_refers_to_what_is_there(choices):
    box = container()
    take(box, 1, Volume(DATA), choices)
    other = DATA[5 * BLOCK:30 * BLOCK] + random.Random(5).randbytes(3 * BLOCK) + b'end'
    prefix, _ = take(box, 2, Volume(other), choices)
    assert new_blocks(box, prefix) == 4
    assert volumes.open_reader(box, prefix).references == ['backup_1']
    assert restore(box, prefix) == other
    # What the third one finds is in the objects of the first one, not of the second.
    prefix, _ = take(box, 3, Volume(other), choices)
    assert new_blocks(box, prefix) == 0
    assert restore(box, prefix) == other


def test_backups_of_another_installation_are_not_referred_to(choices):
    """It may delete them at any time, for it knows nothing of what runs here. They are there where
    the container was adopted."""
    box = container()
    theirs, ours = str(uuid.uuid4()), str(uuid.uuid4())
    take(box, 1, Volume(DATA), choices, owner=theirs)
    owner.claim(box, ours, adopt=True)
    prefix, _ = take(box, 2, Volume(DATA), choices, owner=ours)
    assert volumes.open_reader(box, prefix).references == []
    owner.claim(box, theirs, adopt=True)
    prefix, _ = take(box, 3, Volume(DATA), choices, owner=theirs)
    assert volumes.open_reader(box, prefix).references == ['backup_1']


def test_the_cache_is_filled_once(choices):
    box = container()
    take(box, 1, Volume(DATA), choices)
    take(box, 2, Volume(DATA), choices)
    read = []
    open_ranges, box.ranges = box.ranges, lambda *name: read.append(name) or open_ranges(*name)
    take(box, 3, Volume(DATA[:8 * BLOCK]), choices)
    # The second backup stored tables of its own, though no frames: they are read in once.
    assert {name for name, in read} == {'backup_2-00001'}
    read.clear()
    take(box, 4, Volume(DATA[:8 * BLOCK]), choices)
    assert {name for name, in read} == {'backup_3-00001'}


def test_no_directory_makes_it_anew(choices):
    box = container()
    without = base.Choices(chunk_size=16 * BLOCK, block_size=BLOCK, duplicates='container')
    take(box, 1, Volume(DATA), without)
    prefix, _ = take(box, 2, Volume(DATA), without)
    assert new_blocks(box, prefix) == 0


def test_blocks_of_another_size_are_not_shared(choices):
    box = container()
    take(box, 1, Volume(DATA), choices)
    half = base.Choices(chunk_size=16 * BLOCK, block_size=BLOCK // 2, duplicates='container',
                        cache_directory=choices.cache_directory)
    # A short block of one is a whole block of the other.
    data = DATA[:BLOCK * 2 + BLOCK // 2]
    prefix, _ = take(box, 2, Volume(data), half)
    assert new_blocks(box, prefix) == 5
    assert restore(box, prefix) == data


@pytest.mark.parametrize('known', [True, False])
def test_a_deleted_backup_is_not_referred_to(choices, cache, known):
    box = container()
    take(box, 1, Volume(DATA), choices)
    take(box, 2, Volume(DATA[:BLOCK]), choices)
    box.delete('backup_1_metadata')
    if not known:
        with sqlite3.connect(cache()) as database:
            database.execute('DELETE FROM backups')
        database.close()
    prefix, _ = take(box, 3, Volume(DATA[BLOCK:]), choices)
    assert new_blocks(box, prefix) == 39
    assert volumes.open_reader(box, prefix).references == []


def test_an_object_that_is_gone_is_not_referred_to(choices):
    box = container()
    take(box, 1, Volume(DATA), choices)
    take(box, 2, Volume(DATA[:BLOCK]), choices)
    box.delete('backup_1-00001')
    prefix, _ = take(box, 3, Volume(DATA), choices)
    assert new_blocks(box, prefix) == 40
    assert restore(box, prefix) == DATA


@pytest.mark.parametrize('damage', [b'no database at all' * 100, b''])
def test_a_damaged_cache_is_made_anew(choices, cache, damage):
    box = container()
    take(box, 1, Volume(DATA), choices)
    take(box, 2, Volume(DATA[:BLOCK]), choices)
    cache().write_bytes(damage)
    prefix, _ = take(box, 3, Volume(DATA), choices)
    assert new_blocks(box, prefix) == 0
    assert restore(box, prefix) == DATA


@pytest.mark.parametrize('byte', range(0, 81, 8))
def test_an_entry_with_a_flipped_bit_is_not_used(choices, cache, byte):
    box = container()
    take(box, 1, Volume(DATA), choices)
    take(box, 2, Volume(DATA[:BLOCK]), choices)
    with sqlite3.connect(cache()) as database:
        rows = database.execute('SELECT digest, record FROM blocks').fetchall()
        for digest, record in rows:
            changed = bytearray(record)
            changed[byte] ^= 1
            database.execute('UPDATE blocks SET record = ? WHERE digest = ?',
                             (bytes(changed), digest))
    database.close()
    prefix, _ = take(box, 3, Volume(DATA), choices)
    assert new_blocks(box, prefix) == 40
    assert restore(box, prefix) == DATA


def test_a_cache_that_cannot_be_kept_costs_savings_only(choices, tmp_path):
    (tmp_path / 'cache').write_text('a file')
    box = container()
    take(box, 1, Volume(DATA), choices)
    prefix, _ = take(box, 2, Volume(DATA), choices)
    assert new_blocks(box, prefix) == 40
    assert restore(box, prefix) == DATA


def test_a_damaged_backup_is_passed_over(choices):
    box = container()
    take(box, 1, Volume(DATA), choices)
    box.delete('backup_1_map')
    prefix, _ = take(box, 2, Volume(DATA), choices)
    assert new_blocks(box, prefix) == 40


def test_a_store_that_fails_costs_savings_this_time_only(choices, monkeypatch):
    box = container()
    take(box, 1, Volume(DATA), choices)
    monkeypatch.setattr(shared.Shared, '_reader', failing)
    prefix, _ = take(box, 2, Volume(DATA), choices)
    assert new_blocks(box, prefix) == 40
    monkeypatch.undo()
    prefix, _ = take(box, 3, Volume(DATA), choices)
    assert new_blocks(box, prefix) == 0


def failing(*arguments):
    raise exceptions.StoreUnavailable('the store does not answer')


def test_the_cache_is_bounded(choices, cache, monkeypatch):
    monkeypatch.setattr(shared, 'MOST', 30)
    box = container()
    take(box, 1, Volume(DATA), choices)
    take(box, 2, Volume(random.Random(6).randbytes(20 * BLOCK)), choices)
    take(box, 3, Volume(b''), choices)
    with sqlite3.connect(cache()) as database:
        assert database.execute('SELECT count(*) FROM blocks').fetchone() == (40,)
    database.close()
