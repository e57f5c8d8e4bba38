"""The clock of the host is wrong, jumps, or stands still, between any two commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import datetime
import sys
import time
import types

import pytest

from backup_framework import model
from backup_framework.driver import chunked
from backup_framework.manager import Manager
from backup_framework.model import Backup, Status
from tests.trust.faults import installation, scenes
from tests.trust.faults.installation import Installation

START = datetime.datetime(2026, 10, 25, 0, 59, 58, tzinfo=datetime.UTC)
"""An hour in which clocks on the wall are set back; ours tell UTC."""

HOUR, YEARS = datetime.timedelta(hours=1), datetime.timedelta(days=3652)
JUMPS = {'ten years back': -YEARS, 'an hour back': -HOUR, 'an hour on': HOUR,
         'ten years on': YEARS, 'stands still': None}


class WallClock:
    """:ivar now: what it says; each question takes a moment, unless it stands still."""

    def __init__(self) -> None:
        self.now = START
        self.moment = datetime.timedelta(milliseconds=7)

    def __call__(self, *_: object) -> datetime.datetime:
        self.now += self.moment
        return self.now

    def jump(self, by: datetime.timedelta | None) -> None:
        if by is None:
            self.moment = datetime.timedelta(0)
        else:
            self.now += by


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    """All that asks for the time of day asks this clock."""
    clock = WallClock()
    for module in [each for name, each in sys.modules.items()
                   if name.startswith('backup_framework')]:
        if getattr(module, 'utcnow', None) is model.utcnow and module is not model:
            monkeypatch.setattr(module, 'utcnow', clock)
    monkeypatch.setattr(model, 'utcnow', clock)
    monkeypatch.setattr(time, 'time', lambda: clock().timestamp())
    shown = types.SimpleNamespace(datetime=types.SimpleNamespace(now=clock), UTC=datetime.UTC)
    monkeypatch.setattr(chunked, 'datetime', shown)
    return clock


@pytest.fixture(params=scenes.VERSIONS)
def installed(request: pytest.FixtureRequest) -> Iterator[Installation]:
    with installation.quick_directory() as directory:
        made = Installation(directory, request.param)
        with contextlib.closing(made):
            yield made


class History:
    """What was done, and what is to be there: the backups in the order of their commits."""

    def __init__(self, installed: Installation) -> None:
        self.installed = installed
        self.made: dict[str, bytes] = {}
        self.seen: list[Backup] = []
        self.count = 0

    def full(self) -> None:
        self._create(incremental=False)

    def incremental(self) -> None:
        newest = list(self.made)[-1]
        made = self._create(incremental=True)
        assert made.parent_id == newest, 'not built on the newest'

    def _create(self, *, incremental: bool) -> Backup:
        self.count += 1
        data = self.installed.write(self.count)
        made = self.installed.create(incremental=incremental)
        assert made.data_timestamp and made.created_at
        for other in self.seen:
            assert made.id != other.id and made.service_metadata != other.service_metadata
        if self.made:
            before = self.installed.manager.catalog.get_backup(list(self.made)[-1])
            assert before.data_timestamp and before.data_timestamp < made.data_timestamp
        self.made[made.id] = data
        self.seen.append(made)
        return made

    def delete(self, number: int) -> None:
        """And in format 1.0.0 what needs it."""
        backup_id = list(self.made)[number]
        self.installed.delete(backup_id)
        there = {each.id for each in self.installed.manager.catalog.backups()}
        self.made = {each: data for each, data in self.made.items() if each in there}

    def check(self) -> None:
        self.installed.restart()
        assert self.installed.warnings == [] or all(
            'clock' in sentence for sentence in self.installed.warnings)
        manager = self.installed.manager
        listed = [each.id for each in manager.catalog.backups(status=Status.AVAILABLE)]
        assert listed[::-1] == list(self.made)
        assert manager.latest(str(self.installed.volume)).id == listed[0]
        for backup_id, data in self.made.items():
            assert self.installed.restored(backup_id) == data
        assert manager.check_catalog() == []

    def end(self) -> None:
        self.check()
        for backup_id in reversed(self.made):
            self.installed.delete(backup_id)
        assert [name for name in self.installed.store().raw_names('shelf')
                if not name.startswith('bf-container.')] == []


STEPS: tuple[Callable[[History], None], ...] = (
    History.full, History.incremental, History.incremental, lambda history: history.delete(-1),
    History.incremental, lambda history: history.delete(1), History.full, History.incremental,
    lambda history: history.delete(0), lambda history: history.full())


def go(installed: Installation, wall: WallClock, jump: str, place: int) -> None:
    """The clock jumps before the step with this number, and stays wrong after that."""
    wall.__init__()  # type: ignore[misc]
    history = History(installed)
    for number, step in enumerate(STEPS):
        if number == place:
            wall.jump(JUMPS[jump])
        step(history)
    history.end()


@pytest.mark.parametrize('jump', JUMPS)
def test_a_clock_that_jumps_between_two_steps(installed: Installation, wall: WallClock, jump: str
                                              ) -> None:
    go(installed, wall, jump, 2 + list(JUMPS).index(jump))


@pytest.mark.long
@pytest.mark.parametrize('jump', JUMPS)
def test_a_clock_that_jumps_between_any_two_steps(installed: Installation, wall: WallClock,
                                                  jump: str) -> None:
    for place in range(1, len(STEPS)):
        go(installed, wall, jump, place)


def test_a_clock_that_jumps_between_all_steps(installed: Installation, wall: WallClock) -> None:
    history = History(installed)
    for number, step in enumerate(STEPS):
        wall.jump(list(JUMPS.values())[number % 4])
        step(history)
    history.end()


@pytest.mark.parametrize('jump', JUMPS)
def test_a_living_operation_keeps_its_lease(installed: Installation, wall: WallClock, jump: str
                                            ) -> None:
    """By its lock, whatever the clock says; another manager of this installation looks."""
    manager = installed.manager
    history = History(installed)
    history.full()
    record, = manager.catalog.backups()
    with manager.catalog.operation('delete', backup_id=record.id) as running:
        for _ in range(3):
            wall.jump(JUMPS[jump])
            with Manager(manager.configuration) as other:
                assert other.catalog.recover() == []
                assert other.catalog.get_backup(record.id).status == Status.AVAILABLE
            running.renewed = time.monotonic() - 100
            manager.catalog.renew(running)


@pytest.mark.parametrize('jump', JUMPS)
def test_what_a_running_backup_writes_is_not_cleaned_away(
        installed: Installation, wall: WallClock, jump: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its part of an object is a moment old; only the clock says something else."""
    driver = installed.manager.drivers.get('shelf')
    written: dict[str, float] = {'part': wall().timestamp()}

    def remove(older_than: float) -> int:
        return sum(seen <= wall().timestamp() - older_than for seen in written.values())

    monkeypatch.setattr(driver, 'remove_temporary', remove)
    running = Backup(volume_id='volume', backend='shelf', status=Status.CREATING,
                     created_at=wall())
    installed.manager.catalog.add_backup(running)
    wall.jump(JUMPS[jump])
    assert installed.manager.clean('shelf') == 0
