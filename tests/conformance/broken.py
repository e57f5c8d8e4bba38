"""Drivers that are broken in exactly one way: at least one for each sentence of the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import fnmatch
import io
import threading
from typing import Any, BinaryIO

from backup_framework import exceptions, model
from backup_framework.testing import memory
from tests.conformance import memory_kit

BROKEN: list[tuple[str, type[memory.MemoryBackupDriver]]] = []
"""The id of a sentence, and a driver that breaks it and no other one."""

Driver = type[memory.MemoryBackupDriver]
MIB = 1 << 20


def breaks(identifier: str) -> Callable[[Driver], Driver]:
    def add(driver: Driver) -> Driver:
        BROKEN.append((identifier, driver))
        return driver
    return add


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


@breaks('G4')
class LeaksKeyError(memory.MemoryBackupDriver):

    def object_size(self, container: str, object_name: str) -> int:
        return self.store.containers[container][object_name].size


@breaks('G5')
class Retries(memory.MemoryBackupDriver):

    def body(self, container: str, object_name: str) -> memory.Body:
        for _ in range(2):
            with contextlib.suppress(exceptions.StoreUnavailable):
                return super().body(container, object_name)
        return super().body(container, object_name)


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


@breaks('G7')
class ClosesOnce(memory.MemoryBackupDriver):
    _closed = False

    def close(self) -> None:
        if self._closed:
            raise exceptions.StoreError('it is closed')
        self._closed = True


@breaks('P1')
class MakesNoParents(memory.MemoryBackupDriver):

    def put_container(self, container: str) -> None:
        outer = container.rpartition('/')[0]
        with self.store.lock:
            if outer and outer not in self.store.containers:
                raise exceptions.ContainerNotFound(f'there is no {outer}')
        super().put_container(container)


@breaks('P2')
class EmptiesContainers(memory.MemoryBackupDriver):
    """What was below an existing container goes when it is made again."""

    def put_container(self, container: str) -> None:
        super().put_container(container)
        with self.store.lock:
            objects = self.store.containers[container]
            for name in [name for name in objects if '/' in name]:
                del objects[name]


@breaks('L1')
class ListsTwice(memory.MemoryBackupDriver):
    """The last name of a page is the first one of the next."""

    def get_container_entries(self, container: str, prefix: str) -> list[str]:
        names = super().get_container_entries(container, prefix)
        return names if prefix or len(names) < 6 else [*names[:5], *names[4:]]


@breaks('L2')
class ListsOnePage(memory.MemoryBackupDriver):

    def get_container_entries(self, container: str, prefix: str) -> list[str]:
        return super().get_container_entries(container, prefix)[:1000]


@breaks('L3')
class ListsLike(memory.MemoryBackupDriver):
    """As SQL's LIKE: an underscore stands for any character."""

    def get_container_entries(self, container: str, prefix: str) -> list[str]:
        names = super().get_container_entries(container, '')
        return [name for name in names if len(name) >= len(prefix)
                and all(a in (b, '_') for a, b in zip(prefix, name))]


@breaks('L3')
class ListsGlob(memory.MemoryBackupDriver):
    """As SQLite's GLOB: an asterisk in the prefix is a wildcard."""

    def get_container_entries(self, container: str, prefix: str) -> list[str]:
        pattern = prefix.replace('[', '[[]').replace('?', '[?]') + '*'
        names = super().get_container_entries(container, '')
        return [name for name in names if fnmatch.fnmatchcase(name, pattern)]


@breaks('L4')
class CachesListings(memory.MemoryBackupDriver):

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._listings: dict[str, list[str]] = {}

    def get_container_entries(self, container: str, prefix: str) -> list[str]:
        names = super().get_container_entries(container, prefix)
        return names if prefix else self._listings.setdefault(container, names)


@breaks('L5')
class DeniesMissingContainers(memory.MemoryBackupDriver):

    def get_container_entries(self, container: str, prefix: str) -> list[str]:
        try:
            return super().get_container_entries(container, prefix)
        except exceptions.ContainerNotFound:
            raise exceptions.PermissionDenied('403 Forbidden') from None


@breaks('L6')
class ListsTemporaries(memory.MemoryBackupDriver):

    def get_container_entries(self, container: str, prefix: str) -> list[str]:
        names = super().get_container_entries(container, prefix)
        raw = set(self.store.raw_names(container)).difference(names)
        return names + [name for name in raw if name.startswith('.' + prefix)]


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
        self.store.on_request()
        self.keep(container, object_name, b''.join(written))


@breaks('W3')
class CommitsAlways(memory.MemoryBackupDriver):
    """A file's own context manager: closing it makes the object."""

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[io.BytesIO]:
        self.store.on_request()
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


