"""Sealed backups that are killed at every request, and gone on with, swept, or sealed for others.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
import io

import pytest

from backup_framework import exceptions, model, store
from backup_framework.engine.monitor import Operation
from backup_framework.formats.v2 import key_sets
from backup_framework.testing import memory
from tests.trust.sealing import rig
from tests.unit.driver import chains

LENGTH = 12 * rig.CHUNK + 700


class Killed(BaseException):
    """The end of a process."""


def killed_at(number: int, of: memory.MemoryBackupDriver, action: Callable[..., object],
              *args: object) -> bool:
    """Do something in a process that dies at a request; whether it did not get that far."""
    left = number

    def count(*_: object) -> None:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1

    of.store.on_request = count
    try:
        action(*args)
    except Killed:
        return False
    finally:
        of.store.on_request = lambda *_: None
        of.store.temporary.clear()
    return True


def save(saved: list[model.Backup], backup: model.Backup) -> None:
    saved.append(chains.copy_of(backup, on_save=None))


def test_a_backup_goes_on_after_each_request() -> None:
    data = chains.make_bytes(LENGTH)
    visited = kept = 0
    for number in range(1000):
        driver = rig.driver(rig.ring('main'))
        parent = chains.take(driver, data)
        saved: list[model.Backup] = []
        backup = chains.record(parent)
        backup.on_save = functools.partial(save, saved)
        later = io.BytesIO(rig.changed(data))
        whole = killed_at(number, driver, driver.backup, backup, later)
        if whole:
            break
        visited += 1
        before = rig.objects(driver)
        if not saved or f'{saved[0].service_metadata}_metadata' in before:
            continue
        again = saved[0]
        later.seek(0)
        for field, value in driver.backup(
                again, later, operation=Operation(resume=True)).items():
            setattr(again, field, value)
        kept += any(name in before for name in chains.data_names(driver, again))
        assert chains.bring_back(driver, again) == rig.changed(data)
        assert rig.verify(driver, again) == []
        driver.delete_backup(parent)
        assert chains.bring_back(driver, again) == rig.changed(data)
        driver.delete_backup(again)
        assert not [name for name in chains.names(driver) if not name.startswith('bf-container.')]
    assert visited > 20 and kept > 3


def interrupted(before: memory.MemoryBackupDriver, data: bytes) -> model.Backup:
    """A backup that was killed when its map was to be stored."""
    saved: list[model.Backup] = []
    backup = chains.record()
    backup.on_save = functools.partial(save, saved)
    dead = False

    def die(verb: str, container: str | None, name: str | None) -> None:
        nonlocal dead
        dead = dead or (name or '').endswith('_map')
        if dead:
            raise Killed

    before.store.on_request = die
    with pytest.raises(Killed):
        before.backup(backup, io.BytesIO(data))
    before.store.on_request = lambda *_: None
    return saved[0]


def test_a_backup_whose_keys_are_away_is_begun_anew() -> None:
    """Not an error each night until somebody deletes it."""
    data = chains.make_bytes(LENGTH)
    before = rig.driver(rig.ring('old'))
    again = interrupted(before, data)
    stored = set(chains.data_names(before, again))
    now = rig.driver(rig.ring('new'), beside=before)
    operation = Operation(resume=True)
    for field, value in now.backup(again, io.BytesIO(data), operation=operation).items():
        setattr(again, field, value)
    assert any('nothing of what was stored before is kept' in note and 'sealed for old' in note
               for note in operation.warnings)
    assert attempt(now, again, data) == 'read' and rig.verify(now, again) == []
    assert stored.isdisjoint(chains.names(now))
    now.delete_backup(again)
    assert not [name for name in chains.names(now) if not name.startswith('bf-container.')]


def test_a_backup_that_is_gone_on_with_is_sealed_for_those_of_now() -> None:
    """Whoever was a recipient of the run that was interrupted is none any more."""
    data = chains.make_bytes(LENGTH)
    before = rig.driver(rig.ring('old'))
    again = interrupted(before, data)
    prefix = str(again.service_metadata)
    stray = chains.body(before, f'{prefix}_keys-1')
    before.store.containers[rig.CONTAINER][f'{prefix}_keys-3'] = memory.Body(stray, len(stray))
    now = rig.driver(rig.ring('new', others=['old']), beside=before)
    for field, value in now.backup(again, io.BytesIO(data), operation=Operation(
            resume=True)).items():
        setattr(again, field, value)
    readers = [rig.driver(rig.ring(name), beside=before) for name in ('old', 'new')]
    assert [attempt(reader, again, data) for reader in readers] == ['refused', 'read']
    assert [name for name in chains.names(now) if '_keys-' in name] == [f'{prefix}_keys-4']


def test_a_delete_goes_on_after_each_request() -> None:
    data = chains.make_bytes(LENGTH)
    visited = 0
    for number in range(1000):
        driver = rig.driver(rig.ring('main'))
        parent = chains.take(driver, data)
        child = chains.take(driver, rig.changed(data), parent)
        driver.delete_backup(parent)
        whole = killed_at(number, driver, driver.delete_backup, child)
        driver.delete_backup(child)
        assert not [name for name in chains.names(driver) if not name.startswith('bf-container.')]
        if whole:
            break
        visited += 1
    assert visited > 5


def test_keys_are_wrapped_anew_and_killed_at_each_request() -> None:
    """Somebody of before or somebody of now can read at any time, and it can be done again."""
    data = chains.make_bytes(LENGTH)
    visited = 0
    for number in range(1000):
        driver = rig.driver(rig.ring('old'))
        backup = chains.take(driver, data)
        prefix = str(backup.service_metadata)
        box = store.Container(driver, rig.CONTAINER)
        stored = {name: body for name, body in rig.objects(driver).items() if '_keys-' not in name}
        now = rig.ring('new', others=['old'])
        whole = killed_at(number, driver, key_sets.rewrap, box, prefix, now)
        readers = [rig.driver(rig.ring(name), beside=driver) for name in ('old', 'new')]
        assert 'read' in [attempt(reader, backup, data) for reader in readers]
        key_sets.rewrap(box, prefix, now)
        assert [attempt(reader, backup, data) for reader in readers] == ['refused', 'read']
        assert key_sets.recipients(box, prefix) == [('new', 'known')]
        assert len([name for name in rig.objects(driver) if '_keys-' in name]) == 1
        assert {name: body for name, body in rig.objects(driver).items()
                if '_keys-' not in name} == stored
        if whole:
            break
        visited += 1
    assert visited >= 5


def attempt(driver: memory.MemoryBackupDriver, backup: object, data: bytes) -> str:
    try:
        assert chains.bring_back(driver, backup) == data
    except exceptions.KeyUnavailable:
        return 'refused'
    return 'read'


def test_keys_that_somebody_else_writes_meanwhile_are_not_trusted() -> None:
    """Two who wrap anew at once: nothing is removed unless what was written is there."""
    driver = rig.driver(rig.ring('old'))
    backup = chains.take(driver, chains.make_bytes(LENGTH))
    prefix = str(backup.service_metadata)
    box = store.Container(driver, rig.CONTAINER)

    def swap(verb: str, container: str | None, name: str | None) -> None:
        if verb == 'read' and name == f'{prefix}_keys-2':
            driver.store.containers[rig.CONTAINER][name] = (
                driver.store.containers[rig.CONTAINER][f'{prefix}_keys-1'])

    driver.store.on_request = swap
    with pytest.raises(exceptions.CorruptObject, match='another generation'):
        key_sets.rewrap(box, prefix, rig.ring('new', others=['old']))
    assert f'{prefix}_keys-1' in chains.names(driver)


def test_keys_are_durable_before_anything_is_sealed_and_go_last() -> None:
    driver = rig.driver(rig.ring('main'))
    events: list[tuple[str, str]] = []
    driver.store.on_request = lambda verb, _, name: events.append((verb, str(name)))
    driver.sync = lambda container: events.append(('sync', ''))
    backup = chains.take(driver, chains.make_bytes(LENGTH))
    prefix = str(backup.service_metadata)
    writes = [name for verb, name in events if verb == 'write' and name.startswith(prefix)]
    assert writes == [f'{prefix}{end}' for end in ('_keys-1', '-00001', '_map', '_metadata')]
    kept = events.index(('commit', f'{prefix}_keys-1'))
    assert ('sync', '') in events[kept:events.index(('write', f'{prefix}-00001'))]
    events.clear()
    driver.delete_backup(backup)
    deletes = [event for event in events
               if event[0] == 'sync' or event[0] == 'delete' and event[1].startswith(prefix)]
    assert deletes == [event for end in ('_metadata', '-00001', '_map', '_keys-1')
                       for event in (('delete', f'{prefix}{end}'), ('sync', ''))]
