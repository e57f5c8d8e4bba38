"""Who a request comes from: none, http_basic and keystone."""

from __future__ import annotations

import base64
from collections.abc import Iterator
import contextlib
import http.server
import json
import logging
import threading

import bcrypt
from oslo_config import cfg
import pytest
import webob
import webob.exc

from backup_framework import conf
from backup_framework.api import auth, policy, users, watching
from backup_framework.exceptions import ConfigurationError


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


@pytest.fixture
def make(tmp_path):
    """Gives `make(text of the files' [api] and what follows)`: an authenticator."""
    def made(text: str) -> auth.Authenticator:
        file = tmp_path / 'main.conf'
        file.write_text(f'[DEFAULT]\nstate_path = {tmp_path}\n[api]\n{text}')
        configuration = conf.load([str(file)], oslo=cfg.ConfigOpts())
        return auth.make(configuration, policy.Rules(configuration.oslo))
    return made


def asking(**headers: str) -> webob.Request:
    return webob.Request.blank('/v3/backups', headers={
        name.replace('_', '-'): value for name, value in headers.items()})


# none

@pytest.mark.parametrize('headers, url_project, user, project', [
    ({}, None, 'anonymous', 'default'),
    ({}, 'demo', 'anonymous', 'demo'),
    ({'X_Auth_Token': 'notused'}, 'demo', 'anonymous', 'demo'),
    ({'X_Auth_Token': 'u:demo'}, None, 'u', 'demo'),
    ({'X_Auth_Token': 'u:demo', 'X_User_Id': 'u', 'X_Project_Id': 'demo'}, 'demo', 'u', 'demo'),
    ({'X_Project_Id': 'other'}, None, 'anonymous', 'other'),
])
def test_nobody_is_admin_of_what_they_name(make, headers, url_project, user, project):
    context = make('')(asking(**headers), url_project)
    assert (context.user_id, context.project_id) == (user, project)
    assert context.roles == ['admin', 'member', 'reader']
    assert context.is_admin and context.scope is None


def test_the_default_project_is_an_option(make):
    assert make('default_project = ours')(asking(), None).project_id == 'ours'


def test_a_project_in_a_header_must_be_that_of_the_url(make):
    with pytest.raises(webob.exc.HTTPBadRequest, match='Malformed request url'):
        make('')(asking(X_Project_Id='other'), 'demo')


@pytest.mark.parametrize('project', ['..', '.a', 'a/b', 'a b', 'x' * 256, 'a\n', 'ä'])
def test_a_project_is_a_name_that_a_store_may_see(make, project):
    with pytest.raises(webob.exc.HTTPBadRequest, match='255 letters'):
        make('')(asking(), project)


@pytest.mark.parametrize('host, warned', [
    ('127.0.0.1', False), ('::1', False), ('localhost', False), ('0.0.0.0', True), ('::', True),
    ('backup.example.org', True)])
def test_whoever_listens_to_everybody_is_warned(make, caplog, host, warned):
    make(f'host = {host}')
    assert ('delete every volume' in caplog.text) == warned


# http_basic

USERS = '[alice]\ndemo = member\nother = reader\n\n[operator]\nadmin = Admin\n'


@pytest.fixture
def basic(make, tmp_path):
    passwords = tmp_path / 'htpasswd'
    passwords.write_text(f'# people\n\nalice:{hashed("wonder")}\noperator:{hashed("röt:er")}\n'
                         f'bob:{hashed("b" * 72)}\n')
    passwords.chmod(0o600)
    (tmp_path / 'users').write_text(USERS)
    return make(f'auth_strategy = http_basic\nhttp_basic_auth_user_file = {passwords}\n'
                f'users_file = {tmp_path}/users\n')


def signed(name: str, password: str, **headers: str) -> webob.Request:
    token = base64.b64encode(f'{name}:{password}'.encode()).decode()
    return asking(Authorization=f'Basic {token}', **headers)


@pytest.mark.parametrize('name, password, url_project, project, roles', [
    ('alice', 'wonder', None, 'demo', ['member', 'reader']),
    ('alice', 'wonder', 'demo', 'demo', ['member', 'reader']),
    ('alice', 'wonder', 'other', 'other', ['reader']),
    ('operator', 'röt:er', None, 'admin', ['admin', 'member', 'reader']),
    ('bob', 'b' * 72, None, 'bob', ['member', 'reader']),
    ('bob', 'b' * 72 + 'more', 'bob', 'bob', ['member', 'reader']),  # as htpasswd has it
])
def test_users_have_projects_and_roles(basic, name, password, url_project, project, roles):
    context = basic(signed(name, password), url_project)
    assert (context.user_id, context.project_id, context.roles) == (name, project, roles)
    assert context.is_admin == ('admin' in roles)
    assert context.scope == (None if context.is_admin else project)


