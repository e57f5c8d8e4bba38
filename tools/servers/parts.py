"""Real engines that the service stands on, each a process or two on loopback.

    with parts.running(parts.Etcd) as etcd:
        connection = etcd.url

They can be killed and started again, on the same port and with the same data. All that they write
is in one temporary directory; they end when the process that started them does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
import contextlib
import os
from pathlib import Path
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from typing import ClassVar, TypeVar
import uuid

HOST = '127.0.0.1'
SECONDS = 90.0
"""How long an engine may take to answer; RabbitMQ needs ten seconds of a busy machine."""

_SYSTEM_PATH = f'{os.environ.get("PATH", os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin'
# Not those that the kernel hands out to clients: a port must be free still at a restart.
_PORTS = range(10_000, 32_000)


P = TypeVar('P', bound='Part')


class Missing(Exception):
    """The engine cannot be had on this machine; the text says why."""


def free_port() -> int:
    """A port of loopback that nobody listens on and that no client is given."""
    for _ in range(1000):
        port = random.SystemRandom().choice(_PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            return port
    raise Missing(f'no port of {HOST} is free')


class Part(ABC):
    """An engine with a port and data of its own.

    :cvar user: whom it runs as where this process is root's; None: as root.
    """

    user: ClassVar[str | None] = None
    environment: Mapping[str, str] = {}

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if self._account is not None:
            os.chown(directory, self._account.pw_uid, self._account.pw_gid)

    @property
    @abstractmethod
    def url(self) -> str:
        """How a client is told of it."""

    @abstractmethod
    def command(self) -> list[str]:
        """What runs in the foreground, as one process or as its group's first."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether clients are served."""

    def prepare(self) -> None:  # noqa: B027  most need nothing
        """Make the data of a new engine."""

    def begin(self) -> None:
        """Start it, unless it runs."""
        if self._process is None:
            self._process = self._spawn(self.command())

    def start(self) -> None:
        """Start it and wait until it serves."""
        self.begin()
        assert self._process is not None
        deadline = time.monotonic() + SECONDS
        while not self.answers():
            if self._process.poll() is not None:
                raise Missing(f'{self} ended at once: {self.log()[-2000:]}')
            if time.monotonic() > deadline:
                raise Missing(f'{self} does not answer: {self.log()[-2000:]}')
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end; what does not is killed."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Crash, and come back with the same port and data."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Stop it where it is: connections stay, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        path = self.directory / 'log'
        return path.read_text(errors='replace') if path.exists() else ''

    def close(self) -> None:
        self.kill()

    def __str__(self) -> str:
        return f'{type(self).__name__} on {HOST}:{self.port}'

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def _end(self, number: int) -> None:
        process = self._process
        if process is None:
            return
        self._signal(number)
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            process.wait(SECONDS)
        self._process = None

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with open(self.directory / 'log', 'ab') as log:
            return subprocess.Popen(
                [*self._as_user(), *command], env={**os.environ, **self.environment},
                cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            [*self._as_user(), *command], env={**os.environ, **self.environment},
            cwd=self.directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=SECONDS, check=False)
        if done.returncode:
            raise Missing(f'{command[0]} failed: {done.stdout.decode(errors="replace")[-2000:]}')

    def _as_user(self) -> list[str]:
        """The words before a command: it is another's where root may not, and outlives nobody."""
        words = [program('setpriv'), '--pdeathsig', 'KILL']
        if self._account is None:
            return words
        uid, gid = self._account.pw_uid, self._account.pw_gid
        return [*words, f'--reuid={uid}', f'--regid={gid}', '--clear-groups']

    @property
    def _account(self) -> pwd.struct_passwd | None:
        return pwd.getpwnam(self.user) if self.user and os.geteuid() == 0 else None


