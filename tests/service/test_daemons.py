"""The process trees: told to end, to reload or to report, killed, and started where they cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import http.client
import os
from pathlib import Path
import re
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from backup_framework.catalog import Catalog
from tools.servers.parts import HOST, free_port
from tools.servers.rest import Refused, Rest

SECONDS = 60.0
ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent


def until(look: Callable[[], object], what: str, seconds: float = SECONDS) -> object:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f'not in time: {what}'
        time.sleep(0.05)
    return found


class Tree:
    """backup-framework-serve with its children, in a session of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.file, self.log_file = folder / 'serve.conf', folder / 'log'
        self.volumes = folder / 'volumes'
        self.volumes.mkdir(parents=True)
        self.write()
        self.rest = Rest(f'http://{HOST}:{self.port}/v3', 'demo')
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, **sections: str) -> None:
        """The configuration; of a section that is named, these lines."""
        texts = {
            'DEFAULT': f'state_path = {self.folder}/state',
            'local': f'driver = local\npath = {self.folder}/store\nblock_size = 4KiB\n'
                     'chunk_size = 64KiB\nworkers = 1',
            'volumes:disks': f'type = file\npath = {self.volumes}',
            'api': f'port = {self.port}\nworkers = 2',
            'service': 'check_interval = 0.3\nreport_interval = 0.5',
        }
        for name, lines in sections.items():
            texts[name] = texts.get(name, '') + f'\n{lines}'
        self.file.write_text(''.join(f'[{name}]\n{text}\n' for name, text in texts.items()))

    def start(self, program: str = 'backup-framework-serve', shell: str = '', **environment: str
              ) -> None:
        command = [SCRIPTS / program, '--config-file', self.file]
        if shell:
            command = ['sh', '-c', f'{shell} exec "$@"', 'sh', *command]
        with open(self.log_file, 'ab') as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | environment)

    def ready(self) -> None:
        until(self.is_healthy, f'the API answers\n{self.log()}')

    def is_healthy(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log()
        try:
            self.rest.get('//healthcheck')
        except (OSError, http.client.HTTPException, Refused):
            return False
        return True

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def children(self, part: str = '') -> list[psutil.Process]:
        """The running ones, by the name in their title."""
        found = []
        for child in psutil.Process(self.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if f': {part}' in child.cmdline()[0] and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child)
        return found

    def log(self) -> str:
        return self.log_file.read_text(errors='replace') if self.log_file.exists() else ''

    def ended(self, seconds: float = SECONDS) -> int:
        """Its exit status."""
        assert self.process is not None
        return self.process.wait(seconds)

    def close(self) -> None:
        self.rest.close()
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(SECONDS)

    def make_volume(self, size: int = 500_000) -> str:
        (self.volumes / 'disk').write_bytes(os.urandom(size))

        def look() -> str | None:
            found = self.rest.get('/volumes/detail', name='disk')['volumes']
            return found[0]['id'] if found else None
        return str(until(look, f'the volume is offered\n{self.log()}'))

    def create(self, volume: str) -> str:
        return str(self.rest.post('/backups', {'backup': {'volume_id': volume}})['backup']['id'])

    def wait(self, backup: str, status: str = 'available') -> None:
        until(lambda: self.rest.get(f'/backups/{backup}')['backup']['status'] == status,
              f'the backup is {status}\n{self.log()}')


@pytest.fixture
def make_tree(tmp_path: Path) -> Iterator[Callable[[], Tree]]:
    with contextlib.ExitStack() as end:
        def make() -> Tree:
            tree = Tree(tmp_path / f'tree{len(list(tmp_path.iterdir()))}')
            end.callback(tree.close)
            return tree
        yield make


@pytest.fixture(scope='module')
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """One that is up, for tests that leave it so."""
    tree = Tree(tmp_path_factory.mktemp('daemons') / 'tree')
    try:
        tree.write(DEFAULT='debug = no')
        # A program that stands for those that backups use, in the same process group.
        tree.start(shell='sleep 300 &')
        tree.ready()
        yield tree
    finally:
        tree.close()


def test_the_processes_have_names(shared: Tree) -> None:
    names = ('api worker(0)', 'api worker(1)', 'worker worker(0)')
    for name in names:
        until(lambda name=name: len(shared.children(name)) == 1, f'{name} is there')
    assert psutil.Process(shared.pid).cmdline()[0].startswith('backup-framework-serve: master')


def parts(tree: Tree) -> list[psutil.Process]:
    return [*tree.children('api'), *tree.children('worker')]


def test_what_is_killed_is_started_again_while_the_api_answers(shared: Tree) -> None:
    volume = shared.make_volume()
    until(lambda: len(parts(shared)) == 3, 'all children')
    before = {child.pid for child in parts(shared)}
    for child in parts(shared):
        child.kill()
    # The listening socket is the master's: who connects now waits, and is not refused.
    assert shared.rest.get('//healthcheck') is not None
    until(lambda: len(parts(shared)) == 3, f'three new ones\n{shared.log()}')
    assert not before & {child.pid for child in parts(shared)}
    shared.wait(shared.create(volume))
    assert 'killed by signal' in shared.log()


def test_sighup_reads_mutable_options_and_leaves_programs_alone(shared: Tree) -> None:
    (sleeper,) = [each for each in psutil.Process(shared.pid).children() if each.name() == 'sleep']
    pids = {child.pid for child in parts(shared)}
    assert ' DEBUG ' not in shared.log()
    assert shared.rest.get('/backup-framework/schedules')['schedules'] == []
    shared.write(DEFAULT='debug = yes',
                 **{'schedule:nightly': 'cron = 0 2 * * *\nvolumes = *\nproject_id = demo'})
    os.kill(shared.pid, signal.SIGHUP)
    until(lambda: shared.log().count('has read the configuration again') >= 4,
          f'master and children reload\n{shared.log()}')
    until(lambda: ' DEBUG ' in shared.log(), 'debug takes effect')

    def next_at() -> str | None:
        found = shared.rest.get('/backup-framework/schedules')['schedules']
        return found[0]['next_at'] if found else None
    assert 'T02:00:00' in str(until(next_at, f'the schedule is known\n{shared.log()}'))
    assert {child.pid for child in parts(shared)} == pids
    assert sleeper.is_running() and sleeper.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize('text', ['[DEFAULT\n', '[service]\ndrain_timeout = soon\n',
                                  '[schedule:x]\ncron = 0 2 * * *\n'])
def test_files_that_make_no_sense_change_nothing(shared: Tree, text: str) -> None:
    pids = {child.pid for child in parts(shared)}
    before, said = shared.file.read_text(), shared.log().count('stays as it was')
    shared.file.write_text(before + text)
    try:
        os.kill(shared.pid, signal.SIGHUP)
        until(lambda: shared.log().count('stays as it was') == said + 4, f'all say so\n{text}')
    finally:
        shared.file.write_text(before)
    assert shared.is_healthy() and {child.pid for child in parts(shared)} == pids


def test_sigusr2_prints_a_report_and_ends_nobody(shared: Tree) -> None:
    os.kill(shared.pid, signal.SIGUSR2)
    until(lambda: '_wait_forever' in shared.log(), 'the report of the master')
    (worker,) = shared.children('worker worker')
    worker.send_signal(signal.SIGUSR2)
    until(lambda: 'in _run_engine' in shared.log(), f'the report of the worker\n{shared.log()}')
    assert re.search(r'product = backup-framework', shared.log())
    assert worker.is_running() and shared.is_healthy()


def test_logs_have_the_ids_of_requests(shared: Tree) -> None:
    shared.rest.get('/backups')
    request_id = shared.rest.headers['x-openstack-request-id']
    until(lambda: request_id in shared.log(), 'the id is logged')


def statuses(tree: Tree) -> list[str]:
    catalog = Catalog(f'sqlite:///{tree.folder}/state/catalog.sqlite', f'{tree.folder}/state')
    try:
        return [str(backup.status) for backup in catalog.backups()]
    finally:
        catalog.close()


def is_refused(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_sigterm_lets_a_backup_and_a_request_come_to_their_end(make_tree: Callable[[], Tree]
                                                              ) -> None:
    tree = make_tree()
    tree.write(local='write_bandwidth = 100KiB')
    tree.start()
    tree.ready()
    backup = tree.create(tree.make_volume(1_500_000))
    until(lambda: any((tree.folder / 'store').rglob('*')), 'the backup has begun')
    with socket.create_connection((HOST, tree.port), timeout=SECONDS) as client:
        body = b'{"backup": {"name": "renamed"}}'
        client.sendall(f'PUT /v3/demo/backups/{backup} HTTP/1.1\r\nHost: x\r\n'
                       f'OpenStack-API-Version: volume 3.71\r\nContent-Type: application/json\r\n'
                       f'Content-Length: {len(body)}\r\n\r\n'.encode() + body[:10])
        time.sleep(0.5)
        os.kill(tree.pid, signal.SIGTERM)
        time.sleep(0.5)
        assert statuses(tree) == ['creating']
        client.sendall(body[10:])
        assert client.recv(4096).startswith(b'HTTP/1.1 200')
    until(lambda: is_refused(tree.port), 'nobody listens while the worker drains')
    assert statuses(tree) == ['creating'], tree.log()
    assert tree.ended() == 0, tree.log()
    assert statuses(tree) == ['available']
    assert 'Traceback' not in tree.log()


def test_what_takes_too_long_is_gone_on_with_after_the_next_start(make_tree: Callable[[], Tree]
                                                                 ) -> None:
    tree = make_tree()
    tree.write(local='write_bandwidth = 100KiB', service='drain_timeout = 0.5')
    tree.start()
    tree.ready()
    backup = tree.create(tree.make_volume(4_000_000))
    until(lambda: any((tree.folder / 'store').rglob('*')), 'the backup has begun')
    begin = time.monotonic()
    os.kill(tree.pid, signal.SIGTERM)
    assert tree.ended() == 0
    assert time.monotonic() - begin < 30 and statuses(tree) == ['creating'], tree.log()
    tree.write()
    tree.start()
    tree.ready()
    tree.wait(backup)


def test_ctrl_c_drains_too(make_tree: Callable[[], Tree]) -> None:
    """A terminal sends it to all processes."""
    tree = make_tree()
    tree.write(local='write_bandwidth = 200KiB')
    tree.start()
    tree.ready()
    tree.create(tree.make_volume())
    until(lambda: any((tree.folder / 'store').rglob('*')), 'the backup has begun')
    os.killpg(tree.pid, signal.SIGINT)
    assert tree.ended() == 0, tree.log()
    assert statuses(tree) == ['available']


def test_children_end_when_their_master_is_killed(make_tree: Callable[[], Tree]) -> None:
    tree = make_tree()
    tree.start('backup-framework-api')
    tree.ready()
    until(lambda: len(tree.children('api')) == 2, 'two children')
    children = tree.children('api')
    os.kill(tree.pid, signal.SIGKILL)
    tree.ended()
    assert not psutil.wait_procs(children, SECONDS)[1]
    with pytest.raises(OSError), socket.create_connection((HOST, tree.port), timeout=5):
        pass


def test_systemd_is_told_when_the_service_is_ready(make_tree: Callable[[], Tree], tmp_path: Path
                                                  ) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / 'notify'))
        told.settimeout(SECONDS)
        tree = make_tree()
        tree.start('backup-framework-api', NOTIFY_SOCKET=str(tmp_path / 'notify'))
        assert told.recv(100) == b'READY=1'
    # The socket listens by then: who connects is not refused.
    socket.create_connection((HOST, tree.port), timeout=SECONDS).close()


