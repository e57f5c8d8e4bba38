"""What a store can do is asked once, again where it does not answer, and made use of."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import io
from typing import Any

import pytest

from backup_framework import exceptions, model
from backup_framework.engine.monitor import Monitor, Operation
from backup_framework.testing import memory
from tests.unit.driver import chains


class Asked(memory.MemoryBackupDriver):
    """Counts how often it is asked what it can do; the first `failures` times it does not know."""

    def __init__(self, settings: model.Settings | None = None, context: Any = None) -> None:
        super().__init__(settings, context)
        self.asked = 0
        self.failures = 0
        self.batch = 3
        self.batches: list[list[str]] = []

    def capabilities(self) -> model.Capabilities:
        self.asked += 1
        if self.asked <= self.failures:
            raise exceptions.StoreUnavailable('shelf.example does not answer')
        return dataclasses.replace(super().capabilities(), delete_batch=self.batch)

    def delete_objects(self, container: str, object_names: Sequence[str]) -> None:
        self.batches.append(list(object_names))
        for name in object_names:
            self.delete_object(container, name)


def make(**values: Any) -> Asked:
    return Asked.make(**{
        'format': '1.0.0', 'chunk_size': chains.CHUNK, 'block_size': chains.BLOCK,
        'container': chains.CONTAINER, 'workers': 2, 'retry_deadline': 0.0} | values)


def test_an_operation_asks_once() -> None:
    driver = make()
    backup = chains.take(driver, chains.make_bytes(20 * chains.CHUNK))
    assert driver.asked == 1
    operations = {
        'restore': lambda: driver.restore(backup, '', io.BytesIO(), True),
        'verify': lambda: driver.verify(backup),
        'quick': lambda: driver.verify(backup, operation=Operation(quick=True)),
        'delete': lambda: driver.delete_backup(backup)}
    for name, operation in operations.items():
        driver.asked = 0
        operation()
        assert driver.asked == 1, name


def test_a_failed_backup_is_cleaned_up_without_asking_again() -> None:
    driver = make()
    with pytest.raises(exceptions.OperationCancelled):
        chains.take(driver, Endless(), operation=(operation := Operation(Stops())))
    assert operation.monitor.done and driver.asked == 1 and not chains.names(driver)


class Stops(Monitor):
    def advance(self, length: int) -> None:
        super().advance(length)
        self.cancel()


class Endless(io.BytesIO):
    """A volume that nobody reads to its end."""

    def __init__(self) -> None:
        super().__init__(chains.make_bytes(40 * chains.CHUNK))


def test_a_store_that_does_not_answer_is_asked_again() -> None:
    driver = make(retry_deadline=60.0)
    driver.failures = 1
    backup = chains.take(driver, b'x' * 1000)
    assert driver.asked == 2 and chains.bring_back(driver, backup) == b'x' * 1000


@pytest.mark.parametrize('kind', ['backup', 'restore', 'verify', 'quick', 'delete'])
def test_a_store_that_never_answers(kind: str) -> None:
    driver = make()
    backup = chains.take(driver, b'x' * 1000)
    names, prefix = chains.names(driver), f'{backup.service_metadata}-'
    driver.asked, driver.failures = 0, 1000
    calls = {'backup': lambda: chains.take(driver, b'y' * 1000),
             'restore': lambda: driver.restore(backup, '', io.BytesIO(), True),
             'verify': lambda: driver.verify(backup),
             'quick': lambda: driver.verify(backup, operation=Operation(quick=True)),
             'delete': lambda: driver.delete_backup(backup)}
    with pytest.raises(exceptions.StoreUnavailable, match='does not answer'):
        calls[kind]()
    left = chains.names(driver)
    assert left == names or kind == 'delete' and any(name.startswith(prefix) for name in left)


@pytest.mark.parametrize('batch', [1, 3, 1000])
def test_objects_are_deleted_many_at_a_time(batch: int) -> None:
    driver = make()
    driver.batch = batch
    backup = chains.take(driver, chains.make_bytes(20 * chains.CHUNK))
    names = [name for name in chains.names(driver) if not name.endswith('_metadata')]
    operation = Operation()
    driver.delete_backup(backup, operation=operation)
    assert not chains.names(driver)
    assert sorted(name for batch in driver.batches for name in batch) == names
    assert max(map(len, driver.batches)) == min(batch, len(names))
    assert len(driver.batches) == -(-len(names) // batch)
    assert operation.monitor.done == operation.monitor.total == len(names)


class Opened(memory.MemoryBackupDriver):
    """A store that can be opened at the second attempt."""

    def __init__(self, settings: model.Settings | None = None, context: Any = None) -> None:
        super().__init__(settings, context)
        self.kinds: list[str] = []

    def before_operation(self, kind: str) -> None:
        self.kinds.append(kind)
        if len(self.kinds) == 1:
            raise exceptions.StoreUnavailable('shelf.example does not answer')


def test_a_store_that_cannot_be_opened_at_once_is_opened_again() -> None:
    driver = Opened.make(container=chains.CONTAINER)
    backup = chains.take(driver, b'data')
    assert driver.kinds == ['backup', 'backup']
    driver.kinds.clear()
    driver.delete_backup(backup)
    assert driver.kinds == ['delete', 'delete']
