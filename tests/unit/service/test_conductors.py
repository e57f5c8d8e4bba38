"""Claims on a clock: what a worker believes while its board answers, and while it does not."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from taskflow.exceptions import JobFailure

from backup_framework.exceptions import OperationCancelled
from backup_framework.service.boards import now
from backup_framework.service.conductors import Held, Pause
from backup_framework.service.running import Run


class Board:
    """Answers what it is told to; None is trouble."""

    ttl = 0.3

    def __init__(self, answer: bool | None = True) -> None:
        self.answer = answer
        self.asked = 0

    def extend(self, posting: Any, who: str) -> bool:
        self.asked += 1
        if self.answer is None:
            raise JobFailure('away')
        return self.answer


def held(board: Board) -> tuple[Held, Run]:
    run = Run('job')
    claim = Held(board, object(), 'me', now() + board.ttl, run)  # type: ignore
    run.monitor.claim = claim
    return claim, run


def is_stopped(run: Run) -> bool:
    try:
        run.monitor.check()
    except OperationCancelled:
        return run.interrupted
    return False


def test_a_claim_that_is_extended_lasts():
    claim, run = held(Board())
    for _ in range(5):
        time.sleep(0.1)
        assert claim.is_ours()
    assert not is_stopped(run)


def test_a_claim_that_another_has_is_lost_for_good():
    board = Board(answer=False)
    claim, run = held(board)
    assert not claim.is_ours()
    assert is_stopped(run)
    board.answer = True
    assert not claim.is_ours()


def test_while_the_board_does_not_answer_a_claim_ends_by_itself():
    claim, run = held(Board(answer=None))
    assert claim.is_ours()
    assert not is_stopped(run)
    time.sleep(Board.ttl)
    assert not claim.is_ours()
    assert is_stopped(run)


def test_a_claim_that_has_ended_is_not_extended():
    """Somebody else may have it: the board would say so, if it were asked in time."""
    board = Board()
    claim, run = held(board)
    time.sleep(Board.ttl)
    assert not claim.is_ours()
    assert is_stopped(run) and board.asked == 0


def test_who_was_frozen_does_not_write_one_more_chunk():
    """Nobody has looked at the claim meanwhile."""
    claim, run = held(Board())
    run.monitor.check()
    time.sleep(Board.ttl)
    assert is_stopped(run)


def test_what_is_given_back_is_not_asked_for():
    board = Board(answer=False)
    claim, run = held(board)
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
