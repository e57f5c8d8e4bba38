"""A catalog copied into another database: every row, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import datetime
from pathlib import Path
import sqlite3
from typing import Any

import pytest
import sqlalchemy as sa

from backup_framework import exceptions
from backup_framework.catalog import Catalog, moving, parts, records, schema
from backup_framework.model import (
    Backup,
    Extent,
    Job,
    JobState,
    Service,
    Snapshot,
    Status,
    Volume,
    utcnow,
)
from backup_framework.service import flows

LONG_AGO = utcnow() - datetime.timedelta(hours=1)


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Catalog]:
    """A catalog in SQLite with something in every table that is not of an operation."""
    made = Catalog(f'sqlite:///{tmp_path}/old/catalog.sqlite', f'{tmp_path}/old')
    disk = Volume(source='disks', source_id='/x', name='disk', project_id='web', size_bytes=1 << 40)
    made.offer_volumes('disks', [disk], [])
    (volume,) = made.volumes()
    made.offer_volumes('disks', [disk], [Snapshot(volume_id=volume.id, source_id='s', name='Ü')])
    first = made.add_backup(Backup(volume_id=volume.id, status=Status.AVAILABLE, project_id='web',
                                   backend='local', container='c', metadata={'k': 'v'},
                                   size_bytes=3 << 40, data_timestamp=LONG_AGO))
    made.add_backup(Backup(volume_id=volume.id, status=Status.ERROR, project_id='db'))
    made.mark_bad('local', [('c', 'o')], {first.id: ['x' * 2000]})
    job = made.accept(Job(kind='prune', project_id='web', arguments={'text': 'y' * 70_000}))
    made.start_job(job.id, 'here')
    made.end_job(job.id, JobState.FAILED, 'why')
    made.beat(Service(id='s', binary='worker', host='gone'))
    made._database.change(schema.services.update().values(
        seen_at=records.time_text(LONG_AGO), disabled=True))
    made.due('schedule:nightly', LONG_AGO, utcnow())
    yield made
    made.close()


def rows(catalog: Catalog) -> dict[str, list[Any]]:
    def work(connection: sa.Connection) -> dict[str, list[Any]]:
        return {table.name: sorted(tuple(row) for row in connection.execute(sa.select(
                    *(sa.type_coerce(column, sa.String) for column in table.c))))
                for table in schema.metadata.tables.values()}
    return catalog._database.read(work)


def test_every_row_is_there(old: Catalog, catalog: Catalog) -> None:
    copied = catalog.copy_from(old)
    found = rows(catalog)
    assert found == rows(old)
    assert copied == {name: len(table) for name, table in found.items()}
    assert {name for name, count in copied.items() if not count} == {'operations', 'parts'}
    assert {backup.project_id for backup in catalog.backups()} == {'web', 'db'}


def test_containers_stay_those_of_the_owner(old: Catalog, catalog: Catalog) -> None:
    assert catalog.installation != old.installation
    catalog.copy_from(old)
    assert catalog.owner == old.owner == old.installation


def test_a_catalog_that_has_something_is_left_as_it_is(old: Catalog, catalog: Catalog) -> None:
    catalog.add_volume(Volume(name='mine'))
    with pytest.raises(exceptions.Refused, match='is not empty, it has volumes: name an empty'):
        catalog.copy_from(old)
    assert [volume.name for volume in catalog.volumes()] == ['mine'] and not catalog.backups()


def test_nothing_is_written_there_meanwhile(
        old: Catalog, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    look = moving._refuse_busy

    def write(source: sa.Connection, down_time: float) -> None:
        look(source, down_time)
        with (contextlib.closing(sqlite3.connect(old.name, timeout=0)) as other,
              pytest.raises(sqlite3.OperationalError, match='locked')):
            other.execute('DELETE FROM backups')
    monkeypatch.setattr(moving, '_refuse_busy', write)
    assert catalog.copy_from(old)['backups'] == 2


def a_job(catalog: Catalog) -> None:
    catalog.accept(Job(kind='prune'))


def a_worker(catalog: Catalog) -> None:
    catalog.beat(Service(id='s', binary='worker', host='here'))


def an_operation(catalog: Catalog) -> object:
    running = catalog.operation('verify')
    running.__enter__()
    return running


def parts_left(catalog: Catalog) -> None:
    ended(catalog, lambda connection, job: parts.add(connection, job.id, [Extent(0, 1)]))


def a_flow_left(catalog: Catalog) -> None:
    store = flows.Store(catalog)
    ended(catalog, lambda connection, job: None, lambda job: flows.keep(store, job))


def ended(catalog: Catalog, write: Callable[[sa.Connection, Job], None],
          keep: Callable[[Job], object] = lambda job: None) -> None:
    """A job that was cancelled when no worker ran."""
    job = catalog.accept(Job(kind='create'))
    catalog._database.write(lambda connection: write(connection, job))
    keep(job)
    assert catalog.end_job(job.id, JobState.CANCELLED)


@pytest.mark.parametrize('begin, why', [
    (a_job, '1 jobs have not ended'), (a_worker, '1 processes of the service'),
    (an_operation, '1 operations run'),
    (parts_left, '1 jobs have ended and are not tidied up after'),
    (a_flow_left, '1 jobs have ended and are not tidied up after')])
@pytest.mark.parametrize('connection', ['sqlite'], indirect=True)
def test_what_is_in_use_is_not_copied(old: Catalog, catalog: Catalog,
                                      begin: Callable[[Catalog], object], why: str) -> None:
    going_on = begin(old)
    with pytest.raises(exceptions.Refused, match=why):
        catalog.copy_from(old)
    assert not any(rows(catalog).values())
    del going_on


def test_a_catalog_that_can_only_be_read_is_copied(
        old: Catalog, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a read-only replica, which refuses to queue writers."""
    owner = old.owner

    def refuse(work: Callable[[sa.Connection], object]) -> None:
        raise exceptions.CatalogReadOnly('this is a replica')
    monkeypatch.setattr(old._database, 'write', refuse)
    assert catalog.copy_from(old)['backups'] == 2
    assert rows(catalog) == rows(old) and catalog.owner == owner
