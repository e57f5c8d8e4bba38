"""The kit for the in-memory driver, whose store can be looked into and broken at will."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import io
from typing import Any
import uuid

from backup_framework import exceptions, model
from backup_framework.driver import chunked
from backup_framework.testing import conformance, memory


def make(driver: type[memory.MemoryBackupDriver] = memory.MemoryBackupDriver
         ) -> memory.MemoryBackupDriver:
    """A driver on a new store, which others with its settings share."""
    return driver.make(store=uuid.uuid4().hex)


class MemoryKit(conformance.ChunkedDriverConformance):
    """All hooks are overridden: no case is skipped. Sizes are small: it runs for many drivers."""

    large_object_bytes = (4 << 20) + 3
    small_writes = 500
    failures = 50
    release_seconds = 0.5

    def store(self, driver: Any) -> memory.MemoryStore:
        return driver.store

    def abandon(self, driver: Any, container: str, name: str) -> bool:
        block = driver.get_object_writer(container, name)
        block.__enter__().write(bytes(1000))
        # Kept, because a block that is garbage is a block that is left.
        self.store(driver).abandoned = [*getattr(self.store(driver), 'abandoned', ()), block]
        return True

    def raw_names(self, driver: Any, container: str) -> list[str]:
        return self.store(driver).raw_names(container)

    def shorten(self, driver: Any, container: str, name: str) -> bool:
        self.store(driver).shorten(container, name, 50_000)
        return True

    @contextlib.contextmanager
    def outage(self, driver: Any) -> Iterator[Callable[[], int]]:
        requests: list[str] = []

        def fail(what: str, *_: object) -> None:
            requests.append(what)
            raise exceptions.StoreUnavailable('the store is out')

        with self.answering(driver, fail):
            yield lambda: len(requests)

    def forbid(self, driver: Any, container: str) -> contextlib.AbstractContextManager[None]:
        def deny(what: str, where: str | None, name: str | None) -> None:
            if where == container:
                raise exceptions.PermissionDenied('403 Forbidden')

        return self.answering(driver, deny)

    def protect(self, driver: Any, container: str, name: str
                ) -> contextlib.AbstractContextManager[None]:
        def deny(*request: str | None) -> None:
            if request == ('delete', container, name):
                raise exceptions.PermissionDenied('it is held')

        return self.answering(driver, deny)

    def fill(self, driver: Any, container: str) -> contextlib.AbstractContextManager[None]:
        def refuse(what: str, where: str | None, name: str | None) -> None:
            if (what, where) == ('commit', container):
                raise exceptions.StoreFull('no room')

        return self.answering(driver, refuse)

    @contextlib.contextmanager
    def answering(self, driver: Any, answer: Callable[..., None]) -> Iterator[None]:
        """A block in which the store answers each request so."""
        store = self.store(driver)
        usual, store.on_request = store.on_request, answer
        try:
            yield
        finally:
            store.on_request = usual


class ReplacingMemoryDriver(memory.MemoryBackupDriver):
    """Puts other bytes under an existing name, from one moment to the next."""

    def capabilities(self) -> model.Capabilities:
        return dataclasses.replace(super().capabilities(), conditional_create=False)

    def keep(self, container: str, object_name: str, data: bytes) -> None:
        with self.store.lock:
            self.store.objects(container)[object_name] = memory.Body(data, len(data))


class PlainMemoryDriver(memory.MemoryBackupDriver):
    """The same store by a driver that declares every ability absent and refuses what it may."""

    def capabilities(self) -> model.Capabilities:
        return model.Capabilities(durable=False, atomic_replace=False, connections=1)

    @contextlib.contextmanager
    def get_object_reader(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[PlainReader]:
        yield PlainReader(self.body(container, object_name), container, object_name)

    def keep(self, container: str, object_name: str, data: bytes) -> None:
        with self.store.lock:
            self.store.objects(container)[object_name] = memory.Body(data, len(data))

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[io.BytesIO]:
        if '/.' in f'/{object_name}':
            raise exceptions.NotSupported('names that begin with a dot are not for this driver')
        with super().get_object_writer(container, object_name, extra_metadata) as writer:
            yield writer

    def list_containers(self) -> list[str]:
        raise exceptions.NotSupported('this driver cannot list its containers')

    def object_size(self, container: str, object_name: str) -> int:
        raise exceptions.NotSupported('this driver does not tell sizes of objects')

    def free_space(self) -> int:
        raise exceptions.NotSupported('this driver does not tell its free space')

    def clock(self) -> float:
        raise exceptions.NotSupported('this driver does not tell its time')

    delete_objects = chunked.ChunkedBackupDriver.delete_objects


class PlainReader(memory.MemoryReader):

    def seek(self, offset: int) -> int:
        raise exceptions.NotSupported('this driver cannot read from the middle of an object')
