"""Credentials: from a file, from the host, none; and nothing of them in a message or a log."""

from __future__ import annotations

import json
import logging
import socket

from backup_framework_gcs.driver import GCSBackupDriver
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
import pytest

from backup_framework import exceptions
from plugins.gcs.tests import misbehaving
from plugins.gcs.tests.conftest import BUCKET
from plugins.gcs.tests.objects import put, read, write

ACCOUNT = 'backup@project.iam.gserviceaccount.com'
TOKEN = 'ya29.secret-of-the-token'


@pytest.fixture(scope='session')
def key() -> str:
    """The private key of a service account."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                              serialization.NoEncryption()).decode()


@pytest.fixture
def account(server, key, tmp_path):
    """A service account's file, with tokens from our own server."""
    server.storage.token = TOKEN
    file = tmp_path / 'account.json'
    file.write_text(json.dumps({
        'type': 'service_account', 'project_id': 'ours', 'private_key_id': 'id',
        'private_key': key, 'client_email': ACCOUNT, 'client_id': '1',
        'token_uri': f'{server.url}/token', 'universe_domain': 'googleapis.com'}))
    return file


@pytest.fixture
def make(server, make_driver):
    """Drivers with credentials."""
    def made(**options) -> GCSBackupDriver:
        return make_driver(server.url, **{'anonymous': False} | options)
    return made


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch):
    """No connection leaves the host, whatever the libraries look for."""
    connect = socket.socket.connect

    def checked(self, address):
        if isinstance(address, tuple):
            assert address[0] in ('127.0.0.1', '::1', 'localhost'), f'a connection to {address}'
        return connect(self, address)

    monkeypatch.setattr(socket.socket, 'connect', checked)


# --- what works

def test_a_service_account(server, account, make):
    driver = make(credentials_file=str(account))
    put(driver, 'name', b'data')
    assert read(driver, 'name') == b'data'
    assert server.count('token') == 1, 'a token is used until it ends'
    assert {seen.headers['authorization'] for seen in server.of('insert|media')} == {
        f'Bearer {TOKEN}'}


def test_the_project_of_the_account_is_where_buckets_are_made(server, account, make):
    make(credentials_file=str(account), bucket='new').put_container('box')
    assert server.of('make-bucket')[0].query['project'] == 'ours'
    make(credentials_file=str(account), bucket='newer', project='theirs').put_container('box')
    assert server.of('make-bucket')[1].query['project'] == 'theirs'


def test_a_token_that_ended_is_renewed(server, account, make):
    driver = make(credentials_file=str(account))
    put(driver, 'name', b'data')
    server.storage.token = 'another'
    put(driver, 'other', b'more')
    assert server.count('token') == 2 and read(driver, 'other') == b'more'


def test_default_credentials_of_the_host(server, account, make, monkeypatch):
    monkeypatch.setenv('GOOGLE_APPLICATION_CREDENTIALS', str(account))
    driver = make()
    put(driver, 'name', b'data')
    assert read(driver, 'name') == b'data'


def test_an_anonymous_caller_sends_nothing(server, make_driver):
    driver = make_driver(server.url)
    write(driver, 'name', b'data')
    assert all('authorization' not in seen.headers for seen in server.seen)


@pytest.mark.parametrize('anonymous', [True, False])
def test_what_netrc_has_for_the_host_is_not_sent(request, server, make_driver, monkeypatch,
                                                 tmp_path, anonymous):
    netrc = tmp_path / 'netrc'
    netrc.write_text('default login somebody password of-another-service\n')
    monkeypatch.setenv('NETRC', str(netrc))
    file = None if anonymous else str(request.getfixturevalue('account'))
    write(make_driver(server.url, anonymous=anonymous, credentials_file=file), 'name', b'data')
    sent = server.of('insert')[0].headers.get('authorization')
    assert sent == (None if anonymous else f'Bearer {TOKEN}')


def test_nothing_is_read_or_asked_before_the_first_verb(server, make):
    make(credentials_file='/does/not/exist')
    assert server.count() == 0


# --- what does not

