"""System calls of the command line fail, each with each error: EIO, ENOSPC, EDQUOT, EINTR..."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import itertools
import os
from pathlib import Path
import random
import shutil

import pytest

from backup_framework import conf
from backup_framework.manager import Manager
from backup_framework.manager.creating import Request
from backup_framework.manager.restoring import Request as RestoreRequest
from backup_framework.model import Status
from tests.functional.command_line import Done
from tests.trust.faults import installation, tracing
from tests.trust.faults.tracing import Position, Tracer
from tests.unit.driver import chains

Case = tuple[str, Position, str]

COMMANDS: dict[str, tuple[str, ...]] = {
    'full': ('backup', 'create', 'volume', '--no-incremental'),
    'incremental': ('backup', 'create', 'volume', '--incremental'),
    'restore': ('backup', 'restore', 'second', 'target'),
    'verify': ('backup', 'verify', 'second'),
    'delete': ('backup', 'delete', 'first'),
}
DOCUMENTED = frozenset({0, 2, 3, 4, 5, 6, 7})
"""Exit codes that a user may meet: 1 is an internal error."""

OURS_WITH_FULL = frozenset({'ENOSPC', 'EDQUOT'})


class Rig:
    """A store in a directory with two backups of one volume, which has changed since."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.live = directory / 'live'
        self.kept = directory / 'kept'
        self.live.mkdir()
        config = directory / 'test.conf'
        config.write_text(
            f'[DEFAULT]\nstate_path = {self.live}/state\n[local]\ndriver = local\n'
            f'path = {self.live}/store\nchunk_size = 64KiB\nblock_size = 4KiB\nworkers = 0\n'
            'retry_deadline = 0\n')
        self.configuration = conf.load([str(config)])
        self.tracer = Tracer(self.live, config)
        self.bytes: dict[str, bytes] = {}
        with self.manager() as manager:
            for number, name in enumerate(('first', 'second')):
                data = chains.make_bytes(150_000, seed=number)
                self.volume.write_bytes(data)
                made = manager.create(Request(str(self.volume), name=name,
                                              incremental=bool(number)))
                self.bytes[made.id] = data
        self.volume.write_bytes(chains.make_bytes(150_000, seed=7))
        self.live.rename(self.kept)

    @property
    def volume(self) -> Path:
        return self.live / 'volume'

    def manager(self) -> Manager:
        return Manager(self.configuration, warn=lambda sentence: None)

    def reset(self) -> None:
        shutil.rmtree(self.live, ignore_errors=True)
        shutil.copytree(self.kept, self.live)

    def positions(self, name: str) -> list[Position]:
        self.reset()
        return list(self.tracer.positions(COMMANDS[name]))

    def strike(self, case: Case) -> bool:
        """Whether it struck a call that concerns the command."""
        name, position, error = case
        self.reset()
        done = self.tracer.run(COMMANDS[name], position, error)
        if done is None:
            return False
        self.check_words(done, error)
        if name == 'restore':
            target = self.live / 'target'
            assert not done.code or not target.exists()
            if done.code == 0:
                assert target.read_bytes() == list(self.bytes.values())[1]
        self.check(name, done)
        return True

    def check_words(self, done: Done, error: str) -> None:
        assert done.code in DOCUMENTED, (done.code, done.err)
        assert 'Traceback' not in done.err and 'internal error' not in done.err, done.err
        if done.code:
            assert len([line for line in done.err.splitlines()
                        if line.startswith(('Error: ', 'ERROR'))]) >= 1, done.err
        if done.code == 7:
            assert error in OURS_WITH_FULL, done.err

    def check(self, name: str, done: Done) -> None:
        """The next command finds all in order."""
        with self.manager() as manager:
            records = {each.id: each for each in manager.catalog.backups()}
            for backup_id, data in self.bytes.items():
                if backup_id in records and records[backup_id].status == Status.AVAILABLE:
                    assert self.restored(manager, backup_id) == data
                else:
                    assert name == 'delete' and backup_id == next(iter(self.bytes))
            new = [each for each in records.values() if each.id not in self.bytes]
            for record in new:
                if record.status == Status.AVAILABLE:
                    assert self.restored(manager, record.id) == self.volume.read_bytes()
                else:
                    assert done.code, record
            if name in ('full', 'incremental') and not done.code:
                assert [each.status for each in new] == [Status.AVAILABLE]
            following = manager.create(Request(str(self.volume), incremental=True))
            assert self.restored(manager, following.id) == self.volume.read_bytes()
            for record in new:
                manager.delete(manager.plan_delete([record.id])[0])
            if name == 'delete' and manager.catalog.has_backup(next(iter(self.bytes))):
                manager.delete(manager.plan_delete(['first'])[0])
            assert manager.check_catalog() == []

    def restored(self, manager: Manager, backup_id: str) -> bytes:
        target = self.live / 'restored'
        target.unlink(missing_ok=True)
        manager.restore(backup_id, RestoreRequest(str(target)))
        return target.read_bytes()


@pytest.fixture(scope='module')
def rig(require_part: Callable[[str, str], None]) -> Iterator[Rig]:
    reason = tracing.missing()
    if reason is not None:
        require_part('strace', reason)
    with installation.quick_directory() as directory:
        yield Rig(directory)


def cases(rig: Rig, name: str) -> list[Case]:
    return [(name, position, error) for position, error
            in itertools.product(rig.positions(name), tracing.ERRORS)]


def visit(rig: Rig, chosen: list[Case]) -> int:
    struck = 0
    for case in chosen:
        try:
            struck += rig.strike(case)
        except Exception as error:
            raise AssertionError(f'{case}: {error}') from error
    return struck


@pytest.mark.parametrize('name', COMMANDS)
def test_some_calls_that_fail(rig: Rig, name: str) -> None:
    assert visit(rig, random.Random(name).sample(cases(rig, name), 5)) >= 2


@pytest.mark.long
@pytest.mark.parametrize('name', COMMANDS)
def test_calls_that_fail(rig: Rig, name: str) -> None:
    """Every call with every error, up to some hundreds."""
    found = cases(rig, name)
    chosen = random.Random(name).sample(found, min(len(found), 450))
    assert visit(rig, chosen) >= 120


@pytest.mark.parametrize('most', [1, 1000])
def test_short_writes(rig: Rig, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """The kernel takes less than it was given, time and again."""
    rig.reset()
    write = os.write
    monkeypatch.setattr(os, 'write', lambda fd, data: write(fd, memoryview(data)[:most]))
    with rig.manager() as manager:
        made = manager.create(Request(str(rig.volume)))
        monkeypatch.undo()
        assert rig.restored(manager, made.id) == rig.volume.read_bytes()
