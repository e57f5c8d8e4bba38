"""The index of duplicates keeps within its memory, and forgets the oldest first."""

import os
import tracemalloc

import pytest

from backup_framework.formats.v2.duplicates import Index
from backup_framework.formats.v2.packing import Frame


def places(count, blocks_a_frame=8):
    found = {}
    for block in range(count):
        if block % blocks_a_frame == 0:
            frame = Frame('volume_1_backup_1-00001', 3, 1 << 40 | block << 10, 60000 + block,
                          1 << 19, os.urandom(32))
        found[os.urandom(32)] = (frame, block % blocks_a_frame)
    return found


@pytest.mark.parametrize('blocks_a_frame', [1, 8])
def test_memory_stays_within_the_bound(blocks_a_frame):
    size = 4 << 20
    index = Index(size)
    tracemalloc.start()
    try:
        for _ in range(50):
            index.add(places(1000, blocks_a_frame))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / 3 < used < size * 1.1


def test_what_came_last_is_found():
    index = Index(1 << 20)
    first, last = places(500), places(500)
    index.add(first)
    for _ in range(10):
        index.add(places(500))
    index.add(last)
    assert all(index.find(digest) == place for digest, place in last.items())
    assert not any(index.find(digest) for digest in first)


def test_more_than_fits_is_cut():
    index = Index(20_000)
    found = places(500)
    index.add(found)
    known = sum(index.find(digest) is not None for digest in found)
    assert 10 < known < 100


def test_no_memory_finds_nothing():
    index = Index(0)
    found = places(5)
    index.add(found)
    assert not any(index.find(digest) for digest in found)
