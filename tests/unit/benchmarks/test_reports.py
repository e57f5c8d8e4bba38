"""What is made of the figures: ratios, verdicts, tables, a picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.volumes import goals, plot, report, rounds
from benchmarks.volumes.layout import MIB


def measured(tool: str, operation: str, number: int, seconds: float,
             growth: int = 0) -> rounds.Measured:
    return rounds.Measured(tool, operation, number, seconds, seconds, seconds, 50 * MIB, growth,
                           growth)


def results(*runs: rounds.Measured) -> rounds.Results:
    found = rounds.Results()
    found.runs += runs
    return found


def test_ratios_are_made_within_a_round() -> None:
    """The machine is slow in the second round; the ratio is the same."""
    found = results(measured('ours', 'full', 0, 3), measured('ours', 'full', 1, 30),
                    measured('cp', 'full', 0, 1), measured('cp', 'full', 0, 2),
                    measured('cp', 'full', 1, 15), measured('cp', 'full', 2, 1))
    assert found.by_round('cp', 'full', 'seconds') == {0: 1.5, 1: 15, 2: 1}
    assert found.ratio(('ours', 'full', 'seconds'), ('cp', 'full', 'seconds')) == 2
    assert found.ratio(('ours', 'full', 'seconds'), ('borg', 'full', 'seconds')) is None


def test_a_goal_is_met_or_missed() -> None:
    most = goals.Goal('a', 1.3, 1.4, 1.0)
    assert most.cells() == ['a', '1.30 ×', '≤ 1.4 ×, met', '≤ 1 ×, missed']
    least = goals.Goal('b', 1.3, 1.4, at_most=False)
    assert least.cells() == ['b', '1.30 ×', '≥ 1.4 ×, missed', '-']
    assert goals.Goal('c', None, 1.4).cells() == ['c', 'not measured', '≤ 1.4 ×', '-']


def test_sizes_are_judged_by_the_size_of_the_image() -> None:
    found = results(measured('ours', 'incremental', 0, 1, growth=2 * MIB))
    by_name = {goal.what: goal for goal in goals.goals(found, 256)}
    assert by_name['growth of the store'].value == 2
    assert by_name['growth of the store'].stretch == 15 / 8


def test_faster_is_their_time_by_ours() -> None:
    found = results(measured('ours', 'full', 0, 2), measured('borg', 'full', 0, 5),
                    measured('1.0.0 zlib', 'full', 0, 4), measured('cinder zlib', 'full', 0, 40))
    by_name = {goal.what: goal.value for goal in goals.goals(found, 256)}
    assert by_name['full: times as fast as borg'] == 2.5
    assert by_name['full: times as fast as cinder zlib'] == 20
    assert by_name['format 1.0.0 zlib: full, times as fast as cinder zlib'] == 10


def test_a_table_is_one_that_docutils_reads() -> None:
    docutils = pytest.importorskip('docutils.core')
    text = '\n'.join(report.simple_table([['what', 'is'], ['a ×', '≤ 1'], ['longer', '2']]))
    assert '<td>longer</td>' in docutils.publish_string(
        text, writer='html5', settings_overrides={'output_encoding': 'unicode'}).replace(
            '<p>', '').replace('</p>', '')


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip('matplotlib', reason='matplotlib is in the extra bench')
    plot.draw(tmp_path / 'plot.png', [('full', 'cp', 256, 100.0), ('full', '1 worker', 256, 90.0)],
              {'processor': 'any', 'processors': 2, 'date': '2026-11-22T00:00:00'})
    assert (tmp_path / 'plot.png').read_bytes().startswith(b'\x89PNG')


def test_the_median_of_each_size_is_drawn() -> None:
    samples = [('full', 'cp', mib, rate) for mib in (512, 256) for rate in (1.0, 5.0, mib / 100)]
    assert plot.medians(samples, 'full', 'cp') == ([256, 512], [2.56, 5.0])
