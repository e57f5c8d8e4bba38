"""What the API does with backups. Long work is accepted here and done by a worker."""

from __future__ import annotations

import dataclasses
from typing import Any

import webob.exc

from backup_framework.api import policy, views
from backup_framework.api.microversions import SORT_BY_NAME
from backup_framework.api.requests import (
    Listable,
    Request,
    bad,
    boolean,
    listing,
    page_of,
    same,
    text,
)
from backup_framework.api.schemas import as_uuid
from backup_framework.manager.accepting import CreateJob
from backup_framework.model import Backup, Job, Status, Volume

_SORT_KEYS = same('availability_zone', 'container', 'created_at', 'data_timestamp', 'display_name',
                  'id', 'size', 'status', 'updated_at', 'volume_id')
LISTABLE = Listable(
    sort_keys=_SORT_KEYS | same('name'), filters=same('name', 'status', 'volume_id'),
    admin_filters=same('project_id'), like=same('name', 'description'))
_BEFORE_NAMES = dataclasses.replace(LISTABLE, sort_keys=_SORT_KEYS)

Answer = dict[str, Any]


def index(request: Request) -> Answer:
    """Ids, names and links."""
    return _list(request, detailed=False)


def detail(request: Request) -> Answer:
    """All that is known of each."""
    return _list(request, detailed=True)


def _list(request: Request, *, detailed: bool) -> Answer:
    policy.check(request.context, 'backup:get_all')
    by_name = request.version >= SORT_BY_NAME
    wanted = listing(request, LISTABLE if by_name else _BEFORE_NAMES)
    found = page_of(request, request.catalog.backup_page, wanted)
    view = views.backup_details(request, found.items) if detailed else views.backup_summary
    return views.page(request, 'backups', found, wanted, view)


def show(request: Request, id: str) -> Answer:
    """One backup."""
    backup = get(request, id, 'backup:get')
    return {'backup': views.backup_details(request, [backup])(request, backup)}


def create(request: Request) -> Answer:
    """Accept a backup of a volume."""
    wanted = request.document['backup']
    policy.check(request.context, 'backup:create')
    volume_id = str(_id(wanted['volume_id']))
    require_worker(request, request.configuration.default_backend,
                   request.catalog.volume_of(volume_id, request.context.scope))
    backup, job = request.manager.accept_create(CreateJob(
        volume_id=volume_id, snapshot_id=_id(wanted.get('snapshot_id')),
        name=text(wanted, 'name'), description=text(wanted, 'description'),
        container=wanted.get('container') or None, metadata=wanted.get('metadata') or {},
        incremental=boolean(wanted.get('incremental', False), 'incremental'),
        force=boolean(wanted.get('force', False), 'force'),
        availability_zone=wanted.get('availability_zone') or None,
        quota=request.configuration.quota, **asker(request)))
    return _accepted(request, backup, job)


def update(request: Request, id: str) -> Answer:
    """Change name and description, or replace the metadata."""
    backup = get(request, id, 'backup:update')
    wanted = request.document['backup']
    changes: dict[str, Any] = {f'display_{name}': text(wanted, name)
                               for name in ('name', 'description') if name in wanted}
    if 'metadata' in wanted:
        changes['metadata'] = wanted['metadata']
    if changes:
        request.catalog.update_backup(backup.id, **changes)
    backup.display_name = changes.get('display_name', backup.display_name)
    return {'backup': views.backup_summary(request, backup)}


def delete(request: Request, id: str) -> None:
    """Accept the deletion of a backup that nothing needs."""
    _delete(request, get(request, id, 'backup:delete'), force=False)


def force_delete(request: Request, id: str) -> None:
    """Accept the deletion of a backup in any state; one that is being made is made no more."""
    backup = get(request, id, 'volume_extension:backup_admin_actions:force_delete')
    _delete(request, backup, force=True)


