"""Writing and reading objects as files."""

import errno
import os
import pathlib
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest

from backup_framework.drivers.local import LocalBackupDriver
from backup_framework.exceptions import (
    ConfigurationError,
    ContainerNotFound,
    NotSupported,
    ObjectExists,
    ObjectNotFound,
    StoreError,
    StoreUnavailable,
)

ROOT = pathlib.Path(__file__).resolve().parents[3]

WRITE_AND_WAIT = """
import sys, time
from backup_framework.drivers.local import LocalBackupDriver
driver = LocalBackupDriver.make(path=sys.argv[1])
with driver.get_object_writer('box', 'sub/killed') as writer:
    writer.write(bytes(1 << 20))
    print('inside', flush=True)
    time.sleep(600)
"""


def test_an_object_is_a_file_of_its_name(store):
    store.put('ab/cd/abcd', 'volume_1-00001', b'bytes')
    assert (store.path / 'ab/cd/abcd/volume_1-00001').read_bytes() == b'bytes'
    assert store.files() == ['ab', 'ab/cd', 'ab/cd/abcd', 'ab/cd/abcd/volume_1-00001']


def test_short_writes_are_continued(store, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, 'write', lambda fd, data: write(fd, data[:1000]))
    store.put('box', 'name', bytes(range(256)) * 40)
    monkeypatch.undo()
    assert store.get('box', 'name') == bytes(range(256)) * 40


def test_a_failed_write_is_not_forgotten(store, monkeypatch):
    def fail(fd, data):
        raise OSError(errno.EIO, 'Input/output error')

    with pytest.raises(StoreUnavailable, match='failed before'):
        with store.driver.get_object_writer('box', 'name') as writer:
            writer.write(b'first')
            with monkeypatch.context() as patched:
                patched.setattr(os, 'write', fail)
                with pytest.raises(StoreUnavailable, match='Input/output error'):
                    writer.write(b'second')
    assert store.names('box') == []


def test_a_writer_is_done_after_its_block(store):
    with store.driver.get_object_writer('box', 'name') as writer:
        pass
    with pytest.raises(StoreError, match='not open any more'):
        writer.write(b'late')
    assert store.get('box', 'name') == b''


def test_errors_of_the_caller_pass_unchanged(store):
    with pytest.raises(OSError, match='of the volume') as raised:
        with store.driver.get_object_writer('box', 'name'):
            raise OSError(errno.EIO, 'of the volume')
    assert not isinstance(raised.value, StoreError)
    assert store.files() == ['box']


@pytest.mark.parametrize('call', ['fsync', 'link', 'close'])
def test_nothing_appears_when_publishing_fails(store, monkeypatch, call):
    writer_fd = []
    real = getattr(os, call)

    def fail(*args, **kwargs):
        if call == 'close' and args[0] not in writer_fd:
            return real(*args)
        if call == 'close':
            writer_fd.clear()
            real(*args)
        raise OSError(errno.EIO, 'Input/output error')

    with pytest.raises(StoreUnavailable):
        with store.driver.get_object_writer('box', 'name') as writer:
            writer.write(b'data')
            writer_fd.append(writer._fd)
            monkeypatch.setattr(os, call, fail)
    monkeypatch.undo()
    assert store.files() == ['box']


def test_other_bytes_are_never_written_over(store):
    store.put('box', 'name', b'old')
    for other in (b'new', b'older', b''):
        with pytest.raises(ObjectExists, match='box/name.*other bytes'):
            store.put('box', 'name', other)
    store.put('box', 'name', b'old')
    assert store.get('box', 'name') == b'old'
    assert store.files() == ['box', 'box/name']


@pytest.mark.parametrize('number', [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK])
def test_without_hard_links(store, monkeypatch, number):
    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, 'link', refuse)
    store.put('box', 'name', b'old')
    store.put('box', 'name', b'old')
    with pytest.raises(ObjectExists):
        store.put('box', 'name', b'new')
    assert store.get('box', 'name') == b'old'
    assert store.files() == ['box', 'box/name']


