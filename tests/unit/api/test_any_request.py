"""Whatever a request holds, the answer is not an error of ours."""

from __future__ import annotations

import base64
import io
import json

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
import webob

from backup_framework.api import routes
from tests.unit.api.world import PASSWORD, VERSION, named

ADMIN = 'Basic ' + base64.b64encode(f'ada:{PASSWORD}'.encode()).decode()
IDS = [named(kind) for kind in ('backup', 'broken', 'busy', 'volume', 'idle', 'snapshot', 'job')]

latin = st.text(st.characters(max_codepoint=255), max_size=20)
ids = st.sampled_from(IDS) | latin
paths = st.tuples(
    st.sampled_from(['', '/v3', '/v3/alpha', '/v3/beta']),
    st.sampled_from([route.path for route in (*routes.ROOT, *routes.ROUTES)]), ids
).map(lambda parts: parts[0] + parts[1].replace('{id}', parts[2])) | latin.map('/'.__add__)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(IDS),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([
        'backup', 'restore', 'volume', 'backup-record', 'os-reset_status', 'os-force_delete',
        'backup-framework:verify', 'volume_id', 'backup_id', 'name', 'metadata', 'status', 'host',
        'binary', 'incremental', 'backup_url', 'backup_service', 'container', '\x00', 'é']), inner,
        max_size=3), max_leaves=8)
bodies = values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
queries = latin | st.dictionaries(st.sampled_from([
    'limit', 'marker', 'offset', 'sort', 'name', 'name~', 'status', 'all_tenants', 'project_id',
    'with_count', 'state', 'volume_id', 'bootable']), st.sampled_from(IDS) | latin, max_size=3
).map(lambda query: '&'.join(f'{name}={value}' for name, value in query.items()))


@settings(max_examples=250, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.sampled_from(['GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH', 'x']), paths,
       queries, bodies, st.dictionaries(st.sampled_from([
           'HTTP_HOST', 'HTTP_OPENSTACK_API_VERSION', 'CONTENT_TYPE', 'HTTP_ACCEPT',
           'HTTP_X_PROJECT_ID', 'HTTP_ORIGIN', 'HTTP_AUTHORIZATION', 'HTTP_X_AUTH_TOKEN']), latin))
@example('GET', '/v3/backups', 'limit=1', b'', {'HTTP_HOST': 'a:b:c'})
@example('GET', '/v3/backups', 'limit=1', b'', {'HTTP_HOST': '[::1'})
@example('GET', '/', '', b'', {'HTTP_HOST': '\xff\xfe'})
def test_no_request_is_an_error_of_ours(world, method, path, query, body, headers):
    request = webob.Request.blank('/', method=method, headers=VERSION | {'Authorization': ADMIN})
    request.environ |= {'PATH_INFO': path, 'QUERY_STRING': query,
                        'wsgi.input': io.BytesIO(body), 'CONTENT_LENGTH': str(len(body)),
                        'CONTENT_TYPE': 'application/json'} | headers
    answer = request.get_response(world.application)
    assert answer.status_int < 500 or answer.status_int == 503, answer.text
    if answer.body and answer.content_type == 'application/json':
        assert json.loads(answer.body.decode())
