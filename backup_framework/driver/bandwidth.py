"""Limits on how fast objects are read and written, around a driver's verbs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
import time

from backup_framework import store
from backup_framework.engine import parallel
from backup_framework.interface import chunked_driver


def limited(driver: store.ObjectVerbs, read: int | None, write: int | None,
            sleep: Callable[[float], None]) -> store.ObjectVerbs:
    """The verbs with a limit on bytes a second, of all threads together; None or 0 is no limit.

    :param sleep: waits so many seconds; may raise to end the waiting.
    """
    if not read and not write:
        return driver
    return _Limited(driver, Limit(read, sleep), Limit(write, sleep))


class Limit:
    """Bytes a second. Whoever takes some waits until those taken before have had their time.

    :param rate: None or 0 for no limit.
    """

    def __init__(self, rate: int | None, sleep: Callable[[float], None],
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self._sleep = sleep
        self._clock = clock
        self._free_at = 0.0
        self._lock = parallel.lock()

    def take(self, length: int) -> None:
        """Wait until bytes may pass, and count these."""
        if not self.rate:
            return
        with self._lock:
            now = self._clock()
            wait = self._free_at - now
            self._free_at = max(self._free_at, now) + length / self.rate
        if wait > 0:
            self._sleep(wait)


class _Limited:
    """Verbs that wait; see `store.ObjectVerbs`."""

    def __init__(self, driver: store.ObjectVerbs, read: Limit, write: Limit) -> None:
        self._driver = driver
        self._read = read
        self._write = write

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str
                          ) -> Iterator[chunked_driver.ObjectWriter]:
        with self._driver.get_object_writer(container, object_name) as writer:
            yield _Writer(writer, self._write)

    @contextlib.contextmanager
    def get_object_reader(self, container: str, object_name: str
                          ) -> Iterator[chunked_driver.ObjectReader]:
        with self._driver.get_object_reader(container, object_name) as reader:
            yield _Reader(reader, self._read)

    def put_container(self, container: str) -> None:
        self._driver.put_container(container)

    def get_container_entries(self, container: str, prefix: str) -> Iterable[str]:
        return self._driver.get_container_entries(container, prefix)

    def delete_object(self, container: str, object_name: str) -> None:
        self._driver.delete_object(container, object_name)

    def delete_objects(self, container: str, object_names: Sequence[str]) -> None:
        self._driver.delete_objects(container, object_names)

    def object_size(self, container: str, object_name: str) -> int:
        return self._driver.object_size(container, object_name)

    def sync(self, container: str) -> None:
        self._driver.sync(container)


class _Writer:
    def __init__(self, writer: chunked_driver.ObjectWriter, limit: Limit) -> None:
        self._writer = writer
        self._limit = limit

    def write(self, data: bytes | bytearray | memoryview, /) -> object:
        self._limit.take(len(data))
        return self._writer.write(data)


class _Reader:
    """Also `seek`, where the driver's reader has it."""

    def __init__(self, reader: chunked_driver.ObjectReader, limit: Limit) -> None:
        self._reader = reader
        self._limit = limit

    def __getattr__(self, name: str) -> object:
        return getattr(self._reader, name)

    def read(self, size: int = -1, /) -> bytes:
        data = self._reader.read(size)
        self._limit.take(len(data))
        return data
