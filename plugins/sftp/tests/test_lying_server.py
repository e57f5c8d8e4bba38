"""The sftp driver on a server that lies: either the right bytes, or an error; and it ends."""

from __future__ import annotations

from collections.abc import Callable
import os
import tracemalloc

from backup_framework_sftp.packets import Code, Kind, string, u32
import pytest

from backup_framework import exceptions
from backup_framework.drivers.tree import MARK
from backup_framework.testing import hooks
from backup_framework.testing.bench import Bench, pattern
from plugins.sftp.tests import lies, lying_server
from plugins.sftp.tests.conftest import MakeDriver
from plugins.sftp.tests.lies import Lie
from plugins.sftp.tests.lying_server import ANY, LyingServer
from tests.patience import soon

KIB, MIB = 1 << 10, 1 << 20
DATA = pattern(300 * KIB)
WRITES = 64
TIMEOUT, PATIENCE = 1.0, 30.0
"""What drivers wait where the server is silent, and elsewhere; a pause of the machine is shorter.

A verb may need it twice, once to tidy up.
"""


@pytest.fixture
def bench(liar: LyingServer, lied_to: MakeDriver) -> Bench:
    """With a container "box" in which is an object "old"."""
    bench = Bench(hooks.Hooks(), lied_to(timeout=PATIENCE))
    bench.container('box')
    bench.put('box', 'old', DATA)
    return bench


def files(liar: LyingServer) -> dict[str, bytes]:
    """All files of the container, temporary ones too."""
    top = liar.root / 'store' / 'box'
    return {str(path.relative_to(top)): path.read_bytes()
            for path in top.rglob('*') if path.is_file()}


def objects(liar: LyingServer) -> dict[str, bytes]:
    return {name: data for name, data in files(liar).items()
            if not name.rpartition('/')[2].startswith('.')}


def fails(liar: LyingServer, bench: Bench, *pieces: bytes, name: str = 'new'
          ) -> exceptions.StoreError:
    """Writing an object has to fail, in time."""
    before = liar.counts.copy()

    def put() -> exceptions.StoreError:
        liar.count_again()
        liar.counts = before.copy()
        with pytest.raises(exceptions.StoreError) as caught:
            bench.put('box', name, *pieces or (DATA,))
        return caught.value

    return soon(put, 4 * TIMEOUT)


# --- writing

FAILURES: dict[str, Lie] = {
    'not done': lies.fails(),
    'done, but the answer is a failure': lies.fails_late,
    'no message': lambda request, honest: lies.packet(
        Kind.STATUS, request.id + u32(Code.FAILURE)),
    'a code of a later version': lies.fails(14),
    'a code that nobody knows': lies.fails(9999),
    'an end of file': lies.fails(Code.EOF),
    'hung up': lies.hangs_up,
}


@pytest.mark.parametrize(('held', 'shuffled'), [(0, False), (1000, False), (1000, True)])
def test_each_write_that_fails_is_an_error(liar: LyingServer, lied_to: MakeDriver, held: int,
                                           shuffled: bool) -> None:
    """Also when its answer comes late, or among others that are in no order."""
    liar.extensions.pop(lying_server.LIMITS)  # so that a write is 32 KiB
    data = pattern(WRITES * 32 * KIB)
    for number in range(1, WRITES + 1):
        bench = Bench(hooks.Hooks(), lied_to(timeout=PATIENCE))
        liar.held, liar.shuffled = held, shuffled
        bench.container('box')
        liar.counts.clear()
        liar.lie('write', lies.fails(), number)
        fails(liar, bench, data)
        assert liar.counts['write'] >= number, 'the write that fails was never sent'
        assert files(liar) == {}, f'write {number} of {WRITES} failed'
        liar.be_honest()
        liar.extensions.pop(lying_server.LIMITS)


@pytest.mark.parametrize('how', FAILURES)
@pytest.mark.parametrize('what', ['open', 'write', 'fsync', 'close', 'posix-rename'])
def test_each_step_that_fails_is_an_error(liar: LyingServer, bench: Bench, what: str, how: str
                                          ) -> None:
    liar.lie(what, FAILURES[how], number=1)
    fails(liar, bench)
    left = objects(liar)
    assert left.pop('old') == DATA
    assert left in ({}, {'new': DATA}), 'a partial object'
    if left:
        assert what in ('posix-rename', 'fsync'), 'an object is visible before all is known'


