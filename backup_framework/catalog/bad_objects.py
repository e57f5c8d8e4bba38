"""Objects that a verification found damaged: nothing new may refer to them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
import json

import sqlalchemy as sa

from backup_framework import model
from backup_framework.catalog import records, schema

_table = schema.bad_objects
_backups = schema.backups


def add(connection: sa.Connection, backend: str, objects: Iterable[tuple[str, str]]
        ) -> list[tuple[str, str]]:
    """Mark them; those that were not marked before.

    :param objects: container and name of each.
    """
    new = []
    found_at = records.time_text(model.utcnow())
    wanted = set(objects)
    for container in sorted({container for container, _ in wanted}):
        known = of(connection, backend, container)
        for name in sorted(name for other, name in wanted if other == container):
            if name not in known:
                connection.execute(_table.insert().values(
                    backend=backend, container=container, name=name, found_at=found_at))
                new.append((container, name))
    return new


def remove(connection: sa.Connection, backend: str, container: str, names: Collection[str]) -> None:
    for name in names:
        connection.execute(_table.delete().where(
            _table.c.backend == backend, _table.c.container == container, _table.c.name == name))


def of(connection: sa.Connection, backend: str, container: str) -> set[str]:
    """The names of those in a container."""
    chosen = sa.select(_table.c.name).where(
        _table.c.backend == backend, _table.c.container == container)
    return set(connection.scalars(chosen))


def remove_idle(connection: sa.Connection, backend: str) -> None:
    """Take the marks away of what no backup is known to be damaged by any more.

    When an object was marked, all backups that need it got to be damaged, and so did those of which
    that was not known. Each of them was deleted since, or verified in full and found whole.
    """
    marked = connection.execute(sa.select(_table.c.container, _table.c.name).where(
        _table.c.backend == backend)).all()
    if not marked:
        return
    chosen = sa.select(_backups.c.damage).where(
        _backups.c.backend == backend, _backups.c.damage != '[]')
    damage = [sentence for text in connection.scalars(chosen) for sentence in json.loads(text)]
    if model.MORE_DAMAGE in damage:
        return
    for container, name in marked:
        if not any(called(container, name) in sentence for sentence in damage):
            remove(connection, backend, container, [name])


def called(container: str, name: str) -> str:
    """How every sentence of damage names an object."""
    return f'object {name} of container {container}'


def suspicion(container: str, name: str) -> str:
    """What a bad object means for a backup that could not be looked at."""
    return f'{called(container, name)} is bad, and whether it is needed could not be found out'
