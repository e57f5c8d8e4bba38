"""Creates in parts, by managers that have just begun: kills at every step, deletes beside, ends."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import json
import os
from pathlib import Path
import random
import shutil
import signal

import pytest

from backup_framework import conf, exceptions, store
from backup_framework.catalog import parts
from backup_framework.engine import source
from backup_framework.engine.monitor import Monitor
from backup_framework.interface.volume_source import Capabilities, Reading
from backup_framework.manager import Manager
from backup_framework.manager.creating import Request as Create
from backup_framework.manager.restoring import Request as Restore
from backup_framework.model import Backup, Extent, Job, JobState, Snapshot, Status, Volume
from backup_framework.volumes.file import FileVolumes
from tests.unit.manager.test_jobs import MIB, World

SIZE = 10 * MIB + 4321
HERE = 'tests.unit.manager.test_splitting'


class Copied(FileVolumes):
    """Every backup reads a copy, which is kept for the next one."""

    def capabilities(self) -> Capabilities:
        return Capabilities(creates=True, snapshots=True, keeps=True, shared=True)

    def make_snapshot(self, volume: Volume) -> Snapshot:
        shutil.copyfile(self._path(str(volume.source_id)), self._path('.copy'))
        return Snapshot(source_id='.copy', volume_id=volume.id)

    @contextlib.contextmanager
    def open(self, volume: Volume, snapshot: Snapshot | None = None, *, since: str | None = None
             ) -> Iterator[Reading]:
        assert snapshot is not None
        with source.open_volume(self._path(str(snapshot.source_id))) as file:
            yield Reading(file, source.size_of(file), taken='a state')

    def delete_snapshot(self, volume: Volume, snapshot: Snapshot) -> None:
        os.unlink(self._path(str(snapshot.source_id)))

    def keep(self, volume: Volume, taken: str, backup_id: str) -> None:
        with open(self._path('.kept'), 'a', encoding='utf-8') as file:
            file.write(f'{taken} {backup_id}')

    def _path(self, name: str) -> str:
        return os.path.join(str(self._directory), name)


class Alone(FileVolumes):
    """One at a time reads a volume."""

    def capabilities(self) -> Capabilities:
        return Capabilities()


class Split(World):
    """Its backups have parts of two MiB."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        path = root / 'c.conf'
        path.write_text(path.read_text() + f'[service]\nsplit_size = 2MiB\n[volumes:copied]\n'
                        f'type = {HERE}:Copied\npath = {root}/copied\n[volumes:alone]\n'
                        f'type = {HERE}:Alone\npath = {root}/alone\n')
        for name in ('copied', 'alone'):
            (root / name).mkdir()
        self.configuration = conf.load([str(path)])
        self.manager = Manager(self.configuration)
        self.catalog = self.manager.catalog

    def parts(self) -> list[Job]:
        """Of the only create that is running; any order."""
        found = [job for job in self.catalog.open_jobs() if job.kind == parts.KIND]
        random.shuffle(found)
        return found

    def begin(self, volume: Volume, **wanted: object) -> tuple[Backup, Job]:
        backup, job = self.accept(volume, **wanted)
        assert self.run(job).state == JobState.RUNNING
        assert len(self.parts()) == 6
        return backup, job

    def make(self, volume: Volume, **wanted: object) -> Backup:
        backup, job = self.begin(volume, **wanted)
        for part in self.parts():
            assert self.run(part).state == JobState.DONE
        assert self.run(job).state == JobState.DONE
        return self.backup(backup)

    def objects(self) -> list[str]:
        return [path.name for path in (self.root / 'store').rglob('*')
                if path.is_file() and not path.name.startswith(('.', 'bf-', '_'))]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Split]:
    made = Split(tmp_path)
    yield made
    made.manager.close()
    made.catalog.close()


def test_it_is_one_backup(world: Split) -> None:
    volume = world.volume(size=SIZE)
    backup = world.make(volume)
    assert backup.status == Status.AVAILABLE and backup.warnings == []
    assert backup.size_bytes == SIZE and backup.host == world.configuration.service().host
    assert world.restored(backup) == world.bytes_of(volume)
    assert world.manager.verify(backup.id).ok
    world.check()
    assert len(world.objects()) == backup.object_count + 2


