"""Copying backups between backends and formats: the bytes are verified on the way."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses

from backup_framework import model
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.engine.monitor import Operation
from backup_framework.manager import drivers, freeing, options
from backup_framework.manager.context import Context, record_failure, refuse_unreadable
from backup_framework.model import Backup, Status

COPIED_FROM = 'copied_from'
"""The property of a copy that holds the id of what it was copied from."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What `backup copy` was asked for.

    :param version: the format of the copy; None is the one of the backend's configuration.
    :param chain: also copy the backups that it was built on, as a chain.
    :param adopt: take the container over if it is another installation's.
    """

    to_backend: str
    version: str | None = None
    container: str | None = None
    chain: bool = False
    adopt: bool = False


def copy(context: Context, backup: Backup, request: Request) -> Iterator[Backup]:
    """The copies, oldest first, each when it is complete; see Manager.copy."""
    target = context.drivers.chunked(request.to_backend, 'take copies')
    parent: Backup | None = None
    for member in _history(context, backup) if request.chain else [backup]:
        refuse_unreadable(member)
        context.catalog.chain(member)
        parent = _copy(context, member, parent, target, request)
        context.catalog.chain(parent)
        yield parent


def _history(context: Context, backup: Backup) -> list[Backup]:
    """The backup and those that it was built on, as far as they are still there; root first."""
    members = [backup]
    seen = {backup.id}
    while (parent_id := members[-1].parent_id) is not None and parent_id not in seen:
        if not context.catalog.has_backup(parent_id):
            break
        members.append(context.catalog.backup_of(parent_id, None))
        seen.add(parent_id)
    return members[::-1]


def _copy(context: Context, backup: Backup, parent: Backup | None, target: ChunkedBackupDriver,
          request: Request) -> Backup:
    source = context.drivers.chunked(str(backup.backend), 'be copied from')
    copied = _record(context, backup, parent, target, request)
    options.check(context, copied, request.version)
    with (_reading(context, backup) as reading,
          contextlib.closing(source.open_state(backup, reading)) as state,
          context.running('create', copied, volume_id=copied.volume_id,
                          parent_required=parent is not None, version=request.version,
                          adopt=request.adopt) as (row, operation)):
        operation.may_sweep = freeing.after_failure(context, copied)
        context.catalog.add_backup(copied)
        try:
            updates = target.store_state(copied, state, operation=operation)
        except BaseException as error:
            record_failure(context, row, copied, error)
            raise
        context.catalog.finish(row, copied.id, Status.AVAILABLE, warnings=operation.warnings,
                               **updates)
    return context.made(copied, updates)


@contextlib.contextmanager
def _reading(context: Context, backup: Backup) -> Iterator[Operation]:
    """A row that keeps the original from being deleted meanwhile."""
    with context.running('copy', backup) as (_, operation):
        yield operation


def _record(context: Context, backup: Backup, parent: Backup | None,
            target: ChunkedBackupDriver, request: Request) -> Backup:
    def save(copied: Backup) -> None:
        context.catalog.update_backup(copied.id, container=copied.container,
                                      service_metadata=copied.service_metadata,
                                      parent_id=copied.parent_id, format=copied.format)

    return Backup(
        volume_id=backup.volume_id, display_name=backup.display_name,
        display_description=backup.display_description, snapshot_id=backup.snapshot_id,
        metadata=backup.metadata | {COPIED_FROM: backup.id}, size=backup.size,
        size_bytes=backup.size_bytes, created_at=model.utcnow(),
        data_timestamp=backup.data_timestamp, backend=request.to_backend,
        container=parent.container if parent else request.container,
        # Known from now on where it is decided: whether its parent may be deleted depends on it.
        format=parent.format if parent else None,
        parent_id=parent.id if parent else None, parent=parent,
        service=drivers.service(target), on_save=save)
