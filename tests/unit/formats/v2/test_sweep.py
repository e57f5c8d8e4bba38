"""Deleting 2.0.0: what others use stays, the rest goes, in any order and after any interruption."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import json
import logging
import random

from hypothesis import given, settings
from hypothesis import strategies as some
import pytest

from backup_framework import exceptions, store
from backup_framework.formats import base
from backup_framework.formats.v2 import gathering, names, sweep, writer
from backup_framework.testing.faults import Fault, FaultyDriver
from backup_framework.testing.memory import MemoryBackupDriver
from tests.unit.formats.v2 import volumes

BLOCK = 512
BLOCKS = 24
CHOICES = base.Choices(chunk_size=4 * BLOCK, block_size=BLOCK, compression='none')
VERBS = ('get_container_entries', 'get_object_reader', 'read', 'delete_object', 'sync')


@pytest.fixture(autouse=True)
def small_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """About one object for two chunks."""
    monkeypatch.setattr(writer, 'SMALL', 6 * BLOCK)
    monkeypatch.setattr(gathering, 'GATHERED', 8 * BLOCK)


class Killed(BaseException):
    """The process ends here."""


@dataclasses.dataclass
class Box:
    """A container, and what its backups hold."""

    driver: FaultyDriver = dataclasses.field(
        default_factory=lambda: FaultyDriver(MemoryBackupDriver()))
    held: dict[str, bytes] = dataclasses.field(default_factory=dict)
    taken: int = 0

    def __post_init__(self) -> None:
        self.container = volumes.container(self.driver)

    def take(self, data: bytes, parent: str | None = None,
             choices: base.Choices = CHOICES) -> str:
        self.taken += 1
        prefix, _ = volumes.take(self.container, self.taken, volumes.Volume(data), choices, parent)
        self.held[prefix] = data
        return prefix

    def delete(self, prefix: str, committed: bool = True) -> None:
        self.container.delete(names.manifest_name(prefix))
        self.container.sync()
        self.held.pop(prefix, None)
        for each in sweep.leftovers(self.container, prefix, committed=committed,
                                    tick=volumes.no_tick):
            self.container.delete_many(each)

    def names(self) -> list[str]:
        return self.container.names('')

    def check(self) -> None:
        for prefix, data in self.held.items():
            assert volumes.restore(self.container, prefix) == data


def content(seed: int, parent: bytes | None = None) -> bytes:
    """Blocks from a small stock, so that some stand twice; most are those of the parent."""
    source = random.Random(seed)
    stock = [bytes(BLOCK), *(random.Random(n).randbytes(BLOCK) for n in range(40))]
    blocks = [parent[at:at + BLOCK] if parent else source.choice(stock)
              for at in range(0, BLOCKS * BLOCK, BLOCK)]
    for _ in range(source.randint(1, 6) if parent else 0):
        blocks[source.randrange(BLOCKS)] = source.choice(stock)
    return b''.join(blocks)


def chain(box: Box, length: int, seed: int = 1) -> list[str]:
    found = [box.take(content(seed))]
    for number in range(1, length):
        found.append(box.take(content(seed + number, box.held[found[-1]]), found[-1]))
    return found


@settings(max_examples=60, deadline=None)
@given(some.lists(some.tuples(some.booleans(), some.integers(0, 1 << 16)), min_size=3, max_size=16))
def test_any_order_of_backups_and_deletes(steps: list[tuple[bool, int]]) -> None:
    """Each backup builds on any that is there, or on none."""
    box = Box()
    for is_delete, number in steps:
        there = list(box.held)
        if is_delete and there:
            box.delete(there[number % len(there)])
        else:
            parent = (*there, None)[number % (len(there) + 1)]
            box.take(content(number, parent and box.held[parent]), parent)
        box.check()
    random.Random(len(steps)).shuffle(there := list(box.held))
    for prefix in there:
        box.delete(prefix)
        box.check()
    assert box.names() == []


def test_an_object_goes_with_the_last_backup_that_uses_it() -> None:
    box = Box()
    first, second, third = chain(box, 3)
    data = box.container.names(f'{first}-')
    box.delete(first)
    assert f'{first}_map' not in box.names()
    left = set(data) & set(box.names())
    assert left, 'the children use none of it: the test tests nothing'
    box.delete(third)
    assert left == set(data) & set(box.names())
    box.delete(second)
    assert box.names() == []


def test_what_no_child_uses_goes_at_once() -> None:
    box = Box()
    first = box.take(content(1))
    box.take(random.Random(2).randbytes(BLOCKS * BLOCK), first)
    box.delete(first)
    box.check()
    assert not box.container.names(first)


@pytest.mark.parametrize('verb', VERBS)
@pytest.mark.parametrize('after', [False, True])
def test_a_delete_that_was_killed_is_repeated(verb: str, after: bool) -> None:
    """At each call of each verb, in the middle of three and at the end of what two need."""
    call, struck = 1, True
    while struck:
        box = Box()
        first, second, third = chain(box, 3)
        box.delete(first)
        box.driver.plan = [Fault(verb, call, after=after, error=Killed)]
        try:
            box.delete(second)
        except Killed:
            box.delete(second)
        struck = bool(box.driver.happened)
        box.driver.plan = []
        box.check()
        box.delete(third)
        assert box.names() == [], (verb, call)
        call += 1
    assert call > 2, f'{verb} was never called'


@pytest.mark.parametrize('verb', VERBS)
@pytest.mark.parametrize('other', [0, 2])
def test_two_deletes_at_once(verb: str, other: int) -> None:
    """The whole of one between any two calls of the other."""
    call, struck = 1, True
    while struck:
        box = Box()
        chained = chain(box, 4)

        def whole(box: Box = box, prefix: str = chained[other]) -> None:
            plan, happened = box.driver.plan, box.driver.happened
            box.driver.plan = []
            box.delete(prefix)
            box.driver._plan, box.driver.happened = plan, happened
            box.driver._counts = [1 << 30] * len(plan)

        box.driver.plan = [Fault(verb, call, hook=whole)]
        box.delete(chained[1])
        struck = chained[other] not in box.held
        box.driver.plan = []
        box.check()
        for prefix in list(box.held):
            box.delete(prefix)
            box.check()
        assert box.names() == [], (verb, call)
        call += 1
    assert call > 2


def damage(box: Box, name: str, change: Callable[[bytes], bytes]) -> None:
    body = change(box.container.get(name, 1 << 20))
    box.container.delete(name)
    box.container.put(name, lambda: [body])


def flip(data: bytes) -> bytes:
    return data[:40] + bytes([data[40] ^ 1]) + data[41:]


@pytest.mark.parametrize('change', [
    flip, lambda data: b'', lambda data: b'{"version": "3.0.0"}', lambda data: b'[]',
    lambda data: data.replace(b'"references"', b'"preferences"')])
def test_a_manifest_that_cannot_be_read_stops_the_sweep(change: Callable[[bytes], bytes]) -> None:
    """Also that of a backup which has nothing of this one: who knows."""
    box = Box()
    first = box.take(content(1))
    second = box.take(box.held[first][:8 * BLOCK] + bytes((BLOCKS - 8) * BLOCK), first)
    third = box.take(random.Random(3).randbytes(BLOCKS * BLOCK), second)
    damage(box, f'{third}_metadata', change)
    before = set(box.names())
    with pytest.raises(exceptions.FormatError, match=f'{third}_metadata.*{first}|'
                       f'{first}.*{third}_metadata'):
        box.delete(first)
    assert set(box.names()) == before - {f'{first}_metadata'}
    box.held.pop(third)
    box.delete(third)
    box.delete(first)
    box.check()
    box.delete(second)
    assert box.names() == []


@pytest.mark.parametrize('change', [flip, lambda data: data[:-1], lambda data: data + b'x', None])
def test_a_map_in_use_that_is_damaged_stops_the_sweep(
        change: Callable[[bytes], bytes] | None) -> None:
    box = Box()
    first, second = chain(box, 2)
    if change:
        damage(box, f'{second}_map', change)
    else:
        box.container.delete(f'{second}_map')
    before = set(box.names())
    with pytest.raises(exceptions.FormatError, match=f'{second}_map'):
        box.delete(first)
    assert set(box.names()) == before - {f'{first}_metadata'}


def test_a_map_of_another_backup_is_not_believed() -> None:
    """It is whole, but not the one that the manifest means."""
    box = Box()
    first, second, third = chain(box, 3)
    other = box.container.get(f'{third}_map', 1 << 20)
    damage(box, f'{second}_map', lambda data: other)
    with pytest.raises(exceptions.CorruptObject, match='not the one'):
        box.delete(first)


def test_an_own_map_that_is_damaged_is_told_and_costs_only_room(
        caplog: pytest.LogCaptureFixture) -> None:
    box = Box()
    first, second = chain(box, 2)
    box.delete(first)
    damage(box, f'{second}_map', flip)
    left = box.container.names(f'{first}-')
    with caplog.at_level(logging.WARNING):
        box.delete(second)
    assert f'{second}_map' in caplog.text
    assert box.names() == left


@pytest.mark.parametrize('digest', ['blake3', 'sha256'])
def test_digests_of_any_algorithm(digest: str) -> None:
    box = Box()
    choices = dataclasses.replace(CHOICES, digest=digest)
    first = box.take(content(1), None, choices)
    second = box.take(content(2, box.held[first]), first, choices)
    box.delete(first)
    box.check()
    box.delete(second)
    assert box.names() == []


def test_other_names_are_let_alone() -> None:
    """Those of the container, of backups whose prefix begins alike, of 1.0.0."""
    box = Box()
    first, second = chain(box, 2)
    kept = ['bf-container.owner', 'bf-container.x-00001', f'{first}-00001-00001', f'{first}x-00001',
            f'{first}_mapping', 'cinder-00001', f'{first}-1']
    for name in kept:
        box.container.put(name, lambda: [b'kept'])
    box.container.put('cinder_metadata', lambda: [json.dumps({'version': '1.0.0'}).encode()])
    box.container.put(f'{first}_map-2', lambda: [b'an attempt that failed'])
    box.delete(first)
    box.check()
    box.delete(second)
    assert box.names() == sorted([*kept, 'cinder_metadata'])


def test_a_failed_backup_goes_whatever_the_others_look_like() -> None:
    """Nobody can refer to it, so no manifest is read."""
    box = Box()
    first, second = chain(box, 2)
    damage(box, f'{first}_metadata', flip)
    box.delete(second, committed=False)
    assert not box.container.names(second)


def test_maps_go_last() -> None:
    box = Box()
    first, second = chain(box, 2)
    box.delete(first)
    box.container.delete(f'{second}_metadata')
    data, maps, keys = sweep.leftovers(box.container, second, committed=True, tick=volumes.no_tick)
    assert maps == [f'{second}_map'] and keys == []
    assert {names.prefix_of(name) for name in data} == {first, second}


def test_a_missing_container_is_empty() -> None:
    missing = store.Container(MemoryBackupDriver(), 'missing')
    assert [list(each) for each in sweep.leftovers(
        missing, 'p', committed=True, tick=volumes.no_tick)] == [[], [], []]


def test_a_sweep_can_be_cancelled() -> None:
    box = Box()
    first, _ = chain(box, 2)
    box.container.delete(f'{first}_metadata')

    def stop() -> None:
        raise exceptions.OperationCancelled

    with pytest.raises(exceptions.OperationCancelled):
        sweep.leftovers(box.container, first, committed=True, tick=stop)
