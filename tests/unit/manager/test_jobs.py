"""Accepted operations, run as jobs: the rules, what comes of them, and kills at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import datetime
import io
import itertools
import os
from pathlib import Path
import signal
import threading
import time
from typing import Any

import pytest

from backup_framework import conf, exceptions, store
from backup_framework.catalog import Catalog, operations, records
from backup_framework.catalog.database import Database
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.drivers.local import LocalBackupDriver
from backup_framework.engine import writing
from backup_framework.engine.monitor import Monitor
from backup_framework.interface.volume_source import Reading
from backup_framework.key_managers import file as key_file
from backup_framework.manager import CreateJob, Manager, accepting, jobs, making, pruning, resuming
from backup_framework.manager.creating import Request
from backup_framework.manager.verifying import How
from backup_framework.model import (
    Backup,
    Extent,
    Job,
    JobState,
    Quota,
    Snapshot,
    Status,
    Volume,
)
from backup_framework.volumes.file import FileVolumes

MIB = 1 << 20
CONFIGURATION = """
[DEFAULT]
enabled_backends = local, old
state_path = {root}/state
[backend_defaults]
chunk_size = 1MiB
[local]
driver = local
path = {root}/store
[old]
driver = local
path = {root}/old
format = 1.0.0
[volumes:demo]
type = file
path = {root}/volumes
"""


class World:
    """An installation with one source, and a manager for each thing that is done."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ('volumes', 'store', 'old'):
            (root / name).mkdir(0o700)
        (root / 'c.conf').write_text(CONFIGURATION.format(root=root))
        self.configuration = conf.load([str(root / 'c.conf')])
        self.manager = Manager(self.configuration)
        self.catalog = self.manager.catalog

    def volume(self, name: str = 'a.img', size: int = 6 * MIB, data: bytes | None = None) -> Volume:
        (self.root / 'volumes' / name).write_bytes(os.urandom(size) if data is None else data)
        self.offer()
        found: Volume = self.catalog.volume_page(None, filters={'name': name}).items[0]
        return found

    def offer(self) -> None:
        for offer in self.manager.sources.offers():
            self.catalog.offer_volumes(offer.source, offer.volumes, offer.snapshots)

    def bytes_of(self, volume: Volume) -> bytes:
        source_id = self.catalog.get_volume(volume.id).source_id
        return (self.root / 'volumes' / str(source_id)).read_bytes()

    def accept(self, volume: Volume, **wanted: Any) -> tuple[Backup, Job]:
        return self.manager.accept_create(CreateJob(volume.id, **{'project_id': 'p', **wanted}))

    def run(self, job: Job, monitor: Monitor | None = None) -> Job:
        """What came of it, run by a process that has just begun."""
        with Manager(self.configuration, monitor=monitor) as manager:
            manager.run_job(manager.catalog.job(job.id))
        return self.catalog.job(job.id)

    def make(self, volume: Volume, **wanted: Any) -> Backup:
        backup, job = self.accept(volume, **wanted)
        assert self.run(job).state == JobState.DONE
        return self.backup(backup)

    def backup(self, backup: Backup) -> Backup:
        return self.catalog.backup_of(backup.id, None)

    def restored(self, backup: Backup) -> bytes:
        _, volume, job = self.manager.accept_restore(backup.id)
        ended = self.run(job)
        assert ended.state == JobState.DONE, ended.fail_reason
        return self.bytes_of(volume)

    def check(self) -> None:
        """Nothing is wrong, and nothing is left."""
        assert self.catalog.open_jobs() == [] and self.catalog.check() == []
        assert self.manager.check_catalog() == []


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.manager.close()
    made.catalog.close()


# The rules

@pytest.mark.parametrize('status, wanted, message', [
    ('in-use', {}, 'force flag'), ('error', {}, '"error"'), ('error', {'force': True}, '"error"'),
    ('error_restoring', {}, 'use the force flag')])
def test_a_volume_in_a_wrong_state(world, status, wanted, message):
    volume = world.volume()
    world.catalog.update_volume(volume.id, status=status)
    with pytest.raises(exceptions.InvalidVolume, match=message):
        world.accept(volume, **wanted)


def test_a_volume_in_use_by_force(world):
    volume = world.volume()
    world.catalog.update_volume(volume.id, status='in-use')
    assert 'volume is in use' in world.make(volume, force=True).warnings[0]


def test_what_a_failed_restore_left_by_force(world):
    volume = world.volume()
    world.catalog.update_volume(volume.id, status='error_restoring')
    assert 'a restore to the volume failed' in world.make(volume, force=True).warnings[0]
    assert world.catalog.volume_of(volume.id, None).status == 'error_restoring'


def test_what_a_failed_restore_left_from_the_command_line(world):
    world.catalog.update_volume(world.volume().id, status='error_restoring')
    warned: list[str] = []
    with Manager(world.configuration, warn=warned.append) as manager:
        manager.create(Request('a.img'))
    assert [each for each in warned if 'a restore to the volume failed' in each]


def test_a_volume_of_another_project(world):
    volume = world.volume()
    world.catalog.update_volume(volume.id, project_id='q')
    backup = world.make(volume, project_id='q')
    for ask in (lambda: world.accept(volume),
                lambda: world.manager.accept_restore(backup.id, volume_id=volume.id,
                                                     project_id='p')):
        with pytest.raises(exceptions.VolumeNotFound):
            ask()
    world.make(volume, all_projects=True)


def test_what_a_backup_is_given(world):
    volume = world.volume()
    backup, job = world.accept(
        volume, user_id='u', request_id='r', name='n', description='d', metadata={'k': 'v'},
        container='box', availability_zone='z')
    assert (backup.status, backup.size, backup.container) == (Status.CREATING, 1, 'p/box')
    assert world.catalog.volume_of(volume.id, 'p').status == 'backing-up'
    assert (job.user_id, job.request_id, job.project_id, job.source, job.backend) == (
        'u', 'r', 'p', 'demo', 'local')
    world.run(job)
    backup = world.backup(backup)
    assert (backup.status, backup.display_name, backup.display_description, backup.metadata,
            backup.availability_zone, backup.user_id, backup.project_id, backup.container,
            backup.size_bytes, backup.host) == (
        'available', 'n', 'd', {'k': 'v'}, 'z', 'u', 'p', 'p/box', 6 * MIB,
        world.configuration.service().host)
    assert world.catalog.volume_of(volume.id, 'p').status == 'available'
    ended = world.catalog.job(job.id)
    assert ended.state == JobState.DONE and ended.ended_at is not None


