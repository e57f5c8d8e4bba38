"""Figures over all records, on each database."""

from __future__ import annotations

import datetime

import pytest

from backup_framework.catalog import Catalog, figures
from backup_framework.model import Backup, Job, JobState, Quota, Status, Volume, utcnow

DAY = datetime.timedelta(days=1)


@pytest.fixture
def catalog(open_catalog) -> Catalog:
    return open_catalog()


def add(catalog: Catalog, *, days_ago: float = 0, **fields) -> Backup:
    when = utcnow() - days_ago * DAY
    known = {'volume_id': 'v1', 'status': Status.AVAILABLE, 'stored_bytes': 10, 'size': 1,
             'project_id': 'p1', 'created_at': when, 'data_timestamp': when}
    return catalog.add_backup(Backup(**known | fields))


def test_nothing_is_counted_of_nothing(catalog):
    found = catalog.figures(None)
    assert (found.backups, found.jobs, found.stored_bytes, found.gigabytes) == ({}, {}, 0, 0)
    assert found.verified == figures.Verified({'day': 0, 'week': 0, 'month': 0}, 0, 0, 0, None)
    assert catalog.days(None) == [] and catalog.last_successes() == []


def test_states_and_sizes(catalog):
    add(catalog)
    add(catalog, size=3, stored_bytes=None)
    add(catalog, status=Status.ERROR, stored_bytes=5)
    add(catalog, project_id='p2', stored_bytes=1 << 60)
    add(catalog, project_id=None)
    for state in (JobState.DONE, JobState.DONE, JobState.QUEUED):
        catalog.accept(Job(kind='verify', project_id='p1', state=state))
    mine = catalog.figures('p1')
    assert mine.backups == {'available': 2, 'error': 1}
    assert (mine.count, mine.stored_bytes, mine.gigabytes) == (3, 15, 5)
    assert mine.jobs == {'done': 2, 'queued': 1}
    every = catalog.figures(None)
    assert every.backups == {'available': 4, 'error': 1} and every.stored_bytes == 25 + (1 << 60)
    assert catalog.figures('p2').jobs == {}


def test_backends(catalog):
    for backend in ('local', 'local', 'offsite', None):
        add(catalog, backend=backend)
    add(catalog, backend='local', status=Status.DELETING, stored_bytes=None)
    assert catalog.figures('p1').stored == {'local': (3, 20), 'offsite': (1, 10), 'None': (1, 10)}


def test_projects_with_the_most_come_first(catalog):
    for project, size in (('p1', 1), ('p2', 2), ('p2', 3), ('p0', 7), (None, 1)):
        add(catalog, project_id=project, size=size)
    assert catalog.usages() == [('p2', Quota(2, 5)), ('p0', Quota(1, 7)), ('p1', Quota(1, 1))]


def test_schedules_that_were_asked_for(catalog):
    now = utcnow()
    assert catalog.next_runs() == {}
    catalog.due('nightly', now, now + DAY)
    assert catalog.next_runs() == {'nightly': now + DAY}


def test_ages_of_verifications(catalog):
    now = utcnow()
    for days in (0.5, 0.9, 3, 20, 40, 400):
        add(catalog, fully_verified_at=now - days * DAY)
    add(catalog)
    add(catalog, verified_at=now)  # a quick one proves little
    add(catalog, fully_verified_at=now - DAY / 2, damage=['an object is gone'])
    add(catalog, status=Status.ERROR, fully_verified_at=now - 900 * DAY)
    add(catalog, project_id='p2', fully_verified_at=now - 500 * DAY)
    found = catalog.figures('p1').verified
    assert found.within == {'day': 3, 'week': 1, 'month': 1}
    assert (found.older, found.never, found.damaged) == (2, 2, 1)
    assert found.oldest == now - 400 * DAY
    assert catalog.figures(None).verified.oldest == now - 500 * DAY


def test_each_day_is_counted_on_what_was_before(catalog):
    today = utcnow().date()
    for days, stored in ((3, 1), (3, 2), (1, 4), (0, None)):
        add(catalog, days_ago=days, stored_bytes=stored)
    add(catalog, days_ago=1, project_id='p2', stored_bytes=100)
    assert catalog.days('p1') == [
        figures.Day(today - 3 * DAY, 2, 3, 2, 3), figures.Day(today - 2 * DAY, 0, 0, 2, 3),
        figures.Day(today - DAY, 1, 4, 3, 7), figures.Day(today, 1, 0, 4, 7)]
    assert catalog.days(None)[-1].total == 107


def test_there_are_ninety_days_at_most(catalog):
    for days, stored in ((1000, 1), (90, 2), (89, 4), (0, 8)):
        add(catalog, days_ago=days, stored_bytes=stored)
    found = catalog.days(None)
    assert len(found) == figures.MOST_DAYS
    assert (found[0].made, found[0].count, found[0].total) == (1, 3, 7)
    assert (found[-1].date, found[-1].made, found[-1].total) == (utcnow().date(), 1, 15)


def test_only_old_backups_make_a_level_line(catalog):
    add(catalog, days_ago=500)
    found = catalog.days(None)
    assert len(found) == figures.MOST_DAYS
    assert {(day.made, day.count, day.total) for day in found} == {(0, 1, 10)}


def test_a_clock_that_was_ahead_does_no_harm(catalog):
    add(catalog, days_ago=-2)
    add(catalog, days_ago=1)
    add(catalog, days_ago=-40_000)
    found = catalog.days(None)
    assert 0 < len(found) <= figures.MOST_DAYS
    assert found[-1].count >= 2


def test_the_last_success_of_each_volume(catalog):
    catalog.add_volume(Volume('v1', name='web', path='/dev/web'))
    add(catalog, days_ago=5)
    newest = add(catalog, days_ago=2)
    add(catalog, days_ago=1, status=Status.ERROR)
    other = add(catalog, days_ago=1, volume_id='v2')
    assert catalog.last_successes() == [
        ('v2', None, other.data_timestamp), ('v1', 'web', newest.data_timestamp)]


def test_volumes_are_bounded(catalog, monkeypatch):
    monkeypatch.setattr(figures.last_successes, '__defaults__', (2,))
    for number in range(4):
        add(catalog, days_ago=number, volume_id=f'v{number}')
    assert [row[0] for row in catalog.last_successes()] == ['v0', 'v1']
