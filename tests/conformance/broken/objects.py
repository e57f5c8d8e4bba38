"""Drivers that break the contract about writing and reading one object: sentences W and R."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import io
import time
from typing import Any

from backup_framework import exceptions, model
from backup_framework.testing import memory
from tests.conformance import memory_kit
from tests.conformance.broken.register import breaks

MIB = 1 << 20


@breaks('W1')
class CutsLargeWrites(memory.MemoryBackupDriver):

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[Any]:
        with super().get_object_writer(container, object_name) as writer:
            yield _Writer(lambda data: writer.write(data[:2 * MIB]))


@breaks('W2')
class ShowsHalfObjects(memory.MemoryBackupDriver):

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[Any]:
        with self.store.lock:
            objects = self.store.objects(container)
            is_new = object_name not in objects
        written: list[bytes] = []

        def write(data: Any) -> None:
            written.append(bytes(data))
            if is_new:
                body = b''.join(written)
                objects[object_name] = memory.Body(body, len(body))

        try:
            yield _Writer(write)
        except BaseException:
            if is_new:
                objects.pop(object_name, None)
            raise
        if is_new:
            objects.pop(object_name, None)
        self.store.on_request('commit', container, object_name)
        self.keep(container, object_name, b''.join(written))


@breaks('W3')
class CommitsAlways(memory.MemoryBackupDriver):
    """A file's own context manager: closing it makes the object."""

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[io.BytesIO]:
        self.store.on_request('write', container, object_name)
        buffer = io.BytesIO()
        with self.store.lock:
            self.store.objects(container)
            self.store.temporary[container, f'.{id(buffer)}'] = 0.0
        try:
            yield buffer
        except GeneratorExit:
            raise
        except BaseException:
            self.keep(container, object_name, buffer.getvalue())
            raise
        finally:
            with self.store.lock:
                self.store.temporary.pop((container, f'.{id(buffer)}'), None)
        self.store.on_request('commit', container, object_name)
        self.keep(container, object_name, buffer.getvalue())


@breaks('W4')
class DropsEmptyObjects(memory.MemoryBackupDriver):

    def keep(self, container: str, object_name: str, data: bytes) -> None:
        if data:
            super().keep(container, object_name, data)


@breaks('W5')
class KeepsBuffers(memory.MemoryBackupDriver):

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[Any]:
        with super().get_object_writer(container, object_name) as writer:
            kept: list[Any] = []
            yield _Writer(kept.append)
            writer.writelines(kept)


@breaks('W6')
class LeavesTemporaries(memory.MemoryBackupDriver):

    def remove_temporary(self, older_than: float) -> int:
        return 0


@breaks('W6')
class RemovesYoungTemporaries(memory.MemoryBackupDriver):

    def remove_temporary(self, older_than: float) -> int:
        return super().remove_temporary(0)


