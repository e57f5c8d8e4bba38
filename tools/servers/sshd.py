"""A real OpenSSH server on loopback, for the demo, the tests and the benchmarks.

    with sshd.serving() as server:
        driver = SFTPBackupDriver.make(**server.options())

As it is, the server runs and stores as the present user. With `jail` (root only) it has an account
of its own, which may log in with a key or a password and sees nothing but a small file system in
memory. Account and file system are in a mount namespace, so this host does not change.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import ctypes
import os
from pathlib import Path
import pwd
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from typing import Any

from tools.servers import parts

HOST = '127.0.0.1'
PASSWORD = 'correct-horse-battery'
PASSPHRASE = 'open-sesame-please'
KEYS = {'ed25519': ['ed25519'], 'rsa': ['rsa', '-b', '2048'], 'locked': ['ed25519']}
"""The keys of a user; "locked" has PASSPHRASE."""

SECONDS = 15.0
_LIBC = ctypes.CDLL(None)
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_ACCOUNT, _USER_ID = 'bf-vault', 61234
_SYSTEM_PATH = f'{os.environ.get("PATH", os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin'

_CONFIG = """\
ListenAddress {host}:{port}
HostKey {directory}/host_ed25519
HostKey {directory}/host_rsa
PidFile none
AuthorizedKeysFile {authorized_keys}
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication yes
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
LogLevel VERBOSE
Subsystem sftp internal-sftp -d {start}
{more}
"""

# /run is this namespace's own: sshd needs /run/sshd, and a chroot that only root can write.
_NAMESPACE = """\
cd "$1"
mount -t tmpfs -o mode=0755 none /run
mkdir -m 0755 /run/sshd /run/jail
[ -n "$2" ] || { echo ready; exec cat; }
cp authorized_keys /run/authorized_keys
chmod 0644 /run/authorized_keys
mount -t tmpfs -o "mode=0755,$2" none /run/jail
mkdir -m 0755 /run/jail/data /run/jail/readonly
chown "$3:$3" /run/jail/data
for file in passwd shadow group; do mount --bind $file /etc/$file; done
echo ready
exec cat
"""


class Missing(Exception):
    """The server cannot be had on this machine; the text says why."""


class NoJail(Missing):
    """There is an sshd, but this user or kernel cannot give it a jail."""


class Server:
    """A running server.

    :ivar jailed: whether that user is not the present one, but in a jail.
    :ivar username: who logs in, with any of `keys`.
    :ivar path: where that user stores, as the client says it.
    :ivar root: the same directory as this host sees it.
    :ivar keys: the files of the private keys, by the names of KEYS, and "stranger", who is not
        let in.
    """

    host = HOST

    def __init__(self, directory: Path, jail: str | None, more: str) -> None:
        self.port = 0
        self._ports: list[int] = []
        self.directory = directory
        self.known_hosts = directory / 'known_hosts'
        self.keys = {name: directory / f'user_{name}' for name in (*KEYS, 'stranger')}
        self.jailed = jail is not None
        self._jail, self._more = jail, more
        self._log = directory / 'log'
        self._process: subprocess.Popen[bytes] | None = None
        self._namespace: subprocess.Popen[bytes] | None = None
        self._make_keys()
        if jail is not None:
            self._make_account()
        if os.geteuid() == 0:
            self._namespace = self._enter_namespace()
        if jail is None:
            self.username, self.root = _present_user(), directory / 'store'
            self.root.mkdir(mode=0o700)
            self.path, self._authorized = str(self.root), directory / 'authorized_keys'
        else:
            assert self._namespace is not None
            self.username, self.path = _ACCOUNT, '/data'
            self.root = Path(f'/proc/{self._namespace.pid}/root/run/jail/data')
            self._authorized = Path('/run/authorized_keys')

    def options(self, key: str = 'ed25519', **more: Any) -> dict[str, Any]:
        """The options of the sftp driver that lead here, and more."""
        return {'host': self.host, 'port': self.port, 'username': self.username,
                'private_key': str(self.keys[key]), 'known_hosts': str(self.known_hosts),
                'path': self.path} | more

    def is_also_at(self, port: int) -> None:
        """Let clients know its keys at another port too, where a proxy stands."""
        self._ports.append(port)
        self._write_known_hosts()

    def log(self) -> str:
        """What the server has said since it was made."""
        return self._log.read_text(errors='replace') if self._log.exists() else ''

    def sessions(self) -> list[int]:
        """The ids of the processes that serve the present connections."""
        return [] if self._process is None else _descendants(self._process.pid)

    def start(self) -> None:
        """Listen on the port that was chosen at the first start."""
        for _ in range(5):
            port = self.port or parts.free_port()
            if self._listens(port):
                self.port = port
                self._write_known_hosts()
                return
            if self.port:
                break
        raise Missing(f'sshd did not start: {self.log()[-2000:] or "it says nothing"}')

    def drop(self) -> None:
        """End all connections; the server goes on listening."""
        deadline = time.monotonic() + SECONDS
        while (sessions := self.sessions()) and time.monotonic() < deadline:
            _kill(sessions)
            time.sleep(0.005)

    def kill(self) -> None:
        """End the server and all its connections, as a crash of its host does."""
        self.drop()  # first, because a server that runs reaps what ends
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGSTOP)  # so that it forks no more
        _kill(_descendants(process.pid))
        process.kill()
        process.wait(SECONDS)

    def restart(self) -> None:
        """Kill what runs and listen on the same port again, with the same files and keys."""
        self.kill()
        self.start()

    def stop(self) -> None:
        self.kill()
        namespace, self._namespace = self._namespace, None
        if namespace is not None:
            namespace.kill()
            namespace.communicate(timeout=SECONDS)

    def _listens(self, port: int) -> bool:
        config = self.directory / 'config'
        config.write_text(_CONFIG.format(
            host=HOST, port=port, directory=self.directory, authorized_keys=self._authorized,
            start=self.path, more=self._more + (
                '' if self._jail is None else '\nChrootDirectory /run/jail')))
        command = [_program('sshd'), '-f', str(config), *self._no_penalties(config)]
        with self._log.open('ab') as log:
            self._process = process = subprocess.Popen(
                [*self._within(), *command, '-D', '-e'], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True, preexec_fn=_adopt_orphans)
        deadline = time.monotonic() + SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if _answers(port):
                return True
            time.sleep(0.01)
        self.kill()
        return False

    def _no_penalties(self, config: Path) -> list[str]:
        """Newer servers lock out an address whose logins fail, which here is everybody's."""
        option = ['-o', 'PerSourcePenalties=no']
        tried = subprocess.run(
            [*self._within(), _program('sshd'), '-t', '-f', str(config), *option],
            capture_output=True, timeout=SECONDS, check=False)
        return option if tried.returncode == 0 else []

    def _within(self) -> list[str]:
        """The words before a command that let it run in the namespace."""
        if self._namespace is None:
            return []
        return [_program('nsenter'), f'--mount=/proc/{self._namespace.pid}/ns/mnt']

    def _enter_namespace(self) -> subprocess.Popen[bytes] | None:
        """A process that keeps the mount namespace, and ends when this one does."""
        namespace = subprocess.Popen(
            [_program('unshare'), '--mount', '--propagation', 'private', 'sh', '-ec', _NAMESPACE,
             'sh', str(self.directory), self._jail or '', str(_USER_ID)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert namespace.stdout is not None
        ready, _, _ = select.select([namespace.stdout], [], [], SECONDS)
        if ready and namespace.stdout.readline() == b'ready\n':
            return namespace
        namespace.kill()
        said = namespace.communicate(timeout=SECONDS)[1].decode(errors='replace').strip()
        if self._jail is not None:
            raise NoJail(f'this host allows no mount namespace: {said}')
        os.makedirs('/run/sshd', mode=0o755, exist_ok=True)  # as the system's own service does
        return None

    def _make_keys(self) -> None:
        kinds = {f'user_{name}': kind for name, kind in KEYS.items()} | {
            'host_ed25519': ['ed25519'], 'host_rsa': KEYS['rsa'], 'user_stranger': ['ed25519']}
        for name, kind in kinds.items():
            subprocess.run(
                [_program('ssh-keygen'), '-q', '-t', *kind, '-C', name,
                 '-N', PASSPHRASE if name == 'user_locked' else '',
                 '-f', str(self.directory / name)],
                stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=True)
        (self.directory / 'authorized_keys').write_text(''.join(
            self.keys[name].with_suffix('.pub').read_text() for name in KEYS))

    def _write_known_hosts(self) -> None:
        lines = [f'[{HOST}]:{port} {(self.directory / name).read_text()}'
                 for port in (self.port, *self._ports)
                 for name in ('host_ed25519.pub', 'host_rsa.pub')]
        self.known_hosts.write_text(''.join(lines))

    def _make_account(self) -> None:
        """passwd, shadow and group of this host with one account more."""
        if os.geteuid() != 0:
            raise NoJail('a jail needs root')
        lines = {'passwd': f'{_ACCOUNT}:x:{_USER_ID}:{_USER_ID}::/:/bin/false',
                 'shadow': f'{_ACCOUNT}:{_hashed(PASSWORD)}:19000:0:99999:7:::',
                 'group': f'{_ACCOUNT}:x:{_USER_ID}:'}
        for name, line in lines.items():
            copy = self.directory / name
            copy.touch(0o600 if name == 'shadow' else 0o644)
            copy.write_text(f'{Path("/etc", name).read_text()}{line}\n')


@contextlib.contextmanager
def serving(*, jail: str | None = None, more: str = '') -> Iterator[Server]:
    """A server with files and keys of its own, all of which are gone afterwards.

    :param jail: options of the jail's tmpfs, such as 'size=64m'. The account sees /data, which is
        its own, and /readonly, which is root's.
    :param more: lines of sshd_config.
    :raises Missing: this machine has no sshd.
    :raises NoJail: it can have none in a jail.
    """
    with tempfile.TemporaryDirectory(prefix='bf-sshd-') as directory, contextlib.ExitStack() as end:
        server = Server(Path(directory), jail, more)
        end.callback(server.stop)
        server.start()
        yield server


def _present_user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise Missing(
            f'sshd lets only accounts in, and user id {os.geteuid()} is none') from None


def _program(name: str) -> str:
    found = shutil.which(name, path=_SYSTEM_PATH)
    if found is None:
        raise Missing(f'{name} is not installed')
    return os.path.realpath(found)


def _hashed(password: str) -> str:
    """As shadow has it; the library is the one that sshd itself asks."""
    try:
        crypt = ctypes.CDLL('libcrypt.so.1').crypt
    except OSError as error:
        raise Missing(f'no password can be hashed: {error}') from error
    crypt.restype = ctypes.c_char_p
    return bytes(crypt(password.encode(), b'$6$' + os.urandom(8).hex().encode())).decode()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=SECONDS) as connection:
            return connection.recv(4) == b'SSH-'
    except OSError:
        return False


def _descendants(process: int) -> list[int]:
    """All processes below one; sessions of sshd leave its process group."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir('/proc'):
        status = _status(int(entry)) if entry.isdigit() else []
        if status:
            children.setdefault(int(status[1]), []).append(int(entry))
    found = [process]
    for parent in found:
        found += children.get(parent, [])
    return found[1:]


def _kill(processes: list[int]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _adopt_orphans() -> None:
    """In the child that becomes the server: what its sessions leave is for it to reap."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _status(process: int) -> list[str]:
    """State, parent and more of a process; nothing when it is gone."""
    try:
        return Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
