"""ChunkedBackupDriver: whole backups on five object verbs. Inherit it, write the verbs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import datetime
import functools
from typing import Any, BinaryIO, Self

from backup_framework import exceptions, model
from backup_framework.driver import metadata, objects, options, splitting, work
from backup_framework.engine.monitor import Operation
from backup_framework.engine.verify import Report
from backup_framework.formats import base, keyring
from backup_framework.formats.splitting import Part, Split, StoredPart
from backup_framework.interface import backup_driver, chunked_driver


class ChunkedBackupDriver(backup_driver.BackupDriver, chunked_driver.BackupChunkedDriver):
    """Base of drivers whose store keeps objects in containers.

    `backup`, `restore`, `delete_backup` and `verify` take one keyword more than the interface,
    `operation`: see `backup_framework.engine.monitor.Operation`. What they do is in
    `backup_framework.driver.work`, so that no private name here can collide with an author's.
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
        self.keys: keyring.Keyring | None = None

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
        """Called before 'backup', 'restore', 'delete' and 'verify'; a search counts as 'verify'.

        Raise to refuse, as where the whole store is missing: to the verbs it would look empty.
        """

    def delete_objects(self, container: str, object_names: Sequence[str]) -> None:
        """`delete_object` for up to `delete_batch` names, in one request where the store can."""
        objects.delete_each(functools.partial(self.delete_object, container), object_names)

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

    def clock(self) -> float:
        """The store's time now, in seconds since the epoch."""
        raise exceptions.NotSupported('this store does not tell its time')

    def remarks(self) -> Iterable[str]:
        """Sentences for `backend check`: what this server lacks, what is used in its stead."""
        return ()

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
        return work.Work(self, operation).backup(backup, volume_file, backup_metadata)

    def store_state(self, backup: model.Backup, state: base.State, *,
                    operation: Operation | None = None) -> dict[str, Any]:
        """Back up what `open_state` gave, of this driver or of another; as `backup` does."""
        return work.Work(self, operation).store_state(backup, state)

    def begin_parts(self, backup: model.Backup, volume_file: BinaryIO, part_size: int, *,
                    operation: Operation | None = None) -> Split | None:
        """Plan a backup that several drivers take, each some parts of the volume.

        None where that cannot be: it has a format without parts, or the volume cannot be read
        anywhere. What it raises is what `backup` does.

        :param part_size: bytes that a part has, about.
        """
        return splitting.Parts(self, operation).begin(backup, volume_file, part_size)

    def store_part(self, backup: model.Backup, volume_file: BinaryIO, split: Split, part: Part, *,
                   operation: Operation | None = None) -> StoredPart:
        """Store a part; what was stored stays where that fails, for the next attempt."""
        return splitting.Parts(self, operation).store(backup, volume_file, split, part)

    def end_parts(self, backup: model.Backup, split: Split, parts: Sequence[StoredPart],
                  attempt: int, backup_metadata: bool = True, *,
                  operation: Operation | None = None) -> dict[str, Any]:
        """Make one backup of all parts; returns what `backup` does.

        It is repeated where it was interrupted.

        :param parts: in the order of the volume.
        :param attempt: counts from 1, and never comes twice.
        """
        return splitting.Parts(self, operation).end(
            backup, split, parts, attempt, backup_metadata)

    def open_state(self, backup: model.Backup, operation: Operation | None = None) -> base.State:
        """What a backup restores, to be read as verified pieces. Close it.

        :raises FormatError: it cannot be read.
        """
        return work.Work(self, operation).open_state(backup)

    def restore(self, backup: model.Backup, volume_id: str, volume_file: BinaryIO,
                volume_is_new: bool = False, *, operation: Operation | None = None) -> None:
        """See the interface. What cannot seek gets all bytes in order.

        :param volume_is_new: the file reads as zeros wherever nothing is written.
        """
        work.Work(self, operation).restore(backup, volume_id, volume_file, volume_is_new)

    def delete_backup(self, backup: model.Backup, *, operation: Operation | None = None) -> None:
        """Remove the backup's objects, its manifest first. Today's name for `delete`."""
        work.Work(self, operation).delete(backup)

    def delete(self, backup: model.Backup, *, operation: Operation | None = None) -> None:
        self.delete_backup(backup, operation=operation)

    def verify(self, backup: model.Backup, *, operation: Operation | None = None) -> Report:
        """Read and check every byte that restoring the backup needs, or, quick, what is there."""
        return work.Work(self, operation).verify(backup)

    def volume_size(self, backup: model.Backup, operation: Operation | None = None) -> int:
        """Bytes that restoring the backup writes."""
        return work.Work(self, operation).volume_size(backup)

    def prefixes(self, container: str) -> list[str]:
        """The prefixes of all committed backups in a container: of all manifests."""
        return work.Work(self).prefixes(container)

    def describe(self, container: str, prefix: str) -> tuple[base.Header, dict[str, Any]]:
        """What the store says of a backup: its manifest's header, and fields for its record.

        :raises FormatError: there is no manifest, or it cannot be read.
        """
        return work.Work(self).describe(container, prefix)