@pytest.mark.parametrize('what', ['fstat', 'lstat', 'stat', 'fsetstat'])
def test_another_step_that_fails_leaves_no_wrong_object(liar: LyingServer, bench: Bench, what: str
                                                        ) -> None:
    liar.lie(what, lies.fails())
    try:
        bench.put('box', 'new', DATA)
    except exceptions.StoreError:
        assert 'new' not in objects(liar)
    assert objects(liar).get('new', DATA) == DATA


def test_a_last_write_that_is_acknowledged_but_not_done(liar: LyingServer, bench: Bench) -> None:
    liar.lie('write', lies.pretends, number=2)
    fails(liar, bench)
    assert set(files(liar)) == {'old'}


def test_a_container_that_cannot_be_made_durable(liar: LyingServer, bench: Bench) -> None:
    """Once it failed it goes on failing: the server may have forgotten what it could not write."""
    bench.driver.check_for_setup_error()
    bench.put('box', 'new', DATA)
    liar.lie('fsync', lies.fails(), number=1)
    for _ in range(2):
        with pytest.raises(exceptions.StoreError, match='durable'):
            bench.driver.sync('box')


@pytest.mark.parametrize('what', ['open', 'fsync'])
def test_a_server_that_syncs_no_directories(liar: LyingServer, lied_to: MakeDriver, what: str
                                            ) -> None:
    """That is no failure, but it is said."""
    liar.lie(what, lambda request, honest: (
        honest() if what == 'open' and b'.tmp-' in request.body
        or what == 'fsync' and liar.opened_file(request) else lies.status(
            request, Code.FAILURE)))
    driver = lied_to()
    driver.check_for_setup_error()
    bench = Bench(hooks.Hooks(), driver)
    bench.container('box')
    bench.put('box', 'new', DATA)
    driver.sync('box')
    assert 'no directories' in ' '.join(driver.remarks())


# --- reading

def raw(data: bytes) -> Lie:
    return lambda request, honest: data


