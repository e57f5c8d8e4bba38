"""The embedded server: cheroot with a bounded pool of threads, and bounds for what clients send."""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from cheroot import connections, makefile, server, wsgi

from backup_framework.exceptions import ConfigurationError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from backup_framework.conf.api import ApiConfig

LOG = logging.getLogger(__name__)

HEADER_BYTES = 32 << 10
"""Of a request, its first line included."""

_IDLE_CONNECTIONS = 1000
_BACKLOG = 128


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Processes that are forked afterwards may share it.

    :param port: 0 is any that is free.
    :raises ConfigurationError: it cannot listen there.
    """
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    try:
        made = socket.create_server((host, port), family=family, backlog=_BACKLOG,
                                    dualstack_ipv6=host == '::' and socket.has_dualstack_ipv6())
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error
        raise ConfigurationError(
            f'the API cannot listen on {host} port {port}: {reason}; see host and port in '
            f'[api]') from None
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Of several processes one gets a connection; the others must not wait for another.
    made.setblocking(False)
    return made


def serve(application: WSGIApplication, options: ApiConfig, listener: socket.socket | None = None
          ) -> Server:
    """What answers requests; the caller calls `start`, which returns after a `stop`.

    :param listener: from `listen`; None is a new one with the host and port of the options.
    :raises ConfigurationError: it cannot listen there.
    """
    made = Server(application, options, listener or listen(options.host, options.port))
    made.prepare()
    return made


class _Input(socket.SocketIO):
    """Bytes of a client, which must have come until a deadline."""

    deadline = 0.0

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, 'r')
        self._patience = sock.gettimeout()

    def readinto(self, buffer: Any) -> int | None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError('timed out')
        sock: socket.socket = self._sock  # type: ignore[attr-defined]
        sock.settimeout(left)
        try:
            return super().readinto(buffer)
        finally:
            sock.settimeout(self._patience)


class _Reader(makefile.StreamReader):

    def __init__(self, sock: socket.socket, bufsize: int) -> None:
        # The class between would read without a deadline.
        super(makefile.StreamReader, self).__init__(_Input(sock), bufsize)
        self.bytes_read = 0


class _Headers(server.HeaderReader):
    """Leaves out what has an underscore: X_Project_Id would pass for X-Project-Id."""

    def _allow_header(self, key_name: bytes) -> bool:
        # cheroot's own reader that does so compares bytes with a text, and fails.
        return b'_' not in key_name


class _Once(dict[bytes, bytes]):
    """Headers of which some may not be said twice: cheroot would take the last."""

    def __setitem__(self, name: bytes, value: bytes) -> None:
        if name in self and name in (b'Content-Length', b'Transfer-Encoding', b'Host'):
            raise ValueError(f'{name.decode()} is given twice.')
        super().__setitem__(name, value)


class _RequestHandler(server.HTTPRequest):
    """Lets nothing in doubt about where a body ends: what is behind it is another request, perhaps
    of another client of the same proxy.
    """

    header_reader = _Headers()

    def read_request_headers(self) -> bool:
        self.inheaders = _Once()
        if not super().read_request_headers():  # type: ignore[no-untyped-call]
            return False
        length = self.inheaders.get(b'Content-Length')
        coded = b'Transfer-Encoding' in self.inheaders
        if length is not None and (coded or not length.isdigit()):
            self.simple_response('400 Bad Request', 'Malformed Content-Length Header.')
            return False
        if coded:
            # Nobody may have read the chunks to their end.
            self.close_connection = True
        return True


class _Connection(server.HTTPConnection):
    """One whose client must send each request, its body included, within the time limit."""

    RequestHandlerClass = _RequestHandler

    def __init__(self, owner: Server, sock: socket.socket, make: Any = makefile.MakeFile) -> None:
        super().__init__(owner, sock, make)
        self.rfile = _Reader(sock, self.rbufsize)

    def communicate(self) -> bool:
        self.rfile.raw.deadline = time.monotonic() + self.server.timeout
        return bool(super().communicate())  # type: ignore[no-untyped-call]


class Server(wsgi.Server):
    """Serves an application; see `serve`. `stop` is to be called by another thread than `start`'s,
    and returns when the requests that were being answered have been.
    """

    ConnectionClass = _Connection
    max_request_header_size = HEADER_BYTES
    keep_alive_conn_limit = _IDLE_CONNECTIONS

    def __init__(self, application: WSGIApplication, options: ApiConfig,
                 listener: socket.socket) -> None:
        super().__init__(
            listener.getsockname()[:2], application, numthreads=options.threads,
            max=options.threads, server_name='backup-framework', request_queue_size=_BACKLOG,
            timeout=options.request_timeout, shutdown_timeout=options.request_timeout)
        self._listener = listener
        # The application refuses what is too large in its own words, as far as that is sensible.
        self.max_request_body_size = 2 * options.max_request_body_size + HEADER_BYTES

    def prepare(self) -> None:
        """As cheroot's, but for the socket: ours is there, and may be that of other processes."""
        self._interrupt = None
        self.software = self.software or f'{self.version} Server'
        self.socket = self._listener
        self._connections = connections.ConnectionManager(self)
        self.requests.start()
        self.ready = True
        self._start_time = time.time()

    def start(self) -> None:
        """Serve until `stop` is called."""
        self.serve()

    @property
    def port(self) -> int:
        """The one that it listens on."""
        return int(self.bind_addr[1])

    def process_conn(self, conn: _Connection) -> None:
        """One that has not sent anything yet waits without a thread."""
        if conn.last_used is None:
            self._connections.put(conn)
        else:
            super().process_conn(conn)

    def error_log(self, msg: str = '', level: int = logging.INFO, traceback: bool = False
                  ) -> None:
        LOG.log(level, '%s', msg, exc_info=traceback)
