"""Stores of format 2.0.0 in a dict, with what opens, restores and checks a backup in one."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import io
import json
from typing import Any

from backup_framework import exceptions, store
from backup_framework.formats import base
from backup_framework.formats.v2 import reader, state
from backup_framework.model import Extent

FILLED = 0xee


class Shelf:
    """The verbs that reading takes, on a dict of objects.

    :ivar opened: names in the order in which they were opened.
    :ivar read: (name, offset, bytes) of each read.
    """

    def __init__(self, objects: dict[str, bytes], ranged: bool = True) -> None:
        self.objects = objects
        self.ranged = ranged
        self.opened: list[str] = []
        self.read: list[tuple[str, int, int]] = []

    @contextlib.contextmanager
    def get_object_reader(self, container: str, object_name: str) -> Iterator[Any]:
        if object_name not in self.objects:
            raise exceptions.ObjectNotFound(f'{object_name} is missing')
        self.opened.append(object_name)
        yield _Body(self, object_name)

    def get_container_entries(self, container: str, prefix: str) -> list[str]:
        return [name for name in self.objects if name.startswith(prefix)]

    def object_size(self, container: str, object_name: str) -> int:
        return len(self.objects[object_name])


class _Body(io.BytesIO):
    def __init__(self, shelf: Shelf, name: str) -> None:
        super().__init__(shelf.objects[name])
        self._shelf = shelf
        self._name = name

    def read(self, size: int | None = -1, /) -> bytes:
        at = self.tell()
        data = super().read(size)
        self._shelf.read.append((self._name, at, len(data)))
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if not self._shelf.ranged:
            raise exceptions.NotSupported('no ranges')
        return super().seek(offset, whence)


def tick() -> None:
    pass


def open_reader(shelf: Any, prefix: str = 'new') -> reader.Reader:
    container = store.Container(shelf, 'shelf', sleep=lambda seconds: None)
    document = container.get(f'{prefix}_metadata', 1 << 20)
    try:
        members = json.loads(document)
    except ValueError as error:
        raise exceptions.CorruptManifest(str(error)) from None
    return reader.Reader(container, prefix, document, members)


@contextlib.contextmanager
def opened(shelf: Any, prefix: str = 'new') -> Iterator[state.State]:
    with contextlib.closing(state.State(open_reader(shelf, prefix))) as found:
        yield found


def bring_back(found: state.State, wanted: Extent | None = None,
               present: base.Fill | None = None) -> bytes:
    """A volume full of FILLED, and the pieces written into it, each byte once."""
    volume = bytearray([FILLED]) * found.size
    written = bytearray(found.size)
    for unit in found.units(wanted or Extent(0, found.size)):
        for offset, length, data in unit.pieces(present):
            assert not any(written[offset:offset + length]), 'bytes came twice'
            assert data is None or len(data) == length
            written[offset:offset + length] = b'\1' * length
            volume[offset:offset + length] = bytes(length) if data is None else data
    return bytes(volume)


def problems(found: state.State) -> list[str]:
    return [problem.sentence for problem in found.prepare_check()] + [
        problem.sentence for unit in found.units(Extent(0, found.size))
        for problem in unit.problems(tick)]