def test_a_container_is_named_as_it_is_shown():
    for name in ('shelf', 'p/shelf'):
        assert accepting.in_project('p', name) == 'p/shelf'
    assert accepting.in_project('p', 'q/shelf') == 'p/q/shelf'
    assert accepting.in_project(None, 'shelf') == 'shelf'


@pytest.mark.parametrize('name', ['../q/box', '/box', 'a//b', '.hidden', 'x' * 300])
def test_a_container_that_would_leave_the_project(world, name):
    with pytest.raises(exceptions.InvalidName):
        world.accept(world.volume(), container=name)


@pytest.mark.parametrize('backend', ['local', 'old'])
def test_projects_share_no_container(world, backend):
    volume = world.volume()
    mine = world.make(volume, backend=backend)
    other = world.make(volume, backend=backend, project_id='q')
    assert mine.container.startswith('p/') and other.container.startswith('q/')


def test_an_incremental(world):
    """On the newest of the caller's project, on the same backend."""
    volume = world.volume()
    with pytest.raises(exceptions.InvalidBackup, match='No backups available'):
        world.accept(volume, incremental=True)
    world.make(volume, project_id='q')
    world.make(volume, backend='old')
    with pytest.raises(exceptions.InvalidBackup, match='No backups available'):
        world.accept(volume, incremental=True)
    world.make(volume)
    newest = world.make(volume, container='box')
    child, job = world.accept(volume, incremental=True)
    assert (child.parent_id, child.container) == (newest.id, 'p/box')
    # It needs its parent until it is known in which format it is.
    with pytest.raises(exceptions.BackupInUse):
        world.manager.accept_delete(newest.id)
    world.run(job)
    child = world.backup(child)
    assert child.parent_id == newest.id and child.warnings == []
    assert child.stored_bytes < MIB and world.restored(child) == world.bytes_of(volume)


def test_an_incremental_whose_parent_is_lost(world):
    volume = world.volume()
    parent = world.make(volume)
    child, job = world.accept(volume, incremental=True)
    world.catalog.update_backup(parent.id, status=Status.ERROR)
    assert world.run(job).state == JobState.DONE
    child = world.backup(child)
    assert child.parent_id is None and 'full backup, because' in child.warnings[0]


def test_a_quota(world):
    volume, other = world.volume(), world.volume('b.img')
    world.accept(volume, quota=Quota(backups=1))
    with pytest.raises(exceptions.QuotaExceeded):
        world.accept(other, quota=Quota(backups=1))


def test_restores(world):
    volume = world.volume()
    before = world.bytes_of(volume)
    backup = world.make(volume)
    new_name = world.manager.accept_restore(backup.id, name='new')
    _, made, job = new_name
    assert made.status == 'creating' and made.name == 'new'
    assert world.catalog.volume_of(made.id, None).status == 'creating'
    assert world.backup(backup).status == Status.RESTORING
    assert world.run(job).state == JobState.DONE
    assert world.bytes_of(made) == before
    assert world.catalog.volume_of(made.id, None).status == 'available'
    (world.root / 'volumes' / 'a.img').write_bytes(bytes(6 * MIB))
    _, _, job = world.manager.accept_restore(backup.id, volume_id=volume.id)
    assert world.catalog.volume_of(volume.id, None).status == 'restoring-backup'
    with pytest.raises(exceptions.InvalidVolume):
        world.manager.accept_restore(backup.id, volume_id=volume.id)
    assert world.run(job).state == JobState.DONE
    assert world.bytes_of(volume) == before
    small = world.volume('small.img', size=MIB)
    with pytest.raises(exceptions.InvalidVolume, match='too small'):
        world.manager.accept_restore(backup.id, volume_id=small.id)
    world.check()


def test_a_restore_that_fails(world):
    backup = world.make(world.volume())
    for data in (world.root / 'store').rglob('*-00001'):
        data.write_bytes(b'damaged')
    _, volume, job = world.manager.accept_restore(backup.id)
    with pytest.raises(exceptions.FormatError):
        world.run(job)
    ended = world.catalog.job(job.id)
    assert ended.state == JobState.FAILED and '-00001' in ended.fail_reason
    assert world.catalog.volume_of(volume.id, None).status == 'error_restoring'
    assert world.backup(backup).status == Status.AVAILABLE


@pytest.mark.parametrize('why', ['manifest', 'parent', 'target'])
def test_a_restore_that_fails_before_it_writes(world, why):
    volume = world.volume()
    parent = world.make(volume, backend='old')
    backup = world.make(volume, backend='old', incremental=True)
    missing = parent if why == 'parent' else backup
    _, _, job = world.manager.accept_restore(backup.id, volume_id=volume.id)
    with contextlib.ExitStack() as stack:
        if why == 'target':
            stack.enter_context(open(world.root / 'volumes' / 'a.img', 'r+b'))
        else:
            manifest, = (world.root / 'old').rglob(f'*{missing.id}*_metadata')
            manifest.unlink()
        with pytest.raises(exceptions.BackupFrameworkError):
            world.run(job)
    assert world.catalog.volume_of(volume.id, None).status == 'available'


@pytest.mark.parametrize('to', ['path', 'stream'])
def test_a_driver_that_restores_in_its_own_way_may_have_written(world, monkeypatch, to):
    volume = world.volume()
    backup = world.make(volume)
    _, _, job = world.manager.accept_restore(backup.id, volume_id=volume.id)

    def fail(*_: Any, **more: Any) -> None:
        raise exceptions.StoreFull('no space left')

    @contextlib.contextmanager
    def opened(*_: Any, **more: Any) -> Iterator[io.BytesIO]:
        yield io.BytesIO()

    monkeypatch.setattr(LocalBackupDriver, 'restore', fail)
    if to == 'stream':
        monkeypatch.setattr(FileVolumes, 'open_target', opened)
    with pytest.raises(exceptions.StoreFull):
        world.run(job)
    assert world.catalog.volume_of(volume.id, None).status == 'error_restoring'


