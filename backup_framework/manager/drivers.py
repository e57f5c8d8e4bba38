"""Drivers of the enabled backends, opened when they are needed, called as they are able."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import inspect
from typing import Any

from backup_framework import conf, exceptions, loader, model, store
from backup_framework.catalog import Catalog
from backup_framework.driver import metadata
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.interface.backup_driver import BackupDriver
from backup_framework.manager.keyrings import Keyrings


class Drivers:
    """The drivers of a configuration; each is opened once and closed by `close`.

    :ivar keyrings: who seals and opens its backups.
    """

    def __init__(self, configuration: conf.Configuration, catalog: Catalog) -> None:
        self._configuration = configuration
        self._catalog = catalog
        self._open: dict[str, BackupDriver] = {}
        self.keyrings = Keyrings(configuration)

    def driver_class(self, backend: str) -> type[BackupDriver]:
        return loader.load(self._configuration.backend(backend).driver)

    def get(self, backend: str) -> BackupDriver:
        """The driver of a backend.

        :raises BackendNotFound: it is not enabled.
        :raises ConfigurationError: its section or its driver is wrong.
        """
        if backend not in self._open:
            cls = self.driver_class(backend)
            settings = self._configuration.settings(backend, cls)
            driver = _make(cls, settings, backend)
            driver.volume_metadata = CatalogMetadata(
                self._catalog, getattr(settings, 'metadata_version', 2))
            if isinstance(driver, ChunkedBackupDriver):
                driver.keys = self.keyrings.of(settings)
            elif settings.encryption != 'none':
                raise exceptions.ConfigurationError(
                    f'section [{backend}] wants encryption, which its driver has not: it is not '
                    f'built on the chunked base')
            self._open[backend] = driver
        return self._open[backend]

    def settings(self, backend: str) -> model.Settings:
        """The settings of a backend; see `get` for errors."""
        return self._configuration.settings(backend, self.driver_class(backend))

    def chunked(self, backend: str, what: str) -> ChunkedBackupDriver:
        """The driver of a backend, for what only our base can do.

        :raises Refused: the driver does not derive from it.
        """
        driver = self.get(backend)
        if not isinstance(driver, ChunkedBackupDriver):
            raise exceptions.Refused(
                f'backend {backend} cannot {what}: its driver is not built on the chunked base')
        return driver

    def host_paths(self) -> Iterator[str]:
        """Directories of this host in which backends keep their objects; connects to none.

        A backend that cannot be opened, or whose driver cannot tell, must not stop a restore from
        another one; but nothing may be restored into what it may use: any path in its section.
        """
        for backend in self._configuration.enabled_backends:
            driver: BackupDriver | None = None
            with contextlib.suppress(exceptions.ConfigurationError):
                driver = self.get(backend)
            if isinstance(driver, ChunkedBackupDriver):
                yield from driver.host_paths()
            else:
                yield from self._configuration.named_paths(backend)

    def close(self) -> None:
        for driver in self._open.values():
            close = getattr(driver, 'close', None)
            if close:
                close()
        self._open.clear()


class CatalogMetadata:
    """Volume metadata from the catalog's volume records, and back into them."""

    def __init__(self, catalog: Catalog, version: int) -> None:
        self._catalog = catalog
        self._version = version

    def get(self, volume_id: str) -> str | None:
        try:
            return metadata.dump(self._catalog.get_volume(volume_id), self._version)
        except exceptions.VolumeNotFound:
            return None

    def put(self, volume_id: str, json_metadata: str) -> None:
        volume = self._catalog.get_volume(volume_id)
        changes = metadata.apply(json_metadata, volume)
        if changes:
            self._catalog.update_volume(volume_id, **changes)


def _make(cls: type[BackupDriver], settings: model.Settings, backend: str) -> Any:
    try:
        return cls(settings)  # type: ignore[call-arg]
    except exceptions.ConfigurationError as error:
        raise type(error)(f'section [{backend}]: {error}') from error
    except exceptions.BackupFrameworkError:
        raise
    except Exception as error:
        raise exceptions.DriverLoadError(
            f'the driver of backend {backend} cannot be made ({store.origin(cls)}): '
            f'{type(error).__name__}: {error}') from error


def call(method: Callable[..., Any], *args: Any, **extras: Any) -> Any:
    """Call a driver's method of either generation with what its signature has room for.

    :param args: as many of them as it takes positionally.
    :param extras: keywords that older drivers, or those of others, may not know.
    :raises DriverBug: something else than our errors escaped a driver that is not built on ours.
    """
    parameters = inspect.signature(method).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        known = extras
    else:
        names = {p.name for p in parameters}
        known = {name: value for name, value in extras.items() if name in names}
    room = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        room = len(args)
    with _blaming(getattr(method, '__self__', None)):
        return method(*args[:room], **known)


@contextlib.contextmanager
def _blaming(driver: object) -> Iterator[None]:
    """What escapes the chunked base is a bug of ours; it blames drivers by itself."""
    try:
        yield
    except exceptions.BackupFrameworkError:
        raise
    except Exception as error:
        if isinstance(driver, ChunkedBackupDriver):
            raise
        raise exceptions.DriverBug(f'{store.origin(type(driver))} failed with '
                                   f'{type(error).__name__}: {error}') from error


def delete_method(driver: BackupDriver) -> Callable[..., Any]:
    """Today's `delete_backup` where the driver has it, else `delete`."""
    return getattr(driver, 'delete_backup', None) or driver.delete


def service(driver: object) -> str:
    """The class path that stands in a record: the one Cinder knows, where there is one."""
    cls = type(driver)
    return getattr(driver, 'CINDER_CLASS', None) or f'{cls.__module__}.{cls.__qualname__}'


def is_service(driver: object, path: str) -> bool:
    """Whether a record's class path means this driver; Cinder has also written module paths."""
    known = service(driver)
    return path in (known, known.rpartition('.')[0])
