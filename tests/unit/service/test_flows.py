"""A job as a flow: its steps, and what of them is done again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import threading

import pytest
import sqlalchemy as sa

from backup_framework.catalog import Catalog
from backup_framework.exceptions import CatalogError
from backup_framework.model import Job
from backup_framework.service import flows
from tools.servers import parts

CREATE = ['prepare', 'store', 'finish']


class Steps:
    """Does nothing, and remembers that; `ends` are exceptions to raise, one each time."""

    def __init__(self, **ends: list[BaseException]) -> None:
        self._ends = ends
        self.done: list[tuple[str, str | None]] = []

    def __call__(self, step: str, failure: str | None) -> str | None:
        self.done.append((step, failure))
        if self._ends.get(step):
            raise self._ends[step].pop()
        return None

    @property
    def names(self) -> list[str]:
        return [step for step, _ in self.done]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(f'sqlite:///{tmp_path}/catalog.sqlite', str(tmp_path))


@pytest.fixture
def store(catalog: Catalog) -> flows.Store:
    return flows.Store(catalog)


def rows(catalog: Catalog) -> int:
    with catalog.engine_for(lambda metadata: None).connect() as connection:
        return sum(connection.scalar(sa.text(f'select count(*) from {table}'))
                   for table in ('logbooks', 'flowdetails', 'atomdetails'))


@pytest.mark.parametrize('kind, steps', [('create', CREATE), ('restore', ['run'])])
def test_steps_are_done_in_order(store: flows.Store, kind: str, steps: list[str]):
    work = Steps()
    flows.run(store, Job(kind=kind), work)
    assert work.names == steps


def test_later_steps_hear_the_first_failure(store: flows.Store):
    heard = []
    failures = {'prepare': 'no snapshot', 'store': 'no space'}

    def work(step: str, failure: str | None) -> str | None:
        heard.append(failure)
        return failures.get(step)
    flows.run(store, Job(kind='create'), work)
    assert heard == [None, 'no snapshot', 'no snapshot']


def test_it_goes_on_at_the_step_that_was_interrupted(catalog: Catalog):
    job = Job(kind='create')
    first, second = Steps(store=[flows.Interrupted()]), Steps()
    with pytest.raises(flows.Interrupted):
        flows.run(flows.Store(catalog), job, first)
    flows.run(flows.Store(catalog), job, second)
    assert first.names == ['prepare', 'store']
    assert second.names == ['store', 'finish']


def test_a_failure_outlives_an_interruption(catalog: Catalog):
    job, ends = Job(kind='create'), [flows.Interrupted()]

    def work(step: str, failure: str | None) -> str | None:
        if step == 'finish' and ends:
            raise ends.pop()
        said.append((step, failure))
        return 'no space' if step == 'store' else None
    said: list[tuple[str, str | None]] = []
    with pytest.raises(flows.Interrupted):
        flows.run(flows.Store(catalog), job, work)
    flows.run(flows.Store(catalog), job, work)
    assert said[-1] == ('finish', 'no space')


def test_a_flow_that_ended_though_its_job_did_not_is_run_again(store: flows.Store):
    job, work = Job(kind='create'), Steps()
    flows.run(store, job, work)
    flows.run(store, job, work)
    assert work.names == CREATE * 2


def test_what_is_kept_can_be_forgotten_whole(catalog: Catalog, store: flows.Store):
    job = Job(kind='create')
    flows.run(store, job, Steps())
    assert flows.kept(store) == {job.id}
    flows.forget(store, job.id)
    flows.forget(store, job.id)
    assert flows.kept(store) == set()
    assert rows(catalog) == 0


def test_several_threads_keep_and_run_flows(catalog: Catalog):
    """Each with its own connections, as processes have."""
    shared = Job(kind='create')

    def run() -> None:
        store = flows.Store(catalog)
        flows.keep(store, shared)
        for _ in range(3):
            flows.run(store, Job(kind='create'), Steps())
    in_threads(4, run)
    assert len(flows.kept(flows.Store(catalog))) == 13


@pytest.mark.long
def test_a_database_that_is_away_is_no_outcome(tmp_path: Path, catalog: Catalog,
                                               store: flows.Store):
    def work(step: str, failure: str | None) -> str | None:
        if step == 'store':
            (tmp_path / 'catalog.sqlite').rename(tmp_path / 'away')
        return None
    job, again = Job(kind='create'), Steps()
    with pytest.raises(CatalogError, match='go on with the flow'):
        flows.run(store, job, work)
    (tmp_path / 'away').rename(tmp_path / 'catalog.sqlite')
    flows.run(store, job, again)
    assert again.names == ['store', 'finish']


@pytest.mark.parametrize('engine', ['postgresql', 'mariadb'])
def test_tables_beside_those_of_a_catalog_on_a_server(
        request: pytest.FixtureRequest, tmp_path: Path, engine: str):
    """Made by several at once, and the revision of the catalog stays its own."""
    server: parts.PostgreSQL | parts.MariaDB = request.getfixturevalue(engine)
    url = server.database()
    in_threads(4, lambda: flows.Store(Catalog(url, str(tmp_path))))
    catalog = Catalog(url, str(tmp_path))
    store = flows.Store(catalog)
    work = Steps(store=[flows.Interrupted()])
    job = Job(kind='create')
    with pytest.raises(flows.Interrupted):
        flows.run(store, job, work)
    flows.run(store, job, work)
    flows.forget(store, job.id)
    assert work.names == ['prepare', 'store', 'store', 'finish']
    assert rows(catalog) == 0
    assert Catalog(url, str(tmp_path)).volumes() == []


def in_threads(number: int, work: Callable[[], object]) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)
    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
