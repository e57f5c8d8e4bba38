"""A container: retries, pieces, readers that go on after a cut, and whose bug a bug is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
import random
import time

import pytest

from backup_framework import exceptions, store
from backup_framework.testing import faults, memory, recording
from tests.patience import soon

DATA = random.Random(3).randbytes(1 << 20)
UNAVAILABLE = exceptions.StoreUnavailable


class Pauses:
    """Instead of waiting, writes down for how long."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


def make(*plan: faults.Fault, deadline: float = 300.0,
         sleep: Callable[[float], None] | None = None
         ) -> tuple[store.Container, faults.FaultyDriver]:
    driver = faults.FaultyDriver(memory.MemoryBackupDriver(), plan)
    container = store.Container(driver, 'shelf', retry_deadline=deadline,
                                sleep=sleep or Pauses())
    driver.driver.put_container('shelf')
    return container, driver


CALLS = {
    'put_container': lambda container: container.create(),
    'get_container_entries': lambda container: container.names('na'),
    'get_object_writer': lambda container: container.put('new', lambda: [b'data']),
    'write': lambda container: container.put('new', lambda: [b'data']),
    'commit': lambda container: container.put('new', lambda: [b'data']),
    'get_object_reader': lambda container: container.get('name', 100),
    'read': lambda container: container.get('name', 100),
    'delete_object': lambda container: container.delete('name'),
    'object_size': lambda container: container.size('name'),
    'sync': lambda container: container.sync(),
}


@pytest.mark.parametrize('verb', CALLS)
def test_what_may_pass_is_tried_again(verb: str) -> None:
    container, driver = make(faults.Fault(verb, error=UNAVAILABLE),
                             faults.Fault(verb, call=2, error=UNAVAILABLE))
    container.put('name', lambda: [b'old'])
    driver.plan = driver.plan
    CALLS[verb](container)
    assert len(driver.happened) == 2


@pytest.mark.parametrize('verb', CALLS)
@pytest.mark.parametrize('error', [
    exceptions.PermissionDenied, exceptions.StoreFull, exceptions.ObjectExists,
    exceptions.NotSupported])
def test_what_does_not_pass_is_not_tried_again(verb: str, error: type[Exception]) -> None:
    container, driver = make()
    container.put('name', lambda: [b'old'])
    driver.plan = [faults.Fault(verb, forever=True, error=error)]
    with pytest.raises(error):
        CALLS[verb](container)
    assert len(driver.happened) == 1


@pytest.mark.parametrize('verb', CALLS)
def test_whatever_else_escapes_is_a_bug_of_the_driver(verb: str) -> None:
    container, driver = make()
    container.put('name', lambda: [b'old'])
    driver.plan = [faults.Fault(verb, forever=True, error=ConnectionResetError('by peer'))]
    with pytest.raises(exceptions.DriverBug,
                       match=r'driver FaultyDriver.*ConnectionResetError: by peer'):
        CALLS[verb](container)
    assert len(driver.happened) == 1


def test_a_driver_of_a_distribution_is_named_with_it() -> None:
    class Alien(memory.MemoryBackupDriver):
        def put_container(self, container: str) -> None:
            raise KeyError(container)
    Alien.__module__ = 'hypothesis.extra.driver'
    with pytest.raises(exceptions.DriverBug, match=r'Alien of distribution hypothesis \d'):
        store.Container(Alien(), 'shelf').create()


def test_no_deadline_means_once() -> None:
    pauses = Pauses()
    container, driver = make(faults.Fault('sync', forever=True, error=UNAVAILABLE),
                             deadline=0.0, sleep=pauses)
    with pytest.raises(UNAVAILABLE):
        container.sync()
    assert len(driver.happened) == 1 and not pauses.taken


def test_the_deadline_ends_it() -> None:
    container, driver = make(faults.Fault('sync', forever=True, error=UNAVAILABLE),
                             deadline=0.4, sleep=time.sleep)

    def sync_in_vain() -> None:
        with pytest.raises(UNAVAILABLE):
            container.sync()

    soon(sync_in_vain, 3)


def test_a_store_that_asks_for_time_gets_it() -> None:
    pauses = Pauses()
    container, _ = make(faults.Fault('sync', error=UNAVAILABLE('slow down', retry_after=77.0)),
                        sleep=pauses)
    container.sync()
    assert pauses.taken == [77.0]


