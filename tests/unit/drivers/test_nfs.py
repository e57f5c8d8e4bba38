"""The NFS driver on file systems that stand for a share; over the protocol see functional tests."""

import functools
import logging
import os
import pathlib
import subprocess
import threading
import time

import pytest

from backup_framework.drivers import nfs
from backup_framework.drivers.nfs import HangWatch, NFSBackupDriver, Share
from backup_framework.engine import mounts
from backup_framework.exceptions import ConfigurationError, StoreError, StoreUnavailable

SHARE = 'vault.example.org:/backups'


@pytest.fixture
def mounted(make_store, mount_tmpfs):
    """A store in a directory of a mounted share."""
    point = mount_tmpfs()
    return make_store(NFSBackupDriver, point / 'backups', accepted_types=['tmpfs'])


def unmount(point):
    subprocess.run(['umount', '-l', point], check=True)


def test_a_store_on_a_share(mounted):
    mounted.driver.check_for_setup_error()
    mounted.driver.before_operation('backup')
    mounted.put('ab/cd/abcd', 'name')
    mounted.driver.sync('ab/cd/abcd')
    assert mounted.names('ab/cd/abcd') == ['name']
    assert list(mounted.driver.list_containers()) == ['ab/cd/abcd']
    mounted.driver.delete_object('ab/cd/abcd', 'name')
    assert mounted.files() == []


@pytest.mark.parametrize('path', ['mnt', 'mnt/backups'])
def test_nothing_is_touched_where_no_share_is_mounted(make_store, tmp_path, path):
    (tmp_path / 'mnt').mkdir()
    (tmp_path / 'mnt/box').mkdir()
    (tmp_path / 'mnt/box/name').write_bytes(b'below')
    store = make_store(NFSBackupDriver, tmp_path / path)
    driver = store.driver
    for verb in (driver.check_for_setup_error, lambda: store.put('box', 'new'),
                 lambda: store.get('box', 'name'), lambda: store.names('box'),
                 lambda: driver.put_container('box'), lambda: driver.remove_temporary(0),
                 lambda: driver.delete_object('box', 'name'), driver.free_space,
                 lambda: list(driver.list_containers()),
                 *(functools.partial(driver.before_operation, kind)
                   for kind in ('backup', 'restore', 'delete', 'verify'))):
        with pytest.raises(StoreError, match='is not mounted.*not on nfs or nfs4') as raised:
            verb()
        assert not raised.value.retryable
    assert sorted(os.listdir(tmp_path / 'mnt')) == ['box']
    assert (tmp_path / 'mnt/box/name').read_bytes() == b'below'


def test_an_unmount_in_between_does_not_reach_the_disk_below(mounted):
    point = mounted.path.parent
    mounted.driver.before_operation('backup')
    mounted.put('box', 'one')
    with mounted.driver.get_object_writer('box', 'two') as writer:
        unmount(point)
        writer.write(b'data')
    mounted.put('box', 'three')
    assert mounted.names('box') == ['one', 'three', 'two']
    mounted.driver.sync('box')
    assert list(point.iterdir()) == []
    with pytest.raises(StoreError, match='is not mounted'):
        mounted.driver.before_operation('backup')
    assert list(point.iterdir()) == []


def test_a_share_that_went_may_come_back(mounted, mount_tmpfs, monkeypatch):
    point = mounted.path.parent
    mounted.put('box', 'one')
    unmount(point)

    def fail(*args, **kwargs):
        raise OSError(107, 'Transport endpoint is not connected')

    with monkeypatch.context() as patched:
        patched.setattr(os, 'mkdir', fail)
        with pytest.raises(StoreUnavailable, match='not connected'):
            mounted.put('box', 'two')
    with pytest.raises(StoreUnavailable, match='is not mounted') as raised:
        mounted.put('box', 'two')
    assert raised.value.retryable
    mount_tmpfs(point)
    mounted.put('box', 'two')
    assert mounted.names('box') == ['two']


