"""Cinder's BackupDriver interface: one driver, whole volumes."""

from __future__ import annotations

import abc
from typing import Any, BinaryIO

from backup_framework import model


class BackupDriver(abc.ABC):
    """Backs up and restores volumes. Source: `cinder.interface.backup_driver`.

    Names and signatures are those of the interface as published (early 2017). Today's Cinder says
    `delete_backup` for `delete` and calls `restore` with a fourth argument `volume_is_new`; callers
    here look at the signature, so a driver may have either generation's methods.

    B1. `backup` stores all that `restore` needs to bring the volume's bytes back exactly.
    B2. A `backup` that raises has left no backup that `restore` would accept.
    B3. `restore` writes exactly the bytes that were backed up, or raises.
    B4. After `delete` nothing of the backup is left in the store; deleting again is fine.
    B5. `delete` takes no byte that another backup needs. Where the format needs no parents, backups
        that build on one another go in any order.
    """

    @abc.abstractmethod
    def backup(self, backup: model.Backup, volume_file: BinaryIO,
               backup_metadata: bool = False) -> dict[str, Any] | None:
        """Back `volume_file` up, from its start to its end.

        With `backup.parent_id` an incremental is made, or a full one if the parent's size differs.

        :param backup: the record; container and prefix are kept with `backup.save()` before the
            first object is written.
        :param volume_file: open for reading; has `read`, `seek` and `tell`.
        :param backup_metadata: also keep what `get_metadata` says of the volume.
        :returns: fields of the record to update, or None.
        """

    @abc.abstractmethod
    def restore(self, backup: model.Backup, volume_id: str, volume_file: BinaryIO) -> None:
        """Write the backed-up bytes to `volume_file`, and the metadata to volume `volume_id`."""

    @abc.abstractmethod
    def delete(self, backup: model.Backup) -> None:
        """Remove the backup's objects from the store."""

    @abc.abstractmethod
    def export_record(self, backup: model.Backup) -> dict[str, Any]:
        """Driver-specific fields that a record needs beside its own to be imported elsewhere."""

    @abc.abstractmethod
    def import_record(self, backup: model.Backup, driver_info: dict[str, Any]) -> None:
        """Take in what `export_record` gave elsewhere."""

    @abc.abstractmethod
    def get_metadata(self, volume_id: str) -> str | None:
        """The volume's metadata as JSON text (Cinder's volume_meta, versions 1 and 2)."""

    @abc.abstractmethod
    def put_metadata(self, volume_id: str, json_metadata: str) -> None:
        """Give a volume the metadata that `get_metadata` returned when it was backed up."""