@pytest.mark.parametrize('program, sections, said', [
    ('api', {'api': 'auth_strategy = secret'}, 'auth_strategy'),
    ('api', {'quota': 'backups = many'}, r'\[quota\] backups must be'),
    ('api', {'service': 'service_down_time = soon'}, r'\[service\] service_down_time must be'),
    ('api', {'schedule:x': 'cron = often\nvolumes = *'}, r'\[schedule:x\] cron'),
    ('api', {'healthcheck': 'detailed = perhaps'}, r'\[healthcheck\].*perhaps'),
    ('worker', {'quota': 'gigabytes = many'}, r'\[quota\] gigabytes must be'),
    ('worker', {'local': 'blok_size = 4KiB'}, 'did you mean block_size'),
    ('worker', {'schedule:x': 'cron = often\nvolumes = *'}, r'\[schedule:x\] cron'),
    ('worker', {'volumes:disks': 'color = red'}, 'color'),
    ('serve', {'jobboard': 'connection = carrier-pigeon://loft'}, 'must begin with etcd'),
    ('api', {'api': 'auth_strategy = http_basic\nhttp_basic_auth_user_file = /nosuch/htpasswd'},
     'cannot read /nosuch/htpasswd'),
])
def test_a_bad_configuration_ends_before_anything_is_forked(
        make_tree: Callable[[], Tree], program: str, sections: dict[str, str], said: str) -> None:
    tree = make_tree()
    tree.write(**sections)
    tree.start(f'backup-framework-{program}')
    assert tree.ended() == 2, tree.log()
    (error,) = [line for line in tree.log().splitlines() if line.startswith('Error: ')]
    assert re.search(said, error)
    assert 'Traceback' not in tree.log() and ' begins, process' not in tree.log()


