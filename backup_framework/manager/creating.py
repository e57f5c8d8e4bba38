"""Creating backups: which volume, which parent, and the record around the driver's work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import datetime
import io
import os
from typing import BinaryIO

from backup_framework import conf, exceptions, model
from backup_framework.catalog import Running
from backup_framework.catalog.records import check_metadata
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.engine import fiemap, source
from backup_framework.engine.monitor import Operation
from backup_framework.manager import drivers, freeing, hooks, options, resuming
from backup_framework.manager.context import Context, record_failure, refuse_foreign
from backup_framework.model import Backup, Extent, Status, Volume


@dataclasses.dataclass
class Request:
    """What `backup create` was asked for. None leaves the choice to the configuration.

    :param volume: a path, or the id or name of a known volume.
    :param state_of: id or name of the volume that the path is a state of.
    :param parent: id or name of the backup to build on; it must fit.
    :param version: the format of a full backup; an incremental keeps the one of its parent.
    :param changed: where alone the volume may differ from the backup `changed_since`.
    :param changed_since: its id; None where `parent` says it.
    :param parent_snapshot: path of the volume as `parent` has it, on the volume's file system: what
        they do not share is what changed.
    :param stream: read instead of the volume's path, until it ends; `state_of` names the volume.
    :param force: no warning for a volume that is in use.
    :param adopt: take the container over if it is another installation's.
    :param resume: go on with the newest backup of the volume that was interrupted, if there is one,
        and leave what is stored if this one is.
    """

    volume: str
    state_of: str | None = None
    backend: str | None = None
    container: str | None = None
    name: str | None = None
    description: str | None = None
    incremental: bool | None = None
    parent: str | None = None
    version: str | None = None
    changed: Sequence[Extent] | None = None
    changed_since: str | None = None
    parent_snapshot: str | None = None
    stream: BinaryIO | None = None
    properties: dict[str, str] = dataclasses.field(default_factory=dict)
    force: bool = False
    adopt: bool = False
    resume: bool = False


def create(context: Context, request: Request) -> Backup:
    """Back a volume up; see Manager.create."""
    volume, path, section = _volume(context, request)
    with _opened(request, path) as (file, size), _snapshot(request, file) as snapshot:
        backup = _record(context, request, volume, section, size)
        earlier = None
        if request.resume:
            earlier, request = _earlier(context, request, backup)
        if earlier is None:
            _choose_parent(context, request, backup, section)
        backup = earlier or backup
        hint = _hint(request, backup)
        options.check(context, backup, request.version, hint, size)
        context.catalog.check_writable('no backup can be recorded')
        with context.running('create', backup, volume_id=volume.id, resume=request.resume,
                             version=earlier.format if earlier else request.version,
                             parent_required=request.parent is not None, adopt=request.adopt,
                             changed=hint) as (row, operation):
            operation.may_sweep = freeing.after_failure(context, backup)
            if request.stream is None:
                _warn_of_mounts(path, operation)
            if earlier is None:
                context.catalog.add_backup(backup)
            else:
                resuming.begin(context, earlier)
            updates, problem = store(context, row, section, backup, file, operation, snapshot)
            try:
                context.catalog.finish(row, backup.id, Status.AVAILABLE,
                                       warnings=told(backup, operation), **updates)
            except exceptions.BackupFrameworkError as error:
                error.add_note(f'Backup {backup.id} itself is complete in the store: '
                               f'"catalog rebuild {backup.backend}" records it.')
                raise
            _keep_size(context, volume, updates.get('size_bytes', size))
    for sentence in told(backup, operation):
        if not (request.force and sentence.startswith(_IN_USE)):
            context.warn(sentence)
    if problem is not None:
        raise problem
    return context.made(backup, updates)


def _keep_size(context: Context, volume: Volume, size: object) -> None:
    """The backup is complete and recorded by then, whatever becomes of this."""
    try:
        context.catalog.update_volume(volume.id, size_bytes=size)
    except exceptions.BackupFrameworkError as error:
        context.warn(f'the size of volume {volume.id} was not recorded: {error}')


def _earlier(context: Context, request: Request, backup: Backup) -> tuple[Backup | None, Request]:
    """The interrupted backup to go on with, if there is one, and the request for a new one."""
    chosen = resuming.choose(context, request, backup)
    if chosen.complete and request.incremental is None:
        # The next one has to store no more than what changed since.
        request = dataclasses.replace(request, incremental=True)
    return chosen.backup, request


_IN_USE = 'the volume is mounted'
_INSTANT = datetime.timedelta(microseconds=1)
_END_OF_TIME = datetime.datetime.max.replace(tzinfo=datetime.UTC) - _INSTANT
_MUCH = datetime.timedelta(minutes=1)
"""What a clock is set back by in its ordinary life is less, and not worth a warning."""
_FROM_DRIVERS = frozenset(('container', 'service_metadata', 'parent_id', 'object_count', 'size',
                           'size_bytes', 'stored_bytes', 'format', 'manifest_digest'))
"""What of a record a driver may say."""


def store(context: Context, row: Running, section: conf.VolumeConfig | None, backup: Backup,
          file: BinaryIO, operation: Operation, snapshot: io.FileIO | None = None
          ) -> tuple[dict[str, object], BaseException | None]:
    """The driver's work between the volume's commands: what to record, and what to raise then.

    A volume that does not wake up is an error, but not one of the backup, which is complete.
    """
    updates: dict[str, object] | None = None
    try:
        with hooks.frozen(section):
            if snapshot is not None:
                # Not before: the volume's last writes may come with its freezing.
                operation.changed = _not_shared(file, snapshot, backup, operation)
            updates = _call_driver(context, backup, file, operation)
    except BaseException as error:
        if updates is None:
            record_failure(context, row, backup, error)
            raise
        error.add_note(f'Backup {backup.id} itself is complete.')
        backup.warnings.append(str(error))
        return updates, error
    return updates, None


def _call_driver(context: Context, backup: Backup, file: BinaryIO,
                 operation: Operation) -> dict[str, object]:
    driver = context.drivers.get(str(backup.backend))
    updates = drivers.call(driver.backup, backup, file, backup_metadata=True, operation=operation)
    known = {name: value for name, value in (updates or {}).items() if name in _FROM_DRIVERS}
    return {'container': backup.container, 'service_metadata': backup.service_metadata,
            'parent_id': backup.parent_id} | known


def told(backup: Backup, operation: Operation) -> list[str]:
    """The warnings that its record keeps."""
    return backup.warnings + operation.warnings


def _volume(context: Context, request: Request
            ) -> tuple[Volume, str, conf.VolumeConfig | None]:
    """The volume's record, made at its first backup; the path to read; its section, if any."""
    section = context.configuration.volume(request.state_of or request.volume)
    if request.stream is not None:
        return _of_stream(context, request), '', section
    path = _path(context, request, section)
    source.open_volume(path).close()
    if request.state_of is not None:
        return _named(context, request.state_of, path), path, section
    if section is not None:
        return _named(context, section.name, path), path, section
    volume = context.catalog.volume_at_path(path)
    if section is None and volume.name:
        section = context.configuration.volume(volume.name)
    return volume, path, section


