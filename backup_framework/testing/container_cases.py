"""The cases of the kit about containers and what is in them: sentences G, P, L and D."""

from __future__ import annotations

import contextlib

import pytest

from backup_framework import exceptions, model
from backup_framework.testing import hooks
from backup_framework.testing.bench import Bench, only_store_errors, pattern, refused, same
from backup_framework.testing.sentences import sentence

KIB = 1 << 10


class ContainerCases(hooks.Hooks):
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
    @pytest.mark.parametrize('name', ['.name', 'sub/.name', '.sub/name'])
    def test_g2_names_with_a_dot_work_or_are_refused(self, bench: Bench, name: str) -> None:
        box = bench.container()
        try:
            bench.put(box, name, b'dot')
        except exceptions.StoreError:
            assert bench.names(box) == [], f'{name!r} was refused and is listed'
            return
        same(bench.contents(box, name), b'dot', f'object {name!r}')
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
