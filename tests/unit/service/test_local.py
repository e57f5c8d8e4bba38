"""Without a board: what of a long queue is read, and which jobs are taken."""

from __future__ import annotations

from collections.abc import Callable
import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from backup_framework.catalog import Catalog, records, schema
from backup_framework.model import Job
from backup_framework.service import local
from backup_framework.service.local import Local

CREATED = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)


class Counting(Catalog):
    """Notes how many jobs it hands out each time."""

    asked: Callable[[int], object] = staticmethod(lambda times: None)

    def __init__(self, folder: Path) -> None:
        super().__init__(f'sqlite:///{folder}/catalog.sqlite', str(folder))
        self.read: list[int] = []

    def open_jobs(self, **window: Any) -> list[Job]:
        found = super().open_jobs(**window)
        self.read.append(len(found))
        self.asked(len(self.read))
        return found


class Runner:
    """Runs nothing, and has the jobs that are `left` to tidy up after."""

    def __init__(self) -> None:
        self.run_ids: list[str] = []
        self.left: list[Job] = []
        self.ran: Callable[[int], object] = lambda times: None

    def may_run(self, job_id: str) -> bool:
        return job_id not in self.run_ids

    def unfinished(self) -> list[Job]:
        return self.left

    def run(self, run: Any, claim: Any) -> bool:
        self.run_ids.append(run.job.id)
        self.ran(len(self.run_ids))
        return True


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counting:
    monkeypatch.setattr(local, 'POLL_SECONDS', 0.01)
    made = Counting(tmp_path)
    assert made.jobs() == []
    return made


def queue(catalog: Counting, tmp_path: Path, *backends: str) -> list[str]:
    """Jobs that came all at once."""
    jobs = [Job(f'{number:04}', kind='verify', backend=backend, created_at=CREATED)
            for number, backend in enumerate(backends)]
    with sa.create_engine(f'sqlite:///{tmp_path}/catalog.sqlite').begin() as connection:
        connection.execute(schema.jobs.insert(), [records.new_job(job) for job in jobs])
    return [job.id for job in jobs]


def engine(catalog: Counting, runner: Runner, limit: int = 1) -> Local:
    return Local(catalog, runner, lambda job: job.backend == 'ours',  # type: ignore[arg-type]
                 lambda: limit)


def test_of_a_long_queue_the_oldest_are_read(catalog: Counting, tmp_path: Path):
    ids = queue(catalog, tmp_path, *['ours'] * 1000)
    runner = Runner()
    worker = engine(catalog, runner)
    runner.ran = lambda times: worker.stop() if times == 20 else None
    worker.run()
    assert runner.run_ids == ids[:20]
    assert set(catalog.read) == {100}


def test_a_window_is_as_wide_as_the_limit_needs(catalog: Counting, tmp_path: Path):
    queue(catalog, tmp_path, *['ours'] * 1000)
    runner = Runner()
    worker = engine(catalog, runner, 50)
    runner.ran = lambda times: worker.stop()
    worker.run()
    assert catalog.read[0] == 200 and len(runner.run_ids) >= 50


def test_what_cannot_be_run_here_keeps_nothing_from_running(catalog: Counting, tmp_path: Path):
    ids = queue(catalog, tmp_path, *['theirs'] * 450, *['ours'] * 300, *['theirs'] * 300)
    runner = Runner()
    worker = engine(catalog, runner)
    runner.ran = lambda times: worker.stop() if times == 5 else None
    worker.run()
    assert runner.run_ids == ids[450:455]
    assert set(catalog.read) == {100, 400} and len(catalog.read) <= 5 * 3


def test_what_nobody_wanted_is_not_read_each_time(catalog: Counting, tmp_path: Path):
    queue(catalog, tmp_path, *['theirs'] * 450)
    worker = engine(catalog, Runner())
    catalog.asked = lambda times: worker.stop() if times == 9 else None
    worker.run()
    assert catalog.read == [100, 350, *[100] * 7]


def test_while_there_is_nothing_one_question_is_enough(catalog: Counting):
    worker = engine(catalog, Runner())
    catalog.asked = lambda times: worker.stop() if times == 5 else None
    worker.run()
    assert catalog.read == [0] * 5


def test_what_is_left_of_jobs_that_have_ended_is_done(catalog: Counting, tmp_path: Path):
    queue(catalog, tmp_path, *['theirs'] * 300)
    runner = Runner()
    runner.left = [Job('left', backend='ours'), Job('left', backend='ours')]
    worker = engine(catalog, runner, 5)
    catalog.asked = lambda times: worker.stop() if times == 6 else None
    worker.run()
    assert runner.run_ids == ['left']