def test_a_header_names_one_of_several_projects(basic):
    assert basic(signed('alice', 'wonder', X_Project_Id='other'), None).project_id == 'other'


@pytest.mark.parametrize('url_project, header', [
    ('admin', None), ('alice', None), (None, 'admin'), ('demo-2', 'demo'), ('Demo', None)])
def test_the_project_of_somebody_else_is_refused(basic, url_project, header):
    named = {'X_Project_Id': header} if header else {}
    with pytest.raises(webob.exc.HTTPBadRequest, match='Malformed request url'):
        basic(signed('alice', 'wonder', **named), url_project)


@pytest.mark.parametrize('value', [
    None, '', 'Basic', 'Basic !!!', 'Basic YWxpY2U=', 'Bearer YWxpY2U6d29uZGVy', 'Basic /w==',
    'Basic ' + base64.b64encode(b'alice:').decode(),
    'Basic ' + base64.b64encode(b'alice:Wonder').decode(),
    'Basic ' + base64.b64encode(b'alice:wonder ').decode(),
    'Basic ' + base64.b64encode(b'alic:wonder').decode(),
    'Basic ' + base64.b64encode(b':wonder').decode(),
    'Basic ' + base64.b64encode(b'# people:').decode(),
    'Basic ' + base64.b64encode(b'alice\0:wonder').decode(),
])
def test_nobody_else_gets_in(basic, value):
    with pytest.raises(webob.exc.HTTPUnauthorized) as refused:
        basic(asking(**({'Authorization': value} if value is not None else {})), 'demo')
    assert refused.value.headers['WWW-Authenticate'].startswith('Basic realm=')


def test_headers_that_only_keystone_sets_do_not_count(basic):
    request = signed('alice', 'wonder', X_Roles='admin', X_User_Id='operator',
                     X_Identity_Status='Confirmed')
    assert basic(request, 'demo').roles == ['member', 'reader']


def test_slow_checks_are_remembered(basic, monkeypatch):
    checks = []
    real = bcrypt.checkpw
    monkeypatch.setattr(bcrypt, 'checkpw', lambda *given: checks.append(given) or real(*given))
    for _ in range(3):
        basic(signed('alice', 'wonder'), None)
    assert len(checks) == 1
    for _ in range(2):
        with pytest.raises(webob.exc.HTTPUnauthorized):
            basic(signed('alice', 'wrong'), None)
    assert len(checks) == 3, 'what was wrong is not remembered'
    basic(signed('operator', 'röt:er'), None)
    basic(signed('alice', 'wonder'), None)
    assert len(checks) == 4, 'one does not push the other out'


def test_what_is_remembered_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(users, 'REMEMBERED', 2)
    passwords = tmp_path / 'htpasswd'
    passwords.write_text(''.join(f'u{n}:{hashed(str(n))}\n' for n in range(5)))
    known = users.Users(str(passwords), None)
    for n in range(5):
        assert known.projects(f'u{n}', str(n).encode()) == {f'u{n}': ['member']}
        assert len(known._right) <= 2


def test_a_name_that_nobody_has_takes_as_long(basic, monkeypatch):
    checks = []
    monkeypatch.setattr(bcrypt, 'checkpw', lambda *given: checks.append(given))
    with pytest.raises(webob.exc.HTTPUnauthorized):
        basic(signed('mallory', 'x'), None)
    assert len(checks) == 1


