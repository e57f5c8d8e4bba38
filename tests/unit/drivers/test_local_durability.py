"""What is forced to disk, and when."""

import errno
import os

import pytest

from backup_framework.exceptions import StoreError, StoreFull, StoreUnavailable


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """What was synced, linked and written, in order, with paths relative to the store."""
    happened = []
    fsync, link, write = os.fsync, os.link, os.write

    def place(fd):
        path = os.path.relpath(os.readlink(f'/proc/self/fd/{fd}'), tmp_path / 'store')
        return 'temporary' if '.tmp-' in path else path

    def record_fsync(fd):
        happened.append(('fsync', place(fd)))
        fsync(fd)

    def record_link(source, target, **kwargs):
        happened.append(('link', target.decode()))
        link(source, target, **kwargs)

    def record_write(fd, data):
        happened.append(('write', place(fd)))
        return write(fd, data)

    monkeypatch.setattr(os, 'fsync', record_fsync)
    monkeypatch.setattr(os, 'link', record_link)
    monkeypatch.setattr(os, 'write', record_write)
    return happened


def synced(calls):
    return [place for call, place in calls if call == 'fsync']


def test_an_object_is_durable_before_it_has_its_name(make_store, calls):
    store = make_store()
    store.driver.put_container('ab/cd/abcd')
    calls.clear()
    store.put('ab/cd/abcd', 'name')
    assert calls == [('write', 'temporary'), ('fsync', 'temporary'), ('link', 'name')]


def test_sync_makes_the_directories_durable_once(make_store, calls):
    store = make_store()
    for number in range(3):
        store.put('ab/cd/abcd', f'sub/{number}')
    store.put('other', 'name')
    calls.clear()
    store.driver.sync('ab/cd/abcd')
    assert synced(calls) == ['ab/cd/abcd/sub', 'ab/cd/abcd', 'ab/cd', 'ab', '.']
    calls.clear()
    store.driver.sync('ab/cd/abcd')
    assert calls == []
    store.driver.sync('other')
    assert synced(calls) == ['other', '.']


def test_a_deletion_is_made_durable_by_sync(make_store, calls):
    store = make_store()
    store.put('box', 'name')
    store.put('box', 'other')
    store.driver.sync('box')
    calls.clear()
    store.driver.delete_object('box', 'name')
    store.driver.sync('box')
    assert synced(calls) == ['box', '.']


def test_directories_of_another_process_are_synced_too(make_store, calls):
    make_store().driver.put_container('ab/cd/abcd')
    store = make_store()
    calls.clear()
    store.put('ab/cd/abcd', 'name')
    store.driver.sync('ab/cd/abcd')
    assert synced(calls) == ['temporary', 'ab/cd/abcd', 'ab/cd', 'ab', '.']


def test_a_path_that_is_made_is_durable_at_once(make_store, calls, tmp_path):
    make_store(path=tmp_path / 'store/a/b').driver.put_container('box')
    assert synced(calls) == ['..', '.', 'a']


def test_an_equal_object_is_made_durable_again(make_store, calls):
    store = make_store()
    store.put('box', 'name')
    calls.clear()
    store.put('box', 'name')
    assert synced(calls) == ['temporary', 'box/name']


def test_backup_durability_waits_for_sync(make_store, calls):
    store = make_store(durability='backup')
    store.put('box', 'one')
    store.put('box', 'sub/two')
    store.put('box', 'deleted')
    store.driver.delete_object('box', 'deleted')
    assert store.driver.capabilities().durable
    assert not [place for place in synced(calls) if place not in ('..', '.')]
    calls.clear()
    store.driver.sync('box')
    assert sorted(synced(calls)[:2]) == ['box/one', 'box/sub/two']
    assert synced(calls)[2:] == ['box/sub', 'box', '.']


def test_no_durability_is_declared(make_store, calls):
    store = make_store(durability='none')
    store.put('box', 'name')
    store.driver.sync('box')
    assert synced(calls) == []
    assert not store.driver.capabilities().durable


@pytest.mark.parametrize('durability', ['object', 'backup'])
@pytest.mark.parametrize(('number', 'kind'), [(errno.EIO, StoreError), (errno.ENOSPC, StoreFull),
                                              (errno.EDQUOT, StoreFull)])
def test_a_failed_sync_never_succeeds_later(make_store, monkeypatch, durability, number, kind):
    store = make_store(durability=durability)
    store.put('box', 'name')
    store.put('other', 'name')

    def fail(fd):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, 'fsync', fail)
        with pytest.raises(kind, match='could not be made durable.*make the backup again') as first:
            store.driver.sync('box')
    assert not first.value.retryable
    with pytest.raises(kind, match='could not be made durable'):
        store.driver.sync('box')
    store.driver.sync('other')


def test_a_failed_fsync_of_an_object_takes_a_new_file(make_store, monkeypatch):
    store = make_store()
    fsync, failed = os.fsync, []

    def fail_once(fd):
        if not failed:
            failed.append(os.fstat(fd).st_ino)
            raise OSError(errno.EIO, 'Input/output error')
        fsync(fd)

    store.driver.put_container('box')
    monkeypatch.setattr(os, 'fsync', fail_once)
    with pytest.raises(StoreUnavailable):
        store.put('box', 'name')
    assert store.names('box') == []
    store.put('box', 'name')
    assert store.get('box', 'name') == b'data'


def test_a_sync_that_could_not_begin_is_done_by_the_next(make_store, calls, monkeypatch):
    store = make_store()
    store.put('box', 'name')

    def fail(create=False):
        raise OSError(errno.ESTALE, 'Stale file handle')

    with monkeypatch.context() as patched:
        patched.setattr(store.driver._tree, 'open_root', fail)
        with pytest.raises(StoreUnavailable, match='Stale file handle'):
            store.driver.sync('box')
    calls.clear()
    store.driver.sync('box')
    assert synced(calls) == ['box', '.']


def test_directories_that_cannot_be_synced(make_store, monkeypatch):
    store = make_store()
    store.put('box', 'name')

    def fail(fd):
        raise OSError(errno.EINVAL, 'Invalid argument')

    with monkeypatch.context() as patched:
        patched.setattr(os, 'fsync', fail)
        store.driver.sync('box')
    assert store.get('box', 'name') == b'data'


def test_what_was_never_touched_is_durable(store, calls):
    store.driver.sync('missing')
    assert not calls and store.files() == []
