"""Runs commands in threads of which one goes at a time, and switches between them at chosen steps.

A step is what a command does between two of its calls of the store or transactions of the catalog:
only there others can see what it did. So the order of steps is all that can differ between two runs
at once, and it is given here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
import itertools
import threading

import pytest

from backup_framework.catalog.database import Database
from backup_framework.testing.memory import MemoryStore

SECONDS = 60.0
Command = Callable[[], object]
Segment = tuple[int, int | None]
"""Which command goes on, and for how many steps; None is until it ends."""


class Ended(BaseException):
    """Ends a thread whose run was given up."""


class Run:
    """One run of some commands in one order.

    :param coarse: reads of the same kind that follow one another are one step.
    :ivar errors: what each of them raised, or None.
    :ivar cut: whether each segment ended before its command.
    :ivar trace: who did what, for a message.
    """

    def __init__(self, commands: Sequence[Command], segments: Sequence[Segment],
                 coarse: bool = False) -> None:
        self.errors: list[BaseException | None] = [None] * len(commands)
        self.cut: list[bool] = []
        self.trace: list[str] = []
        self._commands = commands
        self._segments = list(segments)
        self._left: int | None = None
        self._go = [threading.Semaphore(0) for _ in commands]
        self._stopped = threading.Semaphore(0)
        self._done = [False] * len(commands)
        self._here = threading.local()
        self._given_up = False
        self._coarse = coarse

    def stop(self, what: str) -> None:
        """Called by the thread of a command in front of each of its steps."""
        number = getattr(self._here, 'number', None)
        if number is None:
            return
        last, self._here.last = self._here.last, what.split()[:2]
        if self._coarse and last == self._here.last and last[1] in ('read', 'list'):
            return
        if self._left == 0:
            self.cut[-1] = True
            self._stopped.release()
            self._wait(number)
        if self._left is not None:
            self._left -= 1
        self.trace.append(f'{number}: {what}')

    def __call__(self) -> Run:
        threads = [threading.Thread(target=self._body, args=(number,), daemon=True)
                   for number in range(len(self._commands))]
        for thread in threads:
            thread.start()
        # What a schedule does not say is run one after the other.
        rest: list[Segment] = [(number, None) for number in range(len(threads))]
        try:
            for number, count in self._segments + rest:
                self.cut.append(False)
                if self._done[number]:
                    continue
                self._left = count
                self._go[number].release()
                assert self._stopped.acquire(timeout=SECONDS), ('a command hangs', self.trace)
        finally:
            self._given_up = not all(self._done)
            for semaphore in self._go:
                semaphore.release()
            for thread in threads:
                thread.join(SECONDS)
        return self

    def _wait(self, number: int) -> None:
        self._go[number].acquire()
        if self._given_up:
            raise Ended

    def _body(self, number: int) -> None:
        self._here.number = number
        self._here.last = []
        try:
            self._wait(number)
            self._commands[number]()
        except BaseException as error:
            self.errors[number] = error
        self._done[number] = True
        self._stopped.release()


@contextlib.contextmanager
def stopping(run: Run, store: MemoryStore) -> Iterator[None]:
    """The calls of a store and the transactions of all catalogs are steps of this run."""
    read, write = Database.read, Database._write_once

    def reading(self: Database, work: Callable[..., object]) -> object:
        run.stop('catalog read')
        return read(self, work)

    def writing(self: Database, work: Callable[..., object]) -> object:
        run.stop('catalog write')
        return write(self, work)

    def on_request(verb: str, container: str | None, name: str | None) -> None:
        if verb != 'ask':
            run.stop(f'store {verb} {name or ""}')

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, 'read', reading)
        patch.setattr(Database, '_write_once', writing)
        patch.setattr(store, 'on_request', on_request)
        yield


def schedules(go: Callable[[Sequence[Segment]], Run], first: int, preemptions: int
              ) -> Iterator[Run]:
    """Runs of two commands, in all orders with at most so many pre-emptions: 1 or 2.

    :param first: which one begins.
    """
    second = 1 - first
    yield go([(first, None), (second, None)])
    for count in itertools.count(1):
        run = go([(first, count), (second, None), (first, None)])
        if not run.cut[0]:
            return
        yield run
        if preemptions == 2:
            yield from _cut_twice(go, first, second, count)


def _cut_twice(go: Callable[[Sequence[Segment]], Run], first: int, second: int, count: int
               ) -> Iterator[Run]:
    for other in itertools.count(1):
        run = go([(first, count), (second, other), (first, None), (second, None)])
        if not run.cut[1]:
            return
        yield run
