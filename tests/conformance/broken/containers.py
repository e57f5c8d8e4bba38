"""Drivers that break the contract about containers, listings and deleting: sentences P, L, D."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
import fnmatch
from typing import Any

from backup_framework import exceptions
from backup_framework.testing import memory
from tests.conformance.broken.register import breaks


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
    """Until something is written, or deleted in bulk."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._listings: dict[str, list[str]] = {}

    def get_container_entries(self, container: str, prefix: str) -> list[str]:
        names = super().get_container_entries(container, prefix)
        return names if prefix else self._listings.setdefault(container, names)

    def delete_objects(self, container: str, object_names: Sequence[str]) -> None:
        super().delete_objects(container, object_names)
        self._listings.pop(container, None)

    def keep(self, container: str, object_name: str, data: bytes) -> None:
        super().keep(container, object_name, data)
        self._listings.pop(container, None)


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


@breaks('L7')
class CountsToItsPage(memory.MemoryBackupDriver):
    """As `LIMIT 500 OFFSET 500`: what was deleted before a page moves the page."""

    def get_container_entries(self, container: str,  # type: ignore[override]
                              prefix: str) -> Iterator[str]:
        offset = 0
        while names := sorted(super().get_container_entries(container, prefix))[offset:][:500]:
            yield from names
            offset += len(names)


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


@breaks('D4')
class StopsAtTheFirstError(memory.MemoryBackupDriver):

    def delete_objects(self, container: str, object_names: Sequence[str]) -> None:
        for name in object_names:
            super().delete_objects(container, [name])


@breaks('D4')
class DeletesInSilence(memory.MemoryBackupDriver):

    def delete_objects(self, container: str, object_names: Sequence[str]) -> None:
        self.store.on_request('delete', container, None)
        for name in object_names:
            with contextlib.suppress(exceptions.PermissionDenied):
                self.delete_object(container, name)


@breaks('D4')
class MissesOneOfABatch(memory.MemoryBackupDriver):

    def delete_objects(self, container: str, object_names: Sequence[str]) -> None:
        there = set(self.store.raw_names(container))
        super().delete_objects(container, object_names)
        if not there.intersection(object_names):
            raise exceptions.ObjectNotFound('they are not there')


@breaks('D4')
class TakesFewerThanItSays(memory.MemoryBackupDriver):

    def delete_objects(self, container: str, object_names: Sequence[str]) -> None:
        super().delete_objects(container, object_names[:99])
