"""Looking for what should not be in a catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import sqlalchemy as sa

from backup_framework import exceptions
from backup_framework.catalog import operations, records, schema, sqlite
from backup_framework.model import Backup, Status

_backups = schema.backups
_operations = schema.operations


def find(connection: sa.Connection, is_dead: Callable[[sa.RowMapping], bool]) -> list[str]:
    """What is wrong with the records, one sentence each.

    :param is_dead: of an operation.
    """
    damage = sqlite.integrity(connection) if connection.dialect.name == 'sqlite' else []
    return [*damage, *_unreadable(connection), *_unknown_states(connection),
            *_orphans(connection), *_cycles(connection), *_operations_on_nothing(
                connection, is_dead)]


def _unreadable(connection: sa.Connection) -> Iterator[str]:
    for table, read in ((_backups, records.backup), (schema.volumes, records.volume)):
        for row in connection.execute(sa.select(table)).mappings():
            try:
                read(row)
            except exceptions.CatalogCorrupt as error:
                yield str(error)


def _unknown_states(connection: sa.Connection) -> Iterator[str]:
    known = [str(status) for status in Status if status != Status.RESTORING]
    chosen = sa.select(_backups.c.id, _backups.c.status).where(_backups.c.status.not_in(known))
    for row in connection.execute(chosen):
        yield (f'backup {row.id} has the unknown status {row.status}; set it with '
               f'"backup-framework backup set {row.id} --state error"')


def _orphans(connection: sa.Connection) -> Iterator[str]:
    parent = _backups.alias('parent')
    chosen = sa.select(_backups.c.id, _backups.c.parent_id, _backups.c.format).where(
        _backups.c.parent_id.is_not(None),
        ~sa.exists().where(parent.c.id == _backups.c.parent_id))
    for row in connection.execute(chosen):
        if Backup(parent_id=row.parent_id, format=row.format).needs_parent:
            yield (f'backup {row.id} needs backup {row.parent_id}, which is not in the catalog; '
                   'import it, or run "backup-framework catalog rebuild" for its backend')


def _cycles(connection: sa.Connection) -> Iterator[str]:
    parents = {row.id: row.parent_id for row in connection.execute(
        sa.select(_backups.c.id, _backups.c.parent_id))}
    for start in _on_cycles(parents):
        yield f'backup {start} is an ancestor of itself'


def _on_cycles(parents: dict[str, str | None]) -> Iterator[str]:
    """One member of each cycle. Each record is walked over once."""
    walked: set[str] = set()
    for start in parents:
        walk: set[str] = set()
        member: str | None = start
        while member in parents and member not in walked:
            walked.add(member)
            walk.add(member)
            member = parents[member]
        if member in walk:
            yield str(member)


def _operations_on_nothing(connection: sa.Connection, is_dead: Callable[[sa.RowMapping], bool]
                           ) -> Iterator[str]:
    """Those on backups that the catalog does not know: fine while they live."""
    unknown = ~sa.exists().where(_backups.c.id == _operations.c.backup_id)
    chosen = operations.every(_operations.c.backup_id.is_not(None), unknown)
    for row in connection.execute(chosen).mappings():
        if is_dead(row):
            yield (f'a {row["kind"]} is recorded of backup {row["backup_id"]}, which is not in '
                   'the catalog')