class Etcd(Part):
    @property
    def url(self) -> str:
        return f'etcd://{HOST}:{self.port}'

    def prepare(self) -> None:
        self._peers = free_port()

    def command(self) -> list[str]:
        here, peers = f'http://{HOST}:{self.port}', f'http://{HOST}:{self._peers}'
        return [program('etcd'), '--data-dir', f'{self.directory}/data',
                '--listen-client-urls', here, '--advertise-client-urls', here,
                '--listen-peer-urls', peers, '--initial-advertise-peer-urls', peers,
                '--initial-cluster', f'default={peers}', '--log-level', 'warn']

    def answers(self) -> bool:
        return _says(self.port, b'GET /health HTTP/1.0\r\n\r\n', b'"true"')


class Redis(Part):
    @property
    def url(self) -> str:
        return f'redis://{HOST}:{self.port}'

    def command(self) -> list[str]:
        return [program('redis-server'), '--bind', HOST, '--port', str(self.port),
                '--dir', str(self.directory), '--appendonly', 'yes', '--save', '']

    def answers(self) -> bool:
        return _says(self.port, b'PING\r\n', b'+PONG')


class ZooKeeper(Part):
    """One server of Debian's library, without its service."""

    jars = '/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar'

    @property
    def url(self) -> str:
        return f'zookeeper://{HOST}:{self.port}'

    def prepare(self) -> None:
        if not Path(self.jars.partition(':')[0]).exists():
            raise Missing('libzookeeper-java is not installed')
        # Sessions last from two to twenty ticks.
        (self.directory / 'zoo.cfg').write_text(
            f'dataDir={self.directory}/data\nclientPort={self.port}\nclientPortAddress={HOST}\n'
            'tickTime=500\nadmin.enableServer=false\n4lw.commands.whitelist=ruok,cons\n')

    def command(self) -> list[str]:
        return [program('java'), '-Xmx128m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC',
                '-cp', self.jars, 'org.apache.zookeeper.server.ZooKeeperServerMain', 'zoo.cfg']

    def answers(self) -> bool:
        return _says(self.port, b'ruok', b'imok')


class RabbitMQ(Part):
    """A broker, and the name server of Erlang that it would start for good otherwise."""

    _names: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f'rabbit://guest:guest@{HOST}:{self.port}//'

    def prepare(self) -> None:
        found = sorted(Path('/usr/lib/rabbitmq/lib').glob('rabbitmq_server-*/sbin/rabbitmq-server'))
        if not found:
            raise Missing('rabbitmq-server is not installed')
        self._server, names = str(found[-1]), str(free_port())
        (self.directory / 'rabbitmq.conf').write_text(
            f'listeners.tcp.1 = {HOST}:{self.port}\n')
        # The package's own script changes to an account of the system's; the one below it does not.
        self.environment = {
            'PATH': _SYSTEM_PATH, 'HOME': str(self.directory),
            'ERL_EPMD_PORT': names, 'ERL_EPMD_ADDRESS': HOST,
            'RABBITMQ_ALLOW_INPUT': 'yes',  # the shell becomes the broker
            'RABBITMQ_SERVER_START_ARGS': '-noinput',
            'RABBITMQ_NODENAME': f'bf-{self.port}@localhost',
            'RABBITMQ_DIST_PORT': str(free_port()),
            'RABBITMQ_MNESIA_BASE': f'{self.directory}/data',
            'RABBITMQ_LOG_BASE': f'{self.directory}/logs',
            'RABBITMQ_CONFIG_FILE': f'{self.directory}/rabbitmq',
            'RABBITMQ_CONF_ENV_FILE': os.devnull,
            'RABBITMQ_ENABLED_PLUGINS_FILE': f'{self.directory}/plugins',
        }
        self._names = self._spawn([program('epmd'), '-port', names, '-address', HOST])

    def command(self) -> list[str]:
        return [self._server]

    def answers(self) -> bool:
        return _says(self.port, b'AMQP\x00\x00\x09\x01', b'\x01')

    def close(self) -> None:
        super().close()
        if self._names is not None:
            self._names.kill()
            self._names.wait(SECONDS)


