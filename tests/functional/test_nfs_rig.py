"""The NFS driver over the real protocol."""

import io
import os
import time
import uuid

import pytest

from backup_framework import model
from backup_framework.drivers.nfs import NFSBackupDriver
from backup_framework.engine import mounts
from backup_framework.engine.monitor import Monitor, Operation
from backup_framework.exceptions import ObjectExists, ObjectNotFound, StoreError
from tests.conformance import directory_kit

MIB = 1 << 20

pytest_plugins = ('tests.functional.nfs_rig',)
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def driver(nfs):
    driver = NFSBackupDriver.make(path=str(nfs.path / 'store'),
                                  accepted_types=[nfs.file_system_type])
    yield driver
    driver.close()


class TestNFSOverTheProtocol(directory_kit.DirectoryKit):
    listing_size = 300

    @pytest.fixture
    def driver(self, nfs):
        path = str(nfs.path / f'kit-{uuid.uuid4().hex}')
        driver = NFSBackupDriver.make(path=path, accepted_types=[nfs.file_system_type])
        yield driver
        driver.close()


def put(driver, name, data, container='ab/cd/abcd'):
    with driver.get_object_writer(container, name) as writer:
        for start in range(0, len(data), MIB):
            writer.write(data[start:start + MIB])


def get(driver, name, container='ab/cd/abcd'):
    with driver.get_object_reader(container, name) as reader:
        return reader.read()


def test_the_share_is_mounted_as_the_driver_wants_it(nfs):
    mount = mounts.mount_of(str(nfs.path))
    assert (mount.fs_type, mount.mount_point) == (nfs.file_system_type, str(nfs.path))


def test_objects_pass_over_the_protocol(nfs, driver):
    data = os.urandom(5 * MIB + 17)
    driver.check_for_setup_error()
    driver.before_operation('backup')
    driver.put_container('ab/cd/abcd')
    put(driver, 'large', data)
    put(driver, 'sub/empty', b'')
    put(driver, 'large', data)
    driver.sync('ab/cd/abcd')
    assert (nfs.export / 'store/ab/cd/abcd/large').read_bytes() == data
    assert (nfs.export / 'store/ab/cd/abcd/large').stat().st_mode & 0o777 == 0o600
    assert get(driver, 'large') == data
    assert get(driver, 'sub/empty') == b''
    assert driver.object_size('ab/cd/abcd', 'large') == len(data)
    assert sorted(driver.get_container_entries('ab/cd/abcd', '')) == ['large', 'sub/empty']
    with pytest.raises(ObjectExists):
        put(driver, 'large', data[:-1] + b'x')
    assert driver.free_space() > 0
    for name in ('large', 'sub/empty', 'missing'):
        driver.delete_object('ab/cd/abcd', name)
    with pytest.raises(ObjectNotFound):
        get(driver, 'large')
    assert os.listdir(nfs.export / 'store') == []


def test_what_others_wrote_is_seen(nfs, driver):
    driver.put_container('shared')
    (nfs.export / 'store/shared/theirs').write_bytes(b'theirs')
    assert get(driver, 'theirs', 'shared') == b'theirs'
    assert list(driver.get_container_entries('shared', '')) == ['theirs']
    driver.delete_object('shared', 'theirs')


def test_a_long_listing(driver):
    for number in range(300):
        put(driver, f'name-{number:05}', b'x', 'long')
    names = [f'name-{number:05}' for number in range(300)]
    assert sorted(driver.get_container_entries('long', 'name-')) == names
    for name in names:
        driver.delete_object('long', name)


def test_the_server_is_killed_while_objects_are_written(nfs, driver):
    driver.before_operation('backup')
    pieces = {f'object-{number:05}': os.urandom(MIB // 2) for number in range(20)}
    crashed = ended = 0.0
    for number, (name, data) in enumerate(pieces.items()):
        with driver.get_object_writer('crashed', name) as writer:
            writer.write(data[:100_000])
            if number == 10:
                nfs.kill_server()
                nfs.start_server(after=1)
                crashed = time.monotonic()
            writer.write(data[100_000:])
        ended = ended or crashed and time.monotonic()
    driver.sync('crashed')
    assert ended - crashed > 1, 'the server was not away'
    assert sorted(driver.get_container_entries('crashed', '')) == sorted(pieces)
    for name, data in pieces.items():
        assert get(driver, name, 'crashed') == data
        assert (nfs.export / 'store/crashed' / name).read_bytes() == data
        driver.delete_object('crashed', name)
    assert os.listdir(nfs.export / 'store') == []


def test_nothing_is_written_while_the_share_is_not_mounted(nfs, driver):
    driver.before_operation('backup')
    put(driver, 'one', b'data', 'away')
    nfs.unmount()
    try:
        put(driver, 'two', b'data', 'away')
        driver.close()
        with pytest.raises(StoreError, match='is not mounted'):
            put(driver, 'three', b'data', 'away')
        with pytest.raises(StoreError, match='is not mounted'):
            driver.before_operation('backup')
        assert os.listdir(nfs.path) == []
    finally:
        nfs.mount()
    driver.before_operation('backup')
    assert sorted(driver.get_container_entries('away', '')) == ['one', 'two']


class Crash(Monitor):
    """Kills the server when half of a phase is done; it is there again a second later."""

    def __init__(self, nfs, phase):
        super().__init__()
        self._nfs = nfs
        self._phase = phase
        self.crashed = False

    def advance(self, length):
        super().advance(length)
        if self.phase == self._phase and not self.crashed and self.done * 2 >= self.total:
            self._nfs.kill_server()
            self._nfs.start_server(after=1)
            self.crashed = True


def backed_up(driver, volume, monitor, parent=None):
    backup = model.Backup(volume_id='volume', parent=parent,
                          parent_id=parent and parent.id, created_at=model.utcnow())
    for name, value in driver.backup(backup, io.BytesIO(volume),
                                     operation=Operation(monitor)).items():
        setattr(backup, name, value)
    return backup


def test_the_server_is_killed_in_the_middle_of_backups_and_a_restore(nfs):
    driver = NFSBackupDriver.make(
        path=str(nfs.path / 'backups'), accepted_types=[nfs.file_system_type],
        chunk_size=MIB // 2, workers=3)
    volume = os.urandom(8 * MIB + 777)
    full = backed_up(driver, volume, first := Crash(nfs, 'backup'))
    changed = os.urandom(MIB) + volume[MIB:7 * MIB] + bytes(MIB) + volume[8 * MIB:]
    child = backed_up(driver, changed, second := Crash(nfs, 'backup'), full)
    for backup, expected in ((full, volume), (child, changed)):
        target = io.BytesIO()
        driver.restore(backup, '', target, operation=Operation(third := Crash(nfs, 'restore')))
        assert target.getvalue() == expected
        assert driver.verify(backup).ok
    assert first.crashed and second.crashed and third.crashed
    driver.close()
