"""A worker dies in the middle of a backup: another one goes on with what is stored."""

from __future__ import annotations

from collections.abc import Callable
import time

import pytest

from tools.servers import parts
from tools.servers.installation import Installation, Setup
from tools.servers.rest import Refused

CHUNK = 4 << 20
SLOW = {'shelf': {'write_bandwidth': CHUNK, 'compression': 'none', 'chunk_size': CHUNK},
        'jobboard': {'claim_ttl': 3}}
SIZE = 9 * CHUNK


def stored(service: Installation) -> dict[str, tuple[int, int]]:
    """The objects in the store, each with what a rewrite would change."""
    found = {}
    for path in service.store.rglob('*'):
        if path.is_file() and not path.name.startswith('.'):
            status = path.stat()
            found[path.name] = status.st_ino, status.st_mtime_ns
    return found


def start(service: Installation) -> str:
    """A backup of which some objects are stored."""
    volume = service.make_volume('large', SIZE)
    backup = service.create(volume)
    service.until(lambda: len(stored(service)) > 1, 'objects are stored')
    return backup


@pytest.mark.parametrize('name', ['postgresql-etcd-rabbitmq', 'mariadb-redis'])
def test_another_worker_keeps_what_is_stored(
        make_setup: Callable[[str], Setup], install: Callable[..., Installation], name: str):
    service = install(make_setup(name), options=SLOW)
    backup = start(service)
    service.workers[0].kill()
    before = stored(service)
    second = service.add_worker()
    service.wait(backup)
    after = stored(service)
    assert {name: about for name, about in after.items() if name in before} == before
    assert len(after) > len(before)
    assert service.restored(backup) == (service.volumes / 'large').read_bytes()
    assert second.is_running()


def test_the_only_worker_goes_on_after_its_restart(install: Callable[..., Installation]):
    service = install(options=SLOW)
    backup = start(service)
    service.workers[0].kill()
    before = stored(service)
    service.workers[0].start()
    service.wait(backup)
    after = stored(service)
    assert {name: about for name, about in after.items() if name in before} == before
    assert service.restored(backup) == (service.volumes / 'large').read_bytes()


@pytest.mark.long
def test_a_worker_that_is_told_to_stop_gives_its_backup_to_another(
        make_setup: Callable[[str], Setup], install: Callable[..., Installation]):
    options = SLOW | {'service': {'drain_timeout': 0.5}}
    service = install(make_setup('mariadb-redis'), options=options)
    backup = start(service)
    assert service.workers[0].stop() == 0
    assert service.backup(backup)['status'] == 'creating'
    before = stored(service)
    service.add_worker()
    service.wait(backup)
    assert before.items() <= stored(service).items()
    assert service.restored(backup) == (service.volumes / 'large').read_bytes()


@pytest.mark.long
def test_a_database_that_comes_back_has_lost_no_job(
        start_part: Callable[[type[parts.Part]], parts.Part], etcd: parts.Etcd,
        install: Callable[..., Installation]):
    server = start_part(parts.PostgreSQL)
    assert isinstance(server, parts.PostgreSQL)
    service = install(Setup(server.database(), etcd.url), options=SLOW)
    backup = start(service)
    server.kill()
    time.sleep(2)
    server.start()
    service.until(lambda: answers(service, backup) == 'available', 'the backup is there')
    assert service.restored(backup) == (service.volumes / 'large').read_bytes()
    assert all(process.is_running() for process in service.processes)


def answers(service: Installation, backup: str) -> str | None:
    """The status of a backup, where the API can tell."""
    try:
        return str(service.backup(backup)['status'])
    except Refused:
        return None