class PostgreSQL(Part):
    user = 'postgres'

    @property
    def url(self) -> str:
        return self._url('postgres')

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f'bf_{uuid.uuid4().hex}'
        self._run(self._program('createdb'), '-h', HOST, '-p', str(self.port), '-U', 'bf', name)
        return self._url(name)

    def prepare(self) -> None:
        self._run(self._program('initdb'), '-D', f'{self.directory}/data', '-A', 'trust',
                  '-U', 'bf', '--no-sync')

    def command(self) -> list[str]:
        return [self._program('postgres'), '-D', f'{self.directory}/data', '-h', HOST,
                '-p', str(self.port), '-c', f'unix_socket_directories={self.directory}',
                '-c', 'fsync=off']

    def answers(self) -> bool:
        asked = subprocess.run(
            [self._program('pg_isready'), '-q', '-h', HOST, '-p', str(self.port)],
            timeout=SECONDS, check=False)
        return asked.returncode == 0

    def kill(self) -> None:
        """As good as a crash: nothing is written and the next start recovers.

        Its processes are no group; what SIGKILL leaves of them keeps a new one from starting.
        """
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """SIGTERM would wait for the clients."""
        self._end(signal.SIGINT)

    def _url(self, name: str) -> str:
        return f'postgresql+psycopg2://bf@{HOST}:{self.port}/{name}'

    def _program(self, name: str) -> str:
        found = sorted(Path('/usr/lib/postgresql').glob(f'*/bin/{name}'))
        if not found:
            raise Missing(f'there is no /usr/lib/postgresql/*/bin/{name}')
        return str(found[-1])


class MariaDB(Part):
    user = 'nobody'

    @property
    def url(self) -> str:
        return self._url('test')

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f'bf_{uuid.uuid4().hex}'
        self._run(program('mariadb'), '--no-defaults', f'--socket={self.directory}/socket',
                  '--user=root', f'--execute=CREATE DATABASE {name} CHARACTER SET utf8mb4')
        return self._url(name)

    def prepare(self) -> None:
        self._run(program('mariadb-install-db'), '--no-defaults',
                  f'--datadir={self.directory}/data', *self._temporary(), '--skip-test-db',
                  '--skip-name-resolve',
                  '--auth-root-authentication-method=normal')

    def command(self) -> list[str]:
        return [program('mariadbd'), '--no-defaults', f'--datadir={self.directory}/data',
                *self._temporary(), f'--bind-address={HOST}', f'--port={self.port}',
                '--skip-name-resolve', f'--socket={self.directory}/socket',
                f'--pid-file={self.directory}/pid', '--innodb-flush-log-at-trx-commit=2']

    def _temporary(self) -> list[str]:
        """Where it is alone: one that starts removes what others have there."""
        return [f'--tmpdir={self.directory}']

    def answers(self) -> bool:
        return _says(self.port, b'', b'mysql_native_password')

    def _url(self, name: str) -> str:
        return f'mysql+pymysql://root@{HOST}:{self.port}/{name}'


@contextlib.contextmanager
def running(kind: type[P]) -> Iterator[P]:
    """An engine with data of its own, all of which are gone afterwards.

    :raises Missing: it is not installed, or does not start here.
    """
    with tempfile.TemporaryDirectory(prefix='bf-part-', dir='/tmp') as directory, \
            contextlib.ExitStack() as end:
        part = kind(Path(directory))
        end.callback(part.close)
        part.prepare()
        part.start()
        yield part


def program(name: str) -> str:
    found = shutil.which(name, path=_SYSTEM_PATH)
    if found is None:
        raise Missing(f'{name} is not installed')
    return found


def _says(port: int, question: bytes, answer: bytes) -> bool:
    """Whether what comes back has the answer in it."""
    said = b''
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1) as link:
        link.sendall(question)
        while answer not in said and (more := link.recv(4096)):
            said += more
    return answer in said
