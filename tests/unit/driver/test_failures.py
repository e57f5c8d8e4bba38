"""What fails or is stopped in the middle leaves nothing behind, or says what."""

from __future__ import annotations

import io
import threading
import time

import pytest

from backup_framework import exceptions, model
from backup_framework.engine.monitor import Monitor, Operation
from backup_framework.testing import faults, memory
from tests.patience import soon
from tests.unit.driver import chains


class StopAt(Monitor):
    """Asks to stop when so many bytes are done."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def advance(self, length: int) -> None:
        super().advance(length)
        if self.done >= self.at:
            self.cancel(signal=15)


def pool_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith('backup_')]


@pytest.mark.parametrize('workers', [0, 4])
@pytest.mark.parametrize('fault', [
    faults.Fault('put_container', error=exceptions.PermissionDenied),
    faults.Fault('get_object_writer', call=3, error=exceptions.StoreFull),
    faults.Fault('write', call=5, error=exceptions.StoreUnavailable),
    faults.Fault('commit', call=4, error=exceptions.StoreUnavailable),
    faults.Fault('commit', call=4, error=exceptions.StoreUnavailable, after=True),
    faults.Fault('commit', name='*_sha256file', error=exceptions.StoreFull),
    faults.Fault('sync', error=exceptions.StoreUnavailable),
    faults.Fault('commit', name='*_metadata', error=exceptions.StoreFull),
    faults.Fault('commit', name='*_metadata', error=exceptions.StoreUnavailable, after=True),
    faults.Fault('sync', call=2, error=exceptions.StoreUnavailable),
], ids=lambda value: getattr(value, 'verb', None) and f'{value.verb}-{value.call}-{value.name}')
def test_a_failing_store_keeps_no_object(fault: faults.Fault, workers: int) -> None:
    inner = chains.make_driver(workers=workers)
    driver = faults.FaultyDriver(inner, [fault])
    with pytest.raises(exceptions.StoreError) as caught:
        chains.take(driver, chains.make_bytes(20 * chains.CHUNK))
    assert driver.happened and not chains.names(inner)
    assert not pool_threads()
    assert not getattr(caught.value, '__notes__', [])


@pytest.mark.parametrize('workers', [0, 4])
def test_a_cancelled_backup_keeps_no_object(workers: int) -> None:
    """The traceback is kept alive on purpose: it must not keep the pool at work."""
    inner = chains.make_driver(workers=workers)
    slow = faults.FaultyDriver(inner, [faults.Fault('commit', forever=True, delay=0.02)])
    with pytest.raises(exceptions.OperationCancelled) as caught:
        chains.take(slow, chains.make_bytes(60 * chains.CHUNK),
                    operation=Operation(StopAt(3 * chains.CHUNK)))
    left, threads = chains.names(inner), pool_threads()
    time.sleep(0.1)
    assert caught.value.signal == 15 and caught.traceback
    assert (left, threads, chains.names(inner)) == ([], [], [])


@pytest.mark.parametrize('workers', [0, 4])
def test_a_cancelled_restore_writes_no_more(workers: int) -> None:
    driver = chains.make_driver(workers=workers)
    backup = chains.take(driver, chains.make_bytes(60 * chains.CHUNK))
    slow = faults.FaultyDriver(driver, [faults.Fault('read', forever=True, delay=0.01)])
    target = io.BytesIO()
    with pytest.raises(exceptions.OperationCancelled):
        slow.restore(backup, '', target, True, operation=Operation(StopAt(chains.CHUNK)))
    length, threads = len(target.getvalue()), pool_threads()
    time.sleep(0.1)
    assert not threads and len(target.getvalue()) == length


def test_a_cancelled_verify_ends_its_threads() -> None:
    driver = chains.make_driver(workers=4)
    backup = chains.take(driver, chains.make_bytes(60 * chains.CHUNK))
    slow = faults.FaultyDriver(driver, [faults.Fault('read', forever=True, delay=0.01)])
    with pytest.raises(exceptions.OperationCancelled):
        slow.verify(backup, operation=Operation(StopAt(chains.CHUNK)))
    assert not pool_threads()


@pytest.mark.parametrize('kind', ['backup', 'restore', 'verify', 'delete'])
def test_waiting_for_a_store_ends_when_somebody_asks_to_stop(kind: str) -> None:
    def stop() -> None:
        inner = chains.make_driver(retry_deadline=60.0, workers=2)
        backup = chains.take(inner, chains.make_bytes(1000))
        fault = faults.Fault({'backup': 'write', 'delete': 'delete_object'}.get(kind, 'read'),
                             forever=True, error=exceptions.StoreUnavailable(
                                 'come back later', retry_after=30.0))
        driver = faults.FaultyDriver(inner, [fault])
        operation = Operation()
        calls = {'backup': lambda: chains.take(driver, b'x' * 1000, operation=operation),
                 'restore': lambda: driver.restore(backup, '', io.BytesIO(), operation=operation),
                 'verify': lambda: driver.verify(backup, operation=operation),
                 'delete': lambda: driver.delete_backup(backup, operation=operation)}
        timer = threading.Timer(0.2, operation.monitor.cancel)
        timer.start()
        with pytest.raises(exceptions.OperationCancelled):
            calls[kind]()

    soon(stop, 5)


def test_a_clean_up_that_fails_is_said_with_the_error() -> None:
    inner = chains.make_driver()
    driver = faults.FaultyDriver(inner, [
        faults.Fault('commit', name='*-00003', error=exceptions.StoreFull),
        faults.Fault('delete_object', forever=True, error=exceptions.PermissionDenied)])
    backup = chains.record()
    with pytest.raises(exceptions.StoreFull) as caught:
        driver.backup(backup, io.BytesIO(chains.make_bytes(5 * chains.CHUNK)))
    note, = caught.value.__notes__
    assert str(backup.service_metadata) in note and chains.CONTAINER in note


def test_what_the_clean_up_could_not_do_the_delete_does() -> None:
    inner = chains.make_driver()
    driver = faults.FaultyDriver(inner, [
        faults.Fault('commit', name='*-00003', error=exceptions.StoreFull),
        faults.Fault('delete_object', error=exceptions.PermissionDenied)])
    backup = chains.record()
    with pytest.raises(exceptions.StoreFull):
        driver.backup(backup, io.BytesIO(chains.make_bytes(5 * chains.CHUNK)))
    assert chains.names(inner)
    inner.delete_backup(backup)
    assert not chains.names(inner)


def test_a_failed_backup_takes_no_object_of_another() -> None:
    inner = chains.make_driver()
    kept = chains.take(inner, chains.make_bytes(5000))
    before = chains.names(inner)
    driver = faults.FaultyDriver(inner, [
        faults.Fault('commit', name='*_metadata', error=exceptions.StoreFull)])
    with pytest.raises(exceptions.StoreFull):
        chains.take(driver, chains.make_bytes(5000, seed=1), parent=kept)
    assert chains.names(inner) == before
    assert chains.bring_back(inner, kept) == chains.make_bytes(5000)


def test_a_lost_answer_is_no_failure() -> None:
    """The object is there, the answer got lost: equal bytes again succeed."""
    inner = chains.make_driver(retry_deadline=30.0)
    driver = faults.FaultyDriver(inner, [
        faults.Fault('commit', call=2, after=True, error=exceptions.StoreUnavailable),
        faults.Fault('commit', name='*_metadata', after=True,
                     error=exceptions.StoreUnavailable)])
    data = chains.make_bytes(5000)
    backup = chains.take(driver, data)
    assert len(driver.happened) == 2
    assert chains.bring_back(inner, backup) == data and inner.verify(backup).ok


def test_the_record_knows_its_objects_before_there_are_any() -> None:
    driver = chains.make_driver()
    saved = []
    backup = chains.record(on_save=lambda saved_record: saved.append(
        (saved_record.container, saved_record.service_metadata, chains.names(driver))))
    driver.backup(backup, io.BytesIO(b'x' * 5000))
    assert saved == [(chains.CONTAINER, backup.service_metadata, [])]


def test_delete_takes_the_manifest_first_and_may_be_repeated() -> None:
    inner = chains.make_driver()
    backup = chains.take(inner, chains.make_bytes(5000))
    driver = faults.FaultyDriver(inner, [
        faults.Fault('delete_object', call=2, error=exceptions.PermissionDenied)])
    with pytest.raises(exceptions.PermissionDenied):
        driver.delete_backup(backup)
    assert f'{backup.service_metadata}_metadata' not in chains.names(inner)
    with pytest.raises(exceptions.MissingObject):
        chains.bring_back(inner, backup)
    driver.delete_backup(backup)
    driver.delete_backup(backup)
    assert not chains.names(inner)


def test_delete_leaves_names_that_only_look_alike() -> None:
    driver = chains.make_driver()
    backup = chains.take(driver, b'x' * 1000)
    prefix = str(backup.service_metadata)
    strangers = [f'{prefix}-00001-00001', f'{prefix}2-00001', f'{prefix}_metadata2', f'{prefix}-1',
                 f'{prefix}/-00001']
    for name in strangers:
        chains.overwrite(driver, name, b'not ours')
    driver.delete(backup)
    assert chains.names(driver) == sorted(strangers)


def test_a_bug_of_a_driver_names_the_driver() -> None:
    inner = chains.make_driver(retry_deadline=60.0)
    driver = faults.FaultyDriver(inner, [
        faults.Fault('write', error=ZeroDivisionError('of all things'))])
    with pytest.raises(exceptions.DriverBug, match='FaultyDriver.*ZeroDivisionError.*of all thi'):
        chains.take(driver, b'x' * 5000)
    assert not chains.names(inner)


class TidiedUp(Monitor):
    """Somebody removes an object while the backup goes on."""

    def __init__(self, driver: memory.MemoryBackupDriver, ending: str) -> None:
        super().__init__()
        self.driver = driver
        self.ending = ending

    def check(self) -> None:
        super().check()
        for name in chains.names(self.driver):
            if name.endswith(self.ending):
                self.driver.delete_object(chains.CONTAINER, name)


@pytest.mark.parametrize('ending', ['-00003', '_sha256file'])
def test_objects_that_vanish_under_a_backup_make_it_fail(ending: str) -> None:
    driver = chains.make_driver()
    with pytest.raises(exceptions.StoreError, match='are gone') as caught:
        chains.take(driver, chains.make_bytes(20 * chains.CHUNK),
                    operation=Operation(monitor=TidiedUp(driver, ending)))
    assert ending in str(caught.value)
    assert not chains.names(driver)


def test_what_was_taken_for_committed_is_cleaned_up_with_care() -> None:
    """While the manifest was there another backup could refer to the objects, and be complete."""
    inner = chains.make_driver(format='2.0.0', duplicates='container')
    data = chains.make_bytes(20 * chains.CHUNK)
    others: list[model.Backup] = []
    fault = faults.Fault('sync', call=2, error=exceptions.StoreUnavailable,
                         hook=lambda: others.append(chains.take(inner, data)))
    driver = faults.FaultyDriver(inner, [fault])
    failed = chains.record()
    with pytest.raises(exceptions.StoreUnavailable):
        driver.backup(failed, io.BytesIO(data))
    assert f'{failed.service_metadata}_metadata' not in chains.names(inner)
    assert chains.bring_back(inner, others[0]) == data
    driver.delete_backup(others[0])
    assert not chains.names(inner)


def test_the_record_of_a_running_backup_says_its_format() -> None:
    """Deleting what a killed process left removes the objects of this format, not of another."""
    driver = chains.make_driver(format='2.0.0')
    saved: list[str | None] = []
    backup = chains.record(on_save=lambda record: saved.append(record.format))
    driver.backup(backup, io.BytesIO(b'words'), operation=Operation(version='1.0.0'))
    assert saved == ['1.0.0']
