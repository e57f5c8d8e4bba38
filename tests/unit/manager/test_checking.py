"""What the trial of a store finds, measures, and removes again."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import io
import threading
import time
from typing import Any
import zlib

import pytest

from backup_framework import exceptions, model
from backup_framework.engine.monitor import Monitor
from backup_framework.manager import checking, speed
from backup_framework.testing import memory

MIB = 1 << 20
VERBS = {
    'put_container', 'get_object_writer', 'sync', 'get_container_entries', 'get_object_reader',
    'seek', 'object_size', 'list_containers', 'free_space', 'clock', 'conditional_create',
    'atomic_replace', 'delete_object', 'delete_objects', 'durable', 'clean_up'}
SPEEDS = {'write_speed', 'read_speed'}


class Shelf(memory.MemoryBackupDriver):
    """Does as a test says; by itself it can do all there is."""

    able: dict[str, Any] = {}
    ahead = 0.0
    space = 1 << 40

    def capabilities(self) -> model.Capabilities:
        return model.Capabilities(**{
            'ranged_read': True, 'conditional_create': True, 'lists_containers': True,
            'reports_size': True, 'reports_free_space': True, 'reports_clock': True,
            'durable': True, 'delete_batch': 2, 'connections': 3} | self.able)

    def clock(self) -> float:
        return time.time() + self.ahead

    def free_space(self) -> int:
        return self.space


class Replacing(Shelf):
    able = {'conditional_create': False}

    def keep(self, container: str, object_name: str, data: bytes) -> None:
        with self.store.lock:
            self.store.objects(container)[object_name] = memory.Body(data, len(data))


class Mixing(Replacing):
    def keep(self, container: str, object_name: str, data: bytes) -> None:
        old = self.store.containers[container].get(object_name, memory.Body(b'', 0)).data
        super().keep(container, object_name, old[:100] + data[100:] if old else data)


class KeepsAll(Shelf):
    def delete_object(self, container: str, object_name: str) -> None:
        raise exceptions.PermissionDenied('nothing may be deleted here')

    def delete_objects(self, container: str, object_names: Any) -> None:
        raise exceptions.PermissionDenied('nothing may be deleted here')


class Forgetful(Shelf):
    def delete_objects(self, container: str, object_names: Any) -> None:
        super().delete_object(container, object_names[0])


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, 'MOST', 8 * MIB)
    monkeypatch.setattr(checking, 'PATIENCE', 0.0)


def run(driver: memory.MemoryBackupDriver, measure: bool = False, monitor: Monitor | None = None
        ) -> dict[str, checking.Proof]:
    proofs = checking.Trial(driver, monitor or Monitor()).run(measure=measure)
    assert len({proof.verb for proof in proofs}) == len(proofs)
    return {proof.verb: proof for proof in proofs}


def left_in(driver: memory.MemoryBackupDriver) -> list[str]:
    return [name for box in driver.store.containers.values() for name in box]


def test_a_store_that_can_do_everything() -> None:
    driver = Shelf()
    found = run(driver, measure=True)
    assert found.keys() == VERBS | SPEEDS
    assert {proof.level for proof in found.values()} == {'ok'}
    assert found['free_space'].value == 1 << 40 and found['delete_objects'].value == 2
    assert found['clock'].value == pytest.approx(0, abs=1)
    assert left_in(driver) == []


def test_a_store_that_can_do_little() -> None:
    class Little(Replacing):
        able = dict.fromkeys((
            'ranged_read', 'conditional_create', 'atomic_replace', 'lists_containers',
            'reports_size', 'reports_free_space', 'reports_clock', 'durable'), False) | {
                'delete_batch': 1}

    driver = Little()
    found = run(driver)
    assert found.keys() == VERBS
    assert {verb for verb, proof in found.items() if proof.level == 'no'} == {
        'seek', 'conditional_create', 'atomic_replace', 'list_containers', 'object_size',
        'free_space', 'clock', 'delete_objects'}
    assert found['durable'].level == 'warning' and 'power cut' in found['durable'].detail
    assert left_in(driver) == []


@pytest.mark.parametrize('base, able, verb, level, words', [
    (Replacing, {}, 'atomic_replace', 'ok', ''),
    (Replacing, {'conditional_create': True}, 'conditional_create', 'error', 'not refused'),
    (Shelf, {'conditional_create': False}, 'atomic_replace', 'error', 'other bytes'),
    (Mixing, {}, 'atomic_replace', 'error', 'other bytes came back'),
    (Mixing, {'conditional_create': True}, 'atomic_replace', 'error', 'not refused'),
    (Forgetful, {}, 'delete_objects', 'error', 'several-00001'),
])
def test_a_promise_is_tried(base: type[Shelf], able: dict[str, Any], verb: str, level: str,
                            words: str) -> None:
    class Driver(base):  # type: ignore[misc, valid-type]
        pass

    Driver.able = base.able | able
    proof = run(Driver())[verb]
    assert proof.level == level and words in proof.detail


def test_a_store_that_does_not_let_us_delete() -> None:
    """A backup can do without; what stays is named, and is not much."""
    driver = KeepsAll()
    found = run(driver, measure=True)
    assert 'error' not in {proof.level for proof in found.values()}
    assert found['delete_object'].level == found['clean_up'].level == 'warning'
    container, = driver.store.containers
    assert 'probe-00001' in found['clean_up'].detail and container in found['clean_up'].detail
    assert {found[verb].level for verb in SPEEDS | {'delete_objects'}} == {'skipped'}
    assert left_in(driver) == ['probe-00001']


@pytest.mark.parametrize('wanted, container', [(None, 'bucket'), ('other', 'other')])
def test_a_driver_that_names_the_container_is_tried_there(wanted: str | None, container: str
                                                          ) -> None:
    """A container of the check's own might be a bucket, which nobody would remove."""
    class Names(KeepsAll):
        def update_container_name(self, backup: model.Backup, container: str | None) -> str | None:
            return None if container else 'bucket'

    driver = Names()
    driver.settings = driver.make_settings(container=wanted)
    driver.put_container(container)
    driver.keep(container, 'probe-00001', b'a name that is taken')
    assert 'error' not in {proof.level for proof in run(driver).values()}
    assert driver.store.containers.keys() == {container}
    assert len([name for name in left_in(driver) if name.startswith('bf-check-')]) == 1

    class Deletes(Shelf):
        update_container_name = Names.update_container_name

    driver = Deletes()
    driver.settings = driver.make_settings(container=wanted)
    assert {proof.level for proof in run(driver, measure=True).values()} == {'ok'}
    assert driver.store.containers == {container: {}}


