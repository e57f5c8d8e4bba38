"""Lists in pages: filters, order, marker and count, all by the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

import sqlalchemy as sa

from backup_framework import exceptions
from backup_framework.catalog import backups, jobs, records, schema
from backup_framework.model import Backup, Page, Snapshot, Volume

Columns = Mapping[str, sa.ColumnElement[Any]]

_NEWEST_FIRST = (('created_at', 'desc'),)

_volumes = schema.volumes
_snapshots = schema.snapshots


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What of a list.

    :param filters: a value for each of these keys, or several of which it has one.
    :param like: a part of the value of each of these keys.
    :param sort: keys, each with asc or desc.
    :param limit: at most so many; None for all.
    :param marker: the id after which to begin.
    :param offset: so many are left out before that.
    :param with_count: how many there are in all is asked for too.
    """

    filters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    like: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sort: Sequence[tuple[str, str]] = _NEWEST_FIRST
    limit: int | None = None
    marker: str | None = None
    offset: int = 0
    with_count: bool = False


@dataclasses.dataclass(frozen=True)
class _List:
    """A kind of list: what is selected, what one may filter and sort by, how a row is read."""

    noun: str
    selected: sa.Select[Any]
    columns: Columns
    read: Callable[[sa.RowMapping], Any]
    missing: type[exceptions.NotFound]


_BACKUPS = _List('backup', backups.selected, {
    **{column.name: column for column in schema.backups.c
       if column.name not in ('damage', 'metadata', 'waits_for', 'warnings')},
    'status': backups.shown_status, 'name': schema.backups.c.display_name,
    'description': schema.backups.c.display_description,
}, records.backup, exceptions.BackupNotFound)

_busy = sa.select(schema.jobs.c.kind).where(
    schema.jobs.c.volume_id == _volumes.c.id, jobs.is_open)
_shown_volume_status = sa.case(
    (_volumes.c.status.in_(('creating', 'error')), _volumes.c.status),
    (sa.exists(_busy.where(schema.jobs.c.kind == 'create')), 'backing-up'),
    (sa.exists(_busy.where(schema.jobs.c.kind == 'restore')), 'restoring-backup'),
    else_=_volumes.c.status)
_VOLUMES = _List(
    'volume', sa.select(_volumes, _shown_volume_status.label('shown_status')),
    {name: _volumes.c[name] for name in (
        'id', 'name', 'size_bytes', 'availability_zone', 'project_id', 'bootable', 'source',
        'description', 'created_at', 'updated_at')} | {'status': _shown_volume_status},
    records.volume, exceptions.VolumeNotFound)

_SNAPSHOTS = _List(
    'snapshot', sa.select(_snapshots),
    {name: _snapshots.c[name] for name in (
        'id', 'volume_id', 'name', 'status', 'description', 'size_bytes', 'created_at')},
    records.snapshot, exceptions.SnapshotNotFound)


def backup_page(connection: sa.Connection, project_id: str | None, wanted: Wanted
                ) -> Page[Backup]:
    return _page(connection, _BACKUPS, _of_project(schema.backups, project_id), wanted)


def backup_of(connection: sa.Connection, backup_id: str, project_id: str | None) -> Backup:
    found: Backup = _one(connection, _BACKUPS, _of_project(schema.backups, project_id), backup_id)
    return found


def volume_page(connection: sa.Connection, project_id: str | None, wanted: Wanted) -> Page[Volume]:
    return _page(connection, _VOLUMES, _offered(project_id), wanted)


def volume_of(connection: sa.Connection, volume_id: str, project_id: str | None) -> Volume:
    found: Volume = _one(connection, _VOLUMES, _offered(project_id), volume_id)
    return found


def snapshot_page(connection: sa.Connection, project_id: str | None, wanted: Wanted
                  ) -> Page[Snapshot]:
    return _page(connection, _SNAPSHOTS, _of_offered(project_id), wanted)


def snapshot_of(connection: sa.Connection, snapshot_id: str, project_id: str | None) -> Snapshot:
    found: Snapshot = _one(connection, _SNAPSHOTS, _of_offered(project_id), snapshot_id)
    return found


def _of_project(table: sa.Table, project_id: str | None) -> sa.ColumnElement[bool]:
    return sa.true() if project_id is None else table.c.project_id == project_id


def _offered(project_id: str | None) -> sa.ColumnElement[bool]:
    """Volumes without a project are everybody's."""
    offered = sa.and_(_volumes.c.source.is_not(None), _volumes.c.offered_at.is_not(None))
    if project_id is None:
        return offered
    return sa.and_(offered, sa.or_(_volumes.c.project_id == project_id,
                                   _volumes.c.project_id.is_(None)))