@pytest.mark.parametrize('number', [errno.EEXIST, errno.EIO, errno.ENOENT])
def test_a_link_that_was_made_although_it_failed(store, monkeypatch, number):
    link = os.link

    def link_and_fail(*args, **kwargs):
        link(*args, **kwargs)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, 'link', link_and_fail)
    store.put('box', 'name', b'data')
    assert store.get('box', 'name') == b'data'


def test_a_rename_that_was_made_although_it_failed(store, monkeypatch):
    rename = os.rename

    def rename_and_fail(*args, **kwargs):
        rename(*args, **kwargs)
        raise OSError(errno.ENOENT, 'No such file or directory')

    def refuse(*args, **kwargs):
        raise OSError(errno.EPERM, 'Operation not permitted')

    monkeypatch.setattr(os, 'link', refuse)
    monkeypatch.setattr(os, 'rename', rename_and_fail)
    store.put('box', 'name', b'data')
    assert store.get('box', 'name') == b'data'


def test_a_name_is_a_file_or_a_directory(store):
    store.put('box', 'name')
    with pytest.raises(StoreError, match='a file has the name'):
        store.put('box', 'name/below')
    with pytest.raises(StoreError, match='a file has the name'):
        store.driver.put_container('box/name/below')
    store.put('box', 'sub/name')
    with pytest.raises(StoreError, match='is a directory'):
        store.put('box', 'sub')
    with pytest.raises(ObjectNotFound):
        store.get('box', 'sub')
    store.driver.delete_object('box', 'sub')
    assert store.names('box') == ['name', 'sub/name']


@pytest.mark.parametrize('name', ['.name', 'sub/.name', '.sub/name', '.tmp-1'])
def test_names_with_a_dot_are_refused(store, name):
    with pytest.raises(NotSupported, match='begin with a dot'):
        store.put('box', name)


@pytest.mark.parametrize('name', ['..', 'a/../../b', '/absolute', 'a//b', '', 'a\0b', '\ud800'])
def test_names_that_no_file_can_have(store, name):
    for verb in (store.put, store.get, store.driver.delete_object, store.driver.object_size):
        with pytest.raises(StoreError, match='is not a name'):
            verb('box', name)
    with pytest.raises(StoreError, match='is not a name'):
        store.driver.put_container(name)
    with pytest.raises(StoreError, match='is not a name'):
        store.names(name)


def test_a_name_that_is_too_long(store):
    with pytest.raises(StoreError, match='File name too long') as raised:
        store.put('box', 'n' * 256)
    assert type(raised.value) is StoreError
    assert (raised.value.container, raised.value.name) == ('box', 'n' * 256)


def test_reading_in_pieces(store):
    store.put('box', 'name', b'0123456789')
    with store.driver.get_object_reader('box', 'name') as reader:
        assert (reader.read(3), reader.read(0), reader.tell()) == (b'012', b'', 3)
        assert reader.seek(-2, os.SEEK_END) == 8
        assert (reader.read(5), reader.read(5), reader.read()) == (b'89', b'', b'')
        assert reader.seek(100) == 100 and reader.read(1) == b''
        reader.seek(0)
        assert reader.read(None) == b'0123456789'


def test_short_reads_are_continued(store, monkeypatch):
    store.put('box', 'name', b'0123456789')
    pread = os.pread
    monkeypatch.setattr(os, 'pread', lambda fd, size, at: pread(fd, min(size, 3), at))
    with store.driver.get_object_reader('box', 'name') as reader:
        assert reader.read(7) == b'0123456'
        assert reader.read() == b'789'


def test_a_file_that_gets_shorter_is_not_at_its_end(store):
    store.put('box', 'name', b'0123456789')
    with store.driver.get_object_reader('box', 'name') as reader:
        os.truncate(store.path / 'box/name', 4)
        with pytest.raises(StoreUnavailable, match='ends after 4 of 10 bytes'):
            reader.read()


