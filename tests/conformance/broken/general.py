"""Drivers that break the contract about all verbs together: sentences G1 to G3, G6 and G7."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import io
import threading
import time
from typing import Any

from backup_framework import exceptions, model
from backup_framework.testing import memory
from tests.conformance.broken.register import breaks


@breaks('G1')
class ListsInItsOwnThreadOnly(memory.MemoryBackupDriver):
    """As a SQLite connection made with its defaults."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._thread = threading.get_ident()

    def get_container_entries(self, container: str, prefix: str) -> list[str]:
        if threading.get_ident() != self._thread:
            raise exceptions.StoreError('called from another thread')
        return super().get_container_entries(container, prefix)


@breaks('G1')
class SharesABuffer(memory.MemoryBackupDriver):
    """Writers that are open at once in one thread collect in one buffer."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._local = threading.local()

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[io.BytesIO]:
        with super().get_object_writer(container, object_name) as own:
            depth = getattr(self._local, 'depth', 0)
            buffer = self._local.buffer if depth else io.BytesIO()
            self._local.buffer, self._local.depth = buffer, depth + 1
            try:
                yield buffer
            finally:
                self._local.depth = depth
            own.write(buffer.getvalue())


@breaks('G1')
class ResetsOneForAll(memory.MemoryBackupDriver):
    """A writer that is left resets the connection that all of them share."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._resets = 0

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[io.BytesIO]:
        before = self._resets
        with super().get_object_writer(container, object_name) as writer:
            try:
                yield writer
            except BaseException:
                self._resets += 1
                raise
            if self._resets != before:
                raise exceptions.StoreUnavailable('the connection was reset')


@breaks('G2')
class RefusesLongNames(memory.MemoryBackupDriver):

    def keep(self, container: str, object_name: str, data: bytes) -> None:
        if len(object_name.encode()) > 200:
            raise exceptions.StoreError('the name is too long')
        super().keep(container, object_name, data)


@breaks('G2')
class QuotesNames(memory.MemoryBackupDriver):
    """Shows names as its server spells them in addresses."""

    def get_container_entries(self, container: str, prefix: str) -> list[str]:
        names = super().get_container_entries(container, prefix)
        return [name.replace('&', '%26') for name in names]


@breaks('G2')
class HidesDotNames(memory.MemoryBackupDriver):
    """Takes all of them for temporary when it lists, and not when it writes."""

    def get_container_entries(self, container: str, prefix: str) -> list[str]:
        names = super().get_container_entries(container, prefix)
        return [name for name in names if '/.' not in f'/{name}']


@breaks('G2')
class LeaksOnDotNames(memory.MemoryBackupDriver):
    """Refuses them when the object is there already."""

    def keep(self, container: str, object_name: str, data: bytes) -> None:
        super().keep(container, object_name, data)
        if '/.' in f'/{object_name}':
            raise exceptions.StoreError('the name begins with a dot')


@breaks('G3')
class MixesContainersUp(memory.MemoryBackupDriver):

    def put_container(self, container: str) -> None:
        super().put_container(container)
        if container.endswith('-'):
            with self.store.lock:
                containers = self.store.containers
                containers[container] = containers.setdefault(container[:-1], {})


@breaks('G6')
class GuessesFreeSpace(memory.MemoryBackupDriver):
    """Its capabilities say that it does not know."""

    def capabilities(self) -> model.Capabilities:
        return dataclasses.replace(super().capabilities(), reports_free_space=False)

    def free_space(self) -> int:
        return 0


@breaks('G6')
class HidesNestedContainers(memory.MemoryBackupDriver):

    def list_containers(self) -> list[str]:
        return [container for container in super().list_containers() if '/' not in container]


@breaks('G6')
class DeclaresNoSize(memory.MemoryBackupDriver):
    """It can tell sizes, but says that it cannot."""

    def capabilities(self) -> model.Capabilities:
        return dataclasses.replace(super().capabilities(), reports_size=False)


@breaks('G6')
class HasEightWriters(memory.MemoryBackupDriver):
    """It declares more connections."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._free = threading.Semaphore(8)

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[io.BytesIO]:
        if not self._free.acquire(blocking=False):
            raise exceptions.StoreUnavailable('no connection is free')
        try:
            with super().get_object_writer(container, object_name) as writer:
                yield writer
        finally:
            self._free.release()


@breaks('G6')
class ReadsOrWrites(memory.MemoryBackupDriver):
    """Its connections do one or the other, all of them the same."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._readers = 0

    @contextlib.contextmanager
    def get_object_reader(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[memory.MemoryReader]:
        with super().get_object_reader(container, object_name) as reader:
            with self.store.lock:
                self._readers += 1
            try:
                yield reader
            finally:
                with self.store.lock:
                    self._readers -= 1

    def keep(self, container: str, object_name: str, data: bytes) -> None:
        if self._readers > 4:
            raise exceptions.StoreUnavailable('it is reading')
        super().keep(container, object_name, data)


@breaks('G6')
class CountsFromItsStart(memory.MemoryBackupDriver):

    def clock(self) -> float:
        return super().clock() - time.time() + time.monotonic()


@breaks('G6')
class TellsTimeAsText(memory.MemoryBackupDriver):

    def clock(self) -> float:
        return time.ctime(super().clock())  # type: ignore[return-value]


@breaks('G6')
class RemarksInPassing(memory.MemoryBackupDriver):

    def remarks(self) -> list[str]:
        return ['it is slow', None]  # type: ignore[list-item]


@breaks('G7')
class ClosesOnce(memory.MemoryBackupDriver):
    _closed = False

    def close(self) -> None:
        if self._closed:
            raise exceptions.StoreError('it is closed')
        self._closed = True
