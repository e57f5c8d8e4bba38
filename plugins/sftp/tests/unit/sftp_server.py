"""The SFTP server of OpenSSH at the other end of a pair of sockets: no SSH, so it is quick."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
from typing import Any

from backup_framework_sftp.driver import SFTPBackupDriver

PROGRAM = '/usr/lib/openssh/sftp-server'


class ServerStream:
    """A stream to a server process of its own.

    :param options: of sftp-server, such as `-R` or `-P fsync`.
    """

    def __init__(self, *options: str, directory: str | None = None, timeout: float = 20.0) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(timeout)
        with theirs:
            self.process = subprocess.Popen(
                [PROGRAM, '-e', *options], stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL,
                cwd=directory)
        self.sendall = self._socket.sendall
        self.recv_into = self._socket.recv_into

    def close(self) -> None:
        self._socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait()

    def complaint(self) -> str:
        return ''

    def is_quiet(self) -> bool:
        return not select.select([self._socket], [], [], 0)[0]


class DirectDriver(SFTPBackupDriver):
    """The driver on servers that are its own children."""

    options: tuple[str, ...] = ()

    def connect(self) -> ServerStream:
        return ServerStream(*self.options)


def make_driver(path: os.PathLike[str] | str, *options: str, **values: Any) -> DirectDriver:
    kind = type('Driver', (DirectDriver,), {'options': options})
    return kind.make(**{'host': 'localhost', 'path': str(path)} | values)
