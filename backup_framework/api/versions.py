"""What the API is: its versions, its extensions, and projects as far as clients ask for them."""

from __future__ import annotations

from typing import Any

from backup_framework.api import microversions, views
from backup_framework.api.requests import Request, query_of

UPDATED = '2023-08-31T00:00:00Z'

_MEDIA_TYPE = {'base': 'application/json',
               'type': 'application/vnd.openstack.volume+json;version=3'}


def every(request: Request) -> dict[str, Any]:
    """All versions: one."""
    return {'versions': [{
        'id': 'v3.0', 'status': 'CURRENT', 'version': str(microversions.MAX),
        'min_version': str(microversions.MIN), 'updated': UPDATED, 'media-types': [_MEDIA_TYPE],
        'links': [{'rel': 'self', 'href': f'{views.base_url(request)}/v3/'}]}]}


current = every


def extensions(request: Request) -> dict[str, Any]:
    """What there is beside volumes and snapshots, in Cinder's form."""
    return {'extensions': [
        {'alias': alias, 'name': name, 'description': description, 'links': [],
         'updated': UPDATED}
        for alias, name, description in (
            ('backups', 'Backups', 'Backups support.'),
            ('os-admin-actions', 'AdminActions', 'Force-delete and reset-status of backups.'),
            ('os-services', 'Services', 'Services support.'),
            ('backup-framework', 'BackupFramework',
             'Backends, jobs, schedules, verification and retention of backups.'))]}


def project(request: Request, id: str) -> dict[str, Any]:
    """What a client wants to hear that looks for a project where there is no Keystone."""
    return {'project': {'id': id, 'name': id}}


def projects(request: Request) -> dict[str, Any]:
    """See `project`; the one that was named, or the caller's."""
    name = query_of(request).get('name') or request.context.project_id
    return {'projects': [{'id': name, 'name': name}]}
