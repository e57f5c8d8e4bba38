"""The table of volumes."""

from __future__ import annotations

from collections.abc import Collection
import os
from typing import Any

import sqlalchemy as sa

from backup_framework import exceptions
from backup_framework.catalog import records, schema
from backup_framework.model import Volume, utcnow

_table = schema.volumes
_MOST_IDS = 500
"""Databases limit how many values a question may hold."""

_oldest_first = (sa.func.coalesce(_table.c.created_at, ''), _table.c.id)


def add(connection: sa.Connection, volume: Volume) -> None:
    """Insert a record; see `Catalog.add_volume`."""
    if not volume.id:
        raise exceptions.InvalidInput('a volume needs an id')
    if _where(connection, _table.c.id == volume.id):
        raise exceptions.InvalidInput(f'there is a volume {volume.id} already')
    if volume.source is None:
        _check_name(connection, volume.id, volume.name)
    connection.execute(_table.insert().values(records.new_volume(volume)))


def _check_name(connection: sa.Connection, volume_id: str, name: str | None) -> None:
    """Names are unique among the volumes without a source."""
    if name is None or not records.is_text(name):
        return
    for other in _where(connection, (_table.c.name == name) & _table.c.source.is_(None)):
        if other.id != volume_id:
            raise exceptions.InvalidInput(
                f'volume {other.id} is called {name} already; choose another name')


def get(connection: sa.Connection, ref: str) -> Volume:
    """The volume with this id, else name, else path; see `Catalog.get_volume`."""
    if not records.is_text(ref):
        raise exceptions.VolumeNotFound(f'there is no volume {ref!r}')
    called = _table.c.name == ref
    for condition in (_table.c.id == ref, called & _table.c.source.is_(None)):
        found = _where(connection, condition)
        if found:
            return found[0]
    found = _where(connection, called)
    if len(found) > 1:
        raise exceptions.InvalidInput(
            f'several volumes of sources are called {ref}: {", ".join(each.id for each in found)}; '
            'name one by its id')
    if found:
        return found[0]
    at_path = by_path(connection, ref) if os.path.isabs(ref) else None
    if at_path is None:
        raise exceptions.VolumeNotFound(f'there is no volume {ref}')
    return at_path


def by_path(connection: sa.Connection, path: str) -> Volume | None:
    """The volume with this path; see `Catalog.find_volume_by_path`."""
    if not records.is_text(path):
        return None
    found = _where(connection, _table.c.path == path)
    if len(found) > 1:
        shown = ', '.join(each.name or each.id for each in found)
        raise exceptions.InvalidInput(
            f'several volumes were found at {path}: {shown}; say which with --volume')
    return found[0] if found else None


def at_path(connection: sa.Connection, path: str, size_bytes: int | None) -> Volume:
    """The volume with this path, made if there is none."""
    volume = by_path(connection, path)
    if volume is None:
        volume = Volume(path=path, size_bytes=size_bytes, created_at=utcnow())
        add(connection, volume)
    return volume


def every(connection: sa.Connection, ids: Collection[str] | None = None) -> list[Volume]:
    """See `Catalog.volumes`."""
    if ids is None:
        return _where(connection, sa.true())
    if len(ids) <= _MOST_IDS:
        return _where(connection, _table.c.id.in_(ids))
    return [each for each in _where(connection, sa.true()) if each.id in ids]


def update(connection: sa.Connection, volume_id: str, fields: dict[str, Any]) -> None:
    if 'id' in fields:
        raise TypeError('the id of a volume does not change')
    if 'name' in fields and not _has_source(connection, volume_id):
        _check_name(connection, volume_id, fields['name'])
    values = records.volume_values({'updated_at': utcnow(), **fields})
    changed = connection.execute(
        _table.update().where(_table.c.id == volume_id).values(values))
    if not changed.rowcount:
        raise exceptions.VolumeNotFound(f'there is no volume {volume_id}')


def _has_source(connection: sa.Connection, volume_id: str) -> bool:
    return any(each.source for each in _where(connection, _table.c.id == volume_id))


def _where(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[Volume]:
    chosen = sa.select(_table).where(condition).order_by(*_oldest_first)
    return [records.volume(row) for row in connection.execute(chosen).mappings()]
