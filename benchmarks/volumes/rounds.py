"""Rounds of operations in which all tools take turns, and what each of them took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import contextlib
import dataclasses
import os
from pathlib import Path
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.processes import CommandFailed, Taken
from benchmarks.volumes.images import Pair
from benchmarks.volumes.layout import MIB
from benchmarks.volumes.tools import OPERATIONS, CannotRun, Cp, Ours, Tool

DROP = Path('/proc/sys/vm/drop_caches')
STARTS = ('version', 'list')
START_RUNS = 3


@dataclasses.dataclass(frozen=True)
class Measured:
    """One run of one operation.

    :param synced: seconds until a sync right behind it was done.
    :param growth: bytes by which the store grew.
    """

    tool: str
    operation: str
    round: int
    seconds: float
    synced: float
    cpu: float
    peak: int
    stored: int
    growth: int


class Results:
    """What was measured so far."""

    def __init__(self) -> None:
        self.runs: list[Measured] = []
        self.left_out: dict[str, str] = {}

    def by_round(self, tool: str, operation: str, figure: str) -> dict[int, float]:
        """A figure in each round; where there are several in one, such as of cp, their median."""
        found: dict[int, list[float]] = {}
        for run in self.runs:
            if (run.tool, run.operation) == (tool, operation):
                found.setdefault(run.round, []).append(getattr(run, figure))
        return {number: statistics.median(values) for number, values in found.items()}

    def median(self, tool: str, operation: str, figure: str) -> float | None:
        found = self.by_round(tool, operation, figure)
        return statistics.median(found.values()) if found else None

    def ratio(self, above: tuple[str, str, str], below: tuple[str, str, str]) -> float | None:
        """The median of what two figures' ratio was in each round that has both."""
        upper, lower = self.by_round(*above), self.by_round(*below)
        found = [upper[number] / lower[number] for number in upper.keys() & lower.keys()
                 if lower[number]]
        return statistics.median(found) if found else None

    def tools(self) -> list[str]:
        return list(dict.fromkeys(run.tool for run in self.runs))


def run(place: Path, pair: Pair, kinds: Sequence[type[Tool]], number: int,
        results: Results) -> None:
    """One round, in a directory that is empty again at its end."""
    with tempfile.TemporaryDirectory(dir=place, prefix='round-') as directory:
        volume = Path(directory) / 'volume'
        volume.hardlink_to(pair.first)
        all_kinds: list[type[Tool]] = [Cp, *kinds]
        tools = [_prepared(kind, Path(directory), volume) for kind in all_kinds]
        for operation in OPERATIONS:
            if operation != 'full' and volume.samefile(pair.first):
                volume.unlink()
                volume.hardlink_to(pair.second)
            able = [tool for tool in tools if operation in tool.operations
                    and f'{tool.name}, {operation}' not in results.left_out]
            for tool in in_turn([each for each in able if each.name != Cp.name],
                                [each for each in able if each.name == Cp.name], number):
                try:
                    _operation(tool, operation, number, pair, results)
                except CannotRun as reason:
                    _leave_out(tool, operation, str(reason), results)
                except CommandFailed as error:
                    if isinstance(tool, Ours | Cp):
                        raise
                    _leave_out(tool, operation, str(error), results)
        for tool in tools:
            if tool.name == Ours.name:
                _starts(tool, number, results)


def in_turn(others: Sequence[Tool], anchor: Sequence[Tool], number: int) -> list[Tool]:
    """Everyone in an order that is another one in each round, the anchor every half of it."""
    first = number % len(others) if others else 0
    turned = [*others[first:], *others[:first]]
    half = (len(turned) + 1) // 2
    return [*anchor, *turned[:half], *(anchor if turned[1:] else []), *turned[half:]]


def _prepared(kind: type[Tool], directory: Path, volume: Path) -> Tool:
    place = directory / kind.name.replace(' ', '-')
    place.mkdir()
    tool = kind(place, volume)
    tool.prepare()
    return tool


def _operation(tool: Tool, operation: str, number: int, pair: Pair, results: Results) -> None:
    tool.repeat(operation)
    before = tool.stored()
    settle([pair.first, pair.second, *files(tool.place.parent)])
    taken, synced = timed(tool, operation)
    stored = tool.stored()
    results.runs.append(Measured(tool.name, operation, number, taken.seconds, synced, taken.cpu,
                                 taken.peak, stored, stored - before))
    print(f'round {number + 1}: {tool.name}, {operation}: {taken.seconds:.2f} s, '
          f'{taken.cpu:.2f} s of CPU, {taken.peak / MIB:.0f} MiB', file=sys.stderr)
    if operation == 'restore':
        compare(pair.second, tool)
        tool.restored().unlink()


def _leave_out(tool: Tool, operation: str, reason: str, results: Results) -> None:
    results.left_out[f'{tool.name}, {operation}'] = reason
    print(f'{tool.name}, {operation}: left out: {reason}', file=sys.stderr)


def timed(tool: Tool, operation: str) -> tuple[Taken, float]:
    """What an operation took, and its seconds until all is on the disk."""
    taken = tool.run(operation)
    begin = time.perf_counter()
    os.sync()
    return taken, taken.seconds + time.perf_counter() - begin


def _starts(tool: Tool, number: int, results: Results) -> None:
    """The smallest commands, with warm caches: what every command pays."""
    for operation in STARTS:
        tool.run(operation)
        for _ in range(START_RUNS):
            taken = tool.run(operation)
            results.runs.append(Measured(tool.name, operation, number, taken.seconds,
                                         taken.seconds, taken.cpu, taken.peak, 0, 0))


def compare(image: Path, tool: Tool) -> None:
    """Raises CommandFailed when a restored byte differs."""
    found = subprocess.run(['cmp', str(image), str(tool.restored())], capture_output=True,
                           text=True)
    if found.returncode:
        raise CommandFailed(f'{tool.name} restored something else than it had backed up: '
                            f'{found.stdout}{found.stderr}'.strip())


def may_drop_caches() -> bool:
    return os.access(DROP, os.W_OK)


def settle(paths: Iterable[Path]) -> None:
    """Write everything out and forget it; or these files alone, where this user may do no more."""
    os.sync()
    if may_drop_caches():
        with contextlib.suppress(OSError):  # a container's root may not, all the same
            DROP.write_text('3')
            return
    for path in paths:
        with open(path, 'rb') as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def files(directory: Path) -> list[Path]:
    """All that is in a directory, at any depth."""
    return [path for path in directory.rglob('*') if path.is_file()]
