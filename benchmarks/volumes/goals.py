"""What is to be reached, and whether it was: each figure as a ratio of what one run measured."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses

from benchmarks.volumes.layout import MIB
from benchmarks.volumes.rounds import STARTS, Results
from benchmarks.volumes.tools import CODECS, OPERATIONS

WHOLE_MIB = 2048
"""The size of the image for which sizes in MiB are given."""


@dataclasses.dataclass(frozen=True)
class Goal:
    """One line of the table.

    :param value: None where it could not be measured.
    :param must: the bound, above which (`at_most`) or below which the value must not be.
    :param stretch: what would be still better.
    """

    what: str
    value: float | None
    must: float | None
    stretch: float | None = None
    unit: str = '×'
    at_most: bool = True

    def reached(self, bound: float | None) -> bool | None:
        if self.value is None or bound is None:
            return None
        return self.value <= bound if self.at_most else self.value >= bound

    def bound(self, bound: float | None) -> str:
        if bound is None:
            return '-'
        verdict = {True: ', met', False: ', missed', None: ''}[self.reached(bound)]
        return f'{"≤" if self.at_most else "≥"} {bound:.4g} {self.unit}{verdict}'

    def cells(self) -> list[str]:
        value = 'not measured' if self.value is None else f'{self.value:.2f} {self.unit}'
        return [self.what, value, self.bound(self.must), self.bound(self.stretch)]


def goals(results: Results, mib: int) -> list[Goal]:
    """All of them, for an image of this size."""
    return [*_backups(results), *_sizes(results, mib / WHOLE_MIB), *_readings(results),
            *_format_1(results), *_costs(results)]


def _faster(results: Results, operation: str, theirs: str, must: float,
            stretch: float | None = None, ours: str = 'ours', figure: str = 'synced',
            their_operation: str | None = None) -> Goal:
    ratio = results.ratio((theirs, their_operation or operation, figure),
                          (ours, operation, figure))
    whose = f'format {ours}' if ours != 'ours' else operation
    what = f'{whose}: {operation}, ' if ours != 'ours' else f'{operation}: '
    return Goal(f'{what}times as fast as {theirs}', ratio, must, stretch, at_most=False)


def _backups(results: Results) -> Iterator[Goal]:
    yield Goal('full / cp + sync',
               results.ratio(('ours', 'full', 'synced'), ('cp', 'full', 'synced')), 1.4, 1.0)
    for theirs, must in [('borg', 1.8), ('restic', 3.5), ('cinder zstd', 5), ('cinder zlib', 18)]:
        yield _faster(results, 'full', theirs, must)
    yield Goal('incremental, whole scan / cp without sync', results.ratio(
        ('ours', 'incremental', 'seconds'), ('cp', 'incremental', 'seconds')), 1.2, 1.0)
    for theirs, must in [('borg', 2.5), ('restic', 3), ('cinder zstd', 3)]:
        yield _faster(results, 'incremental', theirs, must)
    yield Goal('incremental with hints / whole scan', results.ratio(
        ('ours', 'hints', 'seconds'), ('ours', 'incremental', 'seconds')), 0.4, 0.2)


def _sizes(results: Results, part: float) -> Iterator[Goal]:
    growth = results.median('ours', 'incremental', 'growth')
    yield Goal("growth of the store / Cinder's", results.ratio(
        ('ours', 'incremental', 'growth'), ('cinder zstd', 'incremental', 'growth')), 1.1)
    yield Goal('growth of the store', growth and growth / MIB, None, 15 * part, 'MiB')
    full = results.median('ours', 'full', 'stored')
    for theirs in ('cinder zstd', 'restic', 'borg zstd'):
        yield Goal(f'full store / that of {theirs}', results.ratio(
            ('ours', 'full', 'stored'), (theirs, 'full', 'stored')), 1.0)
    yield Goal('full store', full and full / MIB, 505 * part, 483 * part, 'MiB')


def _readings(results: Results) -> Iterator[Goal]:
    yield Goal('restore / cp + sync', results.ratio(
        ('ours', 'restore', 'synced'), ('cp', 'restore', 'synced')), 1.4, 1.15)
    for theirs, must in [('borg', 1.6), ('restic', 1.6), ('cinder zstd', 4.0)]:
        yield _faster(results, 'restore', theirs, must)
    yield Goal('verify / cmp of two images', results.ratio(
        ('ours', 'verify', 'seconds'), ('cp', 'verify', 'seconds')), 0.65, 0.4)
    yield _faster(results, 'verify', 'restic', 3, figure='seconds')


def _format_1(results: Results) -> Iterator[Goal]:
    for codec, must, stretch in zip(CODECS, (2.5, 4, 8), (None, None, 12)):
        yield _faster(results, 'full', f'cinder {codec}', must, stretch, ours=f'1.0.0 {codec}')
    for codec in CODECS:
        yield _faster(results, 'restore', f'cinder {codec}', 3, ours=f'1.0.0 {codec}')


def _costs(results: Results) -> Iterator[Goal]:
    peaks = [peak for operation in OPERATIONS
             if (peak := results.median('ours', operation, 'peak')) is not None]
    yield Goal('peak memory of any operation', max(peaks) / MIB if peaks else None, 112, 80, 'MiB')
    for operation, must, stretch in zip(STARTS, (0.4, 0.8), (0.3, 0.5)):
        command = {'version': '--version', 'list': 'backup list'}[operation]
        yield Goal(f'CPU of "{command}"', results.median('ours', operation, 'cpu'), must, stretch,
                   's')
