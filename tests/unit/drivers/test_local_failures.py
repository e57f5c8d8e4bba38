"""Full disks, missing rights, and things planted in a store."""

import errno
import os
import stat

import pytest

from backup_framework.drivers.local import LocalBackupDriver
from backup_framework.drivers.nfs import NFSBackupDriver
from backup_framework.exceptions import (
    ConfigurationError,
    ObjectExists,
    PermissionDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)

MIB = 1 << 20


def test_no_space_left(make_store, mount_tmpfs):
    store = make_store(path=mount_tmpfs(options='size=1m'))
    store.put('box', 'committed', bytes(MIB // 2))
    with pytest.raises(StoreFull, match='No space left.* bytes are free: make room'):
        store.put('box', 'large', bytes(MIB))
    assert store.files() == ['box', 'box/committed']
    assert store.get('box', 'committed') == bytes(MIB // 2)
    store.driver.delete_object('box', 'committed')
    store.put('box', 'large', bytes(MIB // 2))


def test_no_inodes_left(make_store, mount_tmpfs):
    store = make_store(path=mount_tmpfs(options='size=1m,nr_inodes=5'))
    with pytest.raises(StoreFull, match='no inodes left'):
        for number in range(10):
            store.put('box', f'name-{number}')
    assert 'name-0' in store.names('box')
    with pytest.raises(StoreFull, match='no inodes left'):
        for number in range(10):
            store.driver.put_container(f'other-{number}')


def test_free_space(make_store, mount_tmpfs):
    store = make_store(path=mount_tmpfs(options='size=1m'))
    assert store.driver.free_space() == MIB
    store.put('box', 'name', bytes(MIB // 2))
    assert store.driver.free_space() == MIB // 2


def test_a_read_only_store(make_store, mount_tmpfs):
    point = mount_tmpfs()
    make_store(path=point).put('box', 'name')
    os.system(f'mount -o remount,ro "{point}"')
    store = make_store(path=point)
    for verb in (lambda: store.put('box', 'new'), lambda: store.driver.put_container('new'),
                 lambda: store.driver.delete_object('box', 'name'),
                 store.driver.check_for_setup_error):
        with pytest.raises(PermissionDenied, match='Read-only file system'):
            verb()
    assert store.get('box', 'name') == b'data'
    assert store.names('box') == ['name']


@pytest.mark.parametrize(('number', 'kind'), [
    (errno.EDQUOT, StoreFull), (errno.ESTALE, StoreUnavailable), (errno.EIO, StoreUnavailable),
    (errno.ETIMEDOUT, StoreUnavailable), (errno.ENOTCONN, StoreUnavailable),
    (errno.EHOSTDOWN, StoreUnavailable), (errno.EREMOTEIO, StoreUnavailable),
    (errno.EACCES, PermissionDenied), (errno.EPERM, PermissionDenied),
    (errno.EMFILE, StoreError), (errno.EFBIG, StoreError)])
def test_system_errors_while_writing(store, monkeypatch, number, kind):
    def fail(fd, data):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, 'write', fail)
    with pytest.raises(StoreError, match='cannot write name of container box') as raised:
        store.put('box', 'name')
    assert type(raised.value) is kind
    assert (raised.value.container, raised.value.name) == ('box', 'name')
    assert os.strerror(number) in str(raised.value)
    monkeypatch.undo()
    assert store.files() == ['box']


def test_every_verb_translates(store, monkeypatch):
    store.put('box', 'name')
    driver = store.driver
    entries = driver.get_container_entries('box', '')
    reader = driver.get_object_reader('box', 'name')

    def fail(*args, **kwargs):
        raise OSError(errno.EIO, 'Input/output error')

    with reader as opened, driver.get_object_writer('box', 'other') as writer:
        for name in ('open', 'write', 'pread', 'fstatvfs'):
            monkeypatch.setattr(os, name, fail)
        for verb in (lambda: driver.put_container('box'), lambda: list(entries),
                     lambda: store.names('box'), lambda: store.put('box', 'more'),
                     lambda: store.get('box', 'name'), lambda: writer.write(b'data'),
                     lambda: opened.read(), lambda: driver.delete_object('box', 'name'),
                     lambda: driver.object_size('box', 'name'), lambda: driver.free_space(),
                     lambda: list(driver.list_containers()), lambda: driver.remove_temporary(0),
                     lambda: driver.sync('box'), driver.check_for_setup_error):
            with pytest.raises(StoreUnavailable, match='Input/output error'):
                verb()
        monkeypatch.undo()
        writer.write(b'data')


def test_a_store_of_somebody_else(tmp_path, unprivileged):
    path = tmp_path / 'store'
    path.mkdir(mode=0o500)
    if os.geteuid() == 0:
        path.chmod(0o755)

    def prepare():
        try:
            LocalBackupDriver.make(path=str(path)).check_for_setup_error()
        except PermissionDenied as error:
            return error
        return 'it worked'

    said = unprivileged(prepare)
    user = 65534 if os.geteuid() == 0 else os.geteuid()
    assert said == (f'cannot prepare the store in {path}: Permission denied; user id {user} needs '
                    'read and write access there')


def test_objects_of_somebody_else(make_store, unprivileged):
    if os.geteuid() != 0:
        pytest.skip('only root can make files of another user')
    store = make_store(directory_mode=0o755)
    store.put('box', 'name')
    store.put('hidden', 'name')
    (store.path / 'hidden').chmod(0o700)

    def use():
        found = []
        for verb in (lambda: store.get('box', 'name'), lambda: store.put('box', 'new'),
                     lambda: store.driver.delete_object('box', 'name'),
                     lambda: store.names('hidden'),
                     lambda: list(store.driver.list_containers())):
            try:
                found.append(verb())
            except StoreError as error:
                found.append(type(error).__name__)
        return found

    assert unprivileged(use) == str(['PermissionDenied'] * 5)
    assert store.names('box') == ['name']


def test_a_path_that_is_a_file(make_store, tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    for path in (tmp_path / 'file', tmp_path / 'file/below'):
        store = make_store(path=path)
        with pytest.raises(StoreError, match='path has to be a directory'):
            store.driver.check_for_setup_error()


@pytest.mark.parametrize('driver', [LocalBackupDriver, NFSBackupDriver])
@pytest.mark.parametrize('path', ['store', './store', ''])
def test_a_path_that_depends_on_where_a_command_is_started(driver, path):
    with pytest.raises(ConfigurationError, match='path must be an absolute path, not '):
        driver.make(path=path)


@pytest.fixture
def planted(store, tmp_path):
    """A store beside a secret file, a secret directory, and links to both in the store."""
    secret = tmp_path / 'secret'
    secret.mkdir()
    (secret / 'name').write_bytes(b'secret')
    store.put('box', 'innocent')
    (store.path / 'box/link').symlink_to(secret / 'name')
    (store.path / 'box/sub').symlink_to(secret)
    (store.path / 'linked').symlink_to(secret)
    (store.path / 'box/dangling').symlink_to(tmp_path / 'new')
    yield store
    assert {path.name: path.read_bytes() for path in secret.iterdir()} == {'name': b'secret'}
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize(('container', 'name'), [('box', 'link'), ('box', 'sub/name'),
                                                 ('linked', 'name'), ('box', 'dangling')])
def test_links_are_not_followed(planted, container, name):
    for verb in (planted.get, planted.put, planted.driver.delete_object,
                 planted.driver.object_size):
        with pytest.raises(StoreError, match='links in a store are not followed'):
            verb(container, name)


def test_linked_directories_are_not_entered(planted):
    for verb in (planted.names, planted.driver.put_container):
        with pytest.raises(PermissionDenied, match='is a symbolic link'):
            verb('linked')
    assert planted.names('box') == ['innocent']
    assert list(planted.driver.list_containers()) == ['box']
    assert planted.driver.remove_temporary(-10) == 0


@pytest.mark.timeout(20)
def test_a_fifo_does_not_hang(store):
    store.driver.put_container('box')
    os.mkfifo(store.path / 'box/name')
    for verb in (store.get, store.put, store.driver.object_size, store.driver.delete_object):
        with pytest.raises(StoreError, match='has to be a regular file'):
            verb('box', 'name')
    assert stat.S_ISFIFO((store.path / 'box/name').stat().st_mode)


def test_a_link_is_no_way_round_existing_bytes(store, tmp_path):
    (tmp_path / 'outside').write_bytes(b'data')
    store.driver.put_container('box')
    (store.path / 'box/name').symlink_to(tmp_path / 'outside')
    with pytest.raises(StoreError, match='links in a store'):
        store.put('box', 'name', b'data')
    os.unlink(store.path / 'box/name')
    os.link(tmp_path / 'outside', store.path / 'box/name')
    with pytest.raises(ObjectExists):
        store.put('box', 'name', b'other')
    assert (tmp_path / 'outside').read_bytes() == b'data'
