"""Volumes in memory, taken and brought back through format 2.0.0: for the tests of its writer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
import contextlib
import json

from backup_framework import store
from backup_framework.engine import parallel
from backup_framework.formats import base
from backup_framework.formats.v2.reader import Reader
from backup_framework.formats.v2.state import State
from backup_framework.formats.v2.writer import Writer
from backup_framework.model import Extent
from backup_framework.testing.memory import MemoryBackupDriver

CONTAINER = 'vo/lu/volume'


def no_tick() -> None:
    pass


class Volume:
    """Bytes as a source of chunks.

    :param grain: runs of zeros of this length, at multiples of it, count as holes; None has none.
    :ivar reads: the extents that were read.
    """

    def __init__(self, data: bytes, grain: int | None = 4096,
                 changed: Sequence[Extent] | None = None) -> None:
        self.data = data
        self.grain = grain
        self.changed = changed
        self.reads: list[Extent] = []

    def read(self, offset: int, view: memoryview) -> None:
        self.reads.append(Extent(offset, len(view)))
        assert offset + len(view) <= len(self.data)
        view[:] = self.data[offset:offset + len(view)]

    def extents(self, start: int, end: int) -> Iterator[Extent]:
        step = self.grain or end - start
        for at in range(start, end, step):
            piece = self.data[at:min(at + step, end)]
            if self.grain is None or any(piece):
                yield Extent(at, len(piece))

    def chunks(self, chunk_size: int, largest_hole: int) -> Iterator[base.Chunk]:
        at = 0
        while at < len(self.data):
            end = min(at + chunk_size, len(self.data))
            if self.grain and not any(self.data[at:end]):
                while (end < len(self.data) and end - at < largest_hole
                       and not any(self.data[end:end + chunk_size])):
                    end = min(end + chunk_size, len(self.data))
                yield base.Chunk(at, end - at, None, lambda: ())
            else:
                yield base.Chunk(at, end - at, self.read,
                                 lambda at=at, end=end: self.extents(at, end), self.changed)
            at = end


def container(driver: object = None) -> store.Container:
    box = store.Container(driver or MemoryBackupDriver(), CONTAINER, sleep=lambda _: None)
    box.create()
    return box


def take(box: store.Container, number: int, volume: Volume, choices: base.Choices,
         parent: str | None = None, *, workers: int = 0, streamed: bool = False,
         owner: str | None = None) -> tuple[str, base.Totals]:
    """Back a volume up; the backup's prefix and totals."""
    prefix = f'backup_{number}'
    with contextlib.ExitStack() as stack:
        state = open_state(stack, box, parent) if parent else None
        header = base.Header('2.0.0', backup_id=f'id-{number}', parent_id=parent, owner=owner)
        writer = Writer(box, prefix, header, choices, state,
                        None if streamed else len(volume.data))
        stack.callback(writer.close)
        return prefix, run(writer, volume, workers)


def run(writer: Writer, volume: Volume, workers: int = 0) -> base.Totals:
    tasks = writer.tasks(volume.chunks(writer.chunk_size, writer.largest_hole))
    results = parallel.ordered_map(lambda task: task.run(), tasks, workers=workers,
                                   budget=64 << 20, cost=lambda task: task.cost)
    with contextlib.closing(results):
        for result in results:
            writer.add(result)
    return writer.finish(no_tick)


def open_state(stack: contextlib.ExitStack, box: store.Container, prefix: str) -> State:
    state = State(open_reader(box, prefix))
    stack.callback(state.close)
    return state


def open_reader(box: store.Container, prefix: str) -> Reader:
    document = box.get(prefix + base.MANIFEST, 1 << 20)
    return Reader(box, prefix, document, json.loads(document))


def restore(box: store.Container, prefix: str) -> bytes:
    """What the backup holds; every unit is checked as well."""
    with contextlib.ExitStack() as stack:
        state = open_state(stack, box, prefix)
        data = bytearray(b'\xff' * state.size)
        for unit in state.units(Extent(0, state.size)):
            put(data, unit.pieces())
            assert unit.problems(no_tick) == []
        assert state.missing(True, no_tick)[1] == []
        return bytes(data)


def put(data: bytearray, pieces: Iterable[base.Piece]) -> None:
    for piece in pieces:
        data[piece.offset:piece.offset + piece.length] = piece.data or bytes(piece.length)


def data_objects(box: store.Container, prefix: str) -> list[str]:
    return box.names(prefix + '-')
