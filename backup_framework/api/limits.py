"""What a project may have, and what it has."""

from __future__ import annotations

from typing import Any

from backup_framework.api import policy
from backup_framework.api.microversions import LIMITS_OF_PROJECT
from backup_framework.api.requests import Request, query_of
from backup_framework.model import Quota


def index(request: Request) -> dict[str, Any]:
    """The quotas, and their use; of another project for an admin, from 3.39."""
    project = str(request.context.project_id)
    if request.context.is_admin and request.version >= LIMITS_OF_PROJECT:
        query = query_of(request)
        project = query.get('project_id') or query.get('tenant_id') or project
    return {'limits': {'rate': [], 'absolute': _absolute(request, project)}}


def _absolute(request: Request, project: str) -> dict[str, int]:
    limit = request.configuration.quota
    found = {'maxTotalBackups': limit.backups, 'maxTotalBackupGigabytes': limit.gigabytes,
             # Volumes are not counted here.
             'maxTotalVolumes': -1, 'maxTotalSnapshots': -1, 'maxTotalVolumeGigabytes': -1}
    if policy.allowed(request.context, 'limits_extension:used_limits', {'project_id': project}):
        used: Quota = request.catalog.usage(project)
        found |= {'totalBackupsUsed': used.backups, 'totalBackupGigabytesUsed': used.gigabytes,
                  'totalVolumesUsed': 0, 'totalSnapshotsUsed': 0, 'totalGigabytesUsed': 0}
    return found
