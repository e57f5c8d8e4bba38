"""Bringing a state back: verified pieces to their places, side by side, or in order to a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import functools

from backup_framework import spool
from backup_framework.engine import parallel
from backup_framework.engine.monitor import Monitor
from backup_framework.engine.writing import Target
from backup_framework.formats import base
from backup_framework.model import Extent

WINDOW = 32 << 20
"""Bytes of a volume that are put together before they go to a stream."""

_PIECE = 1 << 20


def restore(state: base.State, wanted: Extent, target: Target, *, at: int, workers: int,
            budget: int, monitor: Monitor, tell: base.Tell | None = None) -> None:
    """Write the wanted bytes of `state` to `target`, the first of them at byte `at` there.

    :param budget: bytes of memory that the units in flight may take.
    :param tell: learns, in the place of an error, what cannot be had: nothing is written there.
    :raises CorruptManifest: no object has some of the bytes.
    """
    monitor.start('restore', wanted.length)
    if tell is not None:
        state.prepare_check()  # with what it fetches more can be told apart
    write = functools.partial(_write, target, at - wanted.offset, monitor, tell)
    written = parallel.ordered_map(write, state.units(wanted), workers=workers, budget=budget,
                                   cost=lambda unit: unit.cost)
    with contextlib.closing(written):
        for length in written:
            monitor.advance(length)
            monitor.check()
    target.finish(at + wanted.length)


def _write(target: Target, shift: int, monitor: Monitor, tell: base.Tell | None,
           unit: base.Unit) -> int:
    with contextlib.closing(unit.pieces(_shifted(target.present, shift), tell)) as pieces:
        for offset, length, data in pieces:
            monitor.check()
            if data is None:
                target.zero(offset + shift, length)
            else:
                target.write(offset + shift, data)
    return unit.length


def _shifted(present: base.Fill | None, shift: int) -> base.Fill | None:
    if present is None or not shift:
        return present
    read = present
    return lambda offset, view: read(offset + shift, view)


def restore_in_order(state: base.State, wanted: Extent, write: Callable[[memoryview], None], *,
                     workers: int, budget: int, spool_directory: str | None,
                     monitor: Monitor) -> None:
    """Give the wanted bytes to `write`, from the first to the last, zeros as well.

    They are put together in temporary files, a window of the volume in each.
    """
    monitor.start('restore', wanted.length)
    fetch = functools.partial(_fetch, spool_directory, monitor)
    fetched = parallel.ordered_map(fetch, _windows(state, wanted), workers=workers, budget=budget,
                                   cost=_cost)
    buffer = memoryview(bytearray(_PIECE))
    with contextlib.closing(fetched):
        for window, held in fetched:
            with contextlib.closing(held):
                for offset in range(0, window.length, _PIECE):
                    piece = buffer[:window.length - offset]
                    held.read_into(offset, piece)
                    write(piece)
                    monitor.advance(len(piece))
                    monitor.check()


_Window = tuple[Extent, list[base.Unit]]


def _windows(state: base.State, wanted: Extent) -> Iterator[_Window]:
    """Windows with what brings them back; each begins at a multiple of its size."""
    offset = wanted.offset
    while offset < wanted.end:
        end = min(offset - offset % WINDOW + WINDOW, wanted.end)
        window = Extent(offset, end - offset)
        yield window, list(state.units(window))
        offset = end


def _cost(item: _Window) -> int:
    """The temporary file may be in memory too."""
    window, units = item
    return window.length + max((unit.cost for unit in units), default=0)


def _fetch(spool_directory: str | None, monitor: Monitor, item: _Window
           ) -> tuple[Extent, spool.Spool]:
    window, units = item
    held = spool.Spool(spool_directory)
    try:
        for unit in units:
            with contextlib.closing(unit.pieces()) as pieces:
                for offset, _, data in pieces:
                    monitor.check()
                    if data is not None:
                        held.write(offset - window.offset, data)
    except BaseException:
        held.close()
        raise
    return window, held
