"""Deleting backups, children before parents; what waits until running backups have ended."""

from __future__ import annotations

from collections.abc import Collection, Sequence
import contextlib
import logging

from backup_framework import exceptions
from backup_framework.catalog import Running
from backup_framework.engine.monitor import Operation
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
        dependents = context.catalog.dependents(parent.id)
        missing = [child for child in dependents if child.id not in chosen]
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


def check(context: Context, backup: Backup) -> None:
    """:raises Refused: the backup is in a state in which nothing may delete it."""
    refuse_foreign(backup, 'deleted')
    if backup.status not in _DELETABLE and backup.id not in context.catalog.postponed():
        raise exceptions.InvalidBackup(f'backup {backup.id} is {backup.status}; it can be deleted '
                                       'when it is available or failed')


def delete(context: Context, backup: Backup) -> bool:
    """Delete one backup's objects, then its record; after a failed one also look for leftovers.

    False where objects stay until other backups have ended: see `take_up`.
    """
    check(context, backup)
    done = _delete(context, backup)
    if backup.status in (Status.ERROR, Status.ERROR_DELETING):
        try:
            cleaning.clean(context, str(backup.backend))
        except exceptions.BackupFrameworkError as error:
            LOG.info('No temporary objects were looked for: %s', error)
    return done


def take_up(context: Context) -> None:
    """Go on with the deletes that waited for backups which have ended by now."""
    for backup_id, running in context.catalog.postponed().items():
        if running:
            continue
        try:
            _delete(context, context.catalog.get_backup(backup_id))
        except (exceptions.BackupInUse, exceptions.InvalidBackup,
                exceptions.BackupNotFound) as error:
            LOG.info('Another command has taken up the delete of backup %s: %s', backup_id, error)
        except exceptions.OperationCancelled:
            raise
        except exceptions.BackupFrameworkError as error:
            context.warn(f'the objects of backup {backup_id}, which was deleted while others were '
                         f'running, could not be freed: {error}')


def _delete(context: Context, backup: Backup) -> bool:
    driver = context.drivers.get(str(backup.backend))
    with context.running('delete', backup) as (row, operation):
        awaited = _begin(context, row, backup, operation)
        try:
            drivers.call(drivers.delete_method(driver), backup, operation=operation)
            if awaited:
                _postpone(context, row, backup, awaited)
            else:
                context.catalog.forget(backup.id, operation=row)
        except BaseException as error:
            with contextlib.suppress(exceptions.BackupFrameworkError):
                context.catalog.finish(row, backup.id, Status.ERROR_DELETING,
                                       fail_reason=reason_of(error))
            raise
    return not awaited


def _begin(context: Context, row: Running, backup: Backup, operation: Operation) -> list[str]:
    """Mark the backup as being deleted.

    The list gets, when the manifest is gone, the ids of the backups that may refer to its objects:
    those that are running now. A backup that begins later finds no manifest to build on.
    """
    among: Collection[str] | None = None
    if backup.status == Status.DELETING:
        among = _built_on_deleted(context, backup)
        context.catalog.resume(row, backup.id)
    else:
        context.catalog.transition(backup.id, _DELETABLE, Status.DELETING)
    awaited: list[str] = []

    def may_sweep() -> bool:
        running = context.catalog.writers(str(backup.backend), str(backup.container))
        awaited[:] = [each for each in running if among is None or each in among]
        return not awaited

    operation.may_sweep = may_sweep
    return awaited


def _built_on_deleted(context: Context, backup: Backup) -> Collection[str] | None:
    """The running backups that may refer to objects of a backup whose delete waits; None is all.

    Not only those that it waits for: one that began later may be built on another backup that used
    the same objects, and whose manifest, which told so, has been deleted since.
    """
    postponed = context.catalog.postponed()
    going = [other for status in (Status.DELETING, Status.ERROR_DELETING)
             for other in context.catalog.backups(backend=backup.backend, status=status)
             if other.container == backup.container and other.id not in postponed]
    # Of these it is not known, or not recorded yet, who was running when their manifests went.
    return None if going else set().union(*postponed.values())


def _postpone(context: Context, row: Running, backup: Backup, awaited: Sequence[str]) -> None:
    others = ', '.join(awaited)
    sentence = (f'backup {backup.id} is deleted, but a backup that is running may use its objects: '
                f'they are freed by the next command that makes or deletes backups when {others} '
                f'{"has" if len(awaited) == 1 else "have"} ended')
    context.catalog.postpone(row, backup.id, awaited, warnings=[
        *(each for each in backup.warnings if each != sentence), sentence])
    context.warn(sentence)
