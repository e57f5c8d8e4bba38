"""Backups over the API: bodies, statuses and errors as clients of Cinder expect them."""

from __future__ import annotations

import base64
import json
import queue
import re

import pytest

from backup_framework.model import Backup, JobState, Status, utcnow
from backup_framework.service import notifications
from backup_framework.service.dispatch import Dispatcher
from tests.unit.api.world import ALPHA, BETA, SECRET, named

TIME = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}')
NOBODY = named('nobody')
HOSTILE = [NOBODY, NOBODY.upper(), SECRET, 'x' * 5000, "' OR 1=1 --", '%00', '%FF%FE', '%E2%80%AE',
           '..%2F..', '%F0%9F%98%80', '{id}', '%25', 'None']


def fault(answer, name):
    """The message of an error, which must be all of the answer."""
    assert list(answer.json) == [name], answer.text
    assert answer.json[name]['code'] == answer.status_int
    assert answer.content_type == 'application/json'
    return answer.json[name]['message']


# Lists

def test_a_list_has_ids_names_and_links(world):
    answer = world.ask('mark', f'/v3/{ALPHA}/backups?limit=1')
    backup = world.ids['busy']
    assert answer.status_int == 200
    assert answer.json == {
        'backups': [{'id': backup, 'name': SECRET, 'links': [
            {'rel': 'self', 'href': f'http://localhost/v3/{ALPHA}/backups/{backup}'},
            {'rel': 'bookmark', 'href': f'http://localhost/{ALPHA}/backups/{backup}'}]}],
        'backups_links': [{'rel': 'next', 'href':
                           f'http://localhost/v3/{ALPHA}/backups?limit=1&marker={backup}'}]}


def test_pages_meet_without_a_gap(world):
    seen, path = [], '/v3/backups/detail?limit=3&sort=status:asc&name=' + SECRET
    while path:
        answer = world.ask('mark', path)
        seen.append([each['id'] for each in answer.json['backups']])
        following = answer.json.get('backups_links', [])
        path = following[0]['href'].removeprefix('http://localhost') if following else None
    assert [len(each) for each in seen] == [3, 1]
    assert sum(seen, []) == sorted(sum(seen, []), key=lambda id: (
        world.catalog.backup_of(id, None).status, id)) and len(set(sum(seen, []))) == 4


def test_a_page_that_is_asked_for_from_the_middle(world):
    everything = [each['id'] for each in world.ask('mark', '/v3/backups').json['backups']]
    answer = world.ask('mark', f'/v3/backups?marker={everything[1]}&limit=1&offset=1')
    assert [each['id'] for each in answer.json['backups']] == everything[3:4]
    next_link = answer.json['backups_links'][0]['href']
    assert 'offset' not in next_link, 'it was counted from the marker before'


def test_no_more_than_the_largest_page(make_world):
    world = make_world('osapi_max_limit = 2\n')
    for query in ('', '?limit=3', '?limit=1000'):
        answer = world.ask('mark', f'/v3/backups{query}')
        assert len(answer.json['backups']) == 2 and answer.json['backups_links']
    assert 'backups_links' not in world.ask('mark', '/v3/backups?limit=0').json


@pytest.mark.parametrize('query, kinds', [
    ('status=error', {'broken'}), ('status=deleting', set()), ('name=' + SECRET, None),
    ('name=other', set()), ('name~=ekri', None), ('name~=%25', set()), ('name~=_', set()),
    # Wild cards are escaped, and SQLite refuses patterns that are too long then.
    ('name~=' + '_' * 30_000, set()), ('name~=' + '%F0%9F%98%80' * 256, set()),
    ('name~=' + '%25' * 255, set()),
    ('description~=sek&status=available', {'backup', 'older'}),
    (f'volume_id={NOBODY}', set()), ('volume_id=no%20id', set()), ('status=%F0%9F%98%80', set())])
