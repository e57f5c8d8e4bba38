"""Connections of boards that make no sense, and what is said of them."""

from __future__ import annotations

import sys
import threading

import pytest

from backup_framework.conf.service import JobboardConfig
from backup_framework.exceptions import ConfigurationError
from backup_framework.service.boards import Board


def board(connection: str) -> Board:
    return Board(JobboardConfig(connection, 'jobs', 30))


@pytest.mark.parametrize('connection', [
    'amqp://host', 'etcd://', 'etcd:host', 'redis://one,two', 'redis://host:port',
    'redis://host/many', 'etcd://host?timeout=soon', 'nothing'])
def test_what_makes_no_sense_is_refused(connection: str):
    with pytest.raises(ConfigurationError, match=r'^\[jobboard\] connection cannot be used'):
        board(connection)


@pytest.mark.parametrize('connection', [
    'redis://user:hush@one,two', 'redis://user:hush@host:port', 'amqp://user:hush@host'])
def test_no_password_is_shown(connection: str):
    with pytest.raises(ConfigurationError) as caught:
        board(connection)
    assert 'hush' not in str(caught.value)


@pytest.mark.parametrize('connection', [
    'etcd://host', 'etcd://[::1]:2379,two:23790?protocol=https&ca_cert=x', 'redis://host',
    'redis://user:pa%2Fss@host:6379/3', 'redis://host?sentinel=main&sentinel_fallbacks=a:1,b:2'])
def test_nothing_is_connected_to_at_first(connection: str):
    assert not board(connection).connected


@pytest.mark.parametrize('kind, module', [
    ('etcd', 'etcd3gw'), ('redis', 'redis'), ('zookeeper', 'kazoo')])
def test_a_missing_client_is_named(monkeypatch: pytest.MonkeyPatch, kind: str, module: str):
    monkeypatch.delitem(sys.modules, f'backup_framework.service.board_{kind}', raising=False)
    for name in [name for name in sys.modules if name.split('.')[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=rf'pip install "backup-framework\[{kind}\]"'):
        board(f'{kind}://host')


class Etcd:
    """What a board asks of its client, in memory."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}

    def get(self, key: str) -> list[object]:
        return [self.values[key]] if key in self.values else []

    def get_prefix(self, prefix: str) -> list[tuple[object, dict[str, str]]]:
        return [(value, {'key': key}) for key, value in self.values.items()
                if key.startswith(prefix)]

    def create(self, key: str, value: object) -> bool:
        return self.values.setdefault(key, value) is value

    def replace(self, key: str, old: object, new: object) -> bool:
        self.values[key] = new
        return True


@pytest.mark.parametrize('beside', ['post', 'postings'])
def test_threads_of_a_worker_do_not_shorten_what_another_one_sees(
        monkeypatch: pytest.MonkeyPatch, beside: str):
    """On etcd they share what the library remembers."""
    found = board('etcd://host')._board
    found._client = Etcd()
    for _ in range(3):
        found.post('create', details={})
    fresh, go_on = found._ensure_fresh, threading.Event()
    other = threading.Thread(target=found.postings if beside == 'postings' else (
        lambda: found.post('create', details={})))

    def in_between() -> None:
        if threading.current_thread() is other:
            go_on.wait(10)
            fresh()
        else:
            fresh()
            other.start()
            other.join(0.1)

    with monkeypatch.context() as patched:
        patched.setattr(found, '_ensure_fresh', in_between)
        assert len(found.postings()) == 3
        go_on.set()
        other.join(10)
    assert len(found.postings()) == (4 if beside == 'post' else 3)
