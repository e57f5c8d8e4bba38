"""What the chunked base does with a driver's verbs: back up, restore, delete, verify."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import dataclasses
from typing import Any, BinaryIO

from backup_framework import exceptions, model, store
from backup_framework.driver import access, sweeping
from backup_framework.engine import backup as backup_engine
from backup_framework.engine import copying, hints, source, writing
from backup_framework.engine import restore as restore_engine
from backup_framework.engine import verify as verify_engine
from backup_framework.formats import base, versions
from backup_framework.model import Extent


class Work(access.Access):
    """One operation on a driver. Methods mean what those of ChunkedBackupDriver do."""

    _resumes = False

    def backup(self, backup: model.Backup, volume_file: BinaryIO,
               backup_metadata: bool) -> dict[str, Any]:
        self._begin('backup')
        if self._operation.changed is None:
            self._operation.changed = hints.of(volume_file)
        volume = source.open_source(volume_file, self._operation.spool_directory,
                                    anywhere=self._operation.changed is not None)
        return self._store(backup, volume, self._full_header(backup, backup_metadata))

    def store_state(self, backup: model.Backup, state: base.State) -> dict[str, Any]:
        self._begin('backup')
        volume = copying.StateSource(state, self._operation.spool_directory)
        return self._store(backup, volume, self._header(
            backup, state.header.volume_meta, state.header.extra_metadata))

    def _store(self, backup: model.Backup, volume: source.Source, header: base.Header
               ) -> dict[str, Any]:
        with contextlib.ExitStack() as stack:
            writer, version, container = self._prepared(backup, volume.size, header, stack)
            told = len(writer.notes)
            try:
                totals = backup_engine.backup(
                    self._hinted(backup, volume, writer), writer, monitor=self._monitor,
                    **self._limits())
            except BaseException as error:
                self._clean_up(version, container, backup, error)
                raise
            for note in writer.notes[told:]:
                self._operation.warn(note)
        return self._outcome(backup, version, container, totals)

    def _prepared(self, backup: model.Backup, size: int | None, header: base.Header,
                  stack: contextlib.ExitStack
                  ) -> tuple[base.Writer, base.Format, store.Container]:
        """A writer, once all is in order for it to begin."""
        writer, version = self._open_writer(backup, size, header, stack)
        container = self._container_of(backup)
        self._check_fits(container, backup, writer)
        self._check_owner(version, container)
        # Whoever deletes what a killed process leaves has to know which objects that are.
        backup.format = version.version
        backup.save()
        container.create()
        self._claim_for(backup, version, container)
        return writer, version, container

    def _limits(self) -> dict[str, int]:
        return {
            # A writer also stores in the thread that gives it the results.
            'workers': min(self._workers(), self._able.connections - 1),
            'budget': self._settings.memory, 'held': self._able.writer_buffer}

    def _outcome(self, backup: model.Backup, version: base.Format, container: store.Container,
                 totals: base.Totals) -> dict[str, Any]:
        self._remove_unused(container, totals.unused)
        if totals.parent_id != backup.parent_id:
            self._become_full(backup, 'the volume had another size at its parent')
        return {'container': backup.container, 'service_metadata': backup.service_metadata,
                'parent_id': backup.parent_id, 'format': version.version,
                'object_count': totals.object_count, 'size': model.size_gib(totals.size_bytes),
                'size_bytes': totals.size_bytes, 'stored_bytes': totals.stored_bytes,
                'manifest_digest': totals.manifest_digest}

    def _full_header(self, backup: model.Backup, backup_metadata: bool) -> base.Header:
        return self._header(
            backup, self._driver.get_metadata(backup.volume_id) if backup_metadata else None,
            self._driver.get_extra_metadata(backup, None))

    def _header(self, backup: model.Backup, volume_meta: str | None, extra_metadata: Any
                ) -> base.Header:
        return base.Header(
            version='', backup_id=backup.id, volume_id=backup.volume_id,
            name=backup.display_name, description=backup.display_description,
            created_at=backup.created_at, volume_meta=volume_meta, extra_metadata=extra_metadata,
            data_timestamp=backup.data_timestamp, snapshot_id=backup.snapshot_id,
            owner=self._operation.owner, properties=backup.metadata)

    def _open_writer(self, backup: model.Backup, size: int | None, header: base.Header,
                     stack: contextlib.ExitStack) -> tuple[base.Writer, base.Format]:
        """A writer on the parent; where that does not fit, the backup becomes a full one."""
        wanted = backup.container or self._settings.container
        self._resumes = self._operation.resume and backup.service_metadata is not None
        if self._resumes:
            # What the earlier run stored last may not be listed yet.
            self._monitor.sleep(self._able.listing_delay)
        else:
            backup.service_metadata = self._driver.object_prefix(backup)
        store.check_new_name(str(backup.service_metadata))
        if backup.parent_id is not None:
            try:
                parent = stack.enter_context(contextlib.closing(self._parent(backup)))
                version = versions.format_of(parent.header.version)
                return self._writer(backup, wanted, size, header, version, parent, stack), version
            except (exceptions.FormatError, exceptions.InvalidBackup,
                    exceptions.StoreError) as error:
                if self._operation.parent_required:
                    raise exceptions.InvalidBackup(
                        f'backup {backup.parent_id} cannot be the parent: {error}') from error
                self._become_full(backup, error)
        version = versions.FORMATS[self._operation.version or self._settings.format]
        return self._writer(backup, wanted, size, header, version, None, stack), version

    def _become_full(self, backup: model.Backup, reason: object) -> None:
        self._operation.warn(f'this is a full backup, because {reason}')
        backup.parent_id, backup.parent = None, None

    def _writer(self, backup: model.Backup, wanted: str | None, size: int | None,
                header: base.Header, version: base.Format, parent: base.State | None,
                stack: contextlib.ExitStack) -> base.Writer:
        if wanted is None and backup.parent is not None and not version.needs_parent:
            wanted = backup.parent.container
        if not self._resumes:
            backup.container = (self._driver.update_container_name(backup, wanted) or wanted
                                or version.container(backup))
        store.check_new_name(str(backup.container))
        header = dataclasses.replace(header, version=version.version, parent_id=backup.parent_id)
        writer = version.open_writer(self._container_of(backup), str(backup.service_metadata),
                                     header, self._choices(backup), parent, size)
        stack.callback(writer.close)
        for note in writer.notes:
            self._operation.warn(note)
        return writer

    def _choices(self, backup: model.Backup) -> base.Choices:
        chosen, keys = self._settings, self._driver.keys
        if chosen.encryption != 'none' and not (keys and keys.recipients):
            raise exceptions.ConfigurationError(
                f'encryption is {chosen.encryption}, but nobody gave this driver a keyring with '
                'recipients: nothing is stored unsealed instead')
        return base.Choices(
            chunk_size=chosen.chunk_size, block_size=chosen.block_size,
            compression=chosen.compression, digest=chosen.digest, duplicates=chosen.duplicates,
            index_size=chosen.index_size, spool_directory=self._operation.spool_directory,
            cache_directory=self._operation.cache_directory, resume=self._resumes,
            keyring=keys, bad_objects=self._bad_objects(backup))

    def _bad_objects(self, backup: model.Backup) -> set[str]:
        """Of the backup's container, and of those that its parents are in."""
        members = [backup, *(backup.parent.chain() if backup.parent else ())]
        return {name for container in {str(member.container) for member in members}
                for name in self._operation.bad_objects(container)}

    def _parent(self, backup: model.Backup) -> base.State:
        if backup.parent is None:
            raise exceptions.InvalidBackup(f'the record of parent {backup.parent_id} is missing')
        parent = self._open_state(backup.parent)
        wanted = self._operation.version
        if wanted is not None and wanted != parent.header.version:
            parent.close()
            raise exceptions.InvalidBackup(
                f'format {wanted} is wanted, and backup {backup.parent_id} has format '
                f'{parent.header.version}')
        return parent

    def _check_fits(self, container: store.Container, backup: model.Backup, writer: base.Writer
                    ) -> None:
        """Refuse now what the store would refuse in the middle."""
        able = self._able
        if able.max_object_size is not None and writer.largest_object > able.max_object_size:
            raise exceptions.ConfigurationError(
                f'with chunk_size {writer.chunk_size} an object may have {writer.largest_object} '
                f'bytes, but this store takes {able.max_object_size}; a smaller chunk_size fits')
        longest = len(f'{container.name}/{backup.service_metadata}_sha256file'.encode())
        if longest > able.longest_name:
            raise exceptions.InvalidName(
                f'container {container.name} is too long a name: with it objects would have names '
                f'of {longest} bytes, and this store takes {able.longest_name}')

    def _hinted(self, backup: model.Backup, volume: source.Source, writer: base.ChunkWriter
                ) -> source.Source:
        """The volume, with what the caller knows of its changes since the parent."""
        changed = self._operation.changed
        if changed is None or backup.parent_id is None:
            return volume
        if not isinstance(volume, source.FileSource | source.SeekSource):
            self._operation.warn('the changed extents were not used: they need a volume of which '
                                 'any part can be read')
            return volume
        hinted = hints.hinted(volume, volume.read, writer, changed, self._operation.warn)
        volume.ahead = hinted is volume
        return hinted

    def restore(self, backup: model.Backup, volume_id: str, volume_file: BinaryIO,
                volume_is_new: bool) -> None:
        self._begin('restore')
        with contextlib.closing(self._open_state(backup)) as state:
            wanted = self._operation.wanted or Extent(0, state.size)
            if wanted.end > state.size:
                raise exceptions.InvalidInput(
                    f'bytes {wanted.offset} to {wanted.end} are wanted, but the volume has '
                    f'{state.size}')
            self._operation.before_writing()
            if source.can_seek(volume_file):
                self._restore(state, wanted, volume_file, volume_is_new)
            else:
                restore_engine.restore_in_order(
                    state, wanted, writing.write_to(volume_file), workers=self._workers(),
                    budget=self._settings.memory, monitor=self._monitor,
                    spool_directory=self._operation.spool_directory)
        if state.header.volume_meta and volume_id:
            self._driver.put_metadata(volume_id, state.header.volume_meta)

    def _restore(self, state: base.State, wanted: Extent, volume_file: BinaryIO,
                 volume_is_new: bool) -> None:
        at = self._operation.wanted_at
        lost = self._operation.lost
        restore_engine.restore(
            state, wanted, writing.wrap(volume_file, volume_is_new, self._operation.delta),
            at=wanted.offset if at is None else at, workers=self._workers(),
            budget=self._settings.memory, monitor=self._monitor,
            tell=None if lost is None else lost.append)

    def delete(self, backup: model.Backup) -> None:
        """Without its manifest, and that for good, there is no backup any more."""
        self._begin('delete')
        if not (backup.container and backup.service_metadata):
            return
        container = self._container_of(backup)
        version = self._version_of(backup, container, backup.service_metadata)
        self._check_owner(version, container)
        container.delete(versions.manifest_name(backup.service_metadata))
        container.sync()
        self._sweep(version, container, backup.service_metadata, committed=True)

    def _check_owner(self, version: base.Format, container: store.Container) -> None:
        """Before anything is recorded or deleted; who adopts a container takes it over later."""
        if version.ownership is None:
            return
        try:
            version.ownership.check(container, self._operation.owner)
        except exceptions.ForeignContainer:
            if not self._operation.adopt:
                raise
            self._claim(version, container)

    def _claim_for(self, backup: model.Backup, version: base.Format, container: store.Container
                   ) -> None:
        """Of two that begin at once one is refused here. It stored nothing, and its record says so:
        else a delete of that record would have to go into the other one's container."""
        try:
            self._claim(version, container)
        except exceptions.ForeignContainer:
            if not self._resumes:
                backup.service_metadata = None
                backup.save()
            raise

    def _claim(self, version: base.Format, container: store.Container) -> None:
        if version.ownership is not None:
            version.ownership.claim(container, self._operation.owner, adopt=self._operation.adopt)

    def _version_of(self, backup: model.Backup, container: store.Container, prefix: str
                    ) -> base.Format:
        """The format of a backup that is to be deleted, damaged or not even there any more."""
        if backup.format in versions.FORMATS:
            return versions.FORMATS[backup.format]
        try:
            return versions.stored_format(container, prefix)
        except exceptions.FormatError:
            return versions.FORMATS[self._settings.format]

    def verify(self, backup: model.Backup) -> verify_engine.Report:
        self._begin('verify')
        report = verify_engine.Report()
        try:
            with contextlib.closing(self._open_state(backup)) as state:
                report.manifest_digest = state.header.manifest_digest
                self._verify(state, report)
        except exceptions.KeyUnavailable:
            raise  # nothing is known to be damaged
        except exceptions.FormatError as error:
            report.add(base.problem_of(error))
        return report

    def _verify(self, state: base.State, report: verify_engine.Report) -> None:
        if self._operation.quick:
            verify_engine.quick(state, report, sizes=self._able.reports_size,
                                monitor=self._monitor)
        else:
            verify_engine.full(state, report, workers=self._workers(),
                               budget=self._settings.memory, monitor=self._monitor,
                               sample=self._operation.sample)

    def volume_size(self, backup: model.Backup) -> int:
        self._begin('restore')
        size = self._open(backup).header.size
        if size is not None:
            return size
        with contextlib.closing(self._open_state(backup)) as state:
            return state.size

    def prefixes(self, container: str) -> list[str]:
        return versions.prefixes(self._container(container))

    def describe(self, container: str, prefix: str) -> tuple[base.Header, dict[str, Any]]:
        reader = versions.open_reader(self._container(container), prefix, self._driver.keys)
        header = reader.header
        with contextlib.closing(self._state([reader])) as state:
            stored = state.size
        known = header.size if header.size is not None or header.parent_id else stored
        return header, {
            'container': container, 'service_metadata': prefix, 'format': header.version,
            'object_count': reader.object_count, 'size_bytes': known,
            'size': model.size_gib(known if known is not None else stored),
            'stored_bytes': header.stored_bytes, 'parent_id': header.parent_id,
            'manifest_digest': header.manifest_digest}

    def open_state(self, backup: model.Backup) -> base.State:
        self._begin('restore')
        return self._open_state(backup)

    def _sweep(self, version: base.Format, container: store.Container, prefix: str, *,
               committed: bool) -> bool:
        return sweeping.sweep(version, container, prefix, self._operation, self._able,
                              committed=committed, workers=self._workers(),
                              keyring=self._driver.keys)

    def _remove_unused(self, container: store.Container, names: Sequence[str]) -> None:
        """Remove what an interrupted run stored in vain; the backup is complete, come what may."""
        if not names:
            return
        try:
            sweeping.delete_steps(container, [names], self._operation, self._able,
                                  workers=self._workers())
        except exceptions.BackupFrameworkError as error:
            self._operation.warn('objects that the interrupted run stored, and that this one has '
                                 f'no use for, are left until the backup is deleted: {error}')

    def _stays(self, version: base.Format, hurried: store.Container, manifest: str,
               error: BaseException) -> bool:
        """Whether what was stored is left for another run.

        Not where the store failed otherwise than by not answering: it may be full, or have lost
        what it took.
        """
        broken = (isinstance(error, exceptions.BackupDriverException)
                  and not isinstance(error, exceptions.StoreUnavailable))
        if not self._operation.resume or not version.resumes or broken:
            return False
        try:
            return manifest not in hurried.names(manifest)
        except exceptions.BackupFrameworkError:
            # Nothing could be removed either.
            return True

    def _clean_up(self, version: base.Format, container: store.Container, backup: model.Backup,
                  error: BaseException) -> None:
        """Remove what a failed backup stored; where that fails too, say so with its error."""
        hurried = store.Container(self._driver, container.name,
                                  retry_deadline=min(10.0, self._settings.retry_deadline))
        prefix = str(backup.service_metadata)
        manifest = versions.manifest_name(prefix)
        if self._stays(version, hurried, manifest, error):
            error.add_note('What was stored stays: "backup create --resume" of the volume goes on '
                           f'with it, and "backup delete {backup.id}" removes it.')
            return
        try:
            # Where it is there already, another backup may have taken this one for committed.
            committed = manifest in hurried.names(manifest)
            hurried.delete(manifest)
            if self._sweep(version, hurried, prefix, committed=committed):
                return
            second: object = 'a backup that is running may use them'
        except exceptions.BackupFrameworkError as caught:
            second = caught
        error.add_note(f'Objects that begin with {prefix} may be left in container '
                       f'{container.name}: {second}. Deleting the backup removes them.')
