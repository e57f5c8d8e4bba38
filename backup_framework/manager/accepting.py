"""What is checked and recorded when an operation is accepted, which a worker runs later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import dataclasses
import datetime
import itertools
from typing import Any

from backup_framework import exceptions, model, store
from backup_framework.catalog.jobs import RESTORE_FAILED
from backup_framework.catalog.records import check_metadata
from backup_framework.manager import creating, records, verifying
from backup_framework.manager.context import Context, refuse_foreign
from backup_framework.manager.sources import IN_USE, Sources
from backup_framework.model import Backup, Job, Quota, Snapshot, Status, Volume

READABLE = (Status.AVAILABLE, Status.RESTORING)
_DELETABLE = (Status.AVAILABLE, Status.ERROR)
_TARGETS = ('available', RESTORE_FAILED)
_BY_FORCE = ' Restore to it again, or use the force flag to back up what the failed restore left.'
_FEW = 4
"""Backups that are read at once in search of a parent, which is nearly always the first."""


@dataclasses.dataclass
class CreateJob:
    """A backup that is asked for.

    :param container: its name within the project; None leaves it to the configuration.
    :param incremental: on the newest backup of the volume that the project has.
    :param force: also while the volume is in use, or holds what a failed restore left.
    :param backend: None is the default backend.
    :param quota: what the project may have; None does not ask.
    :param all_projects: who asks may use volumes of other projects.
    """

    volume_id: str
    project_id: str | None = None
    user_id: str | None = None
    request_id: str | None = None
    name: str | None = None
    description: str | None = None
    container: str | None = None
    incremental: bool = False
    force: bool = False
    snapshot_id: str | None = None
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    availability_zone: str | None = None
    backend: str | None = None
    quota: Quota | None = None
    all_projects: bool = False


@dataclasses.dataclass(frozen=True)
class Asker:
    """Who asks for an operation on a backup that they may see.

    :param all_projects: they may use volumes of other projects.
    """

    project_id: str | None = None
    user_id: str | None = None
    request_id: str | None = None
    all_projects: bool = False

    @property
    def scope(self) -> str | None:
        return None if self.all_projects else self.project_id

    def job(self, kind: str, backup: Backup | None = None, **fields: Any) -> Job:
        of_backup = {} if backup is None else {
            'backup_id': backup.id, 'backend': backup.backend, 'project_id': backup.project_id}
        return Job(**{'kind': kind, 'project_id': self.project_id, 'user_id': self.user_id,
                      'request_id': self.request_id, **of_backup, **fields})


def create(context: Context, wanted: CreateJob) -> tuple[Backup, Job]:
    """See Manager.accept_create."""
    asker = Asker(wanted.project_id, wanted.user_id, wanted.request_id, wanted.all_projects)
    volume = context.catalog.volume_of(wanted.volume_id, asker.scope)
    snapshot = _snapshot(context, wanted, volume, asker)
    check_metadata(wanted.metadata)
    size = (snapshot and snapshot.size_bytes) or volume.size_bytes or 0
    now = model.utcnow()
    backup = Backup(
        volume_id=volume.id, display_name=wanted.name, display_description=wanted.description,
        metadata=dict(wanted.metadata), snapshot_id=wanted.snapshot_id, created_at=now,
        data_timestamp=(snapshot and snapshot.created_at) or creating.later_than_all(
            context, volume, now),
        size=model.size_gib(size), size_bytes=size,
        availability_zone=wanted.availability_zone or volume.availability_zone or (
            context.configuration.service().zone),
        user_id=wanted.user_id, project_id=wanted.project_id,
        backend=wanted.backend or context.configuration.default_backend)
    context.configuration.backend(str(backup.backend))
    if wanted.container:
        backup.container = in_project(wanted.project_id, wanted.container)
    if wanted.incremental:
        _build_on(context, backup, snapshot)
    job = asker.job('create', backup, volume_id=volume.id, source=volume.source)
    context.catalog.accept(job, backup, quota=wanted.quota)
    return backup, job


def in_project(project_id: str | None, name: str) -> str:
    """The container that a project calls so, or that it is shown for that name; another project
    cannot name it.

    :raises InvalidName: no container can have this name.
    """
    own = '' if project_id is None else f'{project_id}/'
    return store.check_new_name(own + name.removeprefix(own))


def _snapshot(context: Context, wanted: CreateJob, volume: Volume, asker: Asker
              ) -> Snapshot | None:
    """The snapshot to back up, if one is named. Messages are Cinder's.

    :raises InvalidVolume: volume and snapshot do not fit, or are in a state that forbids it.
    """
    if wanted.snapshot_id is not None:
        snapshot = context.catalog.snapshot_of(wanted.snapshot_id, asker.scope)
        if snapshot.volume_id != volume.id:
            raise exceptions.InvalidVolume(
                f'Snapshot {snapshot.id} is not of volume {volume.id}')
        if snapshot.status != 'available':
            raise exceptions.InvalidVolume(
                'Snapshot to be backed up must be available, but the current status is '
                f'"{snapshot.status}".')
        return snapshot
    if volume.status == IN_USE and not wanted.force:
        raise exceptions.InvalidVolume('Backing up an in-use volume must use the force flag.')
    if volume.status not in ('available', IN_USE) and not (
            volume.status == RESTORE_FAILED and wanted.force):
        raise exceptions.InvalidVolume(
            'Volume to be backed up must be available or in-use, but the current status is '
            f'"{volume.status}".' + _BY_FORCE * (volume.status == RESTORE_FAILED))
    return None


def _build_on(context: Context, backup: Backup, snapshot: Snapshot | None) -> None:
    """Choose the parent: the newest of the project's backups of the volume on the backend.

    :raises InvalidBackup: there is none.
    """
    for parent in _readable(context, backup):
        if snapshot is not None and snapshot.created_at is not None and (
                _taken(parent) >= snapshot.created_at):
            continue
        if any(member.owner for member in context.catalog.chain(parent)):
            continue
        if backup.container is None and not Backup(
                parent_id=parent.id, format=parent.format).needs_parent:
            backup.container = parent.container
        backup.parent_id = parent.id
        return
    raise exceptions.InvalidBackup('No backups available to do an incremental backup.')


def _readable(context: Context, backup: Backup) -> Iterator[Backup]:
    """What the project has of the same volume on the same backend, newest first."""
    for offset in itertools.count(0, _FEW):
        found = context.catalog.backup_page(None, filters={
            'volume_id': backup.volume_id, 'project_id': backup.project_id, 'status': READABLE,
            'backend': backup.backend, 'owner': None}, sort=[('data_timestamp', 'desc')],
            limit=_FEW, offset=offset).items
        yield from found
        if len(found) < _FEW:
            return


def _taken(backup: Backup) -> datetime.datetime:
    return backup.data_timestamp or datetime.datetime.min.replace(tzinfo=datetime.UTC)


def restore(context: Context, sources: Sources, backup_id: str, volume_id: str | None,
            name: str | None, asker: Asker) -> tuple[Backup, Volume, Job]:
    """See Manager.accept_restore."""
    backup = context.catalog.backup_of(backup_id, None)
    size = backup.size_bytes or backup.size * model.GIB
    if volume_id is None:
        volume = _new_volume(context, sources, backup, size, name, asker)
    else:
        volume = context.catalog.volume_of(volume_id, asker.scope)
        _refuse_target(volume, backup, size)
    job = asker.job('restore', backup, volume_id=volume.id, source=volume.source)
    context.catalog.accept(job, volume=volume if volume_id is None else None, from_=READABLE)
    return backup, volume, job


def _new_volume(context: Context, sources: Sources, backup: Backup, size: int, name: str | None,
                asker: Asker) -> Volume:
    known = context.catalog.volumes([backup.volume_id])
    source = sources.creator(known[0].source if known else None, backup.project_id)
    now = model.utcnow()
    return Volume(
        name=name or f'restore_backup_{backup.id}', size_bytes=size, source=source,
        project_id=asker.project_id, status='creating', created_at=now, offered_at=now,
        availability_zone=backup.availability_zone)


def _refuse_target(volume: Volume, backup: Backup, size: int) -> None:
    """:raises InvalidVolume: it cannot be restored to; messages are Cinder's."""
    if volume.status not in _TARGETS:
        raise exceptions.InvalidVolume(
            'Volume to be restored to must be available, but the current status is '
            f'"{volume.status}".')
    if volume.size_bytes is not None and volume.size_bytes < size:
        raise exceptions.InvalidVolume(
            f'volume size {model.size_gib(volume.size_bytes)} is too small to restore backup of '
            f'size {backup.size}: it has {volume.size_bytes} bytes, and {size} are needed.')


