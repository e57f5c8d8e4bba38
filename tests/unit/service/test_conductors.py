"""Claims on a clock: what a worker believes while its board answers, and while it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import threading
import time
import types
from typing import Any

import pytest
from taskflow import states
from taskflow.exceptions import JobFailure, NotFound

from backup_framework.conf.service import JobboardConfig
from backup_framework.exceptions import OperationCancelled
from backup_framework.service import boards, conductors
from backup_framework.service.conductors import Conductor, Held, Pause
from backup_framework.service.running import Run


class Board:
    """Answers what it is told to; None is trouble."""

    ttl = 3

    def __init__(self, answer: bool | None = True) -> None:
        self.answer = answer
        self.asked = 0

    def extend(self, posting: Any, who: str) -> bool:
        self.asked += 1
        if self.answer is None:
            raise JobFailure('away')
        return self.answer


class Clock:
    """Stands still but for `sleep`."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """That of claims."""
    made = Clock()
    monkeypatch.setattr(conductors, 'now', made.now)
    return made


def held(board: Board, clock: Clock) -> tuple[Held, Run]:
    run = Run('job')
    claim = Held(board, object(), 'me', clock.now() + board.ttl, run)  # type: ignore
    run.monitor.claim = claim
    return claim, run


def is_stopped(run: Run) -> bool:
    try:
        run.monitor.check()
    except OperationCancelled:
        return run.interrupted
    return False


def test_a_claim_that_is_extended_lasts(clock: Clock):
    claim, run = held(Board(), clock)
    for _ in range(5):
        clock.sleep(1)
        assert claim.is_ours()
    assert not is_stopped(run)


def test_a_claim_that_another_has_is_lost_for_good(clock: Clock):
    board = Board(answer=False)
    claim, run = held(board, clock)
    assert not claim.is_ours()
    assert is_stopped(run)
    board.answer = True
    assert not claim.is_ours()


def test_while_the_board_does_not_answer_a_claim_ends_by_itself(clock: Clock):
    claim, run = held(Board(answer=None), clock)
    assert claim.is_ours()
    assert not is_stopped(run)
    clock.sleep(Board.ttl)
    assert not claim.is_ours()
    assert is_stopped(run)


def test_a_claim_that_has_ended_is_not_extended(clock: Clock):
    """Somebody else may have it: the board would say so, if it were asked in time."""
    board = Board()
    claim, run = held(board, clock)
    clock.sleep(Board.ttl)
    assert not claim.is_ours()
    assert is_stopped(run) and board.asked == 0


@pytest.mark.parametrize('trouble', [JobFailure, NotFound, RuntimeError])
def test_an_end_that_the_board_was_not_told_is_kept(trouble):
    def consume(posting: Any, who: str) -> None:
        raise trouble('why')
    board = types.SimpleNamespace(consume=consume)
    conductor = Conductor('me', board, None, 1)  # type: ignore
    posting = types.SimpleNamespace(uuid='uuid', details={})
    with contextlib.suppress(RuntimeError):
        conductor._try_finish_job(posting, True)
    assert board.untold == {'uuid': (posting, True)}
    board.consume = lambda posting, who: None
    conductor._try_finish_job(posting, True)
    assert not board.untold


def test_who_was_frozen_does_not_write_one_more_chunk(clock: Clock):
    """Nobody has looked at the claim meanwhile."""
    claim, run = held(Board(), clock)
    run.monitor.check()
    clock.sleep(Board.ttl)
    assert is_stopped(run)


def test_what_is_given_back_is_not_asked_for(clock: Clock):
    board = Board(answer=False)
    claim, run = held(board, clock)
    claim.release()
    assert claim.is_ours()
    assert not run.interrupted and board.asked == 0


@pytest.mark.parametrize('wake', [Pause.end, Pause.interrupt])
def test_a_pause_ends_when_there_is_something_to_do(wake: Any):
    pause = Pause(30)
    began = time.monotonic()
    threading.Timer(0.1, wake, [pause]).start()
    pause.wait()
    assert time.monotonic() - began < 10
    assert pause.is_stopped() == (wake is Pause.interrupt)


class Server:
    """A board with one posting, whose claim ends when a test says so.

    :ivar before: what happens just before the server does what it is asked to, by that.
    :ivar polls: how often it was asked what is posted.
    """

    ERRORS = (ConnectionError,)

    def __init__(self, going: list[Run]) -> None:
        self.posting = types.SimpleNamespace(uuid='posting', sequence=1, details={'job': 'job'})
        self.going = going
        self.owner: str | None = None
        self.away = False
        self.polls = 0
        self.before: dict[str, Callable[[], None]] = {}
        self.given_back_under_a_job = 0

    def failed(self) -> None:
        pass

    connect = close = failed

    def _answer(self, question: str) -> None:
        self.before.pop(question, lambda: None)()
        if self.away:
            raise ConnectionError('away')

    def postings(self) -> list[Any]:
        self.polls += 1
        self._answer('postings')
        self.posting.state = states.CLAIMED if self.owner else states.UNCLAIMED
        return [self.posting]

    def claim_for(self, posting: Any, who: str, ttl: int) -> None:
        self._answer('claim')
        self.owner = who

    def extend(self, posting: Any, who: str, ttl: int) -> bool:
        self._answer('extend')
        return self.owner == who

    def abandon(self, posting: Any, who: str) -> None:
        self._answer('abandon')
        if self.owner != who:
            raise NotFound('nobody has it')
        self.given_back_under_a_job += len(self.going)
        self.owner = None


class Runner:
    """Its jobs go on until they are interrupted."""

    def __init__(self) -> None:
        self.begun: list[Run] = []
        self.going: list[Run] = []

    def run(self, run: Run, held: Held) -> bool:
        self.begun.append(run)
        self.going.append(run)
        while not run.interrupted:
            time.sleep(0.001)
        self.going.remove(run)
        return False


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@contextlib.contextmanager
def conducting(conductor: Conductor, runner: Runner) -> Iterator[None]:
    thread = threading.Thread(target=conductor.run)
    thread.start()
    try:
        yield
    finally:
        conductor.stop()
        until(lambda: not thread.is_alive() or [run.interrupt() for run in runner.going])
        thread.join()


@pytest.mark.parametrize('moment', ['extend', 'abandon'])
def test_a_late_end_does_not_give_back_a_new_claim(monkeypatch: pytest.MonkeyPatch, moment: str):
    """The claim of a job ends, its worker stops the job, and may claim it again at once.

    It does so, if ever, while the board is told that the job has stopped, or is told again.
    """
    monkeypatch.setattr(conductors, 'POLL_SECONDS', 0.005)
    runner = Runner()
    server = Server(runner.going)
    monkeypatch.setattr(boards, '_make', lambda *_: server)
    board = boards.Board(JobboardConfig('redis://host', 'jobs', 60), lambda _: not runner.going)
    conductor = Conductor('me', board, runner, 2)  # type: ignore

    def poll_twice() -> None:
        server.away = False
        polls = server.polls
        until(lambda: server.polls >= polls + 2 or len(runner.begun) == 2)

    def go_away() -> None:
        server.away = True

    with conducting(conductor, runner):
        until(lambda: runner.going)
        poll_twice()
        server.owner = None
        server.before['extend'] = poll_twice
        server.before['abandon'] = go_away if moment == 'extend' else poll_twice
        runner.begun[0].interrupt()
        until(lambda: 'abandon' not in server.before and any(conductor._untold.values()))
        conductor._tell_again()
        until(lambda: runner.going and server.owner)
        assert not server.given_back_under_a_job
