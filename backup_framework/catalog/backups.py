"""The table of backups: looking them up, the chain, transitions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
import contextlib
from typing import Any

import sqlalchemy as sa

from backup_framework import exceptions
from backup_framework.catalog import jobs, orphans, records, schema
from backup_framework.model import Backup, Status, utcnow

Apart = Callable[[sa.Connection], contextlib.AbstractContextManager[None]]
"""`Database.apart`."""

SHORTEST_PREFIX = 8
"""Characters of an id that a destructive command wants at least."""

_MOST_CANDIDATES = 5
_OTHERS = 'what is not of its project'
"""A project is not told what others have; the command line is, as advice."""

_table = schema.backups
_operations = schema.operations
_being_restored = sa.or_(
    sa.exists().where(_operations.c.backup_id == _table.c.id, _operations.c.kind == 'restore'),
    jobs.of_backup(_table, 'restore'))
shown_status = sa.case(
    (sa.and_(_table.c.status == str(Status.AVAILABLE), _being_restored), str(Status.RESTORING)),
    else_=_table.c.status)
selected = sa.select(_table, shown_status.label('shown_status'))

# Databases differ in where they sort nulls, so there are none.
_newness = (sa.func.coalesce(_table.c.data_timestamp, ''),
            sa.func.coalesce(_table.c.created_at, ''), _table.c.id)
_newest_first = tuple(term.desc() for term in _newness)


def describe(backup: Backup) -> str:
    """How messages name a backup."""
    name = f' ({backup.display_name})' if backup.display_name else ''
    return f'backup {backup.id}{name}'


def add(connection: sa.Connection, backup: Backup) -> None:
    """Insert a record; see `Catalog.add_backup`."""
    if backup.status == Status.CREATING and backup.parent_id is not None:
        _check_parent(connection, backup.parent_id)
    taken = {backup.id} if find(connection, backup.id) is not None else set()
    row = _new_row(backup, taken, _being_deleted(connection))
    connection.execute(_table.insert().values(row))


def add_each(connection: sa.Connection, added: Iterable[Backup], failed: Collection[str],
             apart: Apart) -> dict[str, str]:
    """See `Catalog.add_backups`."""
    refused: dict[str, str] = {}
    rows: dict[str, records.Values] = {}
    going = _being_deleted(connection)
    replaced = {backup_id for backup_id in failed if _is_failed_import(connection, backup_id)}
    taken = ids(connection) - replaced
    for backup in added:
        try:
            rows[backup.id] = _new_row(backup, taken, going)
            taken.add(backup.id)
        except (exceptions.InvalidInput, exceptions.InvalidBackup) as error:
            refused[backup.id] = str(error)

    for backup_id in replaced & rows.keys():
        refused |= _replace(rows.pop(backup_id), connection, apart)
    return refused | (_insert([*rows.values()], connection, apart) if rows else {})


def _is_failed_import(connection: sa.Connection, backup_id: str) -> bool:
    found = find(connection, backup_id)
    return found is not None and found.status == Status.ERROR and found.is_empty


def _replace(row: records.Values, connection: sa.Connection, apart: Apart) -> dict[str, str]:
    try:
        with apart(connection):
            connection.execute(_table.update().where(_table.c.id == row['id']).values(row))
    except exceptions.InvalidInput as error:
        return {row['id']: str(error)}
    return {}


def _insert(rows: Sequence[records.Values], connection: sa.Connection, apart: Apart
            ) -> dict[str, str]:
    """Together, which is ten times as fast as one by one; by id, what this database refused."""
    try:
        with apart(connection):
            connection.execute(_table.insert(), rows)
        return {}
    except exceptions.InvalidInput as error:
        if len(rows) == 1:
            return {rows[0]['id']: str(error)}
    half = len(rows) // 2
    return (_insert(rows[:half], connection, apart) | _insert(rows[half:], connection, apart))


def _new_row(backup: Backup, taken: Collection[str], going: Collection[str]) -> records.Values:
    """A record to insert, unless its id is taken or it needs one that is being deleted."""
    if not backup.id or not records.is_text(backup.id):
        raise exceptions.InvalidInput(f'{backup.id!r} is no id for a backup')
    if backup.id in taken:
        raise exceptions.InvalidInput(f'there is a backup {backup.id} already')
    _refuse_child(backup, going)
    backup.created_at = backup.created_at or utcnow()
    return records.new_backup(backup)


def check_parent_stays(connection: sa.Connection, backup: Backup) -> None:
    """A delete that has begun does not look for children again.

    :raises InvalidBackup: the backup needs one that is being deleted.
    """
    _refuse_child(backup, _being_deleted(connection))


def _refuse_child(backup: Backup, going: Collection[str]) -> None:
    if backup.needs_parent and backup.parent_id in going:
        raise exceptions.InvalidBackup(
            f'{describe(backup)} needs backup {backup.parent_id}, which is being deleted')


def _being_deleted(connection: sa.Connection) -> set[str]:
    running = sa.select(_operations.c.backup_id).where(_operations.c.kind == 'delete')
    accepted = sa.select(_table.c.id).where(_table.c.status == str(Status.DELETING))
    return {*connection.execute(running).scalars(), *connection.execute(accepted).scalars()}


def _check_parent(connection: sa.Connection, parent_id: str) -> None:
    """A delete looks for children under its row; so whoever is second sees the first."""
    parent = find(connection, parent_id)
    if parent is None:
        raise exceptions.InvalidBackup(f'the parent {parent_id} is not in the catalog')
    deletes = sa.select(_operations.c.id).where(
        _operations.c.backup_id == parent_id, _operations.c.kind == 'delete')
    if connection.execute(deletes).first() is not None:
        raise exceptions.InvalidBackup(f'{describe(parent)} is being deleted: it cannot be a '
                                       'parent')
    if parent.status not in (Status.AVAILABLE, Status.RESTORING):
        raise exceptions.InvalidBackup(
            f'{describe(parent)} is {parent.status}: only an available backup can be a parent')


def find(connection: sa.Connection, backup_id: str) -> Backup | None:
    if not records.is_text(backup_id):
        return None
    row = connection.execute(selected.where(_table.c.id == backup_id)).mappings().first()
    return None if row is None else records.backup(row)


def get(connection: sa.Connection, backup_id: str) -> Backup:
    """The backup with this full id; raises BackupNotFound."""
    found = find(connection, backup_id)
    if found is None:
        raise exceptions.BackupNotFound(f'there is no backup {backup_id}')
    return found


def look_up(connection: sa.Connection, ref: str, exact: bool) -> Backup:
    """The backup with this id, else name, else beginning of an id; see `Catalog.get_backup`."""
    if not ref or not records.is_text(ref):
        raise exceptions.BackupNotFound(f'there is no backup {ref!r}')
    found = find(connection, ref)
    if found is not None:
        return found
    by_name = _candidates(connection, _table.c.display_name == ref)
    if by_name:
        return _only(ref, by_name, 'the name of')
    by_prefix = [each for each in _candidates(
        connection, _table.c.id.startswith(ref, autoescape=True)) if each.id.startswith(ref)]
    if not by_prefix:
        raise exceptions.BackupNotFound(f'there is no backup {ref}')
    found = _only(ref, by_prefix, 'the beginning of')
    if exact and len(ref) < SHORTEST_PREFIX:
        raise exceptions.InvalidInput(
            f'{ref} is only the beginning of an id; here a full id, a name or at least '
            f'{SHORTEST_PREFIX} characters of an id are wanted (it would be {describe(found)})')
    return found


def _candidates(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[Backup]:
    chosen = selected.where(condition).order_by(*_newest_first).limit(_MOST_CANDIDATES + 1)
    return _records(connection, chosen)


def _only(ref: str, candidates: list[Backup], relation: str) -> Backup:
    if len(candidates) == 1:
        return candidates[0]
    shown = [describe(each) for each in candidates[:_MOST_CANDIDATES]]
    more = ' and more' if len(candidates) > _MOST_CANDIDATES else ''
    raise exceptions.InvalidInput(
        f'{ref} is {relation} several backups: {", ".join(shown)}{more}; name one by its id')


def ids(connection: sa.Connection) -> set[str]:
    return set(connection.execute(sa.select(_table.c.id)).scalars())


def select(connection: sa.Connection, *, volume_id: str | None, backend: str | None,
           container: str | None, status: str | None, limit: int | None, marker: str | None,
           projects: Collection[str | None] | None) -> list[Backup]:
    """See `Catalog.backups`."""
    wanted = {_table.c.volume_id: volume_id, _table.c.backend: backend,
              _table.c.container: container, shown_status: status}
    conditions = [column == str(value) for column, value in wanted.items() if value is not None]
    if projects is not None:
        owner = _table.c.project_id
        named = owner.in_([each for each in projects if each is not None])
        conditions.append(sa.or_(named, owner.is_(None)) if None in projects else named)
    if marker is not None:
        conditions.append(_after(connection, marker))
    if limit is None:
        chosen = selected.where(*conditions).order_by(*_newest_first)
        return _records(connection, chosen)
    return _newest(connection, limit, conditions)


def _newest(connection: sa.Connection, limit: int,
            conditions: Iterable[sa.ColumnElement[bool]]) -> list[Backup]:
    """The first records that fit. Ids are sorted alone, because whole rows take far longer."""
    ids = sa.select(_table.c.id).where(*conditions).order_by(*_newest_first).limit(limit).subquery()
    chosen = selected.join(ids, ids.c.id == _table.c.id).order_by(*_newest_first)
    return _records(connection, chosen)


def _after(connection: sa.Connection, marker: str) -> sa.ColumnElement[bool]:
    row = connection.execute(sa.select(*_newness).where(_table.c.id == marker)).first()
    if row is None:
        raise exceptions.BackupNotFound(f'there is no backup {marker} to list from')
    return sa.tuple_(*_newness) < sa.tuple_(*row)


def newest_usable(connection: sa.Connection, volume_id: str, backend: str | None,
                  own: bool) -> Backup | None:
    conditions = [_table.c.volume_id == volume_id, _table.c.status == str(Status.AVAILABLE)]
    if backend is not None:
        conditions.append(_table.c.backend == backend)
    if own:
        conditions.append(_table.c.owner.is_(None))
    found = _newest(connection, 1, conditions)
    return found[0] if found else None


def children(connection: sa.Connection, backup_id: str) -> list[Backup]:
    chosen = selected.where(_table.c.parent_id == backup_id).order_by(*_newest_first)
    return _records(connection, chosen)


def depended(connection: sa.Connection, ids: Iterable[str]) -> set[str]:
    """Those of the ids whose children cannot be restored without them."""
    chosen = sa.select(_table.c.parent_id, _table.c.format).where(
        _table.c.parent_id.in_(list(ids))).distinct()
    return {row.parent_id for row in connection.execute(chosen)
            if Backup(parent_id=row.parent_id, format=row.format).needs_parent}


def refuse_needed(connection: sa.Connection, backup_id: str) -> None:
    """Raise BackupInUse if children cannot be restored without what is stored of this backup."""
    backup = find(connection, backup_id)
    if backup is not None and backup.is_empty:
        return
    project_id = backup and backup.project_id
    needing = [each for each in children(connection, backup_id) if each.needs_parent]
    if needing:
        names = [describe(each) for each in needing if each.project_id == project_id]
        others = [describe(each) for each in needing if each.project_id != project_id]
        told = names + [_OTHERS] * bool(others)
        more = ' and more' if len(told) > _MOST_CANDIDATES else ''
        raise exceptions.BackupInUse(
            f'backup {backup_id} is needed by {", ".join(told[:_MOST_CANDIDATES])}{more}'
        ).advised(f': {", ".join(others[:_MOST_CANDIDATES])}' if others else '')


def refuse_needed_by_orphan(connection: sa.Connection, backup_id: str) -> None:
    """Raise BackupInUse if a backup whose parent is not known may need this one.

    To be asked before a delete begins: one that has begun goes on.
    """
    backup = find(connection, backup_id)
    if backup is None or backup.status == Status.DELETING or not orphans.may_be_needed(backup):
        return
    same = _table.c.volume_id == backup.volume_id, _table.c.backend == backup.backend
    if not connection.scalar(sa.select(orphans.exists.where(*same))):
        return
    orphan, held = orphans.find(_records(connection, selected.where(*same)))
    if orphan is None or backup_id not in held:
        return
    why, rebuild = orphans.describe(orphan), f'"backup-framework catalog rebuild {backup.backend}"'
    if orphan.project_id == backup.project_id:
        raise exceptions.BackupInUse(
            f'backup {backup.id} stays, because {why}: import {orphan.parent_id}, or delete '
            f'{orphan.id} first').advised(f', or run {rebuild}')
    raise exceptions.BackupInUse(
        f'backup {backup.id} stays, because {_OTHERS} needs one that is not in the catalog, and '
        'that one may need it').advised(
            f': {why}. Import {orphan.parent_id}, run {rebuild}, or delete {orphan.id} first')


def link_chain(connection: sa.Connection, backup: Backup) -> None:
    """Set `parent` from this backup up to the first that needs none; see `Catalog.chain`."""
    seen = {backup.id}
    member = backup
    while member.parent_id is not None and member.needs_parent:
        if member.parent_id in seen:
            raise exceptions.InvalidBackup(
                f'the chain of {describe(backup)} comes back to {member.parent_id}')
        parent = find(connection, member.parent_id)
        if parent is None:
            raise exceptions.InvalidBackup(
                f'{describe(backup)} needs backup {member.parent_id}, which is not in the '
                'catalog; import it, or run "backup-framework catalog rebuild"')
        _require_family(member, parent)
        seen.add(parent.id)
        member.parent = parent
        member = parent


def _require_family(child: Backup, parent: Backup) -> None:
    """A record that was taken in must not bring another volume's bytes into a restore."""
    if child.volume_id and parent.volume_id and child.volume_id != parent.volume_id:
        raise exceptions.InvalidBackup(
            f'{describe(child)} is of volume {child.volume_id}, its parent {parent.id} of volume '
            f'{parent.volume_id}: the record of one of them is wrong, so it cannot be restored')
    if child.backend != parent.backend:
        raise exceptions.InvalidBackup(
            f'{describe(child)} is on backend {child.backend}, its parent {parent.id} on backend '
            f'{parent.backend}, and a chain is on one backend: import it from the right one')


