"""Notifications in Cinder's shapes, sent through oslo.messaging where that is configured.

It brings eventlet along, so it is imported only then. A bounded queue and a thread of its own keep
a broker that is slow or down away from the backups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import logging
import queue
import threading
from typing import Any

from backup_framework.catalog import Catalog
from backup_framework.conf import Configuration
from backup_framework.exceptions import BackupFrameworkError, ConfigurationError
from backup_framework.model import Backup, Job, JobState

LOG = logging.getLogger(__name__)

WAITING = 1000
"""How many may wait for the broker; what comes then is dropped."""
LEAVE = 5.0
"""Seconds that a process which ends gives the broker to take what waits."""

_KINDS = ('create', 'restore', 'delete')

Send = Callable[[Mapping[str, Any], str, Mapping[str, Any], str], object]
"""Context, event, payload, priority (info or error)."""


def payload(backup: Backup, dependents: int, **more: Any) -> dict[str, Any]:
    """What Cinder tells of a backup."""
    created = backup.created_at
    return {
        'tenant_id': backup.project_id,
        'user_id': backup.user_id,
        'availability_zone': backup.availability_zone,
        'backup_id': backup.id,
        'host': backup.host,
        'display_name': backup.display_name,
        'created_at': created.isoformat() if created else None,
        'status': str(backup.status),
        'volume_id': backup.volume_id,
        'size': backup.size,
        'service_metadata': backup.service_metadata,
        'service': backup.service,
        'fail_reason': backup.fail_reason,
        'parent_id': backup.parent_id,
        'num_dependent_backups': dependents,
        'snapshot_id': backup.snapshot_id,
        **more}


class Outbox:
    """Hands notifications to `send` in a thread of its own, at most `waiting` of them behind."""

    def __init__(self, connect: Callable[[], Send], waiting: int = WAITING) -> None:
        self._connect = connect
        self._queue: queue.Queue[tuple[Any, ...] | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._run, name='notifications', daemon=True)
        self._started = threading.Lock()
        self.dropped = 0

    def put(self, *message: Any) -> None:
        """Never waits; a message that has no room is dropped, counted and, once a row, logged."""
        if self._thread.ident is None and self._started.acquire(blocking=False):
            self._thread.start()
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            self.dropped += 1
            if self.dropped == 1 or self.dropped % WAITING == 0:
                LOG.error('The notification %s was dropped, %d so far: %d wait for the broker '
                          'already. See whether it is up.', message[1], self.dropped,
                          self._queue.maxsize)

    def close(self, timeout: float = LEAVE) -> None:
        """Let what waits go, for so many seconds; the rest is dropped and counted."""
        if self._thread.ident is None:
            return
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            pass
        self._thread.join(timeout)
        left = self._queue.qsize()
        if self._thread.is_alive() and left:
            LOG.error('%d notifications were not taken by the broker and are lost', left)

    def _run(self) -> None:
        try:
            send = self._connect()
        except Exception as error:
            LOG.error('Notifications cannot be sent: %s', error)
            send = _nowhere
        while (message := self._queue.get()) is not None:
            try:
                send(*message)
            except Exception as error:
                LOG.error('The notification %s could not be sent: %s', message[1], error)


def _nowhere(*message: Any) -> None:
    """Where the configuration makes no sense, which was said."""


class Notifications:
    """Tells of jobs: when they begin, how far they are, how they ended. Nothing here raises.

    :param look_up: the record of a backup and how many depend on it, by its id.
    :param put: takes context, event, payload and priority; None where nobody is told.
    """

    def __init__(self, look_up: Callable[[str], tuple[Backup, int]],
                 outbox: Outbox | None) -> None:
        self._look_up = look_up
        self._outbox = outbox
        self._lock = threading.Lock()
        self._deletes: dict[str, Backup] = {}

    def started(self, job: Job) -> None:
        """A job begins, or goes on elsewhere."""
        if self._tells_of(job) and (found := self._found(job)):
            if job.kind == 'delete':
                self._keep(job.id, found[0])
            self._put(job, f'backup.{job.kind}.start', *found)

    def _keep(self, job_id: str, backup: Backup) -> None:
        """For the end of its delete, which may be told elsewhere: so only the newest are kept."""
        with self._lock:
            self._deletes[job_id] = backup
            if len(self._deletes) > WAITING:
                del self._deletes[next(iter(self._deletes))]

    def progressed(self, job: Job, done: int, total: int | None) -> None:
        """So much of a create is done."""
        if self._tells_of(job) and job.kind == 'create' and total and (found := self._found(job)):
            percent = min(100.0, max(0.0, round(100 * done / total, 1)))
            self._put(job, 'backup.createprogress', *found, backup_percent=percent)

    def ended(self, job: Job) -> None:
        """A job has ended; `job.state` and `job.fail_reason` say how."""
        if not self._tells_of(job):
            return
        with self._lock:
            deleted = self._deletes.pop(job.id, None)
        found = self._found(job)
        if found is None and deleted is not None:
            deleted.status = 'deleted'
            found = deleted, 0
        if found is None:
            return
        if job.state in (JobState.FAILED, JobState.CANCELLED):
            found[0].fail_reason = found[0].fail_reason or job.fail_reason
            self._put(job, f'backup.{job.kind}.error', *found, priority='error')
        else:
            self._put(job, f'backup.{job.kind}.end', *found)

    def reset(self, backup: Backup, step: str, request_id: str | None = None) -> None:
        """The status of a backup is reset.

        :param step: start or end.
        """
        if self._outbox is not None:
            job = Job(kind='reset_status', backup_id=backup.id, project_id=backup.project_id,
                      user_id=backup.user_id, request_id=request_id)
            if found := self._found(job):
                self._put(job, f'backup.reset_status.{step}', *found)

    def close(self) -> None:
        """Let what waits go."""
        if self._outbox is not None:
            self._outbox.close()

    def _tells_of(self, job: Job) -> bool:
        return self._outbox is not None and job.kind in _KINDS and job.backup_id is not None

    def _found(self, job: Job) -> tuple[Backup, int] | None:
        try:
            return self._look_up(str(job.backup_id))
        except BackupFrameworkError as error:
            LOG.debug('Nothing is told of job %s: %s', job.id, error)
            return None

    def _put(self, job: Job, event: str, backup: Backup, dependents: int, *,
             priority: str = 'info', **more: Any) -> None:
        context = {'request_id': job.request_id, 'project_id': job.project_id,
                   'user_id': job.user_id}
        assert self._outbox is not None
        self._outbox.put(context, event, payload(backup, dependents, **more), priority)


def open(configuration: Configuration, catalog: Catalog) -> Notifications:
    """What tells of jobs, or of nothing where [oslo_messaging_notifications] names no driver.

    To be called after any fork; connects when there is something to tell.
    """
    def look_up(backup_id: str) -> tuple[Backup, int]:
        return catalog.get_backup(backup_id), len(catalog.dependents(backup_id))

    if not configured(configuration):
        return Notifications(look_up, None)
    publisher = f'backup.{configuration.service().host}'
    return Notifications(look_up, Outbox(lambda: _connect(configuration, publisher)))


def configured(configuration: Configuration) -> bool:
    """Whether a driver is named."""
    return bool(configuration.text_of('oslo_messaging_notifications', 'driver'))


def check(configuration: Configuration) -> None:
    """:raises ConfigurationError: notifications are configured and oslo.messaging is missing."""
    if configured(configuration):
        _library()


def _library() -> Any:
    try:
        import oslo_messaging
    except ImportError as error:
        raise ConfigurationError(
            f'[oslo_messaging_notifications] driver is set, but oslo.messaging cannot be used '
            f'({error}): pip install "backup-framework[messaging]", or take the option '
            f'away') from error
    return oslo_messaging


def _connect(configuration: Configuration, publisher: str) -> Send:
    library = _library()
    transport = library.get_notification_transport(configuration.oslo)
    notifier = library.Notifier(transport, publisher_id=publisher)

    def send(context: Mapping[str, Any], event: str, told: Mapping[str, Any],
             priority: str) -> None:
        tell = notifier.error if priority == 'error' else notifier.info
        tell(_Context(context), event, told)
    return send


class _Context(dict[str, Any]):
    """Has no secrets. oslo.messaging leaves out what is a plain dict, and asks others for this."""

    def redacted_copy(self) -> dict[str, Any]:
        return dict(self)