def test_filters(world, query, kinds):
    kinds = {'backup', 'older', 'broken', 'busy'} if kinds is None else kinds
    found = world.ask('mark', f'/v3/backups?{query}').json['backups']
    assert {each['id'] for each in found} == {world.ids[kind] for kind in kinds}


def test_a_count_is_of_all_that_fit(world):
    answer = world.ask('mark', '/v3/backups?limit=1&with_count=True&status=available')
    assert answer.json['count'] == 2 and len(answer.json['backups']) == 1
    before = world.ask('mark', '/v3/backups?with_count=True', OpenStack_API_Version='volume 3.44')
    assert before.status_int == 400
    ignored = world.ask('mark', '/v3/backups?with_count=True', OpenStack_API_Version='volume 3.30')
    assert ignored.status_int == 200 and 'count' not in ignored.json


@pytest.mark.parametrize('query', [
    f'marker={NOBODY}', 'marker=', 'marker=%00', 'limit=-1', 'sort=colour', 'sort_dir=sideways',
    'status~=x', 'other=1'])
def test_lists_that_make_no_sense(world, query):
    for path in ('backups', 'backups/detail', 'volumes', 'snapshots'):
        assert fault(world.ask('mark', f'/v3/{path}?{query}'), 'badRequest')


def test_a_marker_of_another_project_is_none(world):
    other = world.ids['other-backup']
    assert world.ask('mark', f'/v3/backups?marker={other}').status_int == 400


def test_sorting_by_name_came_with_a_version(world):
    for version, status in (('3.36', 400), ('3.37', 200)):
        answer = world.ask('mark', '/v3/backups?sort=name:asc',
                           OpenStack_API_Version=f'volume {version}')
        assert answer.status_int == status


def test_only_admins_see_other_projects_and_only_when_they_ask(world):
    own = {'backup', 'older', 'broken', 'busy'}
    for user, query, size in (('ada', '', 4), ('ada', '?all_tenants=1', 8),
                              ('ada', f'?all_tenants=1&project_id={BETA}', 4),
                              ('mark', '?all_tenants=1', 4), ('bob', '', 4)):
        assert len(world.ask(user, f'/v3/backups/detail{query}').json['backups']) == size
    found = world.ask('mark', '/v3/backups?all_tenants=1').json['backups']
    assert {each['id'] for each in found} == {world.ids[kind] for kind in own}


# One backup

def test_all_that_is_known_of_a_backup(world):
    answer = world.ask('ada', f'/v3/backups/{world.ids["backup"]}')
    backup = answer.json['backup']
    assert (backup['status'], backup['size'], backup['name'], backup['volume_id']) == (
        'available', 1, SECRET, world.ids['volume'])
    assert TIME.fullmatch(backup['created_at']) and TIME.fullmatch(backup['data_timestamp'])
    assert backup['metadata'] == {'for': SECRET}
    assert backup['os-backup-project-attr:project_id'] == ALPHA
    assert backup['user_id'] == f'{SECRET}-user'
    assert backup['is_incremental'] is backup['has_dependent_backups'] is False
    listed = world.ask('ada', '/v3/backups/detail?status=available&limit=1').json['backups'][0]
    assert listed == backup


@pytest.mark.parametrize('version, names', [
    ('3.0', set()), ('3.17', set()), ('3.18', {'os-backup-project-attr:project_id'}),
    ('3.43', {'os-backup-project-attr:project_id', 'metadata'}),
    ('3.56', {'os-backup-project-attr:project_id', 'metadata', 'user_id'}),
    ('3.64', {'os-backup-project-attr:project_id', 'metadata', 'user_id', 'encryption_key_id'})])
def test_members_come_with_their_versions(world, version, names):
    world.catalog.update_backup(world.ids['backup'], encryption_key_id=NOBODY)
    path = f'/v3/backups/{world.ids["backup"]}'
    answer = world.ask('ada', path, OpenStack_API_Version=f'volume {version}')
    later = {'os-backup-project-attr:project_id', 'metadata', 'user_id', 'encryption_key_id'}
    assert set(answer.json['backup']) & later == names
    assert answer.headers['OpenStack-API-Version'] == f'volume {version}'
    member = world.ask('mark', path, OpenStack_API_Version=f'volume {version}')
    of_admins = {'os-backup-project-attr:project_id', 'user_id'}
    assert set(member.json['backup']) & later == names - of_admins


