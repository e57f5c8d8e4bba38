"""A key that castellan fetches: with its own in-memory manager, and its Vault client."""

from __future__ import annotations

from collections.abc import Iterator
import http.server
import json
from pathlib import Path
import subprocess
import sys
import threading
from typing import Any

from castellan import key_manager
from castellan.common.objects import opaque_data, symmetric_key
from oslo_config import cfg
import pytest

from backup_framework import exceptions
from backup_framework.key_managers import castellan
from backup_framework.model import Settings

KEY, CONTEXT = bytes(range(32)), b'context'
TOKEN = 'canary-root-token-7f3a'


def manager(file: Path, key_id: str) -> castellan.Castellan:
    return castellan.Castellan(Settings(castellan.Castellan.OPTIONS, {
        'configuration_file': str(file), 'key_id': key_id}))


class StandIn(http.server.BaseHTTPRequestHandler):
    """As much of Vault's store of keys and values, version 2, as castellan asks for."""

    stored: dict[str, Any]
    status = 200

    def do_POST(self) -> None:
        length = int(self.headers['Content-Length'])
        self.stored[self.path] = json.loads(self.rfile.read(length))
        self._answer(self.status, {})

    def do_GET(self) -> None:
        if self.headers['X-Vault-Token'] != TOKEN:
            self._answer(403, {'errors': ['permission denied']})
        elif self.path not in self.stored:
            self._answer(404, {'errors': []})
        else:
            self._answer(self.status, {'data': self.stored[self.path]})

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def handler() -> type[StandIn]:
    return type('Handler', (StandIn,), {'stored': {}})


@pytest.fixture
def vault(handler: type[StandIn], tmp_path: Path) -> Iterator[Path]:
    """castellan's configuration for a stand-in for Vault."""
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    file = tmp_path / 'castellan.conf'
    file.write_text(f'[key_manager]\nbackend = vault\n[vault]\nroot_token_id = {TOKEN}\n'
                    f'vault_url = http://127.0.0.1:{server.server_port}\ntimeout = 10\n')
    yield file
    server.shutdown()
    server.server_close()
    thread.join()


def stored(file: Path, secret: Any) -> str:
    """Keep a secret with castellan itself; its id."""
    configuration = cfg.ConfigOpts()
    configuration(args=[], default_config_files=[str(file)], default_config_dirs=[])
    return str(key_manager.API(configuration).store(None, secret))


def aes(length: int = 256) -> symmetric_key.SymmetricKey:
    return symmetric_key.SymmetricKey('AES', length, bytes(range(length // 8)), 'main', 1)


def test_a_key_of_vault_wraps_and_unwraps(vault: Path) -> None:
    key_id = stored(vault, aes())
    wrapped = manager(vault, key_id).wrap(KEY, CONTEXT)
    assert manager(vault, key_id).unwrap(wrapped, CONTEXT) == KEY
    with pytest.raises(exceptions.KeyUnavailable, match='right key'):
        manager(vault, key_id).unwrap(wrapped, b'another')


def test_it_asks_once(vault: Path, handler: type[StandIn]) -> None:
    ours = manager(vault, stored(vault, aes()))
    wrapped = ours.wrap(KEY, CONTEXT)
    handler.stored.clear()
    assert ours.unwrap(wrapped, CONTEXT) == KEY


@pytest.mark.parametrize('status', [500, 503])
def test_a_server_that_fails_is_a_key_that_is_not_at_hand(
        status: int, vault: Path, handler: type[StandIn]) -> None:
    ours = manager(vault, stored(vault, aes()))
    handler.status = status
    with pytest.raises(exceptions.KeyUnavailable, match='cannot fetch the key'):
        ours.wrap(KEY, CONTEXT)
    handler.status = 200
    ours.wrap(KEY, CONTEXT)


def test_a_token_that_is_refused_is_told_and_not_shown(vault: Path) -> None:
    key_id = stored(vault, aes())
    vault.write_text(vault.read_text().replace(TOKEN, 'canary-other-token'))
    with pytest.raises(exceptions.KeyUnavailable, match='Forbidden') as caught:
        manager(vault, key_id).wrap(KEY, CONTEXT)
    assert 'canary' not in str(caught.value)


def test_a_key_that_is_not_there_is_named(vault: Path) -> None:
    with pytest.raises(exceptions.KeyUnavailable, match='the key nobody: ManagedObjectNotFound'):
        manager(vault, 'nobody').wrap(KEY, CONTEXT)


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    file = tmp_path / 'castellan.conf'
    file.write_text(f'[key_manager]\nbackend = vault\n[vault]\nroot_token_id = {TOKEN}\n'
                    'vault_url = http://127.0.0.1:9\ntimeout = 5\n')
    with pytest.raises(exceptions.KeyUnavailable, match='cannot fetch'):
        manager(file, 'main').wrap(KEY, CONTEXT)


@pytest.mark.parametrize('secret', [aes(128), opaque_data.OpaqueData(b'short', 'main', 1)],
                         ids=['128 bits', 'no key'])
def test_what_is_no_key_of_256_bits_is_refused(secret: Any, vault: Path) -> None:
    with pytest.raises(exceptions.ConfigurationError, match='256 bits'):
        manager(vault, stored(vault, secret)).wrap(KEY, CONTEXT)


def test_castellans_own_manager_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from castellan.tests.unit.key_manager import mock_key_manager
    kept = mock_key_manager.MockKeyManager()
    monkeypatch.setattr(mock_key_manager, 'MockKeyManager', lambda configuration: kept)
    file = tmp_path / 'castellan.conf'
    file.write_text('[key_manager]\n'
                    'backend = castellan.tests.unit.key_manager.mock_key_manager.MockKeyManager\n'
                    'auth_type = token\ntoken = canary\n')
    ours = manager(file, kept.store('somebody', aes()))
    assert ours.unwrap(ours.wrap(KEY, CONTEXT), CONTEXT) == KEY


@pytest.mark.parametrize('text', [None, 'root_token_id canary-in-a-line\n'])
def test_a_configuration_that_cannot_be_read_is_named_and_not_shown(
        text: str | None, tmp_path: Path) -> None:
    file = tmp_path / 'castellan.conf'
    if text is not None:
        file.write_text(text)
    with pytest.raises(exceptions.ConfigurationError, match='castellan.conf cannot be read') as e:
        manager(file, 'main').wrap(KEY, CONTEXT)
    assert 'canary' not in str(e.value)


def test_nothing_is_imported_before_a_key_is_needed_and_what_is_missing_is_named() -> None:
    code = ('import sys\n'
            'from backup_framework import exceptions, model\n'
            'from backup_framework.key_managers import castellan\n'
            'ours = castellan.Castellan(model.Settings(castellan.Castellan.OPTIONS,'
            ' {"key_id": "a", "configuration_file": "b"}))\n'
            'assert not {"castellan", "cryptography", "oslo_config"} & set(sys.modules)\n'
            'sys.modules["castellan"] = None\n'
            'try: ours.wrap(bytes(32), b"")\n'
            'except exceptions.ConfigurationError as error: print(error)')
    done = subprocess.run([sys.executable, '-c', code], text=True, capture_output=True, timeout=60)
    assert 'install backup-framework[castellan]' in done.stdout, done.stderr
