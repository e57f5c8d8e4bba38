"""The catalog as the manager sees it: one method a question or a change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
import contextlib
import logging
import os
from typing import Any

import sqlalchemy as sa

from backup_framework import exceptions
from backup_framework.catalog import (
    backups,
    bad_objects,
    checks,
    locks,
    operations,
    recovery,
    summary,
    verifications,
    volumes,
    waiting,
)
from backup_framework.catalog.accepted import Accepted
from backup_framework.catalog.database import Database
from backup_framework.catalog.operations import Running
from backup_framework.model import Backup, Volume, utcnow

LOG = logging.getLogger(__name__)

_CANNOT_WRITE = (exceptions.CatalogReadOnly, exceptions.NoSpace)


class Catalog(Accepted):
    """This installation's record of backups, volumes and running operations.

    Nothing is opened before the first call. Every method may raise CatalogError (it cannot be
    used, belongs to another user, was written by a newer release), CatalogCorrupt,
    CatalogReadOnly and NoSpace (both: it can be read, not written).

    :param connection: like `sqlite:////var/lib/backup_framework/catalog.sqlite`.
    :param state_path: the directory of the installation's id and locks; made if missing.
    :raises ConfigurationError: the connection makes no sense.
    """

    def __init__(self, connection: str, state_path: str) -> None:
        self._database = Database(connection)
        self._state_path = os.path.abspath(state_path)
        self._locks = os.path.join(self._state_path, 'locks')
        self._installation: str | None = None
        self._presumed_dead: dict[str | None, recovery.Dead] = {}

    @property
    def name(self) -> str:
        """The file, or the connection without its password."""
        return self._database.name

    @property
    def writable(self) -> bool:
        """Whether writes are likely to succeed; one may fail all the same."""
        return self._database.writable

    def check_writable(self, prevented: str) -> None:
        """Refuse where writes are not likely to succeed.

        :param prevented: what cannot be done then, for the message.
        :raises NoSpace: because its disk is full.
        :raises CatalogReadOnly: for another reason.
        """
        self._database.check_writable(prevented)

    @property
    def installation(self) -> str:
        """The random id of this installation, kept in `state_path`."""
        if self._installation is None:
            self._installation = locks.installation_id(self._state_path)
        return self._installation

    def engine_for(self, describe: Callable[[sa.MetaData], object]) -> sa.Engine:
        """An SQLAlchemy engine for a library that keeps its own tables beside those of the catalog.

        :param describe: puts them into the metadata; those that are missing are made.
        """
        return self._database.engine_for(describe)

    def revisions(self) -> tuple[str | None, str]:
        """Of the schema: as it is stored (None: not at all), and as this release wants it."""
        return self._database.revisions()

    def close(self) -> None:
        """Let go of the connections; the next call opens them again."""
        self._database.close()

    # Volumes

    def add_volume(self, volume: Volume) -> Volume:
        """Keep a new volume, setting `created_at`; raises InvalidInput for a taken id or name."""
        volume.created_at = volume.created_at or utcnow()
        self._database.write(lambda c: volumes.add(c, volume))
        return volume

    def get_volume(self, ref: str) -> Volume:
        """The volume with this id, else name, else absolute path.

        :raises VolumeNotFound: there is none.
        :raises InvalidInput: several have this path.
        """
        return self._database.read(lambda c: volumes.get(c, ref))

    def find_volume_by_path(self, path: str) -> Volume | None:
        """The volume with this path, or None; raises InvalidInput when several have it."""
        return self._database.read(lambda c: volumes.by_path(c, path))

    def volume_at_path(self, path: str, size_bytes: int | None = None) -> Volume:
        """The volume with this path, made if there is none: two callers get the same one."""
        found = self.find_volume_by_path(path)
        if found is not None:
            return found
        return self._database.write(lambda c: volumes.at_path(c, path, size_bytes))

    def volumes(self, ids: Collection[str] | None = None) -> list[Volume]:
        """All volumes, or those of these ids that there are; oldest first."""
        return self._database.read(lambda c: volumes.every(c, ids))

    def update_volume(self, volume_id: str, **fields: Any) -> None:
        """Change fields; raises VolumeNotFound, and InvalidInput for a taken name."""
        self._database.write(lambda c: volumes.update(c, volume_id, fields))

    # Backups

    def add_backup(self, backup: Backup) -> Backup:
        """Keep a new record, setting `created_at`.

        :raises InvalidInput: the id is taken, or a value cannot be stored.
        :raises InvalidBackup: it is being created on a parent that is not available, or needs one
            that is being deleted.
        """
        self._database.write(lambda c: backups.add(c, backup))
        return backup

    def add_backups(self, added: Sequence[Backup], failed: Collection[str] = ()) -> dict[str, str]:
        """Keep new records, which others see all at once; by id, why `add_backup` refused one.

        :param failed: ids of failed imports, whose records these take the place of.
        """
        return self._database.write(
            lambda c: backups.add_each(c, added, failed, self._database.apart))

    def get_backup(self, ref: str, exact: bool = False) -> Backup:
        """The backup with this id, else this name, else an id that begins with this.

        :param exact: for commands that destroy: a beginning has 8 characters or more.
        :raises BackupNotFound: there is none.
        :raises InvalidInput: several fit, or the beginning is too short.
        """
        return self._shown(self._database.read(lambda c: backups.look_up(c, ref, exact)))

    def has_backup(self, backup_id: str) -> bool:
        """Whether there is a record with exactly this id."""
        return self._database.read(lambda c: backups.find(c, backup_id)) is not None

    def backup_ids(self) -> set[str]:
        """Of all records."""
        return self._database.read(backups.ids)

    def backups(self, *, volume_id: str | None = None, backend: str | None = None,
                container: str | None = None, status: str | None = None,
                limit: int | None = None, marker: str | None = None,
                projects: Collection[str | None] | None = None) -> list[Backup]:
        """The backups that fit, newest first: by data_timestamp, created_at, id.

        :param status: as shown: a backup that is being restored is `restoring`.
        :param marker: the id of the backup after which to begin.
        :param projects: of one of these; None among them is those of no project.
        :raises BackupNotFound: there is no such marker.
        """
        found = self._database.read(lambda c: backups.select(
            c, volume_id=volume_id, backend=backend, container=container, status=status,
            limit=limit, marker=marker, projects=projects))
        return [self._shown(each) for each in found]

    def newest_usable(self, volume_id: str, backend: str | None = None, *,
                      own: bool = False) -> Backup | None:
        """The available backup of this volume with the greatest data_timestamp, or None.

        :param own: leave out what another installation wrote.
        """
        found = self._database.read(
            lambda c: backups.newest_usable(c, volume_id, backend, own))
        return None if found is None else self._shown(found)

    def children(self, backup_id: str) -> list[Backup]:
        """The backups whose parent this is, in every state; newest first."""
        found = self._database.read(lambda c: backups.children(c, backup_id))
        return [self._shown(each) for each in found]

    def dependents(self, backup_id: str) -> list[Backup]:
        """Those of the children that cannot be restored without this backup."""
        return [child for child in self.children(backup_id) if child.needs_parent]

    def chain(self, backup: Backup) -> list[Backup]:
        """Set the `parent` of this backup and of its ancestors; the chain, root first.

        It begins with a backup that needs no parent.

        :raises InvalidBackup: a parent is not in the catalog, or the chain is a circle.
        """
        self._database.read(lambda c: backups.link_chain(c, backup))
        return backup.chain()

    def summaries(self) -> list[summary.Summary]:
        """What there is of each volume on each backend, counted."""
        return self._database.read(summary.summaries)

    def update_backup(self, backup_id: str, **fields: Any) -> None:
        """Change fields, whatever the state; raises BackupNotFound, InvalidInput."""
        self._database.write(lambda c: backups.change(c, backup_id, fields))

    def change_metadata(self, backup_id: str, added: Mapping[str, str],
                        removed: Iterable[str] = ()) -> None:
        """Add pairs to a backup's metadata and take others away, as one step.

        :raises BackupNotFound: there is no such backup.
        """
        gone = set(removed)
        self._database.write(lambda c: backups.change_metadata(c, backup_id, added, gone))

    def transition(self, backup_id: str, from_: Iterable[str], to: str, **fields: Any) -> None:
        """Change the status if it is one of `from_`: of two callers one wins.

        :raises InvalidBackup: it has another status, which the message names.
        :raises BackupNotFound: there is no such backup.
        """
        states = tuple(from_)
        self._database.write(lambda c: backups.transition(c, backup_id, states, to, fields))

    def forget(self, backup_id: str, *, operation: Running | None = None) -> None:
        """Remove the record, and nothing else.

        :param operation: the caller's own delete, which must still be its own, and ends with it.
        :raises BackupInUse: children need it, or an operation runs on it.
        :raises BackupNotFound: there is no such backup.
        :raises InvalidBackup: the caller's operation was taken for dead.
        """
        def work(connection: sa.Connection) -> None:
            backend = str(backups.get(connection, backup_id).backend)
            if operation is not None:
                operations.check_mine(connection, operation)
            operations.refuse_others(connection, backup_id, operation)
            backups.refuse_needed(connection, backup_id)
            backups.remove(connection, backup_id)
            if operation is not None:
                operations.end(connection, operation)
                bad_objects.remove_idle(connection, backend)
        self._database.write(work)
        if operation is not None:
            operation.recorded = False

    def _shown(self, backup: Backup) -> Backup:
        return recovery.pretend(backup, self._presumed_dead)

    # Operations

    @contextlib.contextmanager
    def operation(self, kind: str, *, backup_id: str | None = None,
                  volume_id: str | None = None, detail: str | None = None,
                  job_id: str | None = None) -> Iterator[Running]:
        """Run the block as an operation that others see, and whose death `recover` notices.

        A `create` is to be begun before its backup is added. `restore`, `verify` and `export`
        go on without a row when the catalog cannot be written; `recorded` is False then.

        :param detail: what a message about its death should name: the target of a restore.
        :param job_id: the job that this is the work of. It takes the place of an earlier operation
            of the same job, whose `finish`, `forget` and `renew` are refused from then on.
        :raises OperationCancelled: the job has ended.
        :raises InvalidVolume: a create, while another one of this volume runs.
        :raises BackupInUse: a delete while anything runs on the backup or children need it, or
            anything while a delete runs. No child can be added to it from then on.
        """
        operation = Running(kind, backup_id, volume_id, detail, job_id)
        self._begin(operation)
        try:
            yield operation
        finally:
            self._end(operation)

    def _begin(self, operation: Running) -> None:
        try:
            installation = self.installation
            operation.lock = locks.Lock(self._locks, operation.id)
            self._database.write(lambda c: operations.insert(c, operation, installation))
            operation.recorded = True
        except _CANNOT_WRITE:
            if operation.kind not in operations.WITHOUT_ROW:
                raise
            self._database.read(lambda c: operations.check_conflicts(c, operation))
        finally:
            if not operation.recorded:
                operation.release()

    def _end(self, operation: Running) -> None:
        """The outcome is known and recorded by now: failing here must not change it."""
        if operation.pid != os.getpid():
            return
        try:
            if operation.recorded:
                self._database.change(operations.removal(operation.id))
        except (exceptions.CatalogError, exceptions.NoSpace) as error:
            LOG.warning('The end of a %s could not be recorded: %s', operation.kind, error)
        finally:
            operation.release()

    def renew(self, operation: Running) -> None:
        """Say that it goes on, as often as one likes; only now and then a write comes of it.

        :raises InvalidBackup: another process took it for dead.
        """
        if not (operation.recorded and operation.is_due()):
            return
        try:
            found = self._database.change(operations.renewal(operation))
        except (exceptions.CatalogError, exceptions.NoSpace) as error:
            # Several such minutes fit into a lease.
            LOG.warning('The lease of a %s could not be renewed: %s', operation.kind, error)
            return
        if not found:
            raise operations.lost(operation)

    def finish(self, operation: Running, backup_id: str, to: str, **fields: Any) -> None:
        """Record the outcome of a create or a delete, if the operation is still the caller's.

        Its job ends with it, failed where there is a `fail_reason`. The block of `operation` is to
        be left after that.

        :raises InvalidBackup: it was taken for dead, or the backup is not creating (deleting).
        """
        def work(connection: sa.Connection) -> None:
            operations.finish(connection, operation, backup_id, to, fields)
            operations.end(connection, operation, fields.get('fail_reason'))
        self._database.write(work)
        operation.recorded = False

    def recover(self) -> list[str]:
        """Record the end of operations that died; what to tell the user about them.

        To be called when a command starts: one SELECT when there is nothing to do. Where the
        catalog can only be read, backups are shown from now on as they would be recorded.
        """
        rows = self._database.read(recovery.find)
        found = recovery.dead(rows, self._known_installation(), self._locks)
        self._presumed_dead = {}
        if not found:
            # A kill between the making of a lock and its row leaves nothing but the file.
            locks.sweep(self._locks, {row['lock_file'] for row in rows})
            return []
        try:
            sentences = self._database.write(lambda c: recovery.bury(c, found))
        except _CANNOT_WRITE:
            self._presumed_dead = {each.backup_id: each for each in found}
            return []
        locks.sweep(self._locks, self._database.read(recovery.living_locks))
        return sentences

    # Deletes that wait

    def writers(self, container: str) -> list[str]:
        """The ids of the backups that are being made in such a container now, or may be."""
        def work(connection: sa.Connection) -> tuple[list[sa.RowMapping], list[str]]:
            return waiting.writers(connection, container), waiting.interrupted(
                connection, container)
        return self._living(*self._database.read(work))

    def postpone(self, operation: Running, backup_id: str, awaited: Iterable[str],
                 **fields: Any) -> None:
        """Record that a delete of the caller's goes on when backups have ended.

        The block of `operation` is to be left after that.

        :raises InvalidBackup: it was taken for dead, or the backup is not deleting.
        """
        self._database.write(
            lambda c: waiting.postpone(c, operation, backup_id, awaited, fields))
        operation.recorded = False

    def postponed(self) -> dict[str, list[str]]:
        """The backups whose delete waits, each with those that it waits for still."""
        found = self._database.read(waiting.postponed)
        if not found:
            return {}
        living = set(self._living(*self._database.read(
            lambda c: (waiting.creating(c), waiting.interrupted(c)))))
        return {backup_id: [each for each in awaited if each in living]
                for backup_id, awaited in found.items()}

    def resume(self, operation: Running, backup_id: str) -> list[str]:
        """Go on with a delete that waits, in `operation` already; what it waited for.

        Of two callers one wins. Unless `operation` brings it to its end, it waits again after that.
        :raises InvalidBackup: it does not wait any more.
        """
        return self._database.write(lambda c: waiting.resume(c, operation, backup_id))

    def _living(self, rows: Iterable[sa.RowMapping], interrupted: Iterable[str]) -> list[str]:
        installation = self._known_installation()
        running = [row['backup_id'] for row in rows
                   if row['backup_id'] and not recovery.is_dead(row, installation, self._locks)]
        return [*running, *(each for each in interrupted if each not in running)]

    def _known_installation(self) -> str | None:
        try:
            return self.installation
        except _CANNOT_WRITE:
            return None

    # What verifying found

    def record_verification(self, backup_id: str, how: str, damage: Sequence[str],
                            **fields: Any) -> None:
        """Record that a verification has ended now.

        What a full one found takes the place of all damage that was known, and where that was the
        last of an object the mark of it goes. Another one only adds.

        :param how: full, quick or sampled.
        :param damage: sentences; those about objects name them as `bad_objects.called` does.
        :raises BackupNotFound: there is no such backup.
        """
        self._database.write(
            lambda c: verifications.record(c, backup_id, how, damage, fields))

    def mark_bad(self, backend: str, objects: Collection[tuple[str, str]],
                 damage: Mapping[str, Sequence[str]]) -> None:
        """Mark objects (container, name) as damaged; see `verifications.mark_bad`."""
        self._database.write(lambda c: verifications.mark_bad(c, backend, objects, damage))

    def bad_objects(self, backend: str, container: str) -> set[str]:
        """The names of the objects of a container that are marked as damaged."""
        return self._database.read(lambda c: bad_objects.of(c, backend, container))

    # The catalog itself

    def check(self) -> list[str]:
        """What is wrong inside the catalog, one sentence each."""
        installation = self._known_installation()
        return self._database.read(lambda c: checks.find(
            c, lambda row: recovery.is_dead(row, installation, self._locks)))
