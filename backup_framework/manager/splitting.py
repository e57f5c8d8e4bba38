"""A create in parts: its job begins it and waits, jobs of their own store the parts, it ends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
import json
from typing import Any

from backup_framework import exceptions
from backup_framework.catalog import Running
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.engine.monitor import Operation
from backup_framework.formats import versions
from backup_framework.formats.splitting import Part, Split, StoredPart
from backup_framework.interface.volume_source import Reading
from backup_framework.manager import creating
from backup_framework.manager.context import Context
from backup_framework.model import Backup, Extent, Job, Status

Read = Callable[[Backup, Job], AbstractContextManager[Reading]]
"""Opens the volume of a create, or the state of it that the create reads."""

_COMMON = ('size', 'chunk_size', 'block_size', 'digest', 'compression')
_STORED = ('name', 'length', 'digest')


def is_begun(job: Job) -> bool:
    """Whether a create has parts."""
    return 'split' in job.arguments


def taken(job: Job) -> str | None:
    """What the source calls the state that the parts of a create read."""
    found: str | None = job.arguments['split']['taken']
    return found


def waits(context: Context, job: Job) -> bool:
    """Whether a create has parts that are not stored yet, and none that has failed."""
    parts = context.catalog.parts(job.id)
    return (any(part.result is None for part in parts)
            and all(part.fail_reason is None for part in parts))


def begin(context: Context, row: Running, backup: Backup, reading: Reading, operation: Operation
          ) -> list[Job]:
    """Give a large volume to several workers: the jobs of its parts.

    There are none where it is not large, or cannot have parts.

    :param row: of the create, whose job waits for them from now on.
    """
    part_size = context.configuration.service().split_size
    driver = context.drivers.get(str(backup.backend))
    if (part_size is None or reading.size <= part_size
            or not isinstance(driver, ChunkedBackupDriver)
            or versions.FORMATS[backup.format or driver.settings.format].splitting is None):
        return []
    split = driver.begin_parts(backup, reading.file, part_size, operation=operation)
    if split is None or len(split.parts) == 1:
        return []
    common = {name: getattr(split, name) for name in _COMMON} | {
        'taken': reading.taken, 'warnings': creating.told(backup, operation)}
    return context.catalog.split(row, common, split.parts)


def store(context: Context, job: Job, read: Read) -> list[Job]:
    """Store a part. Of the last one gives the create, which can go on.

    :param job: of the part; `attempts` says which run of it this is.
    :raises OperationCancelled: the create has ended.
    """
    backup = context.catalog.backup_of(str(job.backup_id), None)
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
        is_last = context.catalog.end_part(
            row, job, json.dumps(result | {'warnings': operation.warnings}))
    context.catalog.progress_of_parts(create.id)
    return [create] if is_last else []


def _find_parent(context: Context, backup: Backup) -> None:
    """Without it the part is stored as in a full backup."""
    if backup.parent_id is not None and context.catalog.has_backup(backup.parent_id):
        parent = context.catalog.backup_of(backup.parent_id, None)
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