def test_closing_lets_the_share_be_unmounted(mounted):
    mounted.put('box', 'name')
    point = mounted.path.parent
    busy = subprocess.run(['umount', point], capture_output=True, text=True)
    assert busy.returncode and 'busy' in busy.stderr
    mounted.driver.close()
    subprocess.run(['umount', point], check=True)


def test_threads_read_the_top_directory_side_by_side(mounted):
    for number in range(50):
        mounted.driver.put_container(f'box-{number}')
    wrong = []

    def look():
        for _ in range(20):
            if len(list(mounted.driver.list_containers())) != 50:
                wrong.append(1)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_no_descriptor_is_left_open(mounted):
    before = os.listdir('/proc/self/fd')
    for _ in range(10):
        mounted.driver.before_operation('backup')
        mounted.put('box', 'name')
        mounted.driver.close()
        mounted.driver.close()
    assert os.listdir('/proc/self/fd') == before


def test_the_mount_of_a_descriptor(mount_tmpfs):
    point = mount_tmpfs(source='some:/where')
    fd = os.open(point, os.O_RDONLY)
    try:
        mount_tmpfs(point, source='above:/it')
        found = mounts.mount_of_descriptor(fd)
        assert (found.fs_type, found.source) == ('tmpfs', 'some:/where')
        assert mounts.mount_of(str(point)).source == 'above:/it'
        unmount(point)
        unmount(point)
        assert mounts.mount_of_descriptor(fd) is None
    finally:
        os.close(fd)


@pytest.mark.parametrize('values', [
    {}, {'path': '/mnt', 'share': SHARE, 'mount_point_base': '/mnt'}, {'share': SHARE},
    {'share': 'no-colon', 'mount_point_base': '/mnt'},
    {'share': '-o:/x', 'mount_point_base': '/mnt'},
    {'share': 'host:relative', 'mount_point_base': '/mnt'},
    {'share': SHARE, 'mount_point_base': '/mnt', 'mount_options': '--bind'}])
def test_options_that_make_no_sense(values):
    with pytest.raises(ConfigurationError):
        NFSBackupDriver.make(**values)


@pytest.mark.parametrize('source', [
    SHARE, '192.0.2.1:/', '[2001:db8::1]:/backups', '[fe80::1%eth0]:/backups', 'vault:/a b'])
def test_shares(source):
    driver = NFSBackupDriver.make(share=source, mount_point_base='/mnt/base')
    assert driver._mounted.path == Share(source, None, 1).point_below('/mnt/base')
    assert len(pathlib.Path(driver._mounted.path).name) == 32


class Mounter:
    """A program `mount` that mounts a tmpfs instead and notes how it was called."""

    def __init__(self, directory):
        self.directory = directory
        self.log = directory / 'log'
        self.log.write_text('')

    def behave(self, commands):
        program = self.directory / 'mount'
        program.write_text(f'#!/bin/sh\nfor word; do printf "%s\\n" "$word"; done >>{self.log}\n'
                           f'echo "LC_ALL=$LC_ALL" >>{self.log}\n{commands}\n')
        program.chmod(0o755)

    def calls(self):
        calls = self.log.read_text().split('LC_ALL=C\n')
        assert calls.pop() == ''
        return [call.splitlines() for call in calls]


@pytest.fixture
def mounter(tmp_path, monkeypatch, mount_tmpfs):
    (tmp_path / 'bin').mkdir()
    mounter = Mounter(tmp_path / 'bin')
    monkeypatch.setenv('PATH', f'{mounter.directory}:{os.environ["PATH"]}')
    monkeypatch.setattr(time, 'sleep', lambda seconds: None)
    yield mounter
    for mount in mounts.mounts():
        if mount.mount_point.startswith(str(tmp_path)):
            subprocess.run(['umount', '-l', mount.mount_point], check=False)


REAL = 'while [ $# -gt 2 ]; do shift; done; /bin/mount -t tmpfs "$1" "$2"'


