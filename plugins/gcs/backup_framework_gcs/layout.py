"""Where containers and objects are: buckets, and the names of objects in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from backup_framework import exceptions
from backup_framework.drivers.tree import container_of


class Place(NamedTuple):
    """An object in a bucket; or a folder, whose name is empty or ends with a slash."""

    bucket: str
    name: str


class Layout:
    """Containers below a prefix of one bucket, or each in the bucket that it is called after.

    :param by_bucket: the first component of a container's name is a bucket.
    """

    def __init__(self, bucket: str, prefix: str | None, by_bucket: bool) -> None:
        self.top = Place(bucket, f'{prefix.strip("/")}/' if prefix else '')
        self._by_bucket = by_bucket

    def folder(self, container: str) -> Place:
        """Where a container's objects are.

        :raises StoreError: no container can have this name.
        """
        _check(container)
        if not self._by_bucket:
            return Place(self.top.bucket, f'{self.top.name}{container}/')
        bucket, _, inner = container.partition('/')
        return Place(bucket, f'{inner}/' if inner else '')

    def place(self, container: str, name: str) -> Place:
        """Where an object is.

        :raises StoreError: the service cannot have an object of this name.
        """
        bucket, folder = self.folder(container)
        if '\r' in name or '\n' in name:
            raise exceptions.StoreError(
                f'{name!a} cannot be the name of an object: it has a line break in it',
                container=container, name=name)
        _check(name)
        return Place(bucket, folder + name)

    @property
    def longest_name(self) -> int:
        return 1024 - len(self.top.name.encode())

    def containers(self, names: Iterable[str]) -> set[str]:
        """The containers of objects with these names, as far as can be told from them.

        Where the name of a container ends cannot be seen, so an object `a/b` of container `c` is
        found as `b` in `c/a`, where its bytes can be read as well.
        """
        found = set()
        for name in names:
            folder, _, leaf = name.removeprefix(self.top.name).rpartition('/')
            if leaf and is_name(folder):
                found.add(folder)
        return {b'/'.join(container_of(tuple(folder.encode().split(b'/')))).decode()
                for folder in found}


def is_name(name: str) -> bool:
    """Whether the framework could have given this name. Consoles make folders as `name/`."""
    return not any(part in ('', '.', '..') for part in name.split('/'))


def _check(name: str) -> None:
    """An HTTP client would go up for a bucket called `..`."""
    if not is_name(name) or not is_text(name):
        raise exceptions.StoreError(f'{name!a} is not a name that an object can have')


def is_text(name: str) -> bool:
    """Whether a name can be asked for: lone surrogates cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
