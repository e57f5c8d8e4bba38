"""Drivers as somebody else may write them: without the chunked base, or with bugs."""

from __future__ import annotations

from pathlib import Path
import shutil
from typing import Any

from backup_framework.driver import chunked
from backup_framework.drivers import local
from backup_framework.interface.backup_driver import BackupDriver
from backup_framework.model import Option, OptionType


class CopyDriver(BackupDriver):
    """Copies whole volumes, with the signatures of Cinder's older drivers."""

    OPTIONS = (Option('path', OptionType.PATH, required=True),)

    def __init__(self, settings: Any, context: Any = None) -> None:
        self._path = Path(settings.path)

    @classmethod
    def get_driver_options(cls) -> tuple[Option, ...]:
        return cls.OPTIONS

    def backup(self, backup: Any, volume_file: Any, backup_metadata: bool = False) -> Any:
        self._path.mkdir(exist_ok=True)
        with open(self._path / backup['id'], 'wb') as file:
            shutil.copyfileobj(volume_file, file)

    def restore(self, backup: Any, volume_id: str, volume_file: Any) -> None:
        with open(self._path / backup.id, 'rb') as file:
            shutil.copyfileobj(file, volume_file)

    def delete(self, backup: Any) -> None:
        (self._path / backup['id']).unlink()

    def export_record(self, backup: Any) -> dict[str, Any]:
        return {}

    def import_record(self, backup: Any, driver_info: dict[str, Any]) -> None:
        pass

    def get_metadata(self, volume_id: str) -> str | None:
        return None

    def put_metadata(self, volume_id: str, json_metadata: str) -> None:
        pass


class Abstract(chunked.ChunkedBackupDriver):
    """An author's first hour."""

    def put_container(self, container: str) -> None:
        pass


class FailsToStart(local.LocalBackupDriver):
    def __init__(self, settings: Any, context: Any = None) -> None:
        raise KeyError('region')


class Buggy(local.LocalBackupDriver):
    def put_container(self, container: str) -> None:
        raise IndexError('list index out of range')


class ForgetsWhatItIsGiven(local.LocalBackupDriver):
    def get_container_entries(self, container: str, prefix: str) -> Any:
        return []
