"""The wrappers: invisible when idle, and doing what their plan or record says otherwise."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest

from backup_framework import exceptions, model
from backup_framework.driver import chunked
from backup_framework.testing import faults, forwarding, memory, recording
from backup_framework.testing.faults import Fault, FaultyDriver
from tests.conformance import memory_kit


class WrappedKit(memory_kit.MemoryKit):
    """What is in the store is known by the driver inside."""

    def store(self, driver: Any) -> memory.MemoryStore:
        return driver.driver.store

    def fresh_driver(self, driver: Any) -> Any:
        return type(driver)(memory.MemoryBackupDriver(driver.settings))


class TestFaulty(WrappedKit):

    @pytest.fixture
    def driver(self) -> FaultyDriver:
        return FaultyDriver(memory_kit.make())


class TestRecording(WrappedKit):

    @pytest.fixture
    def driver(self) -> recording.RecordingDriver:
        return recording.RecordingDriver(memory_kit.make())


OWN = {'backup', 'restore', 'delete', 'delete_backup', 'verify', 'open_state', 'store_state',
       'volume_size', 'prefixes', 'begin_parts', 'store_part', 'end_parts',
       'describe', 'get_metadata', 'put_metadata', 'make', 'make_settings', 'get_driver_options'}
"""What a wrapper runs itself, by the verbs of the driver inside."""


def test_a_wrapper_hands_on_all_that_a_driver_may_override() -> None:
    there = {name for name, value in vars(chunked.ChunkedBackupDriver).items()
             if not name.startswith('_') and (callable(value) or isinstance(value, classmethod))}
    handed_on = vars(forwarding.ForwardingDriver).keys()
    assert there - OWN - handed_on == set()
    assert not OWN & handed_on


class Particular(memory.MemoryBackupDriver):
    imported: Any = None

    def host_paths(self) -> list[str]:
        return ['here']

    def remarks(self) -> list[str]:
        return ['it is small']

    def object_prefix(self, backup: model.Backup) -> str:
        return f'particular-{backup.id}'

    def export_record(self, backup: model.Backup) -> dict[str, Any]:
        return {'at': backup.id}

    def import_record(self, backup: model.Backup, driver_info: dict[str, Any]) -> None:
        self.imported = (backup.id, driver_info)


@pytest.mark.parametrize('wrapper', [FaultyDriver, recording.RecordingDriver])
def test_a_wrapper_asks_the_driver_inside(wrapper: Any) -> None:
    inner = Particular()
    driver, backup = wrapper(inner), model.Backup(id='b1')
    assert driver.host_paths() == ['here']
    assert driver.remarks() == ['it is small']
    assert driver.object_prefix(backup) == 'particular-b1'
    assert driver.export_record(backup) == {'at': 'b1'}
    driver.import_record(backup, {'at': 'b0'})
    assert inner.imported == ('b1', {'at': 'b0'})


def put(driver: Any, name: str, data: bytes) -> None:
    driver.put_container('box')
    with driver.get_object_writer('box', name) as writer:
        writer.write(data)


def get(driver: Any, name: str, size: int = -1) -> bytes:
    with driver.get_object_reader('box', name) as reader:
        return reader.read(size)


def faulty(*plan: Fault) -> FaultyDriver:
    return FaultyDriver(memory.MemoryBackupDriver(), plan)


def test_a_call_fails_once() -> None:
    driver = faulty(Fault('put_container', call=2, error=exceptions.StoreUnavailable))
    driver.put_container('one')
    with pytest.raises(exceptions.StoreUnavailable):
        driver.put_container('two')
    driver.put_container('three')
    assert driver.list_containers() == ['one', 'three']
    assert len(driver.happened) == 1


def test_calls_fail_from_then_on_and_a_new_plan_counts_anew() -> None:
    driver = faulty(Fault('list_containers', call=2, forever=True, error=exceptions.StoreError))
    assert driver.list_containers() == []
    for _ in range(3):
        with pytest.raises(exceptions.StoreError):
            driver.list_containers()
    driver.plan = []
    assert driver.list_containers() == [] and driver.happened == []


@pytest.mark.parametrize(('after', 'stored'), [(False, False), (True, True)])
def test_a_commit_fails_before_or_after_its_effect(after: bool, stored: bool) -> None:
    driver = faulty(Fault('commit', error=exceptions.StoreUnavailable('lost'), after=after))
    with pytest.raises(exceptions.StoreUnavailable, match='lost'):
        put(driver, 'name', b'data')
    assert driver.get_container_entries('box', '') == (['name'] if stored else [])


@pytest.mark.parametrize('verb', ['get_object_writer', 'write'])
def test_a_writer_fails(verb: str) -> None:
    driver = faulty(Fault(verb, error=exceptions.StoreFull))
    with pytest.raises(exceptions.StoreFull):
        put(driver, 'name', b'data')
    assert driver.get_container_entries('box', '') == []


def test_only_calls_of_a_name_count() -> None:
    driver = faulty(faults.missing('*-2'))
    for name in ('a-1', 'a-2'):
        put(driver, name, b'data')
    assert get(driver, 'a-1') == b'data'
    with pytest.raises(exceptions.ObjectNotFound):
        get(driver, 'a-2')


def test_bodies_are_cut_and_changed() -> None:
    driver = faulty(Fault('get_object_reader', change=faults.cut(2)),
                    Fault('get_object_reader', call=2, change=faults.flip(-1)),
                    Fault('read', call=3, change=faults.cut(1)),
                    Fault('object_size', change=lambda size: size + 1),
                    Fault('get_container_entries', change=lambda names: names * 2))
    put(driver, 'name', b'data')
    assert [get(driver, 'name') for _ in range(4)] == [b'da', b'dat`', b'd', b'data']
    assert driver.object_size('box', 'name') == 5
    assert driver.get_container_entries('box', '') == ['name', 'name']


def test_other_bytes_are_stored() -> None:
    driver = faulty(Fault('write', change=faults.flip(0)))
    put(driver, 'name', b'data')
    assert get(driver, 'name') == b'eata'


def test_a_hook_is_called_at_its_call() -> None:
    calls: list[str] = []
    driver = faulty(Fault('delete_object', call=2, hook=lambda: calls.append('killed')))
    for name in ('one', 'two', 'three'):
        driver.delete_object('box', name)
        calls.append(name)
    assert calls == ['one', 'killed', 'two', 'three']


def test_a_fault_of_one_name_keeps_no_other_of_its_batch() -> None:
    driver = faulty(Fault('delete_object', name='b', error=exceptions.PermissionDenied('held')))
    for name in 'abc':
        put(driver, name, b'data')
    with pytest.raises(exceptions.PermissionDenied, match='held'):
        driver.delete_objects('box', ['a', 'b', 'c'])
    assert driver.get_container_entries('box', '') == ['b']
    driver.delete_objects('box', ['b'])
    assert driver.get_container_entries('box', '') == []


@pytest.mark.parametrize(('fault', 'left'), [
    (Fault('delete_object', call=3, error=KeyboardInterrupt), ['c', 'd']),
    (Fault('delete_object', call=3, error=KeyboardInterrupt, after=True), ['d'])])
def test_a_kill_in_a_batch_finds_the_first_names_gone(fault: Fault, left: list[str]) -> None:
    driver = faulty(fault)
    for name in 'abcd':
        put(driver, name, b'data')
    with pytest.raises(KeyboardInterrupt):
        driver.delete_objects('box', list('abcd'))
    assert driver.get_container_entries('box', '') == left


def test_a_batch_without_a_fault_goes_at_once() -> None:
    inner = recording.RecordingDriver(memory.MemoryBackupDriver())
    driver = FaultyDriver(inner, [Fault('delete_object', name='d', error=exceptions.StoreError)])
    driver.delete_objects('box', ['a', 'b'])
    assert inner.calls == [recording.Call('delete_objects', 'box', names=('a', 'b'))]


def test_a_clock_fails_or_goes_wrong() -> None:
    driver = faulty(Fault('clock', error=exceptions.PermissionDenied),
                    Fault('clock', call=2, change=lambda told: told + 3600))
    with pytest.raises(exceptions.PermissionDenied):
        driver.clock()
    assert driver.clock() - driver.clock() > 3000


def test_a_delay_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(faults.time, 'sleep', waited.append)
    faulty(Fault('sync', delay=2.5)).sync('box')
    assert waited == [2.5]


def test_a_verb_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match='no such verb: wite'):
        Fault('wite')


def test_calls_are_written_down() -> None:
    driver = recording.RecordingDriver(memory.MemoryBackupDriver())
    put(driver, 'name', b'data')
    assert get(driver, 'name', 3) == b'dat'
    with pytest.raises(exceptions.ObjectNotFound):
        get(driver, 'missing')
    assert driver.calls == [
        recording.Call('put_container', 'box'),
        recording.Call('get_object_writer', 'box', 'name', 4),
        recording.Call('get_object_reader', 'box', 'name', 3),
        recording.Call('get_object_reader', 'box', 'missing', 0, failed=True)]
    assert [call.name for call in driver.of('get_object_reader')] == ['name', 'missing']
    driver.forget()
    assert driver.calls == []
    driver.delete_objects('box', ['name', 'missing'])
    assert driver.clock() > 0
    assert driver.calls == [
        recording.Call('delete_objects', 'box', names=('name', 'missing')),
        recording.Call('clock')]


def test_verbs_open_at_once_are_counted() -> None:
    driver = recording.RecordingDriver(memory.MemoryBackupDriver())
    put(driver, 'name', b'data')
    both = threading.Barrier(3)

    def read() -> None:
        with driver.get_object_reader('box', 'name'):
            both.wait(10)
            both.wait(10)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    both.wait(10)
    assert driver.most_open == 2
    both.wait(10)
    for thread in threads:
        thread.join()
    driver.forget()
    assert driver.most_open == 0


def backed_up(driver: Any, data: bytes) -> model.Backup:
    record = model.Backup(volume_id='volume')
    for field, value in driver.backup(record, io.BytesIO(data)).items():
        setattr(record, field, value)
    return record


def settings(**values: Any) -> model.Settings:
    return memory.MemoryBackupDriver.make_settings(
        chunk_size=16384, block_size=4096, compression='none', **values)


@pytest.mark.parametrize(('version', 'objects'), [('1.0.0', 5), ('2.0.0', 1)])
def test_a_full_backup_lists_once_and_describes_itself_in_two_objects(
        version: str, objects: int) -> None:
    """Five small chunks: an object each in format 1.0.0, one in 2.0.0."""
    driver = recording.RecordingDriver(memory.MemoryBackupDriver(settings(format=version)))
    record = backed_up(driver, bytes(range(256)) * 64 * 5)
    assert record.object_count == objects
    assert len(driver.of('get_object_writer')) == objects + 2
    assert len(driver.of('get_container_entries')) == 1
    assert driver.of('get_object_reader', 'delete_object', 'delete_objects') == []
    assert driver.calls[-1].verb == 'sync'
    assert driver.calls[-2].name == f'{record.service_metadata}_metadata'


class FewConnections(memory.MemoryBackupDriver):

    def capabilities(self) -> model.Capabilities:
        return model.Capabilities(connections=2)


def test_no_more_verbs_are_open_than_connections_are_declared() -> None:
    driver = recording.RecordingDriver(FewConnections(settings(workers=8)))
    slow = FaultyDriver(driver, [
        Fault(verb, forever=True, delay=0.002) for verb in ('write', 'read')])
    data = bytes(range(256)) * 64 * 24
    record = backed_up(slow, data)
    target = io.BytesIO()
    slow.restore(record, 'volume', target)
    assert target.getvalue() == data
    assert driver.most_open <= 2


def test_a_lost_answer_is_made_good() -> None:
    driver = FaultyDriver(memory.MemoryBackupDriver(settings(workers=0)), [
        Fault('commit', call=2, after=True, error=exceptions.StoreUnavailable(
            'the connection was reset', retry_after=0.0))])
    data = bytes(range(256)) * 64 * 3
    record = backed_up(driver, data)
    assert len(driver.happened) == 1
    target = io.BytesIO()
    driver.restore(record, 'volume', target)
    assert target.getvalue() == data