def test_a_restore_that_was_killed_after_it_began_to_write(world):
    """It has written, whatever the next attempt fails with; what its source sees does not help."""
    volume = world.volume()
    backup = world.make(volume)
    _, _, job = world.manager.accept_restore(backup.id, volume_id=volume.id)
    assert killed(lambda: world.run(job), writing.FileTarget, 'write', 0, after=False)
    with open(world.root / 'volumes' / 'a.img', 'r+b'):
        world.offer()
        with pytest.raises(exceptions.InvalidTarget):
            world.run(job)
        world.offer()
    assert world.catalog.volume_of(volume.id, None).status == 'error_restoring'
    world.offer()
    assert world.catalog.volume_of(volume.id, None).status == 'error_restoring'


def test_a_create_that_fails(world):
    volume = world.volume()
    backup, job = world.accept(volume)
    (world.root / 'volumes' / 'a.img').unlink()
    with pytest.raises(exceptions.VolumeNotFound):
        world.run(job)
    found = world.backup(backup)
    assert found.status == Status.ERROR and 'a.img' in found.fail_reason
    assert world.catalog.job(job.id).state == JobState.FAILED
    world.run(world.manager.accept_delete(backup.id)[1])
    with pytest.raises(exceptions.BackupNotFound):
        world.backup(backup)


def test_a_create_that_is_cancelled_while_its_snapshot_is_made(world):
    volume = world.volume()
    world.catalog.update_volume(volume.id, status='in-use')
    backup, job = world.accept(volume, force=True)
    made, gone = Snapshot(volume_id=volume.id, source_id='s'), []
    with Manager(world.configuration) as manager:
        def snapshot(volume, key):
            world.manager.cancel(job.id)
            return made
        manager.sources.snapshot = snapshot
        manager.sources.delete_snapshot = lambda volume, snapshot: gone.append(snapshot)
        manager.jobs.prepare(job)
        assert gone == [made]
        manager.jobs.finish(job)
    assert gone == [made] and world.backup(backup).status == Status.ERROR


def test_deletes(world):
    backup = world.make(world.volume(), backend='old')
    child = world.make(world.volume(), backend='old', incremental=True)
    for force in (False, True):
        with pytest.raises(exceptions.BackupInUse):
            world.manager.accept_delete(backup.id, force=force)
    for each in (child, backup):
        shown, job = world.manager.accept_delete(each.id)
        assert shown.status == world.backup(each).status == Status.DELETING
        with pytest.raises(exceptions.InvalidBackup):
            world.manager.accept_delete(each.id)
        assert world.run(job).state == JobState.DONE
        with pytest.raises(exceptions.BackupNotFound):
            world.backup(each)
    assert not [each for each in (world.root / 'old').rglob('*') if each.is_file()]


def test_a_container_of_another_installation_is_left_alone(world):
    """A refused delete changes nothing, not even the status."""
    backup = world.make(world.volume())
    mark, = (world.root / 'store').rglob('bf-container.owner-1')
    mark.write_text(mark.read_text().replace(world.catalog.owner[:8], '0' * 8))
    _, job = world.manager.accept_delete(backup.id)
    with pytest.raises(exceptions.ForeignContainer):
        world.run(job)
    assert world.backup(backup).status == Status.AVAILABLE
    assert world.catalog.job(job.id).state == JobState.FAILED


def test_verify(world):
    backup = world.make(world.volume())
    _, job = world.manager.accept_verify(backup.id, How(quick=True))
    assert world.run(job).state == JobState.DONE
    assert world.backup(backup).verified_how == 'quick'
    for data in (world.root / 'store').rglob('*-00001'):
        data.write_bytes(b'damaged')
    _, job = world.manager.accept_verify(backup.id)
    ended = world.run(job)
    assert ended.state == JobState.FAILED and 'problems were found' in ended.fail_reason
    assert world.backup(backup).damage


def test_import(world):
    backup = world.make(world.volume(), name='mine', metadata={'k': 'v'})
    record = world.manager.export(backup.id)
    with pytest.raises(exceptions.InvalidBackup, match='already exists'):
        world.manager.accept_import(record)
    world.manager.forget(backup.id)
    taken, job = world.manager.accept_import(record, project_id='q', user_id='u')
    assert world.backup(taken).status == Status.CREATING
    assert world.run(job).state == JobState.DONE
    taken = world.backup(taken)
    assert (taken.project_id, taken.user_id, taken.owner, taken.metadata, taken.status) == (
        'q', 'u', None, {'k': 'v'}, 'available')
    assert (taken.container, taken.service_metadata, taken.manifest_digest) == (
        backup.container, backup.service_metadata, backup.manifest_digest)
    world.check()


def test_an_import_of_what_is_not_there(world):
    backup = world.make(world.volume())
    record = world.manager.export(backup.id)
    world.run(world.manager.accept_delete(backup.id)[1])
    with pytest.raises(exceptions.InvalidInput):
        world.manager.accept_import({'backup_service': 'x', 'backup_url': 'nonsense'})
    taken, job = world.manager.accept_import(record, project_id='p')
    with pytest.raises(exceptions.InvalidInput):
        world.run(job)
    found = world.backup(taken)
    # It names no objects, so that deleting it can do no harm.
    assert (found.status, found.container, found.service_metadata) == ('error', None, None)
    assert world.run(world.manager.accept_delete(taken.id)[1]).state == JobState.DONE


def test_a_failed_import_does_not_speak_of_the_command_line(world):
    backup = world.make(world.volume())
    record = world.manager.export(backup.id)
    world.manager.forget(backup.id)
    taken, job = world.manager.accept_import(record | {'backup_service': 'tape'}, project_id='p')
    with pytest.raises(exceptions.InvalidInput) as refused:
        world.run(job)
    told = 'no enabled backend is of the kind tape'
    assert world.backup(taken).fail_reason == world.catalog.job(job.id).fail_reason == told
    assert f'{told}{refused.value.advice}' == f'{told}; --backend says which one to use'


def test_prune_is_for_one_project(world):
    volume = world.volume()
    made = [world.make(volume, project_id=project) for project in 'ppqq']
    job = world.manager.accept_prune(volume_id=volume.id, rules={'last': 1}, project_id='p')
    assert world.run(job).state == JobState.DONE
    assert {each.id for each in world.catalog.backups()} == {each.id for each in made[1:]}