def test_what_is_not_large_has_no_parts(world: Split) -> None:
    for volume, wanted in ((world.volume(size=2 * MIB), {}),
                           (world.volume('b.img', size=SIZE), {'backend': 'old'})):
        _, job = world.accept(volume, **wanted)
        assert world.run(job).state == JobState.DONE


def test_a_volume_that_only_one_may_open_has_no_parts(world: Split) -> None:
    (world.root / 'alone' / 'c.img').write_bytes(os.urandom(SIZE))
    world.offer()
    volume, = world.catalog.volume_page(None, filters={'name': 'c.img'}).items
    _, job = world.accept(volume)
    assert world.run(job).state == JobState.DONE


def test_a_create_that_waits_is_left_alone(world: Split) -> None:
    _, job = world.begin(world.volume(size=SIZE))
    before, kept = world.objects(), world.catalog.job(job.id)
    assert world.manager.jobs.store(job) == []
    assert world.catalog.job(job.id) == kept, 'the numbers of its runs are few'
    assert world.run(job).state == JobState.RUNNING
    assert world.objects() == before and len(world.parts()) == 6


def test_the_command_line_waits_for_a_volume_whose_parts_are_stored(world: Split) -> None:
    volume = world.volume(size=SIZE)
    backup, job = world.begin(volume)
    with pytest.raises(exceptions.InvalidVolume, match=f'parts of backup {backup.id} are stored'):
        world.manager.create(Create('a.img'))
    for part in world.parts():
        world.run(part)
    assert world.run(job).state == JobState.DONE
    world.manager.create(Create('a.img'))
    world.check()


def test_parents_go_while_parts_are_stored(world: Split) -> None:
    """What the parts before refer to stays until the backup is complete."""
    volume = world.volume(size=SIZE)
    parent = world.make(volume)
    path = world.root / 'volumes' / 'a.img'
    data = bytearray(path.read_bytes())
    data[5 * MIB:5 * MIB + 3] = b'new'
    path.write_bytes(data)
    backup, job = world.begin(volume, incremental=True)
    found = world.parts()
    for part in found[:3]:
        world.run(part)
    assert world.run(world.manager.accept_delete(parent.id)[1]).state == JobState.DONE
    assert world.manager.check_catalog(repair=True) is not None
    for part in found[3:]:
        world.run(part)
    assert world.run(job).state == JobState.DONE
    assert world.restored(world.backup(backup)) == bytes(data)
    with pytest.raises(exceptions.BackupNotFound):
        world.backup(parent)
    world.check()
    world.run(world.manager.accept_delete(backup.id)[1])
    assert world.objects() == []


def test_the_end_forgets_parts_that_nobody_began(world: Split) -> None:
    _, job = world.accept(world.volume(size=SIZE))
    world.manager.cancel(job.id)
    world.catalog._database.write(lambda c: parts.add(c, job.id, [Extent(0, 10)]))
    assert [each.id for each in world.catalog.open_jobs()] == [job.id]
    assert world.run(job).state == JobState.CANCELLED
    assert world.catalog.open_jobs() == []


def test_a_part_that_fails(world: Split) -> None:
    volume = world.volume(size=SIZE)
    backup, job = world.begin(volume)
    first, *others = world.parts()
    os.truncate(world.root / 'volumes' / 'a.img', SIZE - 1)
    with pytest.raises(exceptions.VolumeChanged):
        world.run(first)
    with pytest.raises(exceptions.BackupFrameworkError, match='failed: the volume has'):
        world.run(job)
    found = world.backup(backup)
    assert found.status == Status.ERROR
    assert f'part {first.arguments["number"]} of 6 (bytes ' in str(found.fail_reason)
    assert [world.run(each).state for each in others] == [JobState.CANCELLED] * 5
    world.run(world.manager.accept_delete(backup.id)[1])
    assert world.objects() == []
    world.check()


@pytest.mark.parametrize('end', ['cancel the create', 'cancel a part', 'delete'])
def test_an_end_before_the_end(world: Split, end: str) -> None:
    backup, job = world.begin(world.volume(size=SIZE))
    part, *others = world.parts()
    world.run(others[0])
    if end == 'delete':
        _, delete = world.manager.accept_delete(backup.id, force=True)
    else:
        world.manager.cancel(job.id if end == 'cancel the create' else part.id)
    assert [each.id for each in world.catalog.open_jobs()].count(job.id) == 1
    if end == 'cancel a part':
        with pytest.raises(exceptions.BackupFrameworkError, match='it was cancelled'):
            world.run(job)
    else:
        assert world.run(job).state == JobState.CANCELLED
    assert {world.run(each).state for each in others[1:]} == {JobState.CANCELLED}
    if end != 'delete':
        assert world.backup(backup).status == Status.ERROR
        _, delete = world.manager.accept_delete(backup.id)
    assert world.run(delete).state == JobState.DONE
    assert world.objects() == []
    world.check()


