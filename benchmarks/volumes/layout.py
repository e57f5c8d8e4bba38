"""Where a virtual machine's disk holds what: pure data, the same for the same size.

Of the bytes, 40 % are holes, 10 % written zeros, 25 % compressible (log text and binary records),
15 % noise and 10 % copies of what lies elsewhere, as files that are there twice: in runs that keep
their place within 64 KiB. One MiB of the volume has about one extent of data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import dataclasses
import math
import random

KIB = 1 << 10
MIB = 1 << 20
PAGE = 4 * KIB
BLOCK = 64 * KIB
SEED = 'a disk of a virtual machine'

SHARES = {'hole': 0.40, 'zeros': 0.10, 'text': 0.15, 'records': 0.10, 'noise': 0.15, 'copy': 0.10}
MEAN = {'hole': 420 * KIB, 'copy': 700 * KIB}
MEAN_PIECE = 340 * KIB
LONGEST = 16 * MIB
SPREAD = 1.2  # of the logarithm of lengths: many short runs, few long ones

CHANGED = 0.01
CHANGES = {'noise': 0.50, 'text': 0.24, 'records': 0.16, 'zeros': 0.10}


@dataclasses.dataclass(frozen=True)
class Piece:
    """A run of bytes of one kind.

    :param source: where a copy was copied from.
    """

    kind: str
    offset: int
    length: int
    source: int = 0

    @property
    def end(self) -> int:
        return self.offset + self.length

    @property
    def blocks(self) -> range:
        """The whole blocks in it."""
        return range(-(-self.offset // BLOCK), self.end // BLOCK)


def pieces(size: int) -> list[Piece]:
    """All that is not a hole, in order; no two overlap."""
    chance = random.Random(f'{SEED}, {size} bytes')
    holes = list(_lengths(chance, 'hole', size))
    runs = [(kind, length) for kind in ('zeros', 'text', 'records', 'noise', 'copy')
            for length in _lengths(chance, kind, size)]
    chance.shuffle(runs)
    return _with_sources(chance, list(_placed(chance, runs, holes, size)))


def changes(size: int, held: Sequence[Piece]) -> list[Piece]:
    """The blocks in which the second state differs, in order."""
    chance = random.Random(f'{SEED}, changed, {size} bytes')
    count = max(10, round(size // BLOCK * CHANGED))
    zeroed = round(count * CHANGES['zeros'])
    with_data = sorted({block for piece in held if piece.kind != 'zeros' for block in piece.blocks})
    cleared = set(chance.sample(with_data, zeroed))
    others = chance.sample([block for block in range(size // BLOCK) if block not in cleared],
                           count - zeroed)
    kinds = [kind for kind in ('text', 'records') for _ in range(round(count * CHANGES[kind]))]
    kinds += ['noise'] * (count - zeroed - len(kinds))
    return sorted([Piece(kind, block * BLOCK, BLOCK) for kind, block in zip(kinds, others)]
                  + [Piece('zeros', block * BLOCK, BLOCK) for block in cleared],
                  key=lambda piece: piece.offset)


def extents(found: Sequence[Piece]) -> list[list[int]]:
    """Offset and length of what the pieces cover, those that touch made one."""
    joined: list[list[int]] = []
    for piece in found:
        if joined and sum(joined[-1]) == piece.offset:
            joined[-1][1] += piece.length
        else:
            joined.append([piece.offset, piece.length])
    return joined


def _lengths(chance: random.Random, kind: str, size: int) -> Iterator[int]:
    """Lengths of runs that add up to the share of a kind."""
    unit = BLOCK if kind == 'copy' else PAGE
    left = int(size * SHARES[kind]) // unit * unit
    middle = math.log(MEAN.get(kind, MEAN_PIECE)) - SPREAD ** 2 / 2
    longest = min(LONGEST, size // 64)
    while left:
        wanted = min(chance.lognormvariate(middle, SPREAD), longest)
        length = min(left, max(unit, round(wanted / unit) * unit))
        yield length
        left -= length


def _placed(chance: random.Random, runs: Sequence[tuple[str, int]], holes: Sequence[int],
            size: int) -> Iterator[Piece]:
    """The runs with the holes between them. A hole before a copy ends at a block's edge."""
    copies = {number for number, run in enumerate(runs) if run[0] == 'copy'}
    others = [number for number in range(len(runs)) if number not in copies]
    after_hole = copies | set(chance.sample(others, max(0, len(holes) - len(copies))))
    left, offset, owed = list(holes), 0, 0
    for number, (kind, length) in enumerate(runs):
        if number in after_hole:
            wanted = left.pop() if left else PAGE
            hole = max(PAGE, wanted - owed)
            if kind == 'copy':
                hole += -(offset + hole) % BLOCK
            owed += hole - wanted
            offset += hole
        if offset + length > size:
            return
        yield Piece(kind, offset, length)
        offset += length


def _with_sources(chance: random.Random, placed: Sequence[Piece]) -> list[Piece]:
    """The copies cut into runs that one piece of data can be the source of."""
    sources = [piece for piece in placed
               if piece.kind in ('text', 'records', 'noise') and piece.blocks]
    largest = max(sources, key=lambda piece: len(piece.blocks))
    found: list[Piece] = []
    for piece in placed:
        if piece.kind != 'copy':
            found.append(piece)
            continue
        offset = piece.offset
        while offset < piece.end:
            left = (piece.end - offset) // BLOCK
            long_enough = [source for source in sources if len(source.blocks) >= left]
            blocks = chance.choice(long_enough or [largest]).blocks
            first = blocks.start + chance.randint(0, max(0, len(blocks) - left))
            length = min(left, len(blocks)) * BLOCK
            found.append(Piece('copy', offset, length, first * BLOCK))
            offset += length
    return found
