"""An fsync that fails: what it was for counts as not written, and is never asked for again.

After a failed fsync the kernel may take lost pages for written ones; another fsync of the file
would succeed. Each fsync of an operation fails once; then `oracle.judge` looks at what is left.
"""

from __future__ import annotations

from collections.abc import Callable
import errno
import functools
import os
from pathlib import Path
import re
from typing import Any

import pytest

from backup_framework import exceptions
from tests.trust.crash import children, oracle, world
from tests.trust.crash.tracing import Traced
from tests.trust.crash.world import CINDERS, FIRST, OURS, World

FAILURES = (exceptions.BackupFrameworkError,)


class FailingSync:
    """Makes the n-th fsync of this process fail, and sees what is done with that file then.

    :ivar count: fsyncs so far.
    :ivar trusted: what was published or synced again after it had failed.
    """

    def __init__(self, at: int) -> None:
        self._at = at
        self._failed: tuple[int, int] | None = None
        self._sync, self._link = os.fsync, os.link
        self.count = 0
        self.trusted: list[str] = []

    def begin(self) -> None:
        os.fsync, os.link = self.sync, self.link

    def sync(self, fd: int) -> None:
        self.count += 1
        status = os.fstat(fd)
        path = os.readlink(f'/proc/self/fd/{fd}')
        if self.count == self._at:
            self._failed = (status.st_dev, status.st_ino)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if self._failed == (status.st_dev, status.st_ino) and not os.path.isdir(path):
            self.trusted.append(path)
        self._sync(fd)

    def link(self, source: Any, to: Any, **how: Any) -> None:
        status = os.stat(source, dir_fd=how.get('src_dir_fd'), follow_symlinks=False)
        if self._failed == (status.st_dev, status.st_ino):
            self.trusted.append(os.fsdecode(to))
        self._link(source, to, **how)


def fail_each_sync(made: World, operation: oracle.Operation) -> tuple[int, int]:
    """How many fsyncs the operation has, and at how many it failed."""
    def begin(world: World) -> None:
        world.begin()
        operation.prepare(world)

    copies = world.Copies(made, begin)
    total, _ = children.good(lambda: run_with(made, operation, 0), seed='operation')
    expected = children.good(lambda: oracle.judge(made, operation), seed='judge')
    failed = 0
    for at in range(1, total + 1):
        copies.again()
        _, complaint = children.good(
            functools.partial(run_with, made, operation, at), seed='operation')
        failed += bool(complaint)
        if operation.name == 'restore to a new file':
            assert complaint, 'a restore succeeded whose fsync failed'
            assert not made.target.exists(), 'a file has its name that may not be on the disk'
        children.good(lambda: oracle.judge(made, operation, expected), seed='judge')
    copies.close()
    return total, failed


def run_with(made: World, operation: oracle.Operation, at: int) -> tuple[int, str]:
    failing, complaint = FailingSync(at), ''
    failing.begin()
    with made.manager() as manager:
        try:
            operation.run(made, manager)
        except FAILURES as error:
            complaint = str(error)
        else:
            names = {each.display_name for each in manager.catalog.backups(status='available')}
            assert operation.makes <= names
    assert not failing.trusted, f'{failing.trusted} were trusted after their fsync had failed'
    return failing.count, complaint


@pytest.mark.parametrize('name, least', [('incremental', 10), ('restore to a new file', 2)])
def test_each_sync_fails(place: Path, name: str, least: int) -> None:
    total, failed = fail_each_sync(World(place / 'world'), oracle.OPERATIONS[name])
    assert total >= least
    assert failed >= 2, 'a directory that cannot be synced is no success'


@pytest.mark.long
@pytest.mark.parametrize('durability', ['object', 'backup'])
@pytest.mark.parametrize('version', [OURS, CINDERS])
@pytest.mark.parametrize('name', ['full', 'incremental', 'restore over a file', 'delete',
                                  'delete of a parent', 'copy'])
def test_each_sync_fails_in_other_ways(place: Path, version: str, durability: str, name: str
                                       ) -> None:
    made = World(place / 'world', version, durability=durability)
    total, failed = fail_each_sync(made, oracle.OPERATIONS[name])
    assert total and failed, (total, failed)


@pytest.mark.long
@pytest.mark.parametrize('call', ['fsync', 'fdatasync'])
def test_the_command_line(traced: Callable[..., Traced], call: str) -> None:
    """With strace, also for the catalog, whose fdatasync SQLite asks for."""
    made = traced('local', OURS).world
    commands = Traced(made)
    commands.good('backup', 'create', made.disk, '--name', 'first')
    # The first one makes the catalog too.
    commands.good('backup', 'create', made.disk, '--name', 'counted')
    count = len(re.findall(rf'\b{call}\(', (made.root / 'trace').read_text()))
    with made.manager() as manager:
        oracle.delete_named(manager, ['counted'])
    visited = 0
    for at in range(1, count + 1):
        code, _ = commands.run('backup', 'create', made.disk, '--name', f'{at}',
                               inject=f'{call}:error=EIO:when={at}')
        visited += '(INJECTED)' in (made.root / 'trace').read_text()
        with made.manager() as manager:
            there = {each.display_name: each.id for each in manager.catalog.backups()
                     if each.status == 'available'}
            assert 'first' in there
            assert code == 0 or str(at) not in there or 'complete' in commands.said, commands.said
            assert str(at) in there or code != 0
            for backup in there.values():
                assert made.restore(manager, backup) == FIRST
            oracle.delete_named(manager, {
                str(each.display_name) for each in manager.catalog.backups()} - {'first'})
    assert visited == count >= 8
