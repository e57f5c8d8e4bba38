"""The engines of the other tests keep what they were given over a crash."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from tools.servers import parts


@pytest.mark.parametrize('kind', [parts.PostgreSQL, parts.MariaDB])
def test_a_database_survives_a_crash(start_part: Callable[[type], parts.PostgreSQL],
                                     kind: type[parts.PostgreSQL]):
    part = start_part(kind)
    engine = sa.create_engine(part.database(), pool_pre_ping=True)
    with engine.begin() as link:
        link.exec_driver_sql('CREATE TABLE kept (word VARCHAR(9))')
        link.exec_driver_sql("INSERT INTO kept VALUES ('here')")
    part.kill()
    with pytest.raises(sa.exc.OperationalError), engine.begin():
        pass
    part.start()
    with engine.begin() as link:
        assert link.exec_driver_sql('SELECT word FROM kept').scalar() == 'here'
    engine.dispose()


def test_etcd_survives_a_crash(start_part: Callable[[type], parts.Etcd]):
    import etcd3gw
    part = start_part(parts.Etcd)
    client = etcd3gw.client(host=parts.HOST, port=part.port, timeout=5)
    client.put('kept', 'here')
    part.restart()
    assert client.get('kept') == [b'here']


def test_redis_survives_a_crash(start_part: Callable[[type], parts.Redis]):
    import redis
    part = start_part(parts.Redis)
    with redis.Redis.from_url(part.url) as client:
        client.set('kept', 'here')
        part.restart()
        assert client.get('kept') == b'here'


def test_what_a_machine_lacks_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parts, '_SYSTEM_PATH', '')
    with pytest.raises(parts.Missing, match='etcd is not installed'), parts.running(parts.Etcd):
        pass
