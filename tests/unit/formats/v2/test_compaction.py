"""Forward compaction: what is chosen, and what a store comes to after many backups and deletes."""

from __future__ import annotations

from collections import Counter
import random

import pytest

from backup_framework.formats import base
from backup_framework.formats.v2 import compaction, gathering, names, sweep, writer
from tests.unit.formats.v2 import volumes

BLOCK = 64 << 10


def pick(stored: list[int], live: list[int], crowding: dict[int, int] | None = None,
         staying: frozenset[int] = frozenset()) -> list[int]:
    return compaction.pick(stored, live, crowding or {}, staying)


def test_little_that_is_dead_is_left_alone() -> None:
    assert pick([100, 100, 100], [82, 80, 81]) == []


def test_the_worst_go_first_until_little_is_dead() -> None:
    assert pick([100, 100, 100, 1000], [60, 10, 90, 900]) == []
    assert pick([1000, 1000, 1000], [500, 100, 600]) == [1, 0]
    assert pick([1000, 1000, 1000], [600, 100, 1000]) == [1]


def test_duplicates_do_not_hide_what_is_dead() -> None:
    """A block that is used a thousand times is not a thousand blocks that are stored."""
    assert pick([1, 1000], [1000, 500]) == pick([1, 1000], [1, 500]) == [1]


def test_objects_of_backups_that_are_there_stay() -> None:
    assert pick([1000, 1000], [100, 100], staying=frozenset([0, 1])) == []
    assert pick([1000, 1000], [100, 200], staying=frozenset([0])) == [1]


def test_one_backup_stores_a_bounded_part_anew() -> None:
    live = [100] * 1000
    chosen = pick([1000] * 1000, live)
    assert len(chosen) * 100 == 5000
    few = pick([1000] * 10, [200] * 10)
    assert len(few) * 200 == compaction.BUDGET_FLOOR // 200 * 200


def test_what_is_too_large_does_not_stop_smaller_ones() -> None:
    assert pick([9000, 3000, 3000], [2000, 900, 3000]) == [1]


def test_a_chunk_spread_over_few_objects_is_not_crowded() -> None:
    most = compaction.MOST_REFERENCES
    assert compaction.crowders([(number, 1) for number in range(most)]) == {}


def test_the_smallest_parts_of_a_crowded_chunk_go() -> None:
    most = compaction.MOST_REFERENCES
    references = [(number, 1 + number % 7) for number in range(most + 1)]
    crowders = compaction.crowders(references)
    assert len(crowders) == most // 2 + 1
    left = [blocks for number, blocks in references if number not in crowders]
    assert min(left) >= max(crowders.values())


def test_crowding_takes_objects_that_others_do_not_need() -> None:
    assert pick([10, 10], [10, 10], {0: 6, 1: 5}) == [0]
    assert pick([10], [10], {0: 6}, frozenset([0])) == [0]


class Days:
    """A volume that changes day by day, backed up and thinned out.

    :ivar ratios: bytes of the store for each live byte, one a day.
    :ivar written: blocks stored for each that changed, one a day.
    """

    def __init__(self, blocks: int, chunk: int, keep: int) -> None:
        self.random = random.Random(7)
        self.box = volumes.container()
        self.volume = bytearray(self.random.randbytes(blocks * BLOCK))
        self.versions = [0] * blocks
        self.choices = base.Choices(chunk_size=chunk * BLOCK, block_size=BLOCK,
                                    compression='none', duplicates='none')
        self.keep = keep
        self.kept: list[tuple[str, list[int]]] = []
        self.ratios: list[float] = []
        self.written: list[float] = []
        self.take()

    def take(self) -> int:
        parent = self.kept[-1][0] if self.kept else None
        number = int(parent.rpartition('_')[2]) + 1 if parent else 1
        prefix, totals = volumes.take(
            self.box, number, volumes.Volume(self.volume, grain=None), self.choices, parent)
        self.kept.append((prefix, list(self.versions)))
        return totals.stored_bytes // BLOCK

    def day(self, share: float) -> None:
        changed = self.random.sample(range(len(self.versions)),
                                     round(len(self.versions) * share))
        for block in changed:
            self.versions[block] += 1
            self.volume[block * BLOCK:(block + 1) * BLOCK] = self.random.randbytes(BLOCK)
        self.written.append(self.take() / len(changed))
        while len(self.kept) > self.keep:
            prefix, _ = self.kept.pop(0)
            self.box.delete(names.manifest_name(prefix))
            for each in sweep.leftovers(self.box, prefix, committed=True, tick=volumes.no_tick):
                self.box.delete_many(each)
        live = {(block, version) for _, versions in self.kept
                for block, version in enumerate(versions)}
        stored = sum(self.box.size(name) for name in self.box.names(''))
        self.ratios.append(stored / (len(live) * BLOCK))

    def crowded(self) -> int:
        """The most objects that one chunk is spread over."""
        with volumes.open_reader(self.box, self.kept[-1][0]).open_rows(None) as rows:
            return max(len(row.references) for row in rows)

    def check(self) -> None:
        assert volumes.restore(self.box, self.kept[-1][0]) == self.volume


@pytest.fixture
def scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits as a volume of many chunks of 64 MiB has them, for a small one."""
    monkeypatch.setattr(compaction, 'BUDGET_FLOOR', 64)
    monkeypatch.setattr(writer, 'SMALL', 4 * BLOCK)
    monkeypatch.setattr(gathering, 'GATHERED', 16 * BLOCK)


def test_a_store_stays_near_what_is_alive(scaled: None) -> None:
    """As much changes in sixty days as by one in a hundred in most of a year."""
    days = Days(blocks=256, chunk=64, keep=3)
    for _ in range(60):
        days.day(0.05)
    days.check()
    assert max(days.ratios) < 1.5, days.ratios
    assert sum(days.written) / len(days.written) < 2.5
    assert days.crowded() <= compaction.MOST_REFERENCES


def test_without_compaction_it_would_not(scaled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, 'choose', lambda rows, committed: frozenset())
    days = Days(blocks=256, chunk=64, keep=3)
    for _ in range(60):
        days.day(0.05)
    assert days.ratios[-1] > 1.8


@pytest.mark.long
def test_a_year_of_daily_backups_of_which_seven_are_kept(
        scaled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, 'BUDGET_FLOOR', 128)
    days = Days(blocks=512, chunk=128, keep=7)
    for _ in range(365):
        days.day(0.01)
    days.check()
    assert max(days.ratios) <= 1.5, days.ratios
    assert sum(days.written) / len(days.written) < 2.5
    assert days.crowded() <= compaction.MOST_REFERENCES


def test_nothing_is_stored_anew_while_nothing_is_deleted(scaled: None) -> None:
    """The objects of a backup that is kept stay anyway."""
    days = Days(blocks=256, chunk=64, keep=1000)
    for _ in range(30):
        days.day(0.05)
    assert Counter(round(each) for each in days.written).most_common(1)[0][0] == 1
    assert max(days.written) < 1.5
