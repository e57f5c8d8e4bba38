"""The tables of the page on performance have the goals that the benchmarks judge."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from benchmarks.volumes import goals, report, tables
from benchmarks.volumes.rounds import Measured, Results


def rows(path: Path) -> list[list[str]]:
    with open(path, newline='') as file:
        return list(csv.reader(file))


def test_the_page_has_every_goal():
    wanted = [[goal.what, goal.must, goal.stretch] for goal in goals.goals(Results(), 2048)]
    page = rows(tables.PAGE / 'goals.csv')[1:]
    assert [row[0] for row in page] == [what for what, _, _ in wanted]
    for row, (_, must, stretch) in zip(page, wanted, strict=True):
        for cell, bound in zip(row[1:3], (must, stretch), strict=True):
            assert (cell == '-') if bound is None else f'{bound:.4g}' in cell


def test_figures_become_tables(tmp_path):
    results = Results()
    for tool, seconds in (('ours', 3.0), ('cp', 2.0)):
        results.runs.append(Measured(tool, 'full', 0, seconds, seconds, 1.5, 50 << 20, 9, 7 << 20))
    report.write(tmp_path / 'figures.json', results, 2048, {'date': 'today', 'mib': 2048})
    tables.write(tmp_path, json.loads((tmp_path / 'figures.json').read_text()))
    assert rows(tmp_path / 'goals.csv')[1] == ['full / cp + sync', '≤ 1.4 ×, missed',
                                               '≤ 1 ×, missed', '1.50 ×']
    assert ['full', 'ours', '3.00', '3.00', '1.50', '50', '7.0'] in rows(tmp_path / 'medians.csv')
    assert rows(tmp_path / 'machine.csv')[1:] == [['date', 'today'], ['mib', '2048']]
