"""The sftp driver on OpenSSH's server: who is let in, and what can happen to disk and network."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import io
import os
from pathlib import Path
import threading
import time
from typing import Any
import uuid

from backup_framework_sftp.protocol import Session
import pytest

from backup_framework import exceptions
from backup_framework.drivers import local
from backup_framework.testing import backup_cases, hooks
from backup_framework.testing.bench import Bench, pattern
from plugins.sftp.tests import servers
from plugins.sftp.tests.conftest import TRANSPORTS, MakeBench
from tests.functional import command_line
from tests.patience import soon
from tools.servers import proxy, sshd

KIB, MIB = 1 << 10, 1 << 20
DATA = pattern(600 * KIB)

each_transport = pytest.mark.parametrize('transport', TRANSPORTS)


def round_trip(bench: Bench) -> None:
    box = bench.container()
    bench.put(box, 'name', DATA)
    assert bench.contents(box, 'name') == DATA
    bench.driver.delete_object(box, 'name')


def anew(server: sshd.Server) -> str:
    """A store's path that nothing is in yet."""
    return f'{server.path}/{uuid.uuid4().hex}'


def hidden(root: Path) -> list[str]:
    """Files that are no objects."""
    return [str(file) for file in root.rglob('.*') if file.is_file()]


# --- who is let in

LOGINS: dict[str, dict[str, Any]] = {
    'ed25519 key': {'key': 'ed25519'},
    'RSA key': {'key': 'rsa'},
    'key with a passphrase': {'key': 'locked', 'private_key_passphrase': sshd.PASSPHRASE},
    'password': {'private_key': None, 'password': sshd.PASSWORD},
    'a key that is refused, then the password': {'key': 'stranger', 'password': sshd.PASSWORD},
}
NOT_FOR_SSH = ('key with a passphrase', 'password', 'a key that is refused, then the password')


@pytest.mark.parametrize('transport', ['auto', 'paramiko'])
@pytest.mark.parametrize('how', LOGINS)
def test_is_let_in(jail: sshd.Server, make_bench: MakeBench, how: str, transport: str) -> None:
    round_trip(make_bench(**jail.options(**LOGINS[how], transport=transport)))


@pytest.mark.parametrize('how', [how for how in LOGINS if how not in NOT_FOR_SSH])
def test_is_let_in_by_ssh(jail: sshd.Server, make_bench: MakeBench, how: str) -> None:
    round_trip(make_bench(**jail.options(**LOGINS[how], transport='openssh')))


@pytest.mark.parametrize('how', NOT_FOR_SSH)
def test_ssh_alone_cannot_log_in_so(jail: sshd.Server, make_bench: MakeBench, how: str) -> None:
    bench = make_bench(**jail.options(**LOGINS[how], transport='openssh'))
    with pytest.raises(exceptions.StoreError, match='choose auto or paramiko'):
        bench.driver.check_for_setup_error()


STRANGERS: dict[str, dict[str, Any]] = {
    'another key': {'key': 'stranger'},
    'a wrong password': {'private_key': None, 'password': 'no-such-password'},
    'a wrong passphrase': {'key': 'locked', 'private_key_passphrase': 'no-such-passphrase'},
    'a passphrase not given': {'key': 'locked'},
    'an unknown account': {'username': 'nobody-of-this-name'},
    'nothing': {'private_key': None},
}


@pytest.mark.parametrize('transport', ['auto', 'paramiko'])
@pytest.mark.parametrize('how', STRANGERS)
def test_is_not_let_in(jail: sshd.Server, make_bench: MakeBench, how: str, transport: str) -> None:
    bench = make_bench(**jail.options(**STRANGERS[how], transport=transport))
    with pytest.raises(exceptions.PermissionDenied) as caught:
        bench.driver.check_for_setup_error()
    assert 'no-such-pass' not in str(caught.value)


def known(server: sshd.Server, what: str) -> str:
    """The text of a known_hosts file in which the server is not as it should be."""
    other = server.keys['stranger'].with_suffix('.pub').read_text()
    good = server.known_hosts.read_text()
    place = good.split()[0]
    return {'changed': f'{place} {other}',
            'unknown': f'other.example.org {other}',
            'empty': '',
            'revoked': ''.join(f'@revoked {line}\n{line}\n' for line in good.splitlines())}[what]


@each_transport
@pytest.mark.parametrize(('what', 'sentence'), [
    ('changed', 'another key'), ('unknown', 'sftp host-key'), ('empty', 'sftp host-key'),
    ('revoked', 'revoked')])
