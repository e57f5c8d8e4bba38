"""What the chunked base does with a driver's verbs: back up, restore, delete, verify."""

from __future__ import annotations

import contextlib
import functools
from typing import Any, BinaryIO, Protocol

from backup_framework import exceptions, model, store
from backup_framework.engine import backup as backup_engine
from backup_framework.engine import parallel, source, target
from backup_framework.engine import restore as restore_engine
from backup_framework.engine import verify as verify_engine
from backup_framework.engine.monitor import Operation
from backup_framework.formats import base, digests, versions

_LARGEST_WHOLE = 64 << 20


class Driver(store.ObjectVerbs, Protocol):
    """What this module needs of a driver."""

    settings: model.Settings

    def capabilities(self) -> model.Capabilities: ...

    def before_operation(self, kind: str) -> None: ...

    def object_prefix(self, backup: model.Backup) -> str: ...

    def update_container_name(self, backup: model.Backup, container: str | None
                              ) -> str | None: ...

    def get_extra_metadata(self, backup: model.Backup, volume: Any) -> Any: ...

    def get_metadata(self, volume_id: str) -> str | None: ...

    def put_metadata(self, volume_id: str, json_metadata: str) -> None: ...


class Work:
    """One operation on a driver. Methods mean what those of ChunkedBackupDriver do."""

    def __init__(self, driver: Driver, operation: Operation | None = None) -> None:
        self._driver = driver
        self._settings = driver.settings
        self._operation = operation or Operation()
        self._format = versions.FORMATS[driver.settings.format]
        self._calls = store.Calls(driver, retry_deadline=self._settings.retry_deadline,
                                  sleep=self._operation.monitor.sleep)

    def backup(self, backup: model.Backup, volume_file: BinaryIO,
               backup_metadata: bool) -> dict[str, Any]:
        self._begin('backup')
        volume = source.open_source(volume_file)
        with contextlib.ExitStack() as stack:
            parent = self._parent_digests(backup, volume.size)
            if parent is not None:
                stack.enter_context(parent)
            container = self._new_container(backup)
            self._check_fits(container, backup)
            writer = self._format.open_writer(
                container, str(backup.service_metadata), self._header(backup, backup_metadata),
                chunk_size=self._chunk_size(), block_size=self._settings.block_size,
                compression=self._settings.compression, parent=parent,
                spool_directory=self._operation.spool_directory)
            stack.callback(writer.close)
            try:
                container.create()
                totals = backup_engine.backup(
                    volume, writer, workers=self._workers(), budget=self._settings.memory,
                    held=self._able.writer_buffer, monitor=self._operation.monitor)
            except BaseException as error:
                self._clean_up(container, str(backup.service_metadata), error)
                raise
        return {'container': backup.container, 'service_metadata': backup.service_metadata,
                'parent_id': backup.parent_id, 'format': self._format.version,
                'object_count': totals.object_count, 'size': model.size_gib(totals.size_bytes),
                'size_bytes': totals.size_bytes, 'stored_bytes': totals.stored_bytes}

    def restore(self, backup: model.Backup, volume_id: str, volume_file: BinaryIO,
                volume_is_new: bool) -> None:
        self._begin('restore')
        chain = self._open_chain(backup)
        size = self._size(chain)
        restore_engine.restore(chain, size, target.wrap(volume_file, volume_is_new),
                               workers=self._workers(), budget=self._settings.memory,
                               monitor=self._operation.monitor)
        volume_meta = chain[-1].header.volume_meta
        if volume_meta and volume_id:
            self._driver.put_metadata(volume_id, volume_meta)

    def delete(self, backup: model.Backup) -> None:
        self._begin('delete')
        if backup.container and backup.service_metadata:
            self._format = versions.FORMATS.get(backup.format or '', self._format)
            self._remove(self._container_of(backup), backup.service_metadata)

    def verify(self, backup: model.Backup) -> verify_engine.Report:
        self._begin('verify')
        report = verify_engine.Report()
        try:
            self._verify(backup, report)
        except exceptions.FormatError as error:
            report.add(str(error))
        return report

    def _verify(self, backup: model.Backup, report: verify_engine.Report) -> None:
        chain = self._open_chain(backup)
        size = self._size(chain)
        if self._operation.quick:
            verify_engine.quick(chain, size, report, monitor=self._operation.monitor,
                                sizes=self._able.reports_size)
            return
        self._note_shrinking(chain, size, report)
        try:
            known = chain[-1].digests(self._operation.spool_directory)
        except exceptions.CorruptManifest as error:
            report.add(str(error))
            known = None
        else:
            if known is None:
                report.notes.append('the backup has no hash list: its objects were checked, but a '
                                    'wrong parent would not be found')
        with known or contextlib.nullcontext():
            verify_engine.full(chain, size, known, report, workers=self._workers(),
                               budget=self._settings.memory, monitor=self._operation.monitor)

    def _note_shrinking(self, chain: list[base.Reader], size: int,
                        report: verify_engine.Report) -> None:
        """Cinder does not store sizes in bytes: a hash list that was cut would look the same."""
        end = max((entry.end for entry in chain[0].entries), default=0)
        if chain[-1].header.size is None and size < end:
            report.notes.append(f'by its hash list the volume had {size} bytes, fewer than the '
                                f'{end} of its full backup')

    def volume_size(self, backup: model.Backup) -> int:
        self._begin('restore')
        size = self._open(backup).header.size
        return self._size(self._open_chain(backup)) if size is None else size

    def prefixes(self, container: str) -> list[str]:
        names = self._container(container).names('')
        return [name.removesuffix(base.MANIFEST) for name in names
                if name.endswith(base.MANIFEST)]

    def describe(self, container: str, prefix: str) -> tuple[base.Header, dict[str, Any]]:
        reader = self._reader(self._container(container), prefix)
        header = reader.header
        end = max((entry.end for entry in reader.entries), default=0)
        known = header.size if header.size is not None or header.parent_id else end
        return header, {
            'container': container, 'service_metadata': prefix, 'format': header.version,
            'object_count': len(reader.entries), 'size_bytes': known,
            'size': model.size_gib(known if known is not None else end),
            'stored_bytes': header.stored_bytes, 'parent_id': header.parent_id}

    def _new_container(self, backup: model.Backup) -> store.Container:
        """Decide container and prefix, and have them recorded before anything is stored."""
        wanted = backup.container or self._settings.container
        backup.container = (self._driver.update_container_name(backup, wanted) or wanted
                            or self._format.container(backup))
        backup.service_metadata = self._driver.object_prefix(backup)
        store.check_new_name(backup.container)
        store.check_new_name(backup.service_metadata)
        backup.save()
        return self._container_of(backup)

    def _check_fits(self, container: store.Container, backup: model.Backup) -> None:
        """Refuse now what the store would refuse in the middle."""
        able = self._able
        if able.max_object_size is not None and self._chunk_size() > able.max_object_size:
            raise exceptions.ConfigurationError(
                f'chunk_size is {self._chunk_size()}, but an object of this store may have '
                f'{able.max_object_size} bytes')
        longest = len(f'{container.name}/{backup.service_metadata}_sha256file'.encode())
        if longest > able.longest_name:
            raise exceptions.InvalidName(
                f'container {container.name} is too long a name: with it objects would have names '
                f'of {longest} bytes, and this store takes {able.longest_name}')

    def _container_of(self, backup: model.Backup) -> store.Container:
        if not backup.container or not backup.service_metadata:
            raise exceptions.InvalidBackup(
                f'the record of backup {backup.id} does not say where its objects are')
        return self._container(backup.container)

    def _container(self, name: str) -> store.Container:
        return store.Container(self._driver, name, retry_deadline=self._settings.retry_deadline,
                               sleep=self._operation.monitor.sleep)

    def _header(self, backup: model.Backup, backup_metadata: bool) -> base.Header:
        return base.Header(
            version=self._format.version, backup_id=backup.id, volume_id=backup.volume_id,
            name=backup.display_name, description=backup.display_description,
            created_at=backup.created_at, parent_id=backup.parent_id,
            volume_meta=self._driver.get_metadata(backup.volume_id) if backup_metadata else None,
            extra_metadata=self._driver.get_extra_metadata(backup, None),
            data_timestamp=backup.data_timestamp, snapshot_id=backup.snapshot_id,
            owner=self._operation.owner, properties=backup.metadata)

    def _parent_digests(self, backup: model.Backup, size: int) -> digests.Spool | None:
        """The parent's hash list; where the parent does not fit, the backup becomes a full one."""
        if backup.parent_id is None:
            return None
        try:
            return self._fitting_digests(backup, size)
        except (exceptions.FormatError, exceptions.InvalidBackup,
                exceptions.StoreError) as error:
            if self._operation.parent_required:
                raise exceptions.InvalidBackup(
                    f'backup {backup.parent_id} cannot be the parent: {error}') from error
            self._operation.warn(f'this is a full backup, because {error}')
            backup.parent_id, backup.parent = None, None
            return None

    def _fitting_digests(self, backup: model.Backup, size: int) -> digests.Spool:
        if backup.parent is None:
            raise exceptions.InvalidBackup(f'the record of parent {backup.parent_id} is missing')
        chain = self._open_chain(backup.parent)
        parent_size = self._size(chain)
        if parent_size != size:
            raise exceptions.InvalidBackup(
                f'the volume has {size} bytes and had {parent_size} at backup {backup.parent_id}')
        known = chain[-1].digests(self._operation.spool_directory)
        if known is None:
            raise exceptions.InvalidBackup(f'backup {backup.parent_id} has no hash list')
        if known.block_size != self._settings.block_size:
            known.close()
            raise exceptions.InvalidBackup(
                f'block_size is {self._settings.block_size} and was {known.block_size} at backup '
                f'{backup.parent_id}')
        if known.length != digests.count(size, known.block_size):
            known.close()
            raise exceptions.InvalidBackup(
                f'the hash list of backup {backup.parent_id} is not complete')
        self._format = versions.format_of(chain[-1].header.version)
        return known

    def _open_chain(self, backup: model.Backup) -> list[base.Reader]:
        """Readers of a backup and its parents, root first, each the one that its record means."""
        chain = backup.chain()
        if chain[0].parent_id is not None:
            raise exceptions.InvalidBackup(
                f'parent {chain[0].parent_id} of backup {chain[0].id} is not known here')
        return [self._open(member) for member in chain]

    def _open(self, backup: model.Backup) -> base.Reader:
        container = self._container_of(backup)
        reader = self._reader(container, str(backup.service_metadata))
        for what, told, expected in (('backup', reader.header.backup_id, backup.id),
                                     ('parent', reader.header.parent_id, backup.parent_id)):
            if told is not None and told != expected:
                raise exceptions.CorruptManifest(
                    f'the manifest of backup {backup.id} says that its {what} is {told[:80]!r}, '
                    f'its record says {expected!r}')
        return reader

    def _reader(self, container: store.Container, prefix: str) -> base.Reader:
        return versions.open_reader(container, prefix, whole_limit=min(
            _LARGEST_WHOLE, self._settings.memory // 2))

    def _size(self, chain: list[base.Reader]) -> int:
        version = versions.format_of(chain[-1].header.version)
        return version.volume_size(chain, self._operation.spool_directory)

    def _chunk_size(self) -> int:
        """The chosen size, else the format's, as a multiple of the block size."""
        if self._settings.chunk_size:
            return int(self._settings.chunk_size)
        block = int(self._settings.block_size)
        return max(block, self._format.chunk_size // block * block)

    def _workers(self) -> int:
        return min(int(self._settings.workers), self._able.connections)

    def _begin(self, kind: str) -> None:
        self._calls.retry(lambda: self._driver.before_operation(kind))

    @functools.cached_property
    def _able(self) -> model.Capabilities:
        """What the store can do, for which the driver may have to ask it."""
        return self._calls.retry(self._driver.capabilities)

    def _remove(self, container: store.Container, prefix: str) -> None:
        """Delete a backup: without its manifest, and that for good, there is no backup any more."""
        container.delete(versions.manifest_name(prefix))
        container.sync()
        self._remove_objects(container, prefix)
        container.sync()

    def _remove_objects(self, container: store.Container, prefix: str) -> None:
        names = [name for name in container.names(prefix)
                 if self._format.belongs.match(name, len(prefix))]
        monitor = self._operation.monitor
        monitor.start('delete', len(names))
        step = self._able.delete_batch
        batches = [names[start:start + step] for start in range(0, len(names), step)]

        def delete(batch: list[str]) -> int:
            container.delete_many(batch)
            return len(batch)

        deleted = parallel.ordered_map(delete, batches, workers=self._workers(),
                                       budget=1, cost=lambda batch: 0)
        with contextlib.closing(deleted):
            for count in deleted:
                monitor.advance(count)

    def _clean_up(self, container: store.Container, prefix: str, error: BaseException) -> None:
        """Remove what a failed backup stored; where that fails too, say so with its error."""
        hurried = store.Container(self._driver, container.name, retry_deadline=10.0)
        try:
            hurried.delete(versions.manifest_name(prefix))
            self._remove_objects(hurried, prefix)
        except exceptions.BackupFrameworkError as second:
            error.add_note(f'Objects that begin with {prefix} may be left in container '
                           f'{container.name}: {second}. Deleting the backup removes them.')
