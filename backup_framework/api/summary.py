"""The state of the service in one answer, as a page wants it, small however much there is."""

from __future__ import annotations

from collections.abc import Iterable
import datetime
from typing import Any

from backup_framework.api import backends, extensions, policy
from backup_framework.api.requests import Request
from backup_framework.api.views import time
from backup_framework.catalog.figures import Verified
from backup_framework.model import Backup, Job, JobState, Service, Status, utcnow
from backup_framework.service.dispatch import is_up

MOST_JOBS = 50
MOST_RECENT = 10
MOST_FAILURES = 20
MOST_SERVICES = 100
FAILED_WITHIN = datetime.timedelta(days=7)

View = dict[str, Any]


def show(request: Request) -> View:
    """Backends, jobs, backups, failures, verifications, growth and workers."""
    for rule in ('backup-framework:summary', 'backup-framework:backends', 'backup-framework:jobs',
                 'backup:get_all'):
        policy.check(request.context, rule)
    project, catalog = request.context.scope, request.catalog
    figures = catalog.figures(project)
    recent = catalog.backup_page(project, limit=MOST_RECENT).items
    shown = {'jobs': [extensions.job_view(request, each) for each in _open_jobs(request)],
             'recent': [_backup(each) for each in recent], 'failures': _failures(request)}
    _name_volumes(request, [view for views in shown.values() for view in views])
    return {'summary': {
        'totals': {'backups': figures.count, 'stored_bytes': figures.stored_bytes,
                   'gigabytes': figures.gigabytes, 'by_status': figures.backups,
                   'jobs_by_state': figures.jobs, 'damaged': figures.verified.damaged},
        'backends': [_backend(request, each, figures.stored.get(each.name, (0, 0)))
                     for each in extensions.all_backends(request)],
        **shown,
        'verification': _ages(figures.verified),
        'oldest_verification': time(figures.verified.oldest),
        'growth': [{'day': str(day.date), 'made': day.made, 'backups': day.count,
                    'stored_bytes': day.total} for day in catalog.days(project)],
        'services': _services(request)}}


def _open_jobs(request: Request) -> list[Job]:
    """What runs, then what waits."""
    found: list[Job] = []
    for state in (JobState.RUNNING, JobState.QUEUED):
        found += request.catalog.jobs(project_id=request.context.scope, states=[state],
                                      limit=MOST_JOBS - len(found))
    return found


def _name_volumes(request: Request, views: list[View]) -> None:
    """A volume may be another project's by now; jobs and backups of it stay with theirs."""
    scope, names = request.context.scope, {}
    if policy.allowed(request.context, 'volume:get_all'):
        ids = {view['volume_id'] for view in views if view['volume_id']}
        names = {volume.id: volume.name for volume in request.catalog.volumes(ids)
                 if scope is None or volume.project_id in (None, scope)}
    for view in views:
        view['volume_name'] = names.get(view['volume_id'])


def _backend(request: Request, backend: backends.Backend, stored: tuple[int, int]) -> View:
    return extensions.backend_view(request, backend) | {
        'backups': stored[0], 'stored_bytes': stored[1]}


def _backup(backup: Backup) -> View:
    return {'id': backup.id, 'name': backup.display_name, 'volume_id': backup.volume_id,
            'status': backup.status, 'size_bytes': backup.size_bytes,
            'stored_bytes': backup.stored_bytes, 'is_incremental': backup.is_incremental,
            'backend': backup.backend, 'created_at': time(backup.created_at)}


def _failures(request: Request) -> list[View]:
    """What failed lately, newest first: jobs, and backups that failed without one."""
    project, since = request.context.scope, utcnow() - FAILED_WITHIN
    jobs = request.catalog.jobs(project_id=project, states=[JobState.FAILED], limit=MOST_FAILURES)
    broken = request.catalog.backup_page(
        project, filters={'status': [Status.ERROR, Status.ERROR_DELETING]},
        limit=MOST_FAILURES).items
    told = {job.backup_id for job in jobs}
    found = [(job.ended_at or job.created_at, _failed_job(job)) for job in jobs]
    found += [(backup.created_at, _failed_backup(backup)) for backup in broken
              if backup.id not in told]
    newest = sorted(((when, view) for when, view in found if when is not None and when > since),
                    key=lambda each: each[0], reverse=True)
    return [view | {'created_at': time(when)} for when, view in newest[:MOST_FAILURES]]


def _failed_job(job: Job) -> View:
    return {'kind': job.kind, 'id': job.backup_id or job.id, 'name': None, 'job_id': job.id,
            'volume_id': job.volume_id, 'fail_reason': job.fail_reason}


def _failed_backup(backup: Backup) -> View:
    return {'kind': 'delete' if backup.status == Status.ERROR_DELETING else 'create',
            'id': backup.id, 'name': backup.display_name, 'job_id': None,
            'volume_id': backup.volume_id, 'fail_reason': backup.fail_reason}


def _ages(verified: Verified) -> list[View]:
    ages = {f'within a {name}': count for name, count in verified.within.items()}
    return [{'age': age, 'backups': count} for age, count in (
        ages | {'older': verified.older, 'never': verified.never}).items()]


def _services(request: Request) -> list[View]:
    """Who lives; who they are is for those who may list services."""
    down_time = request.configuration.service().down_time
    open_to = policy.allowed(request.context, 'volume_extension:services:index')

    def view(service: Service) -> View:
        return {'host': service.host if open_to else None, 'binary': service.binary,
                'up': is_up(service, down_time), 'disabled': service.disabled,
                'zone': service.zone, 'seen_at': time(service.seen_at),
                'sources': service.sources if open_to else [],
                'backends': sorted(service.backends) if open_to else []}
    return _up_first(map(view, request.catalog.services()))[:MOST_SERVICES]


def _up_first(views: Iterable[View]) -> list[View]:
    return sorted(views, key=lambda each: not each['up'])
