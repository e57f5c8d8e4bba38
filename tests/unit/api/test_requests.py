"""What queries and bodies may say, and what is said to those that make no sense."""

from __future__ import annotations

import json
import types
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from microversion_parse import Version
import pytest
import webob.exc

from backup_framework.api import requests, schemas
from backup_framework.api.requests import (
    Listable,
    Request,
    boolean,
    check_document,
    listing,
    query_of,
    read_document,
    same,
)

LISTABLE = Listable(
    sort_keys=same('created_at', 'status') | {'size': 'size_bytes'},
    filters=same('name', 'status'), admin_filters=same('project_id'), like=same('name'))
LATEST = Version(3, 71)
ID = '11111111-2222-3333-4444-555555555555'


def asking(query: str = '', *, version: Version = LATEST, admin: bool = False) -> Request:
    request = Request.blank('/v3/backups')
    request.query_string = query
    request.version = version
    request.context = types.SimpleNamespace(is_admin=admin, project_id='mine')
    request.configuration = types.SimpleNamespace(
        api=types.SimpleNamespace(osapi_max_limit=100))
    return request


def refused(work: Any, *arguments: Any) -> str:
    with pytest.raises(webob.exc.HTTPBadRequest) as caught:
        work(*arguments)
    return str(caught.value.detail)


# Lists

def test_without_a_query_the_newest_come_first_up_to_the_limit():
    assert listing(asking(), LISTABLE).arguments() == {
        'filters': {}, 'like': {}, 'sort': [('created_at', 'desc')], 'limit': 100, 'marker': None,
        'offset': 0, 'with_count': False}


def test_all_that_a_query_may_say():
    found = listing(asking(f'limit=7&marker={ID}&offset=3&with_count=True&name=n&status=error'
                           '&sort=size:asc,status&name~=part&all_tenants=1&project_id=p',
                           admin=True), LISTABLE)
    assert found == requests.Listing(
        filters={'name': 'n', 'status': 'error', 'project_id': 'p'}, like={'name': 'part'},
        sort=[('size_bytes', 'asc'), ('status', 'desc')], limit=7, marker=ID, offset=3,
        with_count=True, all_projects=True)


@pytest.mark.parametrize('query, limit', [
    ('limit=100', 100), ('limit=101', 100), ('limit=0', 0), ('limit=99999999999999999999', 100),
    ('limit=5&limit=6', 6)])
def test_a_limit_is_cut(query, limit):
    assert listing(asking(query), LISTABLE).limit == limit


@pytest.mark.parametrize('query, words', [
    ('limit=-1', 'limit param must be positive'), ('limit=x', 'limit param must be an integer'),
    ('limit=', 'must be an integer'), ('limit=' + '9' * 5000, 'must be an integer'),
    ('offset=-1', 'offset'), ('offset=2147483648', 'offset must be <= 2147483647'),
    ('offset=1.5', 'offset'), ('sort=name:asc', 'Sort key supplied is invalid: name'),
    ('sort=size:up', 'sort direction'), ('sort_key=created_at;drop', 'Sort key'),
    ('sort_dir=down', 'sort direction'), ('sort=', 'Sort key'),
    ('sort=size&sort_key=size', "cannot be used with the 'sort' parameter"),
    ('with_count=maybe', 'with_count'), ('name=%FF', 'not UTF-8'), ('name=%00', 'NUL'),
    ('colour=red&shape=round', 'Invalid filters colour,shape are found in query options.'),
    ('project_id=p', 'Invalid filters project_id'), ('status~=err', 'Invalid filters status~'),
    ('&'.join(f'a{n}=1' for n in range(101)), 'more than 100 parameters'),
])
def test_queries_that_make_no_sense(query, words):
    assert words in refused(listing, asking(query), LISTABLE)


