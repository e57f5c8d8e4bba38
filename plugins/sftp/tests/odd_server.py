"""An SSH server that does on request what OpenSSH's cannot be told to do."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from pathlib import Path
import socket
import threading
from typing import Any

import paramiko

USER, PASSWORD = 'odd', 'correct-horse-battery'
SECONDS = 15.0


class OddServer(paramiko.ServerInterface):
    """Serves an SFTP that knows nothing but its version.

    :ivar ways: the methods of logging in that it offers.
    :ivar asks: prompts of keyboard-interactive, each whether what is typed shows.
    :ivar silent: where it stops to answer: 'banner', 'login', 'session', 'subsystem', or nowhere.
    :ivar sftp: whether it offers SFTP.
    :ivar tried: the methods that clients tried.
    """

    def __init__(self, directory: Path, address: str = '127.0.0.1') -> None:
        self.host = address
        self.ways = ['password']
        self.asks = [('Password: ', False)]
        self.silent = ''
        self.sftp = True
        self.tried: list[str] = []
        self.released = threading.Event()
        self.key = paramiko.ECDSAKey.generate()
        self._transports: list[Any] = []
        self._listener = socket.create_server(
            (address, 0), family=socket.AF_INET6 if ':' in address else socket.AF_INET)
        self.port = self._listener.getsockname()[1]
        self.known_hosts = directory / 'odd_known_hosts'
        self.known_hosts.write_text(
            f'[{address}]:{self.port} {self.key.get_name()} {self.key.get_base64()}\n')
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def options(self, **more: Any) -> dict[str, Any]:
        return {'host': self.host, 'port': self.port, 'username': USER, 'path': 'x',
                'known_hosts': str(self.known_hosts), **more}

    def stop(self) -> None:
        self.released.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(SECONDS)
        for transport in self._transports:
            transport.close()
            if isinstance(transport, paramiko.Transport):
                transport.join(SECONDS)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.silent == 'connection':
                self._transports.append(client)
            elif self.silent == 'banner':
                client.sendall(b'SSH-2.0-odd\r\n')
                self._transports.append(client)
            else:
                self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        transport = paramiko.Transport(client)
        transport.set_log_channel('odd')
        self._transports.append(transport)
        transport.add_server_key(self.key)
        transport.set_subsystem_handler('sftp', paramiko.SFTPServer)
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            transport.start_server(event=threading.Event(), server=self)

    def _stop_at(self, place: str) -> None:
        if self.silent == place:
            self.released.wait(SECONDS)

    # --- what paramiko asks

    def get_allowed_auths(self, username: str) -> str:
        return ','.join(self.ways)

    def check_auth_none(self, username: str) -> int:
        self._stop_at('login')
        return paramiko.AUTH_FAILED if self.ways else paramiko.AUTH_SUCCESSFUL

    def check_auth_password(self, username: str, password: str) -> int:
        return self._judge('password', password == PASSWORD and username == USER)

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return self._judge('publickey', 'publickey' in self.ways)

    def check_auth_interactive(self, username: str, submethods: str) -> Any:
        self.tried.append('keyboard-interactive')
        return paramiko.InteractiveQuery('odd', 'Answer.', *self.asks)

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        return self._judge('response', responses == [
            '' if shown else PASSWORD for _, shown in self.asks])

    def _judge(self, way: str, good: bool) -> int:
        self.tried.append(way)
        return paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        self._stop_at('session')
        return paramiko.OPEN_SUCCEEDED

    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:
        self._stop_at('subsystem')
        return self.sftp and super().check_channel_subsystem_request(channel, name)


@contextlib.contextmanager
def serving(directory: Path, address: str = '127.0.0.1') -> Iterator[OddServer]:
    """Such a server, known by its key."""
    made = OddServer(directory, address)
    try:
        yield made
    finally:
        made.stop()