@pytest.fixture
def shared(tmp_path):
    made = []

    def make(**values):
        values = {'share': SHARE, 'mount_options': 'vers=4.2,hard', **values}
        made.append(NFSBackupDriver.make(mount_point_base=str(tmp_path / 'state' / 'mnt'),
                                         accepted_types=['tmpfs'], **values))
        return made[-1]

    yield make
    for driver in made:
        driver.close()


def test_a_share_is_mounted_once(mounter, shared, tmp_path):
    mounter.behave(REAL)
    driver = shared()
    drivers = [driver, *(shared() for _ in range(5))]
    threads = [threading.Thread(target=one.check_for_setup_error) for one in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    driver.put_container('box')
    point = driver._mounted.path
    assert mounter.calls() == [['-t', 'nfs', '-o', 'vers=4.2,hard', SHARE, point]]
    assert os.listdir(point) == ['box']
    assert sum(mount.mount_point == point for mount in mounts.mounts()) == 1
    for directory in (tmp_path / 'state', tmp_path / 'state' / 'mnt'):
        assert directory.stat().st_mode & 0o777 == 0o700, directory


def test_mounting_is_tried_again(mounter, shared):
    mounter.behave(f'[ $(grep -c LC_ALL {mounter.log}) -ge 3 ] || exit 32\n{REAL}')
    shared(mount_options=None).check_for_setup_error()
    assert [call[:3] for call in mounter.calls()] == [['-t', 'nfs', SHARE]] * 3


def test_a_share_that_cannot_be_mounted(mounter, shared):
    mounter.behave('echo "mount.nfs: Connection refused"; echo "  for $3" >&2; exit 32')
    with pytest.raises(StoreUnavailable, match='tried 2 times: mount.nfs: Connection refused'):
        shared(mount_attempts=2).before_operation('backup')
    assert len(mounter.calls()) == 2


def test_a_mount_that_does_not_end(mounter, shared, monkeypatch):
    monkeypatch.setattr(nfs, 'MOUNT_TIMEOUT', 0.2)
    mounter.behave('exec sleep 60')
    with pytest.raises(StoreUnavailable, match='no answer for'):
        shared(mount_attempts=1).before_operation('backup')


def test_something_else_at_the_mount_point(mounter, shared):
    driver = shared()
    os.makedirs(driver._mounted.path)
    subprocess.run(['/bin/mount', '-t', 'tmpfs', 'other.example.org:/x', driver._mounted.path],
                   check=True)
    mounter.behave(REAL)
    with pytest.raises(StoreError, match='other.example.org:/x is mounted at .*, where vault'):
        driver.before_operation('restore')
    assert mounter.calls() == []


def test_a_mount_that_mounts_nothing(mounter, shared):
    mounter.behave('exit 0')
    with pytest.raises(StoreError, match='is not mounted'):
        shared().check_for_setup_error()


@pytest.mark.timeout(30)
def test_a_call_that_hangs_is_talked_about_once(caplog):
    watch = HangWatch(patience=0.2)
    quick, slow = watch.enter('read one'), watch.enter('write other')
    watch.leave(quick)
    with caplog.at_level(logging.WARNING, logger=nfs.__name__):
        deadline = time.monotonic() + 10
        while not caplog.messages and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith('still trying to write other')
    watch.leave(slow)
    deadline = time.monotonic() + 10
    while watch._watching and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not watch._watching
    watch.leave(watch.enter('read again'))
    assert watch._watching


@pytest.mark.timeout(30)
def test_a_verb_that_hangs_is_talked_about(make_store, mount_tmpfs, caplog, monkeypatch):
    monkeypatch.setattr(nfs, 'PATIENCE', 0.2)
    store = make_store(NFSBackupDriver, mount_tmpfs(), accepted_types=['tmpfs'])
    fsync = os.fsync

    def hang(fd):
        deadline = time.monotonic() + 10
        while not caplog.messages and time.monotonic() < deadline:
            time.sleep(0.05)
        fsync(fd)

    monkeypatch.setattr(os, 'fsync', hang)
    store.put('box', 'name')
    assert f'still trying to write name of container box in {store.path}' in caplog.text
