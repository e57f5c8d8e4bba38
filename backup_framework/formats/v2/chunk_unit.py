"""A chunk of a backup of format 2.0.0, brought back: each frame once, all verified before use."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
import contextlib
import dataclasses
from typing import Generic, NamedTuple, TypeVar

from backup_framework import exceptions, store
from backup_framework.formats import base, codec
from backup_framework.formats.v2 import chunk_map, digest, layout, names, sealing
from backup_framework.formats.v2.reader import Reader
from backup_framework.model import Extent

GROUP = 4 << 20
"""Bytes that are fetched at once, unless a single frame is larger."""
GAP = 64 << 10
"""Bytes between two frames that are rather fetched than skipped."""

_USUAL_FRAME = 1 << 20
_COMPARED = 1 << 20
_KEPT = 4
_LARGEST_KEPT = 1 << 20

T = TypeVar('T')


class Run(NamedTuple):
    """Neighbouring blocks of a chunk that are neighbours in their frame too, or all zeros."""

    block: int
    blocks: int
    frame: int
    place: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Plan:
    """A block table, and its blocks as runs in the order of the volume."""

    table: layout.Table
    runs: Sequence[Run]


@dataclasses.dataclass(frozen=True, slots=True)
class _Group:
    """Frames of one object that are fetched with one read, and the runs wanted of each."""

    name: str
    start: int
    end: int
    frames: Sequence[tuple[layout.Frame, Sequence[Run]]]


class _Recent(Generic[T]):
    """The last few things of a kind. Each step is atomic, so threads may share it."""

    def __init__(self) -> None:
        self._things: deque[tuple[int, T]] = deque(maxlen=_KEPT)

    def get(self, key: int) -> T | None:
        return next((thing for known, thing in tuple(self._things) if known == key), None)

    def put(self, key: int, thing: T) -> None:
        self._things.append((key, thing))


class Source:
    """What the chunks of a backup share.

    :param objects: of the map.
    :param spool_directory: where objects of a store without ranges pass through.
    """

    def __init__(self, reader: Reader, objects: Sequence[chunk_map.Object],
                 spool_directory: str | None) -> None:
        self.reader = reader
        self.objects = objects
        self.spool_directory = spool_directory
        self.plans: _Recent[_Plan] = _Recent()
        self.footers: _Recent[tuple[bytes, Sequence[layout.FooterItem]]] = _Recent()


class ChunkUnit:
    """A chunk, or the part of it that is wanted."""

    def __init__(self, source: Source, index: int, row: chunk_map.Row, extent: Extent) -> None:
        self.extent = extent
        self.length = extent.length
        self.cost = (GROUP + max(_USUAL_FRAME, source.reader.block_size) + 4 * row.length)
        self._source = source
        self._reader = source.reader
        self._index = index
        self._row = row

    def pieces(self, present: base.Fill | None = None, tell: base.Tell | None = None
               ) -> Generator[base.Piece, None, None]:
        with self._opened() as opened:
            plan: _Plan | None = None
            with self._telling(tell):
                plan = self._plan(opened)
            if plan is not None:
                yield from self._pieces(plan, opened, present, tell)

    def _pieces(self, plan: _Plan, opened: _Opened, present: base.Fill | None,
                tell: base.Tell | None) -> Iterator[base.Piece]:
        wanted = list(_clipped(plan.runs, self._spans(plan.table, present)))
        for run in wanted:
            if run.frame == layout.ZERO:
                yield self._piece(run, None)
        for group in self._groups(plan.table, wanted):
            for part, data in self._fetched(opened, group, tell):
                for frame, runs in part.frames:
                    views: list[memoryview] = []
                    with (self._telling(tell, runs),
                          self._reader.told(part.name, self._index)):
                        plain = self._plain(frame, data[frame.offset - part.start:],
                                            opened.ranges(part.name))
                        views = [self._verified(plan.table, run, plain) for run in runs]
                        del plain
                    for run, view in zip(runs, views):
                        yield self._piece(run, view)
                del data

    def _fetched(self, opened: _Opened, group: _Group, tell: base.Tell | None
                 ) -> Iterator[tuple[_Group, memoryview]]:
        """The bytes of a group; where they cannot be had at once, of each frame that can."""
        try:
            yield group, self._read(opened, group)
            return
        except exceptions.FormatError as error:
            if tell is None:
                raise
            if isinstance(error, exceptions.MissingObject):
                tell(base.problem_of(error, self._extents(_runs_of(group))))
                return  # and is not asked for again, once for each frame
        for frame, runs in group.frames:
            part = _Group(group.name, frame.offset, frame.offset + frame.stored, [(frame, runs)])
            with self._telling(tell, runs):
                yield part, self._read(opened, part)

    @contextlib.contextmanager
    def _telling(self, tell: base.Tell | None, runs: Sequence[Run] | None = None
                 ) -> Iterator[None]:
        """What is damaged or missing is told, if somebody wants to know of it.

        :param runs: that need it; None is all that is wanted.
        """
        try:
            yield
        except exceptions.FormatError as error:
            if tell is None:
                raise
            tell(base.problem_of(
                error, [self.extent] if runs is None else self._extents(runs)))

    def _extents(self, runs: Sequence[Run]) -> list[Extent]:
        pieces = (self._piece(run, None) for run in runs)
        return [Extent(offset, length) for offset, length, _ in pieces]

    def problems(self, tick: base.Tick) -> list[base.Problem]:
        found: list[base.Problem] = []
        with self._opened() as opened:
            plan: _Plan | None = None
            with self._telling(found.append):
                plan = self._plan(opened)
            if plan is None:
                return found
            with self._telling(found.append, ()):
                self._check_object(plan.table, opened)
            for _ in self._pieces(plan, opened, None, found.append):
                tick()
        return _merged(found)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[_Opened]:
        opened = _Opened(self._reader.container, self._source.spool_directory)
        try:
            yield opened
        finally:
            opened.close()

    def _plan(self, opened: _Opened) -> _Plan:
        plan = self._source.plans.get(self._index)
        if plan is None:
            objects = self._source.objects
            name = objects[self._row.object].name
            table = self._reader.table(self._index, self._row, objects, opened.ranges(name))
            plan = _Plan(table, _runs(table))
            if self._row.length <= _LARGEST_KEPT:
                self._source.plans.put(self._index, plan)
        return plan

    def _read(self, opened: _Opened, group: _Group) -> memoryview:
        with self._reader.told(group.name, self._index):
            ranges = opened.ranges(group.name)
            return memoryview(ranges.read_at(group.start, group.end - group.start))

    def _plain(self, frame: layout.Frame, data: memoryview, ranges: store.Ranges) -> memoryview:
        stored: bytes | memoryview = data[:frame.stored]
        if self._reader.algorithm.of(stored) != frame.digest:
            raise exceptions.CorruptObject(
                f'the digest of its frame at byte {frame.offset} is not the one in the block table')
        if self._reader.keys is not None:
            stored = self._reader.opened(sealing.FRAME, frame.offset, stored, ranges)
        return memoryview(codec.decompress(layout.CODECS[frame.codec], stored, frame.plain))

    def _verified(self, table: layout.Table, run: Run, plain: memoryview) -> memoryview:
        """The bytes of a run."""
        size, of = self._reader.block_size, self._reader.algorithm.of
        start = run.place * size
        end = start + self._run_length(run)
        found = b''.join([of(plain[at:min(at + size, end)]) for at in range(start, end, size)])
        first = run.block * digest.SIZE
        if found != table.digests[first:first + len(found)]:
            raise exceptions.CorruptObject(
                f'blocks {run.block} to {run.block + run.blocks} of the chunk are not those that '
                'its block table tells')
        return plain[start:end]

    def _run_length(self, run: Run) -> int:
        size = self._reader.block_size
        return min(run.blocks * size, self._reader.chunk_length(self._index) - run.block * size)

    def _piece(self, run: Run, view: memoryview | None) -> base.Piece:
        """A run as a piece, without what lies outside of the wanted extent."""
        offset = self._index * self._reader.chunk_size + run.block * self._reader.block_size
        length = self._run_length(run)
        start = max(0, self.extent.offset - offset)
        end = min(length, self.extent.end - offset)
        data = view if view is None or end - start == length else view[start:end]
        return base.Piece(offset + start, end - start, data)

    def _spans(self, table: layout.Table, present: base.Fill | None) -> list[tuple[int, int]]:
        """The blocks (first, end) that are wanted and that the target does not have."""
        size = self._reader.block_size
        start = self._index * self._reader.chunk_size
        first = (self.extent.offset - start) // size
        end = -(-(self.extent.end - start) // size)
        if present is None:
            return [(first, end)]
        return list(_joined(self._differing(table, range(first, end), start, present)))

    def _differing(self, table: layout.Table, blocks: range, start: int, present: base.Fill
                   ) -> Iterator[int]:
        """Blocks of which the target has other bytes, or that are wanted in part only."""
        size, of = self._reader.block_size, self._reader.algorithm.of
        chunk_end = start + self._reader.chunk_length(self._index)
        step = max(1, _COMPARED // size)
        buffer = memoryview(bytearray(step * size))
        for at in range(blocks.start, blocks.stop, step):
            offset = max(start + at * size, self.extent.offset)
            end = min(start + min(at + step, blocks.stop) * size, self.extent.end)
            present(offset, buffer[:end - offset])
            for block in range(at, min(at + step, blocks.stop)):
                place = start + block * size
                whole = min(place + size, chunk_end)
                if (place < offset or whole > end or table.digest_of(block)
                        != of(buffer[place - offset:whole - offset])):
                    yield block

    def _groups(self, table: layout.Table, wanted: Iterable[Run]) -> Iterator[_Group]:
        """What is to be read, the object with the table first."""
        runs_of: dict[int, list[Run]] = {}
        for run in wanted:
            if run.frame != layout.ZERO:
                runs_of.setdefault(run.frame, []).append(run)
        own = self._source.objects[self._row.object].name
        frames = sorted(((table.frames[at], runs) for at, runs in runs_of.items()),
                        key=lambda item: (item[0].object, item[0].offset))
        members: list[tuple[layout.Frame, Sequence[Run]]] = []
        for frame, runs in frames:
            if members and not _near(members, frame):
                yield _group(table, own, members)
                members = []
            members.append((frame, runs))
        if members:
            yield _group(table, own, members)

    def _check_object(self, table: layout.Table, opened: _Opened) -> None:
        """Header and footer of the object with the table, which restoring does not need."""
        thing = self._source.objects[self._row.object]
        with self._reader.told(thing.name, self._index):
            known = self._source.footers.get(self._row.object)
            if known is None:
                known = self._footer(thing, opened.ranges(thing.name))
                self._source.footers.put(self._row.object, known)
            found, items = known
            if found != table.object_digest:
                raise exceptions.CorruptObject(
                    'the digest of its header and footer is not the one in the block table')
            told = layout.FooterItem(self._index, self._row.offset, self._row.length)
            if told not in items:
                raise exceptions.CorruptObject('its footer does not tell where the table is')

    def _footer(self, thing: chunk_map.Object, ranges: store.Ranges
                ) -> tuple[bytes, Sequence[layout.FooterItem]]:
        """The digest of header and footer, and what the footer tells."""
        header = ranges.read_at(0, layout.HEADER_SIZE)
        size = layout.footer_size(layout.decode_header(header).tables)
        offset = thing.length - size
        if offset < layout.HEADER_SIZE:
            raise exceptions.CorruptObject('its header tells more block tables than it has room')
        footer = ranges.read_last(offset, size)
        items = layout.decode_footer(footer, offset, names.number_of(thing.name))
        return self._reader.algorithm.of_all(header, footer), items


class _Opened:
    """One object of a container at a time, open for reading."""

    def __init__(self, container: store.Container, spool_directory: str | None) -> None:
        self._container = container
        self._spool_directory = spool_directory
        self._stack = contextlib.ExitStack()
        self._ranges: store.Ranges | None = None

    def ranges(self, name: str) -> store.Ranges:
        if self._ranges is None or self._ranges.name != name:
            self._ranges = None
            self._stack.close()
            self._ranges = self._stack.enter_context(
                self._container.ranges(name, self._spool_directory))
        return self._ranges

    def close(self) -> None:
        self._stack.close()


def _merged(problems: Iterable[base.Problem]) -> list[base.Problem]:
    """One for each sentence, with all extents that it was said of."""
    merged: dict[str, base.Problem] = {}
    for problem in problems:
        known = merged.get(problem.sentence, problem)
        merged[problem.sentence] = dataclasses.replace(
            problem, extents=base.joined([*known.extents, *problem.extents]))
    return list(merged.values())


def _near(members: Sequence[tuple[layout.Frame, Sequence[Run]]], frame: layout.Frame) -> bool:
    """Whether a frame is fetched with those before it."""
    first, last = members[0][0], members[-1][0]
    return (frame.object == first.object and frame.offset <= last.offset + last.stored + GAP
            and frame.offset + frame.stored - first.offset <= GROUP)


def _group(table: layout.Table, own: str,
           members: Sequence[tuple[layout.Frame, Sequence[Run]]]) -> _Group:
    number = members[0][0].object
    return _Group(table.names[number - 1] if number else own, members[0][0].offset,
                  max(frame.offset + frame.stored for frame, _ in members), members)


def _runs_of(group: _Group) -> list[Run]:
    return [run for _, runs in group.frames for run in runs]


def _runs(table: layout.Table) -> list[Run]:
    found: list[Run] = []
    first, last, expected = 0, -1, 0
    for block, (frame, place) in enumerate(zip(table.frame_of, table.place_of)):
        if frame != last or place != expected:
            if block:
                found.append(Run(first, block - first, last, table.place_of[first]))
            first, last = block, frame
            expected = place
        if frame != layout.ZERO:
            expected += 1
    found.append(Run(first, table.blocks - first, last, table.place_of[first]))
    return found


def _clipped(runs: Sequence[Run], spans: Iterable[tuple[int, int]]) -> Iterator[Run]:
    """What of the runs is inside the spans; both in the order of the volume."""
    at = 0
    for first, end in spans:
        while at < len(runs) and runs[at].block < end:
            block, count, frame, place = runs[at]
            start, stop = max(block, first), min(block + count, end)
            if start < stop:
                inside = 0 if frame == layout.ZERO else place + start - block
                yield Run(start, stop - start, frame, inside)
            if block + count > end:
                break
            at += 1


def _joined(blocks: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Neighbouring blocks as (first, end)."""
    first = end = -1
    for block in blocks:
        if block != end:
            if first >= 0:
                yield first, end
            first = block
        end = block + 1
    if first >= 0:
        yield first, end