def _delete(request: Request, backup: Backup, *, force: bool) -> None:
    _, job = request.manager.accept_delete(backup.id, force=force, **asker(request))
    request.dispatcher.submit(job)


def reset_status(request: Request, id: str) -> None:
    """Say that a backup is available, or that it failed. What works on it is cancelled."""
    backup = get(request, id, 'volume_extension:backup_admin_actions:reset_status')
    request.notifications.reset(backup, 'start', request.context.request_id)
    request.catalog.reset(
        backup.id, Status(request.document['os-reset_status']['status'].lower()))
    request.notifications.reset(backup, 'end', request.context.request_id)


def restore(request: Request, id: str) -> Answer:
    """Accept the restoring of a backup, over a volume or to a new one."""
    backup = get(request, id, 'backup:restore')
    wanted = request.document['restore'] or {}
    volume = accept_restore(request, backup, _id(wanted.get('volume_id')), text(wanted, 'name'))
    return {'restore': {'backup_id': backup.id, 'volume_id': volume.id,
                        'volume_name': volume.name}}


def accept_restore(request: Request, backup: Backup, volume_id: str | None, name: str | None
                   ) -> Volume:
    """The volume that will be written.

    :param volume_id: None for a new one.
    """
    target = None
    if volume_id is not None:
        target = request.catalog.volume_of(volume_id, request.context.scope)
        if target.project_id is None:
            policy.check(request.context, 'backup-framework:restore_to_shared')
    require_worker(request, backup.backend, target)
    _, volume, job = request.manager.accept_restore(
        backup.id, volume_id=volume_id, name=name or None, **asker(request))
    request.dispatcher.submit(job)
    return volume


def export_record(request: Request, id: str) -> Answer:
    """What another catalog, or Cinder, needs to know of a backup."""
    backup = get(request, id, 'backup:export-import')
    return {'backup-record': request.manager.export(backup.id)}


def import_record(request: Request) -> Answer:
    """Accept a record that was exported; its backup is looked for in the store by a worker."""
    policy.check(request.context, 'backup:backup-import')
    require_worker(request)
    backup, job = request.manager.accept_import(
        request.document['backup-record'], quota=request.configuration.quota, **asker(request))
    return _accepted(request, backup, job)


def refuse_import(request: Request) -> Answer:
    """Where openstacksdk sends imports by mistake, and without the record."""
    raise webob.exc.HTTPMethodNotAllowed(
        'Records are imported with POST /backups/import_record. "openstack volume backup record '
        'import" cannot do that: its openstacksdk asks for export_record and leaves the record '
        'out. Use "cinder backup-import" or "backup-framework backup import" instead.',
        headers={'Allow': ''})


def get(request: Request, id: str, rule: str) -> Backup:
    """A backup that the caller may know of, and do this to."""
    backup = request.catalog.backup_of(as_uuid(id) or id, request.context.scope)
    policy.check(request.context, rule, backup)
    return backup


def asker(request: Request) -> dict[str, Any]:
    """Who asks, in the words of the manager."""
    context = request.context
    return {'project_id': context.project_id, 'user_id': context.user_id,
            'request_id': context.request_id, 'all_projects': context.scope is None}


def require_worker(request: Request, backend: str | None = None, volume: Volume | None = None
                   ) -> None:
    """:raises webob.exc.HTTPServiceUnavailable: no living worker reaches backend and volume."""
    wanted = Job(backend=backend, source=None if volume is None else volume.source)
    if not request.dispatcher.can_be_done(wanted):
        raise webob.exc.HTTPServiceUnavailable('Service cinder-backup could not be found.')


def _accepted(request: Request, backup: Backup, job: Job) -> Answer:
    request.dispatcher.submit(job)
    return {'backup': views.backup_summary(request, backup)}


def _id(value: str | None) -> str | None:
    """As ids are kept; the schema has seen that it is one."""
    if value is None:
        return None
    return as_uuid(value) or bad(f'{value} is no id')