def delete(context: Context, backup_id: str, force: bool, asker: Asker) -> tuple[Backup, Job]:
    """See Manager.accept_delete."""
    backup = context.catalog.backup_of(backup_id, None)
    refuse_foreign(backup, 'deleted')
    job = asker.job('delete', backup, arguments={'was': str(backup.status)})
    context.catalog.accept(job, from_=None if force else _DELETABLE, to=Status.DELETING,
                           cancel=force)
    backup.status = Status.DELETING
    return backup, job


def verify(context: Context, backup_id: str, how: verifying.How, asker: Asker
           ) -> tuple[Backup, Job]:
    """See Manager.accept_verify."""
    backup = context.catalog.backup_of(backup_id, None)
    sample = how.sample and dataclasses.asdict(how.sample)
    job = asker.job('verify', backup, arguments={
        'quick': how.quick, 'sample': sample, 'mark_bad': how.mark_bad})
    context.catalog.accept(job, from_=READABLE)
    return backup, job


def prune(context: Context, volume_id: str | None, backend: str | None, rules: Mapping[str, Any],
          asker: Asker) -> Job:
    """See Manager.accept_prune."""
    if volume_id is not None:
        context.catalog.get_volume(volume_id)
    if backend is not None:
        context.configuration.backend(backend)
    job = asker.job('prune', volume_id=volume_id, backend=backend, arguments={
        'rules': {name: _plain(rule) for name, rule in rules.items()}})
    return context.catalog.accept(job)


