"""The cases of the kit about what goes wrong: sentences G4, G5, G8 and G9."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import functools

import pytest

from backup_framework import exceptions
from backup_framework.testing import hooks, resources
from backup_framework.testing.bench import (
    Bench,
    SomethingElse,
    only_store_errors,
    pattern,
    refused,
    same,
)
from backup_framework.testing.sentences import sentence

KIB = 1 << 10


class FailureCases(hooks.Hooks):
    """One method a case; each needs a bench and nothing that another case left."""

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
        verbs = [*hooks.each_verb(bench, box)]
        with self._outage(bench):
            for what, verb in verbs:
                with only_store_errors(f'{what} without a store'):
                    verb()

    @sentence('G5')
    def test_g5_verbs_ask_once(self, bench: Bench) -> None:
        box = bench.container()
        bench.put(box, 'name', b'data')
        verbs = [*hooks.each_verb(bench, box)]
        with self._outage(bench) as requests:
            if requests is None:
                pytest.skip('"outage" does not count the requests to this store')
            for what, verb in verbs:
                before = requests()
                with contextlib.suppress(Exception):
                    verb()
                asked = requests() - before
                assert asked <= 1, f'{what} asked {asked} times though the first one failed'

    @sentence('G8')
    def test_g8_what_is_not_permitted(self, bench: Bench) -> None:
        box = bench.container()
        bench.put(box, 'name', b'data')
        verbs = [*hooks.object_verbs(bench, box)]
        with self._forbidden(bench, box):
            for what, verb in verbs:
                with refused(exceptions.PermissionDenied, what=f'{what} without permission'):
                    verb()
        same(bench.contents(box, 'name'), b'data', 'an object that was out of reach for a while')

    @sentence('G8')
    def test_g8_no_room(self, bench: Bench) -> None:
        box = bench.container()
        with self._full(bench, box):
            with refused(exceptions.StoreFull, what='writing a MiB into a full store'):
                bench.put(box, 'name', *[pattern(256 * KIB)] * 4)

    @sentence('G8')
    def test_g8_no_answer(self, bench: Bench) -> None:
        box = bench.container()
        bench.put(box, 'name', b'data')
        verbs = [*hooks.store_verbs(bench), *hooks.object_verbs(bench, box)]
        with self._outage(bench):
            for what, verb in verbs:
                with refused(exceptions.StoreUnavailable, what=f'{what} without a store'):
                    verb()
        same(bench.contents(box, 'name'), b'data', 'an object that was out of reach for a while')

    @sentence('G9')
    @pytest.mark.parametrize('written', [0, 100 * KIB])
    @pytest.mark.parametrize('error', [SomethingElse, exceptions.StoreUnavailable,
                                       KeyboardInterrupt])
    def test_g9_a_failed_writer_leaves_no_temporary_name(
            self, bench: Bench, error: type[BaseException], written: int) -> None:
        box = bench.container()
        _leave_writer(bench, box, 'sub/name', error, written)
        left = self._temporary_names(bench, box, 'sub/name')
        assert not left, f'a writer that was left with {error.__name__} left {left}'

    @sentence('G9')
    def test_g9_a_full_store_keeps_nothing_of_a_writer(self, bench: Bench) -> None:
        box, pieces = bench.container(), [pattern(256 * KIB, seed) for seed in range(4)]
        with self._full(bench, box):
            with contextlib.suppress(exceptions.StoreError):
                bench.put(box, 'name', *pieces)
                raise AssertionError('a full store took a MiB')
            left = {*bench.names(box), *(self.raw_names(bench.driver, box) or ())}
            assert not left, f'writing into a full store left {left}'
        bench.put(box, 'name', *pieces)
        same(bench.contents(box, 'name'), b''.join(pieces), 'an object written when there was room')

    @sentence('G9')
    def test_g9_failures_leave_nothing_open(self, bench: Bench) -> None:
        box, data = bench.container(), pattern(300 * KIB)
        bench.put(box, 'name', data)
        ways = [*_ways_to_fail(bench, box)]
        for fail in ways * 2:
            fail()
        held = resources.held()
        if held is None:
            pytest.skip('this system has no /proc, which tells what a process holds')
        for number in range(self.failures):
            ways[number % len(ways)]()
        more = resources.more_than(held, self.release_seconds)
        assert not more, f'after {self.failures} verbs that failed the process holds {more} more'
        same(bench.contents(box, 'name'), data, 'an object read after many failures')


def _ways_to_fail(bench: Bench, box: str) -> Iterator[Callable[[], None]]:
    """Verbs that fail, and blocks that are left before their end."""
    missing = bench.name_container()
    for error in (SomethingElse, KeyboardInterrupt):
        for written in (0, 100 * KIB):
            yield functools.partial(_leave_writer, bench, box, f'left-{written}', error, written)
    for left in (SomethingElse, None):
        yield functools.partial(_leave_reader, bench, box, left)
    for verb in (lambda: bench.contents(box, 'missing'),
                 lambda: bench.contents(missing, 'name'),
                 lambda: bench.driver.object_size(box, 'missing'),
                 lambda: bench.driver.delete_object(missing, 'name'),
                 lambda: list(bench.driver.get_container_entries(missing, ''))):
        yield functools.partial(_fail, verb)


def _fail(verb: Callable[[], object]) -> None:
    with contextlib.suppress(Exception):
        verb()


def _leave_writer(bench: Bench, box: str, name: str, error: type[BaseException],
                  written: int) -> None:
    """Leave a writer's block with an exception after so many bytes."""
    bench.name_written(box, name)
    with contextlib.suppress(error):
        with bench.driver.get_object_writer(box, name) as writer:
            if written:
                writer.write(bytes(written))
            raise error('raised inside the block')


def _leave_reader(bench: Bench, box: str, error: type[BaseException] | None) -> None:
    """Leave a reader's block when little was read."""
    with contextlib.suppress(SomethingElse):
        with bench.driver.get_object_reader(box, 'name') as reader:
            reader.read(KIB)
            if error is not None:
                raise error('raised inside the block')
