"""Backups that need a parent which is in no record, and what that parent may be built on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
import datetime

from backup_framework.model import Backup


def may_be_needed(backup: Backup) -> bool:
    """Whether a backup that is built on it would need it."""
    return Backup(parent_id=backup.id, format=backup.format).needs_parent


def find(family: Collection[Backup], is_known: Callable[[str], bool]) -> dict[str, Backup]:
    """By id, what a missing parent may be built on: the newest backup that needs such a parent.

    A rebuild leaves out what it cannot read, and that may be taken in later. Nobody can tell then
    how far its chain goes; it ends with backups that are as old as its child, or older.

    :param family: all backups of a volume on a backend, newest first.
    :param is_known: whether there is a record with this id.
    """
    chained = {each.id: each for each in family if may_be_needed(each)}
    orphans = [each for each in chained.values()
               if each.needs_parent and each.parent_id not in chained
               and not is_known(str(each.parent_id))]
    if not orphans:
        return {}
    places = {each.id: _place(each, chained) for each in chained.values()}
    return {each.id: orphan for orphan in reversed(orphans) for each in chained.values()
            if places[each.id] < places[orphan.id] and places[each.id][1] != orphan.parent_id}


def _place(backup: Backup, chained: Mapping[str, Backup]) -> tuple[datetime.datetime, str]:
    """The latest time in its chain, and the parent at which that leaves what is known.

    These order backups so that no two wait for one another, whatever clocks and ids there were.
    """
    latest, seen = _time(backup), {backup.id}
    while (parent := chained.get(str(backup.parent_id))) and parent.id not in seen:
        seen.add(parent.id)
        latest, backup = max(latest, _time(parent)), parent
    return latest, backup.parent_id or ''


def _time(backup: Backup) -> datetime.datetime:
    return backup.data_timestamp or backup.created_at or datetime.datetime.min.replace(
        tzinfo=datetime.UTC)


def describe(orphan: Backup) -> str:
    """Why something stays."""
    return f'{orphan.id} needs {orphan.parent_id}, which is not in the catalog and may need it'
