"""What the commands that measure with these images have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
import os
from pathlib import Path
import shutil
import signal
import sys

from benchmarks.processes import CommandFailed
from benchmarks.volumes.layout import MIB


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


def check_space(directory: Path, needed: int) -> None:
    """Raises SystemExit before anything is written that may not fit."""
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise SystemExit(f'{directory} has {free // MIB} MiB free, and about {needed // MIB} are '
                         'needed: name another place with --directory, or a smaller --mib, or '
                         'fewer tools with --only')


def stoppable(measure: Callable[[], None]) -> int:
    """Measure, and give the exit code; whatever ends it, what it had made is removed."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        measure()
    except KeyboardInterrupt:
        return 130
    except (CommandFailed, OSError) as error:
        print(f'the benchmark ended early: {error}', file=sys.stderr)
        return 1
    return 0
