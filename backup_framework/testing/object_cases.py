"""The cases of the kit about writing and reading one object: sentences W and R."""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures
import contextlib
import itertools
from typing import Any

import pytest

from backup_framework import exceptions
from backup_framework.testing import hooks
from backup_framework.testing.bench import Bench, SomethingElse, pattern, refused, same
from backup_framework.testing.sentences import sentence

KIB, MIB = 1 << 10, 1 << 20

LARGEST = 4 * MIB
"""The most that the framework gives to one `write` and asks of one `read`."""


class ObjectCases(hooks.Hooks):
    """One method a case; each needs a bench and nothing that another case left."""

    # --- W: get_object_writer

    @sentence('W1')
    @pytest.mark.parametrize('kind', [bytes, bytearray, memoryview])
    def test_w1_any_buffer(self, bench: Bench, kind: type) -> None:
        box, data = bench.container(), pattern(10 * KIB)
        bench.put(box, 'name', kind(data))
        same(bench.contents(box, 'name'), data, f'an object written as {kind.__name__}')

    @sentence('W1')
    def test_w1_a_part_of_a_buffer(self, bench: Bench) -> None:
        box, data = bench.container(), pattern(10 * KIB)
        bench.put(box, 'name', memoryview(data)[100:200], memoryview(bytearray(data))[300:])
        same(bench.contents(box, 'name'), data[100:200] + data[300:], 'parts of buffers')

    @sentence('W1')
    def test_w1_many_small_writes(self, bench: Bench) -> None:
        box, data = bench.container(), pattern(self.small_writes)
        bench.put(box, 'name', *(data[at:at + 1] for at in range(len(data))))
        same(bench.contents(box, 'name'), data, 'an object written byte by byte')

    @sentence('W1')
    def test_w1_large_writes(self, bench: Bench) -> None:
        limit = bench.capabilities.max_object_size or self.large_object_bytes
        box, data = bench.container(), pattern(min(limit, self.large_object_bytes))
        bench.put(box, 'name', *_pieces(data, LARGEST))
        same(bench.contents(box, 'name'), data, 'an object written in large pieces')

    @sentence('W2')
    def test_w2_an_object_appears_when_the_block_ends(self, bench: Bench) -> None:
        box, data = bench.container(), pattern(200 * KIB)
        with bench.driver.get_object_writer(box, 'name') as writer:
            assert not bench.visible(box, 'name'), 'an object is listed before its first byte'
            writer.write(data[:100 * KIB])
            assert not bench.visible(box, 'name'), 'a half written object is listed'
            with contextlib.suppress(exceptions.StoreError):
                assert not bench.contents(box, 'name'), 'a half written object can be read'
            writer.write(data[100 * KIB:])
            bench.name_written(box, 'name')
        assert bench.visible(box, 'name'), 'an object is not listed when its block has ended'
        same(bench.contents(box, 'name'), data, 'an object whose block has just ended')

    @sentence('W2')
    def test_w2_a_killed_writer_leaves_nothing_visible(self, bench: Bench) -> None:
        box = bench.container()
        self._abandon(bench, box, 'killed')
        assert not bench.visible(box, 'killed'), 'the object of a killed writer is listed'

    @sentence('W3')
    @pytest.mark.parametrize('error', [SomethingElse, exceptions.StoreUnavailable,
                                       KeyboardInterrupt])
    def test_w3_an_exception_leaves_nothing(self, bench: Bench,
                                            error: type[BaseException]) -> None:
        box = bench.container()
        bench.name_written(box, 'name')
        with refused(error, what=f'a block left with {error.__name__}'):
            with bench.driver.get_object_writer(box, 'name') as writer:
                writer.write(pattern(100 * KIB))
                raise error('raised inside the block')
        assert not bench.visible(box, 'name'), f'{error.__name__} in the block left an object'

    @sentence('W3')
    def test_w3_an_exception_before_the_first_write(self, bench: Bench) -> None:
        box = bench.container()
        bench.name_written(box, 'name')
        with refused(SomethingElse, what='a block left with an exception of its caller'):
            with bench.driver.get_object_writer(box, 'name'):
                raise SomethingElse('before the first write')
        assert not bench.visible(box, 'name'), 'an exception in the block left an empty object'

    @sentence('W3')
    def test_w3_the_name_can_be_written_afterwards(self, bench: Bench) -> None:
        box, data = bench.container(), pattern(1000)
        with contextlib.suppress(SomethingElse):
            with bench.driver.get_object_writer(box, 'name') as writer:
                writer.write(pattern(2000, seed=1))
                raise SomethingElse('raised inside the block')
        bench.put(box, 'name', data)
        same(bench.contents(box, 'name'), data, 'an object written after a failed attempt')

    @sentence('W4')
    @pytest.mark.parametrize('pieces', [(), (b'',)])
    def test_w4_an_empty_object(self, bench: Bench, pieces: tuple[bytes, ...]) -> None:
        box = bench.container()
        bench.put(box, 'empty', *pieces)
        assert bench.visible(box, 'empty'), 'an empty object is not listed'
        same(bench.contents(box, 'empty'), b'', 'an empty object')

    @sentence('W5')
    @pytest.mark.parametrize('view', [lambda buffer: buffer, memoryview], ids=['own', 'view'])
    def test_w5_a_buffer_may_change_after_write(self, bench: Bench,
                                                view: Callable[[bytearray], Any]) -> None:
        box, data = bench.container(), pattern(64 * KIB)
        buffer = bytearray(16 * KIB)
        bench.name_written(box, 'name')
        with bench.driver.get_object_writer(box, 'name') as writer:
            for at in range(0, len(data), len(buffer)):
                buffer[:] = data[at:at + len(buffer)]
                writer.write(view(buffer))
            buffer[:] = bytes(len(buffer))
        same(bench.contents(box, 'name'), data, 'an object written from one buffer')

    @sentence('W6')
    def test_w6_temporary_names_begin_with_a_dot(self, bench: Bench) -> None:
        box = bench.container()
        self._abandon(bench, box, 'sub/killed')
        raw = self._temporary_names(bench, box, 'sub/killed')
        wrong = [name for name in raw if not name.rpartition('/')[2].startswith('.')]
        assert not wrong, f'a killed writer left {wrong}, which do not begin with a dot'
        wrong = [name for name in raw if name.startswith('sub/killed')]
        assert not wrong, f"a killed writer left {wrong}, which begin with the object's name"

    @sentence('W6')
    def test_w6_what_a_kill_left_can_be_removed(self, bench: Bench) -> None:
        self._skip_unless_ours()
        box = bench.container()
        self._abandon(bench, box, 'killed')
        young = bench.driver.remove_temporary(24 * 3600)
        assert young == 0, f'remove_temporary removed {young} that are younger than it was told'
        left = self._temporary_names(bench, box, 'killed')
        removed = bench.driver.remove_temporary(0)
        assert removed >= len(left), f'remove_temporary removed {removed} of {left}'
        left = self._temporary_names(bench, box, 'killed')
        assert not left, f'remove_temporary returned {removed} and left {left}'
        assert bench.driver.remove_temporary(0) == 0, 'a second remove_temporary found more'

    @sentence('W6')
    def test_w6_remove_temporary_takes_no_object(self, bench: Bench) -> None:
        self._skip_unless_ours()
        box = bench.container()
        bench.put(box, 'name', b'data')
        bench.put(box, 'sub/name', b'data')
        bench.driver.remove_temporary(0)
        assert bench.visible(box, 'name'), 'remove_temporary removed an object'
        assert bench.visible(box, 'sub/name'), 'remove_temporary removed an object'

    @sentence('W7')
    def test_w7_an_object_outlives_its_driver(self, bench: Bench) -> None:
        """As far as this can be seen without a power cut: see `Hooks.fresh_driver`."""
        box, data = bench.container(), pattern(10 * KIB)
        bench.put(box, 'name', data)
        bench.driver.sync(box)
        bench.driver.sync(box)
        other = self._fresh(bench)
        same(bench.contents(box, 'name', other), data, 'an object read by another driver')

    @sentence('W7')
    def test_w7_durable_is_declared(self, bench: Bench) -> None:
        """Declarative: the kit cannot cut the power."""
        durable = bench.capabilities.durable
        assert isinstance(durable, bool), f'capabilities().durable is {durable!r}'

    @sentence('W8')
    def test_w8_equal_bytes_again(self, bench: Bench) -> None:
        box, data = bench.container(), pattern(10 * KIB)
        bench.put(box, 'name', data)
        bench.put(box, 'name', data[:1000], data[1000:])
        same(bench.contents(box, 'name'), data, 'an object written twice')

    @sentence('W8')
    def test_w8_equal_bytes_at_once(self, bench: Bench) -> None:
        box, data = bench.container(), pattern(100 * KIB)
        bench.side_by_side(lambda _: bench.put(box, 'name', data), range(8))
        same(bench.contents(box, 'name'), data, 'an object written by several at once')

    @sentence('W9')
    @pytest.mark.parametrize('length', [10, 10 * KIB, 20 * KIB])
    def test_w9_other_bytes(self, bench: Bench, length: int) -> None:
        box, old, new = bench.container(), pattern(10 * KIB), pattern(length, seed=1)
        bench.put(box, 'name', old)
        if bench.capabilities.conditional_create:
            with refused(exceptions.ObjectExists, what='writing other bytes under a name'):
                bench.put(box, 'name', new)
            same(bench.contents(box, 'name'), old, 'an object after an attempt to replace it')
        else:
            bench.put(box, 'name', new)
            same(bench.contents(box, 'name'), new, 'an object that was replaced')

    @sentence('W9')
    def test_w9_other_bytes_at_once(self, bench: Bench) -> None:
        box = bench.container()
        versions = [pattern(100 * KIB, seed) for seed in range(4)]

        def write(data: bytes) -> None:
            with contextlib.suppress(exceptions.ObjectExists):
                bench.put(box, 'name', data[:KIB], data[KIB:])

        bench.side_by_side(write, versions)
        assert bench.contents(box, 'name') in versions, 'several writers left a mixture'

    @sentence('W9')
    def test_w9_an_exception_keeps_what_was_there(self, bench: Bench) -> None:
        box, old = bench.container(), pattern(10 * KIB)
        bench.put(box, 'name', old)
        with contextlib.suppress(SomethingElse, exceptions.ObjectExists):
            with bench.driver.get_object_writer(box, 'name') as writer:
                writer.write(pattern(20 * KIB, seed=1))
                raise SomethingElse('raised inside the block')
        same(bench.contents(box, 'name'), old, 'an object whose replacement failed')

    @sentence('W9')
    def test_w9_a_replaced_object_is_never_missing(self, bench: Bench) -> None:
        can = bench.capabilities
        if can.conditional_create or not can.atomic_replace:
            return
        if can.connections < 2:
            pytest.skip('a store with one connection cannot be looked at while it is written')
        box, versions = bench.container(), [pattern(10 * KIB, seed) for seed in range(2)]
        bench.put(box, 'name', versions[0])

        def replace() -> None:
            for turn in range(1, self.replacements + 1):
                bench.put(box, 'name', versions[turn % 2])

        with futures.ThreadPoolExecutor(1) as pool:
            replacing = pool.submit(replace)
            while not replacing.done():
                assert bench.visible(box, 'name'), 'an object is not listed while it is replaced'
                found = bench.contents(box, 'name')
                assert found in versions, 'an object that is being replaced is a mixture'
                if can.reports_size:
                    size = bench.driver.object_size(box, 'name')
                    assert size == 10 * KIB, f'an object that is being replaced has {size} bytes'
            replacing.result()

    # --- R: get_object_reader

    @sentence('R1')
    @pytest.mark.parametrize(
        'data', [bytes(range(256)), b'\r\n\n\r\x1a\0', b'\xff\xfe\xef\xbb\xbf'])
    def test_r1_bytes_are_kept(self, bench: Bench, data: bytes) -> None:
        box = bench.container()
        bench.put(box, 'name', data)
        with bench.driver.get_object_reader(box, 'name') as reader:
            same(reader.read(), data, 'an object of special bytes')

    @sentence('R1')
    def test_r1_read_gives_all(self, bench: Bench) -> None:
        limit = bench.capabilities.max_object_size or self.large_object_bytes
        box, data = bench.container(), pattern(min(limit, self.large_object_bytes))
        bench.put(box, 'name', *_pieces(data, MIB))
        with bench.driver.get_object_reader(box, 'name') as reader:
            same(reader.read(), data, 'a large object read in one piece')
            assert reader.read() == b'', 'read() at the end gives more'

    @sentence('R1')
    def test_r1_read_gives_the_rest(self, bench: Bench) -> None:
        box, data = bench.container(), pattern(10 * KIB)
        bench.put(box, 'name', data)
        with bench.driver.get_object_reader(box, 'name') as reader:
            head = reader.read(100)
            same(head + reader.read(), data, 'read(100) and read()')

    @sentence('R2')
    def test_r2_read_n_gives_n(self, bench: Bench) -> None:
        box, data = bench.container(), pattern(1 * MIB + 17)
        bench.put(box, 'name', data)
        with bench.driver.get_object_reader(box, 'name') as reader:
            for start, size in _portions(len(data)):
                same(reader.read(size), data[start:start + size], f'read({size}) at {start}')
            assert reader.read(1) == b'', 'read(1) at the end gives more'

    @sentence('R2')
    def test_r2_the_largest_reads(self, bench: Bench) -> None:
        limit = bench.capabilities.max_object_size or self.large_object_bytes
        box, data = bench.container(), pattern(min(limit, self.large_object_bytes))
        bench.put(box, 'name', *_pieces(data, MIB))
        with bench.driver.get_object_reader(box, 'name') as reader:
            for piece in _pieces(data, LARGEST):
                same(reader.read(LARGEST), piece.tobytes(), 'a part of a large object')
            assert reader.read(LARGEST) == b'', 'a read at the end gives more'

    @sentence('R2')
    def test_r2_read_more_than_there_is(self, bench: Bench) -> None:
        box = bench.container()
        bench.put(box, 'name', b'data')
        with bench.driver.get_object_reader(box, 'name') as reader:
            assert reader.read(0) == b'', 'read(0) gives something'
            same(reader.read(1000), b'data', 'read(1000) of an object of 4 bytes')

    @sentence('R3')
    def test_r3_a_missing_object(self, bench: Bench) -> None:
        box = bench.container()
        bench.put(box, 'name', b'data')
        for name in ('nam', 'name2', 'sub/name', 'name/sub'):
            with refused(exceptions.ObjectNotFound, what=f'reading {name!r}, which is missing,'):
                bench.contents(box, name)

    @sentence('R3')
    def test_r3_a_missing_container(self, bench: Bench) -> None:
        with refused(exceptions.ObjectNotFound, exceptions.ContainerNotFound,
                     what='reading from a missing container'):
            bench.contents(bench.name_container(), 'name')

    @sentence('R3')
    def test_r3_a_deleted_object(self, bench: Bench) -> None:
        box = bench.container()
        bench.put(box, 'name', b'data')
        bench.put(box, 'other', b'data')
        bench.driver.delete_object(box, 'name')
        with refused(exceptions.ObjectNotFound, what='reading a deleted object'):
            bench.contents(box, 'name')

    @sentence('R3')
    def test_r3_the_size_of_a_missing_object(self, bench: Bench) -> None:
        if not bench.capabilities.reports_size:
            return
        box = bench.container()
        bench.put(box, 'name', b'data')
        with refused(exceptions.ObjectNotFound, what='the size of a missing object'):
            bench.driver.object_size(box, 'missing')
        with refused(exceptions.ObjectNotFound, exceptions.ContainerNotFound,
                     what='the size of an object in a missing container'):
            bench.driver.object_size(bench.name_container(), 'name')

    @sentence('R4')
    def test_r4_seek(self, bench: Bench) -> None:
        box, data = bench.container(), pattern(300 * KIB)
        bench.put(box, 'name', data)
        with bench.driver.get_object_reader(box, 'name') as reader:
            if not bench.capabilities.ranged_read:
                with refused(exceptions.NotSupported, what='seek, declared absent,'):
                    reader.seek(100)  # type: ignore[attr-defined]
                return
            for start in (200 * KIB, 17, 0, 299 * KIB, len(data) - 1, 1):
                reader.seek(start)  # type: ignore[attr-defined]
                same(reader.read(1000), data[start:start + 1000], f'read after seek({start})')
            reader.seek(len(data))  # type: ignore[attr-defined]
            assert reader.read(1) == b'', 'a read after seek to the end gives something'

    @sentence('R5')
    def test_r5_a_short_body(self, bench: Bench) -> None:
        box, data = bench.container(), pattern(100 * KIB)
        for size in (-1, 10 * KIB):
            name = f'short{size}'
            bench.put(box, name, data)
            if not self.shorten(bench.driver, box, name):
                pytest.skip('"shorten" cannot make this store send less than it promised')
            with refused(exceptions.StoreUnavailable, what=f'read({size}) of a short body'):
                with bench.driver.get_object_reader(box, name) as reader:
                    while reader.read(size):
                        pass


def _pieces(data: bytes, size: int) -> list[memoryview]:
    return [memoryview(data)[at:at + size] for at in range(0, len(data), size)]


def _portions(length: int) -> list[tuple[int, int]]:
    """Start and size of reads of growing odd sizes, until `length` is passed."""
    sizes = itertools.accumulate(itertools.repeat(3), lambda size, _: 2 * size + 1, initial=1)
    found: list[tuple[int, int]] = []
    start = 0
    for size in sizes:
        if start >= length:
            return found
        found.append((start, size))
        start += size
    return found