def test_an_id_may_be_spelled_differently(world):
    given = world.ids['backup']
    for spelled in (given.upper(), given.replace('-', '')):
        assert world.ask('mark', f'/v3/backups/{spelled}').json['backup']['id'] == given


@pytest.mark.parametrize('id', HOSTILE)
def test_what_is_not_there_is_not_found(world, id):
    for method, path, body in (
            ('GET', '', None), ('GET', '/export_record', None), ('DELETE', '', None),
            ('PUT', '', {'backup': {}}), ('POST', '/restore', {'restore': {}}),
            ('POST', '/action', {'os-force_delete': {}})):
        answer = world.ask('ada', f'/v3/{ALPHA}/backups/{id}{path}', method, body)
        assert fault(answer, 'itemNotFound'), (method, path)
    for kind in ('volumes', 'snapshots'):
        assert fault(world.ask('ada', f'/v3/{kind}/{id}'), 'itemNotFound')


def test_what_another_project_has_is_not_found(world):
    for method, path in (('GET', ''), ('DELETE', ''), ('GET', '/export_record')):
        for user in ('bob', 'mark'):
            theirs = world.ids['backup' if user == 'bob' else 'other-backup']
            answer = world.ask(user, f'/v3/backups/{theirs}{path}', method)
            assert fault(answer, 'itemNotFound') == f"there is no backup '{theirs}'"
    assert world.ask('ada', f'/v3/backups/{world.ids["other-backup"]}').status_int == 200


def test_dependent_backups_are_told(world):
    child = Backup(volume_id=world.ids['volume'], project_id=ALPHA, status=Status.AVAILABLE,
                   parent_id=world.ids['older'], format='1.0.0', backend='local',
                   created_at=utcnow())
    world.catalog.add_backup(child)
    listed = world.ask('mark', '/v3/backups/detail').json['backups']
    flags = {each['id']: each['has_dependent_backups'] for each in listed}
    assert flags == dict.fromkeys(flags, False) | {world.ids['older']: True}
    shown = world.ask('mark', f'/v3/backups/{world.ids["older"]}').json['backup']
    assert shown['has_dependent_backups'] is True
    assert world.ask('mark', f'/v3/backups/{child.id}').json['backup']['is_incremental'] is True
    refused = world.ask('mark', f'/v3/backups/{world.ids["older"]}', 'DELETE')
    assert child.id in fault(refused, 'badRequest')


# Create

def test_a_backup_is_accepted_and_a_worker_can_find_it(world):
    answer = world.ask('mark', f'/v3/{ALPHA}/backups', 'POST', {'backup': {
        'volume_id': world.ids['idle'].upper(), 'name': ' nightly ', 'description': ' d ',
        'container': 'shelf', 'metadata': {'a': 'b'}, 'force': 'no', 'incremental': False,
        'availability_zone': 'az1', 'snapshot_id': None}})
    assert answer.status_int == 202
    made = world.catalog.backup_of(answer.json['backup']['id'], ALPHA)
    assert answer.json == {'backup': {'id': made.id, 'name': 'nightly', 'links': [
        {'rel': 'self', 'href': f'http://localhost/v3/{ALPHA}/backups/{made.id}'},
        {'rel': 'bookmark', 'href': f'http://localhost/{ALPHA}/backups/{made.id}'}]}}
    assert (made.status, made.volume_id, made.display_description, made.metadata, made.user_id) == (
        'creating', world.ids['idle'], 'd', {'a': 'b'}, 'mark')
    assert (made.container, made.availability_zone) == (f'{ALPHA}/shelf', 'az1')
    job, = world.catalog.jobs(backup_id=made.id)
    assert (job.kind, job.state, job.project_id, job.source) == ('create', 'queued', ALPHA, 'files')
    assert job.request_id == answer.headers['x-openstack-request-id']


