"""ChunkedBackupDriver: whole backups on five object verbs. Inherit it, write the verbs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from backup_framework import exceptions, model
from backup_framework.driver import options
from backup_framework.interface import backup_driver, chunked_driver


class ChunkedBackupDriver(backup_driver.BackupDriver, chunked_driver.BackupChunkedDriver):
    """Base of drivers whose store keeps objects in containers."""

    OPTIONS: tuple[model.Option, ...] = ()
    """The driver's own options; those of `driver.options.SHARED` are there for every driver."""

    support_force_delete = True

    def __init__(self, settings: model.Settings, context: Any = None) -> None:
        """Keep the settings; connects to nothing.

        :param settings: see `make_settings`.
        :param context: Cinder's request context, if there is one.
        """
        self.settings = settings
        self.context = context

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

    def update_container_name(self, backup: model.Backup, container: str | None) -> str | None:
        return None

    def get_extra_metadata(self, backup: model.Backup, volume: Any) -> Any:
        return None
