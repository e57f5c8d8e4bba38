"""The cases of the kit that look at single verbs: sentences G, P, L, W, R and D."""

from __future__ import annotations

import contextlib
import itertools

import pytest

from backup_framework import exceptions, model
from backup_framework.testing import hooks
from backup_framework.testing.bench import Bench, only_store_errors, pattern, refused, same
from backup_framework.testing.sentences import sentence

KIB, MIB = 1 << 10, 1 << 20

LARGEST_WRITE = 4 * MIB
"""The most that the framework gives to one `write`."""


class SomethingElse(Exception):
    """What the cases raise inside a block: no driver knows it."""


class VerbCases(hooks.Hooks):
    """One method a case; each needs a bench and nothing that another case left."""

    # --- G: all verbs

    @sentence('G1')
    def test_g1_threads_work_side_by_side(self, bench: Bench) -> None:
        box = bench.container()

        def whole_life(number: int) -> None:
            name, data = f'thread-{number}', pattern(10 * KIB + number, number)
            bench.put(box, name, data[:100], data[100:])
            same(bench.contents(box, name), data, f'object {name} of one of several threads')
            assert bench.names(box, prefix=name) == [name], f'{name} is not listed in its thread'
            bench.driver.delete_object(box, name)

        bench.side_by_side(whole_life, range(10, 10 + 4 * bench.threads))

    @sentence('G1')
    def test_g1_threads_share_an_object(self, bench: Bench) -> None:
        box, data = bench.container(), pattern(64 * KIB)
        bench.put(box, 'shared', data)
        for got in bench.side_by_side(lambda _: bench.contents(box, 'shared'), range(32)):
            same(got, data, 'an object read by several threads')

    @sentence('G1')
    def test_g1_writers_open_at_once_do_not_mix(self, bench: Bench) -> None:
        box = bench.container()
        names = [f'open-{number}' for number in range(min(4, bench.capabilities.connections))]
        with contextlib.ExitStack() as blocks:
            writers = [blocks.enter_context(bench.driver.get_object_writer(box, name))
                       for name in names]
            for turn in range(3):
                for number, writer in enumerate(writers):
                    writer.write(pattern(KIB, seed=10 * number + turn))
        for number, name in enumerate(names):
            wanted = b''.join(pattern(KIB, seed=10 * number + turn) for turn in range(3))
            same(bench.contents(box, name), wanted, f'{name}, written while others were open')

    @sentence('G2')
    def test_g2_case_is_kept(self, bench: Bench) -> None:
        box = bench.container()
        bench.put(box, 'case', b'lower')
        bench.put(box, 'CASE', b'upper')
        same(bench.contents(box, 'case'), b'lower', 'object "case" beside "CASE"')
        same(bench.contents(box, 'CASE'), b'upper', 'object "CASE" beside "case"')

    @sentence('G2')
    @pytest.mark.parametrize('name', hooks.ODD_NAMES)
    def test_g2_odd_names_work(self, bench: Bench, name: str) -> None:
        box = bench.container()
        bench.put(box, name, b'odd')
        same(bench.contents(box, name), b'odd', f'object {name!r}')
        assert bench.names(box) == [name], f'{name!r} is listed as {bench.names(box)}'
        bench.driver.delete_object(box, name)
        assert not bench.visible(box, name), f'{name!r} was deleted and is still there'

    @sentence('G2')
    @pytest.mark.parametrize('character', ['n', 'ö'])
    def test_g2_long_names_work(self, bench: Bench, character: str) -> None:
        box = bench.container()
        longest = min(255, bench.capabilities.longest_name - len(box.encode()) - 1)
        name = character * (longest // len(character.encode()))
        bench.put(box, name, b'long')
        same(bench.contents(box, name), b'long', f'an object with a name of {longest} bytes')
        assert bench.names(box) == [name], f'a name of {longest} bytes is listed otherwise'

    @sentence('G2')
    def test_g2_odd_names_of_containers_work(self, bench: Bench) -> None:
        for suffix in (' blank', '-ö', '-%2f', '/sub one'):
            box = bench.container(bench.container() + suffix)
            bench.put(box, 'name', b'odd')
            same(bench.contents(box, 'name'), b'odd', f'an object in container {box!r}')

    @sentence('G3')
    @pytest.mark.parametrize('suffix', ['-', '2', '/sub'])
    def test_g3_containers_do_not_share_objects(self, bench: Bench, suffix: str) -> None:
        one = bench.container()
        two = bench.container(one + suffix)
        bench.put(one, 'name', b'one')
        bench.put(two, 'name', b'the other')
        bench.put(two, 'only', b'here')
        same(bench.contents(one, 'name'), b'one', f'an object of {one} beside {two}')
        same(bench.contents(two, 'name'), b'the other', f'an object of {two} beside {one}')
        # On a store of directories `sub/only` of one container may be `only` of the nested one.
        listed = {name for name in bench.names(one) if not name.startswith('sub/')}
        assert listed == {'name'}, f'{one} lists {listed}'
        bench.driver.delete_object(one, 'name')
        assert bench.visible(two, 'name'), f'a delete in {one} removed an object of {two}'

    @sentence('G4')
    def test_g4_what_is_missing_is_a_store_error(self, bench: Bench) -> None:
        driver, missing, box = bench.driver, bench.name_container(), bench.container()
        with only_store_errors('reading a missing object'):
            bench.contents(box, 'missing')
        with only_store_errors('reading from a missing container'):
            bench.contents(missing, 'missing')
        with only_store_errors('listing a missing container'):
            list(bench.driver.get_container_entries(missing, ''))
        with only_store_errors('the size of a missing object'):
            driver.object_size(box, 'missing')
        with only_store_errors('writing into a missing container'):
            bench.put(missing, 'name', b'data')
        with only_store_errors('sync of a missing container'):
            driver.sync(missing)

    @sentence('G4')
    def test_g4_an_outage_is_a_store_error(self, bench: Bench) -> None:
        box = bench.container()
        bench.put(box, 'name', b'data')
        with self._outage(bench):
            for what, verb in hooks.each_verb(bench, box):
                with only_store_errors(f'{what} without a store'):
                    verb()

    @sentence('G5')
    def test_g5_verbs_ask_once(self, bench: Bench) -> None:
        box = bench.container()
        bench.put(box, 'name', b'data')
        with self._outage(bench) as requests:
            if requests is None:
                pytest.skip('"outage" does not count the requests to this store')
            for what, verb in hooks.each_verb(bench, box):
                before = requests()
                with contextlib.suppress(Exception):
                    verb()
                asked = requests() - before
                assert asked <= 1, f'{what} asked {asked} times though the first one failed'

    @sentence('G6')
    def test_g6_capabilities_make_sense(self, bench: Bench) -> None:
        can = bench.capabilities
        assert isinstance(can, model.Capabilities), f'capabilities() returned {can!r}'
        assert can == bench.capabilities, 'capabilities() differ from one call to the next'
        assert can.connections >= 1, f'connections = {can.connections}'
        assert can.longest_name > 64, f'longest_name = {can.longest_name}'
        assert can.writer_buffer >= 0, f'writer_buffer = {can.writer_buffer}'
        assert can.listing_delay >= 0, f'listing_delay = {can.listing_delay}'

    @sentence('G6')
    def test_g6_all_declared_connections_work_at_once(self, bench: Bench) -> None:
        box = bench.container()
        bench.put(box, 'name', b'data')
        with contextlib.ExitStack() as blocks:
            for _ in range(min(bench.capabilities.connections, self.most_connections)):
                reader = blocks.enter_context(bench.driver.get_object_reader(box, 'name'))
                assert reader.read(1) == b'd', 'a reader beside others gives other bytes'

    @sentence('G6')
    def test_g6_list_containers(self, bench: Bench) -> None:
        if not bench.capabilities.lists_containers:
            with refused(exceptions.NotSupported, what='list_containers, declared absent,'):
                list(bench.driver.list_containers())
            return
        outer = bench.container()
        boxes = {outer, bench.container(f'{outer}/sub'), bench.container()}
        for box in boxes:
            bench.put(box, 'name', b'data')
        listed = list(bench.driver.list_containers())
        assert boxes <= set(listed), f'list_containers misses {boxes - set(listed)}'
        assert len(listed) == len(set(listed)), 'list_containers names a container twice'

    @sentence('G6')
    def test_g6_object_size(self, bench: Bench) -> None:
        box = bench.container()
        bench.put(box, 'name', pattern(12345))
        if not bench.capabilities.reports_size:
            with refused(exceptions.NotSupported, what='object_size, declared absent,'):
                bench.driver.object_size(box, 'name')
            return
        assert bench.driver.object_size(box, 'name') == 12345, 'object_size of 12345 bytes'

    @sentence('G6')
    def test_g6_free_space(self, bench: Bench) -> None:
        if not bench.capabilities.reports_free_space:
            with refused(exceptions.NotSupported, what='free_space, declared absent,'):
                bench.driver.free_space()
            return
        free = bench.driver.free_space()
        assert isinstance(free, int) and free >= 0, f'free_space is {free!r}'

    @sentence('G7')
    def test_g7_close_twice(self, bench: Bench) -> None:
        driver = self._fresh(bench)
        driver.put_container(bench.name_container())
        driver.close()
        driver.close()

    @sentence('G7')
    def test_g7_close_what_was_never_used(self, bench: Bench) -> None:
        driver = self._fresh(bench)
        driver.close()
        driver.close()

    # --- P: put_container

    @sentence('P1')
    def test_p1_a_container_is_made(self, bench: Bench) -> None:
        box = bench.container()
        assert bench.names(box) == [], f'a new container lists {bench.names(box)}'
        bench.put(box, 'name', b'data')
        assert bench.visible(box, 'name'), 'an object in a new container is not listed'

    @sentence('P1')
    def test_p1_a_nested_container_is_made(self, bench: Bench) -> None:
        box = bench.container(f'{bench.name_container()}/ab/cd')
        bench.put(box, 'name', b'data')
        assert bench.visible(box, 'name'), 'an object in a nested container is not listed'

    @sentence('P2')
    def test_p2_an_existing_container_keeps_its_objects(self, bench: Bench) -> None:
        box = bench.container()
        bench.driver.put_container(box)
        bench.put(box, 'name', b'data')
        bench.put(box, 'sub/name', b'more')
        bench.driver.put_container(box)
        assert bench.visible(box, 'name'), 'a second put_container lost an object'
        assert bench.visible(box, 'sub/name'), 'a second put_container lost an object'

    # --- L: get_container_entries

    @sentence('L1')
    def test_l1_each_name_once_and_as_written(self, bench: Bench) -> None:
        box = bench.container()
        names = ['b', 'a', 'sub/b', 'sub/a', 'a-00001', 'a-00002', 'a_metadata']
        for name in names:
            bench.put(box, name, b'data')
        listed = bench.names(box)
        assert sorted(listed) == sorted(names), f'{sorted(names)} are listed as {sorted(listed)}'

    @sentence('L2')
    def test_l2_every_page_is_listed(self, bench: Bench) -> None:
        box = bench.container()
        names = {f'page-{number:05}' for number in range(self.listing_size)}
        bench.side_by_side(lambda name: bench.put(box, name, b'x'), sorted(names))
        for prefix in ('', 'page-'):
            listed = set(bench.names(box, prefix))
            assert names <= listed, (
                f'{len(names & listed)} of {len(names)} objects are listed for {prefix!r}')

    @sentence('L3')
    @pytest.mark.parametrize(('prefix', 'wanted', 'unwanted'), [
        ('a_b', 'a_b-1', 'axb-1'),
        ('a%b', 'a%b-1', 'axxb-1'),
        ('a*', 'a*-1', 'ab-1'),
        ('a?', 'a?-1', 'ab-1'),
        ('[a]', '[a]-1', 'a-1'),
        ('a.b', 'a.b-1', 'axb-1'),
        ('name', 'name-1', 'NAME-1'),
        ('name-1', 'name-10', 'name-2'),
        ('name', 'name', 'a-name'),
        ('sub/na', 'sub/name', 'sub/other'),
        ('sub', 'sub/name', 'so/sub'),
        ('sub/', 'sub/name', 'sub-name'),
        ('ö', 'öl', 'o'),
    ])
    def test_l3_only_what_begins_with_the_prefix(
            self, bench: Bench, prefix: str, wanted: str, unwanted: str) -> None:
        box = bench.container()
        bench.put(box, wanted, b'data')
        bench.put(box, unwanted, b'data')
        listed = set(bench.names(box, prefix))
        assert unwanted not in listed, f'{unwanted!r} is listed for the prefix {prefix!r}'
        assert wanted in listed, f'{wanted!r} is not listed for the prefix {prefix!r}'

    @sentence('L3')
    def test_l3_a_prefix_of_nothing(self, bench: Bench) -> None:
        box = bench.container()
        bench.put(box, 'name', b'data')
        assert bench.names(box, 'names') == [], 'a longer prefix than any name lists something'
        assert bench.names(box, 'x/y/z') == [], 'a prefix of nothing lists something'

    @sentence('L4')
    def test_l4_writes_and_deletes_are_seen_at_once(self, bench: Bench) -> None:
        box = bench.container()
        seen: set[str] = set()
        for number in range(5):
            assert set(bench.names(box)) == seen, f'after {number} writes the listing is old'
            bench.put(box, f'name-{number}', b'data')
            seen.add(f'name-{number}')
        assert set(bench.names(box)) == seen, 'the last write is not listed'
        for name in sorted(seen):
            bench.driver.delete_object(box, name)
            seen.remove(name)
            assert set(bench.names(box)) == seen, f'the listing is old after {name} was deleted'

    @sentence('L5')
    def test_l5_a_missing_container_has_no_entries(self, bench: Bench) -> None:
        missing = bench.name_container()
        try:
            listed = list(bench.driver.get_container_entries(missing, ''))
        except exceptions.ContainerNotFound:
            return
        except Exception as error:
            raise AssertionError(f'listing a missing container raised {error!r}') from error
        assert listed == [], f'a missing container lists {listed}'

    @sentence('L6')
    def test_l6_an_open_writer_shows_no_temporary_name(self, bench: Bench) -> None:
        box = bench.container()
        with bench.driver.get_object_writer(box, 'sub/name') as writer:
            writer.write(pattern(100 * KIB))
            listed = {*bench.names(box), *bench.names(box, '.'), *bench.names(box, 'sub/.')}
        listed.discard('sub/name')
        assert not listed, f'while an object is written, the container lists {listed}'

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
        pieces = [memoryview(data)[at:at + LARGEST_WRITE]
                  for at in range(0, len(data), LARGEST_WRITE)]
        bench.put(box, 'name', *pieces)
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
    def test_w5_a_buffer_may_change_after_write(self, bench: Bench, view) -> None:  # type: ignore[no-untyped-def]
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
        bench.put(box, 'name', *(data[at:at + MIB] for at in range(0, len(data), MIB)))
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

    # --- D: delete_object

    @sentence('D1')
    def test_d1_only_that_object_goes(self, bench: Bench) -> None:
        box = bench.container()
        others = ['name-1', 'name2', 'nam', 'NAME', 'name.txt', 'sub/name', 'other']
        for name in ('name', *others):
            bench.put(box, name, b'data')
        bench.driver.delete_object(box, 'name')
        assert not bench.visible(box, 'name'), 'a deleted object is listed'
        for name in others:
            assert bench.visible(box, name), f'delete of "name" removed {name!r}'

    @sentence('D2')
    def test_d2_a_missing_object_is_fine(self, bench: Bench) -> None:
        box = bench.container()
        bench.put(box, 'name', b'data')
        for name in ('missing', 'sub/missing', 'name/sub'):
            bench.driver.delete_object(box, name)
        bench.driver.delete_object(box, 'name')
        bench.driver.delete_object(box, 'name')

    @sentence('D3')
    def test_d3_a_missing_container_is_fine(self, bench: Bench) -> None:
        bench.driver.delete_object(bench.name_container(), 'name')


def _portions(length: int) -> list[tuple[int, int]]:
    """Start and size of reads of growing odd sizes, until `length` is passed."""
    sizes = itertools.accumulate(itertools.repeat(3), lambda size, _: 2 * size + 1, initial=1)
    found, start = [], 0
    for size in sizes:
        if start >= length:
            return found
        found.append((start, size))
        start += size
    return found
