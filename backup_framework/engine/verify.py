"""Verifying a backup: restore without the write, and comparison with its block digests."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import dataclasses
import functools

from backup_framework import exceptions
from backup_framework.engine import parallel, plan, restore
from backup_framework.engine.monitor import Monitor
from backup_framework.formats import base, digests

MOST_PROBLEMS = 100


@dataclasses.dataclass
class Report:
    """What a verification found. Each problem is a sentence that names the object or the blocks.

    :param problems: none means that every byte is right; after a quick verification, that every
        object is there.
    :param notes: what could not be checked, and why.
    """

    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    objects: int = 0
    checked_bytes: int = 0

    @property
    def ok(self) -> bool:
        return not self.problems

    def add(self, problem: str) -> None:
        if len(self.problems) == MOST_PROBLEMS:
            self.problems.append('there are more problems than are listed here')
        elif len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)


def quick(chain: Sequence[base.Reader], size: int, report: Report, *, sizes: bool,
          monitor: Monitor) -> None:
    """The manifests fit together, and each object that they name is there.

    :param sizes: the store tells stored sizes; those that are known are compared.
    """
    restore.compose(chain, size)
    for reader in chain:
        monitor.tick()
        report.objects += len(reader.entries)
        for problem in reader.problems(sizes):
            report.add(problem)


def full(chain: Sequence[base.Reader], size: int, known: digests.Spool | None, report: Report, *,
         workers: int, budget: int, monitor: Monitor) -> None:
    """Read and check every object that a restore needs, and compare the composed volume.

    :param known: the backup's own block digests; without them a wrong parent is not found.
    """
    units = restore.compose(chain, size)
    if known is not None and known.length != digests.count(size, known.block_size):
        report.add(f'the hash list has {known.length} blocks, the volume has '
                   f'{digests.count(size, known.block_size)}')
        known = None
    if known is not None:
        _check_alignment(chain, units, size, known.block_size, report)
    monitor.start('verify', size)
    check = functools.partial(_check, chain, size, known, monitor)
    checked = parallel.ordered_map(check, units, workers=workers, budget=budget,
                                   cost=functools.partial(restore.cost, chain))
    with contextlib.closing(checked):
        for unit, problems in checked:
            for problem in problems:
                report.add(problem)
            report.objects += 1
            report.checked_bytes += unit.length
            monitor.advance(unit.length)
            monitor.check()


def _check_alignment(chain: Sequence[base.Reader], units: Sequence[plan.Unit], size: int,
                     block_size: int, report: Report) -> None:
    """Only whole blocks can be compared, and whole blocks are all that writers store."""
    for unit in units:
        if any(extent.offset % block_size or extent.end % block_size and extent.end != size
               for extent in unit.extents):
            report.add(f'object {chain[unit.layer].entries[unit.entry].name} holds parts of blocks '
                       f'of {block_size} bytes: a damaged manifest, or a damaged hash list')


def _check(chain: Sequence[base.Reader], size: int, known: digests.Spool | None,
           monitor: Monitor, unit: plan.Unit) -> tuple[plan.Unit, list[str]]:
    reader = chain[unit.layer]
    entry = reader.entries[unit.entry]
    try:
        if entry.zero:
            reader.check(entry)
            return unit, _compare_zeros(unit, size, known)
        return unit, _compare(reader, entry, unit, size, known, monitor)
    except (exceptions.CorruptObject, exceptions.MissingObject) as error:
        return unit, [str(error)]


def _compare(reader: base.Reader, entry: base.Entry, unit: plan.Unit, size: int,
             known: digests.Spool | None, monitor: Monitor) -> list[str]:
    """Verified bytes against the hash list; pieces come in order but end anywhere."""
    problems: list[str] = []
    comparer = _Comparer(known, size) if known else None
    with contextlib.closing(reader.read(entry, unit.extents)) as pieces:
        for offset, data in pieces:
            monitor.check()
            if comparer:
                problems += comparer.feed(offset, data)
    return problems


class _Comparer:
    """Compares bytes, coming in runs, with block digests; only whole blocks can be."""

    def __init__(self, known: digests.Spool, size: int) -> None:
        self._known = known
        self._size = size
        self._offset = 0
        self._held = b''

    def feed(self, offset: int, data: memoryview) -> list[str]:
        if offset != self._offset + len(self._held):
            self._held = b''
        if not self._held:
            # A run that begins inside a block: that block cannot be compared here.
            skipped = min(len(data), -offset % self._known.block_size)
            offset, data = offset + skipped, data[skipped:]
            self._offset = offset
        joined = memoryview(self._held + bytes(data)) if self._held else data
        whole = len(joined) - len(joined) % self._known.block_size
        if self._offset + len(joined) == self._size:
            whole = len(joined)
        problems = _differences(self._known, self._offset, joined[:whole])
        self._offset, self._held = self._offset + whole, bytes(joined[whole:])
        return problems


def _differences(known: digests.Spool, offset: int, data: memoryview) -> list[str]:
    return _describe(known, offset // known.block_size, digests.of(data, known.block_size))


def _compare_zeros(unit: plan.Unit, size: int, known: digests.Spool | None) -> list[str]:
    if known is None:
        return []
    problems: list[str] = []
    for extent in unit.extents:
        start = extent.offset + -extent.offset % known.block_size
        end = extent.end if extent.end == size else extent.end - extent.end % known.block_size
        if start < end:
            problems += _describe(known, start // known.block_size,
                                  digests.of_zeros(end - start, known.block_size))
    return problems


def _describe(known: digests.Spool, first: int, found: bytes) -> list[str]:
    expected = known.get(first, len(found) // digests.DIGEST_SIZE)
    return [f'blocks {first + run} to {first + run + blocks - 1} (bytes '
            f'{(first + run) * known.block_size} and on) are not those of the hash list: a wrong '
            'parent, or a damaged hash list'
            for run, blocks in digests.changed_runs(expected, found, joined_gap=0)]
