"""Versions, links, volumes, snapshots, services, limits, and what happens when all goes wrong."""

from __future__ import annotations

import logging

import pytest
import webob

from backup_framework import exceptions
from backup_framework.api import routes
from tests.unit.api.world import ALPHA, SECRET

DOCUMENT = {'versions': [{
    'id': 'v3.0', 'status': 'CURRENT', 'version': '3.71', 'min_version': '3.0',
    'updated': '2023-08-31T00:00:00Z',
    'links': [{'rel': 'self', 'href': 'http://localhost/v3/'}],
    'media-types': [{'base': 'application/json',
                     'type': 'application/vnd.openstack.volume+json;version=3'}]}]}


@pytest.mark.parametrize('path, status', [('/', 300), ('', 300), ('/v3', 200), ('/v3/', 200)])
def test_versions_are_told_to_everybody(world, path, status):
    answer = webob.Request.blank(path or '/').get_response(world.application)
    assert (answer.status_int, answer.json) == (status, DOCUMENT)
    assert answer.headers['OpenStack-API-Version'] == 'volume 3.0'
    assert 'OpenStack-API-Version' in answer.headers['Vary']


def test_a_version_that_is_not_there(world):
    for path in ('/v3/backups', '/'):
        answer = world.ask('mark', path, OpenStack_API_Version='volume 3.72')
        assert answer.status_int == 406
        assert answer.json == {'computeFault': {'code': 406, 'message': (
            'Version 3.72 is not supported by the API. Minimum is 3.0 and maximum is 3.71.')}}
        assert answer.headers['OpenStack-API-Version'] == 'volume 3.0'


def self_link(world, path='/v3/volumes?limit=1', **headers):
    answer = world.ask('mark', path, **headers)
    return answer.json['volumes'][0]['links'][0]['href'].rpartition('/')[0]


def test_links_begin_as_the_client_asked(make_world):
    world = make_world()
    assert self_link(world, Host='vault:8776') == 'http://vault:8776/v3/volumes'
    assert self_link(world, f'/v3/{ALPHA}/volumes') == f'http://localhost/v3/{ALPHA}/volumes'
    forwarded = {'X_Forwarded_Proto': 'https', 'X_Forwarded_Host': 'api.example.org'}
    assert self_link(world, **forwarded) == 'http://localhost/v3/volumes', 'anybody can send that'
    behind = make_world('[oslo_middleware]\nenable_proxy_headers_parsing = true\n')
    assert self_link(behind, **forwarded) == 'https://api.example.org/v3/volumes'
    public = make_world('public_endpoint = https://example.org/backup/\n')
    assert self_link(public) == 'https://example.org/backup/v3/volumes'
    version = public.ask(None, '/').json['versions'][0]
    assert version['links'][0]['href'] == 'https://example.org/backup/v3/'
    following = public.ask('mark', '/v3/volumes?limit=1').json['volumes_links'][0]['href']
    assert following.startswith('https://example.org/backup/v3/volumes?limit=1&marker=')


def test_below_another_path(world):
    request = webob.Request.blank('/backup/v3')
    request.path_info_pop()
    answer = request.get_response(world.application)
    assert answer.json['versions'][0]['links'][0]['href'] == 'http://localhost/backup/v3/'


# Volumes and snapshots

@pytest.mark.parametrize('query, kinds', [
    ('', {'volume', 'idle'}), (f'?name={SECRET}%20idle', {'idle'}),
    ('?status=backing-up', {'volume'}),
    ('?bootable=True', set()), ('?bootable=false', {'volume', 'idle'}), ('?name~=IDLE-', set()),
    ('?sort=size:asc,name:desc&limit=1', {'volume'}), ('?availability_zone=az1', set())])
def test_volumes(world, query, kinds):
    for path in ('/v3/volumes', f'/v3/{ALPHA}/volumes/detail'):
        found = world.ask('mark', path + query).json['volumes']
        assert {each['id'] for each in found} == {world.ids[kind] for kind in kinds}


def test_all_that_is_known_of_a_volume(world):
    volume = world.ask('mark', f'/v3/volumes/{world.ids["volume"]}').json['volume']
    assert (volume['status'], volume['size'], volume['bootable'], volume['metadata']) == (
        'backing-up', 1, 'false', {'owner': SECRET})
    assert volume['os-vol-tenant-attr:tenant_id'] == ALPHA
    assert 'migration_status' not in volume and 'migration_status' in world.ask(
        'ada', f'/v3/volumes/{world.ids["volume"]}').json['volume']


def test_snapshots(world):
    snapshot = world.ids['snapshot']
    found = world.ask('mark', f'/v3/snapshots/{snapshot}').json['snapshot']
    assert (found['volume_id'], found['size'], found['status']) == (
        world.ids['volume'], 1, 'available')
    for path in ('snapshots', 'snapshots/detail'):
        query = f'?volume_id={world.ids["volume"]}&sort=size:desc&with_count=1'
        listed = world.ask('mark', f'/v3/{path}{query}').json
        assert [each['id'] for each in listed['snapshots']] == [snapshot]
        assert listed['count'] == 1


# Services and limits

