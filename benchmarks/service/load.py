"""Requests to the API, as fast as they are answered, by several processes at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
import multiprocessing
import statistics
import time

from tools.servers.rest import Rest

Ask = Callable[[Rest, int], object]
"""One request; the number counts them."""


@dataclasses.dataclass(frozen=True)
class Rate:
    """What so many requests took.

    :param latencies: seconds of each, in any order.
    """

    seconds: float
    latencies: Sequence[float]

    @property
    def a_second(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, percent: int) -> float:
        return statistics.quantiles(self.latencies, n=100)[percent - 1]


def measure(endpoint: str, ask: Ask, clients: int, seconds: float) -> Rate:
    """Each client is a process with a connection that it keeps, and begins with the others."""
    fork = multiprocessing.get_context('fork')
    begin, answers = fork.Barrier(clients), fork.SimpleQueue()

    def client(number: int) -> None:
        answers.put(_asked(Rest(endpoint), ask, begin.wait, number, seconds))
    running = [fork.Process(target=client, args=(number,), daemon=True)
               for number in range(clients)]
    for each in running:
        each.start()
    latencies = [latency for _ in running for latency in answers.get()]
    for each in running:
        each.join()
    return Rate(seconds, latencies)


def _asked(rest: Rest, ask: Ask, begin: Callable[[], object], number: int, seconds: float
           ) -> list[float]:
    taken: list[float] = []
    ask(rest, number)  # the connection is made before the clock runs
    begin()
    end = time.perf_counter() + seconds
    while (before := time.perf_counter()) < end:
        ask(rest, number + len(taken))
        taken.append(time.perf_counter() - before)
    rest.close()
    return taken
