"""Containers as directories: listing, nesting, cleaning up."""

import os
import socket

import pytest

from backup_framework.exceptions import ContainerNotFound, ObjectNotFound, StoreError

VOLUME = 'volume_7/20261122013158/az_nova_backup_9'


def test_objects_in_directories_are_listed(store):
    names = ['a', 'a-00001', 'sub/a', 'sub/b', 'sub/sub/a', 'sub-a', 'volume_7/x']
    for name in names:
        store.put('box', name)
    assert store.names('box') == sorted(names)
    assert store.names('box', 'a') == ['a', 'a-00001']
    assert store.names('box', 'sub') == ['sub-a', 'sub/a', 'sub/b', 'sub/sub/a']
    assert store.names('box', 'sub/') == ['sub/a', 'sub/b', 'sub/sub/a']
    assert store.names('box', 'sub/s') == ['sub/sub/a']
    assert store.names('box', 'sub/sub/a') == ['sub/sub/a']
    for prefix in ('b', 'sub/c', 'sub/sub/a/', 'x/y', '../box/a', './a', 'sub//a', '/a', '\ud800'):
        assert store.names('box', prefix) == [], prefix


def test_what_is_not_an_object_is_not_listed(store):
    store.put('box', 'name')
    box = store.path / 'box'
    (box / '.tmp-0123').write_bytes(b'')
    (box / '.nfs000123').write_bytes(b'')
    (box / '.snapshot').mkdir()
    (box / '.snapshot/name').write_bytes(b'')
    (box / 'link').symlink_to('name')
    (box / 'directory').symlink_to('/')
    os.mkfifo(box / 'fifo')
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(box / 'socket'))
        (box / os.fsdecode(b'not-utf-8-\xff')).write_bytes(b'')
        assert store.names('box') == ['name']
        assert list(store.driver.list_containers()) == ['box']


def test_a_listing_while_objects_are_deleted(make_store):
    store = make_store(durability='none')
    names = [f'{directory}/{number}' for directory in 'abc' for number in range(200)]
    for name in names:
        store.put('box', name)
    seen = []
    for name in store.driver.get_container_entries('box', ''):
        store.driver.delete_object('box', name)
        seen.append(name)
    assert sorted(seen) == sorted(names)
    assert store.files() == []


def test_a_container_that_goes_while_it_is_listed(store):
    store.put('box', 'name')
    entries = store.driver.get_container_entries('box', '')
    store.driver.delete_object('box', 'name')
    assert list(entries) == []


@pytest.mark.parametrize('outer_first', [True, False])
def test_a_container_in_a_container(store, outer_first):
    for box in ('one', 'one/two') if outer_first else ('one/two', 'one'):
        store.driver.put_container(box)
    store.put('one', 'name', b'outer')
    store.put('one/two', 'name', b'inner')
    store.put('one', 'sub/name', b'outer')
    assert store.names('one') == ['name', 'sub/name']
    assert store.names('one', 'two/') == store.names('one', 'two/na') == []
    assert store.names('one/two') == ['name']
    with pytest.raises(ObjectNotFound):
        store.get('one', 'two/name')
    with pytest.raises(StoreError, match='a container of its own'):
        store.put('one', 'two/other')
    store.driver.delete_object('one', 'two/name')
    assert store.get('one/two', 'name') == b'inner'
    for box, name in (('one', 'name'), ('one', 'sub/name'), ('one/two', 'name')):
        store.driver.delete_object(box, name)
    assert store.files() == []


def test_an_emptied_container_in_a_container_is_one_again(store):
    store.put('one', 'name')
    store.put('one/two', 'name')
    store.driver.delete_object('one/two', 'name')
    assert store.names('one') == ['name']
    with store.driver.get_object_writer('one/two', 'late'):
        store.driver.delete_object('one/two', 'nothing')
    assert store.names('one') == ['name']
    assert store.names('one/two') == ['late']


