"""A process is killed before and after each call that has an effect; all is as promised then.

The parent is warm and forks; the child does one operation and ends with `os._exit` at its n-th
point, for n from 1 until it is through. What it left is judged by `oracle.judge`, in another child.
Worlds that differ in nothing but times are judged once: ids are drawn from a seed.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import gc
import os
from pathlib import Path

import pytest

from backup_framework.driver import chunked
from backup_framework.drivers import local
from backup_framework.testing import memory
from tests.trust.crash import children, oracle, world
from tests.trust.crash.points import Points
from tests.trust.crash.world import CINDERS, OURS, World

DRIVERS: dict[str, type[chunked.ChunkedBackupDriver]] = {
    'local': local.LocalBackupDriver, 'memory': memory.MemoryBackupDriver}


LEAST = {
    'full': 60, 'incremental': 60, 'restore to a new file': 30, 'restore over a file': 30,
    'delete': 20, 'delete of a parent': 20, 'verify': 20, 'import': 6, 'rebuild': 10, 'copy': 60}
"""So many points each operation has at least, on any driver and in any format."""


@dataclasses.dataclass
class Visited:
    """How many points an operation has, how many of them killed it, how many worlds that made."""

    points: int = 0
    killed: int = 0
    worlds: int = 0


@pytest.fixture(scope='module', autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is imported and compiled at the first use is there before the first fork."""
    made = World(tmp_path_factory.mktemp('warm') / 'world', durability='none')
    made.begin()
    oracle.judge(made, oracle.OPERATIONS['full'])
    gc.collect()
    gc.freeze()


def kill_everywhere(made: World, operation: oracle.Operation, *, after: bool = True) -> Visited:
    """Visit every point of the operation."""
    def begin(world: World) -> None:
        world.begin()
        operation.prepare(world)
        world.keep()

    copies = world.Copies(made, begin)
    seen = set()
    reference = _child(copies, operation, 0, after)
    points, kinds = reference.result
    assert 'catalog' in kinds, kinds
    expected = children.good(lambda: oracle.judge(made, operation), seed='judge')
    visited = Visited(points)
    for number in range(1, points + 1):
        ended = _child(copies, operation, number, after)
        assert ended.killed, f'point {number} of {points}: {ended}'
        visited.killed += 1
        mark = made.mark()
        if mark in seen:
            continue
        seen.add(mark)
        judged = children.run(lambda: oracle.judge(made, operation, expected), seed='judge')
        assert not judged.trouble, f'killed at point {number} of {points}: {judged.trouble}'
    visited.worlds = len(seen)
    copies.close()
    return visited


def _child(copies: world.Copies, operation: oracle.Operation, at: int, after: bool
           ) -> children.Ended:
    made = copies.again()

    def be_killed() -> None:
        made.keep()
        os._exit(children.KILLED)

    def work() -> tuple[int, dict[str, int]]:
        made.take_up()
        points = Points(at, be_killed, after=after)
        points.interpose(DRIVERS[made.driver])
        with made.manager() as manager:
            operation.run(made, manager)
        made.keep()
        return points.count, points.kinds

    ended = children.run(work, seed='operation')
    assert not ended.trouble, ended.trouble
    return ended


@pytest.mark.timeout(600)
@pytest.mark.parametrize('name, version, points, worlds', [
    ('incremental', OURS, 90, 45), ('delete of a parent', OURS, 35, 8), ('import', OURS, 4, 1),
    ('rebuild', OURS, 10, 4), ('rebuild', CINDERS, 10, 4)])
def test_before_each_call(place: Path, name: str, version: str, points: int, worlds: int) -> None:
    visited = kill_everywhere(
        World(place / 'world', version), oracle.OPERATIONS[name], after=False)
    assert visited.killed == visited.points >= points, visited
    assert visited.worlds >= worlds, visited


@pytest.mark.long
@pytest.mark.parametrize('version', [OURS, CINDERS])
@pytest.mark.parametrize('driver', DRIVERS)
@pytest.mark.parametrize('name', oracle.OPERATIONS)
def test_before_and_after_each_call(place: Path, record_property: Callable[[str, object], None],
                                    name: str, driver: str, version: str) -> None:
    made = World(place / 'world', version, driver)
    visited = kill_everywhere(made, oracle.OPERATIONS[name])
    record_property('visited', str(visited))
    assert visited.killed == visited.points >= LEAST[name], visited
