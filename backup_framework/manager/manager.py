"""The Manager: one method an operation. What each does is in the modules beside this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import functools
import logging
from typing import Any, Self

from backup_framework import conf, exceptions
from backup_framework.catalog import Catalog
from backup_framework.engine import source
from backup_framework.engine.monitor import Monitor
from backup_framework.engine.verify import Report
from backup_framework.manager import (
    accepting,
    backends,
    cleaning,
    containers,
    copying,
    deleting,
    keys,
    offered,
    pruning,
    records,
    repairing,
    restoring,
    verifying,
)
from backup_framework.manager.accepting import Asker, CreateJob
from backup_framework.manager.checking import Proof
from backup_framework.manager.containers import Usage
from backup_framework.manager.context import Context
from backup_framework.manager.creating import Request
from backup_framework.manager.drift import Finding
from backup_framework.manager.drivers import Drivers
from backup_framework.manager.jobs import Jobs
from backup_framework.manager.records import Rebuilt
from backup_framework.manager.restoring import Request as RestoreRequest
from backup_framework.manager.restoring import Restored
from backup_framework.manager.retention import Verdict
from backup_framework.manager.sources import Sources
from backup_framework.model import Backup, Job, JobState, Quota, Status, Volume

LOG = logging.getLogger(__name__)


class Manager:
    """Runs the operations of one installation. Every method may raise BackupFrameworkErrors.

    :param warn: told each sentence that the user should hear; by default they are logged.
    """

    def __init__(self, configuration: conf.Configuration, catalog: Catalog | None = None,
                 monitor: Monitor | None = None, warn: Callable[[str], None] | None = None
                 ) -> None:
        self.configuration = configuration
        self.catalog = catalog or Catalog(configuration.connection, configuration.state_path)
        self.drivers = Drivers(configuration, self.catalog)
        self._context = Context(configuration, self.catalog, self.drivers, monitor or Monitor(),
                                warn or LOG.warning)

    def __enter__(self) -> Self:
        for sentence in self.catalog.recover():
            self._context.warn(sentence)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
        self.catalog.close()

    def close(self) -> None:
        """Let go of drivers and sources. The catalog may have other users."""
        self.drivers.close()
        self.sources.close()

    @functools.cached_property
    def sources(self) -> Sources:
        """The configured sources of volumes."""
        return Sources(self._context)

    @functools.cached_property
    def jobs(self) -> Jobs:
        """The steps of accepted jobs, for one job at a time."""
        return Jobs(self._context, self.sources)

    def take_up(self) -> None:
        """Go on with the deletes that waited for backups which have ended by now."""
        deleting.take_up(self._context)

    def create(self, request: Request) -> Backup:
        """Back a volume up and return the record.

        :raises VolumeNotFound, InvalidVolume, VolumeError: the volume cannot be read.
        :raises InvalidVolume: another backup of the volume is running; the message names it.
        :raises InvalidBackup: the parent that was asked for does not fit.
        """
        backup = offered.create(self._context, self.sources, request)
        deleting.take_up(self._context)
        return backup

    def run(self, names: Sequence[str] = (), *, adopt: bool = False,
            resume: bool = False) -> Iterator[tuple[str, Backup | Exception]]:
        """Back up every volume that has a section, or those named; one failing stops no other.

        :param adopt: take over the containers of other installations.
        :param resume: go on with those that were interrupted.
        :raises VolumeNotFound: a name has no section.
        """
        sections = {volume.name: volume for volume in self.configuration.volumes()}
        unknown = [name for name in names if name not in sections]
        if unknown:
            raise exceptions.VolumeNotFound(f'there is no section [volume:{unknown[0]}]')
        for name in names or sections:
            try:
                yield name, self.create(Request(name, adopt=adopt, resume=resume))
            except exceptions.OperationCancelled:
                raise
            except Exception as error:
                yield name, error

    def restore(self, backup: str, request: RestoreRequest) -> Restored:
        """Write a backup to a new file, to a stream, or over an existing file or block device.

        :raises InvalidTarget: before a byte is written.
        :raises FormatError: something stored is damaged; nothing unverified was written.
        """
        record = self.catalog.get_backup(backup)
        return restoring.restore(self._context, record, request)

    def latest(self, volume: str) -> Backup:
        """The newest available backup of a volume, on whichever backend.

        :raises BackupNotFound: it has none.
        """
        record = self.find_volume(volume)
        backup = self.catalog.newest_usable(record.id)
        if backup is None:
            raise exceptions.BackupNotFound(f'volume {volume} has no available backup')
        return backup

    def copy(self, backup: str, request: copying.Request) -> Iterator[Backup]:
        """Copy a backup, or its chain, to a backend; each copy comes out when it is complete.

        Copies have ids of their own, and the property `copied_from`. Every byte is verified.

        :raises InvalidBackup: it is not available.
        :raises FormatError: something stored is damaged; there is no copy then.
        """
        yield from copying.copy(self._context, self.catalog.get_backup(backup), request)
        deleting.take_up(self._context)

    def verify(self, backup: str, *, quick: bool = False) -> Report:
        """Read and check every byte of a backup; `quick` checks manifest and presence."""
        how = verifying.How(quick=quick)
        return verifying.verify(self._context, self.catalog.get_backup(backup), how).report

    def verify_all(self, selection: verifying.Selection, how: verifying.How
                   ) -> Iterator[tuple[Backup, verifying.Verified | Exception]]:
        """Verify backups, what was found of each as it comes; one failing stops no other.

        :raises BackupNotFound, BackendNotFound: what was named is not there.
        :raises CatalogReadOnly: objects are to be marked as bad, and the catalog cannot be written.
        """
        backups = verifying.select(self._context, selection)
        return verifying.run(self._context, backups, how)

    def plan_delete(self, backups: Sequence[str], *, with_dependents: bool = False,
                    adopt: bool = False) -> list[Backup]:
        """What deleting these backups would delete, in order.

        :param adopt: also backups that another installation wrote.
        :raises BackupInUse: others depend on them; the message names these.
        """
        chosen = [self.catalog.get_backup(ref, exact=True) for ref in backups]
        planned = deleting.plan(self._context, chosen, with_dependents)
        for backup in planned:
            backup.owner = None if adopt else backup.owner
            deleting.check(self._context, backup)
        return planned

    def delete(self, backup: Backup, *, adopt: bool = False) -> bool:
        """Delete one of what `plan_delete` returned.

        False where its objects stay until backups that are running have ended. The next `create`
        or `delete` frees them then.

        :param adopt: also in a container of another installation, which becomes ours.
        """
        done = deleting.delete(self._context, backup, adopt)
        deleting.take_up(self._context)
        return done

    def plan_prune(self, request: pruning.Request) -> list[Verdict]:
        """What pruning would do with each backup, and why it stays.

        :raises Refused: no rule keeps anything.
        """
        return pruning.plan(self._context, request)

    def prune(self, verdicts: Sequence[Verdict]
              ) -> Iterator[tuple[Backup, bool | exceptions.BackupFrameworkError]]:
        """Delete what `plan_prune` said goes: for each what `delete` returns, or its error."""
        return pruning.apply(self._context, verdicts)

    def forget(self, backup: str) -> Backup:
        """Drop the record and leave the store alone."""
        record = self.catalog.get_backup(backup, exact=True)
        self.catalog.forget(record.id)
        return record

    def export(self, backup: str) -> dict[str, str]:
        """Cinder's record of a backup: {backup_service, backup_url}."""
        return records.export(self._context, self.catalog.get_backup(backup))

    def import_(self, record: object, *, backend: str | None = None, adopt: bool = False
                ) -> Backup:
        """Take in a record that `export`, here or in Cinder, gave.

        :raises InvalidInput: it is no such record, or its backup is not in the store.
        :raises Refused: the backup is known already.
        """
        return records.import_(self._context, record, backend, adopt)

    def set(self, backup: str, *, state: str | None = None, adopt: bool = False,
            properties: dict[str, str] | None = None, unset: Sequence[str] = (),
            **fields: Any) -> Backup:
        """Change a record.

        :param fields: display_name, display_description.
        :param state: available or error.
        :param properties: added; `unset` are taken away.
        """
        record = self.catalog.get_backup(backup, exact=True)
        if state is not None:
            self._reset(record, state)
        if properties or unset:
            self.catalog.change_metadata(record.id, properties or {}, unset)
        if adopt:
            fields['owner'] = None
        if fields:
            self.catalog.update_backup(record.id, **fields)
        return self.catalog.backup_of(record.id, None)

    def _reset(self, record: Backup, state: str) -> None:
        if state not in (Status.AVAILABLE, Status.ERROR):
            raise exceptions.InvalidInput(
                f'the state of a backup can be set to available or error, not {state}')
        settled = (Status.AVAILABLE, Status.ERROR, Status.ERROR_DELETING)
        self.catalog.transition(record.id, settled, state)

    # What a worker runs later. Whether the caller may see the backup was checked before.

    def accept_create(self, wanted: CreateJob) -> tuple[Backup, Job]:
        """Accept a backup of an offered volume.

        :raises VolumeNotFound, SnapshotNotFound: none that the project may use.
        :raises InvalidVolume: it is in use, or in a state that forbids it.
        :raises InvalidBackup: there is nothing to build an incremental on.
        :raises QuotaExceeded: the project has too much for that.
        """
        return accepting.create(self._context, wanted)

    def accept_restore(self, backup_id: str, *, volume_id: str | None = None,
                       name: str | None = None, **asker: Any) -> tuple[Backup, Volume, Job]:
        """Accept a restore over an offered volume, or to a new one, which is recorded at once.

        :param name: of the new volume.
        :param asker: fields of `Asker`, here and below.
        :raises InvalidBackup: the backup is not available.
        :raises InvalidVolume: the volume is too small, or in a state that forbids it.
        :raises Refused: no source makes volumes.
        """
        return accepting.restore(self._context, self.sources, backup_id, volume_id, name,
                                 Asker(**asker))

    def accept_delete(self, backup_id: str, *, force: bool = False, **asker: Any
                      ) -> tuple[Backup, Job]:
        """Accept the deletion of a backup that is available or failed.

        :param force: in any state; other jobs on it are cancelled.
        :raises InvalidBackup: it is in another state.
        :raises BackupInUse: other backups need it.
        """
        return accepting.delete(self._context, backup_id, force, Asker(**asker))

    def accept_verify(self, backup_id: str, how: verifying.How | None = None, **asker: Any
                      ) -> tuple[Backup, Job]:
        """Accept a verification; the job fails where something is found.

        :raises InvalidBackup: the backup is not available, or another one of it has not ended.
        """
        return accepting.verify(self._context, backup_id, how or verifying.How(), Asker(**asker))

    def accept_prune(self, *, volume_id: str | None = None, backend: str | None = None,
                     rules: Mapping[str, Any] | None = None, **asker: Any) -> Job:
        """Accept a prune of the project's backups; see `pruning.Request`.

        :raises InvalidBackup: another one of that volume, or of all, has not ended.
        """
        return accepting.prune(self._context, volume_id, backend, rules or {}, Asker(**asker))

    def accept_import(self, record: object, *, quota: Quota | None = None, **asker: Any
                      ) -> tuple[Backup, Job]:
        """Accept a record that `export`, here or in Cinder, gave.

        :raises InvalidInput: it is no such record.
        :raises InvalidBackup: the backup is known already.
        """
        return accepting.import_(self._context, record, quota, Asker(**asker))

    def cancel(self, job_id: str) -> bool:
        """Stop a job: what it was to make failed. False where it has ended."""
        return self.catalog.end_job(job_id, JobState.CANCELLED, 'it was cancelled')

    def run_job(self, job: Job) -> None:
        """Run all of a job, or what is left of it; see `Jobs` for what is raised."""
        if job.kind != 'create':
            self.jobs.run(job)
            return
        try:
            self.jobs.prepare(job)
            self.jobs.store(job)
        finally:
            if not JobState(self.catalog.job(job.id).state).is_open:
                self.jobs.finish(job)

    def find_volume(self, ref: str) -> Volume:
        """A volume by id, name or path, also one relative to the working directory.

        :raises VolumeNotFound: there is none.
        """
        try:
            return self.catalog.get_volume(ref)
        except exceptions.VolumeNotFound:
            found = self.catalog.find_volume_by_path(source.absolute(ref))
            if found is None:
                raise
            return found

    def describe_backend(self, backend: str) -> dict[str, Any]:
        """A backend's driver, options (secrets hidden) and capabilities, which may be Unknown."""
        return backends.describe(self._context, backend)

    def check_backend(self, backend: str, *, measure: bool = True) -> list[Proof]:
        """Prove each verb and each promise of a backend.

        :param measure: also its speed, for some seconds.
        """
        return backends.check(self._context, backend, measure=measure)

    def backend_health(self, backend: str) -> dict[str, Any]:
        """Whether a backend works now: ok, error and free_bytes."""
        return backends.health(self._context, backend)

    def clean(self, backend: str, older_than: float = cleaning.GRACE) -> int:
        """Remove what killed operations left in a store: temporary objects; how many.

        :param older_than: seconds for which they must not have been written to.
        """
        return cleaning.clean(self._context, backend, older_than)

    def list_keys(self) -> list[keys.Key]:
        """The keys that have sections, each tried."""
        return list(keys.known(self._context))

    def add_key(self, name: str, backend: str) -> keys.Rewrapped:
        """Let one more key open all sealed backups of a backend; see `rotate_keys`.

        :raises ConfigurationError: it has no section.
        """
        return keys.add(self._context, name, backend)

    def remove_key(self, name: str, backend: str) -> keys.Rewrapped:
        """Let a key open the sealed backups of a backend no more; see `rotate_keys`.

        :raises Refused: nobody could open one of them any more; nothing was changed.
        """
        return keys.remove(self._context, name, backend)

    def rotate_keys(self, backend: str) -> keys.Rewrapped:
        """Wrap the keys of all sealed backups of a backend anew, for exactly the configured keys.

        One backup failing stops no other. When it was interrupted, it is simply called again.

        :raises Refused: the backend has no keys.
        :raises KeyUnavailable: one of the keys is not at hand; nothing was changed.
        """
        return keys.rotate(self._context, backend)

    def recipients(self, backup: str) -> list[str]:
        """For whom a backup is sealed, as its store says; nobody where it is not sealed."""
        return keys.recipients(self._context, self.catalog.get_backup(backup))

    def rebuild(self, backend: str, *, container: str | None = None, adopt: bool = False,
                project_id: str | None = None) -> Rebuilt:
        """Add to the catalog every backup whose manifest is in the store and that it lacks.

        :param project_id: whose those are that are ours; no manifest says it.
        """
        return records.rebuild(self._context, backend, container, adopt, project_id)

    def containers(self, backend: str) -> Iterator[Usage]:
        """What is stored in each container of a backend."""
        yield from containers.every(self._context, backend)

    def container(self, name: str, backend: str | None = None) -> Usage:
        """What is stored in a container.

        :param backend: None is the default backend.
        :raises NotFound: there is no such container.
        """
        return containers.look(
            self._context, backend or self.configuration.default_backend, name)

    def check_catalog(self, *, repair: bool = False, dry_run: bool = False,
                      older_than: float = repairing.GRACE) -> list[Finding]:
        """What is wrong in the catalog, and between it and the stores.

        :param repair: remove what backups and deletes left that did not come to their end, and
            mark records whose manifest is gone as failed. What a backup may need stays.
        :param dry_run: only say what that would do.
        :param older_than: seconds since a backup began of which only its objects tell.
        """
        return list(repairing.check(self._context, repair=repair, dry_run=dry_run,
                                    older_than=older_than))
