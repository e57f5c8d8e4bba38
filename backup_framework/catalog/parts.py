"""The table of parts: ranges of a volume that several workers back up together.

Each part has a job of its own. The create waits until all of them have a result, or one has failed;
then it goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from backup_framework.catalog import records, schema
from backup_framework.model import OPEN_STATES, Extent, Job, JobState, utcnow

KIND = 'part'

_table = schema.parts
_jobs = schema.jobs


class Part(NamedTuple):
    """:param number: from 1 on.
    :param result: what it stored, as whoever did says it; None until then.
    """

    number: int
    extent: Extent
    result: str | None = None
    fail_reason: str | None = None


def _some(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.exists().where(_table.c.job_id == _jobs.c.id, condition)


has_parts = sa.exists().where(_table.c.job_id == _jobs.c.id)
waits = sa.and_(_some(_table.c.result.is_(None)), ~_some(_table.c.fail_reason.is_not(None)))
"""Whether a job has to wait for its parts."""


def add(connection: sa.Connection, job_id: str, extents: Sequence[Extent]) -> None:
    connection.execute(_table.insert(), [
        {'job_id': job_id, 'number': number, 'offset': extent.offset, 'length': extent.length}
        for number, extent in enumerate(extents, 1)])


def every(connection: sa.Connection, job_id: str) -> list[Part]:
    chosen = sa.select(_table).where(_table.c.job_id == job_id).order_by(_table.c.number)
    return [Part(row.number, Extent(row.offset, row.length), row.result, row.fail_reason)
            for row in connection.execute(chosen)]


def end(connection: sa.Connection, job: Job, result: str) -> bool:
    """Keep what the part of a job stored; whether the create can go on now."""
    connection.execute(_table.update().where(_of(job)).values(result=result))
    goes_on = sa.select(_jobs.c.id).where(_jobs.c.id == job.arguments['create'], ~waits)
    return connection.scalar(goes_on) is not None


def progress(connection: sa.Connection, job_id: str) -> tuple[int, int]:
    """Bytes of all parts that are stored, and that there are."""
    length = sa.func.coalesce(sa.func.sum(_table.c.length), 0)
    mine = _table.c.job_id == job_id
    total = connection.scalar(sa.select(length).where(mine))
    stored = connection.scalar(sa.select(length).where(mine, _table.c.result.is_not(None)))
    create = _jobs.alias()
    going = connection.scalar(
        sa.select(sa.func.coalesce(sa.func.sum(_jobs.c.done), 0))
        .join(create, create.c.backup_id == _jobs.c.backup_id)
        .where(create.c.id == job_id, _jobs.c.kind == KIND, _jobs.c.phase == 'backup',
               _jobs.c.state == str(JobState.RUNNING)))
    return int(stored or 0) + int(going or 0), int(total or 0)


def job_ended(connection: sa.Connection, job: Job) -> None:
    """A create takes its parts along; a part that did not do what it should fails its create."""
    if job.kind == 'create':
        if every(connection, job.id):
            _cancel(connection, job)
    elif job.kind == KIND and job.state != JobState.DONE:
        connection.execute(_table.update().where(_of(job), _table.c.result.is_(None)).values(
            fail_reason=job.fail_reason or f'it was {job.state}'))


def drop(connection: sa.Connection, job_id: str) -> None:
    connection.execute(_table.delete().where(_table.c.job_id == job_id))


def drop_of(connection: sa.Connection, job_ids: sa.Select[tuple[str]]) -> None:
    connection.execute(_table.delete().where(_table.c.job_id.in_(job_ids)))


def _of(job: Job) -> sa.ColumnElement[bool]:
    return sa.and_(_table.c.job_id == job.arguments['create'],
                   _table.c.number == job.arguments['number'])


def _cancel(connection: sa.Connection, job: Job) -> None:
    connection.execute(_jobs.update().where(
        _jobs.c.backup_id == job.backup_id, _jobs.c.kind == KIND,
        _jobs.c.state.in_([str(state) for state in OPEN_STATES])).values(
            state=str(JobState.CANCELLED), ended_at=records.time_text(utcnow()),
            fail_reason=f'job {job.id}, of which it was a part, has ended'))
