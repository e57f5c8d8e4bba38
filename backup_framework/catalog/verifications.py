"""What verifying found out of backups, in their records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import json
from typing import Any

import sqlalchemy as sa

from backup_framework import model
from backup_framework.catalog import backups, bad_objects, schema


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
    """See `Catalog.mark_bad`."""
    bad_objects.add(connection, backend, objects)
    for backup_id, sentences in damage.items():
        add_damage(connection, backup_id, sentences)


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
