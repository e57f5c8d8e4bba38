"""Bringing a backup back: the newest version of each extent, fetched, verified, written once."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import functools

from backup_framework import exceptions
from backup_framework.engine import parallel, plan
from backup_framework.engine.monitor import Monitor
from backup_framework.engine.target import Target
from backup_framework.formats import base


def restore(chain: Sequence[base.Reader], size: int, target: Target, *, workers: int,
            budget: int, monitor: Monitor) -> None:
    """Write the first `size` bytes of the newest backup of `chain`, root first, to `target`.

    :param budget: bytes of objects in flight.
    :raises CorruptManifest: no object of the chain has some of the bytes; nothing was written.
    """
    units = compose(chain, size)
    monitor.start('restore', size)
    write = functools.partial(_write, chain, target, monitor)
    written = parallel.ordered_map(write, units, workers=workers, budget=budget,
                                   cost=functools.partial(cost, chain))
    with contextlib.closing(written):
        for length in written:
            monitor.advance(length)
            monitor.check()
    target.finish(size)


def compose(chain: Sequence[base.Reader], size: int) -> list[plan.Unit]:
    """The plan of a chain, root first.

    :raises CorruptManifest: it leaves bytes out.
    """
    units, gaps = plan.compose([reader.entries for reader in chain], size)
    if gaps:
        raise exceptions.CorruptManifest(
            f'bytes {gaps[0].offset} to {gaps[0].end} of the volume are in no object of backup '
            f'{chain[-1].header.backup_id}' + (' and its parents' if len(chain) > 1 else ''))
    return units


def cost(chain: Sequence[base.Reader], unit: plan.Unit) -> int:
    """Bytes that fetching a unit takes at a time."""
    reader = chain[unit.layer]
    return reader.cost(reader.entries[unit.entry])


def _write(chain: Sequence[base.Reader], target: Target, monitor: Monitor,
           unit: plan.Unit) -> int:
    reader = chain[unit.layer]
    entry = reader.entries[unit.entry]
    if entry.zero:
        for extent in unit.extents:
            target.zero(extent.offset, extent.length)
        return unit.length
    with contextlib.closing(reader.read(entry, unit.extents)) as pieces:
        for offset, data in pieces:
            monitor.check()
            target.write(offset, data)
    return unit.length
