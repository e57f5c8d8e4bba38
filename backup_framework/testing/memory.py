"""A store in a dict: for tests, and the shortest driver that does all a driver may do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import io
import os
import threading
import time
from typing import Any
import uuid

from backup_framework import exceptions, model
from backup_framework.driver import chunked, objects


@dataclasses.dataclass
class Body:
    """An object as stored. `size` is what the store says, which `shorten` makes a lie."""

    data: bytes
    size: int


class MemoryStore:
    """Containers of objects, and the parts of objects that are still being written.

    :ivar on_request: called before anything is done, with what is asked ('create', 'list', 'read',
        'write', 'commit' at the end of a writer's block, 'delete', 'ask'), container and object,
        where there is one. A test makes it raise to play a store that refuses.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.containers: dict[str, dict[str, Body]] = {}
        self.temporary: dict[tuple[str, str], float] = {}
        self.on_request: Callable[[str, str | None, str | None], None] = lambda *_: None

    def raw_names(self, container: str) -> list[str]:
        """Everything in a container, temporary names included."""
        with self.lock:
            unfinished = [name for box, name in self.temporary if box == container]
            return [*self.containers.get(container, ()), *unfinished]

    def shorten(self, container: str, object_name: str, length: int) -> None:
        """Cut an object's body to `length` bytes and go on telling its old size."""
        with self.lock:
            body = self.containers[container][object_name]
            self.containers[container][object_name] = Body(body.data[:length], body.size)

    def remove(self, container: str, object_name: str) -> None:
        with self.lock:
            self.containers.get(container, {}).pop(object_name, None)

    def objects(self, container: str) -> dict[str, Body]:
        """A container's objects; call it under the lock."""
        try:
            return self.containers[container]
        except KeyError:
            raise exceptions.ContainerNotFound(
                f'there is no container {container}', container=container) from None


_stores: dict[str, MemoryStore] = {}
_stores_lock = threading.Lock()


def shared_store(name: str) -> MemoryStore:
    """The store that all drivers with `store = name` see; made when first asked for."""
    with _stores_lock:
        return _stores.setdefault(name, MemoryStore())


def forget_store(name: str) -> None:
    """Drop a shared store; drivers that are open keep what they have."""
    with _stores_lock:
        _stores.pop(name, None)


class MemoryBackupDriver(chunked.ChunkedBackupDriver):
    """Keeps objects in this process. Without options each instance has a store of its own."""

    OPTIONS = (
        model.Option('store', help=(
            'Drivers with the same name here see the same objects. Unset, a driver has its own.')),
    )

    def __init__(self, settings: model.Settings | None = None, context: Any = None) -> None:
        super().__init__(settings or self.make_settings(), context)
        name = self.settings.store
        self.store = MemoryStore() if name is None else shared_store(name)

    def capabilities(self) -> model.Capabilities:
        return model.Capabilities(
            ranged_read=True, conditional_create=True, lists_containers=True, reports_size=True,
            reports_free_space=True, reports_clock=True, durable=False, connections=32,
            delete_batch=100)

    def put_container(self, container: str) -> None:
        self.store.on_request('create', container, None)
        with self.store.lock:
            self.store.containers.setdefault(container, {})

    def get_container_entries(self, container: str, prefix: str) -> list[str]:
        self.store.on_request('list', container, None)
        with self.store.lock:
            return [name for name in self.store.objects(container) if name.startswith(prefix)]

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[io.BytesIO]:
        self.store.on_request('write', container, object_name)
        buffer = io.BytesIO()
        key = (container, f'.{uuid.uuid4().hex}')
        with self.store.lock:
            self.store.objects(container)
            self.store.temporary[key] = time.monotonic()
        try:
            yield buffer
            self.store.on_request('commit', container, object_name)
            self.keep(container, object_name, buffer.getvalue())
        finally:
            with self.store.lock:
                self.store.temporary.pop(key, None)

    @contextlib.contextmanager
    def get_object_reader(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[MemoryReader]:
        yield MemoryReader(self.body(container, object_name), container, object_name)

    def delete_object(self, container: str, object_name: str) -> None:
        self.store.on_request('delete', container, object_name)
        self.store.remove(container, object_name)

    def delete_objects(self, container: str, object_names: Sequence[str]) -> None:
        self.store.on_request('delete', container, None)

        def delete(name: str) -> None:
            self.store.on_request('delete', container, name)
            self.store.remove(container, name)

        objects.delete_each(delete, object_names)

    def list_containers(self) -> list[str]:
        self.store.on_request('list', None, None)
        with self.store.lock:
            return list(self.store.containers)

    def object_size(self, container: str, object_name: str) -> int:
        return self.body(container, object_name).size

    def free_space(self) -> int:
        """The memory that this host has left."""
        self.store.on_request('ask', None, None)
        return os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')

    def clock(self) -> float:
        self.store.on_request('ask', None, None)
        return time.time()

    def remove_temporary(self, older_than: float) -> int:
        self.store.on_request('delete', None, None)
        latest = time.monotonic() - older_than
        with self.store.lock:
            old = [key for key, written in self.store.temporary.items() if written <= latest]
            for key in old:
                del self.store.temporary[key]
        return len(old)

    def body(self, container: str, object_name: str) -> Body:
        """An object as stored, or ObjectNotFound."""
        self.store.on_request('read', container, object_name)
        with self.store.lock:
            found = self.store.objects(container).get(object_name)
        if found is None:
            raise exceptions.ObjectNotFound(
                f'there is no object {object_name} in container {container}',
                container=container, name=object_name)
        return found

    def keep(self, container: str, object_name: str, data: bytes) -> None:
        """Put a whole object in its place; other bytes under its name are ObjectExists."""
        with self.store.lock:
            existing = self.store.objects(container).setdefault(
                object_name, Body(data, len(data)))
        if existing.data != data:
            raise exceptions.ObjectExists(
                f'object {object_name} in container {container} exists with other bytes',
                container=container, name=object_name)


class MemoryReader:
    """Reads a Body from its start; tells a body that is shorter than its size."""

    def __init__(self, body: Body, container: str, object_name: str) -> None:
        self._body = body
        self._where = (container, object_name)
        self._stream = io.BytesIO(body.data)

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        wanted = self._body.size - self._stream.tell()
        if wanted > 0 and (size < 0 or len(data) < size):
            container, name = self._where
            raise exceptions.StoreUnavailable(
                f'object {name} ended {wanted} bytes before its end',
                container=container, name=name)
        return data

    def seek(self, offset: int) -> int:
        return self._stream.seek(offset)
