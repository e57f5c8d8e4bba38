"""Pairs of commands in every order of their steps with few pre-emptions: nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import itertools

import pytest

from tests.trust.together import stage as stages
from tests.trust.together.scheduler import Command, schedules
from tests.trust.together.stage import Stage

Pair = Callable[[Stage], Sequence[Command]]


def chain(stage: Stage, length: int = 3) -> None:
    """Backups b1, b2 and so on, each on the one before; the volume is in the state of `new`."""
    data = stages.state(1)
    for number in range(1, length + 1):
        stage.write(f'b{number}', data)
        stage.create(f'b{number}', incremental=number > 1)()
        data = stages.state(number + 1, data)
    stage.write('new', data)


def backup_and_delete_of_parent(stage: Stage) -> Sequence[Command]:
    chain(stage, 2)
    return stage.create('new', incremental=True), stage.delete('b2')


def backup_and_delete_of_grandparent(stage: Stage) -> Sequence[Command]:
    chain(stage, 2)
    return stage.create('new', incremental=True), stage.delete('b1')


def two_backups(stage: Stage) -> Sequence[Command]:
    chain(stage, 1)
    stage.held['other'] = stage.held['new']
    return stage.create('new', incremental=True), stage.create('other', incremental=True)


def backup_and_verify(stage: Stage) -> Sequence[Command]:
    chain(stage, 1)

    def verify() -> None:
        with stage.manager() as manager:
            report = manager.verify('b1')
        assert report.ok, report.problems
    return stage.create('new', incremental=True), verify


def restore_and_delete(stage: Stage) -> Sequence[Command]:
    chain(stage, 2)
    return stage.restore('b2'), stage.delete('b2')


def restore_and_delete_of_parent(stage: Stage) -> Sequence[Command]:
    chain(stage, 2)
    return stage.restore('b2'), stage.delete('b1')


def import_and_delete(stage: Stage) -> Sequence[Command]:
    chain(stage, 2)
    with stage.manager() as manager:
        record = manager.export('b2')
        manager.forget('b2')

    def import_() -> None:
        with stage.manager() as manager:
            manager.import_(record, backend='main')
    return import_, stage.delete('b1')


def rebuild(stage: Stage) -> Command:
    def command() -> None:
        with stage.manager() as manager:
            manager.rebuild('main')
    return command


def rebuild_and_backup(stage: Stage) -> Sequence[Command]:
    chain(stage, 2)
    with stage.manager() as manager:
        manager.forget('b1')
    return rebuild(stage), stage.create('new', incremental=True)


def rebuild_and_delete(stage: Stage) -> Sequence[Command]:
    chain(stage, 2)
    return rebuild(stage), stage.delete('b1')


def two_deletes(stage: Stage) -> Sequence[Command]:
    chain(stage, 2)
    return stage.delete('b1'), stage.delete('b2')


def two_deletes_of_one(stage: Stage) -> Sequence[Command]:
    chain(stage, 2)
    return stage.delete('b1'), stage.delete('b1')


def backup_and_repair(stage: Stage) -> Sequence[Command]:
    """Of a store with leftovers: of a backup that failed, and an object that no map names."""
    chain(stage, 2)
    stage.leftovers = True
    container = leave_behind(stage)
    with stage.manager() as manager:
        prefix = str(manager.catalog.get_backup('b2').service_metadata)
    driver_of(stage).keep(container, f'{prefix}-00077', b'nobody needs this')

    def repair() -> None:
        with stage.manager() as manager:
            manager.check_catalog(repair=True)
    return stage.create('new', incremental=True), repair


PAIRS: dict[str, Pair] = {pair.__name__: pair for pair in (
    backup_and_delete_of_parent, backup_and_delete_of_grandparent, two_backups, backup_and_verify,
    restore_and_delete, restore_and_delete_of_parent, import_and_delete, rebuild_and_backup,
    rebuild_and_delete, two_deletes, two_deletes_of_one, backup_and_repair)}


def driver_of(stage: Stage) -> stages.memory.MemoryBackupDriver:
    return stages.memory.MemoryBackupDriver.make(store=str(stage.root))


def leave_behind(stage: Stage) -> str:
    """What a killed backup leaves: a record that failed, and an object; the container."""
    with stage.manager() as manager:
        parent = manager.catalog.get_backup('b2')
        failed = stages.Backup(
            volume_id=parent.volume_id, backend='main', container=parent.container,
            service_metadata='volume_x_20200101000000_backup_y', format=stage.version,
            status=stages.Status.ERROR, display_name='failed')
        manager.catalog.add_backup(failed)
    driver_of(stage).keep(str(parent.container), f'{failed.service_metadata}-00001', b'left')
    return str(parent.container)


def run_all(stage: Stage, pair: Pair, first: int, preemptions: int, coarse: bool = False) -> int:
    commands = pair(stage)
    stage.keep()
    visited = 0
    for run in schedules(lambda segments: stage.run(commands, segments, coarse),
                         first, preemptions):
        stage.check(run)
        visited += 1
    return visited


@pytest.mark.parametrize('name', PAIRS)
def test_one_pre_emption(make_stage: Callable[..., Stage], name: str) -> None:
    """At each call that changes something, or that reads after another kind of call."""
    visited = [run_all(make_stage(), PAIRS[name], first, 1, coarse=True) for first in (0, 1)]
    print(visited)
    assert min(visited) >= 4 and sum(visited) >= 18


def steps_of(stage: Stage, commands: Sequence[Command], number: int) -> list[str]:
    """What a command does when nothing comes between."""
    run = stage.run(commands, [(number, None)])
    return [step.removeprefix(f'{number}: ') for step in run.trace
            if step.startswith(f'{number}: ')]


def test_a_backup_that_begins_while_manifests_are_about_to_be_listed(
        make_stage: Callable[..., Stage]) -> None:
    """Of three commands: a delete of b1 stops anywhere, a backup is built on b2, which uses objects
    of b1, and stops before its manifest; b2 is deleted; the delete of b1 goes on, then the backup.
    """
    stage = make_stage()
    chain(stage, 2)
    commands = stage.delete('b1'), stage.create('new', incremental=True), stage.delete('b2')
    stage.keep()
    steps = steps_of(stage, commands, 1)
    manifest = next(number for number, step in enumerate(steps)
                    if step.startswith('store write') and step.endswith('_metadata'))
    visited = 0
    for count in itertools.count(1):
        run = stage.run(commands, [(0, count), (1, manifest), (2, None), (0, None), (1, None)])
        if not run.cut[0]:
            break
        stage.check(run)
        visited += 1
    print(visited)
    assert visited >= 15


def test_a_backup_that_ends_between_the_listing_and_the_question(
        make_stage: Callable[..., Stage]) -> None:
    """Of three commands: a backup on b2 is made, and b2 deleted, at any two steps of deleting b1.

    The whole backup fits between two steps of the delete; so its manifest was not listed, and it
    does not run any more when the delete asks.
    """
    stage = make_stage()
    chain(stage, 2)
    commands = stage.delete('b1'), stage.create('new', incremental=True), stage.delete('b2')
    stage.keep()
    visited = 0
    for count in itertools.count(1):
        for begun in (8, 30):
            run = stage.run(commands, [
                (0, count), (1, begun), (2, None), (0, 3), (1, None), (0, None)])
            stage.check(run)
            visited += 1
        if not run.cut[0]:
            break
    print(visited)
    assert visited >= 30


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize('first', [0, 1])
@pytest.mark.parametrize('name', PAIRS)
def test_two_pre_emptions(make_stage: Callable[..., Stage], name: str, first: int) -> None:
    """At every call of the store and every transaction of the catalog."""
    visited = run_all(make_stage(thorough=True), PAIRS[name], first, 2)
    print(visited)
    assert visited >= 100