def ask_for(world, user='mark', **members):
    return world.ask(user, '/v3/backups', 'POST',
                     {'backup': {'volume_id': world.ids['idle'], **members}})


def test_what_cannot_be_backed_up(world):
    assert fault(ask_for(world, volume_id=NOBODY), 'itemNotFound')
    assert fault(ask_for(world, volume_id=world.ids['other-idle']), 'itemNotFound')
    assert fault(ask_for(world, snapshot_id=NOBODY), 'itemNotFound')
    assert fault(ask_for(world, snapshot_id=world.ids['snapshot']), 'badRequest')
    assert fault(ask_for(world, volume_id=world.ids['volume']), 'badRequest'), 'it is being so'
    assert fault(ask_for(world, incremental=True), 'badRequest') == (
        'No backups available to do an incremental backup.')
    for name in ('../other', '.', 'a/../b', '/x', 'a\\b', 'ü'):
        assert fault(ask_for(world, container=name), 'badRequest'), name
    assert len(world.catalog.jobs()) == 2, 'those that were there before'


def test_a_name_of_nothing_is_kept(world):
    for name, kept in (('', ''), (None, None), ('  ', '')):
        answer = ask_for(world, name=name)
        assert answer.json['backup']['name'] == kept
        world.catalog.reset(answer.json['backup']['id'], Status.ERROR)


def test_quotas(make_world):
    world = make_world('[quota]\nbackups = 5\n')
    assert ask_for(world).status_int == 202
    world.catalog.reset(world.ask('mark', '/v3/backups').json['backups'][0]['id'], Status.ERROR)
    answer = ask_for(world)
    assert answer.json == {'overLimit': {
        'code': 413, 'retryAfter': '0', 'message':
        'BackupLimitExceeded: Maximum number of backups allowed (5) exceeded'}}
    assert answer.headers['Retry-After'] == '0'
    large = make_world('[quota]\ngigabytes = 4\n')
    assert fault(ask_for(large), 'overLimit').startswith('VolumeBackupSizeExceedsAvailableQuota: ')


def test_no_worker_no_job(world):
    service, = world.catalog.services()
    world.catalog.set_service(service.id, True, 'resting')
    record = {'backup-record': exported(world, NOBODY)}
    for answer in (ask_for(world), world.ask('mark', f'/v3/backups/{world.ids["backup"]}/restore',
                                             'POST', {'restore': {}}),
                   world.ask('ada', '/v3/backups/import_record', 'POST', record)):
        assert fault(answer, 'serviceUnavailable') == 'Service cinder-backup could not be found.'
    assert world.ask('mark', f'/v3/backups/{world.ids["broken"]}', 'DELETE').status_int == 202
    world.catalog.set_service(service.id, False)
    assert ask_for(world).status_int == 202


def test_what_was_accepted_is_given_to_the_workers(world, monkeypatch):
    given = []
    monkeypatch.setattr(Dispatcher, 'submit', lambda self, job: given.append(job.id))
    made = ask_for(world).json['backup']['id']
    backup, new = world.ids['backup'], named('imported')
    for path, method, body, of in (
            ('/volumes', 'POST', {'volume': {'backup_id': backup}}, backup),
            (f'/backups/{world.ids["older"]}/restore', 'POST', {'restore': {}}, world.ids['older']),
            (f'/backups/{world.ids["broken"]}', 'DELETE', None, world.ids['broken']),
            (f'/backups/{made}/action', 'POST', {'os-force_delete': None}, made),
            ('/backups/import_record', 'POST', {'backup-record': exported(world, new)}, new)):
        answer = world.ask('ada', f'/v3{path}', method, body)
        assert answer.status_int in (201, 202), answer.text
        assert given.pop() == world.catalog.jobs(backup_id=of)[0].id
    assert len(given) == 1, 'the create'


