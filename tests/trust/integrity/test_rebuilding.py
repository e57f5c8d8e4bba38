"""The catalog is lost: what the store has comes back, all of it, nothing else, and once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import dataclasses
import json
from pathlib import Path
import time
from typing import Any

import pytest

from backup_framework import exceptions
from backup_framework.catalog import Catalog
from backup_framework.engine.monitor import Monitor
from backup_framework.manager import records
from backup_framework.manager.manager import Request
from backup_framework.model import Backup, JobState, Status, Volume
from backup_framework.testing import memory
from tests.formats import v2_stores
from tests.trust.together.stage import Stage

CINDERS, OURS = '1.0.0', '2.0.0'
MANY = 1000
SECONDS = 60
LOST = {'updated_at', 'host', 'warnings', 'parent', 'on_save', 'verified_at', 'verified_how',
        'fully_verified_at', 'damage'}
"""What only the catalog knew: when a record was changed, by which host, and what was said then."""



@pytest.fixture
def make_stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Makes empty stages."""
    made: list[Stage] = []

    def make(**how: object) -> Stage:
        made.append(Stage(tmp_path / f'stage-{len(made)}', **how))
        return made[-1]

    yield make
    for stage in made:
        stage.close()


each_version = pytest.mark.parametrize('version', [CINDERS, OURS])


def facts(stage: Stage) -> dict[str, dict[str, Any]]:
    """What is recorded of each backup and can be told by its manifest."""
    with stage.manager() as manager:
        return {backup.id: {field.name: getattr(backup, field.name)
                            for field in dataclasses.fields(Backup) if field.name not in LOST}
                for backup in manager.catalog.backups()}


def lose_catalog(stage: Stage) -> None:
    """With the id of the installation, which a rebuild has to be told is the same."""
    for path in stage.state.iterdir():
        if path.is_file():
            path.unlink()


def fill(stage: Stage, count: int, volumes: int = 10) -> None:
    """Chains of all lengths up to five, properties, names; and what was never committed."""
    with stage.manager() as manager:
        for number in range(count):
            name = f'disk{number % volumes}'
            (stage.root / name).write_bytes(b'%d ' % number * 700)
            manager.create(Request(
                str(stage.root / name), name=f'b{number}', description=f'the {number}th',
                incremental=number // volumes % 5 > 0 or None, container='shelf', force=True,
                properties={'number': str(number)} if number % 3 == 0 else {}))
    for prefix in ('volume_x_20200101000000_backup_x', 'other'):
        for name in (f'{prefix}-00001', f'{prefix}_map', f'{prefix}_sha256file'):
            stage.store.containers['shelf'][name] = memory.Body(b'left over', 9)


def check_rebuilt(stage: Stage, count: int) -> tuple[float, float]:
    """How long it took, and how long the processor."""
    before = facts(stage)
    assert len(before) == count
    objects = dict(stage.store.containers['shelf'])
    lose_catalog(stage)
    with stage.manager() as manager:
        begun, worked = time.monotonic(), time.process_time()
        rebuilt = manager.rebuild('main', adopt=True)
        took = time.monotonic() - begun, time.process_time() - worked
        again = manager.rebuild('main', adopt=True)
    assert (len(rebuilt.added), rebuilt.problems) == (count, [])
    assert (again.added, again.known, again.problems) == ([], count, [])
    assert facts(stage) == before
    assert stage.store.containers['shelf'] == objects
    with stage.manager() as manager:
        manager.rebuild('main')
    assert facts(stage) == before
    return took


@each_version
def test_all_comes_back_and_nothing_else(version: str, make_stage: Callable[..., Stage]
                                         ) -> None:
    stage = make_stage(version=version)
    fill(stage, 24, volumes=4)
    check_rebuilt(stage, 24)


@pytest.mark.long
@pytest.mark.timeout(600)
@each_version
def test_a_thousand_backups_take_no_minute(version: str, make_stage: Callable[..., Stage]
                                           ) -> None:
    stage = make_stage(version=version)
    fill(stage, MANY)
    took, worked = check_rebuilt(stage, MANY)
    print(f'{MANY} backups of {version}: {took:.1f} s, of the processor {worked:.1f} s')
    # The machine may have other work.
    assert worked < SECONDS / 2


