"""A real NFS server with a client, in user space and in a network namespace of their own.

A test module gets the fixture `nfs` with `pytest_plugins = ('tests.functional.nfs_rig',)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import ctypes.util
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

from backup_framework.engine import mounts

CLIENT = pathlib.Path(__file__).with_name('nfs_client.py')
LONGEST_RUN = 900
"""Seconds after which the client ends, so that a call that hangs fails at last."""

PORTS = {'rpcbind': 111, 'nfs': 12049, 'mount': 12050}
PROGRAMS = {'ganesha.nfsd': 'nfs-ganesha', 'rpcbind': 'rpcbind', 'fusermount3': 'fuse3',
            'ip': 'iproute2', 'nsenter': 'util-linux', 'unshare': 'util-linux'}

SERVER_CONFIGURATION = """
NFS_CORE_PARAM {{
    NFS_Port = {nfs}; MNT_Port = {mount}; Protocols = 3; Enable_UDP = false;
    Enable_NLM = false; Enable_RQUOTA = false; mount_path_pseudo = true;
}}
NFSv4 {{ Graceless = true; RecoveryBackend = fs; RecoveryRoot = {directory}/recovery; }}
NFS_KRB5 {{ Active_krb5 = false; }}
EXPORT {{
    Export_Id = 1; Path = {directory}/export; Pseudo = /export; Access_Type = RW;
    Squash = No_Root_Squash; SecType = sys; Protocols = 3; Transports = TCP;
    FSAL {{ Name = VFS; }}
}}
"""


@pytest.fixture(scope='session')
def nfs(tmp_path_factory: pytest.TempPathFactory,
        require_part: Callable[[str, str], None]) -> Iterator[NfsRig]:
    """A mounted NFS share and its server."""
    if reason := cannot_run():
        pytest.skip(f'nfs: {reason}')
    if reason := missing():
        require_part('nfs', reason)
    with NfsRig(tmp_path_factory.mktemp('nfs')) as rig:
        yield rig


def cannot_run() -> str | None:
    """Why no machine setup makes the rig run here, or None."""
    if os.geteuid() != 0:
        return 'network namespaces and mounts need root'
    if not os.path.exists('/dev/fuse'):
        return 'this kernel has no /dev/fuse'
    return None


def missing() -> str | None:
    """What has to be installed for the rig, or None."""
    path = f'{os.environ.get("PATH", "")}:/usr/sbin:/sbin'
    packages = [package for program, package in PROGRAMS.items()
                if not shutil.which(program, path=path)]
    if not any(map(os.path.exists, map(_plugin_in, ('lib', 'lib64', 'lib/x86_64-linux-gnu',
                                                    'lib/aarch64-linux-gnu')))):
        packages.append('nfs-ganesha-vfs')
    if not ctypes.util.find_library('nfs'):
        packages.append('libnfs-utils')
    if importlib.util.find_spec('mfusepy') is None:
        packages.append('mfusepy (of PyPI)')
    return f'not installed: {", ".join(dict.fromkeys(packages))}' if packages else None


class NfsRig:
    """A running server and a mounted share.

    :param directory: an empty directory on a file system with file handles (ext4, xfs, btrfs).
    """

    file_system_type = 'fuse.libnfs'
    """What mountinfo calls the share: for the driver's `accepted_types`."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.export = directory / 'export'
        """The exported directory as the server has it."""
        self.path = directory / 'mounted'
        """The share as the client has it."""
        self._space = f'bfnfs{os.getpid()}'
        self._server: subprocess.Popen[bytes] | None = None
        self._cleaning = contextlib.ExitStack()

    def __enter__(self) -> NfsRig:
        try:
            self._set_up()
        except BaseException:
            self._cleaning.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._cleaning.close()

    def start_server(self, after: float = 0) -> None:
        """Return when it takes connections, or at once if it is to start after some seconds.

        Only the main thread may call this: the server dies with the thread that started it.
        """
        if self._server is not None:
            return
        self._server = self._start('server', self._inside(
            'sh', '-c', 'sleep $0; exec "$@"', after, 'ganesha.nfsd', '-F',
            '-L', self.directory / 'ganesha.log', '-N', 'NIV_EVENT',
            '-f', self.directory / 'ganesha.conf', '-p', self.directory / 'ganesha.pid'))
        for name in ('nfs', 'mount') if not after else ():
            self._wait_for_port(self._server, PORTS[name])

    def kill_server(self) -> None:
        """Kill it as a crash would; what clients ask for then waits until it is started again."""
        server, self._server = self._server, None
        if server is not None:
            server.kill()
            server.wait()

    def mount(self) -> None:
        """Mount the share at `path`."""
        url = f'nfs://127.0.0.1/export?version=3&nfsport={PORTS["nfs"]}&mountport='
        client = self._start('client', self._namespace(
            sys.executable, CLIENT, url + str(PORTS['mount']), self.path, LONGEST_RUN))
        self._wait(client, self._is_mounted)

    def unmount(self) -> None:
        """Take the share away from `path`; who has it open keeps it."""
        while self._is_mounted():
            subprocess.run(['umount', '-l', self.path], check=True)

    def _is_mounted(self) -> bool:
        """Asked of the kernel: a mount whose client has died answers nothing."""
        return any(mount.mount_point == str(self.path) for mount in mounts.mounts())

    def _set_up(self) -> None:
        for name in ('export', 'mounted', 'recovery', 'run'):
            (self.directory / name).mkdir()
        (self.directory / 'ganesha.conf').write_text(
            SERVER_CONFIGURATION.format(directory=self.directory, **PORTS))
        subprocess.run(['ip', 'netns', 'add', self._space], check=True)
        self._cleaning.callback(subprocess.run, ['ip', 'netns', 'del', self._space], check=False)
        subprocess.run(['ip', '-n', self._space, 'link', 'set', 'lo', 'up'], check=True)
        rpcbind = self._start('rpcbind', self._inside('rpcbind', '-f'))
        self._wait_for_port(rpcbind, PORTS['rpcbind'])
        self._cleaning.callback(self.kill_server)
        self.start_server()
        self.mount()
        self._cleaning.callback(self.unmount)

    def _namespace(self, *command: object) -> list[str]:
        """The command in the network namespace. It dies with the thread that starts it."""
        return ['setpriv', '--pdeathsig', 'KILL', 'nsenter', f'--net=/run/netns/{self._space}',
                *map(str, command)]

    def _inside(self, *command: object) -> list[str]:
        """The same with a /run of its own, where a system's rpcbind has its socket and lock."""
        script = 'mount --bind "$0" /run && exec "$@"'
        return self._namespace('unshare', '--mount', '--propagation', 'private', 'sh', '-c',
                               script, self.directory / 'run', *command)

    def _start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        path = f'{os.environ.get("PATH", "")}:/usr/sbin:/sbin'
        with open(self.directory / f'{name}.out', 'ab') as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output,
                                       stderr=subprocess.STDOUT, env=os.environ | {'PATH': path})
        self._cleaning.callback(_end, process)
        return process

    def _wait_for_port(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._wait(process, lambda: _listens(process.pid, port))

    def _wait(self, process: subprocess.Popen[bytes], done: Callable[[], bool],
              seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if process.poll() is not None or time.monotonic() > deadline:
                said = ''.join(file.read_text(errors='replace')[-2000:]
                               for file in sorted(self.directory.glob('*.out'))
                               + sorted(self.directory.glob('ganesha.log')))
                raise RuntimeError(f'{process.args} did not come up: {said}')
            time.sleep(0.02)


def _plugin_in(place: str) -> str:
    return f'/usr/{place}/ganesha/libfsalvfs.so'


def _listens(pid: int, port: int) -> bool:
    """Whether somebody listens at a TCP port in the network namespace of a process."""
    for table in ('tcp', 'tcp6'):
        with contextlib.suppress(OSError), open(f'/proc/{pid}/net/{table}') as lines:
            for line in lines:
                fields = line.split()
                if fields[1].endswith(f':{port:04X}') and fields[3] == '0A':
                    return True
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
