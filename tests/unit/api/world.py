"""What two projects have, and an application on it: for tests that ask it as a server would.

Nothing runs: what is accepted stays queued. Whatever alpha has is called SECRET.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
from pathlib import Path
import shutil
from typing import Any
import uuid

import bcrypt
from oslo_config import cfg
import webob

from backup_framework import conf
from backup_framework.api import application
from backup_framework.catalog import Catalog
from backup_framework.model import (
    Backup,
    Job,
    JobState,
    Service,
    Snapshot,
    Status,
    Volume,
    utcnow,
)
from backup_framework.service.dispatch import WORKER, Dispatcher

SECRET = 'sekrit'
ALPHA, BETA = 'alpha', 'beta'
USERS = {'rita': {ALPHA: 'reader'}, 'mark': {ALPHA: 'member'}, 'ada': {ALPHA: 'admin'},
         'bob': {BETA: 'member'}, 'outsider': {BETA: 'other'}}
PASSWORD = 'wonder'
WORKER_ID = 'worker-1'
VERSION = {'OpenStack-API-Version': 'volume 3.71'}

_HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()


def named(text: str) -> str:
    """The same id in each world."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, text))


@dataclasses.dataclass
class World:
    """
    :ivar ids: of what alpha has, by kind; `other-…` is beta's.
    """

    configuration: conf.Configuration
    catalog: Catalog
    ids: dict[str, str]

    def __post_init__(self) -> None:
        dispatcher = Dispatcher(self.configuration, self.catalog)
        self.application = application.make(self.configuration, self.catalog, dispatcher)

    def revive(self) -> None:
        """Let the worker give a sign of life, and get work."""
        now = utcnow()
        self.catalog.beat(Service(
            WORKER_ID, WORKER, 'backup1', 'nova', started_at=now, sources=['files'],
            backends={'local': {'driver': 'local', 'ok': True, 'error': None,
                                'free_bytes': 1 << 40, 'checked_at': now.isoformat()}}))
        self.catalog.set_service(WORKER_ID, False)

    def ask(self, user: str | None, path: str, method: str = 'GET', body: Any = None,
            **headers: str) -> webob.Response:
        headers = VERSION | {name.replace('_', '-'): value for name, value in headers.items()}
        if user is not None:
            token = base64.b64encode(f'{user}:{PASSWORD}'.encode()).decode()
            headers['Authorization'] = f'Basic {token}'
        more = {} if body is None else {'json': body}
        request = webob.Request.blank(path, method=method, headers=headers, **more)
        answer = request.get_response(self.application)
        assert answer.headers['x-openstack-request-id'].startswith('req-')
        return answer


def make(place: Path, text: str = '') -> World:
    """A new world below a directory.

    :param text: more of the configuration, after [api].
    """
    place.mkdir(parents=True, exist_ok=True)
    world = World(configure(place, text), Catalog(f'sqlite:///{place}/catalog.sqlite', str(place)),
                  {})
    fill(world)
    return world


def copy(world: World, template: Path, place: Path, text: str = '') -> World:
    """A world like another one, quicker."""
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(template / 'catalog.sqlite', place / 'catalog.sqlite')
    catalog = Catalog(f'sqlite:///{place}/catalog.sqlite', str(place))
    made = World(configure(place, text), catalog, dict(world.ids))
    # Else the worker were held to be down when the other world is a minute old.
    made.revive()
    return made


def configure(place: Path, text: str = '') -> conf.Configuration:
    (place / 'htpasswd').write_text(''.join(f'{user}:{_HASH}\n' for user in USERS))
    (place / 'htpasswd').chmod(0o600)
    (place / 'users').write_text(''.join(
        f'[{user}]\n' + ''.join(f'{project} = {role}\n' for project, role in projects.items())
        for user, projects in USERS.items()))
    file = place / 'main.conf'
    file.write_text(
        f'[DEFAULT]\nstate_path = {place}\n[retention]\nkeep_last = 1\n'
        f'[volumes:files]\ntype = file\npath = {place}\n'
        f'[schedule:nightly]\ncron = 0 2 * * *\nvolumes = {SECRET}\nproject_id = {ALPHA}\n'
        f'keep_last = 7\nkeep_within = 2w\n'
        f'[schedule:of-beta]\ncron = 0 3 * * *\nvolumes = *\nproject_id = {BETA}\n'
        f'[api]\nauth_strategy = http_basic\nhttp_basic_auth_user_file = {place}/htpasswd\n'
        f'users_file = {place}/users\n{text}')
    return conf.load([str(file)], oslo=cfg.ConfigOpts())


def fill(world: World) -> None:
    catalog, ids = world.catalog, world.ids
    now = utcnow()
    world.revive()
    for prefix, project in (('', ALPHA), ('other-', BETA)):
        name = SECRET if project == ALPHA else 'plain'
        for kind in ('volume', 'snapshot', 'backup', 'older', 'broken', 'busy', 'job', 'idle'):
            ids[prefix + kind] = named(prefix + kind)
        _fill_project(catalog, {kind: ids[prefix + kind] for kind in (
            'volume', 'snapshot', 'backup', 'older', 'broken', 'busy', 'job', 'idle')},
            project, name, now)
    volumes = [Volume(id=ids[prefix + kind], name=f'{name} {kind}', source='files',
                      source_id=ids[prefix + kind], size_bytes=1 << 30, project_id=project,
                      description=name, metadata={'owner': name}, status='available')
               for prefix, project, name in (('', ALPHA, SECRET), ('other-', BETA, 'plain'))
               for kind in ('volume', 'idle')]
    snapshots = [Snapshot(id=ids[prefix + 'snapshot'], volume_id=ids[prefix + 'volume'],
                          source_id='s', name=name, size_bytes=1 << 30, created_at=now)
                 for prefix, name in (('', SECRET), ('other-', 'plain'))]
    catalog.offer_volumes('files', volumes, snapshots)


def _fill_project(catalog: Catalog, ids: dict[str, str], project: str, name: str,
                  now: datetime.datetime) -> None:
    common = {'volume_id': ids['volume'], 'project_id': project, 'user_id': f'{name}-user',
              'display_name': name, 'display_description': name, 'metadata': {'for': name},
              'container': f'{project}/{name}', 'backend': 'local', 'format': '2.0.0',
              'service': 'local', 'size': 1, 'size_bytes': 1 << 30, 'stored_bytes': 1 << 20,
              'host': 'backup1'}
    for kind, status, days in (('backup', Status.AVAILABLE, 1), ('older', Status.AVAILABLE, 2),
                               ('broken', Status.ERROR, 3), ('busy', Status.CREATING, 0)):
        when = now - datetime.timedelta(days=days)
        catalog.add_backup(Backup(
            id=ids[kind], status=status, created_at=when, data_timestamp=when,
            service_metadata=f'volume_{ids["volume"]}/{kind}',
            fail_reason=name if status == Status.ERROR else None, **common))
    catalog.accept(Job(
        id=ids['job'], kind='create', project_id=project, user_id=f'{name}-user',
        backup_id=ids['busy'], volume_id=ids['volume'], backend='local', state=JobState.RUNNING,
        host='backup1', phase='backup', done=30, total=100, created_at=now, started_at=now,
        request_id=f'req-{name}'))
