"""The cases of the kit about all verbs together: sentences G1 to G3, G6 and G7."""

from __future__ import annotations

import contextlib

import pytest

from backup_framework import exceptions, model
from backup_framework.testing import hooks
from backup_framework.testing.bench import Bench, Meet, pattern, refused, same
from backup_framework.testing.sentences import sentence

KIB = 1 << 10
YEAR_2000, YEAR_2100 = 946684800, 4102444800


class GeneralCases(hooks.Hooks):
    """One method a case; each needs a bench and nothing that another case left."""

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

    @sentence('G1')
    @pytest.mark.parametrize('error', [exceptions.OperationCancelled, KeyboardInterrupt])
    def test_g1_a_cancelled_writer_spares_the_others(self, bench: Bench,
                                                     error: type[BaseException]) -> None:
        box, data = bench.container(), pattern(64 * KIB)
        count = min(4, bench.capabilities.connections)

        def cancel(meet: Meet) -> None:
            with contextlib.suppress(error):
                with bench.driver.get_object_writer(box, 'cancelled') as writer:
                    writer.write(data[:KIB])
                    meet()
                    raise error()
            meet()

        def write(name: str, meet: Meet) -> None:
            bench.name_written(box, name)
            with bench.driver.get_object_writer(box, name) as writer:
                writer.write(data[:KIB])
                meet()
                meet()
                writer.write(data[KIB:])

        bench.name_written(box, 'cancelled')
        bench.all_inside(lambda number, meet: write(f'name-{number}', meet) if number
                         else cancel(meet), count)
        for number in range(1, count):
            same(bench.contents(box, f'name-{number}'), data, 'an object beside a cancelled one')

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

    @sentence('G6')
    def test_g6_capabilities_make_sense(self, bench: Bench) -> None:
        can = bench.capabilities
        assert isinstance(can, model.Capabilities), f'capabilities() returned {can!r}'
        assert can == bench.capabilities, 'capabilities() differ from one call to the next'
        assert can.connections >= 1, f'connections = {can.connections}'
        assert can.longest_name > 64, f'longest_name = {can.longest_name}'
        assert can.writer_buffer >= 0, f'writer_buffer = {can.writer_buffer}'
        assert can.listing_delay >= 0, f'listing_delay = {can.listing_delay}'
        assert can.delete_batch >= 1, f'delete_batch = {can.delete_batch}'

    @sentence('G6')
    def test_g6_all_declared_connections_read_at_once(self, bench: Bench) -> None:
        box = bench.container()
        bench.put(box, 'name', b'data')
        with contextlib.ExitStack() as blocks:
            for _ in range(self._connections(bench)):
                reader = blocks.enter_context(bench.driver.get_object_reader(box, 'name'))
                assert reader.read(1) == b'd', 'a reader beside others gives other bytes'

    @sentence('G6')
    def test_g6_all_declared_connections_write_at_once(self, bench: Bench) -> None:
        box, count = bench.container(), self._connections(bench)
        bodies = [pattern(3 * KIB, seed) for seed in range(count)]

        def write(number: int, meet: Meet) -> None:
            bench.name_written(box, f'name-{number}')
            with bench.driver.get_object_writer(box, f'name-{number}') as writer:
                for at in range(0, 3 * KIB, KIB):
                    writer.write(bodies[number][at:at + KIB])
                    meet()

        bench.all_inside(write, count)
        for number, body in enumerate(bodies):
            same(bench.contents(box, f'name-{number}'), body,
                 f'an object written beside {count - 1} others')

    @sentence('G6')
    def test_g6_readers_and_writers_share_the_connections(self, bench: Bench) -> None:
        """A thread for each connection; they go on when all of them are inside their blocks."""
        box, data, count = bench.container(), pattern(64 * KIB), self._connections(bench)
        bench.put(box, 'name', data)

        def read(number: int, meet: Meet) -> None:
            with bench.driver.get_object_reader(box, 'name') as reader:
                head = reader.read(KIB)
                meet()
                same(head + reader.read(), data, f'an object read beside {count - 1} others')

        def write(number: int, meet: Meet) -> None:
            bench.name_written(box, f'name-{number}')
            with bench.driver.get_object_writer(box, f'name-{number}') as writer:
                writer.write(data[:KIB])
                meet()
                writer.write(data[KIB:])

        bench.all_inside(lambda number, meet: (read, write)[number % 2](number, meet), count)
        for number in range(1, count, 2):
            same(bench.contents(box, f'name-{number}'), data,
                 f'an object written beside {count - 1} others')

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

    @sentence('G6')
    def test_g6_clock(self, bench: Bench) -> None:
        """Nobody's clock need be right; the store's counts the same seconds from the same day."""
        if not bench.capabilities.reports_clock:
            with refused(exceptions.NotSupported, what='clock, declared absent,'):
                bench.driver.clock()
            return
        bench.container()
        first, second = bench.driver.clock(), bench.driver.clock()
        for told in (first, second):
            assert isinstance(told, float), f'clock is {told!r}, which is no float'
            assert YEAR_2000 < told < YEAR_2100, f'clock is {told}, not seconds since the epoch'
        assert second >= first - 1.5, f'clock went back from {first} to {second}'

    @sentence('G6')
    def test_g6_remarks(self, bench: Bench) -> None:
        remarks = list(bench.driver.remarks())
        wrong = [remark for remark in remarks if not (isinstance(remark, str) and remark.strip())]
        assert not wrong, f'remarks are texts, and {wrong} are none'

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

    def _connections(self, bench: Bench) -> int:
        return min(bench.capabilities.connections, self.most_connections)