def test_what_is_missing(store):
    store.put('box', 'name')
    for container, name in (('box', 'other'), ('nothing', 'name'), ('box', 'name/sub')):
        with pytest.raises(ObjectNotFound):
            store.get(container, name)
        with pytest.raises(ObjectNotFound):
            store.driver.object_size(container, name)
        store.driver.delete_object(container, name)
    with pytest.raises(ContainerNotFound):
        store.names('nothing')
    with pytest.raises(ContainerNotFound):
        store.names('box/name')


def test_a_killed_writer_leaves_a_temporary_file_only(store):
    child = subprocess.Popen([sys.executable, '-c', WRITE_AND_WAIT, store.path], cwd=ROOT,
                             stdout=subprocess.PIPE)
    with child:
        assert child.stdout.readline() == b'inside\n'
        child.send_signal(signal.SIGKILL)
    left = [file for file in store.files() if '.tmp-' in file]
    assert len(left) == 1
    assert store.names('box') == []
    assert store.driver.remove_temporary(3600) == 0
    assert store.driver.remove_temporary(0) == 1
    assert store.files() == []


def test_only_our_old_temporary_files_are_removed(store):
    store.put('box', 'name')
    ours = store.path / 'box' / ('.tmp-' + '0' * 32)
    foreign = store.path / 'box' / '.tmp-of-rsync'
    for file in (ours, foreign):
        file.write_bytes(b'')
        os.utime(file, (time.time() - 100, time.time() - 100))
    assert store.driver.remove_temporary(200) == 0
    assert store.driver.remove_temporary(50) == 1
    assert foreign.exists() and not ours.exists()
    assert store.get('box', 'name') == b'data'


def test_a_temporary_file_removed_too_early(store):
    with pytest.raises(StoreUnavailable, match='was removed while it was written'):
        with store.driver.get_object_writer('box', 'name') as writer:
            writer.write(b'data')
            assert store.driver.remove_temporary(-10) == 1
    assert store.files() == []


@pytest.mark.parametrize('umask', [0o000, 0o022, 0o077, 0o777])
@pytest.mark.parametrize(('modes', 'expected'), [
    ({}, (0o600, 0o700)),
    ({'file_mode': 0o660, 'directory_mode': 0o770}, (0o660, 0o770)),
])
def test_modes_are_those_asked_for(make_store, umask, modes, expected):
    store = make_store(**modes)
    before = os.umask(umask)
    try:
        store.put('box/inner', 'sub/name')
    finally:
        os.umask(before)
    found = [stat.S_IMODE((store.path / path).stat().st_mode)
             for path in ('box/inner/sub/name', 'box/inner/sub', 'box/inner', 'box', '.')]
    assert found == [expected[0], *[expected[1]] * 4]


def test_a_file_is_never_open_to_more_than_it_should_be(make_store, monkeypatch):
    seen = []
    fstat = os.fstat

    def look(fd):
        status = fstat(fd)
        seen.append(stat.S_IMODE(status.st_mode))
        return status

    before = os.umask(0)
    try:
        monkeypatch.setattr(os, 'fstat', look)
        make_store().put('box', 'name')
    finally:
        os.umask(before)
    assert seen and not [mode for mode in seen if mode & 0o077]


def test_group(make_store):
    if os.geteuid() != 0:
        pytest.skip('only root can give files to any group')
    store = make_store(group='65533', file_mode=0o660, directory_mode=0o2770)
    store.put('box', 'sub/name')
    for path, mode in (('box/sub/name', 0o660), ('box/sub', 0o2770), ('box', 0o2770)):
        status = (store.path / path).stat()
        assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (65533, mode), path


