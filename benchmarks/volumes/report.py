"""The results as tables in reStructuredText and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import dataclasses
import datetime
import json
import os
from pathlib import Path
import platform
from typing import Any
import unicodedata

from benchmarks.volumes import goals
from benchmarks.volumes.layout import MIB
from benchmarks.volumes.rounds import Results, may_drop_caches
from benchmarks.volumes.tools import OPERATIONS

FIGURES = [('seconds', 's', 1, 2), ('synced', 's + sync', 1, 2), ('cpu', 'CPU s', 1, 2),
           ('peak', 'peak MiB', MIB, 0), ('growth', 'growth MiB', MIB, 1)]


def simple_table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A simple table; the first row is its head."""
    widths = [max(map(_width, column)) for column in zip(*rows)]
    rule = '  '.join('=' * width for width in widths)
    yield rule
    for number, row in enumerate(rows):
        yield '  '.join(cell + ' ' * (width - _width(cell))
                        for cell, width in zip(row, widths)).rstrip()
        if not number:
            yield rule
    yield rule


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(each) in 'WF' else 1 for each in text)


def lines(results: Results, mib: int) -> Iterator[str]:
    """The goals, then what every tool took."""
    yield from simple_table([['what', 'measured', 'must', 'stretch'],
                             *(goal.cells() for goal in goals.goals(results, mib))])
    yield ''
    yield from simple_table([['operation', 'tool', *(label for _, label, _, _ in FIGURES)],
                             *medians(results)])
    for what, reason in results.left_out.items():
        yield f'\nLeft out: {what}: {reason}'


def medians(results: Results) -> Iterator[list[str]]:
    for operation in OPERATIONS:
        for tool in results.tools():
            cells = [_cell(results.median(tool, operation, figure), unit, places)
                     for figure, _, unit, places in FIGURES]
            if any(cells):
                yield [operation, tool, *cells]


def _cell(value: float | None, unit: int, places: int) -> str:
    return '' if value is None else f'{value / unit:.{places}f}'


def machine(directory: Path) -> dict[str, Any]:
    """What the figures were measured on."""
    told = Path('/proc/cpuinfo').read_text().splitlines()
    model = next((line.partition(': ')[2] for line in told if line.startswith('model name')), '')
    return {
        'date': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
        'processor': model or platform.machine(), 'processors': os.cpu_count(),
        'memory_mib': os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // MIB,
        'kernel': platform.release(), 'python': platform.python_version(),
        'file_system': _file_system(directory),
        'caches': 'dropped' if may_drop_caches() else 'only those of data dropped'}


def _file_system(directory: Path) -> str:
    """The kind of the mount that a directory is on."""
    place = directory.resolve()
    mounts = [line.split() for line in Path('/proc/mounts').read_text().splitlines()]
    above = [(len(fields[1]), fields[2]) for fields in mounts if place.is_relative_to(fields[1])]
    return max(above, default=(0, ''))[1]


def write(path: Path, results: Results, mib: int, about: dict[str, Any]) -> None:
    """Every figure, as JSON."""
    path.write_text(json.dumps(about | {
        'goals': [dataclasses.asdict(goal) | {'met': goal.reached(goal.must),
                                              'stretch_met': goal.reached(goal.stretch)}
                  for goal in goals.goals(results, mib)],
        'left_out': results.left_out,
        'runs': [dataclasses.asdict(run) for run in results.runs]}, indent=1))


def sentence(about: dict[str, Any]) -> str:
    """One line of what the figures were measured on."""
    return ', '.join(f'{name.replace("_", " ")} {value}' for name, value in about.items()
                     if isinstance(value, str | int))
