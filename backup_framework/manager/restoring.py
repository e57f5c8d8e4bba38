"""Restoring backups."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import io
import os
from typing import Any, BinaryIO

from backup_framework import exceptions, model
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.engine import source, target
from backup_framework.engine.monitor import Operation
from backup_framework.interface.backup_driver import BackupDriver
from backup_framework.manager import drivers
from backup_framework.manager.context import Context, refuse_unreadable
from backup_framework.model import Backup, Extent


@dataclasses.dataclass
class Request:
    """What `backup restore` was asked for.

    :param force: the target may be an existing file or block device.
    :param truncate: give an existing file the exact length of the backup.
    :param wanted: only these bytes of the volume.
    :param delta: read the target first and write only what differs.
    :param partial: leave alone what cannot be restored, in the place of an error.
    :param stream: write to it instead of to `target`, in order.
    :param resume: take up what an interrupted restore left, and leave it if this one is.
    :param volume_id: of the volume that the target is; None is that whose path it is, if any.
    :param fresh: the target was made just now and reads as zeros.
    :param before_writing: called when nothing is left to do but to write.
    """

    target: str
    force: bool = False
    truncate: bool = False
    wanted: Extent | None = None
    delta: bool = False
    partial: bool = False
    stream: BinaryIO | None = None
    resume: bool = False
    volume_id: str | None = None
    fresh: bool = False
    before_writing: Callable[[], None] = lambda: None


@dataclasses.dataclass(frozen=True)
class Lost:
    """Bytes of the volume that a partial restore left alone, and why."""

    extent: Extent
    reason: str


@dataclasses.dataclass
class Restored:
    """What a restore did.

    :param tail: bytes that the target has behind the backup's, which were left as they were.
    :param lost: what a partial one has not restored, in the order of the volume.
    """

    backup: Backup
    target: str
    size_bytes: int
    tail: int = 0
    lost: list[Lost] = dataclasses.field(default_factory=list)


def restore(context: Context, backup: Backup, request: Request, job_id: str | None = None
            ) -> Restored:
    """Write a backup to a target; see Manager.restore."""
    refuse_unreadable(backup)
    context.catalog.chain(backup)
    driver = _driver(context, backup, request)
    with context.running('restore', backup, detail=_spelled(request), job_id=job_id,
                         delta=request.delta, wanted=request.wanted,
                         lost=[] if request.partial else None) as (_, operation):
        size = _size(driver, backup, operation)
        _refuse_range(request, size)
        operation.before_writing = request.before_writing
        if request.stream is not None:
            _write(driver, backup, request.volume_id or '', _InOrder(request.stream), True,
                   operation)
            return Restored(backup, request.target, _length(request, size))
        return _to_path(context, driver, backup, request, size, operation)


def _write(driver: BackupDriver, backup: Backup, volume_id: str, file: Any, is_new: bool,
           operation: Operation) -> None:
    if type(driver).restore is not ChunkedBackupDriver.restore:
        operation.before_writing()  # it may write at once
    drivers.call(driver.restore, backup, volume_id, file, is_new, operation=operation)


class _InOrder(io.RawIOBase):
    """A stream that is written from where it stands, also where it is a file that could seek.

    A shell's `>>` and what was written to the same output before have to stay.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()


def _to_path(context: Context, driver: BackupDriver, backup: Backup, request: Request, size: int,
             operation: Operation) -> Restored:
    path = request.target
    if request.wanted is not None:
        new = not os.path.lexists(path)
        operation.wanted_at = 0 if new else None
        size = request.wanted.length if new else request.wanted.end
        if not new and os.path.isfile(path) and os.path.getsize(path) < size:
            raise exceptions.InvalidTarget(
                f'{path} has {os.path.getsize(path)} bytes, and the range ends at byte {size}')
    forbidden = [*context.drivers.host_paths(), context.configuration.state_path]
    with target.open_target(path, size, force=request.force, truncate=request.truncate,
                            forbidden=forbidden, resume=request.resume,
                            content=f'{backup.id} {request.wanted}') as (file, fresh):
        file.seek(0)
        # What is there already is told by its digests, whoever left it.
        operation.delta = operation.delta or (request.resume and not fresh)
        _write(driver, backup, request.volume_id or _volume_at(context, path), file,
               fresh or request.fresh, operation)
        if not isinstance(driver, ChunkedBackupDriver):
            _finish(file, size, str(backup.backend))
    # A part is put into what is there, whose end is not the backup's business.
    whole = not request.truncate and request.wanted is None
    return Restored(backup, path, _length(request, size),
                    target.tail_of(path, size) if whole else 0, _lost(operation))


def _lost(operation: Operation) -> list[Lost]:
    lost = [Lost(extent, problem.sentence) for problem in operation.lost or ()
            for extent in problem.extents]
    return sorted(lost, key=lambda each: (each.extent.offset, each.reason))


def _driver(context: Context, backup: Backup, request: Request) -> BackupDriver:
    """The backup's driver; our own base is wanted for what the interface does not have."""
    if request.stream is not None or request.wanted is not None or (
            request.delta or request.partial or request.resume):
        return context.drivers.chunked(str(backup.backend), 'restore to a stream, a part of a '
                                       'volume, only what differs, or around damage')
    return context.drivers.get(str(backup.backend))


def _spelled(request: Request) -> str:
    return request.target if request.stream is not None else source.absolute(request.target)


def _length(request: Request, size: int) -> int:
    return size if request.wanted is None else request.wanted.length


def _refuse_range(request: Request, size: int) -> None:
    """:raises InvalidInput: what was asked for cannot be."""
    if request.wanted is not None and request.wanted.end > size:
        raise exceptions.InvalidInput(
            f'bytes {request.wanted.offset} to {request.wanted.end} are wanted, but the volume '
            f'has {size}')
    if request.stream is not None and (request.delta or request.force or request.truncate
                                       or request.resume):
        raise exceptions.InvalidInput(
            'a stream can only be written: --delta, --force, --truncate and --resume are for '
            'files')
    if request.stream is not None and request.partial:
        raise exceptions.InvalidInput(
            'a stream has no place for bytes that are left out: restore to a file with --partial')
    if request.partial and request.resume:
        raise exceptions.InvalidInput(
            'what cannot be restored would keep what was left there before: --partial is not for '
            '--resume')
    if request.wanted is not None and request.truncate:
        raise exceptions.InvalidInput('--truncate is for whole backups, not for a range')


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
