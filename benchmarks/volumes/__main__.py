"""A volume backed up, backed up again, restored and verified, by us and by what others use.

    make bench
    .venv/bin/python -m benchmarks.volumes [--mib 2048] [--rounds 3] [--only borg] [--json FILE]

The volume is an image like a virtual machine's disk, with a second state in which one block of
64 KiB in a hundred differs. In each round all tools take turns at each operation, beginning with
another one each time, and cp twice. Caches are dropped before each, everything is on disk before
the next; ratios are made within a round, and medians over the rounds are shown. Our commands are
measured whole, with their start; Cinder's process has started before. What is restored is compared
with the image. Tools that are not installed are left out, and named with the reason.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
import json
import os
from pathlib import Path
import shutil
import signal
import sys

from benchmarks.processes import CommandFailed
from benchmarks.volumes import images, report, rounds, tools
from benchmarks.volumes.layout import MIB

STORE_PART = 0.6
"""Of the size of the volume, what all backups of one tool take on the average."""


def cache() -> Path:
    """Where the images are kept between runs."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(base, 'backup_framework-benchmarks')


def add_common(parser: argparse.ArgumentParser) -> None:
    """Options of all benchmarks with these images."""
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--format', help='of our backups; else the default one')
    parser.add_argument('--option', action='append', default=[], metavar='NAME=VALUE',
                        help='of our backend, besides its defaults; repeatable')
    parser.add_argument('--json', type=Path, metavar='FILE', help='where every figure goes')
    parser.add_argument('--directory', type=Path, default=cache(), metavar='DIR',
                        help='for images, which are kept, and stores, which are not; '
                             'else %(default)s')
    parser.add_argument('--clean', action='store_true', help='remove the images at the end')


def backend_options(options: argparse.Namespace) -> Mapping[str, str]:
    """What the options say of our backend."""
    given = dict(pair.partition('=')[::2] for pair in options.option)
    return given | ({'format': options.format} if options.format else {})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='benchmarks.volumes', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--mib', type=int, default=2048, help='size of the image')
    parser.add_argument('--only', choices=tools.FAMILIES, action='append', default=[],
                        help='beside cp; repeatable')
    add_common(parser)
    options = parser.parse_args()
    if options.mib < 16 or options.rounds < 1:
        parser.error('the image has at least 16 MiB, and there is at least one round')
    return options


def check_space(directory: Path, needed: int) -> None:
    """Raises SystemExit before anything is written that may not fit."""
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise SystemExit(f'{directory} has {free // MIB} MiB free, and about {needed // MIB} are '
                         'needed: name another place with --directory, or a smaller --mib, or '
                         'fewer tools with --only')


def measure(options: argparse.Namespace) -> None:
    options.directory.mkdir(parents=True, exist_ok=True)
    found, left_out = tools.chosen(options.only)
    check_space(options.directory, int(options.mib * MIB * (3 + STORE_PART * len(found))))
    pair = images.pair(options.directory, options.mib)
    tools.Ours.options, tools.Ours.changes = backend_options(options), pair.changes
    results = rounds.Results()
    results.left_out.update(left_out)
    for number in range(options.rounds):
        rounds.run(options.directory, pair, found, number, results)
    about = report.machine(options.directory) | {
        'mib': options.mib, 'rounds': options.rounds, 'versions': tools.versions(found),
        'options': dict(backend_options(options))}
    print(report.sentence(about), '', *report.lines(results, options.mib), sep='\n')
    if options.json:
        options.json.write_text(json.dumps(report.records(results, options.mib, about), indent=1))
    if options.clean:
        shutil.rmtree(pair.first.parent)


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # removes what is there
    try:
        measure(options)
    except KeyboardInterrupt:
        return 130
    except (CommandFailed, OSError) as error:
        print(f'the benchmark ended early: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
