"""A running service: its configuration, an API process, workers that can be killed.

    with installation.running(folder, setup, workers=3) as service:
        volume = service.make_volume('disk')
        backup = service.create(volume)
        service.wait(backup)

Its volumes are the files of one directory, its store is another one. Each worker is a host of its
own, with its own state, but where the set-up has no board: there it shares the API's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import os
from pathlib import Path
import random
import signal
import subprocess
import sys
import time
from typing import Any, TypeVar

from tools.servers.parts import HOST, free_port, program
from tools.servers.rest import Refused, Rest

T = TypeVar('T')

STORE, SOURCE = 'shelf', 'disks'
SECONDS = 60.0
SIZE = 300_001
BLOCK, CHUNK = 4096, 65536


class NotInTime(Exception):
    """What was waited for did not come; says what was seen, and what the processes say."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a service stands on.

    :ivar connection: of the catalog; None: SQLite in the state directory.
    :ivar board: None: the local engine of the only worker.
    :ivar broker: None: no notifications.
    """

    connection: str | None = None
    board: str | None = None
    broker: str | None = None


ONE_MACHINE = Setup()


class Process:
    """A daemon in a session of its own, so that it can be killed with all its children. It ends
    when the process that started it does.
    """

    def __init__(self, name: str, folder: Path, binary: str, text: str) -> None:
        self.name, self._binary = name, Path(sys.executable).with_name(binary)
        self._file, self._log = folder / f'{name}.conf', folder / f'{name}.log'
        self._file.write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def config_file(self) -> str:
        return str(self._file)

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with open(self._log, 'ab') as log:
            self._process = subprocess.Popen(
                [program('setpriv'), '--pdeathsig', 'KILL', str(self._binary),
                 '--config-file', str(self._file)], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True)

    def kill(self) -> None:
        """As a host that loses power."""
        self._send(signal.SIGKILL)
        self._wait()

    def stop(self, seconds: float = SECONDS) -> int:
        """Ask it to end; its exit status."""
        assert self._process is not None
        if self.is_running():
            self._process.terminate()
        try:
            return self._process.wait(seconds)
        finally:
            self.kill()

    def reload(self, text: str) -> None:
        """Another configuration, read while it runs."""
        self._file.write_text(text)
        os.kill(self.pid, signal.SIGHUP)

    def log(self) -> str:
        return self._log.read_text(errors='replace') if self._log.exists() else ''

    def _send(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _wait(self) -> None:
        if self._process is not None:
            self._process.wait(SECONDS)


class Installation:
    """All of it.

    :param options: lines to add to sections, by section.
    :param users: roles by project, by user, for http_basic; the password of each is its name, and
        the first one is whom `rest` speaks for.
    """

    def __init__(self, folder: Path, setup: Setup = ONE_MACHINE, *, workers: int = 1,
                 options: Mapping[str, Mapping[str, Any]] | None = None,
                 users: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self.folder, self.setup, self._users = folder, setup, dict(users or {})
        self.volumes, self.store = folder / 'volumes', folder / 'store'
        for each in (folder, self.volumes, self.store):
            each.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._options = {name: dict(lines) for name, lines in (options or {}).items()}
        if self._users:
            self._write_users()
        self.api = Process('api', folder, 'backup-framework-api', self.text('api'))
        self.workers = [self._worker(number) for number in range(1, workers + 1)]
        self.rest = self.client()

    def _write_users(self) -> None:
        import bcrypt
        hashes = {name: bcrypt.hashpw(name.encode(), bcrypt.gensalt(4)).decode()
                  for name in self._users}
        passwords, projects = self.folder / 'htpasswd', self.folder / 'users.ini'
        passwords.write_text(''.join(f'{name}:{hashed}\n' for name, hashed in hashes.items()))
        projects.write_text(_ini(self._users))
        self._options.setdefault('api', {}).update(
            auth_strategy='http_basic', http_basic_auth_user_file=passwords, users_file=projects)

    def _worker(self, number: int) -> Process:
        name = f'worker{number}'
        return Process(name, self.folder, 'backup-framework-worker', self.text(name))

    def text(self, host: str) -> str:
        """The configuration of a process."""
        state = self.folder / 'state' / (host if self.setup.connection else 'all')
        sections: dict[str, dict[str, Any]] = {
            'DEFAULT': {'enabled_backends': STORE, 'state_path': state},
            STORE: {'driver': 'local', 'path': self.store, 'durability': 'none',
                    'block_size': BLOCK, 'chunk_size': CHUNK, 'workers': 0},
            f'volumes:{SOURCE}': {'type': 'file', 'path': self.volumes},
            'api': {'port': self.port},
            'service': {'host': host, 'report_interval': 1, 'check_interval': 0.5},
        }
        if self.setup.connection:
            sections['database'] = {'connection': self.setup.connection}
        if self.setup.board:
            sections['jobboard'] = {'connection': self.setup.board, 'claim_ttl': 15,
                                    'name': self.folder.name}
        if self.setup.broker:
            sections['oslo_messaging_notifications'] = {
                'driver': 'messagingv2', 'transport_url': self.setup.broker,
                'topics': self.topic}
        for name, lines in self._options.items():
            sections.setdefault(name, {}).update(lines)
        return _ini(sections)

    @property
    def topic(self) -> str:
        """Of the notifications, which no other installation sends to."""
        return f'bf-{self.port}'

    @property
    def endpoint(self) -> str:
        return f'http://{HOST}:{self.port}/v3'

    def client(self, project: str = 'demo', user: str | None = None, **more: Any) -> Rest:
        """One for another project or user."""
        if self._users:
            user = user or next(iter(self._users))
            more = {'password': user, **more}
        return Rest(self.endpoint, project, user=user, **more)

    # Processes.

    def start(self) -> None:
        self.api.start()
        for worker in self.workers:
            worker.start()
        self.wait_for_api()
        self.wait_for_workers()

    def wait_for_workers(self) -> None:
        """Until all that run have reported themselves."""
        started = [worker for worker in self.workers if worker.is_running()]
        names = {worker.name for worker in started}

        def look() -> bool:
            if not all(worker.is_running() for worker in started):
                raise NotInTime(f'a worker has ended:\n{self.logs()}')
            found = self.rest.get('/os-services', binary='cinder-backup')['services']
            return names <= {each['host'] for each in found if each['state'] == 'up'}
        self.until(look, 'the workers are up')

    def wait_for_api(self) -> None:
        self.until(self._answers, 'the API answers')

    def add_worker(self) -> Process:
        self.workers.append(self._worker(len(self.workers) + 1))
        self.workers[-1].start()
        return self.workers[-1]

    def close(self) -> None:
        self.rest.close()
        for process in self.processes:
            process.kill()

    @property
    def processes(self) -> list[Process]:
        return [self.api, *self.workers]

    def _answers(self) -> bool:
        if not self.api.is_running():
            raise NotInTime(f'the API has ended:\n{self.logs()}')
        try:
            return bool(self.rest.get('//healthcheck'))
        except (OSError, Refused):
            return False

    # Volumes.

    def make_volume(self, name: str = 'disk', size: int = SIZE, seed: int = 1) -> str:
        """A file of so many bytes, with a hole in its middle; the id it is offered with."""
        self.write_volume(name, size, seed)
        return self.volume_id(name)

    def write_volume(self, name: str, size: int = SIZE, seed: int = 1) -> None:
        """Make such a file, without waiting until it is offered."""
        data = random.Random(seed).randbytes(size // 3)
        aside = self.volumes / f'.{name}'
        with open(aside, 'wb') as file:
            file.write(data)
            file.truncate(size)
            file.seek(size - len(data))
            file.write(data)
        aside.rename(self.volumes / name)

    def volume_id(self, name: str, rest: Rest | None = None) -> str:
        """What a worker offers a file as, as soon as it does."""
        client = rest or self.rest

        def look() -> str | None:
            found = client.get('/volumes/detail', name=name)['volumes']
            return str(found[0]['id']) if found else None
        return self.until(look, f'volume {name} is offered')

    def path(self, volume_id: str, rest: Rest | None = None) -> Path:
        """The file of a volume."""
        name = (rest or self.rest).get(f'/volumes/{volume_id}')['volume']['name']
        return self.volumes / str(name)

    def change(self, name: str, seed: int = 2, size: int = 10_000) -> bytes:
        """Write into a volume; its bytes afterwards."""
        path = self.volumes / name
        with open(path, 'r+b') as file:
            file.seek(random.Random(seed).randrange(path.stat().st_size - size))
            file.write(random.Random(seed).randbytes(size))
        return path.read_bytes()

    # Backups.

    def create(self, volume_id: str, rest: Rest | None = None, **body: Any) -> str:
        """Ask for a backup; its id."""
        answer = (rest or self.rest).post('/backups', {'backup': {'volume_id': volume_id, **body}})
        return str(answer['backup']['id'])

    def backup(self, backup_id: str, rest: Rest | None = None) -> dict[str, Any]:
        found: dict[str, Any] = (rest or self.rest).get(f'/backups/{backup_id}')['backup']
        return found

    def wait(self, backup_id: str, status: str = 'available', *, rest: Rest | None = None,
             seconds: float = SECONDS) -> dict[str, Any]:
        """The record of a backup as soon as it has a status; an error that was not asked for ends
        the wait.
        """
        def look() -> dict[str, Any] | None:
            found = self.backup(backup_id, rest)
            if found['status'] in ('error', 'error_deleting') and status != found['status']:
                raise NotInTime(f'backup {backup_id} has failed: {found["fail_reason"]}\n'
                                f'{self.logs()}')
            return found if found['status'] == status else None
        return self.until(look, f'backup {backup_id} is {status}', seconds)

    def wait_gone(self, backup_id: str, rest: Rest | None = None) -> None:
        def look() -> bool:
            try:
                found = self.backup(backup_id, rest)
            except Refused as error:
                return error.status == 404
            assert not found['status'].startswith('error'), found
            return False
        self.until(look, f'backup {backup_id} is gone')

    def wait_volume(self, volume_id: str, status: str = 'available', *, rest: Rest | None = None,
                    seconds: float = SECONDS) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = (rest or self.rest).get(f'/volumes/{volume_id}')['volume']
            if found['status'].startswith('error') and status != found['status']:
                raise NotInTime(f'volume {volume_id} is in {found["status"]}\n{self.logs()}')
            return found if found['status'] == status else None
        return self.until(look, f'volume {volume_id} is {status}', seconds)

    def restore(self, backup_id: str, rest: Rest | None = None, **body: Any) -> str:
        """Restore and wait; the id of the volume."""
        answer = (rest or self.rest).post(f'/backups/{backup_id}/restore', {'restore': body})
        volume_id = str(answer['restore']['volume_id'])
        self.wait_volume(volume_id, rest=rest)
        self.wait(backup_id, rest=rest)
        return volume_id

    def restored(self, backup_id: str, rest: Rest | None = None) -> bytes:
        """The bytes of a new volume that a backup is restored to; it is removed."""
        name = f'restored-{backup_id}'
        self.restore(backup_id, rest, name=name)
        path = self.volumes / name
        try:
            return path.read_bytes()
        finally:
            path.unlink()

    # Waiting.

    def until(self, look: Callable[[], T | None], what: str, seconds: float = SECONDS) -> T:
        """What `look` answers as soon as it is something."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > deadline:
                raise NotInTime(f'not in {seconds:g} seconds: {what}\n{self.logs()}')
            time.sleep(0.03)
        return found

    def logs(self, lines: int = 40) -> str:
        """The last that each process said, requests that were answered left out."""
        def last(process: Process) -> list[str]:
            return [line for line in process.log().splitlines() if '.application [' not in line]
        return '\n'.join('\n'.join([f'--- {process.name}', *last(process)[-lines:]])
                         for process in self.processes)


@contextlib.contextmanager
def running(folder: Path, setup: Setup = ONE_MACHINE, **more: Any) -> Iterator[Installation]:
    """An installation whose processes are gone afterwards; its files stay."""
    made = Installation(folder, setup, **more)
    try:
        made.start()
        yield made
    finally:
        made.close()


def _ini(sections: Mapping[str, Mapping[str, Any]]) -> str:
    return ''.join(
        f'[{name}]\n' + ''.join(f'{option} = {value}\n' for option, value in lines.items())
        for name, lines in sections.items())
