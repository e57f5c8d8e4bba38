"""Deleting backups, children before parents; what waits until running backups have ended."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import logging

from backup_framework import exceptions
from backup_framework.catalog import Running
from backup_framework.engine.monitor import Sweep
from backup_framework.manager import cleaning, drivers
from backup_framework.manager.context import Context, reason_of, refuse_foreign
from backup_framework.manager.freeing import Freeing
from backup_framework.model import Backup, Newness, Status, newness

LOG = logging.getLogger(__name__)

_DELETABLE = (Status.AVAILABLE, Status.ERROR, Status.ERROR_DELETING)
_FINAL = (exceptions.FormatError, exceptions.ForeignContainer)
"""What comes again until somebody does something about it. A store may come back by itself, and so
may who keeps a key."""


def plan(context: Context, backups: Sequence[Backup], with_dependents: bool) -> list[Backup]:
    """What has to be deleted, in an order that never leaves a child without its parent.

    :raises BackupInUse: children are not among them and `with_dependents` is not asked for.
    """
    chosen = {backup.id: backup for backup in backups}
    waiting = list(backups)
    while waiting:
        parent = waiting.pop()
        dependents = [] if parent.is_empty else context.catalog.dependents(parent.id)
        missing = [child for child in dependents if child.id not in chosen]
        if missing and not with_dependents:
            names = ', '.join(_name(child) for child in missing)
            raise exceptions.BackupInUse(
                f'{_name(parent)} is needed by {names}; --with-dependents deletes them as well')
        chosen |= {child.id: child for child in missing}
        waiting += missing
    return children_first(list(chosen.values()))


def _name(backup: Backup) -> str:
    return f'backup {backup.id}' + (f' ({backup.display_name})' if backup.display_name else '')


def children_first(backups: Sequence[Backup]) -> list[Backup]:
    """In an order that never leaves a child without its parent, and else with the newest first:
    what may be needed by one that is not in the catalog can go after the one that needs that.
    """
    by_id = {backup.id: backup for backup in backups}

    def place(backup: Backup) -> tuple[Newness, int]:
        newest, depth = newness(backup), 0
        while backup.parent_id in by_id and depth < len(by_id):
            backup, depth = by_id[backup.parent_id], depth + 1
            newest = max(newest, newness(backup))
        return newest, depth

    return sorted(backups, key=place, reverse=True)


def check(context: Context, backup: Backup) -> None:
    """:raises Refused: the backup is in a state in which nothing may delete it."""
    refuse_foreign(backup, 'deleted')
    if backup.status not in _DELETABLE and backup.id not in context.catalog.postponed():
        raise exceptions.InvalidBackup(f'backup {backup.id} is {backup.status}; it can be deleted '
                                       'when it is available or failed')


def delete(context: Context, backup: Backup, adopt: bool = False) -> bool:
    """Delete one backup's objects, then its record; after a failed one also look for leftovers.

    False where objects stay until other backups have ended: see `take_up`.

    :param adopt: also in a container of another installation, which becomes ours.
    """
    check(context, backup)
    done = _delete(context, backup, adopt)
    if backup.status in (Status.ERROR, Status.ERROR_DELETING):
        try:
            cleaning.clean(context, str(backup.backend))
        except exceptions.BackupFrameworkError as error:
            LOG.info('No temporary objects were looked for: %s', error)
    return done


def delete_accepted(context: Context, backup: Backup, job_id: str, was: str) -> bool:
    """Delete what a job was accepted for, and which is `deleting` since then; see `delete`.

    :param was: its status before.
    """
    refuse_foreign(backup, 'deleted')
    return _delete(context, backup, job_id=job_id, was=was)


def take_up(context: Context) -> None:
    """Go on with the deletes that waited for backups which have ended by now.

    One that is stopped, or whose store fails, waits again, as do those on backends of other hosts.
    Where what is stored prevents it, the delete has failed: else each round would tell so again.
    """
    for backup_id, running in context.catalog.postponed().items():
        if running:
            continue
        try:
            backup = context.catalog.backup_of(backup_id, None)
            if backup.backend in context.configuration.enabled_backends:
                _delete(context, backup)
        except (exceptions.BackupInUse, exceptions.InvalidBackup,
                exceptions.BackupNotFound) as error:
            LOG.info('Another command has taken up the delete of backup %s: %s', backup_id, error)
        except exceptions.OperationCancelled:
            raise
        except exceptions.BackupFrameworkError as error:
            again = f'; "backup delete {backup_id}" tries again' * _is_final(error)
            context.warn(f'the objects of backup {backup_id}, which was deleted while others were '
                         f'running, could not be freed: {error}{again}')


def _delete(context: Context, backup: Backup, adopt: bool = False, job_id: str | None = None,
            was: str | None = None) -> bool:
    was = was or backup.status
    driver = context.drivers.get(str(backup.backend))
    with context.running('delete', backup, job_id=job_id, adopt=adopt) as (row, operation):
        freeing = operation.may_sweep = _begin(context, row, backup)
        try:
            drivers.call(drivers.delete_method(driver), backup, operation=operation)
            done = freeing.answer in (None, Sweep.NOW)
            if done:
                context.catalog.forget(backup.id, operation=row)
            else:
                _postpone(context, row, backup, freeing.awaited)
        except BaseException as error:
            with contextlib.suppress(exceptions.BackupFrameworkError):
                _record_failure(context, row, backup, was, error)
            raise
    return done


def _is_final(error: BaseException) -> bool:
    return isinstance(error, _FINAL) and not isinstance(error, exceptions.KeyUnavailable)


def _record_failure(context: Context, row: Running, backup: Backup, was: str, error: BaseException
                    ) -> None:
    """Nothing has happened where the container is another installation's."""
    untouched = isinstance(error, exceptions.ForeignContainer) and was in _DELETABLE
    if row.job_id is None:
        waits = was == Status.DELETING and not _is_final(error)
        to = was if untouched or waits else Status.ERROR_DELETING
        context.catalog.finish(row, backup.id, to,
                               fail_reason=backup.fail_reason if untouched else reason_of(error))
    elif untouched:
        # What else came of a job says whoever runs it.
        context.catalog.transition(backup.id, [Status.DELETING], was)


def _begin(context: Context, row: Running, backup: Backup) -> Freeing:
    """Mark the backup as being deleted; who tells whether its objects may be deleted then."""
    awaited: Sequence[str] | None = None
    if row.job_id is not None:
        pass  # marked when it was accepted
    elif backup.status == Status.DELETING:
        awaited = context.catalog.resume(row, backup.id)
    else:
        context.catalog.transition(backup.id, _DELETABLE, Status.DELETING)
    return Freeing(context, str(backup.container), backup, awaited)


def _postpone(context: Context, row: Running, backup: Backup, awaited: Sequence[str]) -> None:
    sentence = (f'backup {backup.id} is deleted, but a backup that is running may use its objects: '
                'they are freed by the next command that makes or deletes backups')
    if awaited:
        sentence += (f' when {", ".join(awaited)} {"has" if len(awaited) == 1 else "have"} ended')
    context.catalog.postpone(row, backup.id, awaited, fail_reason=None, warnings=[
        *(each for each in backup.warnings if each != sentence), sentence])
    context.warn(sentence)
