"""Schedules: backups that the workers begin by themselves, at the times of [schedule:NAME]."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
import dataclasses
import datetime
import logging
import threading

from cronsim import CronSim, CronSimError

from backup_framework import exceptions
from backup_framework.catalog.jobs import RESTORE_FAILED
from backup_framework.conf import Configuration, ScheduleConfig
from backup_framework.manager import CreateJob, Manager
from backup_framework.model import OPEN_STATES, Job, JobState, Volume, utcnow

LOG = logging.getLogger(__name__)

LONGEST_PAUSE = 60.0
SHORT_PAUSE = 5.0
"""Seconds until what could not be asked about, or has not ended, is looked at again."""
TAKEN_OVER = datetime.timedelta(minutes=10)
"""After so long a run that has not come to its end is due again: its worker may have died."""
_PAGE = 500
_FIELDS = 5


def next_time(schedule: ScheduleConfig, after: datetime.datetime) -> datetime.datetime:
    """The first time of a schedule that is later, in UTC.

    :raises ConfigurationError: its cron makes no sense, or never comes.
    """
    label = f'[schedule:{schedule.name}] cron'
    if len(schedule.cron.split()) != _FIELDS:
        raise exceptions.ConfigurationError(
            f'{label} must have five fields (minute, hour, day of the month, month, day of the '
            f'week), not {schedule.cron!r}')
    try:
        # In the hour that a clock shows twice a time may be found that is over.
        return next(time for time in _times(schedule, after) if time > after)
    except CronSimError as error:
        raise exceptions.ConfigurationError(
            f'{label}: {schedule.cron!r} makes no sense: {str(error).lower()}') from None
    except StopIteration:
        raise exceptions.ConfigurationError(
            f'{label}: {schedule.cron!r} never comes') from None


def _times(schedule: ScheduleConfig, after: datetime.datetime) -> Iterator[datetime.datetime]:
    for time in CronSim(schedule.cron, after.astimezone(schedule.timezone)):
        yield time.astimezone(datetime.UTC)


def check(configuration: Configuration) -> list[ScheduleConfig]:
    """All schedules.

    :raises ConfigurationError: one of them makes no sense.
    """
    found = configuration.schedules()
    for schedule in found:
        next_time(schedule, utcnow())
    return found


@dataclasses.dataclass
class _Fired:
    """A run that has begun.

    :param until: when it is due again, unless it has come to its end.
    :param coming: when the next one is due.
    :param done: the volumes of which there is nothing more to do.
    """

    at: datetime.datetime
    until: datetime.datetime
    coming: datetime.datetime
    done: set[str] = dataclasses.field(default_factory=set)


class Scheduler:
    """Accepts backups when their schedules are due.

    Each worker has one, and of several the catalog lets one win. Times that passed while no worker
    ran are made up for by one run.

    :param submit: gives an accepted job to the workers.
    """

    def __init__(self, configuration: Configuration, manager: Manager,
                 submit: Callable[[Job], object]) -> None:
        self._configuration = configuration
        self._manager = manager
        self._submit = submit
        self._schedules = check(configuration)
        self._next: dict[str, datetime.datetime] = {}
        self._fired: dict[str, _Fired] = {}
        self._to_prune: dict[str, ScheduleConfig] = {}
        self._wake = threading.Event()
        self._stopped = False

    def run(self) -> None:
        """Until `stop` is called."""
        while not self._stopped:
            self._wake.clear()
            self._wake.wait(self.turn(utcnow()))

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()

    def reload(self) -> None:
        """Take what the configuration says now; where that makes no sense, go on as before."""
        try:
            self._schedules = check(self._configuration)
        except exceptions.ConfigurationError as error:
            LOG.error('The schedules stay as they were: %s', error)
        self._next = {}
        self._wake.set()

    def turn(self, now: datetime.datetime) -> float:
        """Do what is due; gives the seconds until something may be due again."""
        pause = LONGEST_PAUSE
        for schedule in self._schedules:
            try:
                if now >= self._next.get(schedule.name, now):
                    self._ask(schedule, now)
                elif schedule.name in self._fired:
                    self._go_on(schedule)
                pause = min(pause, (self._next[schedule.name] - now).total_seconds())
            except Exception as error:
                _report(error, 'Schedule %s', schedule.name)
                pause = SHORT_PAUSE
        self._prune_what_is_done()
        return max(0.0, min(pause, SHORT_PAUSE) if self._to_prune else pause)

    def _ask(self, schedule: ScheduleConfig, now: datetime.datetime) -> None:
        coming = next_time(schedule, now)
        until = min(coming, now + TAKEN_OVER)
        catalog = self._manager.catalog
        known = catalog.next_runs().get(schedule.key, now)
        if schedule.name not in self._next and known > now + TAKEN_OVER:
            # No run that has begun is due again so late; the cron may be another one than it was.
            catalog.due(schedule.key, known, coming)
        due = catalog.due(schedule.key, now, coming, until)
        self._next[schedule.name] = until
        if due:
            # One that was due at none of its times was begun by a worker that has died since.
            is_new = next_time(schedule, known - datetime.timedelta.resolution) <= now
            self.fire(schedule, now, None if is_new else known - TAKEN_OVER)

    def fire(self, schedule: ScheduleConfig, now: datetime.datetime,
             begun: datetime.datetime | None = None) -> None:
        """Accept a backup of each volume; one that fails stops no other.

        Where the catalog goes away meanwhile, the next turns go on with the rest.

        :param begun: when another worker began with this run.
        """
        LOG.info('Schedule %s %s', schedule.name, 'is gone on with' if begun else 'begins')
        coming = next_time(schedule, now)
        until = min(coming, now + TAKEN_OVER)
        self._fired[schedule.name] = _Fired(begun or now, until, coming)
        self._go_on(schedule)

    def _go_on(self, schedule: ScheduleConfig) -> None:
        fired = self._fired[schedule.name]
        catalog = self._manager.catalog
        busy = {job.volume_id for job in catalog.jobs(states=OPEN_STATES) if job.kind == 'create'}
        done = fired.done | {job.volume_id for job in catalog.jobs(since=fired.at)
                             if job.kind == 'create'}
        for volume in self._volumes(schedule):
            if volume.id in done:
                continue
            name = volume.name or volume.id
            if volume.id in busy:
                LOG.warning('Schedule %s: volume %s is left out, because a backup of it has not '
                            'ended yet', schedule.name, name)
                fired.done.add(volume.id)
                continue
            job = self._try(schedule, volume, schedule.name_at(name, fired.at))
            fired.done.add(volume.id)
            if job is None:
                continue
            if schedule.rules:
                self._to_prune[job.id] = schedule
            self._submit(job)
        catalog.due(schedule.key, fired.until, fired.coming)
        del self._fired[schedule.name]

    def _volumes(self, schedule: ScheduleConfig) -> Iterable[Volume]:
        """Those that are there; a name that is not is said."""
        offered = list(self._offered(schedule))
        if '*' in schedule.volumes:
            return offered
        chosen: dict[str, Volume] = {}
        for ref in schedule.volumes:
            found = [volume for volume in offered if ref == volume.id] or [
                volume for volume in offered if ref == volume.name]
            if len(found) != 1:
                LOG.error('Schedule %s: %s volumes are called %s; nothing of that name is backed '
                          'up. "volumes" takes ids as well, and "source" says which source is '
                          'meant.', schedule.name, len(found) or 'no', ref)
                continue
            chosen[found[0].id] = found[0]
        return chosen.values()

    def _offered(self, schedule: ScheduleConfig) -> Iterator[Volume]:
        filters = {'source': schedule.source} if schedule.source else {}
        marker = None
        while True:
            page = self._manager.catalog.volume_page(
                schedule.project_id, filters=filters, limit=_PAGE, marker=marker)
            yield from page.items
            if len(page.items) < _PAGE:
                return
            marker = page.items[-1].id

    def _try(self, schedule: ScheduleConfig, volume: Volume, name: str) -> Job | None:
        """None where the backup is refused, which does not change when it is asked again."""
        try:
            return self._accept(schedule, volume, name)
        except (exceptions.CatalogError, exceptions.NoSpace):
            raise
        except Exception as error:
            _report(error, 'Schedule %s: volume %s is not backed up', schedule.name,
                    volume.name or volume.id)
            return None

    def _accept(self, schedule: ScheduleConfig, volume: Volume, name: str) -> Job:
        """A job for a backup of this volume, incremental where that is wanted and possible."""
        project = schedule.project_id or volume.project_id
        wanted = CreateJob(
            volume_id=volume.id, project_id=project, name=name, backend=schedule.backend,
            incremental=schedule.incremental,
            # What a failed restore left must not be what pushes good backups out.
            force=volume.status != RESTORE_FAILED,
            quota=None if project is None else self._configuration.quota)
        try:
            return self._manager.accept_create(wanted)[1]
        except exceptions.InvalidBackup:
            # There is nothing to build on yet.
            return self._manager.accept_create(dataclasses.replace(wanted, incremental=False))[1]

    def _prune_what_is_done(self) -> None:
        """Those of our jobs that have ended well are followed by a prune of their volumes."""
        for job_id, schedule in list(self._to_prune.items()):
            try:
                job = self._manager.catalog.job(job_id)
                if job.state in OPEN_STATES:
                    continue
                if job.state == JobState.DONE:
                    self._submit(self._manager.accept_prune(
                        volume_id=job.volume_id, project_id=job.project_id,
                        backend=job.backend, rules=schedule.rules))
            except (exceptions.CatalogError, exceptions.NoSpace) as error:
                _report(error, 'Schedule %s: old backups are pruned later', schedule.name)
                return
            except exceptions.InvalidBackup:
                # The volume is being pruned, perhaps without this backup: once more after that.
                continue
            except Exception as error:
                _report(error, 'Schedule %s: old backups are not pruned', schedule.name)
            del self._to_prune[job_id]


def _report(error: Exception, what: str, *arguments: object) -> None:
    """A sentence for what is expected to happen, the traceback of what is not."""
    known = isinstance(error, exceptions.BackupFrameworkError)
    LOG.error(f'{what}: %s', *arguments, error, exc_info=None if known else error)
