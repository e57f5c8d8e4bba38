"""Every command of `openstack volume backup`, by the stock client, against a running service.

Defects of the client that no server can mend are pinned: a test says what the client does, and that
it does no harm.
"""

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
def openstack(clients: stock.Clients, service: Installation) -> stock.OpenStack:
    return stock.OpenStack(clients, OS_AUTH_TYPE='none', OS_ENDPOINT=f'{service.endpoint}/demo')


@pytest.fixture(scope='module')
def web(service: Installation) -> str:
    """The id of a volume."""
    return service.make_volume('web')


@pytest.fixture(scope='module')
def nightly(service: Installation, web: str) -> str:
    """A backup that tests only look at."""
    backup = service.create(web, name='nightly', description='by the clock',
                            metadata={'tier': 'gold'})
    service.wait(backup)
    return backup


def test_the_program_itself(clients: stock.Clients, service: Installation, nightly: str):
    """Once as a user starts it: with an endpoint that names no project."""
    done = stock.script(clients.folder, 'openstack', {
        'OS_AUTH_TYPE': 'none', 'OS_ENDPOINT': f'http://127.0.0.1:{service.port}'},
        'volume', 'backup', 'list', '--all-projects', '-f', 'json')
    assert done.status == 0, done.err
    assert nightly in [row['ID'] for row in done.json]


def test_create_list_show_delete(openstack: stock.OpenStack, service: Installation, web: str):
    made = openstack.ask('volume', 'backup', 'create', web, '--name', 'first',
                         '--description', 'by hand', '--container', 'shed')
    assert made['name'] == 'first'
    service.wait(made['id'])
    shown = openstack.ask('volume', 'backup', 'show', 'first')
    assert (shown['id'], shown['status'], shown['volume_id']) == (made['id'], 'available', web)
    assert (shown['description'], shown['container']) == ('by hand', 'demo/shed')
    assert shown['size'] == 1 and not shown['is_incremental']
    listed = {row['ID']: row for row in openstack.ask('volume', 'backup', 'list')}
    assert listed[made['id']]['Name'] == 'first'
    openstack('volume', 'backup', 'delete', 'first')
    service.wait_gone(made['id'])
    gone = openstack.try_('volume', 'backup', 'show', made['id'])
    assert gone.status == 1 and 'No Backup found' in gone.err


def test_incremental_with_everything(openstack: stock.OpenStack, service: Installation):
    volume = service.make_volume('data')
    full = openstack.ask('volume', 'backup', 'create', 'data')
    service.wait(full['id'])
    service.change('data')
    made = openstack.ask('volume', 'backup', 'create', 'data', '--incremental', '--force',
                         '--property', 'a=b', '--property', 'c=d',
                         '--availability-zone', 'nova')
    service.wait(made['id'])
    shown = openstack.ask('volume', 'backup', 'show', made['id'])
    assert shown['is_incremental'] and shown['volume_id'] == volume
    assert shown['metadata'] == {'a': 'b', 'c': 'd'}
    openstack('volume', 'backup', 'delete', full['id'], made['id'])
    service.wait_gone(full['id'])
    service.wait_gone(made['id'])


def test_list_with_filters_and_pages(openstack: stock.OpenStack, service: Installation,
                                     web: str, nightly: str):
    more = service.create(web, name='extra')
    service.wait(more)
    long = openstack.ask('volume', 'backup', 'list', '--long', '--all-projects',
                         '--name', 'nightly', '--status', 'available', '--volume', web)
    assert [row['ID'] for row in long] == [nightly]
    assert long[0]['Volume'] == web and long[0]['Description'] == 'by the clock'
    whole = [row['ID'] for row in openstack.ask('volume', 'backup', 'list')]
    paged = openstack.ask('volume', 'backup', 'list', '--limit', '1')
    assert [row['ID'] for row in paged] in (whole, whole[:1])
    behind = openstack.ask('volume', 'backup', 'list', '--marker', whole[0])
    assert [row['ID'] for row in behind] == whole[1:]
    assert openstack.ask('volume', 'backup', 'list', '--status', 'error') == []


def test_list_of_a_project(openstack: stock.OpenStack, nightly: str):
    """The client asks the endpoint who that project is."""
    listed = openstack.ask('volume', 'backup', 'list', '--project', 'demo')
    assert nightly in [row['ID'] for row in listed]


def test_restore(openstack: stock.OpenStack, service: Installation, nightly: str):
    before = service.path(service.volume_id('web')).read_bytes()
    openstack('volume', 'backup', 'restore', nightly, 'copy')
    copy = service.volume_id('copy')
    service.wait_volume(copy)
    assert service.path(copy).read_bytes() == before
    target = service.make_volume('target', seed=9)
    refused = openstack.try_('volume', 'backup', 'restore', nightly, 'target')
    assert refused.status == 1 and '--force' in refused.err
    openstack('volume', 'backup', 'restore', nightly, 'target', '--force')
    service.wait_volume(target)
    service.wait(nightly)
    assert (service.volumes / 'target').read_bytes() == before


def test_set_and_unset(openstack: stock.OpenStack, service: Installation, web: str):
    backup = service.create(web, metadata={'keep': 'me'})
    service.wait(backup)
    openstack('volume', 'backup', 'set', backup, '--name', 'called', '--description', 'said')
    openstack('volume', 'backup', 'set', backup, '--property', 'a=b')
    shown = openstack.ask('volume', 'backup', 'show', 'called')
    assert (shown['description'], shown['metadata']) == ('said', {'keep': 'me', 'a': 'b'})
    # The client deletes the properties that are to stay: Cinder, too, has no such route.
    unset = openstack.try_('volume', 'backup', 'unset', backup, '--property', 'a')
    assert unset.status == 1
    assert service.backup(backup)['metadata'] == {'keep': 'me', 'a': 'b'}
    openstack('volume', 'backup', 'set', backup, '--no-property')
    assert service.backup(backup)['metadata'] == {}
    openstack('volume', 'backup', 'set', backup, '--state', 'error')
    assert service.backup(backup)['status'] == 'error'
    openstack('volume', 'backup', 'delete', '--force', backup)
    service.wait_gone(backup)


def test_records(openstack: stock.OpenStack, nightly: str):
    record = openstack.ask('volume', 'backup', 'record', 'export', nightly)
    assert record['backup_service'] and record['backup_url']
    # The client drops the text of the record and posts to another path.
    imported = openstack.try_('volume', 'backup', 'record', 'import', record['backup_service'],
                              record['backup_url'])
    assert imported.status == 1 and 'import_record' in imported.err


def test_what_is_asked_for_on_the_way(openstack: stock.OpenStack, service: Installation,
                                      web: str):
    assert web in [row['ID'] for row in openstack.ask('volume', 'list')]
    assert openstack.ask('volume', 'show', 'web')['id'] == web
    assert openstack.ask('volume', 'snapshot', 'list') == []
    services = openstack.ask('volume', 'service', 'list')
    assert [row['State'] for row in services if row['Binary'] == 'cinder-backup'] == ['up']


def test_mistakes_are_told(openstack: stock.OpenStack, web: str, nightly: str):
    for wrong in (['create', 'nothing'], ['create', web, '--snapshot', 'nothing'],
                  ['show', 'nothing'], ['restore', 'nothing', 'copy']):
        done = openstack.try_('volume', 'backup', *wrong)
        assert done.status == 1 and 'No ' in done.err, (wrong, done.err)
    old = openstack.try_('--os-volume-api-version', '3.8', 'volume', 'backup', 'set', nightly,
                         '--name', 'x')
    assert old.status == 1 and '3.9' in old.err
