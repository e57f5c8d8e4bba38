"""Boards on real engines: what is seen of postings, and whose a claim is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import time
import uuid

import pytest
from taskflow import exceptions as errors

from backup_framework.conf.service import JobboardConfig
from backup_framework.model import Job
from backup_framework.service.boards import Board, Details

TTL = 60
SHORT = 3
"""The claims of one who dies."""
KEPT = 8
"""Those of one who extends them."""


@pytest.fixture(params=['etcd', 'redis', 'zookeeper'])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., Board]]:
    """Boards of one name, as several workers have them."""
    url, name = request.getfixturevalue(request.param).url, uuid.uuid4().hex
    made: list[Board] = []

    def board(*wanted: Callable[[Details], bool], ttl: int = TTL) -> Board:
        made.append(Board(JobboardConfig(url, name, ttl), *wanted))
        return made[-1]
    yield board
    for each in made:
        each.close()


def seen(postings: object) -> list[str]:
    return [posting.details['job'] for posting in postings]  # type: ignore[attr-defined]


def test_what_can_be_claimed_is_seen_in_order(make: Callable[..., Board]):
    jobs = [Job(kind='create', backend=backend) for backend in 'abca']
    board = make(lambda details: details['backend'] != 'b')
    for job in [*jobs, jobs[0]]:
        make().post(job)
    assert seen(board.postings()) == [job.id for job in jobs]
    assert seen(board.iterjobs()) == [jobs[0].id, jobs[2].id, jobs[3].id]
    board.claim(board.postings()[0], 'me')
    assert seen(make().iterjobs()) == [job.id for job in jobs[1:]]


def test_who_only_posts_keeps_nothing(make: Callable[..., Board]):
    board = make()
    job = Job(kind='create')
    board.post(job)
    assert not getattr(board._board, '_job_cache', {})
    assert seen(make().postings()) == [job.id]


def test_a_claim_is_one_workers(make: Callable[..., Board]):
    job = Job(kind='create')
    mine, yours = make(), make()
    mine.post(job)
    one, other = mine.postings()[0], yours.postings()[0]
    mine.claim(one, 'me')
    with pytest.raises(errors.UnclaimableJob):
        yours.claim(other, 'you')
    assert not yours.extend(other, 'you')
    for act in (yours.consume, yours.abandon):
        with pytest.raises((errors.JobFailure, errors.NotFound)):
            act(other, 'you')
    mine.abandon(one, 'me')
    yours.claim(other, 'you')
    assert not mine.extend(one, 'me')
    yours.consume(other, 'you')
    assert mine.postings() == []


@pytest.mark.parametrize('make', ['etcd', 'redis'], indirect=True)
def test_a_claim_ends_unless_it_is_extended(make: Callable[..., Board]):
    dead, mine, yours = make(ttl=SHORT), make(ttl=KEPT), make()
    for _ in range(2):
        mine.post(Job(kind='create'))
    left, kept = dead.postings()[0], mine.postings()[1]
    dead.claim(left, 'dead')
    mine.claim(kept, 'me')
    end = time.monotonic() + KEPT + 1
    while time.monotonic() < end:
        time.sleep(1)
        assert mine.extend(kept, 'me')
    assert seen(yours.iterjobs()) == seen([left])
    assert not dead.extend(left, 'dead')


def test_what_others_left_on_a_board_harms_nobody(make: Callable[..., Board]):
    """Another program may use the same server and, by mistake, the same name."""
    board, job = make(), Job(kind='create')
    with board._server() as server:
        server.post('something else', details={'of': 'others'})
    board.post(job)
    assert seen(board.iterjobs()) == [job.id]


def test_a_server_that_is_away_says_so():
    for scheme in ('etcd', 'redis', 'zookeeper'):
        config = JobboardConfig(f'{scheme}://127.0.0.1:1', 'x', SHORT)
        board = Board(config)
        assert list(board.iterjobs()) == []
        with pytest.raises(errors.JobFailure):
            board.post(Job(kind='create'))
