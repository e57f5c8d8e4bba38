"""Throughput against the size of the volume, drawn with matplotlib (extra `bench`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import importlib.util
from pathlib import Path
import statistics
from typing import Any

TITLES = {'full': 'full backup', 'restore': 'restore, verified'}

Sample = tuple[str, str, int, float]
"""Operation, line, MiB of the volume, MiB a second."""


def check() -> None:
    """Raises SystemExit before hours are spent on what cannot be drawn."""
    if importlib.util.find_spec('matplotlib') is None:
        raise SystemExit('matplotlib is not installed, so nothing can be drawn: '
                         'make bench-plot, or pip install -e ".[bench]"')


def medians(samples: Sequence[Sample], operation: str, line: str) -> tuple[list[int], list[float]]:
    """Sizes, and the median rate at each."""
    sizes = sorted({sample[2] for sample in samples})
    return sizes, [statistics.median(rate for what, who, mib, rate in samples
                                     if (what, who, mib) == (operation, line, size))
                   for size in sizes]


def draw(path: Path, samples: Sequence[Sample], about: Mapping[str, Any]) -> None:
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot

    operations = list(dict.fromkeys(sample[0] for sample in samples))
    figure, panels = pyplot.subplots(1, len(operations), figsize=(5.2 * len(operations), 4.4),
                                     sharey=True, squeeze=False, layout='constrained')
    for panel, operation in zip(panels[0], operations):
        for line in dict.fromkeys(sample[1] for sample in samples):
            sizes, rates = medians(samples, operation, line)
            style = {'color': 'black', 'linestyle': '--'} if line == 'cp' else {}
            label = 'cp + sync' if line == 'cp' else line
            panel.plot(sizes, rates, marker='o', label=label, **style)
        panel.set_xscale('log', base=2)
        panel.set_xticks(sizes, [str(size) for size in sizes])
        panel.set_xlabel('size of the volume (MiB)')
        panel.set_title(TITLES.get(operation, operation))
        panel.grid(alpha=0.3)
    panels[0][0].set_ylim(bottom=0)
    panels[0][0].set_ylabel('throughput (MiB of volume a second)')
    panels[0][-1].legend()
    figure.suptitle(f'{about["processor"]}, {about["processors"]} processors, '
                    f'{about["date"][:10]}', fontsize='medium')
    figure.savefig(path, dpi=120, format='png')
    pyplot.close(figure)
