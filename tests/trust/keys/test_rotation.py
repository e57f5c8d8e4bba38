"""Keys are wrapped anew, killed at every store call: every backup stays readable at every point."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from pathlib import Path
import random
import shutil
import time
from typing import Any

from oslo_config import cfg
import pytest

from backup_framework import conf, exceptions, store
from backup_framework.formats.v2 import key_sets
from backup_framework.key_managers import file
from backup_framework.manager.manager import Manager, Request, RestoreRequest
from backup_framework.testing.faults import Fault, FaultyDriver
from backup_framework.testing.recording import RecordingDriver

OLD, NEW, BOTH = 'old', 'new', 'old new'
COUNT = 2
VERBS = ('get_container_entries', 'get_object_reader', 'read', 'get_object_writer', 'write',
         'commit', 'delete_object', 'sync')
WITH_EFFECT = ('commit', 'delete_object', 'sync')


class Killed(BaseException):
    """The process is gone: nothing that it would do now happens."""


class World:
    """An installation with two sealed backups, one built on the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(exist_ok=True)

    def fill(self) -> None:
        for name in (OLD, NEW):
            file.generate(str(self.root / name))
        random.seed(3)
        volume = self.root / 'disk'
        with self.manager(OLD, OLD) as manager:
            for number in range(COUNT):
                volume.write_bytes(random.randbytes(20_000) + bytes(60_000))
                shutil.copyfile(volume, self.root / f'state{number}')
                manager.create(Request(str(volume), name=f'b{number}', incremental=number > 0))

    def copy(self, to: Path) -> World:
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.root, to)
        return World(to)

    @contextlib.contextmanager
    def manager(self, sealed_for: str, sections: str, workers: int = 0) -> Iterator[Manager]:
        text = (f'[DEFAULT]\nstate_path = {self.root}/catalog\n[local]\ndriver = local\n'
                f'path = {self.root}/store\ndurability = none\nworkers = {workers}\n'
                f'block_size = 4KiB\nchunk_size = 64KiB\n'
                f'encryption = aes-256-gcm\nkeys = {sealed_for}\n')
        text += ''.join(f'[key:{name}]\ntype = file\npath = {self.root}/{name}\n'
                        for name in sections.split())
        (self.root / 'conf').write_text(text)
        configuration = conf.load([str(self.root / 'conf')], oslo=cfg.ConfigOpts())
        with Manager(configuration) as manager:
            yield manager

    def operate(self, operation: str, plan: list[Fault]) -> FaultyDriver:
        """Run one of the operations on a store with these faults."""
        with self.manager(NEW, BOTH) as manager:
            faulty = FaultyDriver(manager.drivers.chunked('local', 'be tested'), plan)
            manager.drivers._open['local'] = faulty
            if operation == 'rotate':
                done = manager.rotate_keys('local')
            elif operation == 'add':
                done = manager.add_key(NEW, 'local')
            else:
                done = manager.remove_key(OLD, 'local')
            assert not done.failures, done.failures
        return faulty

    def readable(self, sections: str) -> list[bool]:
        """Whose keys somebody can open who has these; a backup that is readable has to be right."""
        target, found = self.root / 'target', []
        with self.manager(sections.split()[0], sections) as manager:
            driver = manager.drivers.chunked('local', 'be tested')
            for number in range(COUNT):
                backup = manager.catalog.get_backup(f'b{number}')
                container = store.Container(driver, str(backup.container))
                try:
                    key_sets.read(container, str(backup.service_metadata), driver.keys)
                except exceptions.KeyUnavailable:
                    found.append(False)
                else:
                    found.append(True)
            if found[-1]:
                target.unlink(missing_ok=True)
                manager.restore(f'b{COUNT - 1}', RestoreRequest(str(target)))
                assert target.read_bytes() == (self.root / f'state{COUNT - 1}').read_bytes()
        return found

    def generations(self) -> int:
        return len(list((self.root / 'store').rglob('*_keys-*')))


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp('keys') / 'world')
    made.fill()
    return made


