"""Running services, on each of the set-ups that an operator has.

`service` runs its test on SQLite with the local engine, and on PostgreSQL with etcd and RabbitMQ.
It is shared by the tests of a module, as are its workers: a test takes volumes of its own.
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
from tools.servers.installation import Installation, Setup, running

ALONE = Setup()
ONE_MACHINE, MANY_MACHINES = 'one machine', 'many machines'


def make_setup(name: str, request: pytest.FixtureRequest) -> Setup:
    """Empty databases, with the engines of this session."""
    if name == ONE_MACHINE:
        return Setup()
    if name == MANY_MACHINES:
        return Setup(request.getfixturevalue('postgresql').database(),
                     request.getfixturevalue('etcd').url, request.getfixturevalue('rabbitmq').url)
    return Setup(request.getfixturevalue('mariadb').database(),
                 request.getfixturevalue('redis').url)


@pytest.fixture(scope='module', params=[ONE_MACHINE, MANY_MACHINES])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
            ) -> Iterator[Installation]:
    setup = make_setup(request.param, request)
    folder = tmp_path_factory.mktemp('service')
    with running(folder, setup, workers=1 if setup.board is None else 2) as made:
        yield made


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Callable[..., Installation]]:
    """Starts a service: a set-up, and what Installation takes."""
    with contextlib.ExitStack() as end:
        def make(setup: Setup = ALONE, **more: Any) -> Installation:
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
