"""When schedules are due, what they begin, and what stops them or does not."""

import dataclasses
import datetime
import logging
import zoneinfo

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from backup_framework import catalog as catalogs
from backup_framework import exceptions
from backup_framework.conf import ScheduleConfig
from backup_framework.model import OPEN_STATES, Job, JobState, Page, Quota, Volume
from backup_framework.service import schedules

UTC = datetime.UTC
MIDNIGHT = datetime.datetime(2026, 3, 1, tzinfo=UTC)


def schedule(cron='0 2 * * *', zone='UTC', **more):
    more = {'name': 'nightly', 'volumes': ('*',), 'template': '{volume} {date}'} | more
    return ScheduleConfig(cron=cron, timezone=zoneinfo.ZoneInfo(zone), **more)


def times(cron, zone, begin, count):
    found = []
    for _ in range(count):
        begin = schedules.next_time(schedule(cron, zone), begin)
        found.append(begin)
    return found


# Times

@pytest.mark.parametrize('cron, zone, after, expected', [
    ('0 2 * * *', 'UTC', '2026-03-01T01:59', '2026-03-01T02:00'),
    ('0 2 * * *', 'UTC', '2026-03-01T02:00', '2026-03-02T02:00'),
    ('0 2 * * *', 'Asia/Kolkata', '2026-03-01T00:00', '2026-03-01T20:30'),
    ('30 4 * * 1', 'UTC', '2026-03-01T00:00', '2026-03-02T04:30'),
    ('0 0 29 2 *', 'UTC', '2026-03-01T00:00', '2028-02-29T00:00'),
    # Clocks are set forward at 01:00 UTC: there is no 02:30 that day, and it is not left out.
    ('30 2 * * *', 'Europe/Berlin', '2026-03-28T12:00', '2026-03-29T01:00'),
    ('30 2 * * *', 'Europe/Berlin', '2026-03-29T01:00', '2026-03-30T00:30'),
])
def test_the_next_time(cron, zone, after, expected):
    found = schedules.next_time(schedule(cron, zone), moment(after))
    assert found == moment(expected)


