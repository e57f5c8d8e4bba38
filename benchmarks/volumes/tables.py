"""The tables of the page on performance, from what `make bench` wrote as JSON.

    make bench BENCH='--json figures.json'
    .venv/bin/python -m benchmarks.volumes.tables figures.json

Writes doc/source/performance/goals.csv, medians.csv and machine.csv.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
import csv
import dataclasses
import json
from pathlib import Path
import sys
from typing import Any

from benchmarks.volumes import report
from benchmarks.volumes.goals import Goal
from benchmarks.volumes.rounds import Measured, Results

PAGE = Path(__file__).parents[2] / 'doc' / 'source' / 'performance'


def write(directory: Path, figures: Mapping[str, Any]) -> None:
    fields = [field.name for field in dataclasses.fields(Goal)]
    found = [Goal(**{name: goal[name] for name in fields}) for goal in figures['goals']]
    _table(directory / 'goals.csv', ['what', 'must', 'stretch', 'measured'],
           ([goal.what, goal.bound(goal.must), goal.bound(goal.stretch), goal.cells()[1]]
            for goal in found))
    results = Results()
    results.runs = [Measured(**run) for run in figures['runs']]
    _table(directory / 'medians.csv',
           ['operation', 'tool', *(label for _, label, _, _ in report.FIGURES)],
           report.medians(results))
    _table(directory / 'machine.csv', ['', ''],
           ([name.replace('_', ' '), str(value)] for name, value in figures.items()
            if isinstance(value, str | int)))


def _table(path: Path, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with open(path, 'w', newline='') as file:
        csv.writer(file, lineterminator='\n').writerows([head, *rows])


def main() -> int:
    parser = argparse.ArgumentParser(
        prog='benchmarks.volumes.tables', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('figures', type=Path, metavar='FILE', help='what --json named')
    write(PAGE, json.loads(parser.parse_args().figures.read_text()))
    return 0


if __name__ == '__main__':
    sys.exit(main())
