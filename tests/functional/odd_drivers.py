"""Drivers as somebody else may write them: without the chunked base, or with bugs."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
import shutil
import time
from typing import Any

from backup_framework import exceptions, model
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


class Remote(local.LocalBackupDriver):
    """Notes each time it would connect to its server, which is down while `PATH.down` exists."""

    OPTIONS = (*local.LocalBackupDriver.OPTIONS,
               Option('connections', OptionType.INTEGER, 5, help='Connections at once.'))

    def capabilities(self) -> model.Capabilities:
        self._connect()
        return dataclasses.replace(super().capabilities(), reports_clock=True)

    def put_container(self, container: str) -> None:
        self._connect()
        super().put_container(container)

    def get_object_reader(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Any:
        self._connect()
        return super().get_object_reader(container, object_name, extra_metadata)

    def clock(self) -> float:
        return time.time() + 100

    def remarks(self) -> list[str]:
        return ['the server of this shelf is a folder']

    def _connect(self) -> None:
        Path(f'{self.settings.path}.connected').touch()
        if os.path.exists(f'{self.settings.path}.down'):
            raise exceptions.StoreUnavailable('shelf.example cannot be reached: no route to host')


class KeepsAll(local.LocalBackupDriver):
    """Its server lets us write and not delete."""

    def delete_object(self, container: str, object_name: str) -> None:
        raise exceptions.PermissionDenied('nothing may be deleted on shelf.example')
