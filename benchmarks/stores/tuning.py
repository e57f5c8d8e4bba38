"""Whole backups and restores for values of chunk_size and connections.

    .venv/bin/python -m benchmarks.stores.tuning [--mib 256] [--rounds 3] [--only sftp]

A volume of bytes that do not compress is backed up by the command line and restored; rates are
those of whole commands. As many workers run as there are connections, and they may have the memory
they need, so that nothing else bounds them. Stores are on loopback, where nothing is far away.
"""

from __future__ import annotations

import argparse
import collections
from collections.abc import Iterator, Mapping
import contextlib
import itertools
import os
from pathlib import Path
import signal
import statistics
import sys
import tempfile
from typing import Any

from benchmarks import processes
from benchmarks.processes import Taken
from tools import demo_stores
from tools.servers import gcs, sshd

MIB = 1 << 20
CHUNKS = (8, 32, 64)
CONNECTIONS = (1, 2, 4, 8)

Cell = tuple[str, int, int]
"""Store, chunk_size in MiB, connections."""


@contextlib.contextmanager
def servers() -> Iterator[dict[str, dict[str, Any]]]:
    """The options of a backend for each store."""
    with sshd.serving() as server, gcs.fake_gcs_server() as emulator:
        yield {'sftp': {'driver': 'sftp', **server.options()},
               'gcs': {'driver': 'gcs', 'bucket': 'bench', 'endpoint': emulator.url,
                       'anonymous': 'yes'}}


def backend(cell: Cell) -> str:
    return '-'.join(map(str, cell))


def sections(options: Mapping[str, dict[str, Any]], cells: list[Cell]) -> dict[str, Any]:
    return {
        backend(cell): options[cell[0]] | {
            'chunk_size': f'{cell[1]}MiB', 'connections': cell[2], 'workers': cell[2],
            # A worker holds two chunks, and with gcs what it sends.
            'memory': f'{4 * cell[1] * cell[2] + 64}MiB'}
        for cell in cells}


def one_round(command: list[str], place: Path, volume: Path, cell: Cell) -> tuple[Taken, Taken]:
    """A backup and its restore; neither is left."""
    restored = place / 'restored'
    backed_up, _ = processes.run([
        *command, 'backup', 'create', str(volume), '--backend', backend(cell), '--name', 'one'])
    brought_back, _ = processes.run([*command, 'backup', 'restore', 'one', str(restored)])
    restored.unlink()
    processes.run([*command, 'backup', 'delete', 'one'])
    return backed_up, brought_back


def table(results: Mapping[Cell, list[tuple[Taken, Taken]]], size: int) -> Iterator[str]:
    line = ('{:<6}' + '{:>12}' * 2 + '{:>14}{:>6}' * 2).format
    yield line('store', 'chunk_size', 'connections', 'backup MB/s', 'MiB', 'restore MB/s', 'MiB')
    for (store, chunk, connections), rounds in results.items():
        figures: list[str] = []
        for found in zip(*rounds):
            rate = statistics.median(size / taken.seconds / 1e6 for taken in found)
            memory = statistics.median(taken.peak for taken in found) / MIB
            figures += [f'{rate:.0f}', f'{memory:.0f}']
        yield line(store, f'{chunk}MiB', connections, *figures)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='benchmarks.stores.tuning', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--mib', type=int, default=256, help='size of the volume')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--only', choices=('sftp', 'gcs'), help='one store')
    return parser.parse_args()


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # ends the servers
    memory = Path('/dev/shm')
    tempfile.tempdir = str(memory) if memory.is_dir() else None
    os.environ['NO_PROXY'] = '*'
    stores = [options.only] if options.only else ['sftp', 'gcs']
    cells = list(itertools.product(stores, CHUNKS, CONNECTIONS))
    results = collections.defaultdict(list)
    with tempfile.TemporaryDirectory(prefix='bench-tuning-') as directory, servers() as found:
        place = Path(directory)
        os.environ['OS_DEFAULT__STATE_PATH'] = str(place / 'state')
        volume, configuration = place / 'volume', place / 'conf'
        volume.write_bytes(os.urandom(options.mib * MIB))
        demo_stores.write_configuration(configuration, sections(found, cells))
        command = [str(Path(sys.executable).with_name('backup-framework')), '--quiet',
                   '--config-file', str(configuration)]
        for number in range(options.rounds):
            for cell in cells:
                results[cell].append(one_round(command, place, volume, cell))
            print(f'round {number + 1} of {options.rounds}', file=sys.stderr)
    print('\n'.join(table(results, options.mib * MIB)))
    return 0


if __name__ == '__main__':
    sys.exit(main())
