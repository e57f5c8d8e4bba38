"""Ranges of an object: opened once, resumed after errors, through a file where there are none."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import itertools
import random
from typing import Any

import pytest

from backup_framework import exceptions, store
from backup_framework.testing import faults, memory

DATA = random.Random(3).randbytes(9 << 20)
UNAVAILABLE = exceptions.StoreUnavailable
PLACES = [(0, 10), (10, 5), (100, 1), (5, 7), (5 << 20, 4 << 20), (0, 9 << 20), (9 << 20, 0),
          ((9 << 20) - 1, 1)]


class OneWay(memory.MemoryBackupDriver):
    """A store that reads no ranges."""

    seekable = False

    @contextlib.contextmanager
    def get_object_reader(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[Any]:
        with super().get_object_reader(container, object_name, extra_metadata) as reader:
            yield _Refusing(reader) if self.seekable else _OneWay(reader)


class _OneWay:
    def __init__(self, reader: Any) -> None:
        self.read = reader.read


class _Refusing(_OneWay):
    def seek(self, offset: int) -> None:
        raise exceptions.NotSupported('this store reads no ranges')


class Refusing(OneWay):
    seekable = True


def make(kind: type[memory.MemoryBackupDriver] = memory.MemoryBackupDriver
         ) -> tuple[store.Container, faults.FaultyDriver]:
    driver = faults.FaultyDriver(kind())
    container = store.Container(driver, 'shelf', sleep=lambda seconds: None)
    container.create()
    container.put('name', lambda: [DATA])
    return container, driver


def opens(driver: faults.FaultyDriver) -> faults.Fault:
    return faults.Fault('get_object_reader', forever=True)


@pytest.mark.parametrize('kind', [memory.MemoryBackupDriver, OneWay, Refusing])
def test_exactly_what_was_asked_for(kind: type[memory.MemoryBackupDriver]) -> None:
    for order in itertools.islice(itertools.permutations(PLACES), 0, 40000, 2000):
        container, driver = make(kind)
        driver.plan = [opens(driver)]
        with container.ranges('name') as ranges:
            for offset, size in order:
                assert ranges.read_at(offset, size) == DATA[offset:offset + size]
        assert len(driver.happened) <= (1 if kind is memory.MemoryBackupDriver else 2)


@pytest.mark.parametrize('kind', [memory.MemoryBackupDriver, OneWay, Refusing])
def test_an_object_that_ends_before(kind: type[memory.MemoryBackupDriver]) -> None:
    container, _ = make(kind)
    with container.ranges('name') as ranges:
        for offset, size in (((9 << 20) - 1, 2), (9 << 20, 1), (1 << 40, 1), (0, (9 << 20) + 1)):
            with pytest.raises(exceptions.CorruptObject, match=r'^it ends'):
                ranges.read_at(offset, size)
        assert ranges.read_at(7, 7) == DATA[7:14]


@pytest.mark.parametrize('kind', [memory.MemoryBackupDriver, OneWay, Refusing])
def test_what_an_object_ends_with(kind: type[memory.MemoryBackupDriver]) -> None:
    for size in (1, 5, 9 << 20):
        container, _ = make(kind)
        start = len(DATA) - size
        with container.ranges('name') as ranges:
            assert ranges.read_last(start, size) == DATA[start:]
            assert ranges.read_at(7, 7) == DATA[7:14]
    for offset, size in ((0, 5), (5 << 20, (4 << 20) - 1), (0, (9 << 20) - 1), (9 << 20, 1)):
        container, _ = make(kind)
        with (container.ranges('name') as ranges,
              pytest.raises(exceptions.CorruptObject, match=r'^it (ends|has)')):
            ranges.read_last(offset, size)


@pytest.mark.parametrize('kind', [memory.MemoryBackupDriver, OneWay, Refusing])
@pytest.mark.parametrize('verb', ['get_object_reader', 'read'])
def test_what_may_pass_is_tried_again(verb: str, kind: type[memory.MemoryBackupDriver]) -> None:
    container, driver = make(kind)
    for call in range(1, 5):
        driver.plan = [faults.Fault(verb, call=call, error=UNAVAILABLE),
                       faults.Fault(verb, call=call + 1, error=UNAVAILABLE)]
        with container.ranges('name') as ranges:
            for offset, size in PLACES:
                assert ranges.read_at(offset, size) == DATA[offset:offset + size]
        if verb == 'read':
            assert len(driver.happened) == 2


def test_a_missing_object() -> None:
    container, _ = make()
    with pytest.raises(exceptions.ObjectNotFound), container.ranges('other') as ranges:
        ranges.read_at(0, 1)


def test_nothing_stays_open() -> None:
    container, driver = make()
    closed = []

    class Watching(memory.MemoryBackupDriver):
        @contextlib.contextmanager
        def get_object_reader(self, *args: Any) -> Iterator[Any]:
            with super().get_object_reader(*args) as reader:
                try:
                    yield reader
                finally:
                    closed.append(True)

    watching = Watching()
    container = store.Container(watching, 'shelf')
    container.create()
    container.put('name', lambda: [DATA])
    with container.ranges('name') as ranges:
        ranges.read_at(0, 5)
        assert not closed
    assert closed == [True]