def test_a_host_that_is_not_known_learns_nothing_of_us(
        jail: sshd.Server, make_bench: MakeBench, tmp_path: Path, transport: str, what: str,
        sentence: str) -> None:
    (tmp_path / 'known').write_text(known(jail, what))
    before = len(jail.log())
    bench = make_bench(**jail.options(known_hosts=str(tmp_path / 'known'), transport=transport))
    with pytest.raises(exceptions.PermissionDenied, match=sentence):
        bench.driver.check_for_setup_error()
    said = jail.log()[before:]
    assert 'Accepted' not in said and 'Failed' not in said, said


# --- what can happen to the disk

@each_transport
@pytest.mark.parametrize('left', [0, 500 * KIB, 3 * MIB])
def test_a_full_disk_is_told(jail: sshd.Server, make_bench: MakeBench, transport: str, left: int
                             ) -> None:
    bench = make_bench(**jail.options(transport=transport))
    box, data = bench.container(), pattern(5 * MIB)
    with servers.filled(jail.root, but=left):
        with pytest.raises(exceptions.StoreFull, match='no space'):
            bench.put(box, 'name', *(data[at:at + MIB] for at in range(0, len(data), MIB)))
        assert bench.names(box) == []
        assert not hidden(jail.root)
    bench.put(box, 'name', data)
    assert bench.contents(box, 'name') == data
    bench.clean()


@each_transport
def test_a_backup_fills_the_disk(jail: sshd.Server, make_bench: MakeBench, transport: str) -> None:
    bench = make_bench(**jail.options(transport=transport, retry_deadline=5, chunk_size=256 * KIB,
                                      workers=4))
    record = backup_cases.new_record()
    record.container = bench.name_container()
    with (servers.filled(jail.root, but=2 * MIB),
          pytest.raises(exceptions.StoreFull, match='no space')):
        backup_cases.back_up(bench, pattern(4 * MIB), record.container)
    assert not bench.names(record.container, 'volume'), 'a failed backup left objects'
    assert not hidden(jail.root)
    again = backup_cases.back_up(bench, pattern(4 * MIB), record.container)
    assert backup_cases.restored(bench, again) == pattern(4 * MIB)
    bench.driver.delete(again)


@each_transport
def test_a_directory_that_cannot_be_written(jail: sshd.Server, make_bench: MakeBench,
                                            transport: str) -> None:
    driver = make_bench(**jail.options(path='/readonly', transport=transport)).driver
    verbs: list[Callable[[], object]] = [
        driver.check_for_setup_error, lambda: driver.put_container('box')]
    for verb in verbs:
        with pytest.raises(exceptions.PermissionDenied, match='/readonly'):
            verb()


# --- what can happen to the server