def test_files_that_change_are_read_again(basic, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(watching, 'LOOK_EVERY', 0)
    assert basic(signed('alice', 'wonder'), 'demo')
    (tmp_path / 'htpasswd').write_text(f'alice:{hashed("new")}\n')
    with pytest.raises(webob.exc.HTTPUnauthorized):
        basic(signed('alice', 'wonder'), 'demo')
    (tmp_path / 'users').write_text('[alice]\nmoved = admin\n')
    assert basic(signed('alice', 'new'), 'moved').is_admin
    (tmp_path / 'users').write_text('[alice\n')
    assert basic(signed('alice', 'new'), 'moved').is_admin, 'a wrong file changes nothing'
    assert 'does not count' in caplog.text


@pytest.mark.parametrize('text, said', [
    ('alice:$apr1$x$y', 'htpasswd -B'),
    ('alice:{SHA}x', 'htpasswd -B'),
    ('alice:plain', 'line 1'),
    ('alice:$2y$05$short', 'htpasswd -B'),
    # What looks like bcrypt's, and bcrypt cannot check: a cost or a salt that it never writes.
    *((f'alice:$2y${cost}${"." * 53}', 'htpasswd -B') for cost in ('03', '32', '99')),
    (f'alice:$2y$05${"A" * 53}', 'htpasswd -B'),
    (f'alice:{hashed("a")}\nalice:{hashed("b")}', 'line 2'),
])
def test_only_what_bcrypt_keeps_is_a_password(tmp_path, text, said):
    (tmp_path / 'htpasswd').write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        users.read_passwords(str(tmp_path / 'htpasswd'))


@pytest.mark.parametrize('text', [
    '[alice]\n', '[alice]\nde mo = member\n', '[alice]\n.. = member\n', 'demo = member\n',
    '[alice]\ndemo = member\n[alice]\ndemo = admin\n', '[alice]\ndemo = member\ndemo = admin\n',
    '[alice]\nnonsense\n'])
def test_users_that_make_no_sense_are_refused(tmp_path, text):
    (tmp_path / 'users').write_text(text)
    with pytest.raises(ConfigurationError, match='users'):
        users.read_projects(str(tmp_path / 'users'))


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    (tmp_path / 'htpasswd').write_text(f'alice:{hashed("a")}\n', encoding='utf-8-sig')
    assert list(users.read_passwords(str(tmp_path / 'htpasswd'))) == ['alice']
    (tmp_path / 'users').write_text('[alice]\ndemo = member\n', encoding='utf-8-sig')
    assert users.read_projects(str(tmp_path / 'users')) == {'alice': {'demo': ['member']}}


@pytest.mark.parametrize('salt', ['.', 'O', 'e', 'u'])
def test_what_bcrypt_can_check_is_taken(tmp_path, salt):
    stored = f'$2y$04${"/" * 21}{salt}{"z" * 31}'
    bcrypt.checkpw(b'x', stored.encode())
    (tmp_path / 'htpasswd').write_text(f'alice:{stored}\nbob:{stored.replace("$04$", "$31$")}\n')
    assert len(users.read_passwords(str(tmp_path / 'htpasswd'))) == 2


def test_names_keep_their_case(tmp_path):
    (tmp_path / 'users').write_text('[Alice]\nDemo = member , reader,\n[DEFAULT]\nx = member\n')
    assert users.read_projects(str(tmp_path / 'users')) == {
        'Alice': {'Demo': ['member', 'reader']}, 'DEFAULT': {'x': ['member']}}


def test_a_file_that_everybody_can_read_is_told(tmp_path, caplog):
    (tmp_path / 'users').write_text(USERS)
    (tmp_path / 'users').chmod(0o644)
    users.read_projects(str(tmp_path / 'users'))
    (tmp_path / 'htpasswd').write_text(f'alice:{hashed("a")}\n')
    (tmp_path / 'htpasswd').chmod(0o640)
    users.read_passwords(str(tmp_path / 'htpasswd'))
    assert not caplog.text
    (tmp_path / 'htpasswd').chmod(0o644)
    users.read_passwords(str(tmp_path / 'htpasswd'))
    assert 'can be read by every user' in caplog.text


def test_http_basic_needs_its_file(make, tmp_path):
    with pytest.raises(ConfigurationError, match='needs http_basic_auth_user_file'):
        make('auth_strategy = http_basic')
    with pytest.raises(ConfigurationError, match='missing'):
        make(f'auth_strategy = http_basic\nhttp_basic_auth_user_file = {tmp_path}/missing')


# keystone

SERVICE_TOKEN = 'service-token'
TOKENS = {
    'member-token': {'user': 'u1', 'project': 'p1', 'roles': ['member', 'reader']},
    'admin-token': {'user': 'u2', 'project': 'p2', 'roles': ['admin', 'member', 'reader']},
    'unscoped-token': {'user': 'u3', 'project': None, 'roles': []},
    SERVICE_TOKEN: {'user': 'svc', 'project': 'service', 'roles': ['service']},
}


class Keystone(http.server.BaseHTTPRequestHandler):
    """The three answers of Keystone that its middleware asks for."""

    catalog = True

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == '/v3/auth/tokens':
            return self._token(TOKENS.get(self.headers['X-Subject-Token'] or ''))
        endpoint = f'http://127.0.0.1:{self.server.server_address[1]}/v3/'
        version = {'id': 'v3.14', 'status': 'stable', 'updated': '2020-04-07T00:00:00Z',
                   'links': [{'rel': 'self', 'href': endpoint}], 'media-types': []}
        self._say(200, {'version': version})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers['Content-Length']))
        self._token(TOKENS[SERVICE_TOKEN], 201)

    def _token(self, known: dict | None, status: int = 200) -> None:
        if known is None:
            return self._say(404, {'error': {'code': 404, 'message': 'no such token'}})
        domain = {'id': 'default', 'name': 'Default'}
        endpoint = f'http://127.0.0.1:{self.server.server_address[1]}/v3/'
        token = {'methods': ['password'], 'expires_at': '2999-01-01T00:00:00.000000Z',
                 'issued_at': '2020-01-01T00:00:00.000000Z', 'audit_ids': ['x'],
                 'user': {'id': known['user'], 'name': known['user'], 'domain': domain},
                 'catalog': [{'type': 'identity', 'id': 'x', 'name': 'keystone', 'endpoints': [
                     {'id': side, 'interface': side, 'url': endpoint, 'region': 'r',
                      'region_id': 'r'} for side in ('public', 'internal', 'admin')]}]
                 if self.catalog else []}
        if known['project']:
            token |= {'project': {'id': known['project'], 'name': 'n', 'domain': domain},
                      'roles': [{'id': role, 'name': role} for role in known['roles']]}
        self._say(status, {'token': token})

    def _say(self, status: int, document: dict) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.send_header('X-Subject-Token', SERVICE_TOKEN)
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def keystone_server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Keystone)
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.05})
    thread.start()
    try:
        yield f'http://127.0.0.1:{server.server_address[1]}'
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


