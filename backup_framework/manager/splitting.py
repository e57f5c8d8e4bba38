"""A create in parts: its job begins it and waits, jobs of their own store the parts, it ends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
import json
from typing import Any, BinaryIO

from backup_framework import exceptions
from backup_framework.catalog import Running
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.engine.monitor import Operation
from backup_framework.formats import versions
from backup_framework.formats.splitting import Part, Split, StoredPart
from backup_framework.interface.volume_source import Reading
from backup_framework.manager.context import Context
from backup_framework.model import Backup, Extent, Job, Status

Read = Callable[[Backup, Job], AbstractContextManager[Reading]]
"""Opens the volume of a create, or the state of it that the create reads."""

_COMMON = ('size', 'chunk_size', 'block_size', 'digest', 'compression')
_STORED = ('name', 'length', 'digest')


def is_begun(job: Job) -> bool:
    """Whether a create has parts."""
    return 'split' in job.arguments


def begin(context: Context, row: Running, backup: Backup, file: BinaryIO, size: int | None,
          operation: Operation) -> list[Job]:
    """Give a large volume to several workers: the jobs of its parts.

    None where it is not large, or cannot have parts.

    :param row: of the create, whose job waits for them from now on.
    """
    part_size = context.configuration.service().split_size
    driver = context.drivers.get(str(backup.backend))
    if part_size is None or size is None or size <= part_size or not _can_split(backup, driver):
        return []
    assert isinstance(driver, ChunkedBackupDriver)
    split = driver.begin_parts(backup, file, part_size, operation=operation)
    if split is None or len(split.parts) == 1:
        return []
    common = {name: getattr(split, name) for name in _COMMON}
    return context.catalog.split(row, common | {'warnings': operation.warnings}, split.parts)


def _can_split(backup: Backup, driver: object) -> bool:
    if not isinstance(driver, ChunkedBackupDriver):
        return False
    return versions.FORMATS[backup.format or driver.settings.format].splitting is not None


def run(context: Context, job: Job, read: Read) -> bool:
    """Store a part; whether it was the last one, so that the create can go on.

    :param job: of the part; `attempts` says which run of it this is.
    :raises OperationCancelled: the create has ended.
    """
    backup = context.catalog.get_backup(str(job.backup_id), exact=True)
    create = context.catalog.job(job.arguments['create'])
    number = job.arguments['number']
    _find_parent(context, backup)
    driver = context.drivers.chunked(str(backup.backend), 'take backups in parts')
    with context.running('part', backup, volume_id=job.volume_id, job_id=job.id
                         ) as (row, operation):
        split = _split(create, [part.extent for part in context.catalog.parts(create.id)])
        part = Part(number, job.attempts, split.parts[number - 1])
        with read(backup, create) as reading:
            if reading.changed is not None and reading.changed_since == backup.parent_id:
                operation.changed = reading.changed
            stored = driver.store_part(backup, reading.file, split, part, operation=operation)
        result = {name: getattr(stored, name) for name in _STORED}
        return context.catalog.end_part(
            row, job, json.dumps(result | {'warnings': operation.warnings}))


def _find_parent(context: Context, backup: Backup) -> None:
    """Without it the part is stored as in a full backup."""
    if backup.parent_id is not None and context.catalog.has_backup(backup.parent_id):
        parent = context.catalog.get_backup(backup.parent_id, exact=True)
        if parent.status in (Status.AVAILABLE, Status.RESTORING):
            backup.parent = parent


def _split(create: Job, extents: list[Extent]) -> Split:
    common: Mapping[str, Any] = create.arguments['split']
    return Split(**{name: common[name] for name in _COMMON}, parts=extents)


def end(context: Context, job: Job, backup: Backup, operation: Operation) -> dict[str, Any]:
    """Make one backup of the parts: what to record of it, as the driver says.

    :param job: the create; `attempts` says which run of it this is.
    :raises BackupFrameworkError: one of them has failed.
    """
    parts = context.catalog.parts(job.id)
    for part in parts:
        if part.fail_reason is not None:
            raise exceptions.BackupFrameworkError(
                f'part {part.number} of {len(parts)} (bytes {part.extent.offset} to '
                f'{part.extent.end}) failed: {part.fail_reason}')
    results = [json.loads(str(part.result)) for part in parts]
    stored = [StoredPart(part.extent, **{name: result[name] for name in _STORED})
              for part, result in zip(parts, results)]
    told = [*job.arguments['split']['warnings'],
            *(sentence for result in results for sentence in result['warnings'])]
    operation.warnings[:0] = dict.fromkeys(told)
    driver = context.drivers.chunked(str(backup.backend), 'take backups in parts')
    return driver.end_parts(backup, _split(job, [part.extent for part in parts]), stored,
                            job.attempts, operation=operation)
