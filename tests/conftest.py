"""Real engines: one of each for all tests of a process, or one of a test's own to kill.

`etcd`, `redis`, `rabbitmq`, `postgresql` and `mariadb` run until the end; they are shared, so a
test takes a database, a board or topics of its own and leaves the engine alone. `start_part` starts
one that the test may kill, freeze and restart (class Part in tools/servers/parts.py)::

    def test_worker_survives_the_board(start_part):
        etcd = start_part(parts.Etcd)
        ...
        etcd.restart()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
from typing import TypeVar

import pytest

from tools.servers import parts

P = TypeVar('P', bound=parts.Part)


@pytest.fixture(scope='session')
def _require_running(require_part: Callable[[str, str], None]
                     ) -> Callable[[type[P]], contextlib.AbstractContextManager[P]]:
    @contextlib.contextmanager
    def require(kind: type[P]) -> Iterator[P]:
        with contextlib.ExitStack() as end:
            try:
                part = end.enter_context(parts.running(kind))
            except parts.Missing as error:
                require_part(kind.__name__.lower(), str(error))
            yield part
    return require


@pytest.fixture
def start_part(_require_running: Callable[[type[P]], contextlib.AbstractContextManager[P]]
               ) -> Iterator[Callable[[type[P]], P]]:
    """Starts an engine that is the test's own."""
    with contextlib.ExitStack() as end:
        yield lambda kind: end.enter_context(_require_running(kind))


@pytest.fixture(scope='session')
def etcd(_require_running: Callable[..., contextlib.AbstractContextManager[parts.Etcd]]
         ) -> Iterator[parts.Etcd]:
    with _require_running(parts.Etcd) as part:
        yield part


@pytest.fixture(scope='session')
def redis(_require_running: Callable[..., contextlib.AbstractContextManager[parts.Redis]]
          ) -> Iterator[parts.Redis]:
    with _require_running(parts.Redis) as part:
        yield part


@pytest.fixture(scope='session')
def zookeeper(_require_running: Callable[..., contextlib.AbstractContextManager[parts.ZooKeeper]]
              ) -> Iterator[parts.ZooKeeper]:
    with _require_running(parts.ZooKeeper) as part:
        yield part


@pytest.fixture(scope='session')
def rabbitmq(_require_running: Callable[..., contextlib.AbstractContextManager[parts.RabbitMQ]]
             ) -> Iterator[parts.RabbitMQ]:
    """It takes ten seconds to start."""
    with _require_running(parts.RabbitMQ) as part:
        yield part


@pytest.fixture(scope='session')
def postgresql(_require_running: Callable[..., contextlib.AbstractContextManager[parts.PostgreSQL]]
               ) -> Iterator[parts.PostgreSQL]:
    with _require_running(parts.PostgreSQL) as part:
        yield part


@pytest.fixture(scope='session')
def mariadb(_require_running: Callable[..., contextlib.AbstractContextManager[parts.MariaDB]]
            ) -> Iterator[parts.MariaDB]:
    with _require_running(parts.MariaDB) as part:
        yield part
