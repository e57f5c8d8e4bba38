"""Tokens of a real Keystone, which an environment of its own runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import dataclasses
from pathlib import Path
import subprocess
import tempfile
from typing import Any

from oslo_config import cfg
import pytest
import requests
import webob

from backup_framework import conf
from backup_framework.api import application
from backup_framework.catalog import Catalog
from backup_framework.model import Backup, Status
from tests import environments

VERSIONS = {'keystone': '30.0.0'}
PASSWORD = 'wonder'
SECONDS = 120
USERS = (('rita', 'alpha', 'reader'), ('mark', 'alpha', 'member'), ('bob', 'beta', 'member'))

pytestmark = pytest.mark.long


@dataclasses.dataclass
class Keystone:
    url: str
    projects: dict[str, str] = dataclasses.field(default_factory=dict)

    def token(self, user: str, project: str | None) -> str:
        domain = {'id': 'default'}
        auth: dict[str, Any] = {'identity': {'methods': ['password'], 'password': {'user': {
            'name': user, 'domain': domain, 'password': PASSWORD}}}}
        if project is not None:
            auth['scope'] = {'project': {'name': project, 'domain': domain}}
        answer = requests.post(f'{self.url}/auth/tokens', json={'auth': auth}, timeout=30)
        assert answer.status_code == 201, answer.text
        return answer.headers['X-Subject-Token']

    def ask(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        answer = requests.request(
            method, f'{self.url}/{path}', json=body or None, timeout=30,
            headers={'X-Auth-Token': self.token('admin', 'admin')})
        assert answer.ok, answer.text
        return answer.json() if answer.content else {}

    def tell_where_it_is(self) -> None:
        service = self.ask('POST', 'services', service={'type': 'identity', 'name': 'keystone'})
        for interface in ('public', 'internal'):
            self.ask('POST', 'endpoints', endpoint={
                'service_id': service['service']['id'], 'interface': interface, 'url': self.url})

    def add(self, user: str, project: str, role: str) -> None:
        if project not in self.projects:
            made = self.ask('POST', 'projects', project={'name': project, 'domain_id': 'default'})
            self.projects[project] = made['project']['id']
        made = self.ask('POST', 'users', user={
            'name': user, 'password': PASSWORD, 'domain_id': 'default'})
        [found] = self.ask('GET', f'roles?name={role}')['roles']
        self.ask('PUT', f'projects/{self.projects[project]}/users/{made["user"]["id"]}/roles/'
                        f'{found["id"]}')


@pytest.fixture(scope='module')
def keystone(require_part: Callable[[str, str], None]) -> Iterator[Keystone]:
    try:
        place = environments.find_or_build('BF_KEYSTONE_VENV', 'keystone', VERSIONS)
    except (environments.Missing, OSError) as error:
        require_part('keystone', str(error))
    script = Path(__file__).with_name('keystone_host.py')
    with tempfile.TemporaryDirectory(prefix='bf-keystone-') as folder:
        with subprocess.Popen(
                [str(place / 'bin' / 'python'), '-W', 'ignore', str(script), folder, PASSWORD],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                text=True) as process:
            try:
                assert process.stdout
                port = process.stdout.readline().strip()
                assert port, 'Keystone did not start'
                made = Keystone(f'http://127.0.0.1:{port}/v3')
                made.tell_where_it_is()
                for user, project, role in USERS:
                    made.add(user, project, role)
                yield made
            finally:
                process.communicate(timeout=SECONDS)


@pytest.fixture
def ask(keystone: Keystone, tmp_path: Path) -> Iterator[Callable[..., webob.Response]]:
    """Asks an application that knows one backup, of alpha, with somebody's token."""
    file = tmp_path / 'main.conf'
    file.write_text(
        f'[DEFAULT]\nstate_path = {tmp_path}\n[api]\nauth_strategy = keystone\n'
        f'[keystone_authtoken]\nwww_authenticate_uri = {keystone.url}\nauth_url = {keystone.url}\n'
        f'auth_type = password\nusername = admin\npassword = {PASSWORD}\nproject_name = admin\n'
        'user_domain_id = default\nproject_domain_id = default\n'
        'service_token_roles_required = true\n')
    configuration = conf.load([str(file)], oslo=cfg.ConfigOpts())
    catalog = Catalog(configuration.connection, configuration.state_path)
    catalog.add_backup(Backup(
        'b' * 8, volume_id='v', status=Status.AVAILABLE, project_id=keystone.projects['alpha']))
    made = application.make(configuration, catalog)

    def get(path: str, token: str | None) -> webob.Response:
        headers = {} if token is None else {'X-Auth-Token': token}
        return webob.Request.blank(path, headers=headers).get_response(made)
    yield get
    catalog.close()


def test_projects_and_roles_are_those_of_the_token(keystone: Keystone,
                                                   ask: Callable[..., webob.Response]) -> None:
    alpha = keystone.projects['alpha']
    rita, mark, bob = (keystone.token(user, project) for user, project in (
        ('rita', 'alpha'), ('mark', 'alpha'), ('bob', 'beta')))
    admin = keystone.token('admin', 'admin')
    for token in (rita, mark):
        assert len(ask(f'/v3/{alpha}/backups', token).json['backups']) == 1
        assert ask('/v3/os-services', token).status_int == 403
    assert ask('/v3/backups', bob).json == {'backups': []}
    assert ask('/v3/backups/' + 'b' * 8, bob).status_int == 404
    assert ask(f'/v3/{alpha}/backups', bob).status_int == 400
    assert ask('/v3/backups', admin).json == {'backups': []}
    assert len(ask('/v3/backups?all_tenants=1', admin).json['backups']) == 1
    assert ask('/v3/os-services', admin).status_int == 200


def test_a_token_is_needed_that_is_for_a_project(keystone: Keystone,
                                                 ask: Callable[..., webob.Response]) -> None:
    for token in (None, 'nonsense', keystone.token('mark', None)):
        answer = ask('/v3/backups', token)
        assert answer.status_int == 401 and 'unauthorized' in answer.json
    assert ask('/v3/backups', None).headers['WWW-Authenticate'].startswith('Keystone uri=')
    assert ask('/v3', None).status_int == 200


def test_a_token_that_was_revoked_counts_no_more(keystone: Keystone,
                                                 ask: Callable[..., webob.Response]) -> None:
    token = keystone.token('mark', 'alpha')
    assert requests.delete(f'{keystone.url}/auth/tokens', timeout=30, headers={
        'X-Auth-Token': token, 'X-Subject-Token': token}).status_code == 204
    assert ask('/v3/backups', token).status_int == 401
