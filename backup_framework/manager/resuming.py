"""Going on with a backup that was interrupted: which one that is, and its record."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from backup_framework import exceptions, store
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.formats import versions
from backup_framework.manager import copying, records
from backup_framework.manager.context import Context
from backup_framework.model import Backup, Status

if TYPE_CHECKING:
    from backup_framework.manager.creating import Request


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What to do for a request.

    :param backup: to go on with; None makes a new one.
    :param complete: what was to be gone on with lacked nothing but its record, and has that now.
    """

    backup: Backup | None = None
    complete: bool = False


def choose(context: Context, request: Request, fresh: Backup) -> Chosen:
    """The newest backup of the volume that was interrupted and serves the request.

    :param fresh: the record of a new backup, without a parent.
    """
    earlier = _newest(context, request, fresh)
    if earlier is None:
        return Chosen()
    try:
        found = stored(context, earlier)
        if found is not None:
            records.heal(context, earlier, found)
            context.warn(f'backup {earlier.id} was complete when it was interrupted, and is '
                         'recorded as such now; this is a new backup')
            return Chosen(complete=True)
        refuse(context, earlier)
    except (exceptions.Refused, exceptions.FormatError) as error:
        context.warn(f'this is a new backup: backup {earlier.id} was interrupted and cannot be '
                     f'gone on with, because {error}. "backup delete {earlier.id}" removes it')
        return Chosen()
    _prepare(context, request, earlier, fresh)
    return Chosen(earlier)


def _newest(context: Context, request: Request, fresh: Backup) -> Backup | None:
    """None also where a newer one is complete: it has more than could be kept."""
    known = context.catalog.backups(volume_id=fresh.volume_id, backend=fresh.backend)
    for backup in known:
        if _is_usable(backup):
            return None
        if backup.status == Status.ERROR and _serves(context, request, backup, fresh):
            return backup
    return None


def _serves(context: Context, request: Request, backup: Backup, fresh: Backup) -> bool:
    version = versions.FORMATS.get(backup.format or '')
    if version is None or not version.resumes or backup.owner is not None:
        return False
    if not (backup.container and backup.service_metadata) or copying.COPIED_FROM in backup.metadata:
        return False
    if backup.manifest_digest is not None:
        # It was complete once: whoever knows its id means what it had then.
        return False
    wanted = None if request.incremental is False else backup.parent_id
    if request.parent is not None:
        parent = context.catalog.get_backup(request.parent)
        wanted = parent.id if _is_usable(parent) else None
    return (backup.parent_id == wanted and request.version in (None, backup.format)
            and fresh.container in (None, backup.container))


def _is_usable(backup: Backup) -> bool:
    return backup.status in (Status.AVAILABLE, Status.RESTORING) and backup.owner is None


def stored(context: Context, backup: Backup) -> dict[str, Any] | None:
    """What its manifest says of it, where that is there and all that it needs.

    None also of a driver that is not ours: it has its own way to tell what is complete.

    :raises FormatError: the manifest is there, and something else that it stored is not.
    :raises Refused: whether it is complete cannot be told now, or damage of a parent hurts it.
    """
    driver = context.drivers.get(str(backup.backend))
    if not isinstance(driver, ChunkedBackupDriver):
        return None
    driver.before_operation('verify')
    try:
        header, found = driver.describe(str(backup.container), str(backup.service_metadata))
    except exceptions.MissingObject:
        return None
    if header.backup_id != backup.id:
        raise exceptions.CorruptManifest(f'its manifest is of backup {header.backup_id}')
    context.catalog.chain(backup)
    with context.running('verify', backup, quick=True) as (_, operation):
        report = driver.verify(backup, operation=operation)
    if report.ok:
        return found
    if any(container == backup.container and versions.stored_by(name) == backup.service_metadata
           for container, name in report.bad):
        raise exceptions.MissingObject(
            f'it has a manifest, and something is wrong with it: {report.problems[0]}')
    raise exceptions.InvalidBackup(
        f'backup {backup.id} has a manifest and no damage that is known to be its own, but '
        f'something that it needs is not right: {report.problems[0]}. What it stored is left, and '
        '"catalog rebuild" records it')


def refuse(context: Context, backup: Backup) -> None:
    """:raises Refused: nothing can be kept of what the store has."""
    version = versions.FORMATS.get(backup.format or '')
    if version is None or not version.resumes:
        raise exceptions.Refused(f'one of format {backup.format} cannot be gone on with')
    driver = context.drivers.chunked(str(backup.backend), 'go on with backups')
    calls = store.Calls(driver, retry_deadline=driver.settings.retry_deadline)
    able = calls.retry(driver.capabilities)
    if not able.reports_size:
        raise exceptions.Refused('its store does not tell sizes of objects')
    if able.durable_together:
        raise exceptions.Refused('what was stored may have been lost since: its store makes '
                                 'objects durable at the end of a backup only (durability)')


def _prepare(context: Context, request: Request, backup: Backup, fresh: Backup) -> None:
    """Say in the record what this run makes of it."""
    backup.warnings = [f'it was interrupted ({backup.fail_reason or "for a reason unknown"}) and '
                       'gone on with later; it has what the volume had then']
    backup.status, backup.fail_reason = Status.CREATING, None
    backup.data_timestamp, backup.service = fresh.data_timestamp, fresh.service
    backup.size, backup.size_bytes = fresh.size, fresh.size_bytes
    backup.display_name = request.name or backup.display_name
    backup.display_description = fresh.display_description or backup.display_description
    backup.metadata = backup.metadata | fresh.metadata
    backup.on_save = fresh.on_save
    find_parent(context, backup)


def find_parent(context: Context, backup: Backup) -> None:
    """Set the parent that it was begun on, if it had one; without that it becomes a full one."""
    if backup.parent_id is None:
        return
    parent_id = backup.parent_id
    if context.catalog.has_backup(parent_id):
        parent = context.catalog.backup_of(parent_id, None)
        if _is_usable(parent):
            backup.parent = parent
            return
    backup.parent_id = None
    backup.warnings.append(f'this is a full backup, because backup {parent_id}, which it was begun '
                           'on, is not available any more')


def begin(context: Context, backup: Backup) -> None:
    """Take it up: of two that want to one wins.

    :raises InvalidBackup: it is no failed backup any more.
    """
    names = ('fail_reason', 'data_timestamp', 'service', 'size', 'size_bytes', 'display_name',
             'display_description', 'metadata', 'parent_id')
    context.catalog.transition(backup.id, [Status.ERROR], Status.CREATING, warnings=[],
                               **{name: getattr(backup, name) for name in names})
