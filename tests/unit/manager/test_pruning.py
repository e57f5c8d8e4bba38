"""What a prune leaves because others need it: whoever has these, and whatever is not known here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backup_framework import exceptions
from backup_framework.manager import Manager, pruning
from backup_framework.manager.creating import Request
from backup_framework.model import Backup, JobState, Volume
from tests.unit.manager.test_jobs import World


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.manager.close()


@pytest.fixture
def volume(world) -> Volume:
    return world.volume(size=1 << 20)


def built_on(world: World, volume: Volume, parent: Backup) -> Backup:
    """A backup that the command line made, which is of no project."""
    with Manager(world.configuration) as manager:
        return manager.create(Request(str(volume.name), backend='old', parent=parent.id))


def reasons(world: World, project: str | None = 'p') -> dict[str, list[str]]:
    """Why what is on the backend of the older format stays."""
    verdicts = world.manager.plan_prune(pruning.Request(
        backend='old', rules={'last': 1}, project_id=project))
    return {verdict.backup.id: list(verdict.reasons) for verdict in verdicts}


def test_what_a_backup_of_no_project_is_built_on_stays_and_the_rest_goes(world, volume):
    full = world.make(volume, backend='old')
    first = world.make(volume, backend='old', incremental=True)
    child = built_on(world, volume, first)
    others = [world.make(volume, backend=backend) for backend in ('old', 'local')]
    newest = [world.make(volume, backend=backend) for backend in ('old', 'local')]
    assert reasons(world) == {
        newest[0].id: ['last'], others[0].id: [], full.id: [f'{first.id} needs it'],
        first.id: ['a backup that is not of this project needs it']}
    job = world.manager.accept_prune(project_id='p', rules={'last': 1})
    ended = world.run(job)
    assert (ended.state, ended.fail_reason) == (JobState.DONE, None)
    assert {each.id for each in world.catalog.backups()} == {
        each.id for each in (*newest, full, first, child)}


def test_a_child_that_was_begun_since_the_plan_keeps_its_parent_alone(world, volume):
    full, other, third, newest = (world.make(volume, backend='old') for _ in range(4))
    verdicts = world.manager.plan_prune(pruning.Request(rules={'last': 1}, project_id='p'))
    child = built_on(world, volume, full)
    done = {backup.id: result for backup, result in world.manager.prune(verdicts)}
    assert isinstance(done.pop(full.id), exceptions.BackupInUse)
    assert done == {other.id: True, third.id: True}
    assert {each.id for each in world.catalog.backups()} == {newest.id, full.id, child.id}


def test_who_needs_a_backup_is_not_told_to_other_projects(world, volume):
    full = world.make(volume, backend='old')
    child = built_on(world, volume, full)
    with pytest.raises(exceptions.BackupInUse, match='not of its project') as refused:
        world.manager.accept_delete(full.id)
    assert child.id not in str(refused.value) and child.id in refused.value.advice


def test_what_a_lost_parent_of_another_project_may_need_stays(world, volume):
    """The parent is in no record, so whose it was is not known; who lacks it is not told."""
    full = world.make(volume, backend='old')
    lost = built_on(world, volume, full)
    orphan = built_on(world, volume, lost)
    newest = world.make(volume, backend='old')
    world.manager.forget(orphan.id)
    world.manager.forget(lost.id)
    assert reasons(world)[full.id] == []
    world.catalog.add_backup(orphan)
    told = ('a backup that is not of this project needs one that is not in the catalog, and that '
            'one may need it')
    assert reasons(world) == {newest.id: ['last'], full.id: [told]}
    assert reasons(world, None) == {orphan.id: ['last']}
    for force in (False, True):
        with pytest.raises(exceptions.BackupInUse) as refused:
            world.manager.accept_delete(full.id, force=force)
        assert not {orphan.id, lost.id} & set(str(refused.value).replace(',', ' ').split())
        assert orphan.id in refused.value.advice and lost.id in refused.value.advice
    world.run(world.manager.accept_delete(orphan.id)[1])
    assert world.run(world.manager.accept_delete(full.id)[1]).state == JobState.DONE