def test_another_group_never_has_rights(make_store, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip('only root can give files to any group')
    seen = []
    fstat = os.fstat

    def look(fd):
        status = fstat(fd)
        if status.st_gid != 65533:
            seen.append(stat.S_IMODE(status.st_mode))
        return status

    monkeypatch.setattr(os, 'fstat', look)
    make_store(group='65533', file_mode=0o660, directory_mode=0o770).put('box', 'name')
    assert sorted(set(seen)) == [0o600, 0o700]


def test_a_group_that_does_not_exist(make_store):
    with pytest.raises(StoreError, match="no group 'no-such-group'.*option group"):
        make_store(group='no-such-group').driver.check_for_setup_error()


def test_a_durability_that_does_not_exist(make_store):
    with pytest.raises(ConfigurationError, match='object, backup, none'):
        make_store(durability='sometimes')


def test_no_descriptor_is_left_open(store):
    def everything():
        store.put('box', 'sub/name')
        store.put('box', 'sub/name')
        store.get('box', 'sub/name')
        store.names('box', 'sub/')
        list(store.driver.list_containers())
        store.driver.object_size('box', 'sub/name')
        store.driver.sync('box')
        store.driver.remove_temporary(0)
        for failing in (lambda: store.put('box', 'sub/name', b'other'),
                        lambda: store.put('box', 'sub/name/more'),
                        lambda: store.get('box', 'missing'),
                        lambda: store.names('missing')):
            with pytest.raises(StoreError):
                failing()
        store.driver.delete_object('box', 'sub/name')

    everything()
    before = os.listdir('/proc/self/fd')
    for _ in range(20):
        everything()
    assert os.listdir('/proc/self/fd') == before


def test_writing_while_others_delete(make_store):
    """Directories vanish under writers, whose objects arrive all the same."""
    store = make_store(durability='none')
    stop, failures = threading.Event(), []

    def come_and_go():
        while not stop.is_set():
            store.driver.delete_object('ab/cd/abcd', 'sub/gone')

    def write(number):
        try:
            for turn in range(150):
                name = f'sub/{number}-{turn}'
                store.put('ab/cd/abcd', name)
                assert store.get('ab/cd/abcd', name) == b'data'
                store.driver.delete_object('ab/cd/abcd', name)
        except Exception as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    deleters = [threading.Thread(target=come_and_go) for _ in range(2)]
    for thread in writers + deleters:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in deleters:
        thread.join()
    assert failures == []
    assert store.files() == []


def test_path_may_be_a_link(make_store, tmp_path):
    (tmp_path / 'real').mkdir()
    (tmp_path / 'link').symlink_to('real')
    store = make_store(path=tmp_path / 'link')
    store.put('box', 'name')
    assert (tmp_path / 'real/box/name').read_bytes() == b'data'


def test_a_missing_path_is_made(make_store, tmp_path):
    store = make_store(path=tmp_path / 'a/b/c', directory_mode=0o750)
    assert store.driver.free_space() > 0
    assert list(store.driver.list_containers()) == []
    assert not (tmp_path / 'a').exists()
    store.driver.check_for_setup_error()
    assert stat.S_IMODE((tmp_path / 'a/b').stat().st_mode) == 0o750
    assert store.files() == []


def test_the_clock_is_that_of_the_file_system(store, monkeypatch):
    store.driver.check_for_setup_error()
    now = time.time()
    monkeypatch.setattr(time, 'time', lambda: 0.0)
    assert abs(store.driver.clock() - now) < 60
    assert store.files() == []


def test_asking_a_missing_store_for_its_time_makes_nothing(make_store, tmp_path):
    with pytest.raises(StoreError, match='cannot ask the time in .*No such file'):
        make_store(path=tmp_path / 'a').driver.clock()
    assert not (tmp_path / 'a').exists()


def test_options_are_offered():
    assert [option.name for option in LocalBackupDriver.OPTIONS] == [
        'path', 'durability', 'file_mode', 'directory_mode', 'group']
