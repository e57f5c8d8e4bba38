"""What a request cannot have, told before there is a record of it."""

from __future__ import annotations

from collections.abc import Sequence

from backup_framework import exceptions, store
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.engine import hints
from backup_framework.formats.v2 import sealing
from backup_framework.manager.context import Context
from backup_framework.model import Backup, Extent


def check(context: Context, backup: Backup, version: str | None,
          changed: Sequence[Extent] | None = None, size: int | None = None) -> None:
    """Refuse what our drivers would refuse before they ask their store.

    :param backup: to be stored; its container is the one that was asked for.
    :param changed: sorted, in a volume of `size` bytes; None of that where it is not known.
    :raises InvalidName: no container can have this name.
    :raises InvalidInput: the volume has no such extents.
    :raises ConfigurationError: the backend seals, which cannot be done so, or not here.
    """
    driver = context.drivers.get(str(backup.backend))
    if not isinstance(driver, ChunkedBackupDriver):
        return
    container = backup.container or driver.settings.container
    if container:
        store.check_new_name(container)
    if changed and size is not None:
        hints.check_within(changed, size)
    if driver.settings.encryption != 'none':
        sealing.require()
        if version is not None and not version.startswith('2.'):
            raise exceptions.ConfigurationError(
                f'backend {backup.backend} seals, and format {version} cannot be sealed')
