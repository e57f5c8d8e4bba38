"""Every command `cinder backup-…`, by the stock client, against a running service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service import clients as stock
from tools.servers.installation import Installation, running


@pytest.fixture(scope='module')
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with running(tmp_path_factory.mktemp('service')) as made:
        yield made


@pytest.fixture(scope='module')
def cinder(clients: stock.Clients, service: Installation) -> stock.Cinder:
    return stock.Cinder(clients, service.endpoint)


@pytest.fixture(scope='module')
def web(service: Installation) -> str:
    """The id of a volume."""
    return service.make_volume('web')


@pytest.mark.parametrize('user', [(), ('--os-user-id', 'u')])
def test_the_program_itself(clients: stock.Clients, service: Installation, user: tuple[str, ...]):
    done = stock.script(clients.folder, 'cinder', {}, '--os-auth-type', 'noauth', '--os-endpoint',
                        service.endpoint, *user, '--os-project-id', 'demo', 'backup-list')
    assert done.status == 0, done.err


def test_create_show_update_delete(cinder: stock.Cinder, service: Installation, web: str):
    made = cinder('backup-create', 'web', '--name', 'first', '--description', 'by hand',
                  '--container', 'shed', '--metadata', 'a=b', '--availability-zone',
                  'nova').properties
    service.wait(made['id'])
    shown = cinder('backup-show', 'first').properties
    assert (shown['id'], shown['status'], shown['volume_id']) == (made['id'], 'available', web)
    assert (shown['container'], shown['is_incremental']) == ('demo/shed', 'False')
    assert "'a': 'b'" in shown['metadata']
    cinder('backup-update', made['id'], '--name', 'second', '--description', 'changed',
           '--metadata', 'c=d')
    changed = service.backup(made['id'])
    assert (changed['name'], changed['description']) == ('second', 'changed')
    assert changed['metadata'] == {'c': 'd'}
    cinder('backup-delete', 'second')
    service.wait_gone(made['id'])
    assert cinder.try_('backup-show', made['id']).status == 1


def test_chain(cinder: stock.Cinder, service: Installation):
    volume = service.make_volume('data')
    full = cinder('backup-create', volume).properties['id']
    service.wait(full)
    service.change('data')
    later = cinder('backup-create', volume, '--incremental', '--force').properties['id']
    service.wait(later)
    assert cinder('backup-show', later).properties['is_incremental'] == 'True'
    # In format 2.0.0 no backup needs another one.
    assert cinder('backup-show', full).properties['has_dependent_backups'] == 'False'
    cinder('backup-delete', full)
    service.wait_gone(full)
    assert service.restored(later) == (service.volumes / 'data').read_bytes()


def test_list(cinder: stock.Cinder, service: Installation, web: str):
    made = [service.wait(service.create(web, name=f'row {number}'))['id'] for number in range(3)]
    plain = cinder('backup-list').table
    assert set(made) <= {row['ID'] for row in plain}
    options = ['--all-tenants', '1', '--volume-id', web, '--status', 'available']
    by_name = cinder('backup-list', *options, '--name', 'row 1').table
    assert [row['ID'] for row in by_name] == [made[1]]
    by_age = cinder('backup-list', *options, '--sort', 'created_at:asc').table
    assert [row['ID'] for row in by_age if row['Name'].startswith('row')] == made
    page = cinder('backup-list', '--sort', 'created_at:asc', '--marker', made[0], '--limit', '1',
                  '--volume-id', web).table
    assert [row['ID'] for row in page] == [made[1]]
    counted = cinder('backup-list', '--with-count', '--filters', 'name~=row').out
    assert counted.rstrip().endswith('3')


def test_restore(cinder: stock.Cinder, service: Installation):
    service.make_volume('disk')
    before = (service.volumes / 'disk').read_bytes()
    backup = cinder('backup-create', 'disk', '--name', 'state').properties['id']
    service.wait(backup)
    # Neither a volume nor a name: a new one, named after the backup.
    new = cinder('backup-restore', backup).properties
    assert new['volume_name'] == f'restore_backup_{backup}'
    named = cinder('backup-restore', backup, '--name', 'copy').properties
    target = service.make_volume('target', seed=9)
    cinder('backup-restore', backup, '--volume', 'target')
    for volume in (new['volume_id'], named['volume_id'], target):
        service.wait_volume(volume)
        assert service.path(volume).read_bytes() == before
    service.wait(backup)


def test_states(cinder: stock.Cinder, service: Installation, web: str):
    backup = service.create(web)
    service.wait(backup)
    cinder('backup-reset-state', '--state', 'error', backup)
    assert service.backup(backup)['status'] == 'error'
    cinder('backup-reset-state', '--state', 'available', backup)
    service.wait(backup)
    cinder('backup-delete', '--force', backup)
    service.wait_gone(backup)


def test_records(cinder: stock.Cinder, service: Installation, web: str):
    backup = service.create(web, name='kept')
    service.wait(backup)
    before = service.restored(backup)
    record = cinder('backup-export', backup).properties
    refused = cinder.try_('backup-import', record['backup_service'], record['backup_url'])
    assert refused.status == 1
    with running(service.folder / 'other', options={'shelf': {'path': service.store}}) as other:
        imported = stock.Cinder(cinder.clients, other.endpoint)(
            'backup-import', record['backup_service'], record['backup_url']).properties['id']
        assert imported == backup
        other.wait(imported)
        assert other.restored(imported) == before


def test_what_is_asked_for_on_the_way(cinder: stock.Cinder, service: Installation, web: str):
    rows = cinder('service-list', '--binary', 'cinder-backup').table
    assert [row['State'] for row in rows] == ['up']
    assert web in [row['ID'] for row in cinder('list').table]
    assert cinder('show', 'web').properties['id'] == web
    assert cinder('snapshot-list').table == []
    limits = {row['Name']: row['Value'] for row in cinder('absolute-limits').table}
    assert 'maxTotalBackups' in limits
    versions = cinder('version-list').out
    assert '3.71' in versions
