"""Workers on boards: who runs a job, how many at once, and what if a worker or the board dies."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
from pathlib import Path
import sqlite3
import time

import pytest

from backup_framework.conf import Configuration
from backup_framework.model import Job, JobState
from backup_framework.service import worker as service_worker
from backup_framework.service.boards import Board
from backup_framework.service.dispatch import Dispatcher
from backup_framework.service.tidying import Poster
from tests.service import workers
from tests.service.workers import accept, configure, processes, until, working
from tools.servers import parts

ENGINES = {'etcd': parts.Etcd, 'redis': parts.Redis}


@pytest.fixture(params=ENGINES)
def board(request: pytest.FixtureRequest) -> str:
    """The address of a running one."""
    url: str = request.getfixturevalue(request.param).url
    return url


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that no board has are posted at once."""
    monkeypatch.setattr(Poster, 'SECONDS', 0.3)
    monkeypatch.setattr(Poster, 'GRACE', Poster.GRACE * 0)


def submit(configuration: Configuration, **about: object) -> Job:
    job = accept(configuration, **about)
    dispatcher = Dispatcher(configuration, workers.catalog_of(configuration))
    dispatcher.submit(job)
    dispatcher.close()
    return job


def is_done(configuration: Configuration, job: Job) -> bool:
    return workers.state(configuration, job) == JobState.DONE


def test_a_job_is_run_once_and_leaves_nothing(tmp_path: Path, board: str):
    config = configure(tmp_path, board=board)
    with working(config) as (_, script):
        job = submit(config)
        until(lambda: is_done(config, job))
        until(lambda: not Board(config.jobboard()).postings())
    assert script.of(job) == ['prepare', 'store', 'finish']


def test_another_worker_goes_on_where_one_was_killed(tmp_path: Path, board: str):
    one, two = (configure(tmp_path, board=board, host=host, claim_ttl=3)
                for host in ('one', 'two'))
    with processes() as start:
        both = [start(one), start(two)]
        until(lambda: len(workers.catalog_of(one).services()) == 2)
        job = submit(one, seconds={'store': 600})
        until(lambda: any('store' in each.steps(job) for each in both))
        first, second = sorted(both, key=lambda each: not each.steps(job))
        first.kill()
        workers.shorten(one, job)
        until(lambda: second.steps(job), one.jobboard().claim_ttl + 15)
        until(lambda: is_done(one, job))
        assert second.steps(job) == ['store', 'finish']


def test_no_more_than_the_limit_run_at_once(tmp_path: Path, board: str):
    config = configure(tmp_path, board=board, backup_max_operations=3)
    jobs = [submit(config, kind='verify', together=3, seconds={'run': 2}) for _ in range(7)]
    with working(config) as (_, script):
        until(lambda: all(is_done(config, job) for job in jobs))
    assert script.most == 3


def test_claims_outlive_their_first_lease(tmp_path: Path, etcd: parts.Etcd):
    one, two = (configure(tmp_path, board=etcd.url, host=host, claim_ttl=8)
                for host in ('one', 'two'))
    with working(one) as (_, script), working(two) as (_, other):
        job = submit(one, kind='verify', seconds={'run': 10})
        until(lambda: is_done(one, job))
    assert len(script.of(job) + other.of(job)) == 1


def test_what_a_worker_cannot_do_is_left_and_stops_nobody(tmp_path: Path, board: str):
    config = configure(tmp_path, board=board, backup_max_operations=1)
    with working(config) as (_, script):
        alien = submit(config, backend='elsewhere')
        unread = submit(config, source='far')
        job = submit(config)
        until(lambda: is_done(config, job))
    assert not script.of(alien) + script.of(unread)
    assert workers.state(config, alien) == workers.state(config, unread) == JobState.QUEUED


def freeze(process: workers.Process, folder: Path) -> None:
    """Where it has no lock on the catalog, which others would wait for."""
    with contextlib.closing(sqlite3.connect(folder / 'catalog.sqlite', 0.5)) as catalog:
        def is_free() -> bool:
            process.freeze()
            with contextlib.suppress(sqlite3.OperationalError):
                catalog.execute('BEGIN EXCLUSIVE')
                return True
            process.thaw()
            return False
        until(is_free)


def test_a_worker_that_was_gone_too_long_stops(tmp_path: Path, board: str):
    """It was frozen, its claim ended, and the other one has done the job."""
    one = configure(tmp_path, board=board, host='one', claim_ttl=3, report_interval=99,
                    check_interval=99)
    two = configure(tmp_path, board=board, host='two')
    with processes() as start:
        first = start(one)
        job = submit(one, seconds={'store': 600})
        until(lambda: 'store' in first.steps(job))
        freeze(first, tmp_path)
        workers.shorten(one, job)
        second = start(two)
        until(lambda: is_done(one, job))
        first.thaw()
        until(lambda: 'is lost' in first.output())
        again = submit(one, kind='verify')
        until(lambda: is_done(one, again))
        assert first.steps(job) == ['prepare', 'store']
        assert second.steps(job) == ['store', 'finish']


def test_a_job_that_no_board_has_is_posted(tmp_path: Path, etcd: parts.Etcd, soon: None):
    config = configure(tmp_path, board=etcd.url)
    job = accept(config)
    with working(config) as (_, script):
        until(lambda: is_done(config, job))
    assert script.of(job) == ['prepare', 'store', 'finish']


def test_a_job_that_is_posted_twice_is_run_once(tmp_path: Path, etcd: parts.Etcd):
    one, two = (configure(tmp_path, board=etcd.url, host=host) for host in ('one', 'two'))
    job = submit(one, seconds={'store': 2})
    other = Board(one.jobboard())
    other.post(job)
    with working(one) as (_, script), working(two) as (_, second):
        until(lambda: is_done(one, job))
        until(lambda: not other.postings())
    other.close()
    assert script.of(job) + second.of(job) == ['prepare', 'store', 'finish']


@pytest.mark.parametrize('engine', ENGINES)
def test_a_board_that_comes_back_loses_no_job(
        tmp_path: Path, start_part: Callable[[type[parts.Part]], parts.Part], engine: str,
        soon: None):
    part = start_part(ENGINES[engine])
    config = configure(tmp_path, board=part.url)
    with working(config) as (worker, script):
        running = submit(config, seconds={'store': 3})
        until(lambda: 'store' in script.of(running))
        part.kill()
        while_away = submit(config)
        time.sleep(1)
        part.start()
        until(lambda: is_done(config, running) and is_done(config, while_away))
        later = submit(config)
        until(lambda: is_done(config, later))


class Draining:
    """The clock of a worker that stops: it stands still until a job has ended."""

    def __init__(self, has_ended: Callable[[], bool]) -> None:
        self._has_ended = has_ended
        self._now = 0.0

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
        if self._has_ended():
            self._now += seconds


def test_a_worker_that_stops_gives_its_jobs_to_others(
        tmp_path: Path, board: str, monkeypatch: pytest.MonkeyPatch):
    one, two = (configure(tmp_path, board=board, host=host) for host in ('one', 'two'))
    with working(one) as (worker, script):
        job = submit(one, seconds={'store': 600})
        short = submit(one, kind='verify', seconds={'run': 0.3})
        until(lambda: script.of(short) and 'store' in script.of(job))
        monkeypatch.setattr(service_worker, 'time', Draining(lambda: is_done(one, short)))
        worker.stop()
        assert is_done(one, short)
        assert workers.state(one, job) == JobState.QUEUED
        workers.shorten(one, job)
        with working(two) as (_, other):
            until(lambda: is_done(two, job))
        assert other.of(job) == ['store', 'finish']
