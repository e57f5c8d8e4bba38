"""The kit for the in-memory driver, and what is its own."""

from __future__ import annotations

import pytest

from backup_framework import exceptions
from backup_framework.testing import memory
from tests.conformance import memory_kit


class TestMemory(memory_kit.MemoryKit):

    @pytest.fixture
    def driver(self) -> memory.MemoryBackupDriver:
        return memory_kit.make()


class TestPlainMemory(memory_kit.MemoryKit):

    @pytest.fixture
    def driver(self) -> memory.MemoryBackupDriver:
        return memory_kit.make(memory_kit.PlainMemoryDriver)


def test_without_options_each_driver_has_its_own_store() -> None:
    one, two = memory.MemoryBackupDriver(), memory.MemoryBackupDriver()
    one.put_container('box')
    with pytest.raises(exceptions.ContainerNotFound):
        two.get_container_entries('box', '')


def test_drivers_with_the_same_store_see_the_same_objects() -> None:
    one = memory.MemoryBackupDriver.make(store='shared')
    one.put_container('box')
    assert memory.MemoryBackupDriver.make(store='shared').list_containers() == ['box']
    memory.forget_store('shared')
    assert memory.MemoryBackupDriver.make(store='shared').list_containers() == []
    memory.forget_store('shared')