def test_a_store_that_deletes_nothing_and_does_not_say_so() -> None:
    class Silent(Shelf):
        def delete_object(self, container: str, object_name: str) -> None:
            pass

    assert run(Silent())['delete_object'].level == 'error'


@pytest.mark.parametrize('ahead, level, words', [
    (42.0, 'warning', '42 s ahead of'), (-4000.0, 'warning', '4000 s behind'), (4.0, 'ok', '')])
def test_a_clock_that_differs(ahead: float, level: str, words: str) -> None:
    driver = Shelf()
    driver.ahead = ahead
    proof = run(driver)['clock']
    assert proof.level == level and words in proof.detail
    assert proof.value == pytest.approx(ahead, abs=1)


def test_a_clock_that_is_slow_to_ask_is_not_said_to_differ(monkeypatch: pytest.MonkeyPatch
                                                           ) -> None:
    class Slow(Shelf):
        def clock(self) -> float:
            try:
                return time.time()
            finally:
                time.sleep(0.3)

    monkeypatch.setattr(checking, 'CLOCK_TOLERANCE', 0.1)
    assert run(Slow())['clock'].level == 'ok'


def test_too_little_space_for_the_probe() -> None:
    driver = Shelf()
    driver.space = 4 * speed.MOST - 1
    found = run(driver, measure=True)
    assert {found[verb].level for verb in SPEEDS} == {'skipped'}
    assert str(driver.space) in found['write_speed'].detail