def test_prune_without_a_project_leaves_those_of_projects_alone(world):
    volume = world.volume()
    made = [world.make(volume, project_id=project) for project in (None, 'p', 'p', 'q', None)]
    job = world.manager.accept_prune(volume_id=volume.id, rules={'last': 1})
    assert world.run(job).state == JobState.DONE
    assert {each.id for each in world.catalog.backups()} == {each.id for each in made[1:]}


def test_prune_reads_no_more_than_it_is_about(world, monkeypatch):
    for name in 'ab':
        for project in ('p', 'q', None):
            world.make(world.volume(name, MIB), project_id=project)
    volume = world.catalog.get_volume('a')
    read: list[Backup] = []
    record = records.backup
    monkeypatch.setattr(records, 'backup', lambda row: read.append(record(row)) or read[-1])
    for project in ('p', None):
        read.clear()
        verdicts = world.manager.plan_prune(
            pruning.Request([volume], 'local', {'last': 1}, project))
        assert [verdict.backup.project_id for verdict in verdicts] == [project] and len(read) == 1
    assert len(world.manager.plan_prune(pruning.Request(rules={'last': 1}, project_id='p'))) == 2
    request = pruning.Request([volume], rules={'last': 1}, all_projects=True)
    assert sum(not verdict.stays for verdict in world.manager.plan_prune(request)) == 2


# Cancelling

class Slow(Monitor):
    """Tells when data moves, and makes it last."""

    def __init__(self) -> None:
        super().__init__()
        self.moving = threading.Event()

    def advance(self, length: int) -> None:
        if length:
            self.moving.set()
            time.sleep(0.05)
        super().advance(length)


@pytest.fixture
def attentive(monkeypatch):
    """A job looks at its state as often as it can."""
    monkeypatch.setattr(jobs, 'PROGRESS_SECONDS', 0.0)


def start(world: World, job: Job) -> tuple[threading.Thread, list[BaseException]]:
    """Run a job in a thread, as far as its first bytes."""
    monitor, raised = Slow(), list[BaseException]()

    def run() -> None:
        try:
            world.run(job, monitor)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert monitor.moving.wait(30)
    return thread, raised


def test_progress_is_told(world, attentive):
    backup, job = world.accept(world.volume())
    thread, _ = start(world, job)
    seen = set()
    while thread.is_alive():
        found = world.catalog.job(job.id)
        seen.add((found.phase, found.done, found.total))
        time.sleep(0.01)
    thread.join()
    told = sorted(done for phase, done, total in seen
                  if phase == 'backup' and total == 6 * MIB)
    assert len(told) > 2 and 0 < told[1] < 6 * MIB and told[-1] <= 6 * MIB


@pytest.mark.parametrize('how', ['cancel', 'delete', 'reset'])
def test_a_create_that_is_stopped(world, attentive, how):
    backup, job = world.accept(world.volume(size=40 * MIB))
    thread, raised = start(world, job)
    if how == 'cancel':
        assert world.manager.cancel(job.id) and not world.manager.cancel(job.id)
    elif how == 'reset':
        world.catalog.reset(backup.id, Status.ERROR)
    else:
        _, delete = world.manager.accept_delete(backup.id, force=True)
        # It waits for the create to end.
        assert world.run(delete).state == JobState.DONE
    thread.join(30)
    assert not thread.is_alive() and isinstance(raised[0], exceptions.OperationCancelled)
    assert world.catalog.job(job.id).state == JobState.CANCELLED
    if how != 'delete':
        assert world.backup(backup).status == Status.ERROR
        world.run(world.manager.accept_delete(backup.id)[1])
    assert not list((world.root / 'store').rglob('*-0*'))
    world.check()


def second_host(root: Path) -> conf.Configuration:
    """Another one, with the same catalog."""
    text = (root / 'c.conf').read_text().replace(f'{root}/state', f'{root}/host2')
    (root / 'c2.conf').write_text(
        f'{text}[database]\nconnection = sqlite:///{root}/state/catalog.sqlite\n')
    return conf.load([str(root / 'c2.conf')])


def test_hosts_of_one_catalog_share_containers(world, tmp_path):
    """One makes a backup, another one builds on it and deletes both."""
    volume = world.volume()
    world.make(volume)
    world.configuration = second_host(tmp_path)
    with Manager(world.configuration) as other:
        assert other.catalog.installation != world.catalog.installation
    child = world.make(volume, incremental=True)
    assert child.warnings == [] and child.parent_id is not None
    for each in (child.parent_id, child.id):
        assert world.run(world.manager.accept_delete(each)[1]).state == JobState.DONE
    assert not [each for each in (tmp_path / 'store').rglob('*') if each.is_file()]


def waiting(world: World, meanwhile: Callable[[Job], object] = lambda create: None
            ) -> tuple[Backup, Job]:
    """A backup whose delete waits for another one, which has ended; and the job of that.

    :param meanwhile: what is done to the job while it runs; one that is cancelled is finished.
    """
    gone = world.make(world.volume(), container='box')
    _, create = world.accept(world.volume('b.img'), container='box')
    with Manager(world.configuration) as manager:
        read = manager.sources.read

        @contextlib.contextmanager
        def reading(*args: Any, **kwargs: Any) -> Iterator[Reading]:
            with read(*args, **kwargs) as found:
                world.run(world.manager.accept_delete(gone.id)[1])
                assert world.catalog.postponed() == {gone.id: [create.backup_id]}
                meanwhile(create)
                yield found

        manager.sources.read = reading
        with contextlib.suppress(exceptions.OperationCancelled):
            manager.jobs.store(create)
        if JobState(world.catalog.job(create.id).state) == JobState.CANCELLED:
            manager.jobs.finish(create)
    return gone, create


def test_what_waited_for_a_create_that_is_cancelled_goes(world, attentive):
    gone, create = waiting(world, lambda create: world.manager.cancel(create.id))
    assert world.catalog.job(create.id).state == JobState.CANCELLED
    assert not world.catalog.has_backup(gone.id)


def test_what_waited_goes_when_a_delete_has_ended(world, attentive):
    """Whose job does not run any more, which stops nothing of another backup."""
    other = world.make(world.volume('c.img'), container='else')
    gone, _ = waiting(world)
    _, job = world.manager.accept_delete(other.id)
    assert world.run(job).state == JobState.DONE
    assert not world.catalog.has_backup(gone.id)