def _of_offered(project_id: str | None) -> sa.ColumnElement[bool]:
    return sa.exists().where(_volumes.c.id == _snapshots.c.volume_id, _offered(project_id))


def _one(connection: sa.Connection, of: _List, visible: sa.ColumnElement[bool], ref: str) -> Any:
    row = None
    if records.is_text(ref):
        row = connection.execute(
            of.selected.where(visible, of.columns['id'] == ref)).mappings().first()
    if row is None:
        raise of.missing(f'there is no {of.noun} {ref!r}')
    return of.read(row)


def _page(connection: sa.Connection, of: _List, visible: sa.ColumnElement[bool], wanted: Wanted
          ) -> Page[Any]:
    conditions = [visible, *_filters(of, wanted)]
    order = _order(of, wanted.sort)
    total = None
    if wanted.with_count:
        counted = sa.select(of.columns['id']).where(*conditions).subquery()
        total = connection.scalar(sa.select(sa.func.count()).select_from(counted))
    if wanted.marker is not None:
        conditions.append(_after(connection, of, visible, order, wanted.marker))
    chosen = of.selected.where(*conditions).order_by(
        *(term.desc() if down else term.asc() for term, down in order))
    rows = connection.execute(chosen.limit(wanted.limit).offset(wanted.offset or None)).mappings()
    return Page([of.read(row) for row in rows], total)


def _filters(of: _List, wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    conditions = []
    for key, value in wanted.filters.items():
        values = list(value) if isinstance(value, list | tuple | set) else [value]
        conditions.append(_equal(_column(of, key), values))
    for key, part in wanted.like.items():
        column = _column(of, key)
        # What is longer than any name is a pattern that SQLite refuses.
        fits = (isinstance(column.type, sa.String) and len(part) <= schema.NAME_LENGTH
                and records.is_text(part))
        conditions.append(column.contains(part, autoescape=True) if fits else sa.false())
    return conditions


def _equal(column: sa.ColumnElement[Any], values: Sequence[Any]) -> sa.ColumnElement[bool]:
    """A value that the column cannot have fits nothing."""
    if None in values:
        return sa.or_(column.is_(None), _equal(column, [v for v in values if v is not None]))
    kept = [stored for value in values if (stored := _stored(column, value)) is not None]
    return column.in_(kept) if kept else sa.false()


def _stored(column: sa.ColumnElement[Any], value: Any) -> Any:
    if isinstance(column.type, sa.Boolean):
        return value if isinstance(value, bool) else None
    if isinstance(column.type, sa.BigInteger):
        text = str(value)
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
    text = str(value)
    return text if records.is_text(text) else None


def _column(of: _List, key: str) -> sa.ColumnElement[Any]:
    if key not in of.columns:
        raise exceptions.InvalidInput(f'{of.noun}s cannot be chosen or sorted by {key!r}')
    return of.columns[key]


def _order(of: _List, sort: Sequence[tuple[str, str]]
           ) -> list[tuple[sa.ColumnElement[Any], bool]]:
    """Each term, and whether it goes down; the id makes the order total.

    Databases differ in where they sort nulls, so there are none.
    """
    order: list[tuple[sa.ColumnElement[Any], bool]] = []
    for key, direction in sort or _NEWEST_FIRST:
        if direction not in ('asc', 'desc'):
            raise exceptions.InvalidInput(f'the direction of an order is asc or desc, not '
                                          f'{direction!r}')
        column = _column(of, key)
        nothing = {sa.BigInteger: -1, sa.Boolean: False}.get(type(column.type), '')
        order.append((sa.func.coalesce(column, nothing), direction == 'desc'))
    if all(key != 'id' for key, _ in sort):
        order.append((of.columns['id'], order[-1][1]))
    return order


def _after(connection: sa.Connection, of: _List, visible: sa.ColumnElement[bool],
           order: list[tuple[sa.ColumnElement[Any], bool]], marker: str
           ) -> sa.ColumnElement[bool]:
    row = None
    if records.is_text(marker):
        row = connection.execute(sa.select(*(term for term, _ in order)).where(
            visible, of.columns['id'] == marker)).first()
    if row is None:
        raise of.missing(f'there is no {of.noun} {marker!r} to list from')
    later: list[sa.ColumnElement[bool]] = []
    equal: list[sa.ColumnElement[bool]] = []
    for (term, down), value in zip(order, row, strict=True):
        beyond = term < value if down else term > value
        later.append(sa.and_(*equal, beyond))
        equal.append(term == value)
    return sa.or_(*later)
