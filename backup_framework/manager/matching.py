"""Which backend has the backup that a record tells of."""

from __future__ import annotations

from backup_framework import exceptions
from backup_framework.manager import drivers
from backup_framework.manager.context import Context
from backup_framework.model import Backup


def backend_of(context: Context, service: str, backup: Backup) -> str:
    """The one backend of the record's kind that has the backup's manifest."""
    names = [name for name in context.configuration.enabled_backends
             if _is_of_kind(context, name, service)]
    if not names:
        raise exceptions.InvalidInput(
            f'no enabled backend is of the kind {service}').advised(
                '; --backend says which one to use')
    having = [name for name in names if _has_manifest(context, name, backup)]
    if not having:
        raise exceptions.InvalidInput(
            f'none of the backends {", ".join(names)} has the manifest of backup {backup.id}')
    if len(having) > 1:
        raise exceptions.InvalidInput(
            f'the backends {", ".join(having)} all have backup {backup.id}').advised(
                '; choose with --backend')
    return having[0]


def _is_of_kind(context: Context, backend: str, service: str) -> bool:
    """Whether the backend's driver is the one of the record; one that is broken is passed over."""
    try:
        return drivers.is_service(context.drivers.get(backend), service)
    except exceptions.ConfigurationError as error:
        context.warn(f'backend {backend} was not searched: {error}')
        return False


def _has_manifest(context: Context, backend: str, backup: Backup) -> bool:
    driver = context.drivers.chunked(backend, 'import records')
    try:
        driver.describe(str(backup.container), str(backup.service_metadata))
    except exceptions.MissingObject:
        return False
    except exceptions.StoreError as error:
        context.warn(f'backend {backend} was not searched: {error}')
        return False
    except exceptions.FormatError:
        # It is there; why it cannot be read is said when it is imported.
        return True
    return True