def test_a_port_that_is_taken(make_tree: Callable[[], Tree]) -> None:
    tree = make_tree()
    with socket.create_server((HOST, tree.port)):
        tree.start()
        assert tree.ended() == 2
    assert f'cannot listen on {HOST} port {tree.port}: Address already in use' in tree.log()


def test_a_second_worker_without_a_board(shared: Tree) -> None:
    done = subprocess.run([SCRIPTS / 'backup-framework-worker', '--config-file', shared.file],
                          capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 2 and 'another worker runs on this catalog' in done.stderr


def test_make_serve(tmp_path: Path) -> None:
    """Twice: what the first start made is there in the second."""
    port, found = free_port(), []
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, ROOT / 'tools/serve.py'], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env=os.environ | {'BF_PORT': str(port), 'BF_STATE': str(tmp_path / 'kept')})
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if line.startswith('Volumes:'):
                    break
            assert f'OS_ENDPOINT=http://127.0.0.1:{port}/v3/demo' in ''.join(said), said
            (volume,) = Rest(f'http://127.0.0.1:{port}/v3').get('/volumes/detail')['volumes']
            found.append((volume['id'], volume['name']))
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.communicate(timeout=SECONDS)[0]
        assert process.returncode == 0, rest
        assert 'Ending, as soon as' in rest
        with pytest.raises(OSError), socket.create_connection(('127.0.0.1', port), timeout=5):
            pass
    assert found[0] == found[1] and found[0][1] == 'demo'
