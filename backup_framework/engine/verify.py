"""Verifying a state: all that restoring it needs, or a sample, read and checked side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import contextlib
import dataclasses
import random

from backup_framework.engine import parallel
from backup_framework.engine.monitor import Monitor, Sample
from backup_framework.formats import base
from backup_framework.model import MORE_DAMAGE, Extent

MOST_PROBLEMS = 100


@dataclasses.dataclass
class Report:
    """What a verification found.

    :param found: none means that every byte is right; after a quick verification, that every
        object is there; after a sample, that the sample is right.
    :param bad: container and name of every object that is damaged or missing, also of those that
        are not among `found` because there are too many.
    :param notes: what could not be checked, and why: sentences.
    :param manifest_digest: see `formats.base.Header`; None where the manifest could not be read.
    """

    found: list[base.Problem] = dataclasses.field(default_factory=list)
    bad: set[tuple[str, str]] = dataclasses.field(default_factory=set)
    notes: list[str] = dataclasses.field(default_factory=list)
    objects: int = 0
    checked_bytes: int = 0
    manifest_digest: str | None = None

    @property
    def ok(self) -> bool:
        return not self.found

    @property
    def problems(self) -> list[str]:
        """Sentences, each of which names the object or the blocks."""
        return [problem.sentence for problem in self.found]

    def add(self, problem: base.Problem) -> None:
        if problem.container is not None and problem.object is not None:
            self.bad.add((problem.container, problem.object))
        if len(self.found) == MOST_PROBLEMS:
            problem = base.Problem(MORE_DAMAGE)
        if len(self.found) <= MOST_PROBLEMS:
            self.found.append(problem)


def quick(state: base.State, report: Report, *, sizes: bool, monitor: Monitor) -> None:
    """The manifests fit together, and each object that the state needs is there.

    :param sizes: the store tells stored sizes; those that are known are compared.
    """
    report.objects, problems = state.missing(sizes, monitor.tick)
    hurt = state.extents_of({problem.object for problem in problems if problem.object})
    for problem in problems:
        report.add(dataclasses.replace(problem, extents=hurt.get(problem.object or '', ())))


def full(state: base.State, report: Report, *, workers: int, budget: int, monitor: Monitor,
         sample: Sample | None = None) -> None:
    """Read and check every object that a restore needs, and all that the format can compare.

    :param budget: bytes of memory that the units in flight may take.
    :param sample: check only some units.
    """
    units = state.units(Extent(0, state.size))
    for problem in state.prepare_check():
        report.add(problem)
    report.notes += state.notes
    monitor.start('verify', state.size)

    def check(unit: base.Unit) -> tuple[int, list[base.Problem]]:
        return unit.length, unit.problems(monitor.check)

    checked = parallel.ordered_map(check, _sampled(units, sample, monitor) if sample else units,
                                   workers=workers, budget=budget, cost=lambda unit: unit.cost)
    with contextlib.closing(checked):
        for length, problems in checked:
            for problem in problems:
                report.add(problem)
            report.objects += 1
            report.checked_bytes += length
            monitor.advance(length)
            monitor.check()


def _sampled(units: Iterable[base.Unit], sample: Sample, monitor: Monitor
             ) -> Iterator[base.Unit]:
    """Each unit with the same probability, independent of the others; at least one."""
    chance = random.Random(sample.seed)
    count = 0
    spare: base.Unit | None = None
    for passed, unit in enumerate(units, 1):
        if chance.random() * 100 < sample.percent:
            count += 1
            yield unit
            continue
        if not count and chance.random() * passed < 1:
            spare = unit
        monitor.advance(unit.length)
    if not count and spare is not None:
        yield spare
