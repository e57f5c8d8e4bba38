"""Volumes in memory, taken in parts: for the tests of these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import json
import random
import uuid

from backup_framework import store
from backup_framework.formats import base
from backup_framework.formats.splitting import Part, Split, StoredPart
from backup_framework.formats.v2 import parts
from backup_framework.formats.v2.reader import Reader
from backup_framework.formats.v2.state import State
from backup_framework.formats.v2.writer import Writer
from backup_framework.model import Extent
from tests.unit.formats.v2.volumes import Volume, no_tick

OWNER = str(uuid.UUID(int=7))


@dataclasses.dataclass
class Taken:
    """A backup that is taken in parts.

    :param box: gives each writer a container of its own, as other processes have.
    :param parent: a prefix.
    """

    box: Callable[[], store.Container]
    choices: base.Choices
    volume: Volume
    prefix: str = 'new'
    parent: str | None = None
    part_size: int = 1
    seed: int = 0

    def begin(self) -> Split:
        with self._opened() as (box, parent), contextlib.closing(Writer(
                box, self.prefix, self._header, self.choices, parent,
                len(self.volume.data))) as writer:
            self.split = parts.begin(writer, self.part_size)
        return self.split

    def store(self, number: int, attempt: int = 1, *, chunks: int | None = None,
              choices: base.Choices | None = None) -> StoredPart:
        """One run at a part.

        :param chunks: after which it dies.
        """
        part = Part(number, attempt, self.split.parts[number - 1])
        with self._opened() as (box, parent), contextlib.closing(parts.PartWriter(
                box, self.prefix, self._header, choices or self.choices, parent, self.split,
                part)) as writer:
            for task in writer.stored_before():
                writer.add(task.run())
            for done, task in enumerate(writer.tasks(self.chunks(part.extent))):
                if done == chunks:
                    raise Killed
                writer.add(task.run())
            self.notes = list(writer.notes)
            return writer.end(no_tick)

    def chunks(self, extent: Extent) -> Iterator[base.Chunk]:
        """Those of a part; a hole is one chunk each, or some."""
        size = self.split.chunk_size
        for chunk in self.volume.chunks(size, size):
            if extent.offset <= chunk.offset < extent.end:
                yield chunk

    def end(self, stored: Sequence[StoredPart], attempt: int = 1,
            tick: base.Tick = no_tick) -> base.Totals:
        with self._opened() as (box, _), contextlib.closing(parts.EndWriter(
                box, self.prefix, self._header, self.choices, self.split, stored, attempt)
                ) as writer:
            return writer.finish(tick)

    def take(self) -> base.Totals:
        """All of it, the parts in a random order; what an end leaves is removed."""
        extents = self.begin().parts
        numbers = list(range(1, len(extents) + 1))
        random.Random(self.seed).shuffle(numbers)
        stored = {number: self.store(number) for number in numbers}
        totals = self.end([stored[number] for number in sorted(stored)])
        self.box().delete_many(totals.unused)
        return totals

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[store.Container, State | None]]:
        box = self.box()
        if self.parent is None:
            yield box, None
            return
        with contextlib.closing(State(open_reader(box, self.parent, self.choices))) as parent:
            yield box, parent

    @property
    def _header(self) -> base.Header:
        return base.Header('2.0.0', backup_id=f'id-{self.prefix}', parent_id=self.parent,
                           owner=OWNER)


class Killed(Exception):
    pass


def open_reader(box: store.Container, prefix: str, choices: base.Choices) -> Reader:
    document = box.get(prefix + base.MANIFEST, 1 << 20)
    return Reader(box, prefix, document, json.loads(document), choices.keyring)


def restored(box: store.Container, prefix: str, choices: base.Choices) -> bytes:
    """What a backup holds; every unit is verified as well."""
    with contextlib.closing(State(open_reader(box, prefix, choices))) as state:
        assert state.prepare_check() == []
        data = bytearray(b'\xff' * state.size)
        for unit in state.units(Extent(0, state.size)):
            assert unit.problems(no_tick) == []
            for piece in unit.pieces():
                data[piece.offset:piece.offset + piece.length] = piece.data or bytes(piece.length)
        assert state.missing(True, no_tick)[1] == []
        return bytes(data)


def needed(box: store.Container, prefix: str, choices: base.Choices) -> set[str]:
    """The names of the own objects that a backup needs."""
    reader = open_reader(box, prefix, choices)
    with reader.open_rows() as rows:
        for _ in rows:
            pass
        return {prefix + base.MANIFEST, reader.map_name,
                *(each.name for each in rows.objects if each.name.startswith(f'{prefix}-'))}
