"""The real command line under strace."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys

from backup_framework.engine import mounts
from tests.trust.crash import order
from tests.trust.crash.order import Order
from tests.trust.crash.world import World

PROGRAM = 'import sys; from backup_framework.cmd import main; sys.exit(main.main())'


def share(place: Path) -> tuple[tuple[str, object], ...]:
    """Options with which the nfs driver takes a directory of this machine for a share."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        mount = mounts.mount_of_descriptor(descriptor)
    finally:
        os.close(descriptor)
    assert mount is not None
    return (('accepted_types', mount.fs_type),)


class Traced:
    """Commands under strace, in a world of their own."""

    def __init__(self, made: World) -> None:
        self.world = made

    def run(self, *argv: object, inject: str = '') -> tuple[int, Order]:
        """How the command ended, and what it did."""
        said, log = self.world.root / 'said', self.world.root / 'trace'
        command = ['strace', '-f', '-y', '-qq', '-s', '16', '-e', f'trace={order.CALLS}',
                   '-o', str(log), *(['-e', f'inject={inject}'] if inject else []),
                   sys.executable, '-c', PROGRAM, '--config-file', str(self.world.config),
                   *map(str, argv)]
        with open(said, 'wb') as out:
            done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, timeout=60,
                                  check=False, cwd=self.world.root)
        events = order.read_trace(log.read_text(errors='replace'), str(said))
        self.said = done.stderr.decode(errors='replace')
        return done.returncode, Order(events, f'{self.world.root}/main')

    def good(self, *argv: object) -> Order:
        code, seen = self.run(*argv)
        assert code == 0, self.said
        return seen