def test_a_part_stops_when_its_create_has_ended(world: Split, monkeypatch: pytest.MonkeyPatch
                                                ) -> None:
    monkeypatch.setattr('backup_framework.manager.jobs.PROGRESS_SECONDS', 0.0)
    _, job = world.begin(world.volume(size=SIZE))
    monitor = Monitor()
    known = monitor.start

    def cancel(phase: str, total: int | None = None) -> None:
        known(phase, total)
        world.manager.cancel(job.id)

    monitor.start = cancel  # type: ignore[method-assign]
    with pytest.raises(exceptions.OperationCancelled):
        world.run(world.parts()[0], monitor)


def killed(world: Split, job: Job, calls: int) -> bool:
    """Run a job in a child that dies before that call of its store; whether it did."""
    child = os.fork()
    if child == 0:
        try:
            left = [calls]

            def die(self: object, *_: object) -> None:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            for name in ('put_once', 'names', 'delete_many', 'size', 'get'):
                known = getattr(store.Container, name)
                setattr(store.Container, name, lambda self, *args, _known=known: (
                    die(self), _known(self, *args))[1])
            world.run(job)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize('what', ['begin', 'part', 'end'])
def test_kills_before_each_call_of_the_store(world: Split, what: str) -> None:
    volume = world.volume(size=SIZE)
    backup, job = world.accept(volume)
    calls = 0
    if what == 'begin':
        while killed(world, job, calls):
            calls += 1
    else:
        world.run(job)
    found = world.parts()
    for part in found[:5] if what == 'part' else found:
        world.run(part)
    if what == 'part':
        while killed(world, found[5], calls):
            calls += 1
        assert world.catalog.job(found[5].id).state == JobState.DONE
    if what == 'end':
        while killed(world, job, calls):
            calls += 1
    else:
        world.run(job)
    assert calls > 3
    assert world.backup(backup).status == Status.AVAILABLE
    assert world.restored(world.backup(backup)) == world.bytes_of(volume)
    world.manager.check_catalog(repair=True)
    world.check()
    assert len(world.objects()) == world.backup(backup).object_count + 2


@pytest.mark.parametrize('is_cancelled', [False, True])
def test_all_parts_read_one_state(world: Split, is_cancelled: bool) -> None:
    path = world.root / 'copied' / 'a.img'
    path.write_bytes(data := os.urandom(SIZE))
    world.offer()
    volume = world.catalog.volume_page(None, filters={'name': 'a.img'}).items[0]
    backup, job = world.begin(volume)
    path.write_bytes(bytes(SIZE))
    found = world.parts()
    for part in found[:3] if is_cancelled else found:
        world.run(part)
    copy, kept = path.with_name('.copy'), path.with_name('.kept')
    assert copy.exists() and not kept.exists()
    if is_cancelled:
        world.manager.cancel(job.id)
    world.run(job)
    assert not copy.exists()
    if is_cancelled:
        assert not kept.exists()
    else:
        assert kept.read_text() == f'a state {backup.id}'
        with Manager(world.configuration) as manager:
            manager.restore(backup.id, Restore(str(world.root / 'restored')))
        assert (world.root / 'restored').read_bytes() == data


def test_what_parts_have_to_say(world: Split) -> None:
    """Each sentence once."""
    volume = world.volume(size=SIZE)
    parent = world.make(volume)
    backup, job = world.begin(volume, incremental=True)
    for manifest in (world.root / 'store').rglob('*_metadata'):
        manifest.unlink()
    for part in world.parts():
        world.run(part)
    world.run(job)
    told, = world.backup(backup).warnings
    assert 'a part of it is as in a full backup' in told and parent.id in told
    assert world.restored(world.backup(backup)) == world.bytes_of(volume)


def test_results_hold_no_more_than_names(world: Split) -> None:
    _, job = world.begin(world.volume(size=SIZE))
    for part in world.parts():
        world.run(part)
    for found in world.catalog.parts(job.id):
        assert set(json.loads(str(found.result))) == {'name', 'length', 'digest', 'warnings'}