# Change

def test_an_update_changes_what_it_names(world):
    path = f'/v3/backups/{world.ids["backup"]}'
    answer = world.ask('mark', path, 'PUT', {'backup': {'name': ' new '}})
    assert answer.status_int == 200
    assert answer.json['backup']['name'] == 'new' and set(answer.json['backup']) == {
        'id', 'name', 'links'}
    found = world.catalog.backup_of(world.ids['backup'], None)
    assert (found.display_description, found.metadata) == (SECRET, {'for': SECRET})
    world.ask('mark', path, 'PUT', {'backup': {'description': None, 'metadata': {'x': 'y'}}})
    found = world.catalog.backup_of(world.ids['backup'], None)
    assert (found.display_name, found.display_description, found.metadata) == (
        'new', None, {'x': 'y'})
    assert world.ask('mark', path, 'PUT', {'backup': {}}).status_int == 200
    world.ask('mark', path, 'PUT', {'backup': {'metadata': {}}})
    assert world.catalog.backup_of(world.ids['backup'], None).metadata == {}


def test_metadata_has_a_bound_in_sum(world):
    metadata = {f'k{number}': '\N{GRINNING FACE}' * 255 for number in range(6)}
    for path, method, wanted in (
            ('/v3/backups', 'POST', {'volume_id': world.ids['idle'], 'name': 'full'}),
            (f'/v3/backups/{world.ids["backup"]}', 'PUT', {})):
        answer = world.ask('mark', path, method, {'backup': wanted | {'metadata': metadata}})
        assert answer.status_int == 400
        assert '16384' in answer.json['badRequest']['message']
    assert world.catalog.backup_page(None, filters={'display_name': 'full'}).items == []
    assert world.catalog.backup_of(world.ids['backup'], None).metadata == {'for': SECRET}


def test_who_listens_is_told_of_a_reset(make_world, monkeypatch):
    told: queue.Queue = queue.Queue()
    monkeypatch.setattr(notifications, '_connect', lambda configuration, publisher: (
        lambda context, event, payload, priority: told.put((publisher, event, payload['status']))))
    world = make_world('[oslo_messaging_notifications]\ndriver = log\n[service]\nhost = here\n')
    world.ask('ada', f'/v3/backups/{world.ids["busy"]}/action', 'POST',
              {'os-reset_status': {'status': 'error'}})
    assert told.get(timeout=30) == ('backup.here', 'backup.reset_status.start', 'creating')
    assert told.get(timeout=30) == ('backup.here', 'backup.reset_status.end', 'error')


def test_an_update_came_with_a_version(world):
    path = f'/v3/backups/{world.ids["backup"]}'
    for version, status in (('3.8', 404), ('3.9', 200)):
        answer = world.ask('mark', path, 'PUT', {'backup': {'name': 'n'}},
                           OpenStack_API_Version=f'volume {version}')
        assert answer.status_int == status


@pytest.mark.parametrize('status, code', [
    ('error', 202), ('Available', 202), ('creating', 400), ('deleted', 400), ('', 400),
    ('error\n', 400), (None, 400), (7, 400)])
def test_reset_status(world, status, code):
    answer = world.ask('ada', f'/v3/backups/{world.ids["busy"]}/action', 'POST',
                       {'os-reset_status': {'status': status}})
    assert answer.status_int == code
    if code == 202:
        assert answer.body == b'' and 'Content-Type' not in answer.headers
        assert world.catalog.backup_of(world.ids['busy'], None).status == status.lower()
        assert world.catalog.job(world.ids['job']).state == JobState.CANCELLED
    else:
        assert fault(answer, 'badRequest')
        assert world.catalog.job(world.ids['job']).state == JobState.RUNNING


@pytest.mark.parametrize('body', [{}, [], None, 'x', {'os-force_delete': {}, 'more': 1},
                                  {'os-nothing': None}, {'os-reset_status': {}},
                                  {'os-reset_status': {'status': 'error', 'more': 1}}])