def test_what_waited_waits_again_where_this_process_has_to_stop(world):
    gone, create = waiting(world)
    monitor = Monitor()
    monitor.cancel()
    with Manager(world.configuration, monitor=monitor) as manager:
        manager.jobs.finish(create)
    assert world.catalog.postponed() == {gone.id: []}
    with Manager(world.configuration) as manager:
        manager.take_up()
    assert not world.catalog.has_backup(gone.id)


def test_what_waited_waits_again_where_its_store_is_away(world):
    gone, _ = waiting(world)
    (world.root / 'store').rename(world.root / 'away')
    world.manager.take_up()
    found = world.backup(gone)
    assert found.status == Status.DELETING and 'mounted' in str(found.fail_reason)
    (world.root / 'away').rename(world.root / 'store')
    world.manager.take_up()
    assert not world.catalog.has_backup(gone.id)


def test_what_waited_and_cannot_go_is_shown_as_failed(world):
    """It is tried again when somebody asks for that, and not in every round."""
    gone, create = waiting(world)
    manifest, = (world.root / 'store').rglob(f'*{create.backup_id}_metadata')
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:-9])
    warned: list[str] = []
    with Manager(world.configuration, warn=warned.append) as manager:
        for _ in range(2):
            manager.take_up()
    found = world.backup(gone)
    assert found.status == Status.ERROR_DELETING and manifest.name in str(found.fail_reason)
    assert len(warned) == 1 and f'"backup delete {gone.id}"' in warned[0]
    manifest.write_bytes(whole)
    assert world.manager.delete(*world.manager.plan_delete([gone.id]))
    assert not world.catalog.has_backup(gone.id)


def test_what_waited_waits_again_where_a_key_is_away(world, monkeypatch):
    """Who keeps it may answer again in a moment."""
    gone, _ = waiting(world)

    def fail(*_: Any) -> None:
        raise exceptions.KeyUnavailable('no answer from the key manager')

    with monkeypatch.context() as patched:
        patched.setattr(store.Container, 'delete_many', fail)
        world.manager.take_up()
    assert world.backup(gone).status == Status.DELETING
    world.manager.take_up()
    assert not world.catalog.has_backup(gone.id)


def test_what_waited_on_a_backend_of_other_hosts_is_left_to_them(world, tmp_path):
    gone, _ = waiting(world)
    text = (tmp_path / 'c.conf').read_text().replace('= local, old', '= old')
    (tmp_path / 'c2.conf').write_text(text)
    warned: list[str] = []
    with Manager(conf.load([str(tmp_path / 'c2.conf')]), warn=warned.append) as manager:
        manager.take_up()
    assert world.catalog.postponed() == {gone.id: []} and warned == []


def test_a_job_is_cancelled_before_it_begins(world):
    backup, job = world.accept(world.volume())
    world.manager.cancel(job.id)
    assert world.run(job).state == JobState.CANCELLED
    assert world.backup(backup).status == Status.ERROR


def test_a_worker_that_is_stopped(world):
    """Its job goes on elsewhere; the monitor cancels, the job does not."""
    volume = world.volume()
    backup, job = world.accept(volume)
    monitor = Monitor()
    monitor.cancel()
    with pytest.raises(exceptions.OperationCancelled):
        world.run(job, monitor)
    assert JobState(world.catalog.job(job.id).state).is_open
    assert world.backup(backup).status == Status.CREATING
    assert world.run(job).state == JobState.DONE
    assert world.restored(backup) == world.bytes_of(volume)


def test_two_workers_have_one_job(world, attentive):
    """The board gave it to another one: who had it first learns that, and harms nobody."""
    volume = world.volume(size=20 * MIB)
    backup, job = world.accept(volume)
    thread, raised = start(world, job)
    assert world.run(job).state == JobState.DONE
    thread.join(60)
    assert not thread.is_alive() and len(raised) == 1
    assert world.backup(backup).status == Status.AVAILABLE
    assert world.catalog.job(job.id).state == JobState.DONE
    assert world.restored(backup) == world.bytes_of(volume)


def test_a_run_that_lost_its_job_does_not_fail_it(world, monkeypatch):
    """Another one was begun meanwhile, and is at work still."""
    backup, job = world.accept(world.volume())

    def fail(*_: Any) -> None:
        world.catalog.start_job(job.id, 'another')
        raise exceptions.StoreFull('no space left')

    with monkeypatch.context() as patched:
        patched.setattr(making, 'make', fail)
        with pytest.raises(exceptions.StoreFull):
            world.manager.jobs.store(job)
    assert world.catalog.job(job.id).state == JobState.RUNNING
    assert world.backup(backup).status == Status.CREATING
    assert world.run(job).state == JobState.DONE


def test_a_delete_of_what_is_gone(world):
    backup = world.make(world.volume())
    _, job = world.manager.accept_delete(backup.id)
    world.manager.forget(backup.id)
    assert world.run(job).state == JobState.DONE


@pytest.mark.parametrize('parent, since, used', [
    ('b1', 'b1', True), ('b1', 'b2', False), ('b1', None, False), (None, None, False)])
def test_a_hint_is_for_the_parent_that_it_was_taken_against(parent, since, used):
    reading = Reading(io.BytesIO(), 9, [Extent(0, 1)], since)
    found = making._changed(reading, Backup(parent_id=parent))
    assert found == ([Extent(0, 1)] if used else None)


# Kills

def killed(work: Callable[[], object], cls: type, name: str, number: int, *, after: bool) -> bool:
    """Run it in a child that is killed at a call of a method; whether it came so far."""
    child = os.fork()
    if not child:
        method, calls = getattr(cls, name), iter(range(10 ** 6))

        def counted(*args: Any, **kwargs: Any) -> Any:
            due = next(calls) == number
            if due and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            found = method(*args, **kwargs)
            if due:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        setattr(cls, name, counted)
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def points(world: World, prepare: Callable[[], Job]) -> Iterator[tuple[Job, str]]:
    """A job again and again, killed one step later each time, until it is not killed any more."""
    for cls, name in ((Database, 'write'), (store.Container, 'put')):
        for number in range(200):
            for after in (False, True):
                job = prepare()
                label = f'{"after" if after else "before"} {name} {number}'
                if not killed(lambda job=job: world.run(job), cls, name, number, after=after):
                    world.run(job)
                    break
                # Another command does not take it for dead.
                with Manager(world.configuration) as manager:
                    assert manager.catalog.check() == []
                yield job, label
            else:
                continue
            break


