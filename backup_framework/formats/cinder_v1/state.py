"""Bringing back a chain of format 1.0.0: the newest version of each extent, read once."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
import functools

from backup_framework import exceptions
from backup_framework.formats import base, digests, plan, pool
from backup_framework.formats.cinder_v1 import comparison, objects
from backup_framework.formats.cinder_v1.reader import Reader
from backup_framework.model import Extent

_PIECE = 1 << 20
_LEAST_DATA = 64


class State:
    """See `formats.base.State`. A unit is what one object gives to the volume.

    :param chain: root first.
    :param whole_limit: objects of more bytes, uncompressed, are read twice: checked, then given
        out; smaller ones are held in memory.
    """

    def __init__(self, chain: Sequence[Reader], *, spool_directory: str | None,
                 whole_limit: int) -> None:
        self.header = chain[-1].header
        self.notes: list[str] = []
        self.chain = chain
        self.whole_limit = whole_limit
        self.buffers = pool.Buffers()
        self.known: digests.Spool | None = None
        """What units compare with."""
        self._spool_directory = spool_directory
        self._spool: digests.Spool | None = None
        self._spooled = False

    @functools.cached_property
    def size(self) -> int:
        """The volume's bytes at the newest backup.

        Our own manifests say it. Otherwise the full backup's extents do, unless the hash list of an
        incremental has another number of blocks; the last of these may be shorter than its block,
        which shows where an extent ends in it.
        """
        if self.header.size is not None:
            return self.header.size
        ends = [reader.end for reader in self.chain]
        if len(ends) == 1:
            return ends[0]
        spool = self.hash_list()
        if spool is None:
            return max(ends[0], ends[-1])
        last = spool.length * spool.block_size
        if ends[-1] > last:
            raise exceptions.CorruptManifest(
                f'the hash list of backup {self.header.backup_id} ends at byte {last}, before '
                f'what the backup has stored, which ends at {ends[-1]}')
        inside = [end for end in ends if last - spool.block_size < end <= last]
        return inside[-1] if inside else last

    def hash_list(self) -> digests.Spool | None:
        """The hash list of the newest backup, for as long as this is open; None without one.

        :raises CorruptManifest: it is damaged.
        """
        if not self._spooled:
            self._spool = self.chain[-1].digests(self._spool_directory)
            self._spooled = True
        return self._spool

    @functools.cached_property
    def trusted(self) -> digests.Spool | None:
        """The hash list, where it surely is the one that was stored with the backup.

        It spares the MD5s, which take twice as long as SHA-256, and finds a wrong parent; reading
        it does not pay where nearly all of the volume is zeros.
        """
        data = sum(extent.length for reader in self.chain
                   for extent, zero in zip(reader.extents, reader.zeros) if not zero)
        if self.header.digests_sha256 is None or data * _LEAST_DATA < self.size:
            return None
        try:
            known = self.hash_list()
        except (exceptions.FormatError, exceptions.StoreError):
            return None
        whole = known and known.length == digests.count(self.size, known.block_size)
        return known if whole else None

    def units(self, wanted: Extent) -> Iterator[base.Unit]:
        planned = self._plan(wanted)
        trusted = self.trusted
        return (Unit(self, unit, trusted) for unit in planned)

    def _plan(self, wanted: Extent) -> list[plan.Unit]:
        end = min(wanted.end, self.size)
        planned, gaps = plan.compose([reader.extents for reader in self.chain],
                                     Extent(wanted.offset, max(0, end - wanted.offset)))
        if gaps:
            raise exceptions.CorruptManifest(
                f'bytes {gaps[0].offset} to {gaps[0].end} of the volume are in no object of backup '
                f'{self.header.backup_id}' + (' and its parents' if len(self.chain) > 1 else ''))
        return planned

    def prepare_check(self) -> list[base.Problem]:
        end = self.chain[0].end
        if self.header.size is None and self.size < end:
            # Cinder does not store sizes in bytes: a hash list that was cut would look the same.
            self.notes.append(f'by its hash list the volume had {self.size} bytes, fewer than the '
                              f'{end} of its full backup')
        try:
            known = self.hash_list()
        except exceptions.CorruptManifest as error:
            return [base.problem_of(error)]
        if known is None:
            self.notes.append('the backup has no hash list: its objects were checked, but a wrong '
                              'parent would not be found')
        elif known.length != digests.count(self.size, known.block_size):
            return [base.Problem(f'the hash list has {known.length} blocks, the volume has '
                                 f'{digests.count(self.size, known.block_size)}')]
        self.known = known
        return []

    def missing(self, sizes: bool, tick: base.Tick) -> tuple[int, list[base.Problem]]:
        self._plan(Extent(0, self.size))
        count = 0
        problems: list[base.Problem] = []
        for reader in self.chain:
            tick()
            count += reader.object_count
            problems += reader.problems(sizes)
        return count, problems

    def uses(self) -> dict[str, base.Use]:
        return {stored.name: base.Use(None, 1.0) for stored in self.chain[-1].objects}

    def extents_of(self, objects: Collection[str]) -> dict[str, list[Extent]]:
        found: dict[str, list[Extent]] = {}
        for unit in self._plan(Extent(0, self.size)):
            name = self.chain[unit.layer].objects[unit.entry].name
            if name in objects:
                found[name] = base.joined([*found.get(name, ()), *unit.extents])
        return found

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()


class Unit:
    """See `formats.base.Unit`.

    :param trusted: block digests that are known to be right.
    """

    def __init__(self, state: State, planned: plan.Unit, trusted: digests.Spool | None) -> None:
        reader = state.chain[planned.layer]
        self._state = state
        self._container = reader.container
        self._stored = reader.objects[planned.entry]
        self._zero = reader.zeros[planned.entry]
        self._extents = planned.extents
        self._trusted = trusted if trusted and comparison.whole_blocks(
            planned.extents, state.size, trusted.block_size) else None
        self.length = planned.length

    @property
    def _whole(self) -> bool:
        return self._stored.length <= self._state.whole_limit

    @property
    def cost(self) -> int:
        return self._stored.length if self._whole and not self._zero else _PIECE

    def pieces(self, present: base.Fill | None = None, tell: base.Tell | None = None
               ) -> Generator[base.Piece, None, None]:
        try:
            yield from self._pieces()
        except (exceptions.CorruptObject, exceptions.MissingObject) as error:
            if tell is None:
                raise
            yield from self._salvaged(error, tell)

    def _pieces(self) -> Iterator[base.Piece]:
        if self._zero:
            for extent in self._extents:
                yield base.Piece(extent.offset, extent.length, None)
        elif self._whole:
            with self._state.buffers.one(self._stored.length) as data:
                self._read(data)
                yield from self._wanted(self._stored.offset, data)
        else:
            for offset, piece in objects.pieces_read_twice(self._container, self._stored):
                yield from self._wanted(offset, piece)

    def _salvaged(self, error: exceptions.FormatError, tell: base.Tell) -> Iterator[base.Piece]:
        """What of a damaged object the hash list knows to be right, block by block."""
        good: list[Extent] = []
        known = self._state.known
        whole = [Extent(self._stored.offset, self._stored.length)]
        if known is not None and comparison.whole_blocks(
                whole, self._state.size, known.block_size):
            for offset, data in objects.pieces_until_damage(
                    self._container, self._stored, known.block_size):
                for run in comparison.equal(known, offset, data):
                    good.append(run)
                    yield from self._wanted(
                        run.offset, data[run.offset - offset:run.end - offset])
        lost = [gap for extent in self._extents for gap in plan.compose([good], extent)[1]]
        tell(base.problem_of(error, lost))

    def _read(self, data: memoryview) -> None:
        """The whole object, as far as it is wanted verified."""
        known, start = self._trusted, self._stored.offset
        for offset, piece in objects.pieces(self._container, self._stored, md5=known is None):
            data[offset - start:offset - start + len(piece)] = piece
        if known is not None and any(
                digests.of(data[extent.offset - start:extent.end - start], known.block_size)
                != known.get(extent.offset // known.block_size,
                             digests.count(extent.length, known.block_size))
                for extent in self._extents):
            raise objects.corrupt(self._container, self._stored,
                                  'its blocks are not those of the hash list')

    def _wanted(self, offset: int, data: memoryview) -> Iterator[base.Piece]:
        for extent in self._extents:
            start = max(extent.offset, offset)
            end = min(extent.end, offset + len(data))
            if start < end:
                yield base.Piece(start, end - start, data[start - offset:end - offset])

    def problems(self, tick: base.Tick) -> list[base.Problem]:
        try:
            return self._misaligned() + self._problems(tick)
        except (exceptions.CorruptObject, exceptions.MissingObject) as error:
            return [base.problem_of(error, self._extents)]

    def _misaligned(self) -> list[base.Problem]:
        known = self._state.known
        if known is None or comparison.whole_blocks(
                self._extents, self._state.size, known.block_size):
            return []
        return [base.of_object(
            self._container.name, self._stored.name,
            f'holds parts of blocks of {known.block_size} bytes: a damaged manifest, or a damaged '
            'hash list', self._extents)]

    def _problems(self, tick: base.Tick) -> list[base.Problem]:
        known, size = self._state.known, self._state.size
        if self._zero:
            if not objects.is_zero_body(self._container, self._stored):
                objects.check(self._container, self._stored)
            return list(comparison.of_zeros(self._extents, size, known)) if known else []
        problems: list[base.Problem] = []
        comparer = comparison.Comparer(known, size) if known else None
        for offset, data in objects.pieces(self._container, self._stored):
            tick()
            for piece in self._wanted(offset, data):
                if comparer is not None and piece.data is not None:
                    problems += comparer.feed(piece.offset, piece.data)
        return problems
