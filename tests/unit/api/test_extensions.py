"""What there is beside Cinder's API, asked as a server would ask it."""

from __future__ import annotations

import datetime
import json
import re

import jsonschema
import pytest
import webob

from backup_framework.api import answers, backends, extensions, summary
from backup_framework.catalog import records, schema
from backup_framework.model import Backup, Job, JobState, Service, Status, utcnow
from backup_framework.service.dispatch import WORKER
from tests.unit.api import world
from tests.unit.api.world import ALPHA, SECRET, World

EXTENSIONS = '/v3/backup-framework'
HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def where(make_world) -> World:
    return make_world()


def fits(answer: webob.Response, schema: dict, status: int = 200) -> dict:
    assert answer.status_int == status, answer.text
    jsonschema.validate(answer.json, schema)
    return answer.json


# Backends

def worker(name: str, seen: datetime.timedelta = HOUR * 0, **told: object) -> Service:
    report = {'driver': 'local', 'ok': True, 'error': None, 'free_bytes': 5,
              'checked_at': '2026-01-01T00:00:00+00:00'}
    return Service(name, WORKER, name, seen_at=utcnow() - seen, backends={'b': report | told})


@pytest.mark.parametrize('services, ok, error, free', [
    (lambda: [], None, None, None),
    (lambda: [worker('w1')], True, None, 5),
    (lambda: [worker('w1', seen=HOUR)], None, None, None),
    (lambda: [worker('w1', ok=None, checked_at=None, free_bytes=None)], None, None, None),
    (lambda: [worker('w1', ok=False, error='full', free_bytes=0)], False, 'full', 0),
    (lambda: [worker('w1', ok=False, error='full', free_bytes=0), worker('w2')], True, 'full', 5),
    (lambda: [worker('w1', free_bytes=1), worker('w2', free_bytes=2,
                                         checked_at='2026-01-02T00:00:00+00:00')], True, None, 2),
    (lambda: [worker('w1', ok=None, checked_at='2026-01-09T00:00:00+00:00'),
      worker('w2', ok=False, error='away')], False, 'away', 5),
])
def test_what_workers_tell_is_put_together(services, ok, error, free):
    # Made now: a worker that was seen when tests were collected is not alive when they run.
    [found] = backends.known(services(), ['b'], 60)
    assert (found.ok, found.error, found.free_bytes) == (ok, error, free)


def test_only_workers_count_and_each_backend_is_there_once():
    strange = Service('a', 'backup-framework-api', 'h', seen_at=utcnow(), backends={'x': {}})
    found = backends.known([worker('w1'), worker('w2'), strange], ['configured', 'b'], 60)
    assert [each.name for each in found] == ['b', 'configured']
    assert [told['host'] for told in found[0].reports] == ['w1', 'w2']
    assert found[1].driver is None


def test_backends_and_their_details(where):
    [shown] = fits(where.ask('rita', f'{EXTENSIONS}/backends'), answers.BACKENDS)['backends']
    assert (shown['name'], shown['ok'], shown['is_default']) == ('local', True, True)
    assert not {'error', 'free_bytes', 'workers'} & shown.keys()
    [shown] = fits(where.ask('ada', f'{EXTENSIONS}/backends'), answers.BACKENDS)['backends']
    assert shown['free_bytes'] == 1 << 40
    assert shown['workers'][0]['host'] == 'backup1'


# Jobs

def test_jobs_of_a_project_and_of_all(where):
    [job] = fits(where.ask('mark', f'{EXTENSIONS}/jobs'), answers.JOBS)['jobs']
    assert (job['id'], job['state'], job['percent']) == (where.ids['job'], 'running', 30)
    assert 'host' not in job and 'user_id' not in job
    every = fits(where.ask('ada', f'{EXTENSIONS}/jobs'), answers.JOBS)['jobs']
    assert {each['project_id'] for each in every} == {'alpha', 'beta'}
    assert every[0]['host'] == 'backup1' and every[0]['user_id']
    one = where.ask('mark', f'{EXTENSIONS}/jobs/{where.ids["job"]}')
    assert fits(one, answers.JOB)['job'] == job
    one = where.ask('mark', f'{EXTENSIONS}/jobs/{where.ids["job"].upper()}')
    assert one.json['job'] == job


