"""What containers hold: what is stored there, and what of it nothing needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import contextlib
import dataclasses

from backup_framework import exceptions, store
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.driver.inspecting import Inspection
from backup_framework.engine.monitor import Operation
from backup_framework.formats import base
from backup_framework.manager import drift
from backup_framework.manager.context import Context


@dataclasses.dataclass
class Usage:
    """A container in figures. Sums of bytes are None where the store does not tell sizes.

    :param backups: with a manifest.
    :param logical_bytes: the volumes of these backups.
    :param unused_objects: that no backup needs, and that `catalog check --repair` removes.
    :param dead_bytes: what at least is dead in objects that are needed for the rest; later backups
        store the rest anew, and the objects fall away with the backups that use them.
    :param notes: what could not be read, so that figures are too small.
    """

    backend: str
    container: str
    backups: int = 0
    objects: int = 0
    logical_bytes: int = 0
    stored_bytes: int | None = 0
    unused_objects: int = 0
    unused_bytes: int | None = 0
    dead_bytes: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def reclaimable_bytes(self) -> int | None:
        return None if self.unused_bytes is None else self.unused_bytes + self.dead_bytes


def every(context: Context, backend: str) -> Iterator[Usage]:
    """The containers of a backend, one after the other."""
    driver = _driver(context, backend)
    calls = store.Calls(driver, retry_deadline=driver.settings.retry_deadline,
                        sleep=context.monitor.sleep)
    calls.retry(lambda: driver.before_operation('verify'))
    for container in drift.containers(context, backend, calls, driver):
        # Only a record may name it, or it went meanwhile.
        with contextlib.suppress(exceptions.NotFound):
            yield look(context, backend, container)


def look(context: Context, backend: str, container: str) -> Usage:
    """Read all manifests and maps of a container, and sizes where no map tells them.

    :raises NotFound: there is no such container, or nothing is in it.
    """
    driver = _driver(context, backend)
    inspection = Inspection(driver, Operation(
        context.monitor, owner=context.catalog.owner))
    box = drift.look(context, driver, inspection, backend, container)
    if not box.names:
        raise exceptions.NotFound(f'backend {backend} has nothing in a container {container}')
    uses = _all_uses(box.uses.values())
    sizes = {name: _size(uses, inspection, container, name) for name in box.names}
    unused = {name for finding in drift.compare(box, inspection) for name in finding.names
              if finding.repair in (drift.Repair.SWEEP, drift.Repair.DISCARD)} & sizes.keys()
    return Usage(
        backend, container, backups=len(box.manifests), objects=len(box.names),
        logical_bytes=sum(header.size or 0 for header, _ in box.headers.values()),
        stored_bytes=_sum(sizes.values()), unused_objects=len(unused),
        unused_bytes=_sum(sizes[name] for name in unused),
        dead_bytes=sum(int((use.length or 0) * (1 - use.share)) for use in uses.values()),
        notes=[f'the backup with prefix {prefix} cannot be read: {reason}'
               for prefix, reason in sorted(box.unreadable.items())])


def _driver(context: Context, backend: str) -> ChunkedBackupDriver:
    return context.drivers.chunked(backend, 'tell what its containers hold')


def _all_uses(uses: Iterable[dict[str, base.Use]]) -> dict[str, base.Use]:
    """How all backups together use each object, at most."""
    found: dict[str, base.Use] = {}
    for each in uses:
        for name, use in each.items():
            before = found.get(name, base.Use(use.length, 0.0))
            found[name] = base.Use(use.length, min(1.0, before.share + use.share))
    return found


def _size(uses: dict[str, base.Use], inspection: Inspection, container: str, name: str
          ) -> int | None:
    known = uses[name].length if name in uses else None
    return inspection.size(container, name) if known is None else known


def _sum(sizes: Iterable[int | None]) -> int | None:
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total
