"""Reports of verifications, and samples."""

from __future__ import annotations

from collections import Counter

from backup_framework import model
from backup_framework.engine import verify
from backup_framework.engine.monitor import Monitor, Operation, Sample
from backup_framework.formats import base
from backup_framework.model import Extent
from tests.unit.driver import chains
from tests.unit.formats.v2 import shelf


def sampled(count: int, sample: Sample) -> list[int]:
    """Which of so many units are chosen: their lengths are their numbers."""
    class Unit:
        def __init__(self, length: int) -> None:
            self.length = length

    chosen = verify._sampled(map(Unit, range(count)), sample, Monitor())  # type: ignore[arg-type]
    return [unit.length for unit in chosen]


def test_every_unit_has_the_same_chance() -> None:
    seen: Counter[int] = Counter()
    for seed in range(2000):
        seen.update(sampled(20, Sample(25, seed)))
    assert len(seen) == 20 and all(400 < count < 600 for count in seen.values())


def test_one_at_least_and_that_any() -> None:
    seen = Counter(tuple(sampled(10, Sample(1e-9, seed))) for seed in range(1000))
    assert set(seen) == {(number,) for number in range(10)} and min(seen.values()) > 50
    assert sampled(0, Sample(50)) == [] and sampled(3, Sample(99.999999, 1)) == [0, 1, 2]


def test_a_seed_repeats_a_sample() -> None:
    assert sampled(100, Sample(30, 5)) == sampled(100, Sample(30, 5)) != sampled(
        100, Sample(30, 6))
    assert len({tuple(sampled(100, Sample(30))) for _ in range(5)}) == 5


def test_all_bad_objects_are_known_though_not_all_are_listed() -> None:
    report = verify.Report()
    for number in range(300):
        report.add(base.of_object('shelf', f'o-{number}', 'is missing'))
    report.add(base.Problem('a hash list is odd'))
    assert len(report.found) == verify.MOST_PROBLEMS + 1 and not report.ok
    assert report.problems[-1] == model.MORE_DAMAGE and len(report.bad) == 300


def test_extents_that_an_object_gives_in_a_chain() -> None:
    driver = chains.make_driver()
    data = bytes(range(1, 9)) * chains.BLOCK
    full = chains.take(driver, data)
    changed = bytearray(data)
    changed[chains.BLOCK:2 * chains.BLOCK] = b'x' * chains.BLOCK
    child = chains.take(driver, bytes(changed), full)
    old, new = chains.data_names(driver, full), chains.data_names(driver, child)
    state = driver.open_state(child, Operation())
    try:
        found = state.extents_of({old[0], new[0], 'other'})
    finally:
        state.close()
    assert set(found) == {old[0], new[0]}
    covered = sorted((extent.offset, extent.end) for each in found.values() for extent in each)
    assert covered[0][0] == 0 and covered[-1][1] == chains.CHUNK


def test_extents_that_an_object_gives_to_chunks() -> None:
    from tests.formats import v2_stores
    maker, _ = v2_stores.sample()
    size = v2_stores.BLOCK * 8
    with shelf.opened(shelf.Shelf(maker.objects)) as found:
        told = found.extents_of({'new-00003', 'new-00004', 'old-00001', 'nosuch'})
    assert told == {'new-00003': [Extent(3 * size, 2 * size)],
                    'new-00004': [Extent(6 * size, size)],
                    'old-00001': [Extent(5 * size, 2 * size)]}