def test_a_store_that_asks_for_more_than_there_is() -> None:
    pauses = Pauses()
    container, _ = make(
        faults.Fault('sync', forever=True, error=UNAVAILABLE('later', retry_after=1e9)),
        sleep=pauses)
    with pytest.raises(UNAVAILABLE, match='later'):
        container.sync()
    assert not pauses.taken


def test_pauses_grow_and_differ() -> None:
    pauses = Pauses()
    container, _ = make(*(faults.Fault('sync', call=n, error=UNAVAILABLE) for n in range(1, 12)),
                        sleep=pauses)
    container.sync()
    assert len(pauses.taken) == 11 and len(set(pauses.taken)) > 5
    assert max(pauses.taken) > pauses.taken[0] and max(pauses.taken) <= 30


def test_a_sleep_that_raises_ends_it() -> None:
    def stop(seconds: float) -> None:
        raise exceptions.OperationCancelled
    container, driver = make(faults.Fault('sync', forever=True, error=UNAVAILABLE), sleep=stop)
    with pytest.raises(exceptions.OperationCancelled):
        container.sync()
    assert len(driver.happened) == 1


def test_put_takes_its_pieces_anew() -> None:
    container, driver = make(faults.Fault('write', call=2, error=UNAVAILABLE))
    calls = 0

    def pieces() -> Iterator[bytes]:
        nonlocal calls
        calls += 1
        yield from (b'one', b'two', b'three')

    assert container.put('name', pieces) == 11 and calls == 2
    assert container.get('name', 100) == b'onetwothree'


def test_an_error_of_the_pieces_is_no_bug_of_the_driver() -> None:
    container, driver = make()

    def pieces() -> Iterator[bytes]:
        yield b'one'
        raise exceptions.NoSpace('the spool is full')

    with pytest.raises(exceptions.NoSpace):
        container.put('name', pieces)
    assert driver.driver.store.raw_names('shelf') == []


@pytest.mark.parametrize('kind', [bytes, bytearray, memoryview])
@pytest.mark.parametrize('length', [0, 1, store.WRITE_SIZE, store.WRITE_SIZE + 1,
                                    2 * store.WRITE_SIZE + 5])
def test_pieces_are_split(kind: type, length: int) -> None:
    sizes = []
    container, driver = make(faults.Fault('write', forever=True, change=lambda data: (
        sizes.append(len(data)), data)[1]))
    data = (DATA * 9)[:length]
    assert container.put('name', lambda: [kind(data), b'']) == length
    assert container.get('name', 1 << 30) == data
    assert all(1 <= size <= store.WRITE_SIZE for size in sizes) and sum(sizes) == length


@pytest.mark.parametrize('name', ['../other', '/etc/passwd', 'a//b', '', 'nul\0', '..'])
def test_names_are_checked_before_a_driver_sees_them(name: str) -> None:
    driver = recording.RecordingDriver(memory.MemoryBackupDriver())
    container = store.Container(driver, 'shelf')
    for call in (lambda: container.put(name, lambda: [b'']), lambda: container.get(name, 1),
                 lambda: container.delete(name), lambda: container.size(name),
                 lambda: container.open(name).__enter__()):
        with pytest.raises(exceptions.InvalidName):
            call()
    with pytest.raises(exceptions.InvalidName):
        store.Container(driver, name)
    assert not driver.calls


def test_get_is_bounded() -> None:
    container, _ = make()
    container.put('name', lambda: [DATA])
    assert container.get('name', len(DATA)) == DATA
    with pytest.raises(exceptions.CorruptObject, match='larger than 1000'):
        container.get('name', 1000)


def test_listing() -> None:
    container, _ = make()
    for name in ('b-2', 'b-1', 'a-1', 'b'):
        container.put(name, lambda: [b''])
    assert container.names('b') == ['b', 'b-1', 'b-2']
    assert container.names('') == ['a-1', 'b', 'b-1', 'b-2']
    assert store.Container(memory.MemoryBackupDriver(), 'missing').names('') == []


def test_a_listing_that_lies() -> None:
    container, _ = make(faults.Fault('get_container_entries', change=lambda names: ['../a']))
    with pytest.raises(exceptions.DriverBug, match='listed'):
        container.names('b')


def read_all(container: store.Container, step: int) -> bytes:
    with container.open('name') as reader:
        return b''.join(iter(lambda: reader.read(step), b''))


