"""Chunks side by side: the only place below the service that knows of threads."""

from __future__ import annotations

import collections
from collections.abc import Callable, Generator, Iterable
import concurrent.futures
import threading
from typing import TypeVar

T = TypeVar('T')
R = TypeVar('R')

QUEUED_PER_WORKER = 2
"""Items that may run or wait for each worker, however little they weigh."""

lock = threading.Lock


def ordered_map(function: Callable[[T], R], items: Iterable[T], *, workers: int,
                budget: int, cost: Callable[[T], int]) -> Generator[R, None, None]:
    """Results of `function` in the order of `items`, computed by so many threads.

    `items` is pulled in the caller's thread, and no further than `budget` allows: the costs (bytes)
    of all items pulled whose results were not yet taken stay within it, but for one item that was
    pulled and waits; one item always may run.
    With no workers it is a plain loop. An error of `function`, or a `close`, ends it: what had not
    begun is dropped, what runs is waited for. A caller whose own code may raise between results
    wraps it in `contextlib.closing`: a traceback keeps it, and so its threads, alive.
    """
    if workers <= 0:
        yield from map(function, items)
        return
    pending: collections.deque[tuple[concurrent.futures.Future[R], int]] = collections.deque()
    in_flight = 0
    pool = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix='backup')
    try:
        for item in items:
            weight = cost(item)
            while pending and (in_flight + weight > budget
                               or len(pending) >= workers * QUEUED_PER_WORKER):
                future, freed = pending.popleft()
                in_flight -= freed
                yield future.result()
            pending.append((pool.submit(function, item), weight))
            in_flight += weight
        while pending:
            yield pending.popleft()[0].result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