def broken(account, how: str) -> None:
    document = json.loads(account.read_text())
    texts = {
        'empty': '', 'no json': 'not json', 'a list': '[]',
        'deep': '[' * 100_000, 'no type': '{}',
        'another type': json.dumps(document | {'type': 'riddle'}),
        'no key': json.dumps({name: value for name, value in document.items()
                              if name != 'private_key'}),
        'no account': json.dumps({name: value for name, value in document.items()
                                  if name != 'client_email'}),
        'a damaged key': json.dumps(document | {
            'private_key': document['private_key'].replace('A', 'B', 20)}),
        'no pem': json.dumps(document | {'private_key': 'secret-of-the-key'}),
        'binary': '\x00\x01'}
    if how == 'missing':
        account.unlink()
    elif how == 'a directory':
        account.unlink()
        account.mkdir()
    elif how == 'not utf-8':
        account.write_bytes(b'\xff\xfe\xfd')
    else:
        account.write_text(texts[how])


@pytest.mark.parametrize('how', [
    'missing', 'a directory', 'empty', 'no json', 'a list', 'no type', 'another type', 'no key',
    'no account', 'a damaged key', 'no pem', 'binary', 'not utf-8', 'deep'])
def test_a_file_that_holds_no_credentials(server, account, key, make, how):
    broken(account, how)
    driver = make(credentials_file=str(account))
    with pytest.raises(exceptions.BackupFrameworkError) as caught:
        driver.check_for_setup_error()
    error = caught.value
    assert isinstance(error, exceptions.StoreError) and not error.retryable, repr(error)
    assert str(account) in str(error) and 'credentials_file' in str(error)
    assert 'secret-of-the-key' not in str(error) and key[100:140] not in str(error)
    assert server.count() == 0


def test_no_default_credentials(server, make):
    """Nor is a metadata server of the cloud looked for: the machine may be anywhere."""
    with pytest.raises(exceptions.PermissionDenied, match='credentials_file'):
        make().check_for_setup_error()
    assert server.count() == 0


@pytest.mark.parametrize('fault, error', [
    (misbehaving.status(503), exceptions.StoreUnavailable),
    (misbehaving.reset, exceptions.StoreUnavailable),
    (misbehaving.html(503), exceptions.StoreUnavailable),
    (misbehaving.instead(misbehaving.Response(400, {'Content-Type': 'application/json'}, (
        b'{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}'))),
     exceptions.PermissionDenied)], ids=['503', 'reset', 'html', 'refused'])
def test_a_token_that_cannot_be_had(server, account, make, monkeypatch, fault, error):
    monkeypatch.setattr('google.oauth2._client._exponential_backoff.time.sleep', lambda _: None)
    server.fail('token', fault, times=None)
    with pytest.raises(error, match=ACCOUNT):
        make(credentials_file=str(account), timeout=1.0).check_for_setup_error()
    assert server.count() == server.count('token') > 0


@pytest.mark.parametrize('size', [1000, 600_000])
def test_a_token_that_is_not_accepted(server, account, make, size):
    """Renewed once, because it may have ended; then refused, in words that say whose it is."""
    server.fail('token', misbehaving.with_json(access_token='of somebody else'), times=None)
    with pytest.raises(exceptions.PermissionDenied, match=ACCOUNT):
        write(make(credentials_file=str(account)), 'name', bytes(size))
    assert server.count('token') <= 3 and not server.storage.objects[BUCKET]


# --- secrets

def test_no_secret_is_told(server, account, make, key, caplog):
    caplog.set_level(logging.DEBUG)
    driver = make(credentials_file=str(account))
    put(driver, 'name', bytes(600_000))
    told = [repr(driver.settings), str(driver.settings.shown()), repr(driver)]
    for fault in (misbehaving.status(401), misbehaving.status(403), misbehaving.reset,
                  misbehaving.html(200)):
        server.fail('list', fault, times=None)
        for verb in (driver.check_for_setup_error,
                     lambda: list(driver.get_container_entries('box', ''))):
            with pytest.raises(exceptions.StoreError) as caught:
                verb()
            told += [str(caught.value), repr(caught.value)]
        server.behave()
    ours = [record.getMessage() for record in caplog.records
            if record.name.startswith(('backup_framework', 'urllib3', 'google'))]
    for text in told + ours:
        assert TOKEN not in text and key[100:140] not in text
        assert 'upload_id' not in text or not text.startswith('backup_framework')