def test_jobs_are_chosen(where):
    for number in range(3):
        where.catalog.accept(Job(kind='verify', project_id=ALPHA, state=JobState.DONE,
                                 backup_id=where.ids['backup'], done=number))

    def ask(query: str) -> list:
        return where.ask('mark', f'{EXTENSIONS}/jobs?{query}').json['jobs']
    assert len(ask('')) == 4
    assert {job['state'] for job in ask('state=done')} == {'done'} and len(ask('state=done')) == 3
    assert len(ask('state=done,running')) == 4 and ask('state=failed') == []
    backup = where.ids['backup']
    assert len(ask(f'backup_id={backup}')) == len(ask(f'backup_id={backup.upper()}')) == 3
    assert ask(f'backup_id={where.ids["other-busy"]}') == []
    assert len(ask('limit=2')) == 2 and ask('limit=0') == []
    assert {job['percent'] for job in ask('state=done')} == {100}


@pytest.mark.parametrize('query', ['state=nonsense', 'state=', 'limit=x', 'limit=-1', 'limit=',
                                   'limit=٣', 'limit=99999999999'])
def test_nonsense_about_jobs_is_refused(where, query):
    assert where.ask('mark', f'{EXTENSIONS}/jobs?{query}').status_int == 400


@pytest.mark.parametrize('done, total, percent', [
    (0, None, None), (0, 0, None), (0, 3, 0), (1, 3, 33), (3, 3, 100), (5, 3, 100)])
def test_percents(done, total, percent):
    assert extensions._percent(Job(done=done, total=total, state=JobState.RUNNING)) == percent


# Schedules

def test_schedules_of_a_project(where):
    [schedule] = [each for each in where.configuration.schedules() if each.name == 'nightly']
    where.catalog.due(schedule.key, utcnow(), utcnow() + HOUR)
    [shown] = fits(where.ask('rita', f'{EXTENSIONS}/schedules'), answers.SCHEDULES)['schedules']
    assert (shown['name'], shown['volumes']) == ('nightly', [SECRET])
    assert shown['keep'] == {'last': 7, 'within': 14 * 86400} and shown['next_at']
    assert [each['name'] for each in where.ask('bob', f'{EXTENSIONS}/schedules').json[
        'schedules']] == ['of-beta']
    assert len(where.ask('ada', f'{EXTENSIONS}/schedules').json['schedules']) == 2


# Actions

def act(where: World, user: str, backup: str, action: str, body: object) -> webob.Response:
    return where.ask(user, f'/v3/backups/{backup}/action', 'POST',
                     {f'backup-framework:{action}': body})


@pytest.mark.parametrize('body, quick, percent', [
    ({}, False, None), (None, False, None), ({'how': 'full'}, False, None),
    ({'how': 'quick'}, True, None), ({'percent': 12.5}, False, 12.5),
    ({'percent': 100}, False, 100)])
def test_a_verification_is_accepted(where, body, quick, percent):
    [job] = fits(act(where, 'mark', where.ids['backup'], 'verify', body), answers.ACTED,
                 202)['jobs']
    assert (job['kind'], job['state'], job['backup_id']) == (
        'verify', 'queued', where.ids['backup'])
    kept = where.catalog.job(job['id']).arguments
    assert kept['quick'] == quick and (kept['sample'] or {}).get('percent') == percent
    assert where.catalog.job(job['id']).user_id == 'mark'
    again = act(where, 'mark', where.ids['backup'], 'verify', {})
    assert again.status_int == 400 and job['id'] in again.json['badRequest']['message']


@pytest.mark.parametrize('body', [
    {'how': 'sampled'}, {'percent': 0}, {'percent': 101}, {'percent': -1}, {'percent': '10'},
    {'how': 'full', 'percent': 10}, {'more': 1}, [], 'full', {'how': None}])
def test_nonsense_about_verifications_is_refused(where, body):
    assert act(where, 'mark', where.ids['backup'], 'verify', body).status_int == 400


def test_what_is_not_available_is_not_verified(where):
    answer = act(where, 'mark', where.ids['broken'], 'verify', {})
    assert answer.status_int == 400 and 'error' in answer.json['badRequest']['message']


