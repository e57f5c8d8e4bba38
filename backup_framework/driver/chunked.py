"""ChunkedBackupDriver: whole backups on five object verbs. Inherit it, write the verbs."""

from __future__ import annotations

from collections.abc import Iterable
import contextlib
import datetime
import re
from typing import Any, BinaryIO, Self

from backup_framework import exceptions, model, store
from backup_framework.driver import metadata, options
from backup_framework.engine import backup as backup_engine
from backup_framework.engine import parallel, source, target
from backup_framework.engine import restore as restore_engine
from backup_framework.engine import verify as verify_engine
from backup_framework.engine.monitor import Operation
from backup_framework.formats import base, cinder_v1, digests
from backup_framework.interface import backup_driver, chunked_driver

_OBJECT = re.compile(r'(-\d{5,}|_sha256file|_metadata)\Z')
_LARGEST_WHOLE = 64 << 20


class ChunkedBackupDriver(backup_driver.BackupDriver, chunked_driver.BackupChunkedDriver):
    """Base of drivers whose store keeps objects in containers.

    `backup`, `restore`, `delete_backup` and `verify` take one keyword more than the interface,
    `operation`: see `backup_framework.engine.monitor.Operation`.
    """

    OPTIONS: tuple[model.Option, ...] = ()
    """The driver's own options; those of `driver.options.SHARED` are there for every driver."""

    CINDER_CLASS: str | None = None
    """The class path under which Cinder knows this kind of store, if it does."""

    support_force_delete = True

    def __init__(self, settings: model.Settings, context: Any = None) -> None:
        """Keep the settings; connects to nothing.

        :param settings: see `make_settings`.
        :param context: Cinder's request context, if there is one.
        """
        self.settings = settings
        self.context = context
        self.volume_metadata: metadata.VolumeMetadata = metadata.NoMetadata()

    @classmethod
    def make_settings(cls, **values: Any) -> model.Settings:
        """Settings of this driver from ready values: sizes in bytes, paths as text."""
        return model.Settings(options.SHARED + cls.OPTIONS, values)

    @classmethod
    def make(cls, **values: Any) -> Self:
        """A driver from ready values, for scripts and tests."""
        return cls(cls.make_settings(**values))

    @classmethod
    def get_driver_options(cls) -> tuple[model.Option, ...]:
        return options.SHARED + cls.OPTIONS

    def capabilities(self) -> model.Capabilities:
        """What the store can do; may ask it once."""
        return model.Capabilities()

    def check_for_setup_error(self) -> None:
        """Prove access to the store, or raise a StoreError."""

    def close(self) -> None:
        """Let connections go; may be called twice."""

    def before_operation(self, kind: str) -> None:
        """Called before 'backup', 'restore', 'delete' and 'verify'; raise to refuse."""

    def sync(self, container: str) -> None:
        """Make all that writers returned from durable, where a writer alone does not."""

    def remove_temporary(self, older_than: float) -> int:
        """Remove temporary objects last written more than `older_than` seconds ago; how many."""
        return 0

    def list_containers(self) -> Iterable[str]:
        """Every container of this store, nested ones included."""
        raise exceptions.NotSupported('this store cannot list its containers')

    def object_size(self, container: str, object_name: str) -> int:
        """Stored bytes of an object."""
        raise exceptions.NotSupported('this store does not tell sizes of objects')

    def free_space(self) -> int:
        """Bytes that can still be stored."""
        raise exceptions.NotSupported('this store does not tell its free space')

    def host_paths(self) -> list[str]:
        """Directories of this host in which the store is: nothing may be restored into them."""
        return []

    def update_container_name(self, backup: model.Backup, container: str | None) -> str | None:
        return None

    def get_extra_metadata(self, backup: model.Backup, volume: Any) -> Any:
        return None

    def object_prefix(self, backup: model.Backup) -> str:
        """How the names of a new backup's objects begin. Source: Cinder's posix drivers."""
        started = datetime.datetime.now(datetime.UTC).strftime('%Y%m%d%H%M%S')
        return f'volume_{backup.volume_id}_{started}_backup_{backup.id}'

    def get_metadata(self, volume_id: str) -> str | None:
        return self.volume_metadata.get(volume_id)

    def put_metadata(self, volume_id: str, json_metadata: str) -> None:
        self.volume_metadata.put(volume_id, json_metadata)

    def export_record(self, backup: model.Backup) -> dict[str, Any]:
        return {}

    def import_record(self, backup: model.Backup, driver_info: dict[str, Any]) -> None:
        pass

    def backup(self, backup: model.Backup, volume_file: BinaryIO, backup_metadata: bool = True, *,
               operation: Operation | None = None) -> dict[str, Any]:
        """See the interface. A parent that does not fit makes it a full backup, with a warning.

        :returns: container, service_metadata, parent_id, format, object_count, size, size_bytes and
            stored_bytes.
        :raises InvalidBackup: the parent does not fit and `operation.parent_required`.
        """
        operation = operation or Operation()
        self.before_operation('backup')
        volume = source.open_source(volume_file)
        with contextlib.ExitStack() as stack:
            parent = self._parent_digests(backup, volume.size, operation)
            if parent is not None:
                stack.enter_context(parent)
            container = self._new_container(backup, operation)
            writer = cinder_v1.Writer(
                container, str(backup.service_metadata),
                self._header(backup, backup_metadata, operation),
                chunk_size=self._chunk_size(), block_size=self.settings.block_size,
                compression=self.settings.compression, parent=parent,
                spool_directory=operation.spool_directory)
            stack.callback(writer.close)
            try:
                container.create()
                totals = backup_engine.backup(volume, writer, workers=self._workers(),
                                              budget=self.settings.memory,
                                              monitor=operation.monitor)
            except BaseException as error:
                self._clean_up(container, str(backup.service_metadata), error)
                raise
        return {'container': backup.container, 'service_metadata': backup.service_metadata,
                'parent_id': backup.parent_id, 'format': cinder_v1.VERSION,
                'object_count': totals.object_count, 'size': model.size_gib(totals.size_bytes),
                'size_bytes': totals.size_bytes, 'stored_bytes': totals.stored_bytes}

    def restore(self, backup: model.Backup, volume_id: str, volume_file: BinaryIO,
                volume_is_new: bool = False, *, operation: Operation | None = None) -> None:
        """See the interface.

        :param volume_is_new: the file reads as zeros wherever nothing is written.
        """
        operation = operation or Operation()
        self.before_operation('restore')
        chain = self._open_chain(backup, operation)
        size = cinder_v1.infer_size(chain, operation.spool_directory)
        restore_engine.restore(chain, size, target.wrap(volume_file, volume_is_new),
                               workers=self._workers(), budget=self.settings.memory,
                               monitor=operation.monitor)
        volume_meta = chain[-1].header.volume_meta
        if volume_meta and volume_id:
            self.put_metadata(volume_id, volume_meta)

    def delete_backup(self, backup: model.Backup, *, operation: Operation | None = None) -> None:
        """Remove the backup's objects, its manifest first. Today's name for `delete`."""
        operation = operation or Operation()
        self.before_operation('delete')
        if backup.container and backup.service_metadata:
            self._remove(self._container(backup, operation), backup.service_metadata)

    def delete(self, backup: model.Backup, *, operation: Operation | None = None) -> None:
        self.delete_backup(backup, operation=operation)

    def verify(self, backup: model.Backup, *,
               operation: Operation | None = None) -> verify_engine.Report:
        """Read and check every byte that restoring the backup needs, or, quick, what is there."""
        operation = operation or Operation()
        self.before_operation('verify')
        report = verify_engine.Report()
        try:
            self._verify(backup, operation, report)
        except exceptions.FormatError as error:
            report.add(str(error))
        return report

    def _verify(self, backup: model.Backup, operation: Operation,
                report: verify_engine.Report) -> None:
        chain = self._open_chain(backup, operation)
        size = cinder_v1.infer_size(chain, operation.spool_directory)
        if operation.quick:
            verify_engine.quick(chain, size, [reader.missing for reader in chain], report)
            return
        known = chain[-1].digests(operation.spool_directory)
        if known is None:
            report.notes.append('the backup has no hash list: its objects were checked, but a '
                                'wrong parent would not be found')
        with known or contextlib.nullcontext():
            verify_engine.full(chain, size, known, report, workers=self._workers(),
                        budget=self.settings.memory, monitor=operation.monitor)

    def volume_size(self, backup: model.Backup, operation: Operation | None = None) -> int:
        """Bytes that restoring the backup writes."""
        operation = operation or Operation()
        chain = self._open_chain(backup, operation)
        return cinder_v1.infer_size(chain, operation.spool_directory)

    def prefixes(self, container: str) -> list[str]:
        """The prefixes of all committed backups in a container: of all manifests."""
        names = store.Container(self, container,
                                retry_deadline=self.settings.retry_deadline).names('')
        ending = cinder_v1.manifest_name('')
        return [name.removesuffix(ending) for name in names if name.endswith(ending)]

    def describe(self, container: str, prefix: str) -> tuple[base.Header, dict[str, Any]]:
        """What the store says of a backup: its manifest's header, and fields for its record.

        :raises FormatError: there is no manifest, or it cannot be read.
        """
        reader = self._reader(store.Container(
            self, container, retry_deadline=self.settings.retry_deadline), prefix)
        header = reader.header
        end = max((entry.end for entry in reader.entries), default=0)
        known = header.size if header.size is not None or header.parent_id else end
        return header, {
            'container': container, 'service_metadata': prefix, 'format': header.version,
            'object_count': len(reader.entries), 'size_bytes': known,
            'size': model.size_gib(known if known is not None else end),
            'stored_bytes': header.stored_bytes, 'parent_id': header.parent_id}

    def _new_container(self, backup: model.Backup, operation: Operation) -> store.Container:
        """Decide container and prefix, and have them recorded before anything is stored."""
        wanted = backup.container or self.settings.container
        backup.container = (self.update_container_name(backup, wanted) or wanted
                            or f'{backup.id[:2]}/{backup.id[2:4]}/{backup.id}')
        backup.service_metadata = self.object_prefix(backup)
        store.check_new_name(backup.container)
        store.check_new_name(backup.service_metadata)
        backup.save()
        return self._container(backup, operation)

    def _container(self, backup: model.Backup, operation: Operation) -> store.Container:
        if not backup.container or not backup.service_metadata:
            raise exceptions.InvalidBackup(
                f'the record of backup {backup.id} does not say where its objects are')
        return store.Container(self, backup.container,
                               retry_deadline=self.settings.retry_deadline,
                               sleep=operation.monitor.sleep)

    def _header(self, backup: model.Backup, backup_metadata: bool, operation: Operation
                ) -> base.Header:
        return base.Header(
            version=cinder_v1.VERSION, backup_id=backup.id, volume_id=backup.volume_id,
            name=backup.display_name, description=backup.display_description,
            created_at=backup.created_at, parent_id=backup.parent_id,
            volume_meta=self.get_metadata(backup.volume_id) if backup_metadata else None,
            extra_metadata=self.get_extra_metadata(backup, None),
            data_timestamp=backup.data_timestamp, snapshot_id=backup.snapshot_id,
            owner=operation.owner, properties=backup.metadata)

    def _parent_digests(self, backup: model.Backup, size: int, operation: Operation
                        ) -> digests.Spool | None:
        """The parent's hash list; where the parent does not fit, the backup becomes a full one."""
        if backup.parent_id is None:
            return None
        try:
            return self._fitting_digests(backup, size, operation)
        except (exceptions.FormatError, exceptions.InvalidBackup) as error:
            if operation.parent_required:
                raise exceptions.InvalidBackup(
                    f'backup {backup.parent_id} cannot be the parent: {error}') from error
            operation.warn(f'this is a full backup, because {error}')
            backup.parent_id, backup.parent = None, None
            return None

    def _fitting_digests(self, backup: model.Backup, size: int, operation: Operation
                         ) -> digests.Spool:
        if backup.parent is None:
            raise exceptions.InvalidBackup(f'the record of parent {backup.parent_id} is missing')
        chain = self._open_chain(backup.parent, operation)
        parent_size = cinder_v1.infer_size(chain, operation.spool_directory)
        if parent_size != size:
            raise exceptions.InvalidBackup(
                f'the volume has {size} bytes and had {parent_size} at backup {backup.parent_id}')
        known = chain[-1].digests(operation.spool_directory)
        if known is None:
            raise exceptions.InvalidBackup(f'backup {backup.parent_id} has no hash list')
        if known.block_size != self.settings.block_size:
            known.close()
            raise exceptions.InvalidBackup(
                f'block_size is {self.settings.block_size} and was {known.block_size} at backup '
                f'{backup.parent_id}')
        if known.length != digests.count(size, known.block_size):
            known.close()
            raise exceptions.InvalidBackup(
                f'the hash list of backup {backup.parent_id} is not complete')
        return known

    def _open_chain(self, backup: model.Backup, operation: Operation) -> list[cinder_v1.Reader]:
        """Readers of a backup and its parents, root first, each the one that its record means."""
        chain = backup.chain()
        if chain[0].parent_id is not None:
            raise exceptions.InvalidBackup(
                f'parent {chain[0].parent_id} of backup {chain[0].id} is not known here')
        return [self._open(member, operation) for member in chain]

    def _open(self, backup: model.Backup, operation: Operation) -> cinder_v1.Reader:
        container = self._container(backup, operation)
        reader = self._reader(container, str(backup.service_metadata))
        for what, told, expected in (('backup', reader.header.backup_id, backup.id),
                                     ('parent', reader.header.parent_id, backup.parent_id)):
            if told is not None and told != expected:
                raise exceptions.CorruptManifest(
                    f'the manifest of backup {backup.id} says that its {what} is {told[:80]!r}, its '
                    f'record says {expected!r}')
        return reader

    def _reader(self, container: store.Container, prefix: str) -> cinder_v1.Reader:
        return cinder_v1.Reader(container, prefix,
                                whole_limit=min(_LARGEST_WHOLE, self.settings.memory // 2))

    def _chunk_size(self) -> int:
        """The chosen size, else the format's, as a multiple of the block size."""
        if self.settings.chunk_size:
            return int(self.settings.chunk_size)
        block = int(self.settings.block_size)
        return max(block, cinder_v1.CHUNK_SIZE // block * block)

    def _workers(self) -> int:
        return min(int(self.settings.workers), self.capabilities().connections)

    def _remove(self, container: store.Container, prefix: str) -> None:
        """Delete the objects of a backup: without its manifest there is no backup any more."""
        container.delete(cinder_v1.manifest_name(prefix))
        names = [name for name in container.names(prefix) if _OBJECT.match(name, len(prefix))]
        for _ in parallel.ordered_map(container.delete, names, workers=self._workers(),
                                      budget=1, cost=lambda name: 0):
            pass

    def _clean_up(self, container: store.Container, prefix: str, error: BaseException) -> None:
        """Remove what a failed backup stored; where that fails too, say so with its error."""
        hurried = store.Container(self, container.name, retry_deadline=10.0)
        try:
            self._remove(hurried, prefix)
        except exceptions.BackupFrameworkError as second:
            error.add_note(f'Objects that begin with {prefix} may be left in container '
                           f'{container.name}: {second}. Deleting the backup removes them.')
