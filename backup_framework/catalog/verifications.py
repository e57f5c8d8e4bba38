"""What verifying found out of backups, in their records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import contextlib
import json
from typing import Any

import sqlalchemy as sa

from backup_framework import exceptions, model
from backup_framework.catalog import backups, bad_objects, schema
from backup_framework.model import Status

_backups = schema.backups
_operations = schema.operations


def record(connection: sa.Connection, backup_id: str, how: str, damage: Sequence[str],
           fields: Mapping[str, Any]) -> None:
    """See `Catalog.record_verification`."""
    now = model.utcnow()
    changes = {'verified_at': now, 'verified_how': how, **fields}
    if how == model.FULL:
        changes |= {'fully_verified_at': now, 'damage': _fitting(damage)}
        backups.update(connection, backup_id, changes)
        bad_objects.remove_idle(connection, str(backups.get(connection, backup_id).backend))
    else:
        backups.update(connection, backup_id, changes)
        add_damage(connection, backup_id, damage)


def mark_bad(connection: sa.Connection, backend: str, objects: Iterable[tuple[str, str]],
             damage: Mapping[str, Sequence[str]]) -> None:
    """Mark objects (container, name) as damaged, and say so in the records of backups.

    :param damage: what to add, by the ids of all backups that were looked at. Others are suspected
        of needing what was not marked before: they began without the marks, and may be available
        at any time.
    """
    new = bad_objects.add(connection, backend, objects)
    for backup_id, sentences in damage.items():
        if sentences:
            add_damage(connection, backup_id, sentences)
    for backup_id in _with_objects(connection, backend) - damage.keys() if new else ():
        reached = _reached(connection, backups.get(connection, backup_id))
        add_damage(connection, backup_id, [
            bad_objects.suspicion(container, name) for container, name in new
            if reached is None or container in reached])


def _with_objects(connection: sa.Connection, backend: str) -> set[str]:
    """The backups that have objects, or may have some soon, and are not being deleted."""
    going = [str(status) for status in (Status.DELETING, Status.ERROR_DELETING)]
    runs = sa.exists().where(_operations.c.backup_id == _backups.c.id)
    chosen = sa.select(_backups.c.id).where(
        _backups.c.backend == backend, _backups.c.status.not_in(going),
        sa.or_(_backups.c.service_metadata.is_not(None), runs))
    return set(connection.scalars(chosen))


def _reached(connection: sa.Connection, backup: model.Backup) -> set[str | None] | None:
    """The containers whose objects a backup may need; None where that is not decided yet."""
    if backup.service_metadata is None:
        return None
    with contextlib.suppress(exceptions.InvalidBackup):  # a parent is not known here
        backups.link_chain(connection, backup)
    return {member.container for member in backup.chain()}


def add_damage(connection: sa.Connection, backup_id: str, sentences: Iterable[str]) -> None:
    """To what is known already, where the backup is still there."""
    backup = backups.find(connection, backup_id)
    new = [each for each in sentences if backup and each not in backup.damage]
    if backup and new:
        backups.update(connection, backup_id, {'damage': _fitting([*backup.damage, *new])})


def _fitting(sentences: Sequence[str]) -> list[str]:
    """As many as the column takes; what is more is told to be there."""
    kept: list[str] = []
    for sentence in sentences:
        if len(json.dumps([*kept, sentence, model.MORE_DAMAGE])) > schema.DAMAGE_LENGTH:
            return [*kept, model.MORE_DAMAGE]
        kept.append(sentence)
    return kept