def test_what_runs_is_cancelled(where):
    [job] = fits(act(where, 'mark', where.ids['busy'], 'cancel', None), answers.ACTED, 202)['jobs']
    assert (job['id'], job['state']) == (where.ids['job'], 'cancelled')
    assert where.catalog.get_backup(where.ids['busy']).status == Status.ERROR
    again = act(where, 'mark', where.ids['busy'], 'cancel', None)
    assert again.status_int == 400 and 'Nothing is being done' in again.text


def test_a_queued_verification_is_cancelled(where):
    act(where, 'mark', where.ids['backup'], 'verify', {})
    fits(act(where, 'mark', where.ids['backup'], 'cancel', None), answers.ACTED, 202)
    assert where.catalog.get_backup(where.ids['backup']).status == Status.AVAILABLE


# Pruning

def prune(where: World, user: str = 'mark', **wanted: object) -> webob.Response:
    return where.ask(user, f'{EXTENSIONS}/prune', 'POST', {'prune': wanted})


def test_a_dry_run_says_why_and_changes_nothing(where):
    found = fits(prune(where, dry_run=True), answers.PRUNED, 202)
    assert found['jobs'] == [] and (found['count'], found['going']) == (4, 1)
    assert found['backups'][0]['id'] == where.ids['older'] and not found['backups'][0]['stays']
    kept = {each['id']: each['reasons'] for each in found['backups'] if each['stays']}
    assert kept[where.ids['backup']] == ['last'] and all(kept.values())
    assert len(where.catalog.jobs()) == 2


def test_a_prune_is_a_job_for_each_volume(where):
    for volume in ('idle', 'volume'):
        for days in (5, 6):
            when = utcnow() - 24 * days * HOUR
            where.catalog.add_backup(Backup(
                volume_id=where.ids[volume], project_id=ALPHA, status=Status.AVAILABLE,
                backend='local', created_at=when, data_timestamp=when, format='2.0.0'))
    jobs = fits(prune(where, last=2, within='12h'), answers.PRUNED, 202)['jobs']
    assert [job['kind'] for job in jobs] == ['prune'], 'of idle both stay'
    assert jobs[0]['volume_id'] == where.ids['volume']
    kept = where.catalog.job(jobs[0]['id'])
    assert kept.project_id == ALPHA
    assert json.loads(json.dumps(kept.arguments))['rules'] == {'last': 2, 'within': 43200}
    again = fits(prune(where, last=1.0, daily=1.0), answers.PRUNED, 202)['jobs']
    assert [job['volume_id'] for job in again] == [where.ids['idle']], 'the other has one'
    refused = prune(where, last=1)
    assert refused.status_int == 400 and 'was accepted already' in refused.text
    for job in (*jobs, *again):
        where.catalog.end_job(job['id'], JobState.DONE)
    assert len(fits(prune(where, last=1.0, daily=1.0), answers.PRUNED, 202)['jobs']) == 2


def test_nothing_is_pruned_where_no_rule_says_what_to_keep(make_world):
    where = make_world('[retention]\nkeep_last = 0\n')
    told = prune(where)
    assert told.status_int == 400 and told.json['badRequest']['message'] == (
        'nothing says what to keep, so nothing is pruned')
    assert prune(where, last=1).status_int == 202


def test_without_a_worker_nothing_is_verified_or_pruned(where):
    [service] = where.catalog.services()
    where.catalog.set_service(service.id, True, 'resting')
    for answer in (act(where, 'mark', where.ids['backup'], 'verify', {}), prune(where)):
        assert answer.status_int == 503 and 'cinder-backup could not be found' in answer.text
    assert len(where.catalog.jobs()) == 2
    assert prune(where, dry_run=True).json['going'] == 1
    assert prune(where, last=9).status_int == 202, 'there is nothing to do'


def test_a_worker_without_the_backend_does_not_count(where):
    where.catalog.update_backup(where.ids['backup'], backend='elsewhere')
    assert act(where, 'mark', where.ids['backup'], 'verify', {}).status_int == 503


def test_a_volume_and_a_backend_are_chosen(where):
    assert prune(where, last=1, dry_run=True, volume_id=where.ids['idle']).json['count'] == 0
    assert prune(where, last=1, dry_run=True, volume_id=where.ids['volume']).json['count'] == 4
    assert prune(where, last=1, dry_run=True, volume_id=None, backend='local').json['count'] == 4
    assert prune(where, last=1, volume_id=where.ids['other-volume']).status_int == 404
    assert prune(where, last=1, backend='nowhere').status_int == 404


