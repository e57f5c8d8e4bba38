"""What users do with the service, on one machine and on many: the same tests."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tools.servers.installation import Installation, Setup, running
from tools.servers.rest import Refused, Rest

VERIFY = 'backup-framework:verify'


def contents(service: Installation, name: str) -> bytes:
    return (service.volumes / name).read_bytes()


def test_a_chain_is_restored_exactly(service: Installation):
    volume = service.make_volume('chain')
    states, backups = [contents(service, 'chain')], [service.create(volume)]
    service.wait(backups[0])
    for seed in (2, 3):
        states.append(service.change('chain', seed))
        backups.append(service.create(volume, incremental=True))
        record = service.wait(backups[-1])
        assert record['is_incremental'] and record['volume_id'] == volume
    for backup, state in zip(backups, states, strict=True):
        assert service.restored(backup) == state


def test_a_backup_is_restored_over_a_volume(service: Installation):
    volume = service.make_volume('over')
    before = contents(service, 'over')
    backup = service.create(volume)
    service.wait(backup)
    service.change('over')
    assert service.restore(backup, volume_id=volume) == volume
    assert contents(service, 'over') == before


def test_what_was_asked_for_is_recorded(service: Installation):
    volume = service.make_volume('asked')
    backup = service.create(volume, name='mine', description='said', container='shed',
                            metadata={'a': 'b'}, availability_zone='nova')
    record = service.wait(backup)
    assert (record['name'], record['description'], record['metadata']) == (
        'mine', 'said', {'a': 'b'})
    assert (record['container'], record['availability_zone']) == ('demo/shed', 'nova')
    assert (record['size'], record['os-backup-project-attr:project_id']) == (1, 'demo')
    assert record['fail_reason'] is None and record['object_count'] > 0


def test_lists_have_pages(service: Installation):
    rest = service.client('alpha', 'alice')
    volume = service.make_volume('paged')
    made = []
    for number in range(5):
        made.append(service.create(volume, rest, name=f'page {number}'))
        service.wait(made[-1], rest=rest)
    query = {'volume_id': volume, 'sort': 'created_at:asc', 'limit': 2}
    page = rest.get('/backups/detail', with_count=True, **query)
    assert page['count'] == 5
    found = page['backups']
    while page.get('backups_links'):
        page = rest.get('/backups/detail', marker=found[-1]['id'], **query)
        found += page['backups']
    assert [backup['id'] for backup in found] == made
    named = rest.get('/backups', **{'name~': 'page 3'})['backups']
    assert [backup['id'] for backup in named] == [made[3]]


def test_a_deleted_backup_is_gone_and_others_stay(service: Installation):
    volume = service.make_volume('gone')
    first = service.create(volume)
    record = service.wait(first)
    service.change('gone')
    second = service.create(volume, incremental=True)
    service.wait(second)
    service.rest.delete(f'/backups/{first}')
    service.wait_gone(first)
    assert service.restored(second) == contents(service, 'gone')
    service.rest.delete(f'/backups/{second}')
    service.wait_gone(second)
    assert not list((service.store / record['container']).rglob('*-*'))


def test_a_full_verification_finds_what_is_damaged(service: Installation):
    volume = service.make_volume('harmed')
    backup = service.create(volume)
    record = service.wait(backup)
    assert ended(service, verify(service, backup))['state'] == 'done'
    largest = max((service.store / record['container']).rglob('*'),
                  key=lambda path: path.is_file() and path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.chmod(0o600)
    largest.write_bytes(content)
    assert ended(service, verify(service, backup))['state'] == 'failed'


def verify(service: Installation, backup: str) -> str:
    """The id of a job."""
    answer = service.rest.post(f'/backups/{backup}/action', {VERIFY: {}})
    return str(answer['jobs'][0]['id'])


def ended(service: Installation, job: str, rest: Rest | None = None) -> dict[str, Any]:
    """A job as soon as it has ended."""
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = (rest or service.rest).get(f'/backup-framework/jobs/{job}')['job']
        return found if found['state'] not in ('queued', 'running') else None
    return service.until(look, f'job {job} has ended')


def test_records_go_from_one_installation_to_another(service: Installation, tmp_path: Path):
    volume = service.make_volume('sent')
    before = contents(service, 'sent')
    full = service.create(volume, name='sent')
    service.wait(full)
    service.change('sent')
    later = service.create(volume, incremental=True)
    service.wait(later)
    records = [service.rest.get(f'/backups/{backup}/export_record')['backup-record']
               for backup in (full, later)]
    with pytest.raises(Refused) as known:
        service.rest.post('/backups/import_record', {'backup-record': records[0]})
    assert known.value.status == 400
    with running(tmp_path / 'other', options={'shelf': {'path': service.store}}) as other:
        for record, backup in zip(records, (full, later), strict=True):
            answer = other.rest.post('/backups/import_record', {'backup-record': record})
            assert answer['backup']['id'] == backup
            other.wait(backup)
        assert other.restored(full) == before
        assert other.restored(later) == contents(service, 'sent')


def test_quotas_hold_under_parallel_creates(service: Installation):
    """Nine may be; fourteen are asked for at once."""
    names = [f'many{number}' for number in range(14)]
    for name in names:
        service.write_volume(name, 5000)
    volumes = [service.volume_id(name) for name in names]

    def ask(volume: str) -> str | None:
        rest = service.client('beta', 'bob')
        try:
            return service.create(volume, rest, name='mine')
        except Refused as error:
            assert error.status == 413, error
            return None
        finally:
            rest.close()

    with ThreadPoolExecutor(7) as pool:
        made = [backup for backup in pool.map(ask, volumes) if backup]
    rest = service.client('beta', 'bob')
    assert len(made) == 9 == len(rest.get('/backups')['backups'])
    limits = rest.get('/limits')['limits']['absolute']
    assert (limits['maxTotalBackups'], limits['totalBackupsUsed']) == (9, 9)
    for backup in made:
        service.wait(backup, rest=rest)
    rest.delete(f'/backups/{made[0]}')
    service.wait_gone(made[0], rest)
    service.wait(service.create(volumes[0], rest), rest=rest)


def test_projects_do_not_learn_of_each_other(service: Installation):
    alice, bob = service.client('alpha', 'alice'), service.client('beta', 'bob')
    volume = service.make_volume('private')
    backup = service.create(volume, alice, name='secret', container='shed')
    service.wait(backup, rest=alice)
    assert backup not in str(bob.get('/backups/detail', name='secret'))
    with pytest.raises(Refused) as nothing:
        bob.get('/backups/00000000-0000-4000-8000-000000000000')
    for ask in (lambda: bob.get(f'/backups/{backup}'), lambda: bob.delete(f'/backups/{backup}'),
                lambda: bob.post(f'/backups/{backup}/restore', {'restore': {'name': 'x'}}),
                lambda: bob.put(f'/backups/{backup}', {'backup': {'name': 'x'}})):
        with pytest.raises(Refused) as refused:
            ask()
        assert refused.value.status == 404
        assert list(refused.value.body) == list(nothing.value.body)
    for wrong in (service.client('alpha', 'bob'), service.client('alpha', 'bob', password='x')):
        with pytest.raises(Refused) as refused:
            wrong.get('/backups')
        assert refused.value.status in (400, 401)
    reader = service.client('alpha', 'rita')
    assert reader.get(f'/backups/{backup}')['backup']['name'] == 'secret'
    with pytest.raises(Refused) as refused:
        reader.delete(f'/backups/{backup}')
    assert refused.value.status == 403
    assert service.restored(backup, alice) == contents(service, 'private')


def test_a_schedule_fires(service: Installation):
    """Its time passed while no worker ran: the next one makes up for it."""
    volume = service.make_volume('clock')
    engine = sa.create_engine(service.setup.connection
                              or f'sqlite:///{service.folder}/state/all/catalog.sqlite')

    def was_due() -> bool:
        with engine.begin() as link:
            return link.exec_driver_sql(
                "UPDATE schedules SET next_at = '2020-01-01T00:00:00.000000' "
                "WHERE name = 'schedule:clock'").rowcount == 1
    service.until(was_due, 'the schedule is known')
    engine.dispose()
    service.workers[0].kill()
    service.workers[0].start()

    def look() -> str | None:
        found = service.rest.get('/backups', volume_id=volume)['backups']
        return found[0]['id'] if found else None
    backup = service.until(look, 'the schedule has fired')
    record = service.wait(backup)
    assert record['name'].startswith('clock ')
    assert len(service.rest.get('/backups', volume_id=volume)['backups']) == 1
    assert service.restored(backup) == contents(service, 'clock')


def test_mariadb_and_redis_do_as_well(make_setup: Callable[[str], Setup],
                                      install: Callable[..., Installation]):
    service = install(make_setup('mariadb-redis'), workers=2,
                      options={'jobboard': {'claim_ttl': 3}})
    for number in range(3):
        service.write_volume(f'other{number}', seed=number)
    volumes = [service.volume_id(f'other{number}') for number in range(3)]
    backups = [service.create(volume) for volume in volumes]
    service.workers[0].kill()
    service.workers[0].start()
    for number, backup in enumerate(backups):
        service.wait(backup)
        assert service.restored(backup) == contents(service, f'other{number}')
    service.change('other0')
    later = service.create(volumes[0], incremental=True)
    assert service.wait(later)['is_incremental']
    service.rest.delete(f'/backups/{backups[0]}')
    service.wait_gone(backups[0])
    assert service.restored(later) == contents(service, 'other0')


def test_the_catalog_fits_the_store(service: Installation):
    """After all the others: every backup is there, and the store has no other."""
    manifests = list(service.store.rglob('*_metadata'))
    backups = service.rest.get('/backups', all_tenants=1, limit=1000)['backups']
    assert len(manifests) == len(backups)
