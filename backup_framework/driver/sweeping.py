"""Deleting the objects of a backup whose manifest has gone, or has never been there."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib

from backup_framework import model, store
from backup_framework.engine import parallel
from backup_framework.engine.monitor import Operation, Sweep
from backup_framework.formats import base, versions
from backup_framework.formats.keyring import Keyring

_LOOKS = 5
"""How often manifests are listed while backups end all the time, until the sweep waits instead."""


def sweep(version: base.Format, container: store.Container, prefix: str, operation: Operation,
          able: model.Capabilities, *, committed: bool, workers: int,
          keyring: Keyring | None) -> bool:
    """Delete what a backup leaves, in steps, each for good; False where that has to wait.

    :param committed: there may have been a manifest, and backups that refer to the objects.
    :param keyring: opens what says which objects sealed backups use.
    """
    if version.needs_parent or not committed:
        found: _Leftovers | None = version.leftovers(
            container, prefix, committed=committed, tick=operation.monitor.tick, keyring=keyring)
    else:
        found = _unreferenced(version, container, prefix, operation, able, keyring)
    if found is None:
        return False
    delete_steps(container, found, operation, able, workers=workers)
    if version.ownership is not None:
        version.ownership.release(container, operation.owner)
    return True


_Leftovers = Sequence[Sequence[str]]


def _unreferenced(version: base.Format, container: store.Container, prefix: str,
                  operation: Operation, able: model.Capabilities, keyring: Keyring | None
                  ) -> _Leftovers | None:
    """What no backup refers to, whether committed, running, or begun at any moment from now on.

    The question whether others are running comes after the manifests were read, and before
    anything is deleted. Then each backup that may refer to an object of this one

    - had its manifest read, and what it uses is not among the leftovers;
    - or is running, and the answer is `LATER`;
    - or has ended in between, and the answer is `LOOK_AGAIN`;
    - or begins later: on a backup of the first kind, of whose objects none is deleted. It cannot
      begin on one whose manifest was gone already, nor on one of the second kind.

    Asked before the manifests are listed, the question misses a backup that begins in between on
    one that uses these objects and is deleted before the listing.
    """
    for _ in range(_LOOKS):
        # A manifest that refers to this one's objects may have been written just now.
        operation.monitor.sleep(able.listing_delay)
        listed = versions.prefixes(container)
        found = version.leftovers(container, prefix, committed=True, tick=operation.monitor.tick,
                                  keyring=keyring)
        answer = operation.may_sweep(listed) if operation.may_sweep else Sweep.NOW
        if answer is not Sweep.LOOK_AGAIN:
            return found if answer is Sweep.NOW else None
    return None


def delete_steps(container: store.Container, steps: _Leftovers, operation: Operation,
                 able: model.Capabilities, *, workers: int) -> None:
    """Delete names, the next step when the one before is durable."""
    operation.monitor.start('delete', sum(map(len, steps)))
    size = able.delete_batch

    def delete(batch: Sequence[str]) -> int:
        container.delete_many(batch)
        return len(batch)

    for names in steps:
        batches = [names[at:at + size] for at in range(0, len(names), size)]
        deleted = parallel.ordered_map(delete, batches, workers=workers, budget=1,
                                       cost=lambda batch: 0)
        with contextlib.closing(deleted):
            for count in deleted:
                operation.monitor.advance(count)
        container.sync()
