"""A board on ZooKeeper, whose claims last as long as the session of their worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import socket
import threading
from typing import Any
import uuid

import pytest
from taskflow import exceptions as errors

from backup_framework.conf.service import JobboardConfig
from backup_framework.model import Job
from backup_framework.service.boards import Board
from backup_framework.service.conductors import Conductor
from tests.service.test_boards import seen
from tests.service.workers import until
from tools.servers import parts

NAME = uuid.uuid4().hex
TTL = 6
"""Not what its client would ask for by itself."""


class Server:
    """A server of the test's own, and workers' boards on it."""

    def __init__(self, part: parts.ZooKeeper, end: contextlib.ExitStack) -> None:
        self.part = part
        self._end = end

    def board(self) -> Board:
        made = Board(JobboardConfig(self.part.url, NAME, TTL))
        self._end.callback(made.close)
        made.connect()
        return made


@pytest.fixture
def server(start_part: Callable[[type[parts.ZooKeeper]], parts.ZooKeeper]) -> Iterator[Server]:
    with contextlib.ExitStack() as end:
        yield Server(start_part(parts.ZooKeeper), end)


def is_away(board: Board) -> bool:
    try:
        board.postings()
    except errors.JobFailure:
        return True
    return False


def test_a_claim_outlives_a_restart_of_the_server_but_not_its_worker(server: Server):
    mine, yours = server.board(), server.board()
    job = Job(kind='create')
    mine.post(job)
    (posting,) = mine.postings()
    mine.claim(posting, 'me')
    server.part.kill()
    until(lambda: is_away(mine) and is_away(yours))
    for act in (mine.extend, mine.consume, mine.abandon, mine.claim):
        with pytest.raises((errors.JobFailure, errors.UnclaimableJob)):
            act(posting, 'me')
    with pytest.raises(errors.JobFailure):
        mine.post(job)
    server.part.start()
    until(lambda: not is_away(mine) and not is_away(yours))
    assert mine.extend(posting, 'me')
    assert seen(yours.postings()) == [job.id] and seen(yours.iterjobs()) == []
    mine.close()
    assert seen(yours.iterjobs()) == [job.id]


def test_the_server_ends_no_claim_before_its_worker_does(server: Server):
    """Each believes that it has its claims for so long after the server has answered."""
    server.board()
    with socket.create_connection((parts.HOST, server.part.port), timeout=5) as link:
        link.sendall(b'cons')
        said = b''.join(iter(lambda: link.recv(4096), b'')).decode()
    assert f'to={TTL * 1000},' in said


def test_a_board_that_was_removed_is_there_again(server: Server):
    mine, yours = server.board(), server.board()
    mine.post(Job(kind='create'))
    assert len(yours.postings()) == 1
    mine._board._client.delete(f'/{NAME}', recursive=True)
    assert mine.postings() == yours.postings() == []
    mine._board._client.delete(f'/{NAME}', recursive=True)
    job = Job(kind='create')
    yours.post(job)
    assert seen(mine.postings()) == [job.id]


class Runner:
    """Runs a job for as long as the test wants, to an end or not."""

    def __init__(self, ended: bool) -> None:
        self._ended = ended
        self.begun, self.goes_on = threading.Event(), threading.Event()

    def run(self, run: Any, claim: Any) -> bool:
        self.begun.set()
        assert self.goes_on.wait(30)
        return self._ended


@contextlib.contextmanager
def conducting(board: Board, runner: Runner) -> Iterator[None]:
    conductor = Conductor('me', board, runner, 1)  # type: ignore[arg-type]
    thread = threading.Thread(target=conductor.run)
    thread.start()
    try:
        yield
    finally:
        runner.goes_on.set()
        conductor.stop()
        thread.join()


@pytest.mark.parametrize('ended', [True, False], ids=['consumed', 'abandoned'])
def test_a_board_that_was_away_is_told_later_what_became_of_a_job(server: Server, ended: bool,
                                                                  caplog: pytest.LogCaptureFixture):
    job, runner, yours = Job(kind='create'), Runner(ended), server.board()
    yours.post(job)
    with caplog.at_level('INFO'), conducting(server.board(), runner):
        assert runner.begun.wait(30)
        server.part.kill()
        until(lambda: is_away(yours))
        runner.begun.clear()
        runner.goes_on.set()
        until(lambda: 'The board was not told the end' in caplog.text)
        server.part.start()
        until(lambda: not is_away(yours))
        # The worker lives, and so does its session.
        until(lambda: yours.postings() == [] if ended else runner.begun.is_set(), 3 * TTL)
