"""Backups that need a parent which is not known, and what that parent may be built on."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from backup_framework.catalog import schema
from backup_framework.model import Backup, Status, newness

_table = schema.backups
_parent = _table.alias('parent')
_WHOLE = (Status.AVAILABLE, Status.RESTORING)
_UNFINISHED = (Status.CREATING, Status.ERROR)

exists = sa.exists().where(
    _table.c.parent_id.is_not(None), _table.c.owner.is_(None),
    sa.or_(_table.c.format.is_(None), _table.c.format.not_like('2.%')),
    ~sa.exists().where(_parent.c.id == _table.c.parent_id, sa.or_(
        _parent.c.service_metadata.is_not(None), _parent.c.status.in_(_WHOLE),
        _parent.c.service.is_not(None) & _parent.c.status.not_in(_UNFINISHED))))
"""That there is one; for more conditions of its table. What `find` looks at is far more."""


def may_be_needed(backup: Backup) -> bool:
    """Whether a backup that is built on it would need it."""
    return is_stored(backup) and Backup(parent_id=backup.id, format=backup.format).needs_parent


def is_stored(backup: Backup) -> bool:
    """Whether it has objects, or may have, as its record says.

    That of an import that has not come to its end, or failed, says nothing: neither where it is nor
    what it needs. Drivers that are not ours may keep no `service_metadata`.
    """
    return (backup.service_metadata is not None or backup.status in _WHOLE
            or (backup.service is not None and backup.status not in _UNFINISHED))


def find(family: Collection[Backup]) -> tuple[Backup | None, set[str]]:
    """The newest backup of ours that needs a parent which is not known, and the ids of those that
    this parent may be built on.

    A rebuild leaves out what it cannot read, and that may be taken in later. Nobody can tell then
    how far its chain goes; it ends with backups that are older than its child. Only the newest one
    holds others, so one at least can always be deleted. Nothing of ours is built on what another
    installation wrote, or the other way round.

    :param family: all backups of a volume on a backend.
    """
    known = {each.id for each in family if is_stored(each)}
    ours = [each for each in family if each.owner is None and may_be_needed(each)]
    lacking = [each for each in ours if each.needs_parent and each.parent_id not in known
               and each.status != Status.DELETING]
    if not lacking:
        return None, set()
    orphan = max(lacking, key=newness)
    later = _built_on(orphan, ours)
    return orphan, {each.id for each in ours
                    if newness(each) < newness(orphan) and each.id not in later}


def _built_on(backup: Backup, others: Collection[Backup]) -> set[str]:
    """The backup and what its chains lead to, whatever their clocks say."""
    children: dict[str | None, list[str]] = {}
    for each in others:
        children.setdefault(each.parent_id, []).append(each.id)
    found, waiting = {backup.id}, [backup.id]
    while waiting:
        new = [each for each in children.get(waiting.pop(), ()) if each not in found]
        found.update(new)
        waiting += new
    return found


def describe(orphan: Backup) -> str:
    """Why something stays."""
    return f'{orphan.id} needs {orphan.parent_id}, which is not in the catalog and may need it'