@pytest.mark.parametrize('incremental', [False, True], ids=['full', 'incremental'])
@pytest.mark.parametrize('backend', ['local', 'old'])
def test_a_create_that_is_killed_anywhere(world, backend, incremental):
    """With a format that resumes, and with one that begins anew."""
    volume = world.volume(size=3 * MIB)
    if incremental:
        world.make(volume, backend=backend)

    def prepare() -> Job:
        held.append(change(world))
        return world.accept(volume, backend=backend, incremental=incremental)[1]

    held: list[bytes] = []
    count = 0
    for job, label in points(world, prepare):
        count += 1
        before, complete = world.catalog.job(job.id), manifests(world, job)
        ended = world.run(job)
        assert ended.state == JobState.DONE, (label, ended.fail_reason)
        if not JobState(before.state).is_open:
            # An outcome is recorded once.
            assert ended == before, label
        found = world.backup(Backup(id=str(job.backup_id)))
        assert found.status == Status.AVAILABLE and found.fail_reason is None, label
        assert found.is_incremental == incremental, label
        assert world.manager.verify(found.id).ok, label
        # What was complete is not made anew, of what the volume has by now.
        assert not complete or manifests(world, job) == complete, label
    assert count > 12
    # Behind it is one that nothing killed.
    assert world.restored(found) == held[-2]
    world.check()


GONE_ON_WITH = 'it was interrupted and gone on with later; it has what was read then'


@pytest.mark.parametrize('is_complete', [False, True])
def test_a_create_that_is_gone_on_with_says_so(world, is_complete):
    """Once, however often it was, also where the last run finds it complete."""
    _, job = world.accept(world.volume(size=4 * MIB))
    for number in (0, 1):
        assert killed(lambda: world.run(job), store.Container, 'put_once', number, after=True)
    if is_complete:
        assert killed(lambda: world.run(job), Catalog, 'finish', 0, after=False)
    assert world.run(job).state == JobState.DONE
    made = world.backup(Backup(id=str(job.backup_id)))
    assert made.warnings == [GONE_ON_WITH]
    assert world.make(world.catalog.get_volume(made.volume_id)).warnings == []


def change(world: World) -> bytes:
    """What the volume has from now on."""
    path = world.root / 'volumes' / 'a.img'
    path.write_bytes(os.urandom(100) + path.read_bytes()[100:])
    return path.read_bytes()


def manifests(world: World, job: Job) -> dict[str, bytes]:
    return {each.name: each.read_bytes()
            for each in world.root.glob(f'*/**/*_backup_{job.backup_id}_metadata')}


def test_a_delete_that_is_killed_anywhere(world):
    volume = world.volume(size=MIB)
    for job, label in points(world, lambda: world.manager.accept_delete(
            world.make(volume, backend='old').id)[1]):
        ended = world.run(job)
        assert ended.state == JobState.DONE, (label, ended.fail_reason)
        assert world.catalog.backups() == [], label
    assert not [each for each in (world.root / 'old').rglob('*') if each.is_file()]
    world.check()


def to_prune(world: World) -> tuple[list[Backup], Job]:
    """Three backups, and the prune that leaves the last one."""
    volume = world.volume(size=MIB)
    made = [world.make(volume) for _ in range(3)]
    return made, world.manager.accept_prune(rules={'last': 1}, project_id='p')


@pytest.mark.parametrize('name, number', [
    ('delete_many', 0), ('delete_many', 1), ('delete_many', 2), ('delete', 0), ('delete', 1)])
def test_a_prune_that_is_killed_while_it_deletes(world, name, number):
    made, job = to_prune(world)
    assert killed(lambda: world.run(job), store.Container, name, number, after=False)
    ended = world.run(job)
    assert ended.state == JobState.DONE, ended.fail_reason
    assert [each.id for each in world.catalog.backups()] == [made[-1].id]
    world.check()


def test_a_prune_that_has_to_stop_while_it_deletes(world, monkeypatch):
    made, job = to_prune(world)
    monitor = Monitor()
    delete = store.Container.delete_many
    with monkeypatch.context() as patched:
        patched.setattr(store.Container, 'delete_many', lambda *args: (
            monitor.cancel(), delete(*args)))
        with pytest.raises(exceptions.OperationCancelled):
            world.run(job, monitor)
    assert len(world.catalog.backups(status=Status.ERROR_DELETING)) == 1
    assert world.run(job).state == JobState.DONE
    assert [each.id for each in world.catalog.backups()] == [made[-1].id]
    world.check()


def test_a_prune_that_is_killed_on_another_host(world, tmp_path, monkeypatch):
    """Of its delete nothing is known but the lease."""
    monkeypatch.setattr(operations, 'LEASE', datetime.timedelta(seconds=0.5))
    made, job = to_prune(world)
    assert killed(lambda: world.run(job), store.Container, 'delete_many', 0, after=False)
    configuration, world.configuration = world.configuration, second_host(tmp_path)
    assert world.run(job).state == JobState.DONE
    world.configuration = configuration
    assert [each.id for each in world.catalog.backups()] == [made[-1].id]


def test_a_prune_does_not_wait_for_a_delete_that_was_accepted_meanwhile(world, monkeypatch):
    """That may wait for the slot that the prune has."""
    made, job = to_prune(world)
    world.catalog.change_job(job.id, going=[each.id for each in made[:-1]])
    _, delete = world.manager.accept_delete(made[0].id, project_id='p')
    monkeypatch.setattr(jobs, 'LEASE', datetime.timedelta())
    assert world.run(job).state == JobState.DONE
    assert world.run(delete).state == JobState.DONE
    assert [each.id for each in world.catalog.backups()] == [made[-1].id]


def test_a_prune_leaves_what_others_could_not_delete(world):
    made, job = to_prune(world)
    world.catalog.update_backup(made[0].id, status=Status.ERROR_DELETING)
    for _ in range(2):
        world.manager.jobs._prune(world.catalog.job(job.id))
    assert world.run(job).state == JobState.DONE
    assert [each.id for each in world.catalog.backups()] == [made[2].id, made[0].id]


