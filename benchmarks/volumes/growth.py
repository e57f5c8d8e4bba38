"""How our cost grows: with the size of the volume, with workers, with a second core.

    make bench-plot
    .venv/bin/python -m benchmarks.volumes.growth [--sizes 256,512] [--workers 0,1] [--plot FILE]

Full backups and restores of the images of `benchmarks.volumes`, with cold caches, and with cp
beside them. A second core is judged by a full backup of the largest image with warm caches, bound
to one core and not bound.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
import os
from pathlib import Path
import shutil
import statistics
import sys
import tempfile

from benchmarks.volumes import command_line, images, plot, report, rounds, tools
from benchmarks.volumes.layout import MIB

WAYS = ('full', 'restore')
DOUBLES = 0.1
SECOND_CORE = 1.6


@dataclasses.dataclass(frozen=True)
class Point:
    """One run. `tool` is cp, or ours with a number of workers."""

    mib: int
    tool: str
    operation: str
    seconds: float
    cpu: float
    peak: int


class Bound(tools.Ours):
    """Ours on one core."""

    def words(self, operation: str) -> list[str]:
        return ['taskset', '--cpu-list', str(min(os.sched_getaffinity(0))),
                *super().words(operation)]


def numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(',')]


def points(place: Path, pair: images.Pair, workers: Sequence[int],
           options: Mapping[str, str]) -> list[Point]:
    """One round for one size."""
    found = []
    for count in (None, *workers):
        name = 'cp' if count is None else '1 worker' if count == 1 else f'{count} workers'
        kind = tools.Cp if count is None else tools.Ours
        with tempfile.TemporaryDirectory(dir=place, prefix='growth-') as directory:
            tool = prepared(kind, Path(directory), pair, {**options, 'workers': str(count)})
            for operation in WAYS:
                rounds.settle([pair.first, *rounds.files(tool.store)])
                taken, synced = rounds.timed(tool, operation)
                found.append(Point(pair.mib, name, operation, synced, taken.cpu, taken.peak))
                print(f'{pair.mib} MiB, {name}, {operation}: {synced:.2f} s', file=sys.stderr)
    return found


def prepared(kind: type[tools.Tool], directory: Path, pair: images.Pair,
             options: Mapping[str, str]) -> tools.Tool:
    volume = directory / 'volume'
    volume.hardlink_to(pair.first)
    tool = kind(directory / 'tool', volume)
    tool.place.mkdir()
    tool.state = 'first'
    if isinstance(tool, tools.Ours):
        tool.options = options
    tool.prepare()
    return tool


def second_core(place: Path, pair: images.Pair, options: Mapping[str, str]) -> float:
    """How many times as fast a full backup is that need not share one core with itself."""
    seconds = []
    for kind in (Bound, tools.Ours):
        with tempfile.TemporaryDirectory(dir=place, prefix='growth-') as directory:
            tool = prepared(kind, Path(directory), pair, options)
            images.digest(pair.first)  # so that it is in the cache
            seconds.append(tool.run('full').seconds)
    return seconds[0] / seconds[1]


def median(found: Sequence[Point], figure: Callable[[Point], float], mib: int, tool: str,
           operation: str) -> float:
    return statistics.median(figure(point) for point in found if (
        point.mib, point.tool, point.operation) == (mib, tool, operation))


def told(found: Sequence[Point], sizes: Sequence[int], cores: Sequence[float]) -> list[str]:
    """The table and the judgements."""
    names = list(dict.fromkeys(point.tool for point in found))
    rows = [['operation', 'MiB', *(f'{name}, MiB/s' for name in names), 'peak MiB']]
    for operation in WAYS:
        for mib in sizes:
            rates = [mib / median(found, lambda point: point.seconds, mib, name, operation)
                     for name in names]
            peak = max(point.peak for point in found if point.mib == mib) / MIB
            rows.append([operation, str(mib), *(f'{rate:.0f}' for rate in rates), f'{peak:.0f}'])
    lines = list(report.simple_table(rows))
    if len(sizes) > 1:
        lines += [f'{operation}: {sizes[-1]} MiB take {grown:.2f} × as long as {sizes[-2]} MiB; '
                  f'{sizes[-1] / sizes[-2]:.3g} × ± 10 % is '
                  + verdict(abs(grown * sizes[-2] / sizes[-1] - 1) <= DOUBLES)
                  for operation in WAYS
                  for grown in [growth(found, sizes, names[-1], operation)]]
    if cores:
        gain = statistics.median(cores)
        lines.append(f'a second core: {gain:.2f} × as fast; {SECOND_CORE} × is '
                     + verdict(gain >= SECOND_CORE))
    return lines


def growth(found: Sequence[Point], sizes: Sequence[int], tool: str, operation: str) -> float:
    """How much longer the largest takes than the largest but one."""
    last, before = (median(found, lambda point: point.seconds, mib, tool, operation)
                    for mib in (sizes[-1], sizes[-2]))
    return last / before


def verdict(reached: bool) -> str:
    return 'met' if reached else 'missed'


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='benchmarks.volumes.growth', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sizes', type=numbers, default=[256, 512, 1024, 2048],
                        metavar='MIB,MIB', help='of the volume')
    parser.add_argument('--workers', type=numbers, default=[0, 1, 2, 4], metavar='N,N')
    parser.add_argument('--plot', type=Path, metavar='FILE', help='a PNG with the throughput')
    command_line.add_common(parser)
    return parser.parse_args()


def measure(options: argparse.Namespace) -> None:
    if options.plot:
        plot.check()
    options.directory.mkdir(parents=True, exist_ok=True)
    sizes, given = sorted(options.sizes), command_line.backend_options(options)
    command_line.check_space(options.directory, MIB * (2 * sum(sizes) + 3 * sizes[-1]))
    pairs = [images.pair(options.directory, mib) for mib in sizes]
    found: list[Point] = []
    cores: list[float] = []
    for _ in range(options.rounds):
        for pair in pairs:
            found += points(options.directory, pair, options.workers, given)
        if len(os.sched_getaffinity(0)) > 1 and shutil.which('taskset'):
            cores.append(second_core(options.directory, pairs[-1], given))
    about = report.machine(options.directory) | {'rounds': options.rounds}
    print(report.sentence(about), '', *told(found, sizes, cores), sep='\n')
    if options.json:
        options.json.write_text(json.dumps(about | {
            'points': [dataclasses.asdict(point) for point in found],
            'second_core': cores}, indent=1))
    if options.plot:
        plot.draw(options.plot, [(point.operation, point.tool, point.mib,
                                  point.mib / point.seconds) for point in found], about)
        print(f'drawn in {options.plot}')
    if options.clean:
        for pair in pairs:
            shutil.rmtree(pair.first.parent)


def main() -> int:
    options = arguments()
    return command_line.stoppable(lambda: measure(options))


if __name__ == '__main__':
    sys.exit(main())
