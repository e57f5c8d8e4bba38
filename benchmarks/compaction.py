"""What forward compaction costs and saves, by a model that only counts blocks.

    .venv/bin/python benchmarks/compaction.py [DAYS]

A volume changes each day, at random or for nine tenths of it in a tenth of its blocks; each day a
backup is made and the oldest deleted, so that `keep` are there. What is stored anew is decided by
the code of the format. Columns: bytes of the store for each live byte, at the end and at most, with
plain sharing at the end; blocks stored for each that changed, on average and on the worst day as
a share of the volume; objects whose blocks a backup stores anew, and objects that one chunk is
spread over, at most.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
import random
import sys

from backup_framework.formats.v2 import compaction

CHUNKS, BLOCKS = 64, 256
PER_OBJECT = 256
VOLUME = CHUNKS * BLOCKS
HOT = range(0, VOLUME, 10)

Change = Callable[[random.Random, int], set[int]]


def anywhere(source: random.Random, count: int) -> set[int]:
    return set(source.sample(range(VOLUME), count))


def hot_spot(source: random.Random, count: int) -> set[int]:
    return {source.choice(HOT) if source.random() < 0.9 else source.randrange(VOLUME)
            for _ in range(count)}


class Store:
    """Objects of blocks, and the backups that use them.

    :ivar state: of each block of the volume, the object that has it.
    :ivar versions: how many backups hold each version of each block.
    """

    def __init__(self, keep: int, compact: bool) -> None:
        self.keep, self.compact = keep, compact
        self.state = [0] * VOLUME
        self.version = [0] * VOLUME
        self.stored: dict[int, int] = {}
        self.writer: dict[int, int] = {}
        self.kept: deque[tuple[int, set[int], list[int]]] = deque()
        self.versions: Counter[tuple[int, int]] = Counter()
        self.made = 0
        self.touched = self.crowded = 0

    def backup(self, day: int, changed: set[int]) -> int:
        """Take one; how many blocks it stored."""
        for block in changed:
            self.version[block] = day
        renewed = self.renewed() if self.compact and self.kept else set()
        self.touched = max(self.touched, len(renewed))
        new = sorted(changed | {block for block, place in enumerate(self.state)
                                if place in renewed})
        for at in range(0, len(new), PER_OBJECT):
            self.made += 1
            piece = new[at:at + PER_OBJECT]
            self.stored[self.made], self.writer[self.made] = len(piece), day
            for block in piece:
                self.state[block] = self.made
        self.kept.append((day, set(self.state), list(self.version)))
        self.versions.update(enumerate(self.version))
        return len(new)

    def renewed(self) -> set[int]:
        objects = sorted(set(self.state))
        number = {each: at for at, each in enumerate(objects)}
        live, crowding = [0] * len(objects), Counter[int]()
        for at in range(0, VOLUME, BLOCKS):
            references = [(number[each], blocks) for each, blocks
                          in Counter(self.state[at:at + BLOCKS]).items()]
            for each, blocks in references:
                live[each] += blocks
            crowding.update(compaction.crowders(references))
            self.crowded = max(self.crowded, len(references))
        days = {day for day, _, _ in self.kept}
        staying = frozenset(at for each, at in number.items() if self.writer[each] in days)
        stored = [self.stored[each] for each in objects]
        return {objects[each] for each in compaction.pick(stored, live, crowding, staying)}

    def thin_out(self) -> None:
        while len(self.kept) > self.keep:
            _, _, version = self.kept.popleft()
            self.versions.subtract(enumerate(version))
            self.versions = +self.versions
        used = set[int]().union(*(objects for _, objects, _ in self.kept))
        self.stored = {each: blocks for each, blocks in self.stored.items() if each in used}

    def ratio(self) -> float:
        return sum(self.stored.values()) / len(self.versions)


def run(days: int, share: float, change: Change, keep: int, compact: bool) -> tuple[float, ...]:
    source = random.Random(1)
    store = Store(keep, compact)
    store.backup(0, set(range(VOLUME)))
    ratios, amplified, most = [], [], 0
    for day in range(1, days + 1):
        changed = change(source, round(VOLUME * share))
        written = store.backup(day, changed)
        amplified.append(written / len(changed))
        most = max(most, written)
        store.thin_out()
        ratios.append(store.ratio())
    return (ratios[-1], max(ratios), sum(amplified) / days, most / VOLUME * 100, store.touched,
            store.crowded)


def main() -> None:
    days = int(sys.argv[1]) if len(sys.argv) > 1 else 365
    compaction.BUDGET_FLOOR = BLOCKS
    print('changes           keep  plain    end   most  written  worst day  objects  a chunk')
    for share in (0.001, 0.01, 0.05):
        for change in (anywhere, hot_spot):
            for keep in (1, 7, 30):
                plain = run(days, share, change, keep, compact=False)[0]
                end, most, written, worst, touched, crowded = run(
                    days, share, change, keep, compact=True)
                print(f'{share:5.1%} {change.__name__:10} {keep:5} {plain:6.2f} {end:6.2f} '
                      f'{most:6.2f} {written:8.2f} {worst:9.1f}% {touched:8} {crowded:8}',
                      flush=True)


if __name__ == '__main__':
    main()
