"""The backup of an accepted job: begun, gone on with, or begun anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backup_framework import exceptions, model
from backup_framework.catalog import Running
from backup_framework.catalog.jobs import RESTORE_FAILED
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.engine.monitor import Operation
from backup_framework.interface.volume_source import Reading
from backup_framework.manager import creating, deleting, drivers, freeing, resuming, splitting
from backup_framework.manager.context import Context
from backup_framework.manager.sources import IN_USE, Sources
from backup_framework.model import Backup, Extent, Job, Snapshot, Status, Volume

_LOOKS = 20
_GONE_ON_WITH = 'it was interrupted and gone on with later; it has what was read then'
LEFT_BY_FAILURE = ('a restore to the volume failed: the backup has what it left there, '
                   'a part of another backup perhaps')


def make(context: Context, sources: Sources, job: Job, snapshot: Snapshot | None) -> list[Job]:
    """Store the volume of a job, and record the backup as available; the job has ended then.

    What an earlier run stored is kept where it can be. Where the backup has its outcome already
    there is nothing to do.

    :param job: as it is now; `attempts` says which run this is.
    :param snapshot: what to read in the place of the volume.
    :returns: of a large volume, the jobs of its parts, for which the job waits.
    """
    backup = context.catalog.backup_of(str(job.backup_id), None)
    if backup.status != Status.CREATING:
        return []
    volume = context.catalog.get_volume(backup.volume_id)
    backup.on_save = creating.saver(context)
    context.catalog.check_writable('no backup can be recorded')
    with context.running('create', backup, volume_id=volume.id, job_id=job.id,
                         resume=True) as (row, operation):
        operation.may_sweep = freeing.after_failure(context, backup)
        if splitting.is_begun(job):
            updates = splitting.end(context, job, backup, operation)
            _finish(context, row, backup, operation, updates)
            sources.keep(volume, splitting.taken(job), backup.id)
            return []
        complete = _take_up(context, row, backup, operation)
        if complete is not None:
            context.catalog.finish(row, backup.id, Status.AVAILABLE, **complete)
            return []
        since = backup.parent_id
        with sources.read(volume, snapshot, since=since, key=job.id) as reading:
            if volume.status == IN_USE and snapshot is None:
                operation.warn('the volume is in use: what was written to it while it was read '
                               'may be in the backup in part')
            if volume.status == RESTORE_FAILED and backup.snapshot_id is None:
                operation.warn(LEFT_BY_FAILURE)
            _describe(context, job, backup, snapshot, reading.size)
            operation.changed = _changed(reading, backup)
            parts = (splitting.begin(context, row, backup, reading, operation)
                     if sources.is_shared(volume) else [])
            if not parts:
                _store(context, row, backup, reading, operation)
                sources.keep(volume, reading.taken, backup.id)
            return parts


def _take_up(context: Context, row: Running, backup: Backup, operation: Operation
             ) -> dict[str, Any] | None:
    """Prepare the record for this run; what to record where an earlier one has stored all.

    What may be a complete backup is removed only where the store shows that it is none; any other
    trouble ends this run, and leaves it.
    """
    if backup.service_metadata is not None:
        try:
            found = resuming.stored(context, backup)
            if found is not None:
                return {name: value for name, value in found.items()
                        if value is not None or name == 'parent_id'}
            stays = _can_go_on(context, backup)
        except (exceptions.KeyUnavailable, exceptions.UnsupportedVersion):
            raise  # nothing is known of what is stored
        except exceptions.FormatError:
            stays = False
        if stays:
            operation.version = backup.format
            _say_gone_on_with(context, backup)
            resuming.find_parent(context, backup)
            return None
        _remove_leftovers(context, row, backup, operation)
    _wait_for_name(context, backup)
    _choose_parent(context, backup)
    return None


def _say_gone_on_with(context: Context, backup: Backup) -> None:
    """In its record at once: the next run may find the backup complete."""
    if _GONE_ON_WITH not in backup.warnings:
        backup.warnings.append(_GONE_ON_WITH)
        context.catalog.update_backup(backup.id, warnings=backup.warnings)


def _can_go_on(context: Context, backup: Backup) -> bool:
    """Of what is not complete."""
    try:
        resuming.refuse(context, backup)
    except exceptions.Refused:
        return False
    return True


def _remove_leftovers(context: Context, row: Running, backup: Backup, operation: Operation
                      ) -> None:
    """Of a driver that is not ours only the backup itself can be deleted."""
    driver = context.drivers.get(str(backup.backend))
    if isinstance(driver, ChunkedBackupDriver):
        _hand_over(context, row, backup)
    else:
        drivers.call(drivers.delete_method(driver), backup, operation=operation)
    backup.service_metadata, backup.format = None, None
    backup.warnings = [each for each in backup.warnings if each != _GONE_ON_WITH]


def _hand_over(context: Context, row: Running, backup: Backup) -> None:
    """Delete what an earlier run stored as a backup of its own: that may have to wait for others.
    """
    left = Backup(
        volume_id=backup.volume_id, status=Status.DELETING, created_at=model.utcnow(),
        backend=backup.backend, container=backup.container, format=backup.format,
        service_metadata=backup.service_metadata, warnings=[
            f'an interrupted run of backup {backup.id} stored this, and could not be gone on with'])
    others = set(context.catalog.writers(str(backup.container))) - {backup.id}
    context.catalog.hand_over(row, left, sorted(others))
    deleting.take_up(context)


def _wait_for_name(context: Context, backup: Backup) -> None:
    """Names tell the second: none that is to be deleted still may be used again.

    :raises InvalidBackup: those of a driver that has its own way with names do not.
    """
    driver = context.drivers.get(str(backup.backend))
    if not isinstance(driver, ChunkedBackupDriver):
        return
    going = {each.service_metadata for status in (Status.DELETING, Status.ERROR_DELETING)
             for each in context.catalog.backups(volume_id=backup.volume_id, status=status)}
    for _ in range(_LOOKS):
        if driver.object_prefix(backup) not in going:
            return
        context.monitor.sleep(0.1)
    raise exceptions.InvalidBackup(
        f'objects of an earlier run of backup {backup.id} are to be deleted still, and new ones '
        'would have their names: make a new backup')


def _choose_parent(context: Context, backup: Backup) -> None:
    """Link the parent that was chosen when the job was accepted, as far as it fits still."""
    wanted, backup.parent_id = backup.parent_id, None
    if backup.container is None and backup.project_id is not None:
        # Projects share no container, and so nothing that is stored.
        settings = getattr(context.drivers.get(str(backup.backend)), 'settings', None)
        configured = getattr(settings, 'container', None)
        backup.container = f'{backup.project_id}/{configured or backup.volume_id}'
    if wanted is None:
        return
    try:
        parent = creating.fitting(context, context.catalog.backup_of(wanted, None), backup)
    except (exceptions.Refused, exceptions.BackupNotFound) as error:
        backup.warnings.append(f'this is a full backup, because {error}')
        return
    creating.build_on(context, creating.Request(backup.volume_id), backup, parent)


def _describe(context: Context, job: Job, backup: Backup, snapshot: Snapshot | None, size: int
              ) -> None:
    driver = context.drivers.get(str(backup.backend))
    backup.size, backup.size_bytes = model.size_gib(size), size
    backup.service, backup.host = drivers.service(driver), job.host
    if backup.snapshot_id is None:
        backup.data_timestamp = creating.later_than_all(
            context, Volume(id=backup.volume_id), model.utcnow())
    context.catalog.update_backup(backup.id, **{name: getattr(backup, name) for name in (
        'size', 'size_bytes', 'service', 'host', 'data_timestamp')})


def _changed(reading: Reading, backup: Backup) -> Sequence[Extent] | None:
    """The source's hint, where it was taken against the parent that the backup has."""
    fits = backup.parent_id is not None and reading.changed_since == backup.parent_id
    return reading.changed if fits else None


def _store(context: Context, row: Running, backup: Backup, reading: Reading,
           operation: Operation) -> None:
    updates, problem = creating.store(context, row, None, backup, reading.file, operation)
    _finish(context, row, backup, operation, updates)
    if problem is not None:
        raise problem


def _finish(context: Context, row: Running, backup: Backup, operation: Operation,
            updates: Mapping[str, Any]) -> None:
    context.catalog.finish(row, backup.id, Status.AVAILABLE,
                           warnings=creating.told(backup, operation), **updates)
