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
import shutil
import sys

from benchmarks.volumes import command_line, images, report, rounds, tools
from benchmarks.volumes.layout import MIB

STORE_PART = 0.6
"""Of the size of the volume, what all backups of one tool take on the average."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='benchmarks.volumes', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--mib', type=int, default=2048, help='size of the image')
    parser.add_argument('--only', choices=tools.FAMILIES, action='append', default=[],
                        help='beside cp; repeatable')
    command_line.add_common(parser)
    options = parser.parse_args()
    if options.mib < 16 or options.rounds < 1:
        parser.error('the image has at least 16 MiB, and there is at least one round')
    return options


def measure(options: argparse.Namespace) -> None:
    options.directory.mkdir(parents=True, exist_ok=True)
    found, left_out = tools.chosen(options.only)
    command_line.check_space(options.directory,
                             int(options.mib * MIB * (3 + STORE_PART * len(found))))
    pair = images.pair(options.directory, options.mib)
    tools.Ours.options, tools.Ours.changes = command_line.backend_options(options), pair.changes
    results = rounds.Results()
    results.left_out.update(left_out)
    about = report.machine(options.directory) | {
        'mib': options.mib, 'rounds': options.rounds, 'versions': tools.versions(found),
        'options': dict(command_line.backend_options(options))}
    for number in range(options.rounds):
        rounds.run(options.directory, pair, found, number, results)
        if options.json:  # each time: what ends a later round does not take these figures away
            report.write(options.json, results, options.mib, about)
    print(report.sentence(about), '', *report.lines(results, options.mib), sep='\n')
    if options.clean:
        shutil.rmtree(pair.first.parent)


def main() -> int:
    options = arguments()
    return command_line.stoppable(lambda: measure(options))


if __name__ == '__main__':
    sys.exit(main())
