"""What the programs beside the command line share: options, errors as sentences, exit codes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
import contextlib
import sys
from typing import TypeVar

import backup_framework
from backup_framework import conf, exceptions
from backup_framework.cmd import exit_codes

Result = TypeVar('Result')


def parser(name: str, about: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog=name, description=about, allow_abbrev=False)
    made.add_argument('--version', action='version',
                      version=f'%(prog)s {backup_framework.__version__}')
    made.add_argument('--config-file', action='append', metavar='FILE', default=[],
                      help='read this file instead of /etc/backup_framework; repeatable')
    return made


def run(work: Callable[[], int | None]) -> int:
    """The exit code of what was done, or of what went wrong, which is said."""
    try:
        return work() or exit_codes.DONE
    except exceptions.BackupFrameworkError as error:
        print(f'Error: {conf.mask(str(error))}', file=sys.stderr)
        return exit_codes.of(error)


@contextlib.contextmanager
def needing_the_extra() -> Iterator[None]:
    """:raises ConfigurationError: what is imported in the block is not installed."""
    try:
        yield
    except ImportError as error:
        raise exceptions.ConfigurationError(
            f'the service cannot be used, because {error.name or error} is missing: pip install '
            f'"backup-framework[service]"') from error