@pytest.fixture(scope='module')
def escrowed(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The same, and both keys open all."""
    made = world.copy(tmp_path_factory.mktemp('escrowed') / 'world')
    made.operate('add', [])
    return made


def points(world: World, operation: str, scratch: Path) -> list[Fault]:
    """A kill before each call of the store, and behind each that changes something."""
    counts: dict[str, int] = dict.fromkeys(VERBS, 0)

    def count(verb: str) -> Any:
        def hook() -> None:
            counts[verb] += 1
        return hook

    world.copy(scratch).operate(operation, [
        Fault(verb, forever=True, hook=count(verb)) for verb in VERBS])
    return [Fault(verb, call=call, error=Killed, after=after)
            for verb in VERBS for call in range(1, counts[verb] + 1)
            for after in ((False, True) if verb in WITH_EFFECT else (False,))]


@pytest.mark.parametrize(('operation', 'least'), [
    ('rotate', 35), pytest.param('add', 42, marks=pytest.mark.long),
    pytest.param('remove', 42, marks=pytest.mark.long)])
def test_killed_at_every_store_call(operation: str, least: int, world: World, escrowed: World,
                                    tmp_path: Path) -> None:
    start = escrowed if operation == 'remove' else world
    visited = 0
    for fault in points(start, operation, tmp_path / 'count'):
        here = start.copy(tmp_path / 'here')
        with pytest.raises(Killed):
            here.operate(operation, [fault])
        old, new = here.readable(OLD), here.readable(NEW)
        assert all(one or other for one, other in zip(old, new, strict=True)), fault
        if operation == 'add':
            assert all(old), fault
        if operation == 'remove':
            assert all(new), fault
        here.operate(operation, [])
        assert here.generations() == COUNT, fault
        assert all(here.readable(NEW)), fault
        assert here.readable(OLD) == [operation == 'add'] * COUNT, fault
        visited += 1
    assert visited >= least


@pytest.mark.parametrize('operation', ['rotate', 'add', 'remove'])
def test_no_data_is_read_or_written(operation: str, world: World, escrowed: World, tmp_path: Path
                                    ) -> None:
    here = (escrowed if operation == 'remove' else world).copy(tmp_path / 'here')
    with here.manager(NEW, BOTH) as manager:
        recording = RecordingDriver(manager.drivers.chunked('local', 'be tested'))
        manager.drivers._open['local'] = recording
        match operation:
            case 'rotate':
                manager.rotate_keys('local')
            case 'add':
                manager.add_key(NEW, 'local')
            case 'remove':
                manager.remove_key(OLD, 'local')
    touched = recording.of('get_object_reader', 'get_object_writer', 'delete_object')
    names = [call.name or '' for call in touched]
    names += [name for call in recording.of('delete_objects') for name in call.names]
    assert len(names) >= 8
    assert not [name for name in names
                if '_keys-' not in name and not name.startswith('bf-container.owner-')]
    assert sum(call.bytes for call in touched) < 60_000


def test_a_restore_that_began_before_a_rotation_goes_on(world: World, tmp_path: Path) -> None:
    """The generation that it found is gone when it opens it."""
    here = world.copy(tmp_path / 'here')
    rotated = []

    def rotate() -> None:
        if not rotated:
            rotated.append(here.copy(tmp_path / 'rotated').operate('rotate', []))
            shutil.rmtree(here.root / 'store')
            shutil.copytree(tmp_path / 'rotated' / 'store', here.root / 'store')

    with here.manager(NEW, BOTH) as manager:
        driver = FaultyDriver(manager.drivers.chunked('local', 'be tested'), [
            Fault('get_object_reader', name='*_keys-1', hook=rotate)])
        driver.keys = manager.drivers.chunked('local', 'be tested').keys
        manager.drivers._open['local'] = driver
        manager.restore('b1', RestoreRequest(str(tmp_path / 'target')))
    assert rotated
    assert (tmp_path / 'target').read_bytes() == (here.root / 'state1').read_bytes()


BACKUPS = 10_000


def fill(container: store.Container, manager: Manager) -> None:
    """Key sets of so many backups, with as much of a manifest as it takes to be committed."""
    keyring = manager.drivers.keyrings.keyring([OLD])
    for number in range(BACKUPS):
        prefix = f'volume_x_backup_{number:05d}'
        key_sets.write(container, prefix, keyring, {prefix: bytes(32)}, 1)
        container.put(f'{prefix}_metadata', lambda: [b'{}'])


@pytest.mark.long
def test_ten_thousand_backups_take_no_minute(tmp_path: Path) -> None:
    world = World(tmp_path / 'world')
    world.fill()
    with world.manager(OLD, OLD) as manager:
        backup = manager.catalog.get_backup('b0')
        driver = manager.drivers.chunked('local', 'be tested')
        fill(store.Container(driver, str(backup.container)), manager)
    with world.manager(NEW, BOTH, workers=4) as manager:
        started = time.monotonic()
        done = manager.rotate_keys('local')
        took = time.monotonic() - started
    print(f'{BACKUPS} backups were rotated in {took:.1f} s')
    assert (done.sealed, done.changed, done.failures) == (BACKUPS + COUNT, BACKUPS + COUNT, [])
    assert took <= 60
    assert all(world.readable(NEW)) and not any(world.readable(OLD))