def test_services_are_listed_and_switched(world):
    listed = world.ask('ada', '/v3/os-services?binary=cinder-backup').json['services']
    assert [(each['host'], each['state'], each['status'], each['zone']) for each in listed] == [
        ('backup1', 'up', 'enabled', 'nova')]
    assert world.ask('ada', '/v3/os-services?binary=cinder-volume').json == {'services': []}
    assert world.ask('ada', '/v3/os-services?host=other').json == {'services': []}
    wanted = {'host': 'backup1', 'binary': 'cinder-backup'}
    answer = world.ask('ada', '/v3/os-services/disable', 'PUT', wanted)
    assert answer.json == wanted | {'service': '', 'status': 'disabled', 'disabled': True}
    answer = world.ask('ada', '/v3/os-services/disable-log-reason', 'PUT',
                       wanted | {'disabled_reason': 'tape'})
    assert answer.json['disabled_reason'] == 'tape'
    listed = world.ask('ada', '/v3/os-services').json['services'][0]
    assert (listed['status'], listed['disabled_reason']) == ('disabled', 'tape')
    by_service = {'host': 'backup1', 'service': 'cinder-backup'}
    assert world.ask('ada', '/v3/os-services/enable', 'PUT', by_service).json['status'] == 'enabled'
    assert world.ask('ada', '/v3/os-services').json['services'][0]['disabled_reason'] is None


@pytest.mark.parametrize('body, status', [
    ({'host': 'other', 'binary': 'cinder-backup'}, 404), ({'host': 'backup1'}, 400),
    ({'binary': 'cinder-backup'}, 400), ({'host': None, 'binary': 'x'}, 400),
    ({'host': 'backup1', 'binary': 'cinder-backup', 'x': 1}, 400)])
def test_services_that_are_not_there(world, body, status):
    assert world.ask('ada', '/v3/os-services/disable', 'PUT', body).status_int == status


def test_limits(make_world):
    world = make_world('[quota]\nbackups = 50\n')
    found = world.ask('mark', '/v3/limits').json['limits']
    assert found['rate'] == [] and found['absolute'] == {
        'maxTotalBackups': 50, 'maxTotalBackupGigabytes': -1, 'totalBackupsUsed': 4,
        'totalBackupGigabytesUsed': 4, 'maxTotalVolumes': -1, 'maxTotalSnapshots': -1,
        'maxTotalVolumeGigabytes': -1, 'totalVolumesUsed': 0, 'totalSnapshotsUsed': 0,
        'totalGigabytesUsed': 0}
    for user, query, version, used in (('mark', '?project_id=none', '3.71', 4),
                                       ('ada', '?project_id=none', '3.39', 0),
                                       ('ada', '?tenant_id=none', '3.39', 0),
                                       ('ada', '?project_id=none', '3.38', 4)):
        absolute = world.ask(user, f'/v3/limits{query}', OpenStack_API_Version=f'volume {version}'
                             ).json['limits']['absolute']
        assert absolute['totalBackupsUsed'] == used, (user, query, version)


def test_projects_have_the_name_that_is_asked_for(world):
    assert world.ask('mark', f'/v3/{ALPHA}/projects/web').json == {
        'project': {'id': 'web', 'name': 'web'}}
    assert world.ask('mark', '/v3/projects?name=web').json['projects'][0]['id'] == 'web'
    assert world.ask('mark', '/v3/projects').json['projects'][0]['id'] == ALPHA


def test_extensions(world):
    found = world.ask('mark', '/v3/extensions').json['extensions']
    assert {'backups', 'backup-framework'} <= {each['alias'] for each in found}


# When all goes wrong

def test_an_error_of_ours_says_nothing_but_its_id_leads_to_the_log(world, monkeypatch, caplog):
    def broken(request):
        raise RuntimeError('password in a traceback')
    broken_routes = [route._replace(call=broken) if route.path == '/limits' else route
                     for route in routes.ROUTES]
    monkeypatch.setattr(routes, '_ROUTES', routes._table(broken_routes))
    with caplog.at_level(logging.ERROR):
        answer = world.ask('mark', '/v3/limits')
    assert answer.status_int == 500
    assert answer.json == {'computeFault': {'code': 500, 'message': (
        'The server has either erred or is incapable of performing the requested operation.')}}
    assert 'password in a traceback' in caplog.text and 'Traceback' in caplog.text
    assert 'password' not in answer.text


@pytest.mark.parametrize('error', [
    exceptions.CatalogError('db at 10.0.0.1 is gone'), exceptions.NoSpace('/var/lib is full'),
    exceptions.CatalogReadOnly('/var/lib cannot be written')])
def test_a_catalog_that_is_away(world, monkeypatch, caplog, error):
    def away(*arguments, **more):
        raise error
    monkeypatch.setattr(type(world.catalog), 'backup_page', away)
    answer = world.ask('mark', '/v3/backups')
    assert answer.json == {'serviceUnavailable': {
        'code': 503, 'message': 'The catalog of backups cannot be used at the moment.'}}
    assert str(error) in caplog.text and 'Traceback' not in caplog.text


def test_a_body_that_is_too_large(make_world):
    world = make_world('max_request_body_size = 2048\n')
    body = {'backup': {'volume_id': world.ids['idle'], 'name': 'x' * 3000}}
    answer = world.ask('mark', '/v3/backups', 'POST', body)
    assert (answer.status_int, list(answer.json)) == (413, ['overLimit'])


def test_head_has_no_body(world):
    answer = world.ask('mark', '/v3/backups', 'HEAD')
    assert (answer.status_int, answer.body) == (200, b'')
