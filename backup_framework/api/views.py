"""Records as Cinder's clients read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import datetime
from typing import Any
import urllib.parse

from backup_framework.api import microversions as versions
from backup_framework.api import policy
from backup_framework.api.requests import Listing, Request, path_of, query_of
from backup_framework.model import Backup, Page, Service, Snapshot, Volume, size_gib

View = dict[str, Any]


def time(moment: datetime.datetime | None) -> str | None:
    """As Cinder writes it: UTC, without a zone, with microseconds."""
    if moment is None:
        return None
    return moment.astimezone(datetime.UTC).replace(tzinfo=None).isoformat(timespec='microseconds')


# Links

def base_url(request: Request) -> str:
    """Where clients reach the application, without a slash at the end."""
    endpoint: str = request.configuration.api.public_endpoint or request.application_url.rstrip('/')
    return endpoint


def links(request: Request, collection: str, id: str) -> list[View]:
    """`self` with the version of the API, `bookmark` without."""
    path = '/'.join(urllib.parse.quote(part, safe='') for part in (
        request.url_project, collection, id) if part is not None)
    return [{'rel': 'self', 'href': f'{base_url(request)}/v3/{path}'},
            {'rel': 'bookmark', 'href': f'{base_url(request)}/{path}'}]


def page(request: Request, collection: str, found: Page[Any], listing: Listing,
         view: Callable[[Request, Any], View]) -> View:
    """A list, with a link to the next page where this one is full."""
    made: View = {collection: [view(request, item) for item in found.items]}
    if found.items and len(found.items) >= listing.limit:
        made[f'{collection}_links'] = [
            {'rel': 'next', 'href': _next(request, found.items[-1].id)}]
    if found.total is not None:
        made['count'] = found.total
    return made


def _next(request: Request, marker: str) -> str:
    query = query_of(request) | {'marker': marker}
    query.pop('offset', None)
    path = urllib.parse.quote(path_of(request))
    return f'{base_url(request)}{path}?{urllib.parse.urlencode(query)}'


# Backups

def backup_summary(request: Request, backup: Backup) -> View:
    return {'id': backup.id, 'name': backup.display_name,
            'links': links(request, 'backups', backup.id)}


def backup_details(request: Request, backups: Sequence[Backup]) -> Callable[..., View]:
    """The view of all that is known of each of these; what they have in common is asked once."""
    depended = request.catalog.depended([backup.id for backup in backups])
    owners = policy.allowed(request.context, 'backup:backup_project_attribute')
    return lambda request, backup: _backup_detail(request, backup, backup.id in depended, owners)


def _backup_detail(request: Request, backup: Backup, depended: bool, owners: bool) -> View:
    view = backup_summary(request, backup) | {
        'status': backup.status, 'size': backup.size, 'object_count': backup.object_count,
        'availability_zone': backup.availability_zone, 'container': backup.container,
        'created_at': time(backup.created_at), 'updated_at': time(backup.updated_at),
        'description': backup.display_description, 'fail_reason': backup.fail_reason,
        'volume_id': backup.volume_id, 'is_incremental': backup.is_incremental,
        'has_dependent_backups': depended, 'snapshot_id': backup.snapshot_id,
        'data_timestamp': time(backup.data_timestamp)}
    version = request.version
    if owners and version >= versions.BACKUP_PROJECT:
        view['os-backup-project-attr:project_id'] = backup.project_id
    if owners and version >= versions.BACKUP_USER:
        view['user_id'] = backup.user_id
    if version >= versions.BACKUP_METADATA:
        view['metadata'] = backup.metadata
    if version >= versions.ENCRYPTION_KEY and backup.encryption_key_id is not None:
        view['encryption_key_id'] = backup.encryption_key_id
    return view


# Volumes and snapshots

def volume_summary(request: Request, volume: Volume) -> View:
    return {'id': volume.id, 'name': volume.name,
            'links': links(request, 'volumes', volume.id)}


def volume_detail(request: Request, volume: Volume) -> View:
    """What we do not have, such as types and attachments, is empty."""
    view = volume_summary(request, volume) | {
        'status': volume.status, 'size': size_gib(volume.size_bytes or 0),
        'availability_zone': volume.availability_zone, 'created_at': time(volume.created_at),
        'updated_at': time(volume.updated_at), 'description': volume.description,
        'metadata': volume.metadata, 'bootable': str(volume.bootable).lower(),
        'attachments': [], 'encrypted': False, 'multiattach': False,
        'volume_type': None,
        **dict.fromkeys(('consistencygroup_id', 'replication_status', 'snapshot_id',
                         'source_volid', 'user_id'))}
    if policy.allowed(request.context, 'volume_extension:volume_tenant_attribute', volume):
        view['os-vol-tenant-attr:tenant_id'] = volume.project_id
    return view | _from(request, _OF_VOLUMES) | (
        _from(request, _OF_VOLUMES_FOR_ADMINS) if request.context.is_admin else {})


def snapshot_detail(request: Request, snapshot: Snapshot) -> View:
    return snapshot_summary(request, snapshot) | {
        'os-extended-snapshot-attributes:progress': '100%',
        'os-extended-snapshot-attributes:project_id': request.context.project_id,
    } | _from(request, _OF_SNAPSHOTS)


def snapshot_summary(request: Request, snapshot: Snapshot) -> View:
    return {'id': snapshot.id, 'name': snapshot.name, 'description': snapshot.description,
            'created_at': time(snapshot.created_at), 'updated_at': None,
            'volume_id': snapshot.volume_id, 'status': snapshot.status,
            'size': size_gib(snapshot.size_bytes or 0), 'metadata': snapshot.metadata}


# Members that are the same everywhere here, by the microversion that brought them.
_Constant = tuple[Any, str, Any]
_OF_VOLUMES: Sequence[_Constant] = (
    (versions.VOLUME_GROUP, 'group_id', None), (versions.VOLUME_TARGETS, 'service_uuid', None),
    (versions.VOLUME_TARGETS, 'shared_targets', True),
    (versions.VOLUME_TYPE_ID, 'volume_type_id', None),
    (versions.CONSUMES_QUOTA, 'consumes_quota', False))
_OF_VOLUMES_FOR_ADMINS: Sequence[_Constant] = (
    (versions.MIN, 'migration_status', None), (versions.MIN, 'os-vol-host-attr:host', None),
    (versions.MIN, 'os-vol-mig-status-attr:migstat', None),
    (versions.MIN, 'os-vol-mig-status-attr:name_id', None),
    (versions.VOLUME_PROVIDER, 'provider_id', None),
    (versions.VOLUME_CLUSTER, 'cluster_name', None))
_OF_SNAPSHOTS: Sequence[_Constant] = (
    (versions.SNAPSHOT_GROUP, 'group_snapshot_id', None),
    (versions.SNAPSHOT_USER, 'user_id', None),
    (versions.CONSUMES_QUOTA, 'consumes_quota', False))


def _from(request: Request, constants: Sequence[_Constant]) -> View:
    return {name: value for since, name, value in constants if request.version >= since}


# Services

def service(request: Request, found: Service, is_up: bool) -> View:
    view: View = {
        'binary': found.binary, 'host': found.host, 'zone': found.zone,
        'status': 'disabled' if found.disabled else 'enabled', 'state': 'up' if is_up else 'down',
        'updated_at': time(found.seen_at), 'disabled_reason': found.disabled_reason}
    if request.version >= versions.SERVICE_CLUSTER:
        view['cluster'] = None
    return view