@breaks('W7')
class KeepsObjectsToItself(memory.MemoryBackupDriver):
    """A cache that is written back some day."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._mine: set[tuple[str, str]] = set()

    def keep(self, container: str, object_name: str, data: bytes) -> None:
        super().keep(container, object_name, data)
        self._mine.add((container, object_name))

    def body(self, container: str, object_name: str) -> memory.Body:
        found = super().body(container, object_name)
        if (container, object_name) not in self._mine:
            raise exceptions.ObjectNotFound('another driver has it')
        return found


@breaks('W7')
class IsPerhapsDurable(memory.MemoryBackupDriver):

    def capabilities(self) -> model.Capabilities:
        return dataclasses.replace(super().capabilities(), durable=None)  # type: ignore[arg-type]


@breaks('W8')
class RefusesEqualBytes(memory.MemoryBackupDriver):

    def keep(self, container: str, object_name: str, data: bytes) -> None:
        with self.store.lock:
            if object_name in self.store.objects(container):
                raise exceptions.ObjectExists('it is there')
            self.store.containers[container][object_name] = memory.Body(data, len(data))


@breaks('W9')
class ReplacesInSpiteOfItsWord(memory.MemoryBackupDriver):

    def keep(self, container: str, object_name: str, data: bytes) -> None:
        with self.store.lock:
            self.store.objects(container)[object_name] = memory.Body(data, len(data))


@breaks('W9')
class LeavesMixtures(memory_kit.PlainMemoryDriver):
    """Writes over the old bytes and does not cut what is longer."""

    def keep(self, container: str, object_name: str, data: bytes) -> None:
        with self.store.lock:
            objects = self.store.objects(container)
            old = objects[object_name].data if object_name in objects else b''
            mixed = data + old[len(data):]
            objects[object_name] = memory.Body(mixed, len(mixed))


@breaks('W9')
class DeletesBeforeItReplaces(memory_kit.ReplacingMemoryDriver):

    def keep(self, container: str, object_name: str, data: bytes) -> None:
        self.store.remove(container, object_name)
        time.sleep(0.001)
        super().keep(container, object_name, data)


@breaks('R1')
class ReadsAtMostAMegabyte(memory.MemoryBackupDriver):

    @contextlib.contextmanager
    def get_object_reader(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[Any]:
        with super().get_object_reader(container, object_name) as reader:
            yield _Reader(reader, lambda size: MIB if size < 0 else size)


@breaks('R2')
class ReadsShort(memory.MemoryBackupDriver):
    """As a socket's `recv`: what there is just now."""

    @contextlib.contextmanager
    def get_object_reader(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[Any]:
        with super().get_object_reader(container, object_name) as reader:
            yield _Reader(reader, lambda size: min(size, 64 << 10))


@breaks('R2')
class ReadsAtMostTwoMegabytes(memory.MemoryBackupDriver):

    @contextlib.contextmanager
    def get_object_reader(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[Any]:
        with super().get_object_reader(container, object_name) as reader:
            yield _Reader(reader, lambda size: min(size, 2 * MIB))


@breaks('R3')
class SwallowsAbsence(memory.MemoryBackupDriver):

    def body(self, container: str, object_name: str) -> memory.Body:
        try:
            return super().body(container, object_name)
        except exceptions.ObjectNotFound:
            return memory.Body(b'', 0)


@breaks('R3')
class SaysUnavailableForMissing(memory.MemoryBackupDriver):
    """It asked a server that answers 403 for what is not there; objects of a backup always are."""

    def body(self, container: str, object_name: str) -> memory.Body:
        try:
            return super().body(container, object_name)
        except exceptions.ObjectNotFound:
            if 'volume_' in object_name:
                raise
            raise exceptions.PermissionDenied('403 Forbidden') from None


@breaks('R3')
class MeasuresWhatIsMissing(memory.MemoryBackupDriver):

    def object_size(self, container: str, object_name: str) -> int:
        try:
            return super().object_size(container, object_name)
        except exceptions.ObjectNotFound:
            return 0


@breaks('R4')
class SeeksShort(memory.MemoryBackupDriver):
    """Keeps offsets in 18 bits; whole backups of the kit have smaller objects."""

    @contextlib.contextmanager
    def get_object_reader(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[Any]:
        yield _ShortSightedReader(self.body(container, object_name), container, object_name)


@breaks('R4')
class SeeksInSpiteOfItsWord(memory.MemoryBackupDriver):

    def capabilities(self) -> model.Capabilities:
        return dataclasses.replace(super().capabilities(), ranged_read=False)


@breaks('R5')
class EndsEarly(memory.MemoryBackupDriver):

    def body(self, container: str, object_name: str) -> memory.Body:
        data = super().body(container, object_name).data
        return memory.Body(data, len(data))


class _Writer:
    """A writer of one function."""

    def __init__(self, write: Callable[[Any], Any]) -> None:
        self.write = write


class _Reader:
    """A reader that asks for other sizes."""

    def __init__(self, reader: memory.MemoryReader, change: Callable[[int], int]) -> None:
        self._reader = reader
        self._change = change

    def read(self, size: int = -1) -> bytes:
        return self._reader.read(self._change(size))

    def seek(self, offset: int) -> int:
        return self._reader.seek(offset)


class _ShortSightedReader(memory.MemoryReader):

    def seek(self, offset: int) -> int:
        return super().seek(offset & (1 << 18) - 1)