class Vanishing(threading.Thread):
    """Kills the server each time so many objects more are there, and starts it again."""

    def __init__(self, server: sshd.Server, root: Path, every: int, times: int) -> None:
        super().__init__()
        self._server, self._root, self._every, self._times = server, root, every, times
        self.ended = threading.Event()
        self.kills = 0

    def run(self) -> None:
        while self.kills < self._times and not self.ended.wait(0.002):
            files = [name for _, _, names in os.walk(self._root) for name in names]
            if len(files) >= self._every * (self.kills + 1):
                self._server.restart()
                self.kills += 1

    def has_come(self, chunks: int) -> bool:
        """Whether there were the kills that are due when so many chunks were read."""
        return self.kills >= min(self._times, (chunks - 4) // self._every)  # 4 are on their way


class Awaiting(io.BytesIO):
    """A volume that is read no further while a kill is due, so that it does not come too late."""

    def __init__(self, data: bytes, chunk_size: int, trouble: Vanishing) -> None:
        super().__init__(data)
        self._chunk_size, self._trouble = chunk_size, trouble

    def read(self, size: int | None = -1, /) -> bytes:
        chunks = self.tell() // self._chunk_size
        command_line.until(lambda: self._trouble.has_come(chunks), 'the kill')
        return super().read(size)


@each_transport
@pytest.mark.parametrize(('version', 'chunk_size', 'chunks'), [
    ('1.0.0', 64 * KIB, 100), ('2.0.0', 4 * MIB, 15)])
def test_a_server_killed_in_the_middle_of_a_backup(
        server: sshd.Server, make_bench: MakeBench, transport: str, version: str, chunk_size: int,
        chunks: int) -> None:
    bench = make_bench(**server.options(
        path=anew(server), transport=transport, retry_deadline=60, format=version,
        chunk_size=chunk_size, block_size=4 * KIB, compression='none', workers=4))
    data = pattern(chunks * chunk_size)
    bench.driver.check_for_setup_error()
    trouble = Vanishing(server, Path(bench.driver.settings.path), every=chunks // 5, times=3)
    trouble.start()
    try:
        record = backup_cases.back_up(bench, Awaiting(data, chunk_size, trouble))
    finally:
        trouble.ended.set()
        trouble.join()
    assert trouble.kills == 3
    assert backup_cases.restored(bench, record) == data
    backup_cases.verified(bench, record)
    bench.driver.remove_temporary(0)
    assert not [name for name in hidden(Path(bench.driver.settings.path)) if '.tmp' in name]
    bench.driver.delete(record)


def failures(verbs: int, verb: Callable[[], object]) -> int:
    """How many of so many calls fail; only as an outage."""
    failed = 0
    for _ in range(verbs):
        try:
            verb()
        except exceptions.StoreUnavailable:
            failed += 1
    return failed


@each_transport
@pytest.mark.parametrize('event', ['restart', 'drop'])
@pytest.mark.parametrize(('heard', 'most'), [(False, 1), (True, 0)])
def test_lost_idle_connections_cost_one_failure_at_most(
        server: sshd.Server, make_bench: MakeBench, transport: str, event: str, heard: bool,
        most: int) -> None:
    """None where there was time to hear of their end."""
    bench = make_bench(**server.options(path=anew(server), transport=transport))
    box = bench.container()
    bench.put(box, 'name', DATA)
    with contextlib.ExitStack() as readers:
        for _ in range(4):
            readers.enter_context(bench.driver.get_object_reader(box, 'name')).read(1)
    getattr(server, event)()
    if heard:
        idle = list(bench.driver._pool._idle)
        assert idle
        command_line.until(lambda: not any(map(Session.is_usable, idle)), 'the end of all')
    assert failures(8, lambda: bench.contents(box, 'name')) <= most


@each_transport
def test_a_server_that_is_down(server: sshd.Server, make_bench: MakeBench, between: proxy.Proxy,
                               transport: str) -> None:
    between.refuse()
    bench = make_bench(**server.options(port=between.port, transport=transport))
    with pytest.raises(exceptions.StoreUnavailable, match=str(between.port)):
        bench.driver.check_for_setup_error()


# --- what can happen to the network

def attempt(bench: Bench, box: str, name: str) -> None:
    """Write and read an object: it is right, or an error says that it is not."""
    try:
        bench.put(box, name, DATA)
        assert bench.contents(box, name) == DATA
    except exceptions.StoreError as error:
        assert isinstance(error, exceptions.StoreUnavailable), error


def traffic(bench: Bench, between: proxy.Proxy, box: str) -> dict[proxy.Way, int]:
    """Bytes that `attempt` needs each way, with a connection of its own."""
    before = dict(between.passed)
    attempt(bench, box, 'measure')
    bench.driver.close()
    return {way: between.passed[way] - before[way] for way in between.passed}


def places(total: int) -> list[int]:
    """Where to cut: through logging in and the first requests densely, then here and there."""
    return [*range(0, 6 * KIB, 617), *range(6 * KIB, total, max(1, total // 8)), total - 1]


@each_transport
@pytest.mark.parametrize('way', ['up', 'down'])
def test_a_connection_cut_anywhere(server: sshd.Server, make_bench: MakeBench,
                                   between: proxy.Proxy, transport: str, way: proxy.Way) -> None:
    root = anew(server)
    bench = make_bench(**server.options(port=between.port, path=root, transport=transport))
    other = make_bench(**server.options(path=root))
    box = bench.container()
    bench.driver.close()
    for number, after in enumerate(places(traffic(bench, between, box)[way])):
        between.cut(after, way)
        attempt(bench, box, f'cut-{number}')
        between.heal()
        bench.driver.close()
        left = other.names(box, f'cut-{number}')
        assert not left or other.contents(box, left[0]) == DATA, f'{way} {after}: partial object'
    for name in hidden(Path(root)):
        assert '/.tmp-' in name
    bench.driver.remove_temporary(0)
    assert not hidden(Path(root))


@each_transport
@pytest.mark.parametrize('act', ['swallow', 'stall'])
@pytest.mark.parametrize(('after', 'way'), [
    (0, None), (30, 'down'), (3 * KIB, 'up'), (100 * KIB, 'up'), (100 * KIB, 'down')])
def test_silence_ends_within_the_timeout(
        server: sshd.Server, make_bench: MakeBench, between: proxy.Proxy, transport: str, act: str,
        after: int, way: proxy.Way | None) -> None:
    path = anew(server)
    box = make_bench(**server.options(path=path)).container()
    bench = make_bench(**server.options(
        port=between.port, path=path, transport=transport, timeout=1.0))

    def meet_silence() -> None:
        between.heal()
        bench.driver.close()
        getattr(between, act)(after, way)
        with pytest.raises(exceptions.StoreUnavailable):
            bench.put(box, 'name', DATA)
            bench.contents(box, 'name')

    soon(meet_silence, 4)
    between.heal()
    vars(bench.driver.settings)['timeout'] = 30.0  # for what follows, a pause is no silence
    round_trip(bench)


# --- nothing is left behind

def belongings() -> dict[str, int]:
    """What this process has."""
    children = [pid for pid in os.listdir('/proc') if pid.isdigit() and _parent(pid) == os.getpid()]
    return {'descriptors': len(os.listdir('/proc/self/fd')),
            'threads': threading.active_count(), 'children': len(children)}


def _parent(pid: str) -> int | None:
    with contextlib.suppress(OSError):
        return int(Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[1])
    return None


def settled(wanted: dict[str, int]) -> dict[str, int]:
    """What this process has, once it has no more than wanted or some seconds have passed."""
    deadline = time.monotonic() + 5
    while (now := belongings()) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    return now


@each_transport
def test_two_hundred_failures_leave_nothing_in_this_process(
        server: sshd.Server, make_bench: MakeBench, between: proxy.Proxy, transport: str) -> None:
    bench = make_bench(**server.options(port=between.port, path=anew(server), transport=transport))
    box = bench.container()
    round_trip(bench)
    bench.driver.close()
    command_line.until(lambda: not between.open, 'the end of all connections')
    before = belongings()
    between.cut(times=None)
    assert failures(90, lambda: bench.contents(box, 'name')) == 90
    between.cut(after=100 * KIB, way='up', times=None)
    assert failures(10, lambda: bench.put(box, 'name', DATA)) == 10
    between.heal()
    for _ in range(100):
        with pytest.raises(exceptions.ObjectNotFound):
            bench.contents(box, 'missing')
    bench.driver.close()
    between.drop()
    assert settled(before) == before


@each_transport
def test_a_block_left_by_an_exception_leaves_no_file(server: sshd.Server, make_bench: MakeBench,
                                                     transport: str) -> None:
    bench = make_bench(**server.options(path=anew(server), transport=transport))
    box = bench.container()
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), bench.driver.get_object_writer(box, 'name') as writer:
            writer.write(DATA)
            raise error
    assert not hidden(Path(bench.driver.settings.path))


# --- the same directory, used on the server itself

@pytest.mark.parametrize('order', ['sftp, then local', 'local, then sftp'])
def test_the_local_driver_uses_the_same_store(server: sshd.Server, make_bench: MakeBench,
                                              order: str) -> None:
    how = {'chunk_size': 16 * KIB, 'block_size': KIB, 'workers': 2}
    path = anew(server)
    benches = [make_bench(**server.options(path=path), **how),
               Bench(hooks.Hooks(), local.LocalBackupDriver.make(path=path, **how))]
    writing, reading = benches if order.startswith('sftp') else reversed(benches)
    first, second = pattern(100 * KIB), pattern(100 * KIB, seed=1)
    full = backup_cases.back_up(writing, first)
    child = backup_cases.back_up(reading, second, parent=full)
    for bench in benches:
        assert backup_cases.restored(bench, full) == first
        assert backup_cases.restored(bench, child) == second
        assert list(bench.driver.list_containers()) == [full.container]
    reading.driver.delete(child)
    reading.driver.delete(full)
    assert [writing.names(full.container or ''), hidden(Path(path))] == [[], []]


def test_permissions_are_those_that_were_asked_for(server: sshd.Server, make_bench: MakeBench
                                                   ) -> None:
    bench = make_bench(**server.options(path=anew(server), file_mode=0o640, directory_mode=0o750))
    box = bench.container()
    bench.put(box, 'sub/name', DATA)
    root = Path(bench.driver.settings.path)
    modes = {path: path.stat().st_mode & 0o777 for path in (root, *root.rglob('*'))}
    assert modes == {path: 0o750 if path.is_dir() else 0o640 for path in modes}


