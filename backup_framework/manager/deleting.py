"""Deleting backups, children before parents, and forgetting records."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import logging

from backup_framework import exceptions
from backup_framework.manager import cleaning, drivers
from backup_framework.manager.context import Context, reason_of, refuse_foreign
from backup_framework.model import Backup, Status

LOG = logging.getLogger(__name__)

_DELETABLE = (Status.AVAILABLE, Status.ERROR, Status.ERROR_DELETING)


def plan(context: Context, backups: Sequence[Backup], with_dependents: bool) -> list[Backup]:
    """What has to be deleted, in an order that never leaves a child without its parent.

    :raises BackupInUse: children are not among them and `with_dependents` is not asked for.
    """
    chosen = {backup.id: backup for backup in backups}
    waiting = list(backups)
    while waiting:
        parent = waiting.pop()
        children = context.catalog.children(parent.id)
        missing = [child for child in children if child.id not in chosen]
        if missing and not with_dependents:
            names = ', '.join(_name(child) for child in missing)
            raise exceptions.BackupInUse(
                f'{_name(parent)} is needed by {names}; --with-dependents deletes them as well')
        chosen |= {child.id: child for child in missing}
        waiting += missing
    return _children_first(list(chosen.values()))


def _name(backup: Backup) -> str:
    return f'backup {backup.id}' + (f' ({backup.display_name})' if backup.display_name else '')


def _children_first(backups: list[Backup]) -> list[Backup]:
    by_id = {backup.id: backup for backup in backups}

    def depth(backup: Backup) -> int:
        count, parent = 0, backup.parent_id
        while parent in by_id and count < len(by_id):
            count, parent = count + 1, by_id[parent].parent_id
        return count

    return sorted(backups, key=depth, reverse=True)


def check(backup: Backup) -> None:
    """:raises Refused: the backup is in a state in which nothing may delete it."""
    refuse_foreign(backup, 'deleted')
    if backup.status not in _DELETABLE:
        raise exceptions.InvalidBackup(f'backup {backup.id} is {backup.status}; it can be deleted '
                                       'when it is available or failed')


def delete(context: Context, backup: Backup) -> None:
    """Delete one backup's objects, then its record; after a failed one also look for leftovers."""
    _delete(context, backup)
    if backup.status == Status.AVAILABLE:
        return
    try:
        cleaning.clean(context, str(backup.backend))
    except exceptions.BackupFrameworkError as error:
        LOG.info('No temporary objects were looked for: %s', error)


def _delete(context: Context, backup: Backup) -> None:
    check(backup)
    driver = context.drivers.get(str(backup.backend))
    with context.running('delete', backup) as (row, operation):
        context.catalog.transition(backup.id, _DELETABLE, Status.DELETING)
        try:
            drivers.call(drivers.delete_method(driver), backup, operation=operation)
            context.catalog.forget(backup.id, operation=row)
        except BaseException as error:
            with contextlib.suppress(exceptions.BackupFrameworkError):
                context.catalog.finish(row, backup.id, Status.ERROR_DELETING,
                                       fail_reason=reason_of(error))
            raise
