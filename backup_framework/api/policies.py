"""The rules and who may do what by default. Names and defaults are Cinder's where it has them."""

from __future__ import annotations

import itertools

from oslo_policy import policy

ADMIN = 'rule:admin_api'
MEMBER = 'rule:xena_system_admin_or_project_member'
READER = 'rule:xena_system_admin_or_project_reader'

# Rules that others refer to, as policy files written for Cinder do.
_PERSONAS = (
    policy.RuleDefault('context_is_admin', 'role:admin', 'Who sees the records of all projects.'),
    policy.RuleDefault(
        'admin_api', 'is_admin:True or (role:admin and is_admin_project:True)',
        'Who may do what only admins do.'),
    policy.RuleDefault(
        'xena_system_admin_or_project_reader',
        '(role:admin) or (role:reader and project_id:%(project_id)s)',
        'Who may look at what a project has.'),
    policy.RuleDefault(
        'xena_system_admin_or_project_member',
        '(role:admin) or (role:member and project_id:%(project_id)s)',
        'Who may change what a project has.'),
)

# Name, default, what it is about, and the requests that ask it.
_RULES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ('backup:get_all', READER, 'List backups, also where a list, a summary or a plan names them.',
     ('GET /backups', 'GET /backups/detail', 'GET /backup-framework/jobs',
      'GET /backup-framework/summary', 'POST /backup-framework/prune')),
    ('backup:get', READER, 'Show a backup, or a job by its id.',
     ('GET /backups/{backup_id}', 'GET /backup-framework/jobs/{job_id}')),
    ('backup:backup_project_attribute', ADMIN, 'See the projects and users of backups.',
     ('GET /backups/detail', 'GET /backups/{backup_id}')),
    ('backup:create', MEMBER, 'Create a backup.', ('POST /backups',)),
    ('backup:update', MEMBER, 'Change name, description and metadata of a backup.',
     ('PUT /backups/{backup_id}',)),
    ('backup:delete', MEMBER, 'Delete a backup, also by pruning.',
     ('DELETE /backups/{backup_id}', 'POST /backup-framework/prune')),
    ('backup:restore', MEMBER, 'Restore a backup, also to a new volume.',
     ('POST /backups/{backup_id}/restore', 'POST /volumes')),
    ('backup:backup-import', ADMIN, 'Import the record of a backup.',
     ('POST /backups/import_record',)),
    ('backup:export-import', ADMIN, 'Export the record of a backup.',
     ('GET /backups/{backup_id}/export_record',)),
    ('volume_extension:backup_admin_actions:reset_status', ADMIN, 'Reset the status of a backup.',
     ('POST /backups/{backup_id}/action (os-reset_status)',)),
    ('volume_extension:backup_admin_actions:force_delete', ADMIN,
     'Delete a backup whatever its status is.',
     ('POST /backups/{backup_id}/action (os-force_delete)',)),
    ('volume:get_all', READER, 'List volumes, and see their names in the summary.',
     ('GET /volumes', 'GET /volumes/detail', 'GET /backup-framework/summary')),
    ('volume:get', READER, 'Show a volume.', ('GET /volumes/{volume_id}',)),
    ('volume_extension:volume_tenant_attribute', READER, 'See the projects of volumes.',
     ('GET /volumes/detail', 'GET /volumes/{volume_id}')),
    ('volume:get_all_snapshots', READER, 'List snapshots.',
     ('GET /snapshots', 'GET /snapshots/detail')),
    ('volume:get_snapshot', READER, 'Show a snapshot.', ('GET /snapshots/{snapshot_id}',)),
    ('volume_extension:services:index', ADMIN, 'List the services.', ('GET /os-services',)),
    ('volume_extension:services:update', ADMIN, 'Enable and disable a service.',
     ('PUT /os-services/enable', 'PUT /os-services/disable',
      'PUT /os-services/disable-log-reason')),
    ('limits_extension:used_limits', READER, 'See what is used of the quotas.', ('GET /limits',)),
    ('backup-framework:backends', READER, 'List the backends, and whether they work.',
     ('GET /backup-framework/backends', 'GET /backup-framework/summary')),
    ('backup-framework:backend_details', ADMIN,
     'See the errors, the free space and the hosts of backends, and the hosts of jobs.',
     ('GET /backup-framework/backends', 'GET /backup-framework/jobs',
      'GET /backup-framework/summary')),
    ('backup-framework:jobs', READER, 'List and show jobs.',
     ('GET /backup-framework/jobs', 'GET /backup-framework/jobs/{job_id}',
      'GET /backup-framework/summary')),
    ('backup-framework:summary', READER, 'See the state of the service in one answer.',
     ('GET /backup-framework/summary',)),
    ('backup-framework:schedules', READER, 'List the schedules.',
     ('GET /backup-framework/schedules',)),
    ('backup-framework:prune', MEMBER, 'Delete the backups that no rule of retention keeps.',
     ('POST /backup-framework/prune',)),
    ('backup-framework:verify', MEMBER, 'Verify a backup.',
     ('POST /backups/{backup_id}/action (backup-framework:verify)',)),
    ('backup-framework:restore_to_shared', ADMIN,
     'Restore over a volume that belongs to no project, so that everybody sees it.',
     ('POST /backups/{backup_id}/restore',)),
    ('backup-framework:cancel', MEMBER, 'Stop the job that works on a backup.',
     ('POST /backups/{backup_id}/action (backup-framework:cancel)',)),
    ('backup-framework:metrics', ADMIN, 'Read the figures for Prometheus.', ('GET /metrics',)),
)


def list_rules() -> list[policy.RuleDefault]:
    """For the entry point `oslo.policy.policies`, and for the service itself."""
    return [*_PERSONAS, *itertools.starmap(_documented, _RULES)]


def _documented(name: str, check: str, about: str, requests: tuple[str, ...]
                ) -> policy.RuleDefault:
    operations = [request.split(' ', 1) for request in requests]
    return policy.DocumentedRuleDefault(
        name, check, about, [{'method': method, 'path': path} for method, path in operations])