OF_KEYSTONE = """auth_strategy = keystone
[keystone_authtoken]
www_authenticate_uri = {url}
auth_url = {url}
auth_type = password
username = svc
password = secret
project_name = service
user_domain_id = default
project_domain_id = default
http_connect_timeout = 5
http_request_max_retries = 0
"""


@pytest.fixture
def keystone(make):
    with keystone_server() as url:
        yield make(OF_KEYSTONE.format(url=url))


def test_keystone_says_who_asks(keystone):
    context = keystone(asking(X_Auth_Token='member-token'), 'p1')
    assert (context.user_id, context.project_id) == ('u1', 'p1')
    assert context.roles == ['member', 'reader'] and context.scope == 'p1'
    assert keystone(asking(X_Auth_Token='admin-token'), None).scope is None


@pytest.mark.parametrize('headers', [
    {}, {'X_Auth_Token': 'nonsense'}, {'X_Auth_Token': 'unscoped-token'},
    {'X_Identity_Status': 'Confirmed', 'X_User_Id': 'u2', 'X_Project_Id': 'p2',
     'X_Roles': 'admin'}])
def test_keystone_must_know_the_token(keystone, headers):
    with pytest.raises(webob.exc.HTTPUnauthorized):
        keystone(asking(**headers), 'p2')


def test_who_lacks_a_token_hears_where_to_get_one(keystone):
    with pytest.raises(webob.exc.HTTPUnauthorized) as refused:
        keystone(asking(), 'p1')
    assert refused.value.headers['WWW-Authenticate'].startswith('Keystone uri=')


def test_headers_of_a_caller_do_not_add_to_a_token(keystone):
    request = asking(X_Auth_Token='member-token', X_Roles='admin', X_Project_Id='p2')
    context = keystone(request, 'p1')
    assert (context.project_id, context.is_admin) == ('p1', False)


def test_a_token_is_for_one_project(keystone):
    with pytest.raises(webob.exc.HTTPBadRequest, match='Malformed'):
        keystone(asking(X_Auth_Token='member-token'), 'p2')


def test_a_keystone_that_is_away_is_no_fault_of_the_caller(make, caplog):
    caplog.set_level(logging.CRITICAL)
    with keystone_server() as url:
        pass
    with pytest.raises(webob.exc.HTTPServiceUnavailable):
        make(OF_KEYSTONE.format(url=url))(asking(X_Auth_Token='member-token'), 'p1')


def test_a_keystone_that_does_not_know_where_it_is_is_no_fault_either(make, monkeypatch, caplog):
    monkeypatch.setattr(Keystone, 'catalog', False)
    with keystone_server() as url, pytest.raises(webob.exc.HTTPServiceUnavailable):
        make(OF_KEYSTONE.format(url=url))(asking(X_Auth_Token='member-token'), 'p1')
    assert 'Keystone cannot be asked' in caplog.text


def test_keystone_needs_its_section(make):
    with pytest.raises(ConfigurationError, match='www_authenticate_uri'):
        make('auth_strategy = keystone')
