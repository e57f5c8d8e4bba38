"""Without a board: one worker, its bounds, its restarts, and what it does beside jobs."""

from __future__ import annotations

import datetime
from pathlib import Path
import time

import pytest

from backup_framework.catalog import Catalog
from backup_framework.exceptions import ConfigurationError
from backup_framework.model import Job, JobState, Service, Volume, utcnow
from backup_framework.service import dispatch, flows
from backup_framework.service.notifications import Notifications
from backup_framework.service.tidying import Tidying
from backup_framework.service.worker import Worker
from tests.service import workers
from tests.service.workers import accept, configure, processes, until, working


def is_done(catalog: Catalog, job: Job) -> bool:
    return catalog.job(job.id).state == JobState.DONE


def test_no_more_than_the_limit_run_at_once_and_a_reload_changes_it(tmp_path: Path):
    config = configure(tmp_path, backup_max_operations=2)
    jobs = [accept(config, kind='verify', together=2, seconds={'run': 1.5}) for _ in range(4)]
    with working(config) as (worker, script):
        until(lambda: all(is_done(worker.catalog, job) for job in jobs))
        assert script.most == 2
        text = Path(config.files[0]).read_text().replace('max_operations = 2', 'max_operations = 4')
        Path(config.files[0]).write_text(text)
        config.reload()
        worker.reload()
        jobs = [accept(config, kind='verify', together=4, seconds={'run': 3}) for _ in range(5)]
        until(lambda: all(is_done(worker.catalog, job) for job in jobs))
    assert script.most == 4


def test_jobs_are_run_in_order_but_for_those_that_nobody_can_do(tmp_path: Path):
    config = configure(tmp_path, backup_max_operations=1)
    alien = accept(config, backend='elsewhere')
    jobs = [accept(config, kind='verify') for _ in range(3)]
    with working(config) as (worker, script):
        until(lambda: all(is_done(worker.catalog, job) for job in jobs))
        assert [job_id for job_id, _ in script.steps] == [job.id for job in jobs]
        assert worker.catalog.job(alien.id).state == JobState.QUEUED


def test_after_a_kill_the_next_one_goes_on(tmp_path: Path):
    config = configure(tmp_path)
    job = accept(config, seconds={'store': 600})
    with processes() as start:
        first = start(config)
        until(lambda: 'store' in first.steps(job))
        first.kill()
    workers.shorten(config, job)
    with working(config) as (worker, script):
        until(lambda: is_done(worker.catalog, job))
    assert script.of(job) == ['store', 'finish']


def test_a_worker_that_is_told_to_stop_ends(tmp_path: Path):
    config = configure(tmp_path, drain_timeout=6)
    short, long = accept(config, seconds={'store': 0.3}), accept(config, seconds={'store': 600})
    with processes() as start:
        process = start(config)
        until(lambda: 'store' in process.steps(short) and 'store' in process.steps(long))
        assert process.stop() == 0, process.output()
    catalog = workers.catalog_of(config)
    assert is_done(catalog, short)
    assert catalog.job(long.id).state == JobState.QUEUED


def test_a_second_worker_is_refused(tmp_path: Path):
    config = configure(tmp_path)
    with working(config):
        with pytest.raises(ConfigurationError, match=r'another worker .*\[jobboard\] connection'):
            Worker(config)
    Worker(config).stop()


def test_a_worker_of_another_host_is_refused(tmp_path: Path):
    """As long as the first may be alive: its lock is not seen there."""
    with working(configure(tmp_path, host='one')):
        with pytest.raises(ConfigurationError, match='on one, seen at'):
            Worker(configure(tmp_path, host='two'))
    time.sleep(0.4)
    Worker(configure(tmp_path, host='two', service_down_time=0.3)).stop()


def test_a_disabled_worker_takes_no_new_jobs(tmp_path: Path):
    config = configure(tmp_path)
    with working(config) as (worker, script):
        name = worker.reports.service.id
        worker.catalog.set_service(name, True, 'to be replaced')
        until(lambda: worker.reports.service.disabled)
        job = accept(config)
        until(lambda: worker.catalog.services()[0].seen_at > job.created_at)
        assert not script.of(job)
        worker.catalog.set_service(name, False)
        until(lambda: is_done(worker.catalog, job))


def test_it_tells_how_its_backends_do(tmp_path: Path):
    config = configure(tmp_path)
    with working(config) as (worker, _):
        def backend() -> dict[str, object]:
            return worker.catalog.services()[0].backends['local']
        until(lambda: backend()['ok'])
        assert backend()['free_bytes']
        store = tmp_path / 'here' / 'backups'
        store.rename(tmp_path / 'gone')
        store.write_text('no directory')
        until(lambda: backend()['ok'] is False)
        assert str(store) in str(backend()['error'])


def test_who_stores_a_part_tells_how_far_its_create_is(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told: list[tuple[str, int, int | None]] = []
    monkeypatch.setattr(Notifications, 'progressed', lambda _, job, done, total: told.append(
        (job.id, done, total)))
    config = configure(tmp_path)
    create = accept(config, backend='elsewhere')
    part = accept(config, kind='part', create=create.id, seconds={'run': 600})
    with working(config) as (worker, script):
        until(lambda: script.of(part))
        worker.catalog.progress(create.id, 'backup', 5, 10)
        until(lambda: (create.id, 5, 10) in told)


def test_it_offers_the_volumes_of_its_sources(tmp_path: Path):
    disks = tmp_path / 'disks'
    disks.mkdir()
    (disks / 'one').write_bytes(bytes(1000))
    config = configure(tmp_path, sources={'disks': {'type': 'file', 'path': disks}})
    with working(config) as (worker, _):
        def offered() -> list[Volume]:
            return worker.catalog.volume_page(None).items
        until(offered)
        assert [volume.name for volume in offered()] == ['one']
        (disks / 'one').unlink()
        until(lambda: not offered())


def test_what_ended_long_ago_goes(tmp_path: Path):
    config = configure(tmp_path)
    catalog = workers.catalog_of(config)
    store = flows.Store(catalog)
    ended, kept = accept(config), accept(config)
    for job in (ended, kept, orphan := Job(kind='create')):
        flows.keep(store, job)
    catalog.end_job(ended.id, JobState.DONE)
    catalog.due('purge', utcnow(), utcnow() - datetime.timedelta(days=1))
    Tidying(config, catalog, store).run(datetime.timedelta(0))
    assert [job.id for job in catalog.jobs()] == [kept.id]
    assert flows.kept(store) == {kept.id}
    assert orphan.id != kept.id


@pytest.mark.parametrize('differs, able', [
    ({}, True), ({'backends': {}}, False), ({'sources': []}, False), ({'disabled': True}, False),
    ({'binary': 'other'}, False)])
def test_whether_a_job_can_be_done_is_known(tmp_path: Path, differs: dict[str, object],
                                            able: bool):
    catalog = Catalog(f'sqlite:///{tmp_path}/catalog.sqlite', str(tmp_path))
    about = {'binary': dispatch.WORKER, 'backends': {'vault': {}}, 'sources': ['disks']}
    job = Job(kind='create', backend='vault', source='disks')
    assert not dispatch.can_be_done(catalog, job, 60)
    catalog.beat(Service('x', **about | differs))
    if differs.get('disabled'):
        catalog.set_service('x', True)
    assert dispatch.can_be_done(catalog, job, 60) == able
    assert not dispatch.can_be_done(catalog, job, 0)
