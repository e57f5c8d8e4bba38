"""All records of a catalog copied into an empty one: how one moves to another database."""

from __future__ import annotations

import datetime

import sqlalchemy as sa

from backup_framework import exceptions
from backup_framework.catalog import jobs, parts, records, schema
from backup_framework.model import utcnow

_ROWS = 1000
_flows = sa.table('logbooks', sa.column('uuid'))
"""TaskFlow's, of jobs that have not come to their end. Flows are not copied."""


def copy(source: sa.Connection, target: sa.Connection, down_time: float) -> dict[str, int]:
    """Copy every row; how many each table had.

    :raises Refused: the target has rows, or somebody works with the source.
    """
    tables = schema.metadata.tables.values()
    taken = [table.name for table in tables if _count(target, table)]
    if taken:
        raise exceptions.Refused('the catalog to copy into is not empty, it has '
                                 f'{" and ".join(taken)}: name an empty database as its connection')
    _refuse_busy(source, down_time)
    return {table.name: _copy(source, target, table) for table in tables}


def _refuse_busy(source: sa.Connection, down_time: float) -> None:
    """What is going on there would go on there, and be unknown here."""
    alive = utcnow() - datetime.timedelta(seconds=down_time)
    lately = schema.services.c.seen_at > records.time_text(alive)
    busy = [f'{count} {what}' for what, count in (
        (f'processes of the service ran within the last {down_time:g} seconds',
         _count(source, schema.services, lately)),
        ('jobs have not ended', _count(source, schema.jobs, jobs.is_open)),
        ('jobs have ended and are not tidied up after', _count(
            source, schema.jobs, ~jobs.is_open, sa.or_(parts.has_parts, _has_flow(source)))),
        ('operations run', _count(source, schema.operations))) if count]
    if busy:
        raise exceptions.Refused(
            f'the catalog to copy from is in use: {", ".join(busy)}. Let a worker end there what '
            'was begun (start one if none runs), stop all workers and API hosts, and try again '
            f'{down_time:g} seconds later')


def _has_flow(source: sa.Connection) -> sa.ColumnElement[bool]:
    if not sa.inspect(source).has_table(_flows.name):
        return sa.false()
    return sa.exists().where(_flows.c.uuid == schema.jobs.c.id)


def _count(connection: sa.Connection, table: sa.Table, *conditions: sa.ColumnElement[bool]) -> int:
    return connection.scalar(sa.select(sa.func.count()).select_from(table).where(*conditions)) or 0


def _copy(source: sa.Connection, target: sa.Connection, table: sa.Table) -> int:
    found = source.execute(sa.select(table).execution_options(yield_per=_ROWS))
    copied = 0
    for rows in found.mappings().partitions():
        target.execute(table.insert(), [dict(row) for row in rows])
        copied += len(rows)
    return copied
