"""Histories that nobody thought of: hypothesis plays an operator, a hostile store and bad luck.

A model knows what every backup has to have. A history is a row of rules: the volume is written,
zeroed, made longer or shorter; backups are made, restored, verified, deleted, pruned; the catalog
is repaired, lost and rebuilt; a process dies at any request to the store; an object is damaged or
lost and brought back; the store is put back to an earlier state; the clock jumps; another
installation looks at the store. After each step what was committed is there, and comes back exactly
or, where it was damaged, with an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import datetime
import functools
import io
import json
import os
from pathlib import Path
import shutil
import tempfile
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
import pytest

from backup_framework import conf, exceptions, loader, model
from backup_framework.catalog.database import Database
from backup_framework.manager import pruning
from backup_framework.manager.manager import Manager, Request, RestoreRequest
from backup_framework.model import Backup, Status
from backup_framework.testing import memory

BLOCK, CHUNK = 512, 4096
LARGEST = 20 * BLOCK
STEPS = 30
REFUSED = (exceptions.FormatError, exceptions.InvalidBackup)
DRIVER = 'backup_framework.testing.memory:MemoryBackupDriver'

real_now = model.utcnow
sizes = st.integers(1, LARGEST)
places = st.integers(0, LARGEST)
choices = st.integers(0, 1 << 16)
engines: dict[str, Any] = {}
"""Of the catalogs that there are, by their names."""


class Killed(BaseException):
    """The process is gone: nothing of ours catches it."""


class World:
    """A store, the catalogs of installations, a volume, and a clock that may be wrong."""

    def __init__(self, root: Path, version: str) -> None:
        self.root = root
        self.version = version
        self.jump = datetime.timedelta()
        self.disk = root / 'disk'
        self.disk.write_bytes(b'data' * 700)

    @property
    def store(self) -> memory.MemoryStore:
        return memory.shared_store(str(self.root))

    @functools.cache  # noqa: B019
    def configuration(self, name: str) -> conf.Configuration:
        path = self.root / f'{name}.conf'
        path.write_text(
            f'[DEFAULT]\nstate_path = {self.root / name}\nenabled_backends = main\n[main]\n'
            f'driver = {DRIVER}\nstore = {self.root}\nformat = {self.version}\ncontainer = shelf\n'
            f'block_size = {BLOCK}\nchunk_size = {CHUNK}\nworkers = 0\nretry_deadline = 0\n')
        return conf.load([str(path)])

    @contextlib.contextmanager
    def manager(self, name: str = 'ours') -> Iterator[Manager]:
        with Manager(self.configuration(name), warn=lambda sentence: None) as manager:
            yield manager

    def objects(self) -> dict[str, memory.Body]:
        return self.store.containers.get('shelf', {})

    def stored(self) -> set[str]:
        """The ids of all backups whose manifest is in the store."""
        return {json.loads(body.data)['backup_id'] for name, body in self.objects().items()
                if name.endswith('_metadata')}

    def forget(self, name: str) -> None:
        engines.clear()
        shutil.rmtree(self.root / name, ignore_errors=True)

    def die(self, at: int, command: Callable[[Manager], object]) -> bool:
        """Whether it came to its end before the request to the store at which it would have died.

        Then the catalog and the store are as they were at that moment.
        """
        requests = 0
        kept: dict[str, dict[str, memory.Body]] | None = None

        def request(*_: object) -> None:
            nonlocal requests, kept
            requests += 1
            if kept is None and requests > at:
                kept = {box: dict(objects) for box, objects in self.store.containers.items()}
                shutil.copytree(self.root / 'ours', self.root / 'then')
            if kept is not None:
                raise Killed

        self.store.on_request = request
        try:
            with self.manager() as manager:
                command(manager)
        except Killed:
            pass
        finally:
            self.store.on_request = lambda *_: None
        if kept is None:
            return True
        self.store.containers = kept
        self.forget('ours')
        (self.root / 'then').rename(self.root / 'ours')
        return False


class History(RuleBasedStateMachine):
    """:ivar truth: what each backup has that was ever made, or may have been.
    :ivar committed: those that must be there.
    :ivar doubtful: a delete of them was interrupted, or the store has lost them.
    :ivar damage: objects that are damaged now, with their bytes.
    """

    version = '2.0.0'

    @initialize()
    def begin(self) -> None:
        place = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
        self.world = World(Path(tempfile.mkdtemp(prefix='bf-history-', dir=place)), self.version)
        self.truth: dict[str, bytes] = {}
        self.committed: set[str] = set()
        self.doubtful: set[str] = set()
        self.damage: dict[str, memory.Body] = {}
        self.snapshots: list[tuple[dict[str, memory.Body], set[str]]] = []
        model.utcnow = lambda: real_now() + self.world.jump

    def teardown(self) -> None:
        model.utcnow = real_now
        if hasattr(self, 'world'):
            memory.forget_store(str(self.world.root))
            shutil.rmtree(self.world.root)

    # The volume.

    def volume(self) -> bytearray:
        return bytearray(self.world.disk.read_bytes())

    @rule(at=places, data=st.binary(min_size=1, max_size=2 * BLOCK))
    def write(self, at: int, data: bytes) -> None:
        volume = self.volume()
        at %= len(volume)
        volume[at:at + len(data)] = data[:len(volume) - at]
        self.world.disk.write_bytes(volume)

    @rule(at=places, length=sizes)
    def zero(self, at: int, length: int) -> None:
        volume = self.volume()
        at %= len(volume)
        length = min(length, len(volume) - at)
        volume[at:at + length] = bytes(length)
        self.world.disk.write_bytes(volume)

    @rule(size=sizes)
    def resize(self, size: int) -> None:
        self.world.disk.write_bytes(bytes(self.volume()[:size].ljust(size, b'\0')))

    # What an operator does.

    def request(self, incremental: bool) -> Request:
        return Request(str(self.world.disk), incremental=incremental or None, force=True,
                       adopt=True)

    @rule(incremental=st.booleans())
    def create(self, incremental: bool) -> None:
        with self.world.manager() as manager:
            made = manager.create(self.request(incremental))
        self.truth[made.id] = bytes(self.volume())
        self.committed.add(made.id)

    def chosen(self, manager: Manager, choice: int) -> Backup | None:
        found = sorted(manager.catalog.backups(), key=lambda backup: list(self.truth).index(
            backup.id))
        return found[choice % len(found)] if found else None

    @rule(choice=choices, used=st.booleans(), delta=st.booleans())
    def restore(self, choice: int, used: bool, delta: bool) -> None:
        target = self.world.root / 'target'
        target.unlink(missing_ok=True)
        if used:
            target.write_bytes(b'\xaa' * LARGEST)
        with self.world.manager() as manager:
            backup = self.chosen(manager, choice)
            if backup is None:
                return
            asked = RestoreRequest(str(target), force=used, truncate=used, delta=used and delta)
            try:
                manager.restore(backup.id, asked)
            except REFUSED as error:
                assert self.may_fail(manager, backup), error
                return
        assert target.read_bytes() == self.truth[backup.id]

    @rule(choice=choices, quick=st.booleans())
    def verify(self, choice: int, quick: bool) -> None:
        with self.world.manager() as manager:
            backup = self.chosen(manager, choice)
            if backup is None or backup.status != Status.AVAILABLE:
                return
            try:
                report = manager.verify(backup.id, quick=quick)
            except exceptions.InvalidBackup:
                assert self.may_fail(manager, backup)
                return
            assert report.ok or self.may_fail(manager, backup), report.problems
            if report.ok and not quick:
                assert self.bytes_of(manager, backup) == self.truth[backup.id]

    @precondition(lambda self: not self.damage)
    @rule(choice=choices)
    def delete(self, choice: int) -> None:
        with self.world.manager() as manager:
            backup = self.chosen(manager, choice)
            if backup is None:
                return
            for planned in manager.plan_delete([backup.id], with_dependents=True, adopt=True):
                assert manager.delete(planned, adopt=True)
                assert not manager.catalog.has_backup(planned.id)
                assert planned.id not in self.world.stored()
                self.gone(planned.id)

    def gone(self, backup_id: str) -> None:
        self.committed.discard(backup_id)
        self.doubtful.discard(backup_id)

    @precondition(lambda self: not self.damage)
    @rule(last=st.integers(1, 3))
    def prune(self, last: int) -> None:
        with self.world.manager() as manager:
            available = {backup.id for backup in manager.catalog.backups()
                         if backup.status == Status.AVAILABLE and not backup.owner}
            verdicts = manager.plan_prune(pruning.Request(rules={'last': last}))
            for backup, outcome in manager.prune(verdicts):
                assert outcome is True or isinstance(outcome, exceptions.Refused), outcome
                if outcome is True:
                    self.gone(backup.id)
            left = {backup.id for backup in manager.catalog.backups()}
            assert len(available & left) >= min(last, len(available))

    @precondition(lambda self: not self.damage)
    @rule()
    def repair(self) -> None:
        with self.world.manager() as manager:
            manager.check_catalog(repair=True)
            # What its repair leaves over is said, and nothing that it can mend is found again.
            assert not [each for each in manager.check_catalog(repair=True) if each.is_mended]

    # Bad luck.

    @precondition(lambda self: not self.damage)
    @rule(at=st.integers(0, 30), incremental=st.booleans())
    def die_at_create(self, at: int, incremental: bool) -> None:
        known = set(self.truth)
        done = self.world.die(at, lambda manager: manager.create(self.request(incremental)))
        with self.world.manager() as manager:
            for backup in manager.catalog.backups():
                if backup.id not in known:
                    self.truth[backup.id] = bytes(self.volume())
                    (self.committed if done else self.doubtful).add(backup.id)

    @precondition(lambda self: not self.damage)
    @rule(at=st.integers(0, 30), choice=choices)
    def die_at_delete(self, at: int, choice: int) -> None:
        planned: list[Backup] = []

        def delete(manager: Manager) -> None:
            backup = self.chosen(manager, choice)
            if backup is not None:
                planned.extend(manager.plan_delete([backup.id], with_dependents=True, adopt=True))
            for each in planned:
                manager.delete(each, adopt=True)

        done = self.world.die(at, delete)
        for each in planned:
            self.gone(each.id)
            if not done:
                self.doubtful.add(each.id)

    @precondition(lambda self: len(self.damage) < 2 and self.world.objects())
    @rule(choice=choices, how=st.sampled_from(['flip', 'cut', 'drop']))
    def hurt(self, choice: int, how: str) -> None:
        names = sorted(name for name in self.world.objects()
                       if not name.startswith('bf-container.') and name not in self.damage)
        if not names:
            return
        name = names[choice % len(names)]
        body = self.world.objects()[name]
        self.damage[name] = body
        if how == 'drop':
            del self.world.objects()[name]
            return
        data = bytearray(body.data)
        if how == 'flip' and data:
            data[choice % len(data)] ^= 1 << choice % 8
        else:
            del data[len(data) // 2:]
        self.world.objects()[name] = memory.Body(bytes(data), len(data))

    @precondition(lambda self: self.damage)
    @rule()
    def bring_back(self) -> None:
        self.world.objects().update(self.damage)
        self.damage = {}

    @precondition(lambda self: not self.damage)
    @rule()
    def remember(self) -> None:
        self.snapshots.append((dict(self.world.objects()), set(self.committed)))

    @precondition(lambda self: self.snapshots and not self.damage)
    @rule(choice=choices)
    def roll_back(self, choice: int) -> None:
        objects, there = self.snapshots[choice % len(self.snapshots)]
        self.world.store.containers['shelf'] = dict(objects)
        self.doubtful |= self.committed - there
        self.committed &= there

    @precondition(lambda self: not self.damage)
    @rule()
    def lose_catalog(self) -> None:
        self.world.forget('ours')
        with self.world.manager() as manager:
            rebuilt = manager.rebuild('main', adopt=True)
            assert {backup.id for backup in rebuilt.added} == self.world.stored()
            again = manager.rebuild('main', adopt=True)
            assert not again.added and again.known == len(rebuilt.added)
            assert self.committed <= self.world.stored()
            self.doubtful = self.world.stored() - self.committed

    @rule(days=st.integers(-4000, 4000))
    def jump(self, days: int) -> None:
        self.world.jump = datetime.timedelta(days=days)

    @precondition(lambda self: not self.damage)
    @rule(choice=choices)
    def another_installation(self, choice: int) -> None:
        """It may read all that there is, and changes nothing until it is told to."""
        before = dict(self.world.objects())
        with self.world.manager('theirs') as manager:
            if 'shelf' in self.world.store.containers:
                manager.rebuild('main')
            backup = self.chosen(manager, choice)
            if backup is not None:
                with contextlib.suppress(*REFUSED):
                    assert self.bytes_of(manager, backup) == self.truth[backup.id]
                with pytest.raises(exceptions.Refused):
                    manager.plan_delete([backup.id], with_dependents=True)
            if self.version == '2.0.0' and self.is_ours():
                with pytest.raises(exceptions.ForeignContainer):
                    manager.create(Request(str(self.world.disk), force=True))
        assert self.world.objects() == before
        self.world.forget('theirs')

    def is_ours(self) -> bool:
        return any(name.startswith('bf-container.owner-') for name in self.world.objects())

    # What is true after each step.

    def may_fail(self, manager: Manager, backup: Backup) -> bool:
        """Whether it was damaged, or is not what has to be there."""
        with contextlib.suppress(exceptions.BackupFrameworkError):
            members = manager.catalog.chain(backup) if backup.needs_parent else [backup]
            return bool(self.damage) or not {each.id for each in members} <= self.committed
        return True

    def bytes_of(self, manager: Manager, backup: Backup) -> bytes:
        target = io.BytesIO()
        manager.catalog.chain(backup)
        manager.drivers.get('main').restore(backup, '', target)
        return target.getvalue()

    @invariant()
    def all_is_there(self) -> None:
        if not hasattr(self, 'world') or not self.committed:
            return
        with self.world.manager() as manager:
            for backup in manager.catalog.backups():
                if backup.id in self.committed:
                    self.check(manager, backup)
            assert self.committed <= manager.catalog.backup_ids()
        if not self.damage:
            assert self.committed <= self.world.stored()

    def check(self, manager: Manager, backup: Backup) -> None:
        assert backup.status == Status.AVAILABLE, (backup.status, backup.fail_reason)
        try:
            assert self.bytes_of(manager, backup) == self.truth[backup.id]
        except REFUSED as error:
            assert self.damage, error


class CindersHistory(History):
    version = '1.0.0'


def play(kind: type[History], count: int, **how: Any) -> None:
    run_state_machine_as_test(kind, settings=settings(
        max_examples=count, stateful_step_count=STEPS, deadline=None, database=None,
        print_blob=True, suppress_health_check=list(HealthCheck), **how))


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for a class's distribution, and compiling the same queries, takes most of a step."""
    monkeypatch.setattr(loader, 'load', functools.cache(loader.load))
    make_engine = Database._make_engine
    engines.clear()
    monkeypatch.setattr(Database, '_make_engine', lambda self: (
        engines.get(self.name) or engines.setdefault(self.name, make_engine(self))))


each_kind = pytest.mark.parametrize('kind', [History, CindersHistory], ids=['2.0.0', '1.0.0'])


@each_kind
def test_some_histories(kind: type[History]) -> None:
    play(kind, 13, derandomize=True)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize('part', range(2))
@each_kind
def test_many_histories(kind: type[History], part: int) -> None:
    """Others each time; 2,000 in all."""
    play(kind, 500)
