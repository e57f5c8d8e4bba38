"""Processes and schedules in the catalog, and the id that containers belong to."""

from __future__ import annotations

import datetime
from pathlib import Path
import threading

import pytest

from backup_framework import exceptions
from backup_framework.model import Service, Volume, utcnow

HOUR = datetime.timedelta(hours=1)


def test_signs_of_life(catalog):
    service = Service('s1', 'cinder-backup', 'h', 'z', utcnow(), sources=['demo'],
                      backends={'local': {'ok': True, 'free_bytes': 5}})
    catalog.beat(service)
    assert catalog.services() == [service]
    first = service.seen_at
    catalog.set_service('s1', True, 'being mended')
    service.backends = {}
    catalog.beat(service)
    found, = catalog.services()
    assert found.seen_at > first and found.backends == {}
    assert (found.disabled, found.disabled_reason) == (True, 'being mended')
    catalog.purge(utcnow() + HOUR)
    assert catalog.services() == [found]
    catalog.set_service('s1', False)
    catalog.purge(utcnow() - HOUR)
    assert [each.disabled_reason for each in catalog.services()] == [None]
    catalog.purge(utcnow() + HOUR)
    assert catalog.services() == []
    catalog.beat(service)
    catalog.forget_service('s1')
    assert catalog.services() == []
    with pytest.raises(exceptions.NotFound):
        catalog.set_service('s1', True)


def test_volumes_that_were_never_made_are_forgotten(catalog):
    for name, source_id, status in (('a', None, 'error'), ('b', 'b', 'error'),
                                    ('c', None, 'creating')):
        catalog.add_volume(Volume(id=name, source='s', source_id=source_id, status=status,
                                  updated_at=utcnow()))
    catalog.purge(utcnow() - HOUR)
    assert len(catalog.volumes()) == 3
    catalog.purge(utcnow() + HOUR)
    assert {each.id for each in catalog.volumes()} == {'b', 'c'}


def test_a_schedule(catalog):
    now = utcnow()
    assert not catalog.due('nightly', now, now + HOUR)
    assert not catalog.due('nightly', now + HOUR / 2, now + HOUR)
    assert catalog.due('nightly', now + HOUR, now + 2 * HOUR)
    assert not catalog.due('nightly', now + HOUR, now + 2 * HOUR)
    # What was missed is done once.
    assert catalog.due('nightly', now + 9 * HOUR, now + 10 * HOUR)
    assert not catalog.due('nightly', now + 9 * HOUR, now + 10 * HOUR)
    # It was changed, and is to come earlier.
    assert not catalog.due('nightly', now + 9 * HOUR, now + 9.5 * HOUR)
    assert catalog.due('nightly', now + 9.5 * HOUR, now + 20 * HOUR)
    assert catalog.next_runs() == {'nightly': now + 20 * HOUR}


def test_of_several_workers_one_finds_it_due(open_catalog):
    catalogs = [open_catalog() for _ in range(8)]
    now = utcnow()
    catalogs[0].due('nightly', now, now)
    told: list[bool] = []
    threads = [threading.Thread(target=lambda each=each: told.append(
        each.due('nightly', now, now + HOUR))) for each in catalogs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(told) == [False] * 7 + [True]


def test_containers_have_one_owner(open_catalog, tmp_path):
    """The first host that asks; also where two ask at once."""
    states = [str(tmp_path / f'host{number}') for number in range(6)]
    catalogs = [open_catalog(state) for state in states]
    catalogs[0].backups()
    told: list[str] = []
    threads = [threading.Thread(target=lambda each=each: told.append(each.owner))
               for each in catalogs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(told) == 6 and len(set(told)) == 1
    assert told[0] in {each.installation for each in catalogs}
    assert len({each.installation for each in catalogs}) == 6
    assert open_catalog(str(tmp_path / 'later')).owner == told[0]


def test_the_owner_of_a_catalog_that_cannot_be_written(catalog, open_catalog, monkeypatch):
    def refuse(*_):
        raise exceptions.CatalogReadOnly('it can be read')
    with monkeypatch.context() as patched:
        patched.setattr(catalog._database, 'write', refuse)
        assert catalog.owner == catalog.installation
    assert catalog.owner == catalog.installation
    assert open_catalog(str(Path(catalog._state_path).with_name('other'))).owner == catalog.owner
