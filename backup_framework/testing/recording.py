"""A wrapper that writes down what a driver was asked to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import threading
from typing import Any

from backup_framework.driver import chunked
from backup_framework.interface import chunked_driver
from backup_framework.testing import forwarding


@dataclasses.dataclass
class Call:
    """One verb. `bytes` is what went through it so far; `failed` that it ended with an error.

    `names` are those of `delete_objects`, which is one call however many they are.
    """

    verb: str
    container: str | None = None
    name: str | None = None
    bytes: int = 0
    failed: bool = False
    names: tuple[str, ...] = ()


class RecordingDriver(forwarding.ForwardingDriver):
    """Keeps `calls` in the order in which they began, and how many were open at once.

    :ivar calls: all calls; a listing's `name` is its prefix.
    :ivar most_open: the largest number of verbs that were open at the same time.
    """

    def __init__(self, driver: chunked.ChunkedBackupDriver) -> None:
        super().__init__(driver)
        self.calls: list[Call] = []
        self.most_open = 0
        self._open_now = 0
        self._lock = threading.Lock()

    def of(self, *verbs: str) -> list[Call]:
        """The calls of these verbs."""
        with self._lock:
            return [call for call in self.calls if call.verb in verbs]

    def forget(self) -> None:
        """Start a new record."""
        with self._lock:
            self.calls, self.most_open = [], self._open_now

    def put_container(self, container: str) -> None:
        with self._call('put_container', container):
            self.driver.put_container(container)

    def get_container_entries(self, container: str, prefix: str) -> list[str]:
        with self._call('get_container_entries', container, prefix):
            return list(self.driver.get_container_entries(container, prefix))

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[CountingWriter]:
        with self._call('get_object_writer', container, object_name) as call:
            with self.driver.get_object_writer(container, object_name, extra_metadata) as writer:
                yield CountingWriter(writer, call)

    @contextlib.contextmanager
    def get_object_reader(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[CountingReader]:
        with self._call('get_object_reader', container, object_name) as call:
            with self.driver.get_object_reader(container, object_name, extra_metadata) as reader:
                yield CountingReader(reader, call)

    def delete_object(self, container: str, object_name: str) -> None:
        with self._call('delete_object', container, object_name):
            self.driver.delete_object(container, object_name)

    def delete_objects(self, container: str, object_names: Sequence[str]) -> None:
        with self._call('delete_objects', container) as call:
            call.names = tuple(object_names)
            self.driver.delete_objects(container, object_names)

    def sync(self, container: str) -> None:
        with self._call('sync', container):
            self.driver.sync(container)

    def remove_temporary(self, older_than: float) -> int:
        with self._call('remove_temporary'):
            return self.driver.remove_temporary(older_than)

    def list_containers(self) -> list[str]:
        with self._call('list_containers'):
            return list(self.driver.list_containers())

    def object_size(self, container: str, object_name: str) -> int:
        with self._call('object_size', container, object_name):
            return self.driver.object_size(container, object_name)

    def free_space(self) -> int:
        with self._call('free_space'):
            return self.driver.free_space()

    def clock(self) -> float:
        with self._call('clock'):
            return self.driver.clock()

    @contextlib.contextmanager
    def _call(self, verb: str, container: str | None = None,
              name: str | None = None) -> Iterator[Call]:
        call = Call(verb, container, name)
        with self._lock:
            self.calls.append(call)
            self._open_now += 1
            self.most_open = max(self.most_open, self._open_now)
        try:
            yield call
        except BaseException:
            call.failed = True
            raise
        finally:
            with self._lock:
                self._open_now -= 1


class CountingWriter:
    """Counts what is written into its call."""

    def __init__(self, writer: chunked_driver.ObjectWriter, call: Call) -> None:
        self._writer = writer
        self._call = call

    def write(self, data: bytes | bytearray | memoryview) -> Any:
        self._call.bytes += memoryview(data).nbytes
        return self._writer.write(data)


class CountingReader:
    """Counts what is read into its call."""

    def __init__(self, reader: chunked_driver.ObjectReader, call: Call) -> None:
        self._reader = reader
        self._call = call

    def read(self, size: int = -1) -> bytes:
        data = self._reader.read(size)
        self._call.bytes += len(data)
        return data

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._reader, attribute)