def update(connection: sa.Connection, backup_id: str, fields: dict[str, Any]) -> None:
    changed = connection.execute(
        _table.update().where(_table.c.id == backup_id).values(_changes(fields)))
    if not changed.rowcount:
        raise exceptions.BackupNotFound(f'there is no backup {backup_id}')


def change(connection: sa.Connection, backup_id: str, fields: dict[str, Any]) -> None:
    """What users may want; see `Catalog.update_backup`."""
    records.check_metadata(fields.get('metadata', {}))
    update(connection, backup_id, fields)


def change_metadata(connection: sa.Connection, backup_id: str, added: Mapping[str, str],
                    removed: Collection[str]) -> None:
    """See `Catalog.change_metadata`."""
    known = get(connection, backup_id).metadata
    changed = {key: value for key, value in known.items() if key not in removed} | dict(added)
    if added:
        records.check_metadata(changed)
    update(connection, backup_id, {'metadata': changed})


def transition(connection: sa.Connection, backup_id: str, from_: Iterable[str], to: str,
               fields: dict[str, Any]) -> None:
    """One conditional UPDATE; see `Catalog.transition`."""
    states = sorted(str(status) for status in from_)
    changed = connection.execute(
        _table.update().where(_table.c.id == backup_id, _table.c.status.in_(states))
        .values(_changes({**fields, 'status': to})))
    if changed.rowcount:
        return
    backup = get(connection, backup_id)
    raise exceptions.InvalidBackup(
        f'{describe(backup)} is {backup.status}, not {" or ".join(states)}')


def remove(connection: sa.Connection, backup_id: str) -> None:
    connection.execute(_table.delete().where(_table.c.id == backup_id))


def _changes(fields: dict[str, Any]) -> records.Values:
    if 'id' in fields:
        raise TypeError('the id of a backup does not change')
    values = records.backup_values({'updated_at': utcnow(), **fields})
    if fields.get('status', Status.DELETING) != Status.DELETING:
        values['waits_for'] = None  # only a delete waits
    return values


def _records(connection: sa.Connection, chosen: sa.Select[Any]) -> list[Backup]:
    return [records.backup(row) for row in connection.execute(chosen).mappings()]