@breaks('R4')
class SeeksForwardOnly(memory.MemoryBackupDriver):

    @contextlib.contextmanager
    def get_object_reader(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[Any]:
        yield _ForwardReader(self.body(container, object_name), container, object_name)


@breaks('R4')
class SeeksInSpiteOfItsWord(memory.MemoryBackupDriver):

    def capabilities(self) -> model.Capabilities:
        return dataclasses.replace(super().capabilities(), ranged_read=False)


@breaks('R5')
class EndsEarly(memory.MemoryBackupDriver):

    def body(self, container: str, object_name: str) -> memory.Body:
        data = super().body(container, object_name).data
        return memory.Body(data, len(data))


@breaks('D1')
class DeletesNeighbours(memory.MemoryBackupDriver):

    def delete_object(self, container: str, object_name: str) -> None:
        for name in self.store.raw_names(container):
            if name.startswith(object_name):
                super().delete_object(container, name)


@breaks('D1')
class DeletesNothingBelowOthers(memory.MemoryBackupDriver):
    """Objects that have neighbours beginning with their name are kept."""

    def delete_object(self, container: str, object_name: str) -> None:
        names = self.store.raw_names(container)
        if not any(name.startswith(object_name + '-') for name in names):
            super().delete_object(container, object_name)


@breaks('D2')
class MissesFolders(memory.MemoryBackupDriver):
    """Opens the folder of a name before it deletes in it."""

    def delete_object(self, container: str, object_name: str) -> None:
        folder = object_name.rpartition('/')[0]
        names = self.store.raw_names(container)
        if folder and not any(name.startswith(f'{folder}/') for name in names):
            raise exceptions.ObjectNotFound(f'there is no {folder}')
        super().delete_object(container, object_name)


@breaks('D3')
class MissesContainersWhenDeleting(memory.MemoryBackupDriver):

    def delete_object(self, container: str, object_name: str) -> None:
        super().delete_object(container, object_name)
        with self.store.lock:
            self.store.objects(container)


@breaks('B1')
class DropsTheLastBytes(memory.MemoryBackupDriver):
    """Thinks in sectors."""

    def backup(self, backup: model.Backup, volume_file: BinaryIO, backup_metadata: bool = True,
               **more: Any) -> dict[str, Any]:
        data = volume_file.read()
        whole = io.BytesIO(data[:len(data) // 512 * 512])
        return super().backup(backup, whole, backup_metadata, **more)


@breaks('B1')
class ForgetsMetadata(memory.MemoryBackupDriver):

    def put_metadata(self, volume_id: str, json_metadata: str) -> None:
        pass


@breaks('B2')
class CommitsHalfBackups(memory.MemoryBackupDriver):

    def backup(self, backup: model.Backup, volume_file: BinaryIO, backup_metadata: bool = True,
               **more: Any) -> dict[str, Any]:
        try:
            return super().backup(backup, volume_file, backup_metadata, **more)
        except BaseException:
            super().backup(backup, io.BytesIO(b'what there was'), backup_metadata, **more)
            raise


@breaks('B2')
class TakesErrorsForTheEnd(memory.MemoryBackupDriver):

    def backup(self, backup: model.Backup, volume_file: BinaryIO, backup_metadata: bool = True,
               **more: Any) -> dict[str, Any]:
        try:
            return super().backup(backup, volume_file, backup_metadata, **more)
        except Exception:
            return super().backup(backup, io.BytesIO(b'what there was'), backup_metadata, **more)


@breaks('B3')
class SwallowsDamage(memory.MemoryBackupDriver):

    def restore(self, *args: Any, **more: Any) -> None:
        with contextlib.suppress(exceptions.CorruptObject):
            super().restore(*args, **more)


@breaks('B3')
class TakesEveryTargetForNew(memory.MemoryBackupDriver):
    """Leaves the old bytes where the backup has zeros."""

    def restore(self, backup: model.Backup, volume_id: str, volume_file: BinaryIO,
                volume_is_new: bool = False, **more: Any) -> None:
        super().restore(backup, volume_id, volume_file, True, **more)


@breaks('B4')
class LeavesTheHashList(memory.MemoryBackupDriver):
    _deleting = False

    def delete(self, backup: model.Backup, **more: Any) -> None:
        self._deleting = True
        super().delete(backup, **more)
        self._deleting = False

    def delete_object(self, container: str, object_name: str) -> None:
        if not (self._deleting and object_name.endswith('_sha256file')):
            super().delete_object(container, object_name)


@breaks('B4')
class DeletesOnce(memory.MemoryBackupDriver):

    def delete(self, backup: model.Backup, **more: Any) -> None:
        if not self.get_container_entries(backup.container or '', backup.service_metadata or ''):
            raise exceptions.ObjectNotFound('there is no such backup')
        super().delete(backup, **more)


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


class _ForwardReader(memory.MemoryReader):

    def seek(self, offset: int) -> int:
        return super().seek(max(offset, self._stream.tell()))
