"""Drivers that break the contract about what goes wrong: sentences G4, G5, G8 and G9."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import io
import tempfile
import threading
import time
from typing import Any
import weakref

from backup_framework import exceptions
from backup_framework.testing import memory
from tests.conformance.broken.register import breaks


@breaks('G4')
class LeaksKeyError(memory.MemoryBackupDriver):

    def sync(self, container: str) -> None:
        self.store.containers[container]


@breaks('G5')
class Retries(memory.MemoryBackupDriver):

    def body(self, container: str, object_name: str) -> memory.Body:
        for _ in range(2):
            with contextlib.suppress(exceptions.StoreUnavailable):
                return super().body(container, object_name)
        return super().body(container, object_name)


@breaks('G8')
class FailsForWantOfRoom(memory.MemoryBackupDriver):
    """Its server answers no more than "failure"."""

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[io.BytesIO]:
        with exceptions.translate({exceptions.StoreFull: exceptions.StoreError}):
            with super().get_object_writer(container, object_name) as writer:
                yield writer


@breaks('G8')
class HidesWhatIsForbidden(memory.MemoryBackupDriver):

    def body(self, container: str, object_name: str) -> memory.Body:
        with exceptions.translate({exceptions.PermissionDenied: exceptions.ObjectNotFound}):
            return super().body(container, object_name)


@breaks('G8')
class GivesUpAtOnce(memory.MemoryBackupDriver):
    """What could be tried again is an error like any other."""

    def get_container_entries(self, container: str, prefix: str) -> list[str]:
        with exceptions.translate({exceptions.StoreUnavailable: exceptions.StoreError}):
            return super().get_container_entries(container, prefix)


@breaks('G9')
class KeepsHalfObjects(memory.MemoryBackupDriver):
    """Under their temporary names."""

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[io.BytesIO]:
        with super().get_object_writer(container, object_name) as writer:
            try:
                yield writer
            except (Exception, KeyboardInterrupt):
                self.store.temporary[container, '.half'] = time.monotonic()
                raise


@breaks('G9')
class KeepsWhatFoundNoRoom(memory.MemoryBackupDriver):

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[io.BytesIO]:
        try:
            with super().get_object_writer(container, object_name) as writer:
                yield writer
        except exceptions.StoreFull:
            self.store.temporary[container, '.half'] = time.monotonic()
            raise


@breaks('G9')
class LeavesFilesOpen(memory.MemoryBackupDriver):
    """Those of readers that are left before their end."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._left = contextlib.ExitStack()
        weakref.finalize(self, self._left.close)

    @contextlib.contextmanager
    def get_object_reader(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[memory.MemoryReader]:
        with super().get_object_reader(container, object_name) as reader:
            file = tempfile.TemporaryFile()
            yield reader
            if reader.read(1):
                self._left.enter_context(file)
            else:
                file.close()


@breaks('G9')
class LeavesThreads(memory.MemoryBackupDriver):
    """Those that would have sent what is written."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._end = threading.Event()
        weakref.finalize(self, self._end.set)

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[io.BytesIO]:
        with super().get_object_writer(container, object_name) as writer:
            try:
                yield writer
            except KeyboardInterrupt:
                threading.Thread(target=self._end.wait).start()
                raise