READS: dict[str, Lie] = {
    'half of it': lies.gives(lambda data: data[:len(data) // 2]),
    'a byte': lies.gives(lambda data: data[:1]),
    'nothing': lies.gives(lambda data: b''),
    'more than was asked': lies.gives(lambda data: data * 2),
    'an end of file': lies.fails(Code.EOF),
    'a failure': lies.fails(),
    'an OK': lies.fails(Code.OK),
    'a name': lies.answers_as(Kind.NAME),
    'a handle': lies.answers_as(Kind.HANDLE),
    'a type that is none': lies.answers_as(250),
    'a length beyond the packet': lies.shows(u32(0xffffffff) + b'data', Kind.DATA),
    'a length before its end': lies.shows(u32(1) + b'data', Kind.DATA),
    'no body': lies.shows(b'', Kind.DATA),
    "another request's answer": lies.answers_another,
    'the answer twice': lies.answers_twice,
    'a packet of 4 GiB': lies.announces(0xffffffff),
    'a packet of 1 GiB': lies.announces(1 << 30),
    'a packet of nothing': raw(bytes(4)),
    'a packet of one byte': raw(b'\0\0\0\1\x67'),
    'babble': lies.babbles,
    'silence': lies.is_silent,
    'half an answer, then silence': lies.stops_within,
    'half an answer, then the end': lies.hangs_up_within,
    'the end': lies.hangs_up,
}
HARMLESS = ('half of it', 'a byte', 'the answer twice')
"""These may also be errors: whether they are depends on which answer it is."""


@pytest.mark.parametrize('number', [1, 2, None])
@pytest.mark.parametrize('how', READS)
def test_a_read_gives_right_bytes_or_an_error(liar: LyingServer, bench: Bench, how: str,
                                              number: int | None) -> None:
    """Number 2 is the last one; None is every one."""
    def read_fails() -> bool:
        liar.count_again()
        try:
            assert bench.contents('box', 'old') == DATA
            return False
        except exceptions.StoreError:
            return True

    liar.lie('read', READS[how], number)
    liar.set_timeout(TIMEOUT)
    assert soon(read_fails, 4 * TIMEOUT) or how in HARMLESS
    liar.be_honest()
    liar.set_timeout(PATIENCE)
    assert bench.contents('box', 'old') == DATA, 'the next verb meets what the last one left'


def test_a_read_shorter_than_the_file_is_an_outage(liar: LyingServer, bench: Bench) -> None:
    """So that the framework asks again (R5)."""
    liar.lie('read', lies.fails(Code.EOF))
    with pytest.raises(exceptions.StoreUnavailable):
        bench.contents('box', 'old')


@pytest.mark.parametrize('what', ['fstat', 'lstat'])
@pytest.mark.parametrize('wrong', [len(DATA) - 1, len(DATA) + 1, 0, 2 ** 64 - 1])
def test_a_size_that_is_not_the_file_s(liar: LyingServer, bench: Bench, what: str, wrong: int
                                       ) -> None:
    body = u32(5) + wrong.to_bytes(8, 'big') + u32(0o100600)
    liar.lie(what, lambda request, honest: (
        lies.packet(Kind.ATTRS, request.id + body)
        if request.name == 'fstat' or b'old' in request.body else honest()))
    with pytest.raises(exceptions.StoreUnavailable):
        bench.contents('box', 'old')


@pytest.mark.parametrize('wrong', [len(DATA) + 1, 2 ** 64 - 1])
def test_a_size_that_no_read_confirms(liar: LyingServer, bench: Bench, wrong: int) -> None:
    """Nor does one that is too large make room for so much."""
    body = u32(5) + wrong.to_bytes(8, 'big') + u32(0o100600)
    for what in ('fstat', 'lstat'):
        liar.lie(what, lambda request, honest: (
            lies.packet(Kind.ATTRS, request.id + body)
            if request.name == 'fstat' or b'old' in request.body else honest()))
    with pytest.raises(exceptions.StoreUnavailable):
        bench.contents('box', 'old')


# --- listing

LISTINGS: dict[str, Lie] = {
    'a name with a slash': lies.shows(
        u32(1) + string(b'../../etc/passwd') + string(b'') + u32(0), Kind.NAME),
    'no name': lies.shows(u32(1) + string(b'') + string(b'') + u32(0), Kind.NAME),
    'an empty page': lies.shows(u32(0), Kind.NAME),
    'a count that is too large': lies.shows(u32(0xffffffff), Kind.NAME),
    'a page that ends too early': lies.shows(u32(2) + string(b'a'), Kind.NAME),
    'a failure': lies.fails(),
    'babble': lies.babbles,
    'silence': lies.is_silent,
    'the end': lies.hangs_up,
}


@pytest.mark.parametrize('how', LISTINGS)
def test_a_listing_is_right_or_an_error(liar: LyingServer, bench: Bench, how: str) -> None:
    def list_box() -> None:
        with pytest.raises(exceptions.StoreError):
            assert list(bench.driver.get_container_entries('box', '')) != ['old']

    liar.lie('readdir', LISTINGS[how])
    liar.set_timeout(TIMEOUT)
    soon(list_box, 4 * TIMEOUT)


def test_a_directory_that_holds_itself(liar: LyingServer, bench: Bench) -> None:
    """A listing of directories below directories without end has one."""
    entry = string(b'sub' * 50) + string(b'') + u32(4) + u32(0o040700)
    listed: set[bytes] = set()

    def once(request: lies.Request, honest: lies.Honest) -> bytes:
        if request.body in listed:
            return lies.status(request, Code.EOF)
        listed.add(request.body)
        return lies.packet(Kind.NAME, request.id + u32(1) + entry)

    liar.lie('readdir', once)
    liar.lie('lstat', lambda request, honest: (
        honest() if MARK in request.body else lies.packet(
            Kind.ATTRS, request.id + u32(4) + u32(0o040700))))
    liar.lie('opendir', lambda request, honest: lies.packet(
        Kind.HANDLE, request.id + string(b'%d' % liar.counts['opendir'])))
    with pytest.raises(exceptions.StoreError):
        list(bench.driver.get_container_entries('box', ''))


# --- making directories

@pytest.mark.parametrize('code', [Code.FAILURE, Code.FILE_ALREADY_EXISTS])
def test_a_directory_that_was_there_until_a_deletion(liar: LyingServer, bench: Bench, code: Code
                                                     ) -> None:
    for number in (1, 2):
        liar.lie('mkdir', lies.fails(code), number=number)
    bench.put('box', 'sub/new', DATA)
    assert objects(liar) == {'old': DATA, 'sub/new': DATA}


def test_a_directory_that_cannot_be_made(liar: LyingServer, bench: Bench) -> None:
    liar.lie('mkdir', lies.fails())
    fails(liar, bench, name='sub/new')
    assert liar.counts['mkdir'] < 20


# --- any packet

ENDINGS: dict[str, Lie] = {
    'before it is done': lies.hangs_up,
    'when it is done': lies.hangs_up_late,
    'within the answer': lies.hangs_up_within,
}


@pytest.mark.parametrize('how', ENDINGS)
@pytest.mark.parametrize('extensions', [True, False], ids=['with extensions', 'without'])
def test_a_connection_that_ends_at_any_packet(liar: LyingServer, lied_to: MakeDriver, how: str,
                                              extensions: bool) -> None:
    """Writing, reading, listing and deleting: each packet of the whole once."""
    number = 0
    while True:
        number += 1
        liar.be_honest()
        if not extensions:
            liar.extensions.clear()
        liar.counts.clear()
        bench = Bench(hooks.Hooks(), lied_to(timeout=PATIENCE))
        liar.lie(ANY, ENDINGS[how], number)
        try:
            bench.container('box')
            bench.put('box', f'n{number}', DATA)
            assert bench.contents('box', f'n{number}') == DATA
            assert f'n{number}' in bench.names('box')
            bench.driver.delete_object('box', f'n{number}')
        except exceptions.StoreError as error:
            assert isinstance(error, exceptions.StoreUnavailable), error
        bench.driver.close()
        assert all(data == DATA for data in objects(liar).values()), f'packet {number}'
        if liar.counts.total() < number:
            break
    assert number > 15


@pytest.mark.parametrize('how', ['a packet of 4 GiB', 'babble', 'silence', 'a packet of nothing',
                                 "another request's answer", 'the end'])
@pytest.mark.parametrize('what', ['init', 'limits'])
def test_a_greeting_that_is_none(liar: LyingServer, lied_to: MakeDriver, what: str, how: str
                                 ) -> None:
    def greet() -> None:
        with pytest.raises(exceptions.StoreError):
            driver.check_for_setup_error()

    liar.lie(what, READS[how])
    driver = lied_to(timeout=TIMEOUT)
    soon(greet, 4 * TIMEOUT)


@pytest.mark.parametrize('how', ['a packet of 4 GiB', 'a packet of 1 GiB', 'babble',
                                 'a length beyond the packet'])
def test_lengths_are_not_believed(liar: LyingServer, bench: Bench, how: str) -> None:
    liar.lie('read', READS[how])
    liar.set_timeout(TIMEOUT)
    tracemalloc.start()
    try:
        with pytest.raises(exceptions.StoreError):
            bench.contents('box', 'old')
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()


# --- what a server may lack

LACKS = {'posix-rename': lying_server.POSIX_RENAME, 'fsync': lying_server.FSYNC,
         'statvfs': lying_server.STATVFS, 'limits': lying_server.LIMITS}


@pytest.mark.parametrize('what', [*LACKS, 'all'])
def test_what_a_server_lacks_is_declared_and_said(liar: LyingServer, lied_to: MakeDriver, what: str
                                                  ) -> None:
    for name in LACKS if what == 'all' else [what]:
        del liar.extensions[LACKS[name]]
    driver = lied_to()
    driver.check_for_setup_error()
    can, said = driver.capabilities(), ' '.join(driver.remarks())
    assert can.atomic_replace == (what not in ('posix-rename', 'all'))
    assert can.durable == (what not in ('fsync', 'all'))
    assert can.reports_free_space == (what not in ('statvfs', 'all'))
    for name, declared in {'posix-rename': can.atomic_replace, 'fsync': can.durable,
                           'statvfs': can.reports_free_space}.items():
        assert (f'{name}@openssh.com' in said) == (not declared), said


def test_a_version_of_an_extension_that_nobody_knows(liar: LyingServer, lied_to: MakeDriver
                                                     ) -> None:
    liar.extensions = dict.fromkeys(lying_server.EXTENSIONS, b'77')
    can = lied_to().capabilities()
    assert (can.durable, can.reports_free_space) == (False, False)


FULL: dict[str, Callable[[], bytes]] = {
    'no blocks': lambda: lies.space(0, 4096),
    'fewer than are wanted': lambda: lies.space(1, 4096),
    'no inodes': lambda: lies.space(10 ** 6, 4096, free_files=0),
}


@pytest.mark.parametrize('how', FULL)
@pytest.mark.parametrize('what', ['write', 'close', 'fsync', 'open', 'posix-rename'])
def test_a_plain_failure_of_a_full_disk_is_told_as_such(liar: LyingServer, bench: Bench, what: str,
                                                        how: str) -> None:
    if what in ('open', 'posix-rename') and how == 'fewer than are wanted':
        pytest.skip('a name needs no more than a block')
    if what in ('write', 'close', 'fsync') and how == 'no inodes':
        pytest.skip('the file has its inode')
    liar.lie('statvfs', lies.shows(FULL[how](), Kind.EXTENDED_REPLY))
    liar.lie(what, lies.fails(), number=1)
    error = fails(liar, bench)
    assert isinstance(error, exceptions.StoreFull), error
    assert ('no inodes' if how == 'no inodes' else 'no space') in str(error)
    assert 'new' not in objects(liar)


def test_a_full_disk_is_told_before_the_store_is_there(liar: LyingServer, lied_to: MakeDriver
                                                       ) -> None:
    def full(request: lies.Request, honest: lies.Honest) -> bytes:
        return lies.shows(lies.space(0, 4096), Kind.EXTENDED_REPLY)(request, honest) if (
            honest()[4] == Kind.EXTENDED_REPLY) else honest()

    liar.lie('statvfs', full)
    liar.lie('mkdir', lies.fails())
    with pytest.raises(exceptions.StoreFull, match='no space'):
        lied_to(path='/above/store').put_container('box')


@pytest.mark.parametrize(('code', 'sentence'), [
    (Code.NO_SPACE_ON_FILESYSTEM, 'no space'), (Code.QUOTA_EXCEEDED, 'quota')])
def test_codes_of_later_versions_for_a_full_disk(liar: LyingServer, bench: Bench, code: Code,
                                                 sentence: str) -> None:
    liar.lie('write', lies.fails(code), number=1)
    error = fails(liar, bench)
    assert isinstance(error, exceptions.StoreFull), error
    assert sentence in str(error)


def test_a_failure_on_a_disk_with_room_is_not_called_full(liar: LyingServer, bench: Bench) -> None:
    liar.lie('write', lies.fails(), number=1)
    assert not isinstance(fails(liar, bench), exceptions.StoreFull)


# --- nothing is left there

def test_no_handle_stays_open(liar: LyingServer, bench: Bench) -> None:
    for what in ('write', 'fsync', 'posix-rename', 'fsetstat', 'read', 'fstat', 'readdir'):
        liar.lie(what, lies.fails(), number=1)
        for verb in (lambda: bench.put('box', 'new', DATA), lambda: bench.contents('box', 'old'),
                     lambda: bench.names('box')):
            try:
                verb()
            except exceptions.StoreError:
                pass
        liar.be_honest()
    assert bench.contents('box', 'old') == DATA
    assert liar.open_handles == 0
    assert set(files(liar)) <= {'old', 'new'}, 'a temporary file is left'


@pytest.mark.parametrize(('what', 'how', 'number'), [
    ('write', lies.hangs_up, 2), ('open', lies.hangs_up_late, 1)])
def test_what_a_lost_connection_left_is_removed_over_another(
        liar: LyingServer, bench: Bench, what: str, how: Lie, number: int) -> None:
    liar.lie(what, how, number=number)
    fails(liar, bench)
    assert set(files(liar)) == {'old'}


def test_what_a_lost_connection_left_is_removed_later(liar: LyingServer, bench: Bench) -> None:
    liar.lie('write', lies.hangs_up, number=2)
    liar.lie('init', lies.hangs_up)
    fails(liar, bench)
    liar.be_honest()
    left = set(files(liar)) - {'old'}
    assert left and all(name.startswith('.') for name in left)
    for name in left:
        path = liar.root / 'store' / 'box' / name
        os.utime(path, (0, 0))
    assert bench.driver.remove_temporary(3600) == len(left)
    assert set(files(liar)) == {'old'}
