"""Restoring and verifying backups."""

from __future__ import annotations

import dataclasses
import os
from typing import BinaryIO

from backup_framework import exceptions, model
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.engine import source, target
from backup_framework.engine.monitor import Operation
from backup_framework.engine.verify import Report
from backup_framework.manager import drivers
from backup_framework.manager.context import Context, refuse_unreadable
from backup_framework.model import Backup


@dataclasses.dataclass
class Restored:
    """What a restore did.

    :param tail: bytes that the target has behind the backup's, which were left as they were.
    """

    backup: Backup
    target: str
    size_bytes: int
    tail: int = 0


def restore(context: Context, backup: Backup, path: str, *, force: bool, truncate: bool
            ) -> Restored:
    """Write a backup to a target; see Manager.restore."""
    refuse_unreadable(backup)
    context.catalog.chain(backup)
    driver = context.drivers.get(str(backup.backend))
    forbidden = [*context.drivers.host_paths(), context.configuration.state_path]
    with context.running('restore', backup, detail=source.absolute(path)) as (_, operation):
        size = _size(driver, backup, operation)
        with target.open_target(path, size, force=force, truncate=truncate,
                                forbidden=forbidden) as (file, fresh):
            file.seek(0)
            drivers.call(driver.restore, backup, _volume_at(context, path), file, fresh,
                         operation=operation)
            if not isinstance(driver, ChunkedBackupDriver):
                _finish(file, size, str(backup.backend))
    tail = 0 if truncate else target.tail_of(path, size)
    return Restored(backup, path, size, tail)


def _finish(file: BinaryIO, size: int, backend: str) -> None:
    """What our base does by itself: all is there, and on the disk."""
    length = file.seek(0, os.SEEK_END)
    if length < size:
        raise exceptions.DriverBug(
            f'the driver of backend {backend} restored {length} of {size} bytes')
    os.fsync(file.fileno())


def _size(driver: object, backup: Backup, operation: Operation) -> int:
    if isinstance(driver, ChunkedBackupDriver):
        return driver.volume_size(backup, operation)
    return backup.size_bytes or backup.size * model.GIB


def _volume_at(context: Context, path: str) -> str:
    """The id of the volume that is restored to, to which metadata belong, or ''."""
    try:
        volume = context.catalog.find_volume_by_path(source.absolute(path))
    except exceptions.InvalidInput:
        return ''
    return volume.id if volume else ''


def verify(context: Context, backup: Backup, *, quick: bool) -> Report:
    """Check a backup; see Manager.verify."""
    refuse_unreadable(backup)
    context.catalog.chain(backup)
    driver = context.drivers.chunked(str(backup.backend), 'verify backups')
    with context.running('verify', backup, quick=quick) as (_, operation):
        return driver.verify(backup, operation=operation)
