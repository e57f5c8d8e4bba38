"""Three workers under fire: every job ends right, none is done twice, nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service.storm import Storm
from tools.servers import parts
from tools.servers.installation import Installation, Setup


@pytest.fixture
def storm(start_part: Callable[[type], parts.Part], tmp_path: Path,
          request: pytest.FixtureRequest) -> Storm:
    """Engines that it may kill, and a service that does not run yet."""
    database = start_part(parts.PostgreSQL)
    board, broker = start_part(parts.Etcd), start_part(parts.RabbitMQ)
    service = Installation(tmp_path / 'service',
                           Setup(database.database(), board.url, broker.url), workers=3,
                           options={'shelf': {'write_bandwidth': '64KiB'},
                                    'jobboard': {'claim_ttl': 3}})
    request.addfinalizer(service.close)
    engines = {'postgresql': database, 'etcd': board, 'rabbitmq': broker}
    return Storm(service, engines, backups=0, kills=0, crashes=1, seed=1)


@pytest.mark.timeout(240)
def test_a_storm(storm: Storm, tmp_path: Path):
    storm.backups, storm.kills = 60, 4
    storm.queue()
    storm.rage(150)
    storm.check(tmp_path)
    assert len(storm.met_work) > 4


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize('seed', [1])
def test_a_long_storm(storm: Storm, tmp_path: Path, seed: int):
    storm.backups, storm.kills, storm.crashes, storm.seed = 500, 20, 3, seed
    storm.queue()
    storm.rage(900)
    storm.check(tmp_path)
    assert len(storm.met_work) > 20
