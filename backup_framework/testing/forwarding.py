"""The base of the wrappers: a driver that hands every verb on to another one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from backup_framework import model
from backup_framework.driver import chunked
from backup_framework.interface import chunked_driver


class ForwardingDriver(chunked.ChunkedBackupDriver):
    """Whole backups run in this object, their verbs in `driver`: a wrapper overrides some."""

    def __init__(self, driver: chunked.ChunkedBackupDriver) -> None:
        super().__init__(driver.settings, driver.context)
        self.driver = driver
        # Settings are checked against the options of the class that speaks to the store.
        self.get_driver_options = driver.get_driver_options  # type: ignore[method-assign]

    def capabilities(self) -> model.Capabilities:
        return self.driver.capabilities()

    def check_for_setup_error(self) -> None:
        self.driver.check_for_setup_error()

    def close(self) -> None:
        self.driver.close()

    def before_operation(self, kind: str) -> None:
        self.driver.before_operation(kind)

    def put_container(self, container: str) -> None:
        self.driver.put_container(container)

    def get_container_entries(self, container: str, prefix: str) -> Iterable[str]:
        return self.driver.get_container_entries(container, prefix)

    def get_object_writer(
            self, container: str, object_name: str, extra_metadata: Any = None,
    ) -> AbstractContextManager[chunked_driver.ObjectWriter]:
        return self.driver.get_object_writer(container, object_name, extra_metadata)

    def get_object_reader(
            self, container: str, object_name: str, extra_metadata: Any = None,
    ) -> AbstractContextManager[chunked_driver.ObjectReader]:
        return self.driver.get_object_reader(container, object_name, extra_metadata)

    def delete_object(self, container: str, object_name: str) -> None:
        self.driver.delete_object(container, object_name)

    def delete_objects(self, container: str, object_names: Sequence[str]) -> None:
        self.driver.delete_objects(container, object_names)

    def sync(self, container: str) -> None:
        self.driver.sync(container)

    def remove_temporary(self, older_than: float) -> int:
        return self.driver.remove_temporary(older_than)

    def list_containers(self) -> Iterable[str]:
        return self.driver.list_containers()

    def object_size(self, container: str, object_name: str) -> int:
        return self.driver.object_size(container, object_name)

    def free_space(self) -> int:
        return self.driver.free_space()

    def clock(self) -> float:
        return self.driver.clock()

    def remarks(self) -> Iterable[str]:
        return self.driver.remarks()

    def host_paths(self) -> list[str]:
        return self.driver.host_paths()

    def update_container_name(self, backup: model.Backup, container: str | None) -> str | None:
        return self.driver.update_container_name(backup, container)

    def get_extra_metadata(self, backup: model.Backup, volume: Any) -> Any:
        return self.driver.get_extra_metadata(backup, volume)

    def object_prefix(self, backup: model.Backup) -> str:
        return self.driver.object_prefix(backup)

    def export_record(self, backup: model.Backup) -> dict[str, Any]:
        return self.driver.export_record(backup)

    def import_record(self, backup: model.Backup, driver_info: dict[str, Any]) -> None:
        self.driver.import_record(backup, driver_info)