def test_a_prune_that_cannot_delete_says_so_and_tries_again(world, monkeypatch):
    made, job = to_prune(world)
    with monkeypatch.context() as patched:
        def fail(*_: Any) -> None:
            raise exceptions.StoreError('the store is away')

        patched.setattr(store.Container, 'delete_many', fail)
        for _ in range(2):
            told = world.manager.jobs._prune(world.catalog.job(job.id))
    assert told == '; '.join(f'backup {each.id}: the store is away' for each in (made[1], made[0]))
    assert world.run(job).state == JobState.DONE
    assert [each.id for each in world.catalog.backups()] == [made[-1].id]


def test_what_a_prune_says_has_room_in_the_catalog(world, monkeypatch):
    _, job = to_prune(world)

    def fail(*_: Any) -> None:
        raise exceptions.StoreError('away ' * 20000)

    monkeypatch.setattr(store.Container, 'delete_many', fail)
    ended = world.run(job)
    assert ended.state == JobState.FAILED and len(ended.fail_reason) == 1000


def test_other_jobs_that_are_killed_anywhere(world):
    volume = world.volume(size=MIB)
    before = world.bytes_of(volume)
    backup = world.make(volume)
    record = world.manager.export(backup.id)

    def restore() -> Job:
        (world.root / 'volumes' / 'a.img').write_bytes(bytes(MIB))
        return world.manager.accept_restore(backup.id, volume_id=volume.id)[2]

    def import_() -> Job:
        world.manager.forget(backup.id)
        return world.manager.accept_import(record, project_id='p')[1]

    for prepare in (restore, import_, lambda: world.manager.accept_verify(backup.id)[1]):
        for job, label in points(world, prepare):
            ended = world.run(job)
            assert ended.state == JobState.DONE, (job.kind, label, ended.fail_reason)
            assert world.backup(backup).status == Status.AVAILABLE, (job.kind, label)
            assert job.kind != 'restore' or world.bytes_of(volume) == before, label
    world.check()


def test_a_restore_that_is_killed_when_its_volume_is_made(world):
    """The next run takes that volume, of which the catalog does not know."""
    volume = world.volume()
    backup = world.make(volume)
    _, made, job = world.manager.accept_restore(backup.id, name='new')
    assert killed(lambda: world.run(job), FileVolumes, 'create', 0, after=True)
    assert world.run(job).state == JobState.DONE
    assert world.bytes_of(made) == world.bytes_of(volume)
    assert {path.name for path in (world.root / 'volumes').iterdir()} == {'a.img', 'new'}


def test_a_restore_to_a_new_volume_that_is_killed_anywhere(world):
    volume = world.volume(size=MIB)
    backup = world.make(volume)
    for job, label in points(world, lambda: world.manager.accept_restore(backup.id)[2]):
        ended = world.run(job)
        assert ended.state == JobState.DONE, (label, ended.fail_reason)
        made = world.catalog.volume_of(str(job.volume_id), None)
        assert made.status == 'available' and world.bytes_of(made) == world.bytes_of(volume), label
    world.check()


# What is begun anew

def cut_off(world: World, monkeypatch: pytest.MonkeyPatch, job: Job, cls: type, name: str,
            number: int, *, after: bool) -> Backup:
    """What a kill left of a create, long ago: names of objects have the second in them."""
    with monkeypatch.context() as patched:
        patched.setattr(ChunkedBackupDriver, 'object_prefix', lambda _, backup: (
            f'volume_{backup.volume_id}_20200101000000_backup_{backup.id}'))
        assert killed(lambda: world.run(job), cls, name, number, after=after)
    found = world.backup(Backup(id=str(job.backup_id)))
    assert objects(world, str(found.service_metadata))
    return found


def objects(world: World, prefix: str) -> list[str]:
    return sorted(each.name for each in (world.root / 'store').rglob(f'{prefix}*'))


def configure(world: World, text: str, more: str = '') -> None:
    """For the backend of most backups; and sections."""
    known = (world.root / 'c.conf').read_text()
    (world.root / 'c.conf').write_text(known.replace('[local]', f'[local]\n{text}') + more)
    world.configuration = conf.load([str(world.root / 'c.conf')])


@pytest.fixture
def anew(world, monkeypatch) -> Callable[[], tuple[Job, Backup, Job]]:
    """The create of a backup that is to be begun anew, its backup, and another one's create.

    That is interrupted in the same container, so that nothing can be swept there.
    """
    def make() -> tuple[Job, Backup, Job]:
        _, job = world.accept(world.volume(size=2 * MIB), container='box')
        left = cut_off(world, monkeypatch, job, store.Container, 'put_once', 1, after=True)
        _, other = world.accept(world.volume('b.img', size=2 * MIB), container='box')
        cut_off(world, monkeypatch, other, store.Container, 'put_once', 1, after=True)
        return job, left, other

    configure(world, 'durability = backup')
    return make


def test_what_a_first_run_stored_goes_when_others_have_ended(world, anew):
    job, left, other = anew()
    world.catalog.update_backup(left.id, warnings=[GONE_ON_WITH])
    assert world.run(job).state == JobState.DONE
    made = world.backup(left)
    assert made.service_metadata != left.service_metadata and made.warnings == []
    assert objects(world, left.service_metadata)
    going, = world.catalog.backups(status=Status.DELETING)
    assert world.catalog.postponed() == {going.id: [other.backup_id]}
    assert (going.project_id, going.size, going.container, going.service_metadata) == (
        None, 0, left.container, left.service_metadata)
    assert made.id in going.warnings[0]
    assert world.run(other).state == JobState.DONE
    assert not objects(world, left.service_metadata)
    assert world.restored(made) == world.bytes_of(world.catalog.get_volume(made.volume_id))
    world.check()


def test_what_a_first_run_stored_is_not_forgotten_by_a_kill(world, anew):
    job, left, other = anew()
    for name, after in itertools.product(('hand_over', 'update_backup'), (False, True)):
        assert killed(lambda: world.run(job), Catalog, name, 0, after=after)
        naming = [each for each in world.catalog.backups()
                  if each.service_metadata == left.service_metadata]
        assert len(naming) == 1 and objects(world, left.service_metadata), (name, after)
    assert world.run(job).state == JobState.DONE
    assert list(world.catalog.postponed().values()) == [[other.backup_id]]
    assert world.run(other).state == JobState.DONE
    assert not objects(world, left.service_metadata)
    assert world.manager.verify(left.id).ok
    world.check()


