"""Whether a full catalog slows create, list and show: the commands with few backups and with many.

    .venv/bin/python -m benchmarks.catalog [--few 10] [--many 10000] [--rounds 7] [--json FILE]

Both catalogs begin with one real backup of a small volume; the others are copies of its record with
other ids, names and times, a tenth of them of the same volume. The commands take turns with both;
CPU seconds are compared, because a small command's seconds on the clock are mostly chance.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
from pathlib import Path
import random
import sqlite3
import statistics
import sys
import tempfile
import uuid

from benchmarks import processes
from benchmarks.processes import CommandFailed, Taken

MIB = 1 << 20
COMMAND = str(Path(sys.executable).with_name('backup-framework'))
VOLUMES = 10
SLOWER = 1.1
SHOWN = 10


@dataclasses.dataclass(frozen=True)
class Installation:
    """A catalog with so many backups, in a directory of its own."""

    place: Path
    backups: int

    def run(self, *words: str) -> Taken:
        return processes.run([COMMAND, '--config-file', str(self.place / 'conf'), '--quiet',
                              'backup', *words])[0]

    def commands(self, number: int) -> dict[str, list[str]]:
        volume = str(self.place / 'volume')
        return {'create': ['create', volume, '--name', f'full {number}'],
                'create, incremental': ['create', volume, '--name', f'more {number}',
                                        '--incremental'],
                f'list --limit {SHOWN}': ['list', '--limit', str(SHOWN)],
                'show': ['show', 'first']}


def installation(place: Path, backups: int) -> Installation:
    place.mkdir()
    (place / 'conf').write_text(f'[DEFAULT]\nstate_path = {place}/state\n')
    (place / 'volume').write_bytes(random.Random(1).randbytes(MIB))
    made = Installation(place, backups)
    made.run('create', str(place / 'volume'), '--name', 'first')
    fill(place / 'state' / 'catalog.sqlite', backups)
    return made


def fill(catalog: Path, backups: int) -> None:
    """Copy the only backup in a catalog, and its volume, until there are so many."""
    with contextlib.closing(sqlite3.connect(catalog)) as connection, connection:
        connection.row_factory = sqlite3.Row
        volume, = connection.execute('SELECT * FROM volumes')
        backup, = connection.execute('SELECT * FROM backups')
        volumes = [dict(volume), *({**volume, 'id': str(uuid.uuid4()), 'name': f'volume {number}',
                                    'path': f'{volume["path"]}.{number}'}
                                   for number in range(1, VOLUMES))]
        insert(connection, 'volumes', volumes[1:])
        insert(connection, 'backups', [
            {**backup, 'id': str(uuid.uuid4()), 'display_name': f'copy {number}',
             'volume_id': volumes[number % VOLUMES]['id']} for number in range(1, backups)])


def insert(connection: sqlite3.Connection, table: str, rows: list[dict[str, object]]) -> None:
    if rows:
        names = list(rows[0])
        connection.executemany(
            f'INSERT INTO {table} ({", ".join(names)}) VALUES ({", ".join("?" * len(names))})',
            [list(row.values()) for row in rows])


def measure(options: argparse.Namespace) -> dict[str, dict[int, list[Taken]]]:
    """What each command took with each catalog."""
    found: dict[str, dict[int, list[Taken]]] = {}
    with tempfile.TemporaryDirectory(prefix='bench-catalog-') as directory:
        both = [installation(Path(directory) / str(count), count)
                for count in (options.few, options.many)]
        for number in range(-1, options.rounds):  # the first round warms the caches
            for each in both if number % 2 else both[::-1]:
                for name, words in each.commands(number).items():
                    taken = each.run(*words)
                    if number >= 0:
                        found.setdefault(name, {}).setdefault(each.backups, []).append(taken)
    return found


def lines(found: dict[str, dict[int, list[Taken]]], few: int, many: int) -> list[str]:
    line = ('{:<20}' + '{:>16}' * 4 + '{:>8}  {}').format
    told = [line('command', f'{few}: CPU s', f'{many}: CPU s', f'{few}: s', f'{many}: s', 'ratio',
                 f'≤ {SLOWER}')]
    for name, by_count in found.items():
        cpu = [statistics.median(taken.cpu for taken in by_count[count]) for count in (few, many)]
        wall = [statistics.median(taken.seconds for taken in by_count[count])
                for count in (few, many)]
        ratio = cpu[1] / cpu[0]
        told.append(line(name, *(f'{value:.3f}' for value in (*cpu, *wall)), f'{ratio:.2f}',
                         'met' if ratio <= SLOWER else 'missed'))
    return told


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='benchmarks.catalog', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--few', type=int, default=10)
    parser.add_argument('--many', type=int, default=10000)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--json', type=Path, metavar='FILE', help='where every figure goes')
    return parser.parse_args()


def main() -> int:
    options = arguments()
    try:
        found = measure(options)
    except (CommandFailed, OSError, sqlite3.Error) as error:
        print(f'the benchmark ended early: {error}', file=sys.stderr)
        return 1
    print(*lines(found, options.few, options.many), sep='\n')
    if options.json:
        options.json.write_text(json.dumps({
            name: {count: [dataclasses.asdict(taken) for taken in taken_by]
                   for count, taken_by in by_count.items()}
            for name, by_count in found.items()}, indent=1))
    return 0


if __name__ == '__main__':
    sys.exit(main())