def test_actions_that_make_no_sense(world, body):
    path = f'/v3/backups/{world.ids["backup"]}/action'
    request = json.dumps(body).encode()
    from webob import Request
    token = base64.b64encode(b'ada:wonder').decode()
    answer = Request.blank(path, method='POST', body=request, content_type='application/json',
                           headers={'Authorization': f'Basic {token}'}
                           ).get_response(world.application)
    assert fault(answer, 'badRequest')


def test_delete(world):
    answer = world.ask('mark', f'/v3/backups/{world.ids["broken"]}', 'DELETE')
    assert (answer.status_int, answer.body) == (202, b'')
    assert world.catalog.backup_of(world.ids['broken'], None).status == 'deleting'
    again = world.ask('mark', f'/v3/backups/{world.ids["broken"]}', 'DELETE')
    assert 'deleting, not available or error' in fault(again, 'badRequest')
    busy = f'/v3/backups/{world.ids["busy"]}'
    assert fault(world.ask('mark', busy, 'DELETE'), 'badRequest')
    for body in ({'os-force_delete': None}, {'os-force_delete': {}}):
        assert world.ask('ada', busy + '/action', 'POST', body).status_int == 202
    assert world.catalog.job(world.ids['job']).state == JobState.CANCELLED


def test_what_another_installation_wrote_is_not_deleted(world):
    broken = world.ids['broken']
    world.catalog.update_backup(broken, owner='elsewhere')
    assert fault(world.ask('mark', f'/v3/backups/{broken}', 'DELETE'), 'badRequest') == (
        f'backup {broken} was written by elsewhere, so it is read-only here until it is '
        'adopted, and cannot be deleted')


# Restore

def test_restores(world):
    path = f'/v3/backups/{world.ids["backup"]}/restore'
    answer = world.ask('mark', path, 'POST', {'restore': {'volume_id': world.ids['idle']}})
    assert answer.status_int == 202
    assert answer.json == {'restore': {
        'backup_id': world.ids['backup'], 'volume_id': world.ids['idle'],
        'volume_name': f'{SECRET} idle'}}
    assert world.ask('mark', f'/v3/volumes/{world.ids["idle"]}').json['volume']['status'] == (
        'restoring-backup')
    assert world.ask('mark', f'/v3/backups/{world.ids["backup"]}').json['backup']['status'] == (
        'restoring')
    busy = world.ask('mark', path, 'POST', {'restore': {'volume_id': world.ids['idle']}})
    assert fault(busy, 'badRequest')


@pytest.mark.parametrize('body, name', [
    ({'restore': {'name': ' fresh '}}, 'fresh'), ({'restore': {}}, None), ({'restore': None}, None),
    ({'restore': {'volume_id': None, 'name': None}}, None), ({'restore': {'name': ''}}, None)])
def test_restores_to_new_volumes(world, body, name):
    backup = world.ids['backup']
    answer = world.ask('mark', f'/v3/backups/{backup}/restore', 'POST', body)
    assert answer.status_int == 202, answer.text
    made = answer.json['restore']
    assert made['volume_name'] == (name or f'restore_backup_{backup}')
    volume = world.ask('mark', f'/v3/volumes/{made["volume_id"]}').json['volume']
    assert (volume['status'], volume['size'], volume['name']) == (
        'creating', 1, made['volume_name'])


def test_what_cannot_be_restored(world):
    path = f'/v3/backups/{world.ids["backup"]}/restore'
    for body, name in (({'volume_id': NOBODY}, 'itemNotFound'),
                       ({'volume_id': world.ids['other-idle']}, 'itemNotFound'),
                       ({'volume_id': 'x'}, 'badRequest'), ({'other': 1}, 'badRequest')):
        assert fault(world.ask('mark', path, 'POST', {'restore': body}), name)
    broken = f'/v3/backups/{world.ids["broken"]}/restore'
    assert fault(world.ask('mark', broken, 'POST', {'restore': {}}), 'badRequest')


