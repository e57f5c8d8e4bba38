"""What every operation works with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import functools
import os
import signal
from typing import Any
import urllib.parse

from backup_framework import conf, exceptions
from backup_framework.catalog import Catalog, Running
from backup_framework.engine import directories
from backup_framework.engine.monitor import Monitor, Operation
from backup_framework.manager.drivers import Drivers
from backup_framework.model import Backup, Status

_LONGEST_REASON = 1000
_READING = ('copy', 'export', 'restore', 'verify')


@dataclasses.dataclass
class Context:
    """:param warn: told each sentence that the user should hear, as it comes up."""

    configuration: conf.Configuration
    catalog: Catalog
    drivers: Drivers
    monitor: Monitor
    warn: Callable[[str], None]

    @contextlib.contextmanager
    def running(self, kind: str, backup: Backup | None = None, detail: str | None = None, *,
                volume_id: str | None = None, job_id: str | None = None, **flags: Any
                ) -> Iterator[tuple[Any, Operation]]:
        """A row of the catalog for an operation, and what to hand to the driver for it."""
        outer = self.monitor.heartbeat
        with self.catalog.operation(kind, backup_id=backup.id if backup else None,
                                    volume_id=volume_id, detail=detail, job_id=job_id) as row:
            if not row.recorded:
                self.warn(f'the catalog cannot be written; this {kind} is not recorded')
            if backup is not None and kind in _READING:
                self._refuse_changed(backup)
            operation = Operation(self.monitor, **flags)
            if backup is not None:
                operation.bad_objects = functools.partial(
                    self.catalog.bad_objects, str(backup.backend))
            if row.recorded:
                operation.spool_directory = self._private('spool')
                operation.cache_directory = self._private(
                    'cache', backup.backend if backup else None)
                self.monitor.heartbeat = self._beat(row)
                operation.owner = self.catalog.owner
            try:
                yield row, operation
            finally:
                self.monitor.heartbeat = outer
                self.monitor.end()

    def made(self, backup: Backup, updates: Mapping[str, Any]) -> Backup:
        """The record of a backup that was made just now; who knew it may have deleted it since."""
        try:
            return self.catalog.backup_of(backup.id, None)
        except exceptions.BackupNotFound:
            self.warn(f'backup {backup.id} was complete, and another command has deleted it since')
            return dataclasses.replace(backup, status=Status.AVAILABLE, **updates)

    def _refuse_changed(self, backup: Backup) -> None:
        """Its record was read before there was a row that keeps it from being deleted."""
        status = self.catalog.get_backup(backup.id).status
        if status not in (backup.status, Status.AVAILABLE, Status.RESTORING):
            raise exceptions.InvalidBackup(f'backup {backup.id} is {status} by now')

    def _beat(self, row: Running) -> Callable[[], None]:
        """Renews the lease of an operation, and those of the operations that it is a part of."""
        outer = self.monitor.heartbeat

        def beat() -> None:
            if outer is not None:
                outer()
            self.catalog.renew(row)

        return beat

    def _private(self, name: str, backend: str | None = None) -> str | None:
        """A directory beside the catalog, for one backend; None where that cannot be written."""
        path = os.path.join(self.configuration.state_path, name)
        if backend:
            path = os.path.join(path, f'backend-{urllib.parse.quote(backend, safe="")}')
        try:
            directories.make_private(path)
        except OSError:
            return None
        return path if os.access(path, os.W_OK) else None


def refuse_foreign(backup: Backup, what: str) -> None:
    """:raises Refused: another installation wrote the backup, and it was not adopted."""
    if backup.owner is not None:
        raise exceptions.Refused(
            f'backup {backup.id} was written by {backup.owner}, so it is read-only here until it '
            f'is adopted, and cannot be {what}'
        ).advised(f'; "backup set {backup.id} --adopt" makes it yours')


def refuse_unreadable(backup: Backup) -> None:
    """:raises InvalidBackup: it is in a state in which nothing can be read from it."""
    if backup.status not in (Status.AVAILABLE, Status.RESTORING):
        raise exceptions.InvalidBackup(
            f'backup {backup.id} is {backup.status}, not available'
            + (f': {backup.fail_reason}' if backup.fail_reason else ''))


def record_failure(context: Context, row: Running, backup: Backup, error: BaseException) -> None:
    """The record stays, with the reason, so that `list` shows what failed and `delete` cleans.

    What came of a job says whoever runs it: the failure may be none, and the job be run again.
    """
    if row.job_id is not None:
        return
    try:
        context.catalog.finish(row, backup.id, Status.ERROR, fail_reason=reason_of(error))
    except exceptions.BackupFrameworkError as second:
        error.add_note(f'The failure could not be recorded: {second}')


def reason_of(error: BaseException) -> str:
    """What a record says of the failure of its operation."""
    if isinstance(error, exceptions.OperationCancelled) and error.signal:
        return f'interrupted by {signal.Signals(error.signal).name}'
    if isinstance(error, exceptions.OperationCancelled | KeyboardInterrupt):
        return 'interrupted'
    return as_reason(str(error) or type(error).__name__)


def as_reason(text: str) -> str:
    """What a record says of it: no secrets, and not all where it is long."""
    return conf.mask(text)[:_LONGEST_REASON]
