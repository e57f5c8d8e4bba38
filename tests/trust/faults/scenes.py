"""A store with a history, and what may be done to it, for faults at every call.

All is in memory, and waiting takes no time, so that a case costs some milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import functools
import io
import time
import types
from typing import Any

import pytest
import tenacity

from backup_framework import exceptions, model, store
from backup_framework.engine.monitor import Monitor, Operation
from backup_framework.formats.v2 import gathering, writer
from backup_framework.testing import memory
from tests.trust.faults.striking import Striker, StrikingDriver
from tests.unit.driver import chains

VERSIONS = ('2.0.0', '1.0.0')
CHUNKS = 5
DEADLINE = 60.0
_LONGEST = 1000
"""Pauses in one operation: more mean that something is tried again for ever."""


class Clock:
    """Waiting that takes no time. A deadline ends all the same."""

    def __init__(self) -> None:
        self.slept = 0.0
        self.pauses = 0

    def monotonic(self) -> float:
        return time.monotonic() + self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.pauses += 1
        assert self.pauses < _LONGEST, 'it is tried again for ever'


@contextlib.contextmanager
def no_waiting() -> Iterator[Clock]:
    """The framework's retries take no time, and objects of format 2.0.0 are small."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tenacity, 'time', types.SimpleNamespace(monotonic=clock.monotonic))
        for function in (store.Calls.__init__, store.Container.__init__):
            patch.setitem(function.__kwdefaults__, 'sleep', clock.sleep)
        patch.setattr(Monitor, 'sleep', lambda monitor, seconds: clock.sleep(seconds))
        patch.setattr(writer, 'SMALL', 2 * chains.BLOCK)
        patch.setattr(gathering, 'GATHERED', chains.CHUNK)
        # Which distributions there are does not change, and finding out takes long.
        patch.setattr(store, 'distribution_of', functools.cache(store.distribution_of))
        patch.setattr(store.LOG, 'disabled', True)
        yield clock


@dataclasses.dataclass
class Taken:
    """A backup and what it has to restore."""

    backup: model.Backup
    data: bytes


class Scene:
    """A full backup with two incrementals, and one of another volume, in one container.

    :ivar driver: struck by `strike`; after that, whole again.
    :ivar elsewhere: a second store, for copies; struck as well, in one count of calls.
    """

    def __init__(self, version: str, clock: Clock) -> None:
        self.version = version
        self.clock = clock
        options = {'format': version, 'retry_deadline': DEADLINE}
        self.inner = chains.make_driver(**options)
        self.driver = StrikingDriver(self.inner)
        self.elsewhere = StrikingDriver(chains.make_driver(**options))
        data = [bytearray(chains.make_bytes(CHUNKS * chains.CHUNK + 100)) for _ in range(3)]
        data[1][0:700] = data[2][0:700] = chains.make_bytes(700, seed=1)
        data[2][-900:] = chains.make_bytes(900, seed=2)
        self.full = self.take(bytes(data[0]))
        self.middle = self.take(bytes(data[1]), self.full)
        self.newest = self.take(bytes(data[2]), self.middle)
        self.other = self.take(chains.make_bytes(3000, seed=9), volume_id='volume-2')
        self.kept = [self.full, self.middle, self.newest, self.other]
        self._boxes = self._contents()
        self.names = chains.names(self.inner)
        self.saved = {name: body.data for name, body in self._boxes[chains.CONTAINER].items()}

    def _contents(self) -> dict[str, dict[str, memory.Body]]:
        return {name: dict(box) for name, box in self.inner.store.containers.items()}

    def reset(self) -> None:
        """As at the beginning."""
        self.driver.strike(None)
        self.elsewhere.strike(None)
        self.inner.store.containers = {name: dict(box) for name, box in self._boxes.items()}
        self.inner.store.temporary.clear()
        self.elsewhere.driver.store.containers.clear()
        self.clock.pauses = 0

    def operation(self, **flags: Any) -> Operation:
        return Operation(**flags)

    def take(self, data: bytes, parent: Taken | None = None, **fields: Any) -> Taken:
        backup = chains.take(self.driver, data, parent.backup if parent else None,
                             self.operation(), **fields)
        return Taken(backup, data)

    def restored(self, backup: model.Backup, driver: StrikingDriver | None = None) -> bytes:
        target = io.BytesIO()
        (driver or self.driver).restore(
            backup, 'volume-1', target, True, operation=self.operation())
        return target.getvalue()

    def names_of(self, backup: model.Backup, driver: StrikingDriver | None = None) -> list[str]:
        prefix = backup.service_metadata
        return [name for name in chains.names((driver or self.driver).driver)
                if prefix and name.startswith(prefix)]

    def is_visible(self, backup: model.Backup, driver: StrikingDriver | None = None) -> bool:
        return f'{backup.service_metadata}_metadata' in self.names_of(backup, driver)


