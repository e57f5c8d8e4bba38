"""The operations of a service: asked for, and waited for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
from typing import Any, Self

from backup_framework import exceptions
from backup_framework.cmd.remote.catalog import Catalog
from backup_framework.cmd.remote.connection import Connection
from backup_framework.engine import verify
from backup_framework.engine.monitor import Monitor
from backup_framework.formats.base import Problem
from backup_framework.manager import creating, restoring, verifying
from backup_framework.model import Backup, JobState, Status, Volume, utcnow

_PAUSE = 0.2
_LONGEST_PAUSE = 3.0
_SPOKEN = ('volume', 'container', 'name', 'description', 'incremental', 'properties', 'force')
"""What of a request to back up a service is told; the rest is for local catalogs."""


class Manager:
    """Has the methods of `backup_framework.manager.Manager` that make sense over a network.

    Each waits until the service is done. One that is interrupted leaves the service at work.
    """

    def __init__(self, connection: Connection, monitor: Monitor | None = None) -> None:
        self._connection = connection
        self._monitor = monitor or Monitor()
        self.catalog = Catalog(connection)

    def find_volume(self, ref: str) -> Volume:
        return self.catalog.get_volume(ref)

    def create(self, request: creating.Request) -> Backup:
        """:raises InvalidInput: it asks for what only a local catalog can do."""
        _refuse_local(request, creating.Request('').__dict__, _SPOKEN)
        volume = self.find_volume(request.volume)
        body: dict[str, Any] = {
            'volume_id': volume.id, 'name': request.name, 'description': request.description,
            'container': request.container, 'incremental': bool(request.incremental),
            'force': request.force}
        if request.properties:
            body['metadata'] = request.properties
        made = self._connection.call('POST', '/backups', {'backup': body})
        return self._settled(made['backup']['id'], Status.CREATING)

    def restore(self, ref: str, request: restoring.Request) -> restoring.Restored:
        """Over a volume of the service, or, where it has none of this name, to a new one.

        :raises InvalidTarget: there is one, and the request does not force it.
        """
        _refuse_local(request, restoring.Request('').__dict__, ('target', 'force'))
        backup = self.catalog.get_backup(ref)
        body = self._target(request)
        told = self._connection.call(
            'POST', f'/backups/{backup.id}/restore', {'restore': body})['restore']
        restored = self._settled(backup.id, Status.RESTORING)
        volume = self.catalog.get_volume(told['volume_id'])
        if volume.status.startswith('error'):
            raise exceptions.VolumeError(
                f'volume {volume.id} is in state {volume.status}: the restore of backup '
                f'{backup.id} to it failed' + _because(restored))
        return restoring.Restored(restored, volume.id, volume.size_bytes or 0)

    def _target(self, request: restoring.Request) -> dict[str, str]:
        try:
            volume = self.find_volume(request.target)
        except exceptions.VolumeNotFound:
            return {'name': request.target}
        if not request.force:
            raise exceptions.InvalidTarget(
                f'there is a volume {volume.name or volume.id}; --force overwrites it')
        return {'volume_id': volume.id}

    def latest(self, volume: str) -> Backup:
        """:raises BackupNotFound: it has no available backup."""
        known = self.catalog.backups(volume_id=self.find_volume(volume).id,
                                     status=str(Status.AVAILABLE), limit=1)
        if not known:
            raise exceptions.BackupNotFound(f'volume {volume} has no available backup')
        return known[0]

    def recipients(self, ref: str) -> list[str]:
        raise exceptions.InvalidInput('--recipients works on a local catalog: it reads the store')

    def plan_delete(self, refs: Sequence[str], *, with_dependents: bool = False,
                    adopt: bool = False) -> list[Backup]:
        if with_dependents or adopt:
            raise exceptions.InvalidInput('--with-dependents and --adopt work on a local catalog: '
                                          'name the backups to delete, the newest first')
        return [self.catalog.get_backup(ref) for ref in refs]

    def delete(self, backup: Backup, *, adopt: bool = False) -> bool:
        self._connection.call('DELETE', f'/backups/{backup.id}')
        try:
            self._settled(backup.id, Status.DELETING)
        except exceptions.BackupNotFound:
            return True
        raise exceptions.BackupDriverException(f'backup {backup.id} was not deleted')

    def verify_all(self, selection: verifying.Selection, how: verifying.How
                   ) -> Iterator[tuple[Backup, verifying.Verified | Exception]]:
        """The service keeps what it finds; of damage the first sentence comes back."""
        if selection.backend or selection.container or selection.older_than is not None:
            raise exceptions.InvalidInput('--backend, --container and --older-than work on a local '
                                          'catalog')
        if how.mark_bad or (how.sample and how.sample.seed is not None):
            raise exceptions.InvalidInput('--mark-bad and --seed work on a local catalog')
        chosen = [self.catalog.get_backup(ref) for ref in selection.backups]
        if not chosen:
            chosen = self.catalog.backups(volume_id=selection.volume_id,
                                          status=str(Status.AVAILABLE), limit=selection.limit)
        for backup in chosen:
            try:
                yield backup, self._verify(backup, how)
            except exceptions.OperationCancelled:
                raise
            except exceptions.BackupFrameworkError as error:
                yield backup, error

    def _verify(self, backup: Backup, how: verifying.How) -> verifying.Verified:
        wanted: dict[str, Any] = {'percent': how.sample.percent} if how.sample else {
            'how': 'quick' if how.quick else 'full'}
        job, = self._connection.call('POST', f'/backups/{backup.id}/action',
                                     {'backup-framework:verify': wanted})['jobs']
        pause = _PAUSE
        while JobState(job['state']).is_open:
            self._monitor.sleep(pause)
            pause = min(_LONGEST_PAUSE, 1.5 * pause)
            job = self._connection.call('GET', f'/backup-framework/jobs/{job["id"]}')['job']
        report = verify.Report()
        reason = str(job['fail_reason'] or job['state'])
        if verifying.FOUND in reason:
            report.add(Problem(reason))
        elif job['state'] != JobState.DONE:
            raise exceptions.BackupDriverException(f'backup {backup.id} was not verified: {reason}')
        return verifying.Verified(backup, how.name, utcnow(), report)

    def export(self, ref: str) -> dict[str, str]:
        backup = self.catalog.get_backup(ref)
        record: dict[str, str] = self._connection.call(
            'GET', f'/backups/{backup.id}/export_record')['backup-record']
        return record

    def import_(self, record: object, *, backend: str | None = None, adopt: bool = False
                ) -> Backup:
        if backend is not None or adopt:
            raise exceptions.InvalidInput('--backend and --adopt work on a local catalog')
        made = self._connection.call('POST', '/backups/import_record', {'backup-record': record})
        return self._settled(made['backup']['id'], Status.CREATING)

    def set(self, ref: str, *, state: str | None = None, adopt: bool = False,
            properties: dict[str, str] | None = None, unset: Sequence[str] = (), **fields: Any
            ) -> Backup:
        if adopt:
            raise exceptions.InvalidInput('--adopt works on a local catalog')
        backup = self.catalog.get_backup(ref)
        if state is not None:
            self._connection.call('POST', f'/backups/{backup.id}/action',
                                  {'os-reset_status': {'status': state}})
        body: dict[str, Any] = {
            name.removeprefix('display_'): value for name, value in fields.items()}
        if properties or unset:
            kept = {key: value for key, value in backup.metadata.items() if key not in unset}
            body['metadata'] = kept | (properties or {})
        if body:
            self._connection.call('PUT', f'/backups/{backup.id}', {'backup': body})
        return self.catalog.get_backup(backup.id)

    def _settled(self, backup_id: str, busy: Status) -> Backup:
        """The backup when it is not in this state any more.

        :raises BackupDriverException: it has failed.
        """
        try:
            backup = self._wait(backup_id, busy)
        except exceptions.OperationCancelled as error:
            error.add_note('The service goes on with it; "backup show" tells how it ends.')
            raise
        if backup.status in (Status.ERROR, Status.ERROR_DELETING):
            raise exceptions.BackupDriverException(
                f'backup {backup.id} is in state {backup.status}{_because(backup)}')
        return backup

    def _wait(self, backup_id: str, busy: Status) -> Backup:
        phase, pause = '', _PAUSE
        while (backup := self.catalog.get_backup(backup_id)).status == busy:
            job = self._job(backup_id)
            if job and job['phase'] and job['phase'] != phase:
                phase = job['phase']
                self._monitor.start(phase, job['total'])
            if job and phase:
                self._monitor.advance(max(0, job['done'] - self._monitor.done))
            self._monitor.sleep(pause)
            pause = min(_LONGEST_PAUSE, 1.5 * pause)
        self._monitor.end()
        return backup

    def _job(self, backup_id: str) -> Mapping[str, Any] | None:
        """How far the service is; None from one that is not ours."""
        try:
            jobs = self._connection.call('GET', '/backup-framework/jobs',
                                         query={'backup_id': backup_id, 'limit': 1})['jobs']
        except exceptions.NotFound:
            return None
        return jobs[0] if jobs else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._monitor.end()


def _because(backup: Backup) -> str:
    return f': {backup.fail_reason}' if backup.fail_reason else ''


def _refuse_local(request: Any, defaults: Mapping[str, Any], spoken: Sequence[str]) -> None:
    """:raises InvalidInput: something is asked for that a service is not told of."""
    for field in dataclasses.fields(request):
        value = getattr(request, field.name)
        if field.name not in spoken and value != defaults[field.name]:
            raise exceptions.InvalidInput(
                f'{field.name.replace("_", "-")} works on a local catalog, not with --endpoint or '
                '--os-cloud')