def test_names_are_not_used_again_while_they_are_to_be_deleted(world, anew, monkeypatch):
    job, left, _ = anew()
    prefixes = itertools.chain([left.service_metadata] * 2, itertools.repeat('volume_later'))
    monkeypatch.setattr(ChunkedBackupDriver, 'object_prefix', lambda *_: next(prefixes))
    assert world.run(job).state == JobState.DONE
    assert world.backup(left).service_metadata == 'volume_later'


def test_names_that_are_always_the_same_are_not_used_again(world, anew, monkeypatch):
    """As a driver of somebody else may have them: the delete would take the new objects."""
    job, left, _ = anew()
    monkeypatch.setattr(ChunkedBackupDriver, 'object_prefix', lambda *_: left.service_metadata)
    monkeypatch.setattr(Monitor, 'sleep', lambda *_: None)
    with pytest.raises(exceptions.InvalidBackup, match='make a new backup'):
        world.run(job)


def test_who_lost_the_job_removes_nothing(world, anew, monkeypatch):
    job, left, _ = anew()
    before = objects(world, left.service_metadata)

    def stored(context: object, backup: Backup) -> None:
        with world.catalog.operation('create', backup_id=backup.id, volume_id=backup.volume_id,
                                     job_id=job.id):
            raise exceptions.MissingObject('an object is missing')

    with monkeypatch.context() as patched:
        patched.setattr(resuming, 'stored', stored)
        with pytest.raises(exceptions.InvalidBackup, match='taken over by another worker'):
            world.run(job)
    assert objects(world, left.service_metadata) == before
    assert world.backup(left).service_metadata == left.service_metadata


def test_what_no_key_opens_is_not_removed(world, monkeypatch):
    key = world.root / 'key'
    key_file.generate(str(key))
    configure(world, 'encryption = aes-256-gcm\nkeys = main',
              f'[key:main]\ntype = file\npath = {key}\n')
    _, job = world.accept(world.volume())
    left = cut_off(world, monkeypatch, job, Catalog, 'finish', 0, after=False)
    before = objects(world, left.service_metadata)
    key.rename(world.root / 'away')
    with pytest.raises(exceptions.KeyUnavailable):
        world.run(job)
    found = world.backup(left)
    assert found.status == Status.ERROR and str(key) in found.fail_reason
    assert found.service_metadata == left.service_metadata
    assert objects(world, left.service_metadata) == before
    assert [each.id for each in world.catalog.backups()] == [left.id]


def unsealed(world: World, _: Backup) -> Callable[[], object]:
    """Its backend seals from now on."""
    key_file.generate(str(world.root / 'key'))
    configure(world, 'encryption = aes-256-gcm\nkeys = main',
              f'[key:main]\ntype = file\npath = {world.root}/key\n')
    return lambda: configure(world, 'unsealed = accept')


def away(world: World, _: Backup) -> Callable[[], object]:
    (world.root / 'store').rename(world.root / 'away')
    return lambda: (world.root / 'away').rename(world.root / 'store')


def newer(world: World, left: Backup) -> Callable[[], object]:
    """Its manifest is of a format that this release does not know."""
    manifest, = world.root.glob(f'store/**/{left.service_metadata}_metadata')
    whole = manifest.read_bytes()
    manifest.write_bytes(whole.replace(f'"{left.format}"'.encode(), b'"3.0.0"'))
    return lambda: manifest.write_bytes(whole)


def orphaned(world: World, left: Backup) -> Callable[[], object]:
    """The record of its parent says that it is of another backend."""
    world.catalog.update_backup(str(left.parent_id), backend='old')
    return lambda: world.catalog.update_backup(str(left.parent_id), backend='local')


def newer_parent(world: World, left: Backup) -> Callable[[], object]:
    return newer(world, world.catalog.backup_of(str(left.parent_id), None))


def hurt_parent(world: World, left: Backup) -> Callable[[], object]:
    """The last object of its parent, which it needs, is lost."""
    parent = world.catalog.backup_of(str(left.parent_id), None)
    lost = max(world.root.glob(f'store/**/{parent.service_metadata}-*'))
    lost.rename(world.root / 'lost')
    return lambda: (world.root / 'lost').rename(lost)


@pytest.mark.parametrize('spoil, version, error', [
    (unsealed, '2.0.0', exceptions.InvalidBackup), (newer, '2.0.0', exceptions.UnsupportedVersion),
    (away, '2.0.0', exceptions.StoreError), (away, '1.0.0', exceptions.StoreError),
    (orphaned, '1.0.0', exceptions.InvalidBackup),
    (newer_parent, '1.0.0', exceptions.InvalidBackup),
    (hurt_parent, '1.0.0', exceptions.InvalidBackup),
    (hurt_parent, '2.0.0', exceptions.InvalidBackup)])
def test_what_is_complete_and_cannot_be_opened_now_is_not_removed(
        world, monkeypatch, spoil, version, error):
    configure(world, f'format = {version}')
    volume = world.volume(size=2 * MIB)
    world.make(volume)
    change(world)
    _, job = world.accept(volume, incremental=True)
    left = cut_off(world, monkeypatch, job, Catalog, 'finish', 0, after=False)
    before = objects(world, left.service_metadata)
    mend = spoil(world, left)
    with pytest.raises(error):
        world.run(job)
    mend()
    found = world.backup(left)
    assert (found.status, found.service_metadata) == (Status.ERROR, left.service_metadata)
    assert objects(world, left.service_metadata) == before
    assert world.catalog.backups(status=Status.DELETING) == []
    with Manager(world.configuration) as manager:
        assert manager.rebuild('local').healed == [left.id]
        assert manager.verify(left.id).ok


def test_what_has_its_manifest_and_lost_an_object_of_its_own_is_made_anew(world, monkeypatch):
    volume = world.volume(size=2 * MIB)
    world.make(volume)
    held = change(world)
    _, job = world.accept(volume, incremental=True)
    left = cut_off(world, monkeypatch, job, Catalog, 'finish', 0, after=False)
    min(world.root.glob(f'store/**/{left.service_metadata}-*')).unlink()
    assert world.run(job).state == JobState.DONE
    assert not objects(world, left.service_metadata)
    assert world.restored(left) == held