@pytest.fixture
def planted(make_stage: Callable[..., Stage]) -> Iterator[Stage]:
    """A backup, and a second one in another container that says it is the first."""
    stage = make_stage()
    fill(stage, 1)
    yield stage


def plant(stage: Stage, container: str, *, later: bool) -> str:
    """Another backup's objects, whose manifest has the id of the first; the id."""
    with stage.manager() as manager:
        backup, = manager.catalog.backups()
    name = f'{backup.service_metadata}_metadata'
    stage.store.containers.setdefault(container, {}).update(stage.store.containers['shelf'])
    members = json.loads(stage.store.containers['shelf'][name].data)
    members['created_at'] = members['data_timestamp'] = (
        '2039-01-01T00:00:00+00:00' if later else '2001-01-01T00:00:00+00:00')
    members['backup_name'] = 'false'
    stage.store.containers[container][name] = memory.Body(*signed(members))
    return backup.id


def signed(members: dict[str, Any]) -> tuple[bytes, int]:
    members.pop('manifest_digest')
    document = v2_stores.Maker({}).sign(members)
    return document, len(document)


@pytest.mark.parametrize('later', [False, True])
@pytest.mark.parametrize('container', ['a', 'z'])
def test_a_second_backup_of_the_same_id_replaces_no_record(planted: Stage, container: str,
                                                           later: bool) -> None:
    plant(planted, container, later=later)
    before = facts(planted)
    with planted.manager() as manager:
        rebuilt = manager.rebuild('main', adopt=True)
    assert facts(planted) == before and not rebuilt.added
    problem, = rebuilt.problems
    assert f'container {container}' in problem


@pytest.mark.parametrize('later', [False, True])
@pytest.mark.parametrize('container', ['a', 'z'])
def test_of_two_that_say_they_are_the_same_backup_neither_is_believed(
        planted: Stage, container: str, later: bool) -> None:
    """Who came first, or says that it did, need not be the right one: the operator chooses."""
    before = facts(planted)
    backup_id = plant(planted, container, later=later)
    lose_catalog(planted)
    with planted.manager() as manager:
        rebuilt = manager.rebuild('main', adopt=True)
        assert not rebuilt.added and not manager.catalog.backups()
        problem, = rebuilt.problems
        assert backup_id in problem and 'shelf' in problem and f'container {container}' in problem
        chosen = manager.rebuild('main', container='shelf', adopt=True)
    assert [backup.id for backup in chosen.added] == [backup_id] and facts(planted) == before


def test_a_failed_backup_of_which_there_are_two_is_not_healed_by_the_other(planted: Stage) -> None:
    backup_id = plant(planted, 'a', later=True)
    with planted.manager() as manager:
        manager.catalog.update_backup(backup_id, status=Status.ERROR)
        del planted.store.containers['shelf'][
            f'{manager.catalog.get_backup(backup_id).service_metadata}_metadata']
        rebuilt = manager.rebuild('main', adopt=True)
        assert not rebuilt.healed
        assert manager.catalog.get_backup(backup_id).status == Status.ERROR


def chain(stage: Stage, count: int) -> list[Backup]:
    """A full backup and others on it, each on the one before."""
    disk = stage.root / 'disk'
    made = []
    with stage.manager() as manager:
        for number in range(count):
            disk.write_bytes(b'%d ' % number * 700)
            made.append(manager.create(Request(
                str(disk), incremental=number > 0, container='shelf', force=True)))
    return made