def moment(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_the_hour_that_comes_twice_has_one_run():
    """Clocks are set back at 01:00 UTC on 25 October: 02:30 is at 00:30 and at 01:30 UTC."""
    found = times('30 2 * * *', 'Europe/Berlin', moment('2026-10-24T12:00'), 2)
    assert found == [moment('2026-10-25T00:30'), moment('2026-10-26T01:30')]


@pytest.mark.parametrize('minute', [0, 10, 29, 30, 31, 59])
def test_within_the_hour_that_comes_twice_no_time_that_is_over_is_found(minute):
    now = moment(f'2026-10-25T01:{minute:02}')
    assert schedules.next_time(schedule('30 2 * * *', 'Europe/Berlin'), now) > now


numbers = {'minute': st.integers(0, 59), 'hour': st.integers(0, 23), 'day': st.integers(1, 28),
           'month': st.integers(1, 12), 'weekday': st.integers(0, 6)}
fields = {name: st.one_of(st.just('*'), each.map(str), each.map(lambda n: f'*/{max(n, 1)}'))
          for name, each in numbers.items()}
crons = st.tuples(*fields.values()).map(' '.join)
zones = st.sampled_from(['UTC', 'Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe',
                         'Asia/Kolkata', 'Pacific/Apia'])
moments = st.datetimes(datetime.datetime(2020, 1, 1), datetime.datetime(2035, 1, 1),
                       timezones=st.just(UTC))


@settings(max_examples=150, deadline=None)
@given(crons, zones, moments)
def test_a_next_time_is_later_and_nothing_lies_between(cron, zone, after):
    plan = schedule(cron, zone)
    found = schedules.next_time(plan, after)
    assert found > after and found.second == found.microsecond == 0
    between = after + (found - after) / 2
    if between < found:
        assert schedules.next_time(plan, between) == found


@settings(max_examples=150, deadline=None)
@given(crons, moments)
def test_a_next_time_fits_its_fields(cron, after):
    found = schedules.next_time(schedule(cron), after)
    minute, hour, day, month, weekday = cron.split()
    assert fits(minute, found.minute, 0) and fits(hour, found.hour, 0)
    assert fits(month, found.month, 1)
    by_day, by_weekday = fits(day, found.day, 1), fits(weekday, found.isoweekday() % 7, 0) or (
        fits(weekday, found.isoweekday(), 0))
    either = not (day.startswith('*') or weekday.startswith('*'))
    assert by_day or by_weekday if either else by_day and by_weekday


def fits(field, value, lowest):
    if field.startswith('*'):
        return (value - lowest) % int(field[2:] or 1) == 0
    return int(field) == value


@pytest.mark.parametrize('cron', ['', '* * * *', '* * * * * *', '61 * * * *', '0 0 30 2 *',
                                  'often', '@daily', '0 2 * * MOON'])
def test_a_cron_that_makes_no_sense(cron):
    with pytest.raises(exceptions.ConfigurationError, match=r'\[schedule:nightly\] cron'):
        schedules.next_time(schedule(cron), MIDNIGHT)


# Runs, on a catalog and a manager that are plain data

class Catalog:
    """Keeps next times as the real one does: of several who ask, one wins."""

    def __init__(self, *volumes):
        self.volumes = list(volumes)
        self.open = []
        self.times = {}

    def due(self, name, now, next_at, until=None):
        kept = self.times.setdefault(name, next_at)
        if kept > now:
            return False
        self.times[name] = until or next_at
        return True

    def next_runs(self):
        return self.times

    def jobs(self, *, states=OPEN_STATES, since=None):
        """Those that are there at first are old, and none is accepted by another worker."""
        return [job for job in self.open if job.state in states and since is None]

    def job(self, job_id):
        return next(job for job in self.open if job.id == job_id)

    def volume_page(self, project_id, *, filters, limit, marker):
        fitting = [volume for volume in self.volumes
                   if volume.source == filters.get('source', volume.source)
                   and project_id in (None, volume.project_id)]
        ids = [volume.id for volume in fitting]
        begin = 0 if marker is None else ids.index(marker) + 1
        return Page(fitting[begin:begin + limit])


class Manager:
    def __init__(self, catalog, refused=()):
        self.catalog = catalog
        self.refused = dict(refused)
        self.accepted = []
        self.pruned = []

    def accept_create(self, wanted):
        error = self.refused.get((wanted.volume_id, wanted.incremental))
        if error is not None:
            raise error
        self.accepted.append(wanted)
        job = Job(kind='create', volume_id=wanted.volume_id, project_id=wanted.project_id,
                  backend=wanted.backend or 'local')
        self.catalog.open.append(job)
        return None, job

    def accept_prune(self, **wanted):
        self.pruned.append(wanted)
        return Job(kind='prune')


class Configuration:
    quota = Quota(backups=10)

    def __init__(self, *found):
        self.found = list(found)

    def schedules(self):
        return self.found


@pytest.fixture
def submitted():
    return []


@pytest.fixture
def scheduler(submitted):
    def make(manager, *found):
        return schedules.Scheduler(Configuration(*found), manager, submitted.append)
    return make


def volume(name, source='images', **more):
    return Volume(name, name, source=source, **more)


def hours(count):
    return MIDNIGHT + datetime.timedelta(hours=count)


def test_one_of_several_workers_fires_and_once(scheduler, submitted):
    manager = Manager(Catalog(volume('web')))
    workers = [scheduler(manager, schedule()) for _ in range(3)]
    for now in (hours(0), hours(1), hours(2), hours(2.1), hours(3)):
        for worker in workers:
            worker.turn(now)
        for job in manager.catalog.open:
            job.state = JobState.DONE
    assert [job.volume_id for job in submitted] == ['web']


def test_of_many_times_that_were_missed_one_is_made_up_for(scheduler, submitted):
    manager = Manager(Catalog(volume('web')))
    scheduler(manager, schedule('0 * * * *')).turn(hours(0))
    late = scheduler(manager, schedule('0 * * * *'))
    late.turn(hours(7.5))
    assert len(submitted) == 1
    assert manager.catalog.times == {'schedule:nightly': hours(8)}
    late.turn(hours(7.6))
    assert len(submitted) == 1


def test_nothing_is_begun_when_a_schedule_is_new(scheduler, submitted):
    scheduler(Manager(Catalog(volume('web'))), schedule()).turn(hours(5))
    assert submitted == []


def test_the_pause_ends_when_the_next_one_is_due(scheduler):
    worker = scheduler(Manager(Catalog()), schedule('0 2 * * *'), schedule('1 0 * * *', name='b'))
    assert worker.turn(hours(0) + datetime.timedelta(seconds=30)) == 30
    assert worker.turn(hours(1)) == schedules.LONGEST_PAUSE


def test_a_backup_is_asked_for_as_the_section_says(scheduler, submitted):
    manager = Manager(Catalog(volume('web')))
    worker = scheduler(manager, schedule(project_id=None, backend='vault', incremental=True,
                                         template='{schedule} {volume} {date} {time}'))
    worker.fire(schedule(project_id='demo', backend='vault',
                         template='{schedule} {volume} {date} {time}'), hours(2))
    assert manager.accepted == []
    manager.catalog.volumes[0].project_id = 'demo'
    worker.fire(schedule(project_id='demo', backend='vault',
                         template='{schedule} {volume} {date} {time}'), hours(2))
    (wanted,) = manager.accepted
    assert (wanted.volume_id, wanted.project_id, wanted.backend) == ('web', 'demo', 'vault')
    assert wanted.name == 'nightly web 2026-03-01 02:00'
    assert wanted.incremental and wanted.force and wanted.quota == Quota(backups=10)


def test_what_a_failed_restore_left_is_not_backed_up_by_force(scheduler, submitted):
    manager = Manager(Catalog(volume('web'), volume('db', status='error_restoring')))
    scheduler(manager).fire(schedule(), hours(2))
    assert {wanted.volume_id: wanted.force for wanted in manager.accepted} == {
        'web': True, 'db': False}


def test_a_full_backup_where_there_is_nothing_to_build_on(scheduler, submitted):
    manager = Manager(Catalog(volume('web')), {('web', True): exceptions.InvalidBackup('none')})
    scheduler(manager).fire(schedule(), hours(2))
    assert [wanted.incremental for wanted in manager.accepted] == [False]


def test_a_volume_whose_backup_runs_is_left_out_with_a_warning(scheduler, submitted, caplog):
    manager = Manager(Catalog(volume('web'), volume('db')))
    manager.catalog.open.append(Job(kind='create', volume_id='web', state=JobState.RUNNING))
    manager.catalog.open.append(Job(kind='verify', volume_id='db', state=JobState.RUNNING))
    scheduler(manager).fire(schedule(), hours(2))
    assert [job.volume_id for job in submitted] == ['db']
    (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert 'volume web is left out' in record.getMessage()


@pytest.mark.parametrize('error', [exceptions.QuotaExceeded('backups', 1, 1), KeyError('a bug')])
def test_one_volume_that_fails_stops_no_other(scheduler, submitted, caplog, error):
    manager = Manager(Catalog(volume('web'), volume('db')), {('web', True): error})
    scheduler(manager).fire(schedule(), hours(2))
    assert [job.volume_id for job in submitted] == ['db']
    assert 'volume web is not backed up' in caplog.text
    assert ('Traceback' in caplog.text) == isinstance(error, KeyError)


def test_volumes_by_name_and_id_and_source(scheduler, submitted, caplog):
    catalog = Catalog(Volume('1', 'web', source='a'), Volume('2', 'web', source='b'),
                      Volume('3', 'db', source='a'))
    worker = scheduler(Manager(catalog))
    worker.fire(schedule(volumes=('web', '3', 'db', 'gone')), hours(2))
    assert [job.volume_id for job in submitted] == ['3']
    assert '2 volumes are called web' in caplog.text
    assert 'no volumes are called gone' in caplog.text
    catalog.open.clear()
    worker.fire(schedule(volumes=('web',), source='b'), hours(2))
    assert [job.volume_id for job in submitted][1:] == ['2']


def test_more_volumes_than_a_page_has(scheduler, submitted):
    catalog = Catalog(*(volume(f'v{number}') for number in range(1100)))
    scheduler(Manager(catalog)).fire(schedule(), hours(2))
    assert len(submitted) == len({job.volume_id for job in submitted}) == 1100


def test_a_backup_that_succeeded_is_followed_by_a_prune(scheduler, submitted):
    manager = Manager(Catalog(volume('web'), volume('db')))
    plan = schedule(rules={'daily': 7})
    worker = scheduler(manager, plan)
    worker.fire(plan, hours(2))
    assert worker.turn(hours(2.1)) == schedules.SHORT_PAUSE and manager.pruned == []
    for job, state in zip(manager.catalog.open, (JobState.DONE, JobState.FAILED), strict=True):
        job.state = state
    worker.turn(hours(2.2))
    worker.turn(hours(2.3))
    assert manager.pruned == [{'volume_id': 'web', 'project_id': None, 'backend': 'local',
                               'rules': {'daily': 7}}]
    assert [job.kind for job in submitted] == ['create', 'create', 'prune']


def test_a_prune_waits_while_the_catalog_is_away(scheduler, submitted):
    away = exceptions.CatalogError('away')
    manager = Manager(Catalog(volume('web'), volume('db')))
    plan = schedule(rules={'daily': 7})
    worker = scheduler(manager, plan)
    worker.fire(plan, hours(2))
    for job in manager.catalog.open:
        job.state = JobState.DONE
    for what, name in ((manager.catalog, 'job'), (manager, 'accept_prune')):
        works = getattr(what, name)
        setattr(what, name, lambda *_, **__: (_ for _ in ()).throw(away))
        assert worker.turn(hours(2.1)) == schedules.SHORT_PAUSE and manager.pruned == []
        setattr(what, name, works)
    worker.turn(hours(2.2))
    worker.turn(hours(2.3))
    assert [wanted['volume_id'] for wanted in manager.pruned] == ['web', 'db']


def test_a_prune_waits_for_another_one_of_the_volume(scheduler, submitted):
    manager = Manager(Catalog(volume('web')))
    plan = schedule(rules={'daily': 7})
    worker = scheduler(manager, plan)
    worker.fire(plan, hours(2))
    manager.catalog.open[0].state = JobState.DONE
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Manager, 'accept_prune', lambda *_, **__: (_ for _ in ()).throw(
            exceptions.InvalidBackup('a prune of it was accepted already')))
        assert worker.turn(hours(2.1)) == schedules.SHORT_PAUSE
    worker.turn(hours(2.2))
    assert [wanted['volume_id'] for wanted in manager.pruned] == ['web']


def test_a_prune_that_is_refused_stops_no_other(scheduler):
    manager = Manager(Catalog(volume('web'), volume('db')))
    plan = schedule(rules={'daily': 7})
    worker = scheduler(manager, plan)
    worker.fire(plan, hours(2))
    web, db = manager.catalog.open
    db.state = JobState.DONE
    manager.catalog.open = [db]
    assert worker.turn(hours(2.1)) == schedules.LONGEST_PAUSE, 'the job of web is not there'
    assert [wanted['volume_id'] for wanted in manager.pruned] == ['db']


def test_without_rules_nothing_is_pruned(scheduler):
    manager = Manager(Catalog(volume('web')))
    worker = scheduler(manager)
    worker.fire(schedule(), hours(2))
    manager.catalog.open[0].state = JobState.DONE
    worker.turn(hours(2.1))
    assert manager.pruned == []


def test_a_catalog_that_is_away_is_asked_again_soon(scheduler, submitted):
    manager = Manager(Catalog(volume('web')))
    worker = scheduler(manager, schedule())
    worker.turn(hours(0))
    due = manager.catalog.due
    manager.catalog.due = lambda *_: (_ for _ in ()).throw(exceptions.CatalogError('away'))
    assert worker.turn(hours(2)) == schedules.SHORT_PAUSE
    manager.catalog.due = due
    worker.turn(hours(2.01))
    assert len(submitted) == 1


def test_a_run_that_lost_the_catalog_goes_on_when_that_is_back(scheduler, submitted):
    away = exceptions.CatalogError('away')
    manager = Manager(Catalog(volume('a'), volume('b'), volume('c')),
                      {('a', True): exceptions.QuotaExceeded('backups', 1, 1), ('c', True): away})
    worker = scheduler(manager, schedule(template='{date} {time}'))
    worker.turn(hours(0))
    volume_page = manager.catalog.volume_page
    manager.catalog.volume_page = lambda *_, **__: (_ for _ in ()).throw(away)
    assert worker.turn(hours(2)) == schedules.SHORT_PAUSE and submitted == []
    manager.catalog.volume_page = volume_page
    assert worker.turn(hours(2.01)) == schedules.SHORT_PAUSE
    assert [job.volume_id for job in submitted] == ['b']
    manager.catalog.open[0].state = JobState.DONE
    manager.refused.clear()
    assert worker.turn(hours(2.02)) == schedules.LONGEST_PAUSE
    worker.turn(hours(2.03))
    assert [job.volume_id for job in submitted] == ['b', 'c'], 'each once; a is refused for good'
    assert {wanted.name for wanted in manager.accepted} == {'2026-03-01 02:00'}


class Killed(BaseException):
    """The worker is, where this is raised."""


@pytest.fixture
def kept(tmp_path):
    """A catalog with three volumes."""
    made = catalogs.Catalog(f'sqlite:///{tmp_path}/catalog.sqlite', str(tmp_path))
    made.offer_volumes('images', [Volume(name=name, source_id=name) for name in 'abc'])
    return made


class Recording(Manager):
    """Accepts so many in a real catalog; whoever asks for one more is killed."""

    most = 100
    now = MIDNIGHT

    def turn(self, worker, now):
        self.now = now
        return worker.turn(now)

    def accept_create(self, wanted):
        if len(self.accepted) == self.most:
            raise Killed
        self.accepted.append(self.catalog.volume_of(wanted.volume_id, None).name)
        return None, self.catalog.accept(Job(
            kind='create', volume_id=wanted.volume_id, created_at=self.now))

    def end_all(self):
        for job in self.catalog.jobs(states=OPEN_STATES):
            self.catalog.end_job(job.id, JobState.DONE)


def test_of_a_run_whose_worker_died_the_next_one_does_the_rest(scheduler, kept):
    manager = Recording(kept)
    one, other = scheduler(manager, schedule()), scheduler(manager, schedule())
    for worker in (one, other):
        manager.turn(worker, hours(0))
    manager.most = 2
    with pytest.raises(Killed):
        manager.turn(one, hours(2))
    manager.most = 100
    manager.end_all()
    soon = hours(2) + schedules.TAKEN_OVER / 2
    for worker in (other, scheduler(manager, schedule())):
        assert manager.turn(worker, soon) < schedules.TAKEN_OVER.total_seconds()
    assert len(manager.accepted) == 2, 'the first may be alive'
    for worker in (other, scheduler(manager, schedule())):
        manager.turn(worker, hours(2) + schedules.TAKEN_OVER)
        manager.turn(worker, hours(2.5))
    assert sorted(manager.accepted) == ['a', 'b', 'c']
    manager.end_all()
    assert kept.next_runs() == {'schedule:nightly': hours(26)}
    manager.turn(other, hours(26))
    assert sorted(manager.accepted[3:]) == ['a', 'b', 'c']


def dies_after_one(manager, worker):
    """A worker that is killed when it has accepted one backup, which ends then."""
    manager.most = 1
    with pytest.raises(Killed):
        manager.turn(worker, hours(2))
    manager.most = 100
    manager.end_all()


def test_a_run_that_nobody_took_over_in_time_is_part_of_the_next(scheduler, kept):
    manager = Recording(kept)
    manager.turn(scheduler(manager, schedule()), hours(0))
    dies_after_one(manager, scheduler(manager, schedule()))
    manager.turn(scheduler(manager, schedule()), hours(27))
    assert sorted(manager.accepted[1:]) == ['a', 'b', 'c']


def test_a_run_whose_worker_died_before_its_first_backup_is_not_lost(
        scheduler, kept, monkeypatch):
    manager = Recording(kept)
    manager.turn(scheduler(manager, schedule()), hours(0))
    due = kept.due
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(kept, 'due', lambda *asked: due(*asked) and raises(Killed))
        manager.turn(scheduler(manager, schedule()), hours(2))
    manager.turn(scheduler(manager, schedule()), hours(2) + schedules.TAKEN_OVER)
    assert sorted(manager.accepted) == ['a', 'b', 'c']
    assert kept.next_runs() == {'schedule:nightly': hours(26)}


def raises(error):
    raise error


@pytest.mark.parametrize('later', ['0 4 * * *', '0 1 * * *'])
@pytest.mark.parametrize('how', ['restart', 'reload'])
def test_a_cron_that_was_changed_has_no_run_at_its_old_time(scheduler, kept, how, later):
    manager = Recording(kept)
    worker, other = scheduler(manager, schedule()), scheduler(manager, schedule())
    manager.turn(worker, hours(12))
    manager.turn(other, hours(12))
    if how == 'reload':
        worker._configuration.found = [schedule(later)]
        worker.reload()
    else:
        worker = scheduler(manager, schedule(later))
    hour = int(later.split()[1])
    for time in (12, 12.2, 24, 24.9, 25, 25.2, 26, 26.2, 27.9, 28, 28.2):
        before = len(manager.accepted)
        manager.turn(worker, hours(time))
        manager.end_all()
        assert len(manager.accepted) - before == (3 if time == 24 + hour else 0), time
    assert kept.next_runs() == {'schedule:nightly': hours(48 + hour)}


def test_a_run_that_died_is_gone_on_with_by_a_worker_that_is_new(scheduler, kept):
    manager = Recording(kept)
    manager.turn(scheduler(manager, schedule()), hours(0))
    dies_after_one(manager, scheduler(manager, schedule()))
    new = scheduler(manager, schedule())
    manager.turn(new, hours(2))
    manager.turn(new, hours(2) + schedules.TAKEN_OVER)
    assert sorted(manager.accepted) == ['a', 'b', 'c']


def test_a_run_of_a_schedule_that_comes_often_is_no_more_than_one(scheduler, kept):
    manager = Recording(kept)
    worker = scheduler(manager, schedule('* * * * *'))
    for minute in range(4):
        manager.turn(worker, hours(0) + datetime.timedelta(minutes=minute))
        manager.end_all()
    assert sorted(manager.accepted) == sorted('abc' * 3)


def test_a_reload_takes_new_schedules_and_keeps_the_old_where_they_make_no_sense(
        scheduler, submitted, caplog):
    manager = Manager(Catalog(volume('web')))
    worker = scheduler(manager, schedule())
    worker._configuration.found = [schedule('often')]
    worker.reload()
    assert 'The schedules stay as they were' in caplog.text
    worker._configuration.found = [dataclasses.replace(schedule('0 3 * * *'), name='later')]
    worker.reload()
    worker.turn(hours(1))
    assert manager.catalog.times == {'schedule:later': hours(3)}
    worker._configuration.found = [dataclasses.replace(schedule('2 1 * * *'), name='later')]
    worker.reload()
    assert worker.turn(hours(1) + datetime.timedelta(seconds=90)) == 30
