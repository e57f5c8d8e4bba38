"""What there is beside Cinder's API: backends, jobs, schedules, pruning, verifying, cancelling.

An admin sees what all projects have, everybody else what their project has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
import datetime
from typing import TYPE_CHECKING, Any

from backup_framework.api import backends, policy, schemas
from backup_framework.api.backups import asker, get, require_worker
from backup_framework.api.microversions import MIN
from backup_framework.api.requests import Request, bad, query_of
from backup_framework.api.schemas import as_uuid
from backup_framework.api.views import time
from backup_framework.conf import ScheduleConfig
from backup_framework.conf.types import parse_duration
from backup_framework.engine.monitor import Sample
from backup_framework.exceptions import InvalidBackup
from backup_framework.manager.pruning import Request as Pruning
from backup_framework.manager.retention import PERIODS, Verdict
from backup_framework.manager.verifying import How
from backup_framework.model import OPEN_STATES, Backup, Job, JobState

if TYPE_CHECKING:
    from backup_framework.api.context import RequestContext

MOST_JOBS = 100

_COUNT: schemas.Schema = {'type': 'integer', 'minimum': 1, 'maximum': 100_000}
PRUNE: schemas.Versions = {MIN: schemas.within('prune', schemas.closed({
    'dry_run': {'type': 'boolean'}, 'volume_id': schemas.UUID_OR_NULL,
    'backend': {'type': ['string', 'null'], 'maxLength': 255},
    **dict.fromkeys(('last', *PERIODS), _COUNT),
    'within': {'type': 'string', 'pattern': r'^[1-9][0-9]{0,5}[hdwy]$(?!\n)'}}, null=True))}
VERIFY = schemas.closed({
    'how': {'enum': ['full', 'quick']},
    'percent': {'type': 'number', 'exclusiveMinimum': 0, 'maximum': 100}}, null=True) | {
        'not': {'type': 'object', 'required': ['how', 'percent']}}

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
                  'checked_at': _moment(backend.checked_at)}
    if policy.allowed(request.context, 'backup-framework:backend_details'):
        view |= {'error': backend.error, 'free_bytes': backend.free_bytes,
                 'workers': [_report(told) for told in backend.reports]}
    return view


def _report(told: View) -> View:
    return {name: told[name] for name in ('host', 'ok', 'error', 'free_bytes')} | {
        'checked_at': _moment(told['checked_at'])}


def _moment(text: str | None) -> str | None:
    return time(datetime.datetime.fromisoformat(text)) if text else None


def list_jobs(request: Request) -> View:
    """The newest jobs: all, or those in a state or on a backup."""
    policy.check(request.context, 'backup-framework:jobs')
    policy.check(request.context, 'backup:get_all')
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
    policy.check(request.context, 'backup:get', job)
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


def verify(request: Request, id: str) -> View:
    """Accept the verification of a backup: all of it, a part, or only what is there."""
    backup = get(request, id, 'backup-framework:verify')
    require_worker(request, backup.backend)
    wanted = request.document['backup-framework:verify'] or {}
    sample = Sample(wanted['percent']) if 'percent' in wanted else None
    how = How(quick=wanted.get('how') == 'quick', sample=sample)
    _, job = request.manager.accept_verify(backup.id, how, **asker(request))
    request.dispatcher.submit(job)
    return {'jobs': [job_view(request, job)]}


def cancel(request: Request, id: str) -> View:
    """Stop what is being done with a backup."""
    backup = get(request, id, 'backup-framework:cancel')
    jobs = request.catalog.jobs(backup_id=backup.id, states=OPEN_STATES)
    if not jobs:
        raise InvalidBackup(f'Nothing is being done with backup {backup.id} that could be stopped.')
    for job in jobs:
        request.manager.cancel(job.id)
    return {'jobs': [job_view(request, request.catalog.job(job.id)) for job in jobs]}


def prune(request: Request) -> View:
    """Delete what no rule of retention keeps of the caller's project, or say what that would be."""
    context, wanted = request.context, request.document['prune'] or {}
    policy.check(context, 'backup-framework:prune')
    policy.check(context, 'backup:get_all')
    if not wanted.get('dry_run'):
        policy.check(context, 'backup:delete')
    backend, rules = wanted.get('backend'), _rules(wanted)
    volume_id = as_uuid(wanted.get('volume_id') or '')
    volumes = [request.catalog.volume_of(volume_id, context.scope)] if volume_id else []
    verdicts = request.manager.plan_prune(Pruning(
        volumes=volumes, backend=backend, project_id=context.project_id, rules=rules))
    jobs = []
    if not wanted.get('dry_run'):
        going = dict.fromkeys(v.backup.volume_id for v in verdicts if not v.stays)
        _check_owners(context, [v.backup for v in verdicts if v.backup.volume_id in going])
        jobs = _accept_prunes(request, going, backend, rules)
    # What goes is what one wants to see.
    verdicts.sort(key=lambda each: each.stays)
    shown = verdicts[:request.configuration.api.osapi_max_limit]
    return {'count': len(verdicts), 'going': sum(not each.stays for each in verdicts),
            'backups': [_verdict(each) for each in shown],
            'jobs': [job_view(request, job) for job in jobs]}


def _accept_prunes(request: Request, volume_ids: Collection[str], backend: str | None,
                   rules: Mapping[str, Any]) -> list[Job]:
    """Those that are pruned already are left out; raises where that is so of all."""
    jobs, refused = list[Job](), None
    if volume_ids:
        require_worker(request, backend)
    for each in volume_ids:
        try:
            jobs.append(request.manager.accept_prune(
                volume_id=each, backend=backend, rules=rules, **asker(request)))
        except InvalidBackup as error:
            refused = error
        else:
            request.dispatcher.submit(jobs[-1])
    if refused is not None and not jobs:
        raise refused
    return jobs


def _check_owners(context: RequestContext, backups: Iterable[Backup]) -> None:
    """A rule may tell users of a project apart; when the job runs, any of these may be due."""
    for each in {backup.user_id: backup for backup in backups}.values():
        policy.check(context, 'backup:delete', each)


def _rules(wanted: dict[str, Any]) -> dict[str, Any]:
    # 7.0 is an integer of JSON too.
    rules: dict[str, Any] = {name: int(wanted[name]) for name in ('last', *PERIODS)
                             if name in wanted}
    if 'within' in wanted:
        rules['within'] = parse_duration(wanted['within'])
    return rules


def _verdict(verdict: Verdict) -> View:
    backup: Backup = verdict.backup
    return {'id': backup.id, 'name': backup.display_name, 'volume_id': backup.volume_id,
            'backend': backup.backend, 'created_at': time(backup.created_at),
            'stays': verdict.stays, 'reasons': list(verdict.reasons)}
