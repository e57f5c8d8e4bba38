"""openstacksdk against the API behind its own server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
import threading
from typing import Any

import openstack
from openstack import exceptions
import pytest

from backup_framework.api import server
from backup_framework.model import Status
from tests.unit.api import world as worlds
from tests.unit.api.world import ALPHA, PASSWORD, SECRET, World


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., tuple[World, str]]]:
    """Gives a world, and the address that it is served at; `text` is more of its configuration."""
    started = []

    def make(text: str = '') -> tuple[World, str]:
        world = worlds.make(tmp_path / f'world{len(started)}', text)
        served = server.serve(world.application, world.configuration.api,
                              server.listen('127.0.0.1', 0))
        thread = threading.Thread(target=served.start)
        thread.start()
        started.append((world, served, thread))
        return world, f'http://127.0.0.1:{served.port}'
    yield make
    for world, served, thread in started:
        served.stop()
        thread.join(30)
        assert not thread.is_alive()
        world.catalog.close()


def connect(url: str, user: str | None = None) -> Any:
    auth = {'endpoint': url}
    if user is not None:
        auth |= {'username': user, 'password': PASSWORD}
    return openstack.connect(
        auth_type='none' if user is None else 'http_basic', auth=auth, load_yaml_config=False,
        load_envvars=False).block_storage


@pytest.mark.parametrize('path', ['', '/v3', f'/v3/{ALPHA}'])
def test_each_form_of_the_endpoint(serve, path):
    world, url = serve(f'auth_strategy = none\ndefault_project = {ALPHA}\n')
    client = connect(url + path)
    assert {each.id for each in client.backups()} == {
        world.ids[kind] for kind in ('backup', 'older', 'broken', 'busy')}
    assert client.get_backup(world.ids['backup']).metadata == {'for': SECRET}


def test_lists_and_names(serve):
    world, url = serve()
    client = connect(f'{url}/v3/{ALPHA}', 'mark')
    assert len(list(client.backups(limit=1))) == 4, 'page by page'
    assert [each.id for each in client.backups(status='error')] == [world.ids['broken']]
    assert [each.id for each in client.backups(details=False, sort_key='name', limit=3)]
    assert client.find_volume(f'{SECRET} idle').id == world.ids['idle']
    assert client.find_snapshot(SECRET).volume_id == world.ids['volume']
    assert client.find_backup('nothing') is None
    with pytest.raises(exceptions.NotFoundException, match='there is no backup'):
        client.get_backup(world.ids['other-backup'])


def test_a_life_of_a_backup(serve):
    world, url = serve()
    client = connect(f'{url}/v3/{ALPHA}', 'ada')
    made = client.create_backup(volume_id=world.ids['idle'], name='nightly', metadata={'a': 'b'})
    assert client.get_backup(made.id).status == 'creating'
    client.reset_backup_status(made.id, 'available')
    client.update_backup(made.id, name='kept', description='for long')
    assert client.find_backup('kept').description == 'for long'
    restored = client.restore_backup(made.id, name='again')
    assert client.get_volume(restored.volume_id).status == 'creating'
    with pytest.raises(exceptions.BadRequestException, match='not available or error|restore'):
        client.delete_backup(made.id)
    client.delete_backup(made.id, force=True)
    assert world.catalog.backup_of(made.id, None).status == Status.DELETING
    exported = client.export_record(world.ids['backup']).json()['backup-record']
    assert set(exported) == {'backup_service', 'backup_url'}


def test_what_admins_see(serve):
    world, url = serve()
    client = connect(f'{url}/v3/{ALPHA}', 'ada')
    assert len(list(client.backups(all_tenants=True))) == 8
    service, = client.services(binary='cinder-backup')
    assert (service.host, service.state) == ('backup1', 'up')
    assert client.disable_service(service).status == 'disabled'
    assert client.get_limits().absolute.total_backups_used == 4
    with pytest.raises(exceptions.ForbiddenException):
        list(connect(f'{url}/v3/{ALPHA}', 'mark').services())


def test_who_is_not_known(serve):
    _, url = serve()
    with pytest.raises(exceptions.HttpException) as refused:
        list(connect(f'{url}/v3/{ALPHA}', 'nobody').backups())
    assert refused.value.status_code == 401
