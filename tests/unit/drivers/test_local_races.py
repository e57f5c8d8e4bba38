"""Directories that vanish, links that fail and files that get no group: nothing is left of them."""

import errno
import os
import time

import pytest

from backup_framework.drivers import tree
from backup_framework.exceptions import PermissionDenied, StoreError, StoreUnavailable


def failing(number):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_directory_that_always_vanishes(store, monkeypatch):
    monkeypatch.setattr(tree.Tree, '_descend', failing(errno.ENOENT))
    with pytest.raises(StoreUnavailable, match='is removed as soon as it is made'):
        store.put('box', 'name')


def test_a_directory_that_its_file_system_does_not_let_be_made(store, monkeypatch):
    """As in /proc: it has not vanished, and never will be there."""
    monkeypatch.setattr(os, 'mkdir', failing(errno.ENOENT))
    monkeypatch.setattr(tree, 'ATTEMPTS', 1)
    for call in (store.driver.check_for_setup_error, lambda: store.driver.put_container('box')):
        with pytest.raises(StoreError, match='store cannot be made in ') as caught:
            call()
        assert not isinstance(caught.value, StoreUnavailable)


def test_a_directory_that_is_removed_before_one_is_made_in_it(store, monkeypatch):
    store.driver.put_container('box')
    made, mkdir = [], os.mkdir

    def removing(name, *args, **kwargs):
        if name == b'in' and len(made) < 3:
            made.append((store.path / 'box').rmdir())
        mkdir(name, *args, **kwargs)

    monkeypatch.setattr(os, 'mkdir', removing)
    store.put('box/in', 'name')
    assert len(made) == 3 and store.get('box/in', 'name') == b'data'


def stale(name, directory, times):
    """A call of `os` that finds an open directory gone some times, as NFS does."""
    call, left = getattr(os, name), [times]

    def wrapped(first, *args, **kwargs):
        fd = first if isinstance(first, int) else kwargs.get('dir_fd')
        if left[0] and fd is not None and os.readlink(f'/proc/self/fd/{fd}').endswith(directory):
            left[0] -= 1
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return call(first, *args, **kwargs)

    return wrapped


@pytest.mark.parametrize('name', ['fstat', 'open', 'mkdir'])
def test_a_directory_that_another_host_removes(store, monkeypatch, name):
    """A delete there took away what was just entered here: it is made again."""
    monkeypatch.setattr(os, name, stale(name, '/box', 3))
    store.put('box/in', 'name')
    assert store.get('box/in', 'name') == b'data'


@pytest.mark.parametrize('name', ['open', 'scandir'])
def test_a_directory_that_another_host_removes_while_it_is_listed(store, monkeypatch, name):
    store.put('box', 'a')
    store.put('box/in', 'b')
    monkeypatch.setattr(os, name, stale(name, '/box', 3))
    assert store.names('box') == ['a']
    assert list(store.driver.list_containers()) == ['box', 'box/in']


def test_a_directory_that_stays_stale(store, monkeypatch):
    """Nothing tells that it is missing."""
    store.put('box', 'a')
    monkeypatch.setattr(os, 'scandir', stale('scandir', '/box', 1 << 30))
    with pytest.raises(StoreUnavailable, match=os.strerror(errno.ESTALE)):
        store.names('box')


def test_a_link_that_fails_for_good(store, monkeypatch):
    """Only where the file system has no links is the file renamed."""
    monkeypatch.setattr(os, 'link', failing(errno.EIO))
    with pytest.raises(StoreUnavailable, match='Input/output error'):
        store.put('box', 'name')
    assert store.files() == ['box']


def test_a_rename_that_fails_for_good(store, monkeypatch):
    monkeypatch.setattr(os, 'link', failing(errno.EPERM))
    monkeypatch.setattr(os, 'rename', failing(errno.EIO))
    with pytest.raises(StoreUnavailable, match='Input/output error'):
        store.put('box', 'name')
    assert store.files() == ['box']


def test_an_object_that_goes_while_it_is_compared(store, monkeypatch):
    """Nobody can tell any more whether it was the same one: the framework tries again."""
    store.put('box', 'name', b'old')
    opened = os.open

    def too_late(path, *args, **kwargs):
        if path == b'name':
            (store.path / 'box' / 'name').unlink()
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(os, 'open', too_late)
    with pytest.raises(StoreUnavailable, match='was removed while it was written'):
        store.put('box', 'name', b'old')
    assert store.files() == ['box']


def test_a_file_that_gets_no_group_is_removed(make_store, monkeypatch):
    store = make_store(group=str(os.getgid() + 1))
    monkeypatch.setattr(os, 'fchown', failing(errno.EPERM))
    with pytest.raises(PermissionDenied):
        store.put('box', 'name')
    assert not [name for name in store.files() if '.tmp-' in name]


def test_what_is_not_a_file_is_no_leftover(store):
    """A directory that looks like a temporary file, and one that is too young."""
    store.put('box', 'name')
    (store.path / 'box' / f'.tmp-{"0" * 32}').mkdir()
    young = store.path / 'box' / f'.tmp-{"1" * 32}'
    young.write_bytes(b'')
    assert store.driver.remove_temporary(3600) == 0
    os.utime(young, (time.time() - 7200,) * 2)
    assert store.driver.remove_temporary(3600) == 1
    assert not young.exists()


def test_a_position_before_the_start_is_refused(store):
    store.put('box', 'name', b'0123')
    with store.driver.get_object_reader('box', 'name') as reader:
        with pytest.raises(ValueError, match='before the start'):
            reader.seek(-1)
        assert reader.tell() == 0
        assert reader.seek(-1, os.SEEK_END) == 3 and reader.read() == b'3'


@pytest.mark.parametrize('make', [os.mkfifo, os.mkdir], ids=['FIFO', 'directory'])
def test_what_is_no_file_does_not_stay_open(store, make):
    store.put('box', 'name')
    make(store.path / 'box' / 'other')
    before = os.listdir('/proc/self/fd')
    for _ in range(3):
        with pytest.raises(StoreError):
            store.get('box', 'other')
    assert len(os.listdir('/proc/self/fd')) == len(before)