@dataclasses.dataclass
class Outcome:
    """How an operation ended.

    :ivar error: None where it said that it succeeded.
    :ivar new: the record of the backup that it made or was to make, with its bytes.
    :ivar gone: what it was to delete.
    :ivar where: the store of the new one.
    :ivar lies: the store kept other bytes than it was given.
    """

    error: BaseException | None
    value: Any
    new: Taken | None = None
    gone: Taken | None = None
    where: StrikingDriver | None = None
    lies: bool = False

    @property
    def said(self) -> str:
        return 'done' if self.error is None else type(self.error).__name__


def run(scene: Scene, name: str, striker: Striker) -> Outcome:
    """One operation, struck."""
    scene.reset()
    for driver in (scene.driver, scene.elsewhere):
        driver.old_names = chains.names(driver.driver)
        driver.strike(striker)
    outcome = Outcome(None, None, lies=striker.lies)
    try:
        outcome.value = OPERATIONS[name](scene, outcome)
    except exceptions.BackupFrameworkError as error:
        outcome.error = error
    scene.driver.strike(None)
    scene.elsewhere.strike(None)
    return outcome


def _backup(scene: Scene, outcome: Outcome, parent: Taken | None) -> None:
    data = bytearray(scene.newest.data)
    data[4000:5300] = chains.make_bytes(1300, seed=3)
    record = chains.record(parent.backup if parent else None, volume_id='volume-1')
    outcome.new = Taken(record, bytes(data))
    outcome.where = scene.driver
    found = scene.driver.backup(record, io.BytesIO(data), operation=scene.operation())
    for field, value in found.items():
        setattr(record, field, value)


def _full(scene: Scene, outcome: Outcome) -> None:
    _backup(scene, outcome, None)


def _full_beside(scene: Scene, outcome: Outcome) -> None:
    """With what all backups of the container have in common stored once."""
    settings = scene.driver.settings
    scene.driver.settings = chains.make_driver(
        format=scene.version, retry_deadline=DEADLINE, duplicates='container').settings
    try:
        _backup(scene, outcome, None)
    finally:
        scene.driver.settings = settings


def _incremental(scene: Scene, outcome: Outcome) -> None:
    _backup(scene, outcome, scene.newest)


def _restore(scene: Scene, outcome: Outcome) -> bytes:
    return scene.restored(scene.newest.backup)


def _verify(scene: Scene, outcome: Outcome) -> Any:
    return scene.driver.verify(scene.newest.backup, operation=scene.operation())


def _verify_quick(scene: Scene, outcome: Outcome) -> Any:
    return scene.driver.verify(scene.newest.backup, operation=scene.operation(quick=True))


def _delete(scene: Scene, outcome: Outcome) -> None:
    outcome.gone = scene.newest
    scene.driver.delete_backup(scene.newest.backup, operation=scene.operation())


def _delete_parent(scene: Scene, outcome: Outcome) -> None:
    """In format 1.0.0 a parent goes with its children; the manager sees to the order."""
    going = scene.full if scene.version == '2.0.0' else scene.other
    outcome.gone = going
    scene.driver.delete_backup(going.backup, operation=scene.operation())


def _copy(scene: Scene, outcome: Outcome) -> None:
    record = chains.record(volume_id='volume-1')
    outcome.new = Taken(record, scene.newest.data)
    outcome.where = scene.elsewhere
    with contextlib.closing(scene.driver.open_state(
            scene.newest.backup, scene.operation())) as state:
        found = scene.elsewhere.store_state(record, state, operation=scene.operation())
    for field, value in found.items():
        setattr(record, field, value)


def _search(scene: Scene, outcome: Outcome) -> list[str]:
    """What rebuilding a catalog and importing a record ask of a store."""
    calls = store.Calls(scene.driver, retry_deadline=DEADLINE)
    return [scene.driver.describe(container, prefix)[0].backup_id or ''
            for container in calls.retry(lambda: sorted(scene.driver.list_containers()))
            for prefix in scene.driver.prefixes(container)]


OPERATIONS: dict[str, Callable[[Scene, Outcome], Any]] = {
    'full': _full, 'full with duplicates': _full_beside, 'incremental': _incremental,
    'restore': _restore, 'verify': _verify, 'quick verify': _verify_quick, 'delete': _delete,
    'delete of a parent': _delete_parent, 'copy': _copy, 'search': _search}