def test_before_filters_were_strict_what_nobody_knows_is_ignored():
    before = asking('colour=red&name=n&name~=x', version=Version(3, 30))
    found = listing(before, LISTABLE)
    assert (found.filters, found.like) == ({'name': 'n'}, {})


def test_a_count_comes_with_its_version():
    assert not listing(asking('with_count=1', version=Version(3, 30)), LISTABLE).with_count
    assert listing(asking('with_count=1', version=Version(3, 45)), LISTABLE).with_count


def test_only_admins_ask_for_all_projects():
    assert not listing(asking('all_tenants=1'), LISTABLE).all_projects
    assert not listing(asking('all_tenants=False', admin=True), LISTABLE).all_projects
    assert 'all_tenants' in refused(listing, asking('all_tenants=many', admin=True), LISTABLE)


@given(st.dictionaries(st.sampled_from(
    ['limit', 'offset', 'marker', 'sort', 'sort_key', 'sort_dir', 'with_count', 'all_tenants',
     'name', 'name~', 'status', 'other']), st.text(max_size=30)), st.booleans())
def test_no_query_is_an_error_of_ours(query, admin):
    import urllib.parse
    text = urllib.parse.urlencode(query, errors='surrogatepass')
    try:
        found = listing(asking(text, admin=admin), LISTABLE)
    except webob.exc.HTTPBadRequest:
        return
    assert 0 <= found.limit <= 100 and 0 <= found.offset < 1 << 31
    assert set(dict(found.sort)) <= {'created_at', 'status', 'size_bytes'}


@given(st.binary(max_size=60))
def test_no_bytes_of_a_query_are_an_error_of_ours(data):
    request = asking()
    request.environ['QUERY_STRING'] = data.decode('latin-1')
    try:
        found = query_of(request)
    except webob.exc.HTTPBadRequest:
        return
    assert '\0' not in ''.join([*found, *found.values()])


# Bodies

def body(data: bytes, content_type: str | None = 'application/json') -> Request:
    request = Request.blank('/v3/backups', method='POST', body=data)
    request.content_type = content_type
    return request


@pytest.mark.parametrize('data', [
    b'', b'{', b'nothing', b'\xff', b'{"a": NaN}', b'[Infinity]', b'[' * 100_000, b'9' * 10_000,
    b'{"a": "\\u0000"}', b'{"a\\u0000": 1}', b'["\\ud800"]', '{"a": 1}'.encode('utf-16')])
def test_what_is_no_document(data):
    assert refused(read_document, body(data)).startswith('Malformed request body')


@pytest.mark.parametrize('content_type', ['text/plain', 'application/x-www-form-urlencoded',
                                          'application/xml'])
def test_what_says_that_it_is_something_else(content_type):
    with pytest.raises(webob.exc.HTTPUnsupportedMediaType):
        read_document(body(b'{}', content_type))


@pytest.mark.parametrize('content_type', [
    'application/json', 'application/json; charset=utf-8', None,
    'application/vnd.openstack.volume+json'])
def test_what_is_json(content_type):
    assert read_document(body('{"a": "ä😀"}'.encode(), content_type)) == {'a': 'ä😀'}


@given(st.binary(max_size=200))
def test_no_body_is_an_error_of_ours(data):
    try:
        read = read_document(body(data))
    except webob.exc.HTTPBadRequest:
        return
    assert read == json.loads(data)


CREATE = schemas.at(schemas.CREATE_BACKUP, LATEST)


def create(**members: Any) -> dict[str, Any]:
    return {'backup': {'volume_id': ID, **members}}


@pytest.mark.parametrize('document', [
    create(), create(name=None, description=None, container=None, snapshot_id=None, metadata=None,
                     availability_zone=None),
    create(name='', description='', force='yes', incremental='OFF'), create(name='n' * 255),
    create(force=True, incremental=False), create(metadata={}), create(snapshot_id=ID.upper()),
    create(metadata={'a-Z_0:. /': 'v' * 255, 'k' * 255: ''}), create(description='ä 😀 ümlaut'),
    {'backup': {'volume_id': ID.replace('-', '')}}])
