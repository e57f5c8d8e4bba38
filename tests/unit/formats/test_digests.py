"""Block digests: properties, and the spool file."""

from __future__ import annotations

import ctypes
import hashlib
import os
import pathlib

from hypothesis import given
from hypothesis import strategies as st
import pytest

from backup_framework import exceptions
from backup_framework.formats import digests

SIZE = digests.DIGEST_SIZE
blocks_of = st.lists(st.sampled_from([bytes([n]) * SIZE for n in range(3)]), max_size=24)


def sparse(pairs: list[tuple[int, int]]) -> bytes:
    return b''.join(bytes([value]) * length for value, length in pairs)


volumes = st.lists(st.tuples(st.sampled_from([0, 0, 7]), st.integers(0, 40)), max_size=8
                   ).map(sparse)


@given(volumes, st.integers(1, 50))
def test_of_is_sha256_of_each_block_but_for_zeros(data: bytes, block_size: int) -> None:
    found = digests.of(data, block_size)
    assert len(found) == SIZE * digests.count(len(data), block_size)
    for number, at in enumerate(range(0, len(data), block_size)):
        block = data[at:at + block_size]
        expected = digests.ZERO if block == bytes(block_size) else hashlib.sha256(block).digest()
        assert found[number * SIZE:(number + 1) * SIZE] == expected


@given(st.integers(0, 5000), st.integers(1, 600))
def test_of_zeros_is_of_for_zeros(length: int, block_size: int) -> None:
    assert digests.of_zeros(length, block_size) == digests.of(bytes(length), block_size)


@given(volumes, st.integers(1, 30), st.sampled_from([bytes, bytearray, memoryview]))
def test_of_takes_any_buffer(data: bytes, block_size: int, kind: type) -> None:
    assert digests.of(kind(data), block_size) == digests.of(data, block_size)


@given(blocks_of, blocks_of, st.integers(0, 6))
def test_changed_runs(old: list[bytes], new: list[bytes], gap: int) -> None:
    runs = digests.changed_runs(b''.join(old), b''.join(new), gap)
    changed = {n for n, digest in enumerate(new) if n >= len(old) or old[n] != digest}
    inside = {n for first, count in runs for n in range(first, first + count)}
    assert changed <= inside <= set(range(len(new)))
    for first, count in runs:
        assert count > 0 and first in changed and first + count - 1 in changed, 'runs are tight'
    for (first, count), (following, _) in zip(runs, runs[1:]):
        assert following - (first + count) > gap, 'near runs are one'
    run_of = {n: number for number, (first, count) in enumerate(runs)
              for n in range(first, first + count)}
    for here, there in zip(sorted(changed), sorted(changed)[1:]):
        assert (run_of[here] == run_of[there]) == (there - here - 1 <= gap)


@given(blocks_of)
def test_nothing_changed(same: list[bytes]) -> None:
    assert digests.changed_runs(b''.join(same), b''.join(same)) == []


@given(st.lists(blocks_of, max_size=6), st.integers(1, 7), st.integers(0, 40), st.integers(0, 40))
def test_a_spool_gives_back_what_it_got(batches: list[list[bytes]], step: int, first: int,
                                        count: int) -> None:
    everything = b''.join(b''.join(batch) for batch in batches)
    with digests.Spool(512) as spool:
        for batch in batches:
            spool.append(b''.join(batch))
        assert spool.length == len(everything) // SIZE
        assert b''.join(spool.batches(step)) == everything
        assert spool.get(first, count) == everything[first * SIZE:(first + count) * SIZE]


def test_zeros_take_no_space(tmp_path: pathlib.Path) -> None:
    with digests.Spool(512, str(tmp_path)) as spool:
        for _ in range(1000):
            spool.append(bytes(SIZE * 1000))
        assert spool.get(999_990, 100) == bytes(10 * SIZE)
        assert not os.listdir(tmp_path), 'the file has no name'


def test_a_spool_may_begin_and_end_with_zeros() -> None:
    with digests.Spool(512) as spool:
        spool.append(bytes(SIZE) + b'x' * SIZE + bytes(SIZE))
        assert spool.get(0, 9) == bytes(SIZE) + b'x' * SIZE + bytes(SIZE)


def test_a_spool_directory_that_is_missing(tmp_path: pathlib.Path) -> None:
    with pytest.raises(exceptions.VolumeError, match='temporary file'):
        digests.Spool(512, str(tmp_path / 'missing'))


def test_a_full_spool_directory(tmp_path: pathlib.Path) -> None:
    if os.geteuid():
        pytest.skip('only root mounts a small tmpfs')
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b'tmpfs', os.fsencode(tmp_path), b'tmpfs', 0, b'size=64k'):
        pytest.skip('mounting a tmpfs is not possible')
    try:
        with digests.Spool(512, str(tmp_path)) as spool, pytest.raises(exceptions.NoSpace):
            spool.append(b'x' * (128 << 10))
        with open(tmp_path / 'filler', 'wb', buffering=0) as file:
            with pytest.raises(OSError):
                for _ in range(100):
                    file.write(bytes(4096))
        with pytest.raises(exceptions.NoSpace), digests.Spool(512, str(tmp_path)) as spool:
            spool.append(b'x' * SIZE)
    finally:
        libc.umount2(os.fsencode(tmp_path), 2)