def test_an_admin_prunes_one_project_too(where):
    found = prune(where, 'ada', last=1, dry_run=True).json
    assert {each['id'] for each in found['backups']} <= set(where.ids.values()) and (
        found['count'] == 4)


@pytest.mark.parametrize('wanted', [
    {'last': 0}, {'last': '1'}, {'within': '0d'}, {'within': '1'}, {'within': '9999999d'},
    {'volume_id': 'x'}, {'protect': ['a']}, {'dry_run': 'yes'}, {'within': '1d\n'}])
def test_nonsense_about_pruning_is_refused(where, wanted):
    assert prune(where, **wanted).status_int == 400


# The summary

def test_a_summary_for_a_page(where):
    found = fits(where.ask('rita', f'{EXTENSIONS}/summary'), answers.SUMMARY)['summary']
    assert found['totals'] | {} == {
        'backups': 4, 'stored_bytes': 4 << 20, 'gigabytes': 4, 'damaged': 0,
        'by_status': {'available': 2, 'creating': 1, 'error': 1}, 'jobs_by_state': {'running': 1}}
    assert found['backends'][0] | {} == {
        'name': 'local', 'driver': 'local', 'ok': True, 'is_default': True, 'backups': 4,
        'stored_bytes': 4 << 20, 'checked_at': found['backends'][0]['checked_at']}
    [job] = found['jobs']
    assert (job['percent'], job['volume_name']) == (30, f'{SECRET} volume')
    assert [each['id'] for each in found['recent']] == [
        where.ids[kind] for kind in ('busy', 'backup', 'older', 'broken')]
    [failure] = found['failures']
    assert (failure['kind'], failure['id'], failure['fail_reason']) == (
        'create', where.ids['broken'], SECRET)
    assert found['verification'][-1] == {'age': 'never', 'backups': 2}
    assert len(found['growth']) == 4 and found['growth'][-1]['stored_bytes'] == 4 << 20
    assert found['services'] == [found['services'][0] | {
        'host': None, 'up': True, 'sources': [], 'backends': []}]


def test_an_admin_is_told_of_all(where):
    found = fits(where.ask('ada', f'{EXTENSIONS}/summary'), answers.SUMMARY)['summary']
    assert found['totals']['backups'] == 8 and len(found['jobs']) == 2
    assert found['backends'][0]['free_bytes'] == 1 << 40
    assert found['services'][0]['host'] == 'backup1'
    assert found['services'][0]['backends'] == ['local']


def test_a_volume_that_went_to_another_project_is_not_named_any_more(where):
    def names(user: str) -> set:
        found = where.ask(user, f'{EXTENSIONS}/summary').json['summary']
        return {each['volume_name'] for kind in ('jobs', 'recent', 'failures')
                for each in found[kind] if each['volume_id'] == where.ids['volume']}
    where.catalog.update_volume(where.ids['volume'], name='moved', project_id='beta')
    assert names('rita') == {None} and names('ada') == {'moved'}
    where.catalog.update_volume(where.ids['volume'], project_id=None)
    assert names('rita') == {'moved'}, "it is everybody's"


def test_a_volume_is_named_to_those_who_may_list_volumes(make_world, tmp_path):
    # Beside the configuration of the world that is made next.
    place = tmp_path / 'world0'
    place.mkdir()
    (place / 'policy.yaml').write_text('"volume:get_all": "rule:admin_api"\n')
    where = make_world()
    for user, name in (('rita', None), ('ada', f'{SECRET} volume')):
        found = where.ask(user, f'{EXTENSIONS}/summary').json['summary']['recent']
        assert {each['volume_name'] for each in found
                if each['volume_id'] == where.ids['volume']} == {name}


def test_what_failed_long_ago_is_no_recent_failure(where):
    where.catalog.update_backup(where.ids['broken'], created_at=utcnow() - 24 * 8 * HOUR)
    assert where.ask('rita', f'{EXTENSIONS}/summary').json['summary']['failures'] == []


