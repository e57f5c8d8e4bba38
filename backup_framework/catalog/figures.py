"""Figures over all records of a project, or of everybody, counted by the database.

However many records there are, what comes back is small.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
from typing import Any

import sqlalchemy as sa

from backup_framework.catalog import records, schema
from backup_framework.model import Quota, Status, utcnow

MOST_DAYS = 90
MOST_VOLUMES = 1000
MOST_PROJECTS = 1000

_AGES = (('day', 1), ('week', 7), ('month', 30))

_backups = schema.backups
_jobs = schema.jobs
_volumes = schema.volumes

_available = _backups.c.status == str(Status.AVAILABLE)


@dataclasses.dataclass(frozen=True)
class Day:
    """The backups that there are today and that were made on a day or before.

    :ivar made: how many of them were made on it.
    :ivar stored: bytes that these stored.
    :ivar count: how many there are, those of earlier days included.
    :ivar total: bytes that all of them stored.
    """

    date: datetime.date
    made: int
    stored: int
    count: int
    total: int


@dataclasses.dataclass(frozen=True)
class Verified:
    """When the restorable backups were last verified in full.

    :ivar within: how many in the last day, week, month; each counts once.
    :ivar oldest: of those that ever were.
    """

    within: dict[str, int]
    older: int
    never: int
    damaged: int
    oldest: datetime.datetime | None


@dataclasses.dataclass(frozen=True)
class Figures:
    """
    :ivar backups: how many there are in each state.
    :ivar stored: how many there are on each backend, and bytes that they stored.
    :ivar gigabytes: of their volumes, as quotas count them.
    :ivar jobs: how many are kept in each state.
    """

    backups: dict[str, int]
    stored: dict[str, tuple[int, int]]
    gigabytes: int
    jobs: dict[str, int]
    verified: Verified

    @property
    def count(self) -> int:
        return sum(self.backups.values())

    @property
    def stored_bytes(self) -> int:
        return sum(stored for _, stored in self.stored.values())


def figures(connection: sa.Connection, project_id: str | None) -> Figures:
    """See `Catalog.figures`."""
    rows = connection.execute(sa.select(
        _backups.c.status, _backups.c.backend, sa.func.count(), _sum(_backups.c.stored_bytes),
        _sum(_backups.c.size)).where(*_of(_backups, project_id)).group_by(
            _backups.c.status, _backups.c.backend)).all()
    jobs = connection.execute(sa.select(_jobs.c.state, sa.func.count()).where(
        *_of(_jobs, project_id)).group_by(_jobs.c.state)).all()
    states: collections.Counter[str] = collections.Counter()
    stored: dict[str, tuple[int, int]] = {}
    for status, backend, count, size, _ in rows:
        states[status] += count
        known = stored.get(str(backend), (0, 0))
        stored[str(backend)] = (known[0] + count, known[1] + int(size))
    return Figures(
        backups=dict(states), stored=stored, gigabytes=sum(int(row[4]) for row in rows),
        jobs={row[0]: row[1] for row in jobs}, verified=_verified(connection, project_id))


def _verified(connection: sa.Connection, project_id: str | None) -> Verified:
    verified = _backups.c.fully_verified_at
    now = utcnow()
    since = [(name, records.time_text(now - datetime.timedelta(days=days)))
             for name, days in _AGES]
    ages = [(verified >= text, name) for name, text in since]
    age = sa.case((verified.is_(None), 'never'), *ages, else_='older')
    rows = connection.execute(sa.select(
        age.label('age'), sa.func.count(), sa.func.min(verified),
        sa.func.sum(sa.case((_backups.c.damage == '[]', 0), else_=1)),
    ).where(_available, *_of(_backups, project_id)).group_by('age')).all()
    counts = {row[0]: row[1] for row in rows}
    oldest = min((row[2] for row in rows if row[2]), default=None)
    return Verified(
        {name: counts.get(name, 0) for name, _ in _AGES}, counts.get('older', 0),
        counts.get('never', 0), sum(int(row[3]) for row in rows),
        records.text_time(oldest) if oldest else None)


def days(connection: sa.Connection, project_id: str | None, most: int = MOST_DAYS) -> list[Day]:
    """See `Catalog.days`."""
    today = utcnow().date()
    first = today - datetime.timedelta(days=most - 1)
    created = sa.func.coalesce(_backups.c.created_at, '')
    # What is older than the first day is one group.
    date = sa.case((created < str(first), ''), else_=sa.func.substr(created, 1, 10))
    rows = connection.execute(sa.select(
        date.label('date'), sa.func.count(), _sum(_backups.c.stored_bytes)).where(
            *_of(_backups, project_id)).group_by('date')).all()
    made = {row[0]: (row[1], int(row[2])) for row in rows}
    count, total = made.pop('', (0, 0))
    if made and not count:
        first = max(first, datetime.date.fromisoformat(min(made)))
    elif not made and not count:
        return []
    found = []
    last = max(today, *map(datetime.date.fromisoformat, made)) if made else today
    for number in range(min((last - first).days + 1, most)):
        day = first + datetime.timedelta(days=number)
        new, stored = made.get(str(day), (0, 0))
        count, total = count + new, total + stored
        found.append(Day(day, new, stored, count, total))
    return found


def last_successes(connection: sa.Connection, most: int = MOST_VOLUMES
                   ) -> list[tuple[str, str | None, datetime.datetime]]:
    """See `Catalog.last_successes`."""
    newest = sa.func.max(_backups.c.data_timestamp)
    rows = connection.execute(sa.select(
        _backups.c.volume_id, sa.func.max(_volumes.c.name), newest).outerjoin(
            _volumes, _volumes.c.id == _backups.c.volume_id).where(
                _available, _backups.c.data_timestamp.is_not(None)).group_by(
                    _backups.c.volume_id).order_by(newest.desc(), _backups.c.volume_id
                                                   ).limit(most)).all()
    return [(row[0], row[1], records.text_time(row[2])) for row in rows]


def usages(connection: sa.Connection, most: int = MOST_PROJECTS) -> list[tuple[str, Quota]]:
    """See `Catalog.usages`."""
    rows = connection.execute(sa.select(
        _backups.c.project_id, sa.func.count(), _sum(_backups.c.size)).where(
            _backups.c.project_id.is_not(None)).group_by(_backups.c.project_id).order_by(
                sa.func.count().desc(), _backups.c.project_id).limit(most)).all()
    return [(row[0], Quota(row[1], int(row[2]))) for row in rows]


def _sum(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.coalesce(sa.func.sum(column), 0)


def _of(table: sa.Table, project_id: str | None) -> list[sa.ColumnElement[bool]]:
    return [] if project_id is None else [table.c.project_id == project_id]