@pytest.mark.parametrize('cut_at', [1, 2, 5, 11])
def test_a_reader_goes_on_where_it_was(cut_at: int) -> None:
    container, driver = make()
    container.put('name', lambda: [DATA])
    driver.plan = [faults.Fault('read', call=cut_at, error=UNAVAILABLE),
                   faults.Fault('get_object_reader', call=2, error=UNAVAILABLE),
                   faults.Fault('read', call=cut_at + 1, error=UNAVAILABLE)]
    assert read_all(container, 100_000) == DATA
    assert len(driver.happened) == 3


def test_an_object_that_vanishes_while_it_is_read() -> None:
    container, driver = make()
    container.put('name', lambda: [DATA])
    driver.plan = [faults.Fault('read', call=3, error=UNAVAILABLE, hook=lambda: (
        driver.driver.delete_object('shelf', 'name')))]
    with pytest.raises(exceptions.ObjectNotFound):
        read_all(container, 100_000)


def test_an_object_that_is_shorter_when_it_is_opened_again() -> None:
    """It ends early; nothing is given out twice."""
    container, driver = make()
    container.put('name', lambda: [DATA])
    driver.plan = [faults.Fault('read', call=5, error=UNAVAILABLE, hook=lambda: (
        driver.driver.store.containers['shelf'].update(
            name=memory.Body(DATA[:1000], 1000))))]
    assert read_all(container, 100_000) == DATA[:400_000]


def test_a_body_that_stays_short_is_unavailable() -> None:
    container, driver = make(deadline=0.0)
    container.put('name', lambda: [DATA])
    driver.driver.store.shorten('shelf', 'name', 5000)
    with pytest.raises(UNAVAILABLE):
        read_all(container, 100_000)


def test_an_error_of_the_caller_goes_through_an_open_reader() -> None:
    container, _ = make()
    container.put('name', lambda: [DATA])
    with pytest.raises(ZeroDivisionError), container.open('name') as reader:
        assert len(reader.read(10)) == 10
        raise ZeroDivisionError


def test_an_object_is_read_in_pieces_that_a_driver_was_promised() -> None:
    sizes: list[int] = []

    class Asking:
        def __init__(self, reader: object) -> None:
            self._reader = reader

        def read(self, size: int = -1) -> bytes:
            sizes.append(size)
            return self._reader.read(size)  # type: ignore[attr-defined]

    class Watching(memory.MemoryBackupDriver):
        @contextlib.contextmanager
        def get_object_reader(self, *args: object):  # type: ignore[no-untyped-def, override]
            with super().get_object_reader(*args) as reader:  # type: ignore[arg-type]
                yield Asking(reader)

    driver = Watching()
    container = store.Container(driver, 'shelf')
    container.create()
    container.put('large', lambda: [bytes(9 << 20)])
    assert container.get('large', 10 << 20) == bytes(9 << 20)
    assert 0 < max(sizes) <= store.WRITE_SIZE and min(sizes) > 0
    with pytest.raises(exceptions.CorruptObject):
        container.get('large', 9 * (1 << 20) - 1)


class Bulk(memory.MemoryBackupDriver):
    """Fails the first time it is asked to delete several."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []

    def delete_objects(self, container: str, object_names: Sequence[str]) -> None:
        self.asked.append(list(object_names))
        self.delete_object(container, object_names[0])
        if len(self.asked) == 1:
            raise UNAVAILABLE('come back later')
        for name in object_names[1:]:
            self.delete_object(container, name)


def test_several_are_deleted_in_one_call_which_is_repeated_whole() -> None:
    driver = Bulk()
    container = store.Container(driver, 'shelf', sleep=Pauses())
    container.create()
    for name in 'abcd':
        container.put(name, lambda: [b'data'])
    container.delete_many(['a', 'b', 'c'])
    assert driver.asked == [['a', 'b', 'c']] * 2 and container.names('') == ['d']
    with pytest.raises(exceptions.InvalidName):
        container.delete_many(['d', '../d'])
    assert len(driver.asked) == 2 and container.names('') == ['d']


def test_a_driver_without_its_own_way_deletes_one_by_one() -> None:
    container, driver = make(faults.Fault('delete_object', name='b', error=UNAVAILABLE))
    for name in 'abc':
        container.put(name, lambda: [b'data'])
    container.delete_many('ab')
    assert container.names('') == ['c'] and driver.happened
