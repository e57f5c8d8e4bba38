"""What there is beside Cinder's API: backends, jobs, schedules.

An admin sees what all projects have, everybody else what their project has.
"""

from __future__ import annotations

import datetime
from typing import Any

from backup_framework.api import backends, policy
from backup_framework.api.requests import Request, bad, query_of
from backup_framework.api.schemas import as_uuid
from backup_framework.api.views import time
from backup_framework.conf import ScheduleConfig
from backup_framework.model import Job, JobState

MOST_JOBS = 100

View = dict[str, Any]


def list_backends(request: Request) -> View:
    """The backends, and whether they work."""
    policy.check(request.context, 'backup-framework:backends')
    return {'backends': [backend_view(request, each) for each in all_backends(request)]}


def all_backends(request: Request) -> list[backends.Backend]:
    configuration = request.configuration
    return backends.known(request.catalog.services(), configuration.enabled_backends,
                          configuration.service().down_time)


def backend_view(request: Request, backend: backends.Backend) -> View:
    """Errors, space and hosts are for those who may see details."""
    view: View = {'name': backend.name, 'driver': backend.driver, 'ok': backend.ok,
                  'is_default': backend.name == request.configuration.default_backend,
                  'checked_at': backend.checked_at}
    if policy.allowed(request.context, 'backup-framework:backend_details'):
        view |= {'error': backend.error, 'free_bytes': backend.free_bytes,
                 'workers': [{name: told.get(name) for name in (
                     'host', 'ok', 'error', 'free_bytes', 'checked_at')}
                     for told in backend.reports]}
    return view


def list_jobs(request: Request) -> View:
    """The newest jobs: all, or those in a state or on a backup."""
    policy.check(request.context, 'backup-framework:jobs')
    query = query_of(request)
    states = query['state'].split(',') if 'state' in query else None
    unknown = set(states or ()) - {str(state) for state in JobState}
    if unknown:
        bad(f'There is no state of jobs {", ".join(sorted(unknown))[:80]}; there are '
            f'{", ".join(JobState)}.')
    backup = query.get('backup_id')
    found = request.catalog.jobs(
        project_id=request.context.scope, states=states, limit=_limit(request, query),
        backup_id=backup if backup is None else as_uuid(backup) or backup)
    return {'jobs': [job_view(request, job) for job in found]}


def _limit(request: Request, query: dict[str, str]) -> int:
    text = query.get('limit', str(MOST_JOBS))
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        bad('limit param must be a number')
    return min(int(text), request.configuration.api.osapi_max_limit)


def show_job(request: Request, id: str) -> View:
    """A job, and how far it is."""
    job = request.catalog.job(as_uuid(id) or id, request.context.scope)
    policy.check(request.context, 'backup-framework:jobs', job)
    return {'job': job_view(request, job)}


def job_view(request: Request, job: Job) -> View:
    """Hosts are for those who may see details, users for those who may see them elsewhere."""
    view = {'id': job.id, 'kind': job.kind, 'state': job.state, 'backup_id': job.backup_id,
            'volume_id': job.volume_id, 'backend': job.backend, 'phase': job.phase,
            'done': job.done, 'total': job.total, 'percent': _percent(job),
            'created_at': time(job.created_at), 'started_at': time(job.started_at),
            'ended_at': time(job.ended_at), 'fail_reason': job.fail_reason,
            'request_id': job.request_id, 'project_id': job.project_id}
    if policy.allowed(request.context, 'backup:backup_project_attribute', job):
        view['user_id'] = job.user_id
    if policy.allowed(request.context, 'backup-framework:backend_details'):
        view |= {'host': job.host, 'source': job.source}
    return view


def _percent(job: Job) -> int | None:
    if job.state == JobState.DONE:
        return 100
    return min(100, 100 * job.done // job.total) if job.total else None


def list_schedules(request: Request) -> View:
    """What the service backs up by itself, and when it does so next."""
    policy.check(request.context, 'backup-framework:schedules')
    scope, next_runs = request.context.scope, request.catalog.next_runs()
    return {'schedules': [
        _schedule(each) | {'next_at': time(next_runs.get(each.key))}
        for each in request.configuration.schedules() if scope in (None, each.project_id)]}


def _schedule(schedule: ScheduleConfig) -> View:
    keep = {name: value.total_seconds() if isinstance(value, datetime.timedelta) else value
            for name, value in schedule.rules.items()}
    return {'name': schedule.name, 'cron': schedule.cron, 'timezone': str(schedule.timezone),
            'volumes': list(schedule.volumes), 'source': schedule.source,
            'backend': schedule.backend, 'incremental': schedule.incremental,
            'project_id': schedule.project_id, 'keep': keep}
