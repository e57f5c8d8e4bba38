"""What an operation on a driver goes through: its containers, its readers and its states."""

from __future__ import annotations

from collections.abc import Sequence
import functools
from typing import Any, Protocol

from backup_framework import exceptions, model, store
from backup_framework.driver import bandwidth, recorded
from backup_framework.engine.monitor import Operation
from backup_framework.formats import base, versions
from backup_framework.formats.keyring import Keyring

_LARGEST_WHOLE = 64 << 20


class Driver(store.ObjectVerbs, Protocol):
    """What operations need of a driver."""

    settings: model.Settings
    keys: Keyring | None

    def capabilities(self) -> model.Capabilities: ...

    def before_operation(self, kind: str) -> None: ...

    def object_prefix(self, backup: model.Backup) -> str: ...

    def update_container_name(self, backup: model.Backup, container: str | None
                              ) -> str | None: ...

    def get_extra_metadata(self, backup: model.Backup, volume: Any) -> Any: ...

    def get_metadata(self, volume_id: str) -> str | None: ...

    def put_metadata(self, volume_id: str, json_metadata: str) -> None: ...


class Access:
    """A driver and one operation on it: its verbs keep to the bandwidth, and are tried again."""

    def __init__(self, driver: Driver, operation: Operation | None = None) -> None:
        self._driver = driver
        self._settings = driver.settings
        self._operation = operation or Operation()
        self._monitor = self._operation.monitor
        self._calls = store.Calls(driver, retry_deadline=self._settings.retry_deadline,
                                  sleep=self._monitor.sleep)
        self._verbs = bandwidth.limited(driver, self._settings.read_bandwidth,
                                        self._settings.write_bandwidth, self._monitor.sleep)

    def _open_state(self, backup: model.Backup) -> base.State:
        """The backup, with the parents that its format needs; each as its record means it."""
        newest = self._open(backup)
        if not versions.format_of(newest.header.version).needs_parent:
            return self._state([newest])
        chain = backup.chain()
        if chain[0].parent_id is not None:
            raise exceptions.InvalidBackup(
                f'parent {chain[0].parent_id} of backup {chain[0].id} is not known here')
        return self._state([*map(self._open, chain[:-1]), newest])

    def _state(self, readers: Sequence[base.Reader]) -> base.State:
        header = readers[-1].header
        strange = [reader.header for reader in readers if reader.header.version != header.version]
        if strange:
            raise exceptions.CorruptManifest(
                f'backup {header.backup_id} of format {header.version} cannot need backup '
                f'{strange[-1].backup_id}, which has format {strange[-1].version}')
        return versions.format_of(header.version).open_state(
            readers, spool_directory=self._operation.spool_directory,
            whole_limit=min(_LARGEST_WHOLE, self._settings.memory // 2))

    def _open(self, backup: model.Backup) -> base.Reader:
        container = self._container_of(backup)
        reader = versions.open_reader(container, str(backup.service_metadata), self._driver.keys,
                                      backup.manifest_digest)
        recorded.check(backup, reader.header)
        return reader

    def _container_of(self, backup: model.Backup) -> store.Container:
        if not backup.container or not backup.service_metadata:
            raise exceptions.InvalidBackup(
                f'the record of backup {backup.id} does not say where its objects are')
        return self._container(backup.container)

    def _container(self, name: str) -> store.Container:
        return store.Container(self._verbs, name, retry_deadline=self._settings.retry_deadline,
                               sleep=self._monitor.sleep)

    def _workers(self) -> int:
        return min(int(self._settings.workers), self._able.connections)

    def _begin(self, kind: str) -> None:
        self._calls.retry(lambda: self._driver.before_operation(kind))

    @functools.cached_property
    def _able(self) -> model.Capabilities:
        """What the store can do, for which the driver may have to ask it."""
        return self._calls.retry(self._driver.capabilities)
