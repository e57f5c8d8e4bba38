"""The driver on OpenSSH's SFTP server, reached without SSH: layout, failures, what is promised."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import time
from typing import Any

from backup_framework_sftp import layout, refusals
from backup_framework_sftp.packets import Code, Space
from backup_framework_sftp.protocol import StatusError
import pytest

from backup_framework import exceptions
from backup_framework.drivers import local
from plugins.sftp.tests.unit import sftp_server

KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture(scope='module', autouse=True)
def server(require_part: Any) -> None:
    if not os.path.exists(sftp_server.PROGRAM):
        require_part('sshd', f'no {sftp_server.PROGRAM}')


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / 'above' / 'store'


@pytest.fixture
def make(store: Path) -> Iterator[Any]:
    """Makes drivers on the store; arguments are options of sftp-server."""
    with contextlib.ExitStack() as stack:
        def make(*options: str, **values: Any) -> sftp_server.DirectDriver:
            driver = sftp_server.make_driver(values.pop('path', store), *options, **values)
            stack.callback(driver.close)
            return driver
        yield make


def put(driver: Any, container: str, name: str, *pieces: bytes) -> None:
    with driver.get_object_writer(container, name) as writer:
        for piece in pieces:
            writer.write(piece)


def get(driver: Any, container: str, name: str) -> bytes:
    with driver.get_object_reader(container, name) as reader:
        return reader.read()


def files(store: Path) -> list[str]:
    return sorted(str(path.relative_to(store)) for path in store.rglob('*') if path.is_file())


# --- one store, two drivers

def fill(driver: Any) -> None:
    for container in ('top', 'top/nested', 'ab/cd/abcd-1', 'ab/cd/abcd-2', 'odd ö/x'):
        driver.put_container(container)
        for name in ('name', 'volume_1-00001', 'sub/deep/name'):
            put(driver, container, name, container.encode(), name.encode())


def seen(driver: Any) -> dict[str, list[str]]:
    return {container: sorted(driver.get_container_entries(container, ''))
            for container in driver.list_containers()}


def tree(store: Path) -> list[tuple[str, int]]:
    return sorted((str(path.relative_to(store)), path.stat().st_mode) for path in store.rglob('*'))


def test_the_layout_is_that_of_the_local_driver(make, store, tmp_path):
    ours = make()
    theirs = local.LocalBackupDriver.make(path=str(tmp_path / 'local'))
    fill(ours)
    fill(theirs)
    assert tree(store) == tree(tmp_path / 'local')
    on_server = local.LocalBackupDriver.make(path=str(store))
    assert seen(ours) == seen(theirs) == seen(on_server)
    ours.delete_object('top', 'sub/deep/name')
    ours.delete_objects('top/nested', ['name', 'volume_1-00001', 'sub/deep/name', 'missing'])
    for name in ('name', 'volume_1-00001', 'sub/deep/name'):
        theirs.delete_object('top/nested', name)
    theirs.delete_object('top', 'sub/deep/name')
    assert tree(store) == tree(tmp_path / 'local')


def test_an_object_cannot_be_in_another_container(make):
    driver = make()
    driver.put_container('a')
    driver.put_container('a/b')
    with pytest.raises(exceptions.StoreError, match='container of its own'):
        put(driver, 'a', 'b/name')
    put(driver, 'a/b', 'name')
    with pytest.raises(exceptions.ObjectNotFound):
        get(driver, 'a', 'b/name')


def test_a_file_in_the_place_of_a_directory(make):
    driver = make()
    put(driver, 'box', 'name', b'data')
    for doing in (lambda: put(driver, 'box', 'name/sub'),
                  lambda: driver.put_container('box/name')):
        with pytest.raises(exceptions.StoreError, match='a file has this name'):
            doing()
    (Path(driver.settings.path) / 'box' / 'dir').mkdir()
    with pytest.raises(exceptions.StoreError, match='is a directory'):
        put(driver, 'box', 'dir')
    with pytest.raises(exceptions.ObjectNotFound):
        get(driver, 'box', 'dir')
    assert files(Path(driver.settings.path)) == ['box/name']


def test_links_are_not_followed(make, store, tmp_path):
    driver = make()
    put(driver, 'box', 'name', b'data')
    (tmp_path / 'secret').write_bytes(b'secret')
    (store / 'box' / 'link').symlink_to(tmp_path / 'secret')
    (store / 'elsewhere').symlink_to(tmp_path)
    (store / 'box' / 'sub').symlink_to(tmp_path)
    for doing in (lambda: get(driver, 'box', 'link'), lambda: get(driver, 'elsewhere', 'secret'),
                  lambda: get(driver, 'box', 'sub/secret'), lambda: put(driver, 'elsewhere', 'x'),
                  lambda: put(driver, 'box', 'sub/x'), lambda: driver.put_container('elsewhere'),
                  lambda: driver.delete_object('elsewhere', 'secret'),
                  lambda: list(driver.get_container_entries('elsewhere', ''))):
        with pytest.raises(exceptions.PermissionDenied, match='links in a store are not followed'):
            doing()
    assert sorted(driver.get_container_entries('box', '')) == ['name']
    assert driver.list_containers() == ['box']
    assert sorted(os.listdir(tmp_path)) == ['above', 'secret']


def test_names_that_are_not_utf8_are_not_ours(make, store):
    driver = make()
    put(driver, 'box', 'name', b'data')
    (store / 'box' / os.fsdecode(b'\xff')).touch()
    assert list(driver.get_container_entries('box', '')) == ['name']


@pytest.mark.parametrize('umask', ['000', '077'])
def test_permissions_are_those_asked_for(make, store, umask):
    driver = make('-u', umask, file_mode=0o640, directory_mode=0o750)
    put(driver, 'box/sub', 'name', b'data')
    driver.put_container('box/sub')
    modes = {str(path.relative_to(store)): path.stat().st_mode & 0o777
             for path in (store, *store.rglob('*'))}
    assert modes == {'.': 0o750, 'box': 0o750, 'box/sub': 0o750, 'box/sub/name': 0o640,
                     'box/sub/.container': 0o640}


@pytest.mark.parametrize('file_mode', [0o600, 0o640])
def test_a_server_that_sets_no_permissions_is_told_of(make, store, file_mode):
    driver = make('-P', 'fsetstat,setstat', '-u', '077', file_mode=file_mode, directory_mode=(
        0o750 if file_mode == 0o640 else 0o700))
    driver.check_for_setup_error()
    put(driver, 'box/sub', 'name', b'data')
    assert get(driver, 'box/sub', 'name') == b'data'
    told = [remark for remark in driver.remarks() if 'does not keep permissions' in remark]
    assert bool(told) == (file_mode == 0o640)


def test_a_directory_that_a_deletion_took_is_made_again(make, store):
    driver, other = make(), make()
    driver.put_container('box/sub')
    put(other, 'box/sub', 'name', b'data')
    other.delete_object('box/sub', 'name')
    assert not (store / 'box').exists()
    put(driver, 'box/sub', 'name', b'data')
    assert get(other, 'box/sub', 'name') == b'data'


def test_a_relative_path_begins_where_logins_begin(make, store):
    driver = make('-d', str(store.parent), path='backups')
    store.parent.mkdir()
    driver.check_for_setup_error()
    put(driver, 'box', 'name', b'data')
    assert (store.parent / 'backups' / 'box' / 'name').read_bytes() == b'data'
    assert driver.free_space() > 0


def test_names_that_take_too_much_memory_are_an_error(make, monkeypatch):
    driver = make()
    for name in ('short', 'long' * 50):
        put(driver, 'box', name, b'data')
    monkeypatch.setattr(layout, 'LARGEST_DIRECTORY', 4 * layout.NAME_OVERHEAD + 220)
    assert len(list(driver.get_container_entries('box', ''))) == 2
    monkeypatch.setattr(layout, 'LARGEST_DIRECTORY', 4 * layout.NAME_OVERHEAD + 200)
    with pytest.raises(exceptions.StoreError, match='/box need more than 456 bytes of memory'):
        list(driver.get_container_entries('box', ''))


def test_an_object_that_stays_keeps_no_other(make, store, tmp_path):
    driver = make()
    names = ['a', 'b', 'c', 'sub/a', 'sub/b']
    for name in names:
        put(driver, 'box', name, b'data')
    for name in ('box/b', 'box/sub/a'):
        (store / name).unlink()
        (store / name).symlink_to(tmp_path)
    with pytest.raises(exceptions.PermissionDenied, match='box/b is not a regular file'):
        driver.delete_objects('box', [*names, 'missing/name'])
    assert [str(path.relative_to(store)) for path in sorted(store.rglob('*'))] == [
        'box', 'box/b', 'box/sub', 'box/sub/a']


# --- what is promised

def test_all_extensions(make):
    driver = make()
    driver.check_for_setup_error()
    can = driver.capabilities()
    assert (can.durable, can.atomic_replace, can.reports_free_space) == (True, True, True)
    assert not [remark for remark in driver.remarks() if 'does not' in remark]


def test_no_extensions(make, store):
    driver = make('-P', 'posix-rename,fsync,statvfs,limits')
    driver.check_for_setup_error()
    assert files(store) == []
    can = driver.capabilities()
    assert (can.durable, can.atomic_replace, can.reports_free_space) == (False, False, False)
    remarks = list(driver.remarks())
    for name in ('posix-rename', 'fsync', 'statvfs', 'limits'):
        assert [r for r in remarks if f'does not offer {name}@openssh.com' in r], name
    with pytest.raises(exceptions.NotSupported):
        driver.free_space()


def test_the_clock_is_that_of_the_server(make, store):
    driver = make()
    driver.check_for_setup_error()
    assert time.time() - 2 < driver.clock() <= time.time() + 1
    assert files(store) == []


def test_free_space_before_the_store_is_there(make, store):
    free = os.statvfs(store.parents[1])
    assert abs(make().free_space() - free.f_bavail * free.f_frsize) < 1 << 30


def test_old_temporary_files_are_removed(make, store):
    driver = make()
    put(driver, 'box', 'sub/name', b'data')
    old, young = (store / 'box' / 'sub' / f'.tmp-{letter * 32}' for letter in 'ab')
    for path in (old, young, store / 'box' / '.tmp-other'):
        path.touch()
    os.utime(old, (0, time.time() - 3600))
    assert driver.remove_temporary(60) == 1
    assert driver.remove_temporary(0) == 1
    assert files(store) == ['box/.tmp-other', 'box/sub/name']


def test_clearing_takes_one_session_at_a_time(make, store, monkeypatch):
    driver = make()
    put(driver, 'box', 'sub/name', b'data')
    driver.close()
    lent = []
    lend = driver._pool.lend

    @contextlib.contextmanager
    def watched():
        with lend() as session:
            lent.append(session)
            assert len(lent) == 1
            yield session
            lent.remove(session)

    monkeypatch.setattr(driver._pool, 'lend', watched)
    (store / 'box' / 'sub' / f'.tmp-{"a" * 32}').touch()
    assert driver.remove_temporary(0) == 1
    assert make(path=store.parent / 'missing').remove_temporary(0) == 0


def test_sync_reaches_the_directories(make, monkeypatch):
    driver = make()
    put(driver, 'a/b', 'sub/name', b'data')
    synced = watch_fsync(monkeypatch)
    driver.sync('a/b')
    root = os.fsencode(driver.settings.path)
    assert synced == [root + b'/a/b/sub', root + b'/a/b', root + b'/a', root]
    driver.sync('a/b')
    assert len(synced) == 4


def test_all_directories_are_synced_side_by_side(make, monkeypatch):
    driver = make()
    for name in 'abcd':
        put(driver, 'box/sub', f'{name}/name', b'data')
    with driver._pool.lend() as session:
        stream, sent = session._stream, []
    send = stream.sendall
    stream.sendall = lambda data: sent.append(bytes(data)) or send(data)
    driver.sync('box/sub')
    assert len(sent) == 3, 'opened, synced, closed'
    assert b''.join(sent).count(b'fsync@openssh.com') == 7


def test_an_idle_session_keeps_no_memory(make):
    driver = make()
    put(driver, 'box', 'name', bytes(8 * MIB))
    with driver.get_object_reader('box', 'name') as reader:
        reader.read(4 * MIB)
        session = reader._session
        assert session._spare
    assert not session._spare


def test_a_container_that_could_not_be_synced_goes_on_failing(make, monkeypatch):
    driver = make()
    driver.check_for_setup_error()
    put(driver, 'box', 'name', b'data')
    with monkeypatch.context() as patch:
        watch_fsync(patch, StatusError(Code.FAILURE, 'I/O error'))
        with pytest.raises(exceptions.StoreError, match='may be lost'):
            driver.sync('box')
    with pytest.raises(exceptions.StoreError, match='may be lost'):
        driver.sync('box')
    driver.close()
    driver.sync('box')


def test_a_server_that_syncs_files_only_is_told_of(make, monkeypatch):
    driver = make()
    watch_fsync(monkeypatch, StatusError(Code.FAILURE))
    put(driver, 'box', 'name', b'data')
    driver.sync('box')
    for each in (driver, make()):
        assert not each.capabilities().durable
        assert [remark for remark in each.remarks() if 'syncs files but no directories' in remark]


def watch_fsync(monkeypatch: pytest.MonkeyPatch, error: StatusError | None = None) -> list[bytes]:
    """The paths of directories that are synced; `error` comes instead."""
    synced = []

    def fsync(_: object, *paths: bytes) -> int:
        synced.extend(paths)
        if error is not None:
            raise error
        return len(paths)

    monkeypatch.setattr('backup_framework_sftp.durability.fsync', fsync)
    return synced


@pytest.mark.parametrize('lacking', [(), ('-P', 'posix-rename')])
def test_an_object_is_replaced(make, store, lacking):
    driver = make(*lacking)
    for data in (b'one', b'another'):
        put(driver, 'box', 'name', data)
        assert get(driver, 'box', 'name') == data
    assert files(store) == ['box/name']


# --- failures

def test_a_read_only_server(make):
    put(make(), 'box', 'name', b'data')
    driver = make('-R')
    assert get(driver, 'box', 'name') == b'data'
    for doing in (lambda: put(driver, 'box', 'other'), lambda: driver.put_container('new'),
                  lambda: driver.delete_object('box', 'name'), driver.check_for_setup_error):
        with pytest.raises(exceptions.PermissionDenied, match='Permission denied'):
            doing()


@pytest.mark.parametrize('path, sentence', [
    ('file/store', r'/file is not a directory; correct path'),
    ('file/above/store', r'/file is not a directory; correct path'),
    ('file', r'/file is not a directory; correct path'),
    ('link', r'/link is a symbolic link to what is not there; correct path'),
    ('link/store', r'/link is a symbolic link to what is not there; correct path'),
    ('/proc/store', r'/proc/store cannot be made .*; correct path'),
])
def test_a_path_at_which_nothing_can_be_made(make, tmp_path, path, sentence):
    (tmp_path / 'file').touch()
    (tmp_path / 'link').symlink_to('nothing')
    driver = make(path=tmp_path / path)
    for verb in (driver.check_for_setup_error, lambda: driver.put_container('box'),
                 lambda: put(driver, 'box', 'name')):
        with pytest.raises(exceptions.StoreError, match=sentence) as caught:
            verb()
        assert not caught.value.retryable


@pytest.mark.parametrize('denied', ['write', 'fstat', 'close', 'posix-rename'])
def test_a_writer_that_is_refused_leaves_nothing(make, store, denied):
    """A close that is refused leaves the file open on the server, and posix-rename is no more."""
    driver = make('-P', denied)
    if denied == 'posix-rename':
        put(driver, 'box', 'name', b'data')
        assert files(store) == ['box/name']
        return
    with pytest.raises(exceptions.PermissionDenied) as caught:
        put(driver, 'box', 'name', bytes(MIB))
    assert (caught.value.container, caught.value.name) == ('box', 'name')
    assert files(store) == []


def test_a_lost_connection_is_replaced_and_the_temporary_file_removed(make, store):
    driver = make()
    put(driver, 'box', 'before', b'data')
    with pytest.raises(exceptions.StoreUnavailable, match='connection was lost'):
        with driver.get_object_writer('box', 'name') as writer:
            writer.write(bytes(MIB))
            assert len(files(store)) == 2
            writer._session._stream.process.kill()
            writer._session._stream.process.wait()
            for _ in range(9):
                writer.write(bytes(MIB))
    assert files(store) == ['box/before']
    put(driver, 'box', 'name', b'data')


@pytest.mark.parametrize('verb', ['put', 'sync'])
def test_an_interrupt_is_not_taken_for_a_lost_connection(make, monkeypatch, verb):
    driver = make()
    put(driver, 'box', 'name', b'data')
    with driver._pool.lend() as session:
        usual = session._stream.recv_into
    asked = []

    def interrupt(buffer):
        if not session._unsent and asked:
            raise KeyboardInterrupt
        return usual(buffer)

    fsync = session.fsync
    session._stream.recv_into = interrupt
    monkeypatch.setattr(session, 'fsync', lambda handle: asked.append(handle) or fsync(handle))
    with pytest.raises(KeyboardInterrupt):
        put(driver, 'box', 'other', b'data') if verb == 'put' else driver.sync('box')
    assert files(Path(driver.settings.path)) == ['box/name']


def test_a_session_is_not_read_from_when_its_reader_is_closed(make):
    driver = make()
    put(driver, 'box', 'name', b'data')
    with driver.get_object_reader('box', 'name') as reader:
        pass
    with driver.get_object_reader('box', 'name') as other:
        for doing in (reader.read, lambda: reader.seek(1)):
            with pytest.raises(exceptions.StoreError, match='is not open any more'):
                doing()
        assert other.read() == b'data'


def test_a_reader_that_is_left_early_leaves_a_clean_session(make):
    driver = make()
    put(driver, 'box', 'name', *[os.urandom(MIB)] * 9)
    with driver.get_object_reader('box', 'name') as reader:
        session = reader._session
        reader.read(100)
        reader.read(MIB)
    assert session.is_usable()
    with driver.get_object_reader('box', 'name') as reader:
        assert reader._session is session


@pytest.mark.parametrize('lacking', [(), ('-P', 'posix-rename')])
def test_the_errors_of_others_pass_untouched(make, store, lacking):
    driver = make(*lacking)
    error = exceptions.ObjectNotFound('of another store')
    with pytest.raises(exceptions.ObjectNotFound) as caught:
        with driver.get_object_writer('box', 'name') as writer:
            writer.write(b'data')
            raise error
    assert caught.value is error and error.container is None and error.name is None
    assert files(store) == []


@pytest.mark.parametrize('space, kind, words', [
    (None, exceptions.StoreError, 'quota used up'),
    (Space(1 << 40, 10, 5, False), exceptions.StoreError, 'quota may be used'),
    (Space(1 << 40, 0, 0, False), exceptions.StoreError, 'quota may be used'),
    (Space(MIB, 10, 5, False), exceptions.StoreFull, 'no space: 1048576 bytes'),
    (Space(50 * MIB, 10, 5, False), exceptions.StoreFull, 'no space'),
    (Space(1 << 40, 10, 0, False), exceptions.StoreFull, 'no inodes'),
    (Space(0, 10, 0, True), exceptions.PermissionDenied, 'read-only'),
])
def test_a_plain_failure_to_store_is_looked_into(space, kind, words):
    got, advice = refusals._judge_failure(space, 60 * MIB)
    assert got is kind and words in advice


@pytest.mark.parametrize('code, kind', [
    (Code.NO_SUCH_FILE, exceptions.ObjectNotFound), (Code.NO_SUCH_PATH, exceptions.ObjectNotFound),
    (Code.PERMISSION_DENIED, exceptions.PermissionDenied), (Code.FAILURE, exceptions.StoreError),
    (Code.OP_UNSUPPORTED, exceptions.NotSupported), (Code.QUOTA_EXCEEDED, exceptions.StoreFull),
    (Code.CONNECTION_LOST, exceptions.StoreUnavailable)])
def test_each_code_has_its_error(make, code, kind):
    deed = refusals.Deed('read', 'box', 'name')
    error = refusals.store_error(StatusError(code, 'because'), deed, make()._layout, None)
    assert type(error) is kind
    assert 'cannot read name of container box in ' in str(error) and 'because' in str(error)
