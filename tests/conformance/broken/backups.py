"""Drivers that break the contract about whole backups: sentences B."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import io
from typing import Any, BinaryIO

from backup_framework import exceptions, model
from backup_framework.testing import memory
from tests.conformance.broken.register import breaks


@breaks('B1')
class DropsTheLastBytes(memory.MemoryBackupDriver):
    """Thinks in sectors."""

    def backup(self, backup: model.Backup, volume_file: BinaryIO, backup_metadata: bool = True,
               **more: Any) -> dict[str, Any]:
        data = volume_file.read()
        whole = io.BytesIO(data[:len(data) // 512 * 512])
        return super().backup(backup, whole, backup_metadata, **more)


@breaks('B1')
class ForgetsMetadata(memory.MemoryBackupDriver):

    def put_metadata(self, volume_id: str, json_metadata: str) -> None:
        pass


@breaks('B2')
class CommitsHalfBackups(memory.MemoryBackupDriver):

    def backup(self, backup: model.Backup, volume_file: BinaryIO, backup_metadata: bool = True,
               **more: Any) -> dict[str, Any]:
        try:
            return super().backup(backup, volume_file, backup_metadata, **more)
        except BaseException:
            super().backup(backup, io.BytesIO(b'what there was'), backup_metadata, **more)
            raise


@breaks('B2')
class TakesErrorsForTheEnd(memory.MemoryBackupDriver):

    def backup(self, backup: model.Backup, volume_file: BinaryIO, backup_metadata: bool = True,
               **more: Any) -> dict[str, Any]:
        try:
            return super().backup(backup, volume_file, backup_metadata, **more)
        except Exception:
            return super().backup(backup, io.BytesIO(b'what there was'), backup_metadata, **more)


@breaks('B3')
class SwallowsDamage(memory.MemoryBackupDriver):

    def restore(self, *args: Any, **more: Any) -> None:
        with contextlib.suppress(exceptions.CorruptObject):
            super().restore(*args, **more)


@breaks('B3')
class TakesEveryTargetForNew(memory.MemoryBackupDriver):
    """Leaves the old bytes where the backup has zeros."""

    def restore(self, backup: model.Backup, volume_id: str, volume_file: BinaryIO,
                volume_is_new: bool = False, **more: Any) -> None:
        super().restore(backup, volume_id, volume_file, True, **more)


@breaks('B4')
class LeavesWhatDescribes(memory.MemoryBackupDriver):
    """The hash lists of format 1.0.0, the maps of 2.0.0."""

    def delete_objects(self, container: str, object_names: Sequence[str]) -> None:
        super().delete_objects(container, [name for name in object_names
                                           if not name.endswith(('_sha256file', '_map'))])


@breaks('B4')
class DeletesOnce(memory.MemoryBackupDriver):

    def delete(self, backup: model.Backup, **more: Any) -> None:
        if not self.get_container_entries(backup.container or '', backup.service_metadata or ''):
            raise exceptions.ObjectNotFound('there is no such backup')
        super().delete(backup, **more)


@breaks('B5')
class DeletesAllOfTheVolume(memory.MemoryBackupDriver):
    """Thinks that a volume has one backup."""

    def delete(self, backup: model.Backup, **more: Any) -> None:
        super().delete(backup, **more)
        box = backup.container or ''
        with contextlib.suppress(exceptions.ContainerNotFound):
            super().delete_objects(
                box, self.get_container_entries(box, f'volume_{backup.volume_id}_'))


@breaks('B5')
class DeletesWhatOthersHave(memory.MemoryBackupDriver):
    """Takes all that the backup wrote, whoever refers to it by now."""

    def delete(self, backup: model.Backup, **more: Any) -> None:
        super().delete(backup, **more)
        box = backup.container or ''
        with contextlib.suppress(exceptions.ContainerNotFound):
            super().delete_objects(
                box, self.get_container_entries(box, backup.service_metadata or ''))