def test_what_a_driver_remarks() -> None:
    class Remarks(Shelf):
        def remarks(self) -> list[str]:
            return ['the server has no fsync', 'paramiko is used']

    proofs = checking.Trial(Remarks(), Monitor()).run(measure=False)
    assert [tuple(proof[:3]) for proof in proofs[-2:]] == [
        ('remarks', 'note', 'the server has no fsync'), ('remarks', 'note', 'paramiko is used')]


def test_remarks_of_a_store_that_went_away() -> None:
    class Gone(Shelf):
        def remarks(self) -> list[str]:
            raise exceptions.StoreUnavailable('the server went away')

    assert run(Gone())['remarks'][1:3] == ('error', 'the server went away')


class Busy(Shelf):
    """Counts writers and readers, and what they carry; `pause` is slept for each piece."""

    pause = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.most = {'write': 0, 'read': 0}
        self.open = {'write': 0, 'read': 0}
        self.sizes: dict[str, int] = {}
        self.data: dict[str, bytes] = {}

    @contextlib.contextmanager
    def counted(self, way: str) -> Iterator[None]:
        with self.store.lock:
            self.open[way] += 1
            self.most[way] = max(self.most[way], self.open[way])
        try:
            yield
        finally:
            with self.store.lock:
                self.open[way] -= 1

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[Any]:
        with (self.counted('write'),
              super().get_object_writer(container, object_name) as writer):
            yield Slow(writer, self.pause)
            self.data[object_name] = writer.getvalue()
            self.sizes[object_name] = writer.tell()

    @contextlib.contextmanager
    def get_object_reader(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[Any]:
        with (self.counted('read'),
              super().get_object_reader(container, object_name) as reader):
            yield Slow(reader, self.pause)


class Slow:
    def __init__(self, stream: Any, pause: float) -> None:
        self._stream, self._pause = stream, pause
        self.seek = stream.seek

    def write(self, data: memoryview) -> int:
        time.sleep(self._pause)
        return int(self._stream.write(data))

    def read(self, size: int = -1) -> bytes:
        time.sleep(self._pause)
        return bytes(self._stream.read(size))


@pytest.mark.parametrize('workers, connections, at_once', [(2, 3, 2), (8, 3, 3), (0, 3, 1)])
def test_as_many_objects_at_once_as_a_backup_would_send(workers: int, connections: int,
                                                        at_once: int) -> None:
    driver = Busy()
    driver.able = {'connections': connections}
    driver.settings = driver.make_settings(workers=workers)
    driver.pause = 0.005
    found = run(driver, measure=True)
    assert driver.most == {'write': at_once, 'read': at_once}
    assert f', {at_once} at once' in found['write_speed'].detail


def test_the_probe_is_bounded_and_noise() -> None:
    driver = Busy()
    driver.able = {'max_object_size': MIB}
    run(driver, measure=True)
    sizes = [size for name, size in driver.sizes.items() if name.startswith('speed-')]
    assert max(sizes) <= MIB and speed.MOST * 3 // 4 < sum(sizes) <= speed.MOST
    bodies = [data for name, data in driver.data.items() if name.startswith('speed-')]
    blocks = [body[at:at + 4096] for body in bodies for at in range(0, len(body) - 4095, 4096)]
    assert len(set(blocks)) == len(blocks) > 1000
    assert len(zlib.compress(b''.join(bodies), 1)) > 0.99 * sum(sizes)


@pytest.mark.parametrize('largest', [32 * MIB, MIB])
def test_a_slow_store_is_measured_in_time(monkeypatch: pytest.MonkeyPatch, largest: int) -> None:
    """Two at once; a MiB takes 5 ms to write, and soon 50 ms; and 400 ms to read."""
    class Slower(Busy):
        @contextlib.contextmanager
        def get_object_writer(self, container: str, object_name: str,
                              extra_metadata: Any = None) -> Iterator[Any]:
            self.pause = 0.05 if object_name > 'speed-2' else 0.005
            with super().get_object_writer(container, object_name) as writer:
                yield writer

        @contextlib.contextmanager
        def get_object_reader(self, container: str, object_name: str,
                              extra_metadata: Any = None) -> Iterator[Any]:
            self.pause = 0.4 if object_name.startswith('speed') else 0.0
            with super().get_object_reader(container, object_name) as reader:
                yield reader

    monkeypatch.setattr(speed, 'SECONDS', 0.5)
    monkeypatch.setattr(speed, 'MOST', 1 << 30)
    seen = []

    def is_measured() -> bool:
        driver = Slower()
        driver.able = {'connections': 2, 'max_object_size': largest}
        started = time.monotonic()
        found = run(driver, measure=True)
        seconds = time.monotonic() - started
        write, read = (found[f'{way}_speed'].value or 0 for way in ('write', 'read'))
        assert write < 45e6 and read < 6e6
        assert left_in(driver) == []
        seen.append((seconds, write, read))
        return seconds < 3 and 5e6 < write and 5e5 < read

    assert any(is_measured() for _ in range(3)), seen  # a pause of the machine slows one of them


def test_what_comes_back_is_compared() -> None:
    class Flips(Shelf):
        @contextlib.contextmanager
        def get_object_reader(self, container: str, object_name: str,
                              extra_metadata: Any = None) -> Iterator[Any]:
            data = bytearray(self.body(container, object_name).data)
            if object_name.startswith('speed-'):
                data[-1] ^= 1
            yield io.BytesIO(bytes(data))

    driver = Flips()
    found = run(driver, measure=True)
    assert found['write_speed'].level == 'ok' and found['read_speed'].level == 'error'
    assert 'speed-' in found['read_speed'].detail and left_in(driver) == []


def test_a_store_that_fills_up() -> None:
    class Full(Shelf):
        def keep(self, container: str, object_name: str, data: bytes) -> None:
            if len(data) > MIB:
                raise exceptions.StoreFull('no space')
            super().keep(container, object_name, data)

    driver = Full()
    found = run(driver, measure=True)
    assert found['write_speed'].level == 'error' and found['read_speed'].level == 'skipped'
    assert left_in(driver) == []


class StopsIn(Monitor):
    """Asks to stop in the middle of a phase, or before it."""

    def __init__(self, phase: str) -> None:
        super().__init__()
        self.stop_in = phase

    def advance(self, length: int) -> None:
        super().advance(length)
        if self.phase == self.stop_in and self.done > MIB:
            self.cancel()


@pytest.mark.parametrize('phase', ['write', 'read'])
def test_what_was_written_is_removed_also_when_somebody_asks_to_stop(phase: str) -> None:
    driver = Busy()
    with pytest.raises(exceptions.OperationCancelled) as caught:
        run(driver, measure=True, monitor=StopsIn(phase))
    assert driver.sizes and left_in(driver) == []
    assert not getattr(caught.value, '__notes__', [])
    assert not [each for each in threading.enumerate() if each.name.startswith('backup_')]


def test_what_is_left_after_a_stop_is_said() -> None:
    class Stops(KeepsAll):
        monitor = Monitor()

        def clock(self) -> float:
            self.monitor.cancel()
            return super().clock()

    driver = Stops()
    with pytest.raises(exceptions.OperationCancelled) as caught:
        run(driver, monitor=driver.monitor)
    note, = caught.value.__notes__
    assert 'probe-00001 may be left in container' in note and 'nothing may be deleted' in note
