"""Running services, on each of the set-ups that an operator has.

`service` runs its test on SQLite with the local engine, and on PostgreSQL with etcd and RabbitMQ.
It is shared by the tests of a module: each takes volumes, or a project, of its own.
Its users are USERS; `service.rest` speaks for root in the project demo.
`install` starts others, for tests that kill, stop and misconfigure (class Installation in
tools/servers/installation.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
from pathlib import Path
from typing import Any

import pytest

from tests import environments
from tests.service.clients import Clients, find_or_build
from tools.servers.installation import ONE_MACHINE, Installation, Setup, running

SETUPS = {
    'sqlite': (),
    'postgresql-etcd-rabbitmq': ('postgresql', 'etcd', 'rabbitmq'),
    'mariadb-redis': ('mariadb', 'redis'),
}
USERS = {'root': {'demo': 'admin', 'alpha': 'admin'}, 'alice': {'alpha': 'member'},
         'bob': {'beta': 'member'}, 'rita': {'alpha': 'reader'}}

OPTIONS = {
    'quota': {'backups': 9},
    'schedule:clock': {'cron': '0 0 1 1 *', 'volumes': 'clock', 'project_id': 'demo'},
}


@pytest.fixture(scope='session')
def make_setup(request: pytest.FixtureRequest) -> Callable[[str], Setup]:
    """What one of SETUPS stands on: databases of its own, with the engines of this session."""
    def make(name: str) -> Setup:
        parts = [request.getfixturevalue(part) for part in SETUPS[name]]
        return Setup(parts[0].database(), *(part.url for part in parts[1:])) if parts else Setup()
    return make


@pytest.fixture(scope='module', params=['sqlite', 'postgresql-etcd-rabbitmq'])
def service(request: pytest.FixtureRequest, make_setup: Callable[[str], Setup],
            tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    setup = make_setup(request.param)
    with running(tmp_path_factory.mktemp('service'), setup, workers=2 if setup.board else 1,
                 users=USERS, options=OPTIONS) as made:
        yield made


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Callable[..., Installation]]:
    """Starts a service: a set-up, and what Installation takes."""
    with contextlib.ExitStack() as end:
        def make(setup: Setup = ONE_MACHINE, **more: Any) -> Installation:
            folder = tmp_path / f'service{len(list(tmp_path.iterdir()))}'
            return end.enter_context(running(folder, setup, **more))
        yield make


@pytest.fixture(scope='session')
def clients(require_part: Callable[[str, str], None]) -> Iterator[Clients]:
    """`openstack` and `cinder`; they are installed at first use."""
    try:
        folder = find_or_build()
    except (environments.Missing, OSError) as error:
        require_part('clients', str(error))
    made = Clients(folder)
    yield made
    made.close()
