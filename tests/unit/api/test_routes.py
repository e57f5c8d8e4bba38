"""How a path finds its function."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import pytest
import webob.exc

from backup_framework.api import backups, routes, versions, volumes

ID = '11111111-2222-3333-4444-555555555555'


@pytest.mark.parametrize('method, path, call, project, arguments', [
    ('GET', '/', versions.every, None, {}), ('GET', '/v3', versions.current, None, {}),
    ('GET', '/v3/', versions.current, None, {}),
    ('GET', '/v3/backups', backups.index, None, {}),
    ('GET', '/v3/demo/backups', backups.index, 'demo', {}),
    ('HEAD', '/v3/demo/backups', backups.index, 'demo', {}),
    ('GET', '/v3/backups/detail', backups.detail, None, {}),
    ('GET', f'/v3/demo/backups/{ID}', backups.show, 'demo', {'id': ID}),
    ('GET', '/v3/backups/a name', backups.show, None, {'id': 'a name'}),
    ('GET', '/v3/backups/import_record', backups.show, None, {'id': 'import_record'}),
    ('POST', '/v3/backups/import_record', backups.import_record, None, {}),
    ('POST', f'/v3/backups/{ID}/restore', backups.restore, None, {'id': ID}),
    ('DELETE', '/v3/p-1_2.3/backups/detail', backups.delete, 'p-1_2.3', {'id': 'detail'}),
    # Projects that are called like collections.
    ('GET', '/v3/backups/backups', backups.show, None, {'id': 'backups'}),
    ('GET', '/v3/backups/backups/detail', backups.detail, 'backups', {}),
    ('GET', '/v3/volumes/snapshots/x', volumes.show_snapshot, 'volumes', {'id': 'x'}),
])
def test_paths(method, path, call, project, arguments):
    route, found, given_to = routes.find(method, path)
    assert (route.call, found, given_to) == (call, project, arguments)


@pytest.mark.parametrize('path', [
    '', '/v', '/v4', '/v3/nothing', '/v3/demo', '/v3/demo/', '/v3/backups/', '/v3//backups',
    f'/v3/backups/{ID}/', f'/v3/backups/{ID}/metadata', f'/v3/backups/{ID}/metadata/key',
    '/v3/../backups', '/v3/.hidden/backups', '/v3/-x/backups', '/v3/a b/backups', '/v3/ä/backups',
    '/v3/p/q/backups', '/v3/' + 'p' * 256 + '/backups', '/v3/p\n/backups', '/v2/backups',
    '/v3backups', '/backups'])
def test_paths_that_are_not_there(path):
    with pytest.raises(webob.exc.HTTPNotFound):
        routes.find('GET', path)


@pytest.mark.parametrize('method, path, allowed', [
    ('POST', '/', 'GET'), ('PATCH', '/v3/demo/backups', 'GET, POST'),
    ('PUT', '/v3/backups', 'GET, POST'), ('TRACE', f'/v3/backups/{ID}', 'DELETE, GET, PUT'),
    ('DELETE', '/v3/backups/import_record', None), ('GET', f'/v3/backups/{ID}/action', 'POST')])
def test_methods_that_are_not_there(method, path, allowed):
    if allowed is None:
        assert routes.find(method, path)[0].call is backups.delete
        return
    with pytest.raises(webob.exc.HTTPMethodNotAllowed) as refused:
        routes.find(method, path)
    assert refused.value.headers['Allow'] == allowed


@given(st.sampled_from(['GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'X']), st.lists(
    st.sampled_from(['v3', 'backups', 'detail', 'demo', ID, 'action', '', '..', 'ä', '\0'])))
def test_every_path_has_an_answer(method, parts):
    try:
        route, project, _ = routes.find(method, '/' + '/'.join(parts))
    except (webob.exc.HTTPNotFound, webob.exc.HTTPMethodNotAllowed):
        return
    assert callable(route.call) and project not in ('..', 'ä', '')


def test_no_two_routes_are_the_same():
    for table in (routes.ROOT, routes.ROUTES):
        known = [(route.method, route.path) for route in table]
        assert len(known) == len(set(known))


def test_every_route_is_found_by_its_own_path():
    for prefix, table in (('', routes.ROOT), ('/v3', routes.ROUTES), ('/v3/demo', routes.ROUTES)):
        for route in table:
            path = prefix + route.path.replace('{id}', ID)
            assert routes.find(route.method, path)[0] is route
