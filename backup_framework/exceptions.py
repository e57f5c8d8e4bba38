"""Every error of the framework.

BackupFrameworkError
├── ConfigurationError            an option, a file or a section is wrong
│   ├── DriverNotFound            no installed distribution offers this driver
│   └── DriverLoadError           a driver is installed but cannot be used
├── InvalidInput                  an argument makes no sense
│   └── InvalidName               a container or object name that no store may see
├── NotFound                      a named thing does not exist
│   ├── BackupNotFound  VolumeNotFound  SnapshotNotFound  BackendNotFound  JobNotFound
├── Refused                       it exists, but this must not be done to it now
│   ├── InvalidBackup             a backup in the wrong state, or one that does not fit
│   ├── BackupInUse               other backups or operations need it
│   ├── InvalidVolume             a source that cannot be backed up
│   ├── ForeignContainer          a container that another installation uses
│   ├── QuotaExceeded             a project has as much as it may have
│   └── InvalidTarget             a target that must not be written
├── VolumeError                   reading a volume or writing a target failed
│   ├── VolumeChanged             the volume shrank while it was read
│   └── NoSpace                   the file system of a target, spool or catalog is full
├── CatalogError                  the catalog cannot be used
│   ├── CatalogReadOnly           it can be read, not written
│   └── CatalogCorrupt            its file is damaged
├── BackupDriverException         (Cinder's name) a driver failed
│   ├── DriverBug                 something else than a StoreError escaped a driver
│   └── StoreError                what drivers raise; `retryable` is on the class
│       ├── ObjectNotFound  ContainerNotFound  PermissionDenied
│       ├── StoreFull  ObjectExists  NotSupported
│       └── StoreUnavailable      retryable: resets, timeouts, 408, 429, 5xx, ESTALE
├── FormatError                   stored bytes are not what they should be
│   ├── UnsupportedVersion        written by something newer
│   ├── KeyUnavailable            sealed, and no key at hand opens it
│   ├── CorruptManifest           a manifest or hash list breaks its format
│   ├── CorruptObject             an object's bytes are not those that were stored
│   └── MissingObject             an object that a manifest names is gone
└── OperationCancelled            somebody asked to stop
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
from typing import Self


class BackupFrameworkError(Exception):
    """Base of all errors; its text is one sentence for the user.

    :ivar advice: how the sentence ends on the command line, whose options nobody else knows.
    """

    advice = ''

    def advised(self, advice: str) -> Self:
        """The error itself, with advice."""
        self.advice = advice
        return self


class ConfigurationError(BackupFrameworkError):
    """An option, a file or a section is wrong."""


class DriverNotFound(ConfigurationError):
    """No installed distribution offers this driver."""


class DriverLoadError(ConfigurationError):
    """A driver is installed but cannot be used; the message names its distribution."""


class InvalidInput(BackupFrameworkError):
    """An argument makes no sense."""


class InvalidName(InvalidInput):
    """A container or object name that must not reach a store."""


class NotFound(BackupFrameworkError):
    """A named thing does not exist."""


class BackupNotFound(NotFound):
    """No backup has this id or name."""


class VolumeNotFound(NotFound):
    """No volume has this id, name or path."""


class SnapshotNotFound(NotFound):
    """No volume has a snapshot of this id."""


class JobNotFound(NotFound):
    """No accepted operation has this id."""


class BackendNotFound(NotFound):
    """No backend of this name is enabled."""


class Refused(BackupFrameworkError):
    """The thing exists, but this must not be done to it now."""


class InvalidBackup(Refused):
    """A backup in the wrong state, or one that does not fit the request."""


class BackupInUse(Refused):
    """Other backups or running operations need this one."""


class InvalidVolume(Refused):
    """A source that cannot be backed up."""


class ForeignContainer(Refused):
    """A container in which another installation makes and deletes backups."""


class QuotaExceeded(Refused):
    """A project has as much of something as it may have.

    :param resource: backups or gigabytes.
    """

    def __init__(self, resource: str, limit: int, used: int, wanted: int = 1) -> None:
        super().__init__(
            f'{wanted} more {resource} would be more than the quota of {limit}, of which {used} '
            'are used: delete backups, or let the quota be raised')
        self.resource, self.limit, self.used, self.wanted = resource, limit, used, wanted


class InvalidTarget(Refused):
    """A target that must not be written."""


class VolumeError(BackupFrameworkError):
    """Reading a volume or writing a target failed."""


class VolumeChanged(VolumeError):
    """The volume shrank while it was read."""


class NoSpace(VolumeError):
    """The file system of a target, a spool file or the catalog is full."""


class CatalogError(BackupFrameworkError):
    """The catalog cannot be used."""


class CatalogReadOnly(CatalogError):
    """The catalog can be read but not written."""


class CatalogCorrupt(CatalogError):
    """The file of the catalog is damaged."""


class BackupDriverException(BackupFrameworkError):
    """A driver failed (Cinder's name for it)."""


class DriverBug(BackupDriverException):
    """Something else than a StoreError escaped a driver; the message names its distribution."""


class StoreError(BackupDriverException):
    """What drivers raise. Says which object in which container, where that is known.

    :param retry_after: seconds that the store asked to wait, or None.
    """

    retryable = False

    def __init__(self, message: str, *, container: str | None = None,
                 name: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.container = container
        self.name = name
        self.retry_after = retry_after


class ObjectNotFound(StoreError):
    """The container has no object of this name."""


class ContainerNotFound(StoreError):
    """The store has no such container."""


class PermissionDenied(StoreError):
    """The store does not let us do this."""


class StoreFull(StoreError):
    """No space, no inodes or no quota left in the store."""


class ObjectExists(StoreError):
    """Another object of this name, with other bytes, is already there."""


class NotSupported(StoreError):
    """This store cannot do that; its capabilities say so."""


class StoreUnavailable(StoreError):
    """The store did not answer, or answered that it cannot just now."""

    retryable = True


class FormatError(BackupFrameworkError):
    """Stored bytes are not what they should be. Says which object, where it is one."""

    def __init__(self, message: str = '', *, container: str | None = None,
                 name: str | None = None) -> None:
        super().__init__(message)
        self.container = container
        self.name = name


class UnsupportedVersion(FormatError):
    """A manifest of a version that this release cannot read."""


class KeyUnavailable(FormatError):
    """Something is sealed, and no key that is at hand opens it."""


class CorruptManifest(FormatError):
    """A manifest or hash list that breaks its format."""


class CorruptObject(FormatError):
    """An object whose bytes are not those that were stored."""


class MissingObject(FormatError):
    """An object that a manifest names is not in the store."""


class OperationCancelled(BackupFrameworkError):
    """Somebody asked to stop.

    :param signal: the number of the signal that asked, or None.
    """

    def __init__(self, message: str = 'the operation was cancelled',
                 signal: int | None = None) -> None:
        super().__init__(message)
        self.signal = signal


@contextlib.contextmanager
def translate(mapping: Mapping[type[BaseException], type[StoreError]], *,
              container: str | None = None, name: str | None = None) -> Iterator[None]:
    """Turn foreign exceptions into StoreErrors, the first matching row of `mapping` winning."""
    try:
        yield
    except tuple(mapping) as error:
        ours = next(ours for foreign, ours in mapping.items() if isinstance(error, foreign))
        raise ours(str(error), container=container, name=name) from error
