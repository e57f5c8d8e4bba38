"""The command line against a service: what it does, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import pytest

from tools.servers.installation import Installation
from tools.servers.parts import HOST, free_port

COMMAND = str(Path(sys.executable).with_name('backup-framework'))
USAGE, NOT_FOUND, REFUSED, STORE, CORRUPT = 2, 3, 4, 5, 6

pytestmark = pytest.mark.parametrize('service', ['sqlite'], indirect=True)


class Remote:
    """Runs the command as a user of the service."""

    def __init__(self, service: Installation, folder: Path) -> None:
        self._folder = folder
        self.endpoint = f'{service.endpoint}/demo'
        self.env = {**os.environ, 'HOME': str(folder), 'OS_USERNAME': 'root',
                    'OS_PASSWORD': 'root'}

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, '--endpoint', self.endpoint, *map(str, words)], text=True, timeout=90,
            capture_output=True, env=self.env, cwd=self._folder, stdin=subprocess.DEVNULL)

    def json(self, *words: object) -> Any:
        done = self.run(*words, '-f', 'json')
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def refused(self, code: int, *words: object) -> str:
        done = self.run(*words)
        assert done.returncode == code and done.stderr.startswith('Error: '), done
        assert 'Traceback' not in done.stderr
        return done.stderr


@pytest.fixture
def remote(service: Installation, tmp_path: Path) -> Iterator[Remote]:
    yield Remote(service, tmp_path)
    # Quotas are of the project, and the service is shared.
    for backup in service.rest.get('/backups')['backups']:
        service.rest.delete(f'/backups/{backup["id"]}')
        service.wait_gone(backup['id'])


def test_a_backup_and_back(service: Installation, remote: Remote) -> None:
    volume = service.make_volume('remote')
    made = remote.json('backup', 'create', 'remote', '--name', 'one', '--property', 'k=v')
    assert made['status'] == 'available' and made['volume'] == 'remote'
    assert made['volume_id'] == volume and made['metadata'] == {'k': 'v'}
    data = service.change('remote')
    second = remote.json('backup', 'create', volume, '--incremental', '--name', 'two')
    assert second['is_incremental'] and not made['is_incremental']
    assert [each['id'] for each in remote.json('backup', 'list')] == [second['id'], made['id']]
    assert remote.json('backup', 'show', 'two')['id'] == second['id']
    assert [each['name'] for each in remote.json('volume', 'list')].count('remote') == 1
    row, = remote.json('backup', 'verify', 'two')
    assert (row['id'], row['result'], row['how']) == (second['id'], 'good', 'full')
    restored = remote.json('backup', 'restore', 'two', 'fresh')
    assert restored['backup_id'] == second['id']
    assert (service.volumes / 'fresh').read_bytes() == data
    assert 'overwrites' in remote.refused(REFUSED, 'backup', 'restore', 'one', 'remote')
    remote.json('backup', 'restore', '--latest', 'remote', 'remote', '--force')
    assert (service.volumes / 'remote').read_bytes() == data
    changed = remote.json('backup', 'set', 'one', '--name', 'first', '--property', 'a=b')
    assert changed['name'] == 'first' and changed['metadata'] == {'k': 'v', 'a': 'b'}
    assert remote.json('backup', 'unset', 'first', '--property', 'k')['metadata'] == {'a': 'b'}
    outcomes = remote.json('backup', 'delete', 'first', second['id'])
    assert [each['outcome'] for each in outcomes] == ['deleted', 'deleted']
    assert remote.json('backup', 'list') == []
    (service.volumes / 'fresh').unlink()


def test_damage_has_its_code(service: Installation, remote: Remote) -> None:
    service.make_volume('damaged')
    made = remote.json('backup', 'create', 'damaged')
    for file in (service.store / made['container']).glob('*-00001'):
        file.write_bytes(bytes(file.stat().st_size))
    done = remote.run('backup', 'verify', made['id'], '-f', 'json')
    assert done.returncode == CORRUPT, done.stderr
    row, = json.loads(done.stdout)
    assert row['result'] == 'bad' and '-00001' in row['problems'][0]['problem']
    assert 'failed' in remote.refused(STORE, 'backup', 'restore', made['id'], 'nothing')


def test_what_is_refused(service: Installation, remote: Remote) -> None:
    for code, told, words in (
            (NOT_FOUND, 'no backup nosuch', ['backup', 'show', 'nosuch']),
            (NOT_FOUND, 'no volume nosuch', ['backup', 'create', 'nosuch']),
            (USAGE, 'local catalog', ['catalog', 'check']),
            (USAGE, 'local catalog', ['backup', 'prune']),
            (USAGE, 'parent works on a local catalog',
             ['backup', 'create', 'x', '--parent', 'y']),
            (USAGE, 'delta works on a local catalog', ['backup', 'restore', 'x', 'y', '--delta']),
            (USAGE, 'by backend', ['backup', 'list', '--backend', 'shelf'])):
        assert told in remote.refused(code, *words), words
    remote.env['OS_PASSWORD'] = 'canary'
    message = remote.refused(STORE, 'backup', 'list')
    assert '401' in message and 'canary' not in message
    remote.endpoint = f'http://{HOST}:{free_port()}/v3/demo'
    assert 'cannot be' in remote.refused(STORE, 'backup', 'list')


def test_a_cloud_of_a_file(service: Installation, remote: Remote, tmp_path: Path) -> None:
    (tmp_path / 'clouds.yaml').write_text(json.dumps({'clouds': {'here': {
        'auth_type': 'http_basic', 'auth': {
            'endpoint': remote.endpoint, 'username': 'root', 'password': 'root'}}}}))
    done = subprocess.run([COMMAND, 'volume', 'list', '--os-cloud', 'here', '-f', 'json'],
                          text=True, capture_output=True, timeout=60, cwd=tmp_path,
                          env={**os.environ, 'HOME': str(tmp_path)})
    assert done.returncode == 0 and isinstance(json.loads(done.stdout), list), done.stderr
    done = subprocess.run([COMMAND, 'volume', 'list', '--os-cloud', 'away'], text=True,
                          capture_output=True, timeout=60, cwd=tmp_path)
    assert done.returncode == USAGE and 'away' in done.stderr
