"""Jobs while they run: seen, told of, cancelled, waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import json
from pathlib import Path
import subprocess
import sys
from typing import Any

import pytest

from tools.servers.installation import SIZE, Installation, Setup, running
from tools.servers.rest import Refused

LISTENER = Path(__file__).with_name('listener.py')
LARGE = 100 * SIZE
SLOW = {'shelf': {'write_bandwidth': '3MiB'}}


@pytest.fixture(scope='module', params=['sqlite', 'postgresql-etcd-rabbitmq'])
def service(request: pytest.FixtureRequest, make_setup: Callable[[str], Setup],
            tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """It stores three mebibytes a second, and a claim of a worker that was killed ends soon."""
    with running(tmp_path_factory.mktemp('slow'), make_setup(request.param),
                 options=SLOW | {'jobboard': {'claim_ttl': 3}}) as made:
        yield made


def jobs_of(service: Installation, backup: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.rest.get(
        '/backup-framework/jobs', backup_id=backup)['jobs']
    return found


def wait_until_it_runs(service: Installation, backup: str) -> dict[str, Any]:
    """The job of a backup, when some of it is done."""
    def look() -> dict[str, Any] | None:
        return next((job for job in jobs_of(service, backup)
                     if job['state'] == 'running' and job['done']), None)
    return service.until(look, f'the job of {backup} runs')


def test_progress_is_seen_and_a_forced_delete_ends_it(service: Installation):
    volume = service.make_volume('large', 3 * LARGE)
    backup = service.create(volume)
    job = wait_until_it_runs(service, backup)
    assert 0 < job['done'] < job['total']
    assert service.backup(backup)['status'] == 'creating'
    assert service.rest.get(f'/volumes/{volume}')['volume']['status'] == 'backing-up'
    service.rest.post(f'/backups/{backup}/action', {'os-force_delete': None})
    service.wait_gone(backup)
    assert not [path for path in service.store.rglob('*') if path.is_file()]
    service.wait_volume(volume)


def test_a_cancelled_job_leaves_an_error(service: Installation):
    volume = service.make_volume('stopped', 3 * LARGE)
    backup = service.create(volume)
    wait_until_it_runs(service, backup)
    service.rest.post(f'/backups/{backup}/action', {'backup-framework:cancel': {}})
    record = service.wait(backup, 'error')
    assert 'cancel' in record['fail_reason']
    service.wait_volume(volume)

    def deleted() -> bool:
        """Its worker takes a moment to notice."""
        with contextlib.suppress(Refused):
            service.rest.delete(f'/backups/{backup}')
            return True
        return False
    service.until(deleted, 'the backup may be deleted')
    service.wait_gone(backup)


def test_a_worker_that_is_killed_is_made_up_for(service: Installation):
    volume = service.make_volume('killed', LARGE * 3 // 2)
    before = (service.volumes / 'killed').read_bytes()
    backup = service.create(volume)
    wait_until_it_runs(service, backup)
    service.workers[0].kill()
    assert service.backup(backup)['status'] == 'creating'
    if service.setup.board:
        service.add_worker()
    else:
        service.workers[0].start()
    service.wait(backup)
    assert service.restored(backup) == before


@contextlib.contextmanager
def heard(service: Installation) -> Iterator[Callable[[str, str], list[dict[str, Any]]]]:
    """Gives what was told of a backup, up to an event."""
    listener = subprocess.Popen(
        [sys.executable, '-W', 'ignore', str(LISTENER), str(service.setup.broker), service.topic],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert listener.stdin and listener.stdout
    assert listener.stdout.readline() == 'ready\n'
    lines = listener.stdout

    def until(backup: str, event: str) -> list[dict[str, Any]]:
        found = []
        while not found or found[-1]['event'] != event:
            told = json.loads(lines.readline())
            if told['payload']['backup_id'] == backup:
                found.append(told)
        return found
    try:
        yield until
    finally:
        listener.kill()
        listener.wait()


@pytest.mark.timeout(120)
def test_what_is_told(make_setup: Callable[[str], Setup], install: Callable[..., Installation]):
    service = install(make_setup('postgresql-etcd-rabbitmq'), options=SLOW)
    with heard(service) as until:
        volume = service.make_volume('told', LARGE)
        backup = service.create(volume, name='told of')
        told = until(backup, 'backup.create.end')
        assert told[0]['event'] == 'backup.create.start'
        steps = [each['payload']['backup_percent'] for each in told[1:-1]]
        assert {each['event'] for each in told[1:-1]} == {'backup.createprogress'}
        assert steps == sorted(steps) and 0 < steps[0] < steps[-1] <= 100
        last = told[-1]
        assert last['publisher'] == 'backup.worker1'
        assert last['context']['project_id'] == 'demo'
        assert last['payload'] | {
            'backup_id': backup, 'volume_id': volume, 'tenant_id': 'demo', 'status': 'available',
            'display_name': 'told of', 'host': 'worker1', 'size': 1, 'fail_reason': None,
            'parent_id': None, 'num_dependent_backups': 0, 'snapshot_id': None,
        } == last['payload']
        service.restored(backup)
        assert until(backup, 'backup.restore.end')[0]['event'] == 'backup.restore.start'
        service.rest.delete(f'/backups/{backup}')
        deleted = until(backup, 'backup.delete.end')
        assert deleted[0]['event'] == 'backup.delete.start'
        assert deleted[-1]['payload']['status'] == 'deleted'
