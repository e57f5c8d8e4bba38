"""What is in a container, and removing from it what no backup needs."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib

from backup_framework import exceptions, model
from backup_framework.driver import sweeping, work
from backup_framework.engine.monitor import Sweep
from backup_framework.formats import base, versions
from backup_framework.formats.v2 import format as v2
from backup_framework.formats.v2 import owner


class Inspection(work.Work):
    """Looks at containers of a driver; never deletes a manifest."""

    def names(self, container: str) -> list[str]:
        return self._container(container).names('')

    def size(self, container: str, name: str) -> int | None:
        """Stored bytes of an object; None where the store does not tell, or it is gone."""
        if not self._able.reports_size:
            return None
        try:
            return self._container(container).size(name)
        except (exceptions.ObjectNotFound, exceptions.ContainerNotFound):
            return None

    def is_committed(self, container: str, prefix: str) -> bool:
        """Whether a manifest with this prefix is there, also one that was written just now."""
        self._monitor.sleep(self._able.listing_delay)
        return bool(self._container(container).names(versions.manifest_name(prefix)))

    def uses(self, container: str, prefix: str) -> dict[str, base.Use]:
        """The objects that a committed backup needs.

        :raises FormatError: its manifest or what that leads to cannot be read.
        """
        reader = versions.open_reader(self._container(container), prefix, self._driver.keys)
        with contextlib.closing(self._state([reader])) as state:
            return state.uses()

    def leftovers(self, backup: model.Backup) -> list[str]:
        """What deleting a backup without a manifest would delete now."""
        container = self._container_of(backup)
        prefix = str(backup.service_metadata)
        version = self._version_of(backup, container, prefix)
        steps = version.leftovers(container, prefix, committed=True, tick=self._monitor.tick,
                                  keyring=self._driver.keys)
        return [name for names in steps for name in names]

    def sweep(self, backup: model.Backup) -> bool:
        """Delete them, in order; False where that has to wait.

        :raises ForeignContainer: the container is another installation's.
        """
        self._begin('delete')
        container = self._container_of(backup)
        prefix = str(backup.service_metadata)
        version = self._version_of(backup, container, prefix)
        self._check_owner(version, container)
        if self.is_committed(container.name, prefix):
            raise exceptions.InvalidBackup(f'the backup with prefix {prefix} has a manifest')
        return self._sweep(version, container, prefix, committed=True)

    def discard(self, container: str, names: Sequence[str], listed: Sequence[str]) -> bool:
        """Delete objects that no backup needs; False where that has to wait.

        :param listed: the prefixes of the manifests of which that is known.
        """
        self._begin('delete')
        box = self._container(container)
        self._check_owner(v2.FORMAT, box)
        ask = self._operation.may_sweep
        if ask is not None and ask(listed) is not Sweep.NOW:
            return False
        sweeping.delete_steps(box, [names], self._operation, self._able, workers=self._workers())
        return True

    def is_marked(self, container: str) -> bool:
        """Whether the container is marked as this installation's; see `formats.base.Ownership`."""
        return owner.check(self._container(container), self._operation.owner)

    def release(self, container: str) -> None:
        """Take the mark of a container away in which nothing is left."""
        self._begin('delete')
        owner.release(self._container(container), self._operation.owner)
