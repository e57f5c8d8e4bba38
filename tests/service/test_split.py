"""A large volume is shared by several workers; what one that dies had, the others go on with."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import pytest

from tools.servers.installation import Installation, Process, Setup

MIB = 1 << 20
SIZE = 96 * MIB + 12345
SERVICE = {'split_size': '14MiB', 'backup_max_operations': 1}
SHELF = {'chunk_size': '1MiB', 'block_size': '64KiB', 'compression': 'none'}
SPLIT: dict[str, dict[str, Any]] = {
    'service': SERVICE, 'shelf': SHELF | {'write_bandwidth': '6MiB'}}
PARTS = 7


def jobs_of(service: Installation, backup: str, kind: str) -> list[dict[str, Any]]:
    found = service.rest.get('/backup-framework/jobs', backup_id=backup)['jobs']
    return [job for job in found if job['kind'] == kind]


def running(service: Installation, backup: str) -> dict[str, dict[str, Any]]:
    """The parts that run, by worker."""
    return {job['host']: job for job in jobs_of(service, backup, 'part')
            if job['state'] == 'running'}


def stored(service: Installation) -> dict[str, int]:
    """The objects in the store, each with what another one of the name would change."""
    return {path.name: path.stat().st_ino for path in service.store.rglob('*')
            if path.is_file() and not path.name.startswith('.')}


def is_data(name: str) -> bool:
    return name.startswith('volume') and '_map' not in name and name[-1:].isdigit()


def check(worker: Process, *options: str) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).with_name('backup-framework')), '--config-file',
         worker.config_file, 'catalog', 'check', '-f', 'csv', *options], capture_output=True,
        text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def is_one_of(service: Installation, backup: str, data: bytes) -> None:
    """It has the right bytes, and the store has what it needs and no more."""
    assert service.restored(backup) == data
    worker = next(each for each in service.workers if each.is_running())
    check(worker, '--repair')
    names = list(stored(service))
    assert sum('_map' in name for name in names) == 1
    assert sum(is_data(name) for name in names) == service.backup(backup)['object_count']
    assert service.restored(backup) == data


def kill_one_with_a_part(service: Installation, backup: str) -> tuple[Process, str]:
    """A worker that was killed, and the id of the part that nobody stores now."""
    def kill() -> tuple[Process, str] | None:
        # First the one that has most to do still: any other may end its part before.
        found = sorted(running(service, backup).values(), key=lambda job: job['done'] or 0)
        for host in [job['host'] for job in found]:
            worker, = [each for each in service.workers if each.name == host]
            worker.kill()
            left = running(service, backup).get(host)
            if left is not None:
                return worker, left['id']
            worker.start()
        return None
    return service.until(kill, 'a worker is killed that has a part')


@pytest.mark.parametrize('name', ['postgresql-etcd-rabbitmq'])
def test_three_workers_one_of_them_killed(
        make_setup: Callable[[str], Setup], install: Callable[..., Installation], name: str):
    service = install(make_setup(name), workers=3, options=SPLIT | {
        'shelf': SHELF | {'write_bandwidth': '4MiB'}, 'jobboard': {'claim_ttl': 3}})
    backup = service.create(service.make_volume('large', SIZE))

    def all_store() -> dict[str, Any] | None:
        found = jobs_of(service, backup, 'create')
        return (found[0] if found and found[0]['done'] and len(running(service, backup)) == 3
                and len(stored(service)) > 4 else None)
    whole = service.until(all_store, 'three workers store parts')
    assert whole['state'] == 'running' and 0 < whole['done'] < whole['total'] == SIZE
    victim, part = kill_one_with_a_part(service, backup)
    before = {name: inode for name, inode in stored(service).items() if is_data(name)}
    check(next(each for each in service.workers if each.is_running()), '--repair')
    service.wait(backup)
    assert before.items() <= stored(service).items()
    parts = jobs_of(service, backup, 'part')
    assert len(parts) == PARTS
    assert {job['state'] for job in parts} == {'done'}
    assert len({job['host'] for job in parts}) >= 2
    taken_over = next(job for job in parts if job['id'] == part)
    assert taken_over['host'] != victim.name
    is_one_of(service, backup, (service.volumes / 'large').read_bytes())


def test_an_incremental_of_a_large_volume(install: Callable[..., Installation]):
    service = install(options={'service': {'split_size': '14MiB'}, 'shelf': SHELF})
    volume = service.make_volume('large', SIZE)
    parent = service.create(volume)
    service.wait(parent)
    data = service.change('large')
    backup = service.create(volume, incremental=True)
    found = service.wait(backup)
    assert found['is_incremental'] and found['object_count'] <= 2
    assert len(jobs_of(service, backup, 'part')) == PARTS
    service.rest.delete(f'/backups/{parent}')
    service.wait_gone(parent)
    assert service.restored(backup) == data
    service.rest.delete(f'/backups/{backup}')
    service.wait_gone(backup)
    assert stored(service) == {}


def test_a_part_that_fails_fails_the_backup_once(install: Callable[..., Installation]):
    service = install(options=SPLIT)
    volume = service.make_volume('large', SIZE)
    backup = service.create(volume)
    service.until(lambda: running(service, backup), 'a part is stored')
    os.truncate(service.volumes / 'large', SIZE - 5 * MIB)
    found = service.wait(backup, 'error')
    assert 'part ' in found['fail_reason'] and f'of {PARTS}' in found['fail_reason']
    states = [job['state'] for job in jobs_of(service, backup, 'part')]
    assert states.count('failed') == 1 and set(states) <= {'done', 'failed', 'cancelled'}
    assert [job['state'] for job in jobs_of(service, backup, 'create')] == ['failed']
    service.wait_volume(volume)
    service.rest.delete(f'/backups/{backup}')
    service.wait_gone(backup)
    assert stored(service) == {}


def test_a_forced_delete_stops_all_parts(install: Callable[..., Installation]):
    service = install(options=SPLIT)
    volume = service.make_volume('large', SIZE)
    backup = service.create(volume)
    service.until(lambda: len(stored(service)) > 3, 'some of it is stored')
    service.rest.post(f'/backups/{backup}/action', {'os-force_delete': None})
    service.wait_gone(backup)
    assert stored(service) == {}
    service.wait_volume(volume)
