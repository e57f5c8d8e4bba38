"""The pool: order, bounds, and that errors end it."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from backup_framework.engine import parallel


def pool_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith('backup_')]


def free(item: object) -> int:
    return 0


@pytest.mark.parametrize('workers', [0, 1, 2, 5])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    def work(number: int) -> int:
        time.sleep(0.002 if number % 3 == 0 else 0)
        return number * number
    results = parallel.ordered_map(work, range(50), workers=workers, budget=10,
                                   cost=lambda number: 1)
    assert list(results) == [number * number for number in range(50)]
    assert not pool_threads()


@pytest.mark.parametrize('workers', [0, 3])
def test_no_items(workers: int) -> None:
    assert list(parallel.ordered_map(str, [], workers=workers, budget=0, cost=free)) == []


def test_without_workers_it_is_a_loop_in_this_thread_and_lazy() -> None:
    seen = []

    def work(number: int) -> int:
        seen.append(threading.get_ident())
        return number

    results = parallel.ordered_map(work, range(3), workers=0, budget=0, cost=free)
    assert next(results) == 0
    assert seen == [threading.get_ident()]


def test_the_budget_is_never_exceeded() -> None:
    """What was begun and not yet taken, in cost, stays within it."""
    lock = threading.Lock()
    held = most = 0
    costs = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4] * 5

    def work(cost: int) -> int:
        nonlocal held, most
        with lock:
            held += cost
            most = max(most, held)
        time.sleep(0.0005)
        return cost

    for cost in parallel.ordered_map(work, costs, workers=4, budget=12, cost=lambda cost: cost):
        with lock:
            held -= cost
    assert 0 < most <= 12


def test_one_item_larger_than_the_budget_still_runs_and_runs_alone() -> None:
    running = []

    def work(cost: int) -> int:
        running.append(cost)
        assert len(running) == 1
        time.sleep(0.001)
        running.remove(cost)
        return cost
    results = parallel.ordered_map(work, [100, 200, 300], workers=4, budget=10,
                                   cost=lambda cost: cost)
    assert list(results) == [100, 200, 300]


def test_items_without_weight_do_not_queue_up_for_ever() -> None:
    pulled = 0

    def items() -> object:
        nonlocal pulled
        for number in range(10_000):
            pulled += 1
            yield number

    results = parallel.ordered_map(str, items(), workers=2, budget=1, cost=free)
    next(results)
    assert pulled <= 2 * parallel.QUEUED_PER_WORKER + 1
    results.close()


def test_several_run_at_once() -> None:
    barrier = threading.Barrier(3, timeout=10)
    results = parallel.ordered_map(lambda item: barrier.wait() >= 0, range(3), workers=3,
                                   budget=3, cost=lambda item: 1)
    assert list(results) == [True, True, True]


@pytest.mark.parametrize('workers', [0, 1, 4])
def test_an_error_of_the_function_ends_it(workers: int) -> None:
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 3:
            raise KeyError(number)
        time.sleep(0.001)
        return number

    taken = []
    with pytest.raises(KeyError):
        for result in parallel.ordered_map(work, range(1000), workers=workers, budget=8,
                                           cost=lambda number: 1):
            taken.append(result)
    assert taken == [0, 1, 2]
    assert len(begun) < 50, 'what had not begun is dropped'
    assert not pool_threads()


@pytest.mark.parametrize('workers', [0, 2])
def test_an_error_of_the_items_ends_it(workers: int) -> None:
    def items() -> object:
        yield 1
        raise OSError('the volume is gone')
    with pytest.raises(OSError, match='gone'):
        list(parallel.ordered_map(str, items(), workers=workers, budget=8, cost=free))
    assert not pool_threads()


def test_a_caller_who_stops_waits_for_what_runs() -> None:
    """Else work would go on behind the back of whoever cleans up."""
    running = set()
    lock = threading.Lock()

    def work(number: int) -> int:
        with lock:
            running.add(number)
        time.sleep(0.02)
        with lock:
            running.discard(number)
        return number

    results = parallel.ordered_map(work, range(100), workers=4, budget=100, cost=lambda n: 1)
    with pytest.raises(ZeroDivisionError), contextlib.closing(results):
        for _ in results:
            raise ZeroDivisionError
    assert not running and not pool_threads()
