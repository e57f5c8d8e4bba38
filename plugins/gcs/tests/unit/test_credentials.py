"""A service account's key against a token server on loopback: the real library signs and renews."""

from collections.abc import Iterator
import contextlib
import http.server
import json
import threading

from backup_framework_gcs.driver import GCSBackupDriver
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
import pytest

from backup_framework import exceptions

ACCOUNT = 'backup@project.iam.gserviceaccount.com'


class Both(http.server.ThreadingHTTPServer):
    """Gives tokens token-1, token-2, …; takes the last `valid` and answers with an empty listing.

    :ivar refusal: what the token endpoint answers instead of a token.
    """

    def __init__(self):
        super().__init__(('127.0.0.1', 0), Handler)
        self.given = 0
        self.valid = 'Bearer token-1'
        self.refusal: tuple[int, dict[str, str]] | None = None
        self.seen: list[str] = []

    @property
    def url(self):
        return f'http://127.0.0.1:{self.server_port}'


class Handler(http.server.BaseHTTPRequestHandler):

    server: Both
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        """Nothing on stderr."""

    def do_POST(self):
        self.rfile.read(int(self.headers['Content-Length']))
        if self.server.refusal:
            self._answer(*self.server.refusal)
            return
        self.server.given += 1
        self._answer(200, {'access_token': f'token-{self.server.given}', 'expires_in': 3600})

    def do_GET(self):
        self.server.seen.append(self.headers['Authorization'])
        if self.headers['Authorization'] == self.server.valid:
            self._answer(200, {})
        else:
            self._answer(401, {'error': {'message': 'Invalid Credentials'}})

    def _answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def both() -> Iterator[Both]:
    with Both() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope='module')
def key() -> str:
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()).decode()


@pytest.fixture
def driver(both, key, tmp_path, monkeypatch) -> Iterator[GCSBackupDriver]:
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    file = tmp_path / 'key.json'
    file.write_text(json.dumps({
        'type': 'service_account', 'project_id': 'project', 'private_key': key,
        'private_key_id': '1', 'client_email': ACCOUNT, 'token_uri': f'{both.url}/token'}))
    with contextlib.closing(GCSBackupDriver.make(
            bucket='shelf', endpoint=both.url, credentials_file=str(file), timeout=10.0)) as driver:
        yield driver


def test_one_token_serves_many_requests(both, driver):
    for _ in range(3):
        driver.check_for_setup_error()
    assert both.seen == ['Bearer token-1'] * 3


def test_a_token_that_was_revoked_is_renewed(both, driver):
    driver.check_for_setup_error()
    both.valid = 'Bearer token-2'
    driver.check_for_setup_error()
    assert both.seen == ['Bearer token-1', 'Bearer token-1', 'Bearer token-2']


def test_an_account_that_is_not_accepted_is_named(both, driver):
    both.valid = 'Bearer of nothing'
    with pytest.raises(exceptions.PermissionDenied, match=ACCOUNT) as raised:
        driver.check_for_setup_error()
    assert 'token-' not in str(raised.value)


def test_a_key_that_was_disabled(both, driver):
    both.refusal = (400, {'error': 'invalid_grant', 'error_description': 'Invalid JWT Signature.'})
    with pytest.raises(exceptions.PermissionDenied, match='Invalid JWT Signature') as raised:
        driver.check_for_setup_error()
    assert ACCOUNT in str(raised.value)


def test_the_token_server_is_down(both, driver, monkeypatch):
    monkeypatch.setattr('time.sleep', lambda seconds: None)  # google-auth's own pauses
    both.refusal = (503, {'error': 'unavailable'})
    with pytest.raises(exceptions.StoreUnavailable, match='token could not be had'):
        driver.check_for_setup_error()