def test_a_container_that_is_not_empty_after_all_stays_one(store, monkeypatch):
    store.put('one/two', 'name')
    unlink = os.unlink

    def unlink_and_write(name, **kwargs):
        unlink(name, **kwargs)
        if name == b'.container':
            (store.path / 'one/two/late').write_bytes(b'')

    monkeypatch.setattr(os, 'unlink', unlink_and_write)
    store.driver.delete_object('one/two', 'name')
    assert store.names('one') == []
    assert store.names('one/two') == ['late']


def test_cinders_default_containers_need_no_mark(store):
    store.put('ab', 'name')
    store.put('ab/cd/abcd-1', 'volume_1_metadata')
    assert store.names('ab') == ['name']
    assert store.files() == ['ab', 'ab/cd', 'ab/cd/abcd-1', 'ab/cd/abcd-1/volume_1_metadata',
                             'ab/name']


def test_a_directory_with_objects_keeps_its_meaning(store):
    store.put('one', 'two/name')
    store.driver.put_container('one/two')
    assert store.names('one') == ['two/name']
    assert store.names('one/two') == ['name']


def test_containers_are_found(store):
    assert list(store.driver.list_containers()) == []
    for box in ('top', 'top/nested', 'ab/cd/abcd', 'a/b/c/d/e'):
        store.put(box, 'volume_1_metadata')
    store.driver.put_container('empty')
    store.driver.put_container('nothing/in/it')
    (store.path / 'lost+found').mkdir()
    assert list(store.driver.list_containers()) == [
        'a/b/c/d/e', 'ab/cd/abcd', 'empty', 'nothing/in/it', 'top', 'top/nested']


def test_backups_with_names_of_object_stores_are_found_once(store):
    store.put('box', VOLUME + '_metadata', b'manifest')
    assert list(store.driver.list_containers()) == ['box']
    assert store.names('box', VOLUME) == [VOLUME + '_metadata']
    assert store.get('box/volume_7/20261122013158', 'az_nova_backup_9_metadata') == b'manifest'


def test_backups_at_the_top_are_found_where_they_are(store):
    store.put('volume_7/20261122013158', 'az_nova_backup_9_metadata')
    assert list(store.driver.list_containers()) == ['volume_7/20261122013158']


def test_emptied_directories_go(store, tmp_path):
    store.put('ab/cd/abcd', 'name')
    store.put('ab/cd/abcd', 'sub/sub/name')
    store.put('ab/ce/abce', 'name')
    store.driver.delete_object('ab/cd/abcd', 'sub/sub/name')
    assert 'ab/cd/abcd/sub' not in store.files()
    store.driver.delete_object('ab/cd/abcd', 'name')
    assert store.files() == ['ab', 'ab/ce', 'ab/ce/abce', 'ab/ce/abce/name']
    store.driver.delete_object('ab/ce/abce', 'name')
    assert store.files() == []
    assert store.path.is_dir()


def test_a_delete_that_is_done_again_cleans_up(store):
    store.put('ab/cd/abcd', 'name')
    (store.path / 'ab/cd/abcd/name').unlink()
    store.driver.delete_object('ab/cd/abcd', 'name')
    assert store.files() == []
    with pytest.raises(ContainerNotFound):
        store.names('ab/cd/abcd')


def test_a_delete_where_a_directory_has_gone_cleans_up(store):
    store.put('ab/cd/abcd', 'sub/sub/name')
    (store.path / 'ab/cd/abcd/sub/sub/name').unlink()
    (store.path / 'ab/cd/abcd/sub/sub').rmdir()
    store.driver.delete_object('ab/cd/abcd', 'sub/sub/name')
    assert store.files() == []


def test_foreign_files_keep_their_directory(store):
    store.put('box', 'name')
    (store.path / 'box/.nfs0001').write_bytes(b'')
    store.driver.delete_object('box', 'name')
    assert store.files() == ['box', 'box/.nfs0001']
