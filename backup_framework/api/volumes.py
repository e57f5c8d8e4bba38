"""The volumes and snapshots that workers offer, as far as clients ask for them."""

from __future__ import annotations

from typing import Any

from backup_framework.api import backups, policy, views
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

_SORT_KEYS = same('created_at', 'id', 'name', 'status') | {
    'display_name': 'name', 'size': 'size_bytes'}
VOLUMES = Listable(
    sort_keys=_SORT_KEYS | same('availability_zone', 'bootable', 'updated_at'),
    filters=same('availability_zone', 'bootable', 'name', 'status'),
    admin_filters=same('project_id'), like=same('name', 'description'))
SNAPSHOTS = Listable(
    sort_keys=_SORT_KEYS | same('volume_id'), filters=same('name', 'status', 'volume_id'),
    like=same('name', 'description'))

Answer = dict[str, Any]


def index(request: Request) -> Answer:
    """Ids, names and links."""
    return _volumes(request, views.volume_summary)


def detail(request: Request) -> Answer:
    """All that is known of each."""
    return _volumes(request, views.volume_detail)


def _volumes(request: Request, view: Any) -> Answer:
    policy.check(request.context, 'volume:get_all')
    wanted = listing(request, VOLUMES)
    if 'bootable' in wanted.filters:
        wanted.filters['bootable'] = boolean(wanted.filters['bootable'], 'bootable')
    found = page_of(request, request.catalog.volume_page, wanted)
    return views.page(request, 'volumes', found, wanted, view)


def show(request: Request, id: str) -> Answer:
    """One volume."""
    volume = request.catalog.volume_of(as_uuid(id) or id, request.context.scope)
    policy.check(request.context, 'volume:get', volume)
    return {'volume': views.volume_detail(request, volume)}


def create(request: Request) -> Answer:
    """Accept a new volume with the content of a backup; other volumes are not made here."""
    wanted = request.document['volume']
    backup = request.catalog.backup_of(str(as_uuid(wanted['backup_id'])), request.context.scope)
    policy.check(request.context, 'backup:restore', backup)
    size = wanted.get('size')
    if size not in (None, backup.size):
        bad(f'A volume from backup {backup.id} has {backup.size} GiB, not {size}.')
    for name in ('availability_zone', 'description'):
        if wanted.get(name):
            bad(f'A new volume has the {name} that its source says; leave it out.')
    volume = backups.accept_restore(request, backup, None, text(wanted, 'name'))
    return {'volume': views.volume_detail(request, volume)}


def snapshots(request: Request) -> Answer:
    """Snapshots without what came with later versions of the API."""
    return _snapshots(request, views.snapshot_summary)


def snapshots_detail(request: Request) -> Answer:
    """All that is known of each."""
    return _snapshots(request, views.snapshot_detail)


def _snapshots(request: Request, view: Any) -> Answer:
    policy.check(request.context, 'volume:get_all_snapshots')
    wanted = listing(request, SNAPSHOTS)
    found = page_of(request, request.catalog.snapshot_page, wanted)
    return views.page(request, 'snapshots', found, wanted, view)


def show_snapshot(request: Request, id: str) -> Answer:
    """One snapshot."""
    snapshot = request.catalog.snapshot_of(as_uuid(id) or id, request.context.scope)
    policy.check(request.context, 'volume:get_snapshot')
    return {'snapshot': views.snapshot_detail(request, snapshot)}