def _of_stream(context: Context, request: Request) -> Volume:
    if request.state_of is None:
        raise exceptions.InvalidInput(
            'a stream does not say of which volume it is: name that with --volume')
    try:
        return context.catalog.get_volume(request.state_of)
    except exceptions.VolumeNotFound:
        if os.sep in request.state_of:
            raise
        return context.catalog.add_volume(Volume(name=request.state_of))


@contextlib.contextmanager
def _opened(request: Request, path: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """What to read, and its bytes where they are known."""
    if request.stream is not None:
        yield request.stream, None
        return
    with source.open_volume(path) as file:
        yield file, source.size_of(file)


@contextlib.contextmanager
def _snapshot(request: Request, file: BinaryIO) -> Iterator[io.FileIO | None]:
    """The volume as the parent has it, where the request names that."""
    if request.parent_snapshot is None:
        yield None
        return
    with source.open_volume(request.parent_snapshot) as snapshot:
        volume = source.plain_file(file)
        if volume is not None and os.path.sameopenfile(volume.fileno(), snapshot.fileno()):
            raise exceptions.InvalidInput(
                f'{request.parent_snapshot} is the volume itself, not what it was at the parent')
        yield snapshot


def _not_shared(file: BinaryIO, snapshot: io.FileIO, backup: Backup, operation: Operation
                ) -> Sequence[Extent] | None:
    """Where alone the volume may differ from its parent; a warning where nobody can tell."""
    length, wanted = source.size_of(snapshot), backup.parent and backup.parent.size_bytes
    if wanted not in (None, length):
        operation.warn(f'the whole volume was read: {snapshot.name} has {length} bytes, and backup '
                       f'{backup.parent_id} has {wanted}')
        return None
    volume = source.plain_file(file)
    changed = None if volume is None else fiemap.differing(
        volume.fileno(), snapshot.fileno(), operation.monitor.tick)
    if changed is None:
        operation.warn(f'the whole volume was read: what it shares with {snapshot.name} can be '
                       'told only of two files on one XFS or btrfs')
    return changed


def _hint(request: Request, backup: Backup) -> Sequence[Extent] | None:
    """The changed extents, where they were taken against the parent that the backup has."""
    if request.changed is None or backup.parent_id is None:
        return None
    if request.changed_since not in (None, backup.parent_id):
        backup.warnings.append(
            f'the changed extents were not used: they were taken against backup '
            f'{request.changed_since}, and the parent is {backup.parent_id}')
        return None
    return request.changed


def _path(context: Context, request: Request, section: conf.VolumeConfig | None) -> str:
    text = request.volume
    if os.sep in text or os.path.lexists(text):
        return source.absolute(text)
    if section is not None and request.state_of is None:
        return section.path
    try:
        path = context.catalog.get_volume(text).path
    except exceptions.VolumeNotFound:
        raise exceptions.VolumeNotFound(
            f'there is no volume {text!r}: it is no path, and no volume is known by that name'
        ) from None
    if path is None:
        raise exceptions.VolumeNotFound(f'the path of volume {text} is not known; give it')
    return path


def _named(context: Context, ref: str, path: str) -> Volume:
    """The volume of this name or id; a new name makes a volume."""
    try:
        return context.catalog.get_volume(ref)
    except exceptions.VolumeNotFound:
        if os.sep in ref:
            raise
    known = context.catalog.find_volume_by_path(path)
    if known is not None and known.name is None:
        context.catalog.update_volume(known.id, name=ref)
        return context.catalog.get_volume(known.id)
    try:
        return context.catalog.add_volume(Volume(name=ref, path=path))
    except exceptions.InvalidInput:
        # Another process was quicker.
        return context.catalog.get_volume(ref)


def _record(context: Context, request: Request, volume: Volume,
            section: conf.VolumeConfig | None, size: int | None) -> Backup:
    now = model.utcnow()
    taken = later_than_all(context, volume, now)
    backend = (request.backend or (section.backend if section else None)
               or context.configuration.default_backend)
    driver = context.drivers.get(backend)
    properties = (dict(section.properties) if section else {}) | request.properties
    check_metadata(properties)
    return Backup(
        volume_id=volume.id, display_name=request.name,
        display_description=request.description or (section.description if section else None),
        container=request.container or (section.container if section else None),
        metadata=properties, created_at=now, data_timestamp=taken, backend=backend,
        service=drivers.service(driver), size=model.size_gib(size or 0), size_bytes=size,
        on_save=saver(context), warnings=told_of_clock(now, taken))


def saver(context: Context) -> Callable[[Backup], None]:
    """Keeps what a driver has decided before it stores the first object."""
    def save(backup: Backup) -> None:
        context.catalog.update_backup(backup.id, container=backup.container,
                                      service_metadata=backup.service_metadata,
                                      parent_id=backup.parent_id, format=backup.format)
    return save


def later_than_all(context: Context, volume: Volume, now: datetime.datetime
                    ) -> datetime.datetime:
    """Now, or just after the newest backup of the volume where the clock says otherwise.

    The order of these times is the order of the backups: by it the newest is found to build on.
    """
    newest = context.catalog.newest_usable(volume.id)
    if newest is None or newest.data_timestamp is None or newest.data_timestamp < now:
        return now
    return min(newest.data_timestamp, _END_OF_TIME) + _INSTANT


def told_of_clock(now: datetime.datetime, taken: datetime.datetime) -> list[str]:
    if taken - now < _MUCH:
        return []
    return [f'the clock of this host says {now:%Y-%m-%d %H:%M} UTC, which is before the newest '
            f'backup of this volume: this one is recorded as of {taken:%Y-%m-%d %H:%M}, just after '
            'it; set the clock right']


def _choose_parent(context: Context, request: Request, backup: Backup,
                   section: conf.VolumeConfig | None) -> None:
    """Set the parent, linked to its own; none makes a full backup."""
    if request.parent_snapshot is not None and request.parent is None:
        raise exceptions.InvalidInput(
            f'nothing says of which backup {request.parent_snapshot} is the state: name it with '
            '--parent')
    if request.changed is not None and request.parent is None and request.changed_since is None:
        raise exceptions.InvalidInput(
            'the changed extents do not say since which backup: name it with --parent')
    if request.parent is not None:
        chosen = context.catalog.get_backup(request.parent)
        parent: Backup | None = fitting(context, chosen, backup)
    elif request.changed_since is not None and request.incremental is not False:
        parent = _hinted_parent(context, request.changed_since, backup)
    elif _wants_incremental(context, request, backup, section):
        parent = _newest_parent(context, backup)
        if parent is None:
            backup.warnings.append('this is a full backup, because there is none to build on')
    else:
        return
    if parent is not None:
        build_on(context, request, backup, parent)


def build_on(context: Context, request: Request, backup: Backup, parent: Backup) -> None:
    """An incremental keeps the format of its parent and, since 2.0.0, where it refers to its
    parent's objects, the container; asking for another makes a full backup. A format that is only
    configured waits for the next one.
    """
    reason = _misfit(context, request, backup, parent)
    if reason is not None:
        if request.parent is not None:
            raise exceptions.InvalidBackup(
                f'backup {parent.id} cannot be the parent: {reason}')
        backup.warnings.append(f'this is a full backup, because {reason}')
        return
    backup.parent_id, backup.parent, backup.format = parent.id, parent, parent.format
    configured = getattr(_settings(context, backup), 'format', None)
    if request.version is None and configured not in (None, parent.format):
        backup.warnings.append(f'format is {parent.format} as in the parent; {configured} takes '
                               'effect with the next full backup')
    if not backup.needs_parent:
        backup.container = parent.container


def _misfit(context: Context, request: Request, backup: Backup, parent: Backup) -> str | None:
    if None not in (request.version, parent.format) and request.version != parent.format:
        return f'the format is {request.version} and was {parent.format} at backup {parent.id}'
    driver = context.drivers.get(str(backup.backend))
    shares = not Backup(parent_id=parent.id, format=parent.format).needs_parent
    if not (shares and isinstance(driver, ChunkedBackupDriver)):
        return None
    wanted = backup.container or driver.settings.container
    container = driver.update_container_name(backup, wanted) or wanted
    if container and container != parent.container:
        return f'the container is {container} and was {parent.container} at backup {parent.id}'
    return None


def _newest_parent(context: Context, backup: Backup) -> Backup | None:
    """None of a chain that another installation wrote in part: it may delete its own backups."""
    parent = context.catalog.newest_usable(backup.volume_id, str(backup.backend), own=True)
    if parent is None or any(member.owner for member in context.catalog.chain(parent)):
        return None
    return parent


def _wants_incremental(context: Context, request: Request, backup: Backup,
                       section: conf.VolumeConfig | None) -> bool:
    if request.incremental is not None:
        return request.incremental
    if section is not None and section.incremental is not None:
        return section.incremental
    return bool(getattr(_settings(context, backup), 'incremental', False))


def _settings(context: Context, backup: Backup) -> object:
    """Of the backup's driver; None where it has none."""
    return getattr(context.drivers.get(str(backup.backend)), 'settings', None)


def _hinted_parent(context: Context, backup_id: str, backup: Backup) -> Backup | None:
    """The backup that changed extents were taken against; where it cannot be built on, another."""
    try:
        return fitting(context, context.catalog.get_backup(backup_id), backup)
    except (exceptions.Refused, exceptions.BackupNotFound) as error:
        backup.warnings.append(f'the changed extents were not used: {error}')
        return _newest_parent(context, backup)


def fitting(context: Context, parent: Backup, backup: Backup) -> Backup:
    """The parent that was asked for.

    :raises Refused: it cannot be that.
    """
    for member in context.catalog.chain(parent):
        refuse_foreign(member, 'built on')
    for wrong, reason in (
            (parent.volume_id != backup.volume_id, 'is of another volume'),
            (parent.backend != backup.backend, f'is on backend {parent.backend}'),
            (parent.status not in (Status.AVAILABLE, Status.RESTORING), f'is {parent.status}')):
        if wrong:
            raise exceptions.InvalidBackup(
                f'backup {parent.id} cannot be the parent: it {reason}')
    return parent


def _warn_of_mounts(path: str, operation: Operation) -> None:
    mounted = source.writable_mounts(path)
    if mounted:
        operation.warn(f'{_IN_USE} read-write at {", ".join(mounted)}: what is written to it while '
                       'it is read may be in the backup in part')