def test_bodies_that_are_accepted(document):
    check_document(CREATE, document)


@pytest.mark.parametrize('document, words', [
    ({}, "'backup' is a required property"), ([], 'is not of type'), (None, 'is not of type'),
    ({'backup': {}}, "'volume_id' is a required property"), ({'backup': None}, 'backup'),
    ({**create(), 'other': 1}, "'other' was unexpected"), (create(colour=1), "'colour' was"),
    (create(volume_id='web'), 'backup.volume_id'), (create(volume_id=7), 'backup.volume_id'),
    (create(name='n' * 256), 'backup.name'), (create(name=7), 'backup.name'),
    (create(container='c' * 256), 'container'), (create(description='two\nlines'), 'description'),
    (create(description='a\x07b'), 'description'), (create(force='perhaps'), 'backup.force'),
    (create(force=1), 'backup.force'), (create(force=None), 'backup.force'),
    (create(metadata={'': 'v'}), 'metadata'), (create(metadata={'k' * 256: 'v'}), 'metadata'),
    (create(metadata={'ä': 'v'}), 'metadata'), (create(metadata={'k\n': 'v'}), 'metadata'),
    (create(metadata={'k': 'v' * 256}), 'metadata.k'), (create(metadata={'k': None}), 'metadata.k'),
    (create(metadata={'k': 1}), 'metadata.k'), (create(metadata=[]), 'metadata'),
    (create(snapshot_id=''), 'snapshot_id'), (create(availability_zone='z' * 256), 'zone')])
def test_bodies_that_are_not_accepted(document, words):
    message = refused(check_document, CREATE, document)
    assert words in message and len(message) < 800


def test_a_deep_body_is_an_error_of_the_client():
    for depth in (100, 700, 900, 950):
        deep = b'{"a":' * depth + b'{}' + b'}' * depth
        for data in (deep, b'{"backup": %s}' % deep, b'{"backup": {"name": %s}}' % deep):
            refused(lambda data=data: check_document(CREATE, read_document(body(data))))


@pytest.mark.parametrize('version, names', [
    ((3, 0), set()), ((3, 42), set()), ((3, 43), {'metadata'}),
    ((3, 51), {'metadata', 'availability_zone'})])
def test_what_may_be_said_of_a_new_backup_grows_with_the_version(version, names):
    schema = schemas.at(schemas.CREATE_BACKUP, Version(*version))
    for name in ('metadata', 'availability_zone'):
        problem = schemas.problem(schema, create(**{name: None}))
        assert (problem is None) == (name in names)


def test_an_update_takes_metadata_from_its_version_on():
    document = {'backup': {'metadata': {'a': 'b'}}}
    assert schemas.problem(schemas.at(schemas.UPDATE_BACKUP, Version(3, 42)), document)
    assert not schemas.problem(schemas.at(schemas.UPDATE_BACKUP, Version(3, 43)), document)
    assert schemas.problem(schemas.at(schemas.UPDATE_BACKUP, LATEST),
                           {'backup': {'metadata': None}})


@pytest.mark.parametrize('word, value', [
    (True, True), (False, False), ('yes', True), ('Off', False), (' TRUE ', True), ('n', False)])
def test_booleans_may_be_words(word, value):
    assert boolean(word, 'force') is value


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20)))
def test_every_boolean_that_a_body_may_have_is_one(value):
    if schemas.problem(schemas.BOOLEAN, value) is None:
        assert boolean(value, 'force') in (True, False)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(['backup', 'volume_id', 'name', 'metadata', 'force', 'x']), inner,
        max_size=4), max_leaves=12))
def test_no_document_is_an_error_of_ours(document):
    try:
        check_document(CREATE, document)
    except webob.exc.HTTPBadRequest:
        pass