def test_one_that_was_made_and_deleted_meanwhile_does_not_come_back(
        make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make_stage()
    kept, = chain(stage, 1)
    asked, told_apart = Catalog.backup_ids, records._told_apart
    made: list[Backup] = []

    def make_one(catalog: Catalog) -> set[str]:
        found = asked(catalog)
        if not made:
            made.extend(chain(stage, 1))
        return found

    def delete_it(*args: Any) -> Iterator[Any]:
        with stage.manager() as other:
            assert other.delete(other.plan_delete([made[0].id])[0])
        return told_apart(*args)
    monkeypatch.setattr(Catalog, 'backup_ids', make_one)
    monkeypatch.setattr(records, '_told_apart', delete_it)
    with stage.manager() as manager:
        assert not manager.rebuild('main').added
        assert [backup.id for backup in manager.catalog.backups()] == [kept.id]


@each_version
def test_what_a_late_listing_lacks_is_taken_in(
        version: str, make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a prune could delete what it needs."""
    stage = make_stage(version=version)
    made = chain(stage, 2)
    lose_catalog(stage)
    prefixes, able = memory.MemoryBackupDriver.prefixes, memory.MemoryBackupDriver.capabilities
    listings: list[str] = []
    waited: list[float] = []

    def list_late(driver: memory.MemoryBackupDriver, container: str) -> list[str]:
        listings.append(container)
        found = prefixes(driver, container)
        return [] if len(listings) == 2 else found
    monkeypatch.setattr(memory.MemoryBackupDriver, 'prefixes', list_late)
    monkeypatch.setattr(memory.MemoryBackupDriver, 'capabilities', lambda driver:
                        dataclasses.replace(able(driver), listing_delay=7))
    monkeypatch.setattr(Monitor, 'sleep', lambda monitor, seconds: waited.append(seconds))
    with stage.manager() as manager:
        rebuilt = manager.rebuild('main', adopt=True)
        assert {backup.id for backup in rebuilt.added} == {backup.id for backup in made}
        assert waited == [7] and not rebuilt.problems
        assert not manager.rebuild('main', adopt=True).added
        assert waited == [7]


def test_a_container_that_is_deleted_meanwhile_brings_nothing_back(
        make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make_stage()
    chain(stage, 1)
    lose_catalog(stage)
    told_apart = records._told_apart

    def delete_all(*args: Any) -> Iterator[Any]:
        stage.store.containers.clear()
        return told_apart(*args)
    monkeypatch.setattr(records, '_told_apart', delete_all)
    with stage.manager() as manager:
        assert not manager.rebuild('main', adopt=True).added and not manager.catalog.backups()


@each_version
def test_a_volume_that_another_command_adds_meanwhile_keeps_no_backup_out(
        version: str, make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make_stage(version=version)
    first, second = chain(stage, 2)
    with stage.manager() as manager:
        record = manager.export(first.id)
    lose_catalog(stage)
    add, others = Catalog.add_volume, []

    def add_after_another(catalog: Catalog, volume: Volume) -> Volume:
        if not others:
            others.append(volume)
            with stage.manager() as other:
                other.import_(record, adopt=True)
        return add(catalog, volume)
    monkeypatch.setattr(Catalog, 'add_volume', add_after_another)
    with stage.manager() as manager:
        rebuilt = manager.rebuild('main', adopt=True)
        assert not rebuilt.problems and [backup.id for backup in rebuilt.added] == [second.id]
        assert rebuilt.known == 1 and others


def test_what_was_left_out_of_a_chain_is_told(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(version=CINDERS)
    first, second, third = chain(stage, 3)
    objects = stage.store.containers['shelf']
    stage.store.containers['copy'] = {
        name: body for name, body in objects.items() if str(second.service_metadata) in name}
    lose_catalog(stage)
    with stage.manager() as manager:
        rebuilt = manager.rebuild('main', adopt=True)
    assert {backup.id for backup in rebuilt.added} == {first.id, third.id}
    assert rebuilt.problems[-1] == (
        f'backup {second.id} is the parent of others but was not taken in')
    assert 'delete nothing' in rebuilt.notes[-1]


def failed_import(stage: Stage, backup: Backup) -> None:
    """What is left of it in a catalog that knows nothing else."""
    lose_catalog(stage)
    with stage.manager() as manager:
        manager.catalog.add_backup(Backup(
            id=backup.id, volume_id=backup.volume_id, status=Status.ERROR, project_id='p',
            fail_reason='the store did not answer', display_name='mine', backend='other'))


@each_version
def test_a_failed_import_is_taken_in_with_all_that_the_manifest_says(
        version: str, make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(version=version)
    first, second = chain(stage, 2)
    before = facts(stage)
    failed_import(stage, second)
    with stage.manager() as manager:
        rebuilt = manager.rebuild('main', adopt=True, project_id='q')
    assert (rebuilt.healed, rebuilt.problems) == ([second.id], [])
    assert [backup.id for backup in rebuilt.added] == [first.id]
    before[first.id]['project_id'] = 'q'
    assert facts(stage) == before | {
        second.id: before[second.id] | {'project_id': 'p', 'display_name': 'mine'}}


@pytest.mark.parametrize('imported', [True, False])
def test_what_failed_is_available_with_its_children_not_before(
        make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch, imported: bool) -> None:
    """Else a prune could delete it under them."""
    stage = make_stage(version=CINDERS)
    first, second = chain(stage, 2)
    if imported:
        failed_import(stage, first)
    else:
        with stage.manager() as manager:
            manager.forget(second.id)
            manager.catalog.update_backup(first.id, status=Status.ERROR)
    add, before = Catalog.add_backups, []

    def add_all(catalog: Catalog, *args: Any) -> dict[str, str]:
        before.append(catalog.get_backup(first.id).status)
        return add(catalog, *args)
    monkeypatch.setattr(Catalog, 'add_backups', add_all)
    with stage.manager() as manager:
        assert manager.rebuild('main', adopt=True).healed == [first.id]
        assert before == [Status.ERROR]
        assert [each.status for each in manager.catalog.backups()] == [Status.AVAILABLE] * 2


def test_a_failed_import_is_told_what_it_needs(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(version=CINDERS)
    first, second = chain(stage, 2)
    objects = stage.store.containers['shelf']
    for name in [name for name in objects if str(first.service_metadata) in name]:
        del objects[name]
    failed_import(stage, second)
    with stage.manager() as manager:
        rebuilt = manager.rebuild('main', adopt=True)
    assert rebuilt.healed == [second.id]
    assert rebuilt.problems == [
        f'backup {first.id} is the parent of others but was not found in the store']


def test_a_failed_import_of_which_there_are_two_is_left_alone(planted: Stage) -> None:
    backup_id = plant(planted, 'a', later=True)
    with planted.manager() as manager:
        backup = manager.catalog.get_backup(backup_id)
    failed_import(planted, backup)
    before = facts(planted)
    with planted.manager() as manager:
        rebuilt = manager.rebuild('main', adopt=True)
        assert not rebuilt.healed and 'is there 2 times' in rebuilt.problems[0]
        assert facts(planted) == before
        assert manager.rebuild('main', container='shelf', adopt=True).healed == [backup_id]


def test_a_failed_import_on_what_is_being_deleted_stays_failed(
        make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(version=CINDERS)
    first, second = chain(stage, 2)
    failed_import(stage, second)
    with stage.manager() as manager:
        manager.catalog.add_backup(first)
        manager.catalog.update_backup(first.id, status=Status.DELETING)
        with manager.catalog.operation('delete', backup_id=first.id):
            rebuilt = manager.rebuild('main', adopt=True)
        assert not rebuilt.healed and 'is being deleted' in rebuilt.problems[0]
        failed = manager.catalog.get_backup(second.id)
        assert (failed.status, failed.service_metadata) == (Status.ERROR, None)


def test_a_failed_import_can_be_repeated(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage()
    backup, = chain(stage, 1)
    with stage.manager() as manager:
        record = manager.export(backup.id)
    failed_import(stage, backup)
    with stage.manager() as manager:
        taken = manager.import_(record, adopt=True)
        assert (taken.status, taken.project_id, taken.service_metadata) == (
            Status.AVAILABLE, 'p', backup.service_metadata)
    failed_import(stage, backup)
    with stage.manager() as manager:
        with pytest.raises(exceptions.InvalidBackup, match='already exists'):
            manager.accept_import(record, project_id='q')
        taken, job = manager.accept_import(record, project_id='p')
        assert taken.status == Status.CREATING
        manager.run_job(job)
        assert manager.catalog.get_backup(backup.id).status == Status.AVAILABLE
        assert manager.catalog.job(job.id).state == JobState.DONE
