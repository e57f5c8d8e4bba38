"""Every driver, up and down, against the tools that its store is used with otherwise.

    .venv/bin/python -m benchmarks.stores [--mib 1024] [--rounds 3] [--only sftp] [--connections N]

Each round runs all clients of a store in turn, each in a process of its own, on the same bytes,
which do not compress; ratios are medians over the rounds. What comes down is kept nowhere, but by
cp, the driver local and scp in files. Single seconds mean little on a shared
machine, ratios of one run do. The clock runs while objects are moved and while connections are
made and closed; the start of Python and its imports are shown, and not in the rates. Stores are in
memory where the machine has /dev/shm, so that no disk is measured; --directory puts them elsewhere,
and then fsync costs what it costs there.
"""

from __future__ import annotations

import argparse
import collections
from collections.abc import Iterator, Sequence
import dataclasses
import datetime
import json
import os
from pathlib import Path
import platform
import signal
import statistics
import sys
import tempfile

from benchmarks.processes import Taken
from benchmarks.stores.stores import STORES, Shape, Store

MIB = 1 << 20
WAYS = ('up', 'down')

Results = dict[tuple[str, str, str, str], list[Taken]]
"""Of store, shape, way and client, one for each round."""

GOALS = [
    ('sftp', 'up', 'driver sftp, openssh', 'sftp', 0.95),
    ('sftp', 'up', 'driver sftp, openssh', 'sftp, put -f', 0.95),
    ('sftp', 'down', 'driver sftp, openssh', 'sftp', 1.4),
    ('gcs', 'up', 'driver gcs', 'requests', 0.75),
    ('gcs', 'down', 'driver gcs', 'library', 3.0),
]
"""Store, way, ours, theirs, and what the ratio of their rates is to reach with large objects."""


def shapes(directory: Path, mib: int, only: str | None) -> list[Shape]:
    """So many MiB in large objects, and a quarter of it in small ones."""
    sizes = {'large': (max(1, mib // 16), 16 * MIB), 'small': (mib * 4, MIB // 16)}
    found = []
    for count, size in [sizes[only]] if only else sizes.values():
        source = directory / f'source-{size}'
        source.write_bytes(os.urandom(size))
        found.append(Shape(count, size, source))
    return found


def measure(store: Store, shape: Shape, rounds: int, results: Results) -> None:
    """All clients in turn, each round beginning with another one."""
    for number in range(rounds):
        first = number % len(store.clients)
        clients = [*store.clients[first:], *store.clients[:first]]
        for way in WAYS:
            store.empty()
            if way == 'down':
                store.fill(shape)
            for client in clients:
                if way in client.ways:
                    results[store.name, str(shape), way, client.name].append(
                        client.run(shape, way))
                    if way == 'up':
                        store.empty()
        print(f'{store.name}, {shape}: round {number + 1} of {rounds}', file=sys.stderr)
    store.empty()


def ratio(ours: Sequence[Taken], theirs: Sequence[Taken]) -> float:
    """How many times as fast as theirs: the median over the rounds."""
    return statistics.median(their.seconds / our.seconds for our, their in zip(ours, theirs))


def table(store: Store, shape: Shape, results: Results) -> Iterator[str]:
    line = ('{:<24}' + 2 * '{:>10} {:>6} {:>6} {:>6}' + '{:>10}').format
    yield f'\n{store.name}, {shape}; x: times as fast as {store.clients[0].name}'
    yield line('', 'up MB/s', 'x', 'CPU s', 'MiB', 'down MB/s', 'x', 'CPU s', 'MiB', 'import s')
    for client in store.clients:
        cells: list[str] = []
        for way in WAYS:
            cells += _cells(results[store.name, str(shape), way, client.name], shape.total,
                            results[store.name, str(shape), way, store.clients[0].name])
        found = results[store.name, str(shape), WAYS[0], client.name]
        imports = statistics.median(taken.imports for taken in found)
        yield line(client.name, *cells, f'{imports:.2f}' if imports else '')


def _cells(found: Sequence[Taken], size: int, reference: Sequence[Taken]) -> list[str]:
    if not found:
        return ['', '', '', '']
    return [f'{statistics.median(size / taken.seconds / 1e6 for taken in found):.0f}',
            f'{ratio(found, reference):.2f}',
            f'{statistics.median(taken.cpu for taken in found):.2f}',
            f'{statistics.median(taken.peak for taken in found) / MIB:.0f}']


def goals(results: Results, shape: Shape) -> Iterator[str]:
    for store, way, ours, theirs, wanted in GOALS:
        mine, other = [results.get((store, str(shape), way, client), [])
                       for client in (ours, theirs)]
        if mine and other:
            reached = ratio(mine, other)
            verdict = 'reached' if reached >= wanted else 'missed'
            yield f'{ours}, {way}: {reached:.2f} x {theirs}; {wanted} is {verdict}'


def records(results: Results, options: argparse.Namespace) -> dict[str, object]:
    """What --json writes."""
    return {
        'date': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
        'python': platform.python_version(), 'processors': os.cpu_count(),
        'mib': options.mib, 'connections': options.connections,
        'results': [
            {'store': store, 'objects': shape, 'way': way, 'client': client,
             'rounds': [dataclasses.asdict(taken) for taken in found]}
            for (store, shape, way, client), found in results.items()]}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='benchmarks.stores', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--mib', type=int, default=1024, help='of large objects')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--only', choices=STORES, help='one store')
    parser.add_argument('--objects', choices=('large', 'small'), help='one size')
    parser.add_argument('--connections', type=int, help='else as by default')
    parser.add_argument('--json', type=Path, metavar='FILE', help='where every figure goes')
    parser.add_argument('--directory', type=Path, help='where the stores are')
    return parser.parse_args()


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # ends the servers
    memory = Path('/dev/shm')
    tempfile.tempdir = str(options.directory or (memory if memory.is_dir() else '')) or None
    results: Results = collections.defaultdict(list)
    with tempfile.TemporaryDirectory(prefix='bench-stores-') as directory:
        moved = shapes(Path(directory), options.mib, options.objects)
        for name in [options.only] if options.only else STORES:
            with STORES[name](Path(directory), options.connections) as store:
                for shape in moved:
                    measure(store, shape, options.rounds, results)
                    print('\n'.join(table(store, shape, results)), flush=True)
    if options.objects != 'small':
        print('', *goals(results, moved[0]), sep='\n')
    if options.json:
        options.json.write_text(json.dumps(records(results, options), indent=1))
    return 0


if __name__ == '__main__':
    sys.exit(main())