def _plain(rule: Any) -> Any:
    """A rule of retention as JSON."""
    if isinstance(rule, datetime.timedelta):
        return rule.total_seconds()
    return list(rule) if isinstance(rule, tuple) else rule


def import_(context: Context, record: object, quota: Quota | None, asker: Asker
            ) -> tuple[Backup, Job]:
    """See Manager.accept_import."""
    told = records.decode(record)
    if context.catalog.has_backup(told.id):
        return _import_again(context, told.id, record, asker)
    backup = Backup(
        id=told.id, volume_id=told.volume_id, size=told.size, snapshot_id=told.snapshot_id,
        created_at=told.created_at, user_id=asker.user_id, project_id=asker.project_id,
        availability_zone=context.configuration.service().zone,
        # Until it is found on one of them.
        backend=context.configuration.default_backend)
    job = asker.job('import', backup, backend=None, arguments={'record': record})
    context.catalog.accept(job, backup, quota=quota)
    return backup, job


def _import_again(context: Context, backup_id: str, record: object, asker: Asker
                  ) -> tuple[Backup, Job]:
    """What an import that failed left of it can be in nobody's way, if it is of this project."""
    known = context.catalog.backup_of(backup_id, None)
    if not records.is_failed_import(known) or known.project_id != asker.project_id:
        raise exceptions.InvalidBackup(f'Backup already exists: {backup_id} is in the catalog')
    job = asker.job('import', known, backend=None, arguments={'record': record})
    context.catalog.accept(job, from_=[Status.ERROR], to=Status.CREATING)
    known.status, known.fail_reason = Status.CREATING, None
    return known, job