def test_a_failure_is_told_once_the_newest_first(where):
    for minutes, kind, backup in ((3, 'create', 'broken'), (1, 'restore', 'backup')):
        job = where.catalog.accept(Job(kind=kind, project_id=ALPHA, backup_id=where.ids[backup]))
        where.catalog.end_job(job.id, JobState.FAILED, f'{minutes} minutes')
    found = where.ask('rita', f'{EXTENSIONS}/summary').json['summary']['failures']
    assert [(each['kind'], each['id']) for each in found] == [
        ('restore', where.ids['backup']), ('create', where.ids['broken'])]


def test_a_summary_is_small_however_much_there_is(where):
    now, many = utcnow(), range(1000)
    rows = {
        schema.backups: [records.new_backup(Backup(
            volume_id=f'v{number}', project_id=ALPHA, status=Status.ERROR, backend='local',
            created_at=now - number * HOUR, fail_reason='x' * 100)) for number in many],
        schema.jobs: [records.new_job(Job(kind='verify', project_id=ALPHA, created_at=now))
                      for _ in many],
        schema.services: [records.new_service(Service(f's{number}', WORKER, f'h{number}'))
                          for number in many]}
    for table, values in rows.items():
        where.catalog._database.write(
            lambda connection, table=table, values=values: connection.execute(
                table.insert(), values))
    answer = where.ask('ada', f'{EXTENSIONS}/summary')
    found = fits(answer, answers.SUMMARY)['summary']
    assert len(found['jobs']) == summary.MOST_JOBS
    assert [job['state'] for job in found['jobs'][:3]] == ['running', 'running', 'queued']
    assert len(found['recent']) == summary.MOST_RECENT
    assert len(found['failures']) == summary.MOST_FAILURES
    assert len(found['services']) == summary.MOST_SERVICES
    assert [each['up'] for each in found['services'][:2]] == [True, False]
    assert len(answer.body) < 100_000


# Prometheus

def metrics(where: World) -> dict[str, float]:
    answer = where.ask('ada', '/metrics')
    assert answer.content_type == 'text/plain' and 'version=' in answer.headers['Content-Type']
    found = {}
    for line in answer.text.splitlines():
        if not line.startswith('#'):
            name, _, value = line.rpartition(' ')
            assert re.fullmatch(r'backup_framework_service_\w+(\{.*\})?', name), name
            assert name not in found
            found[name.removeprefix('backup_framework_service_')] = float(value)
    return found


def test_figures_for_prometheus(where):
    found = metrics(where)
    assert found['backups{status="available"}'] == 4
    assert found['jobs{state="running"}'] == 2
    assert found['stored_bytes{backend="local"}'] == 8 << 20
    assert found['used{project_id="alpha",resource="gigabytes"}'] == 4
    assert found['quota{resource="backups"}'] == -1
    assert found['up{binary="cinder-backup",host="backup1"}'] == 1
    assert found['backend_up{backend="local"}'] == 1
    assert found['backend_free_bytes{backend="local"}'] == 1 << 40
    [newest] = [value for name, value in found.items()
                if name.startswith('last_success') and where.ids['volume'] in name]
    taken = where.catalog.backup_of(where.ids['backup'], None).data_timestamp
    assert taken is not None and newest == taken.timestamp()


def test_what_is_away_is_told(where):
    where.catalog.beat(Service(
        'worker-1', WORKER, 'backup1', backends={'local': {
            'driver': 'local', 'ok': False, 'error': 'disk', 'free_bytes': None,
            'checked_at': utcnow().isoformat()}}))
    found = metrics(where)
    assert found['backend_up{backend="local"}'] == 0
    assert not [name for name in found if name.startswith('backend_free')]


def test_requests_are_counted_by_route(where):
    for _ in range(3):
        where.ask('mark', f'/v3/backups/{where.ids["backup"]}')
    where.ask('mark', f'/v3/alpha/backups/{world.named("nothing")}')
    where.ask('mark', '/v3/nonsense')
    where.ask('mark', '/v3/nonsense', 'BREW')
    found = {re.sub(r'process="\d+",', '', name): value for name, value in metrics(where).items()}
    assert found['requests_total{method="GET",route="/backups/{id}",status="200"}'] == 3
    assert found['requests_total{method="GET",route="/backups/{id}",status="404"}'] == 1
    assert found['requests_total{method="",route="",status="404"}'] == 2
    assert found['request_seconds_count{method="GET",route="/backups/{id}"}'] == 4