def test_a_volume_from_a_backup(world):
    body = {'volume': {'backup_id': world.ids['backup'], 'name': 'copy', 'size': None,
                       'volume_type': None, 'multiattach': False}}
    answer = world.ask('mark', '/v3/volumes', 'POST', body)
    assert answer.status_int == 202
    assert (answer.json['volume']['name'], answer.json['volume']['status']) == ('copy', 'creating')
    job = world.catalog.jobs(backup_id=world.ids['backup'])[0]
    assert (job.kind, job.volume_id) == ('restore', answer.json['volume']['id'])
    for wrong in ({'size': 1}, {'backup_id': world.ids['backup'], 'size': 7},
                  {'backup_id': world.ids['backup'], 'imageRef': 'x'}):
        assert fault(world.ask('mark', '/v3/volumes', 'POST', {'volume': wrong}), 'badRequest')
    before = world.ask('mark', '/v3/volumes', 'POST', body, OpenStack_API_Version='volume 3.46')
    assert before.status_int == 404


def test_what_a_new_volume_cannot_keep_is_refused(world):
    """Clients send what their user left out, as null."""
    wanted = {'backup_id': world.ids['backup'], 'description': None, 'availability_zone': None}
    for name in ('description', 'availability_zone'):
        answer = world.ask('mark', '/v3/volumes', 'POST', {'volume': wanted | {name: 'nova'}})
        assert name in fault(answer, 'badRequest')
    assert len(world.catalog.jobs()) == 2, 'those that were there before'
    wanted['description'] = ''
    assert world.ask('mark', '/v3/volumes', 'POST', {'volume': wanted}).status_int == 202


# Records

def exported(world, new_id):
    """The record of a backup, with another id."""
    answer = world.ask('ada', f'/v3/backups/{world.ids["backup"]}/export_record',
                       OpenStack_API_Version='volume 3.0')
    assert answer.status_int == 200
    record = answer.json['backup-record']
    fields = json.loads(base64.b64decode(record['backup_url']))
    url = base64.b64encode(json.dumps(fields | {'id': new_id}).encode()).decode()
    return {'backup_service': record['backup_service'], 'backup_url': url}


def test_records_in_and_out(world):
    new = named('imported')
    answer = world.ask('ada', '/v3/backups/import_record', 'POST',
                       {'backup-record': exported(world, new)})
    assert answer.status_int == 201
    assert answer.json['backup']['id'] == new
    assert world.catalog.backup_of(new, ALPHA).status == 'creating'
    assert world.catalog.jobs(backup_id=new)[0].kind == 'import'


def test_records_that_are_refused(world):
    known = {'backup-record': exported(world, world.ids['older'])}
    assert fault(world.ask('ada', '/v3/backups/import_record', 'POST', known), 'badRequest')
    record = exported(world, NOBODY)
    for url in ('', 'no base64!', base64.b64encode(b'[]').decode(), base64.b64encode(
            b'{"id": "../../x"}').decode(), base64.b64encode(b'[' * 50_000).decode()):
        body = {'backup-record': record | {'backup_url': url}}
        assert fault(world.ask('ada', '/v3/backups/import_record', 'POST', body), 'badRequest')
    broken = world.ask('ada', f'/v3/backups/{world.ids["broken"]}/export_record')
    assert fault(broken, 'badRequest')


def test_what_openstacksdk_sends_for_an_import_is_explained(world):
    answer = world.ask('ada', f'/v3/{ALPHA}/backups/export_record', 'POST', {
        'backup_service': 'x', 'backup_url': 'backups/export_record'})
    message = fault(answer, 'badMethod')
    assert 'openstacksdk' in message and 'cinder backup-import' in message


def test_a_key_of_metadata_is_no_resource(world):
    """`openstack volume backup unset --property` deletes all the others."""
    path = f'/v3/{ALPHA}/backups/{world.ids["backup"]}/metadata/for'
    assert fault(world.ask('mark', path, 'DELETE'), 'itemNotFound')
