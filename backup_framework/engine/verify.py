"""Verifying a state: all that restoring it needs, read and checked side by side."""

from __future__ import annotations

import contextlib
import dataclasses

from backup_framework.engine import parallel
from backup_framework.engine.monitor import Monitor
from backup_framework.formats import base
from backup_framework.model import Extent

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


def quick(state: base.State, report: Report, *, sizes: bool, monitor: Monitor) -> None:
    """The manifests fit together, and each object that the state needs is there.

    :param sizes: the store tells stored sizes; those that are known are compared.
    """
    report.objects, problems = state.missing(sizes, monitor.tick)
    for problem in problems:
        report.add(problem)


def full(state: base.State, report: Report, *, workers: int, budget: int, monitor: Monitor
         ) -> None:
    """Read and check every object that a restore needs, and all that the format can compare.

    :param budget: bytes of memory that the units in flight may take.
    """
    units = state.units(Extent(0, state.size))
    for problem in state.prepare_check():
        report.add(problem)
    report.notes += state.notes
    monitor.start('verify', state.size)

    def check(unit: base.Unit) -> tuple[int, list[str]]:
        return unit.length, unit.problems(monitor.check)

    checked = parallel.ordered_map(check, units, workers=workers, budget=budget,
                                   cost=lambda unit: unit.cost)
    with contextlib.closing(checked):
        for length, problems in checked:
            for problem in problems:
                report.add(problem)
            report.objects += 1
            report.checked_bytes += length
            monitor.advance(length)
            monitor.check()
