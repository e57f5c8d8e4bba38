"""A loopback server that speaks as Google Cloud Storage does, and misbehaves where a test asks.

    with misbehaving.server() as server:
        server.fail('media', cut(100), at=2)        # the second download is cut
        ...
        assert server.count('media') == 3

A fault stands around the true answer: it may give another one, change it, or have it lost. Kinds of
requests are the names in `json_api.ROUTES`, and 'start', 'status' and 'media'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
import re
import socket
import struct
import sys
import threading
from typing import Any

from plugins.gcs.tests import json_api, messages
from plugins.gcs.tests.messages import Request, Response

Answer = Callable[[Request], Response]
Fault = Callable[[Request, Answer], Response]

STALLED_SECONDS = 60.0


@dataclasses.dataclass
class Seen:
    """What is kept of a request: not its body."""

    kind: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    size: int
    json: Any
    status: int | None = None


@dataclasses.dataclass
class Planned:
    """A fault for the requests number `at` to `at + times - 1` of the kinds that match."""

    kinds: re.Pattern[str]
    fault: Fault
    at: int
    times: int | None
    matched: int = 0

    def due(self, kind: str) -> bool:
        if not self.kinds.fullmatch(kind):
            return False
        self.matched += 1
        return self.at <= self.matched and (
            self.times is None or self.matched < self.at + self.times)


class Server:
    """The server, its storage and its faults.

    :ivar storage: what it keeps; a test may look into it and put something there.
    :ivar seen: all requests, parts of a batch after their batch.
    :ivar connections: how many were opened.
    :ivar breaks_off: set where connections end in the middle of a request's headers: what comes of
        that is no mistake of this server.
    """

    def __init__(self, port: int) -> None:
        self.storage = json_api.Storage()
        self.seen: list[Seen] = []
        self.connections = 0
        self.breaks_off = False
        self.mistakes: list[BaseException | None] = []
        self.url = f'http://127.0.0.1:{port}'
        self.ended = threading.Event()
        self._planned: list[Planned] = []
        self._lock = threading.Lock()

    def fail(self, kinds: str, fault: Fault, at: int = 1, times: int | None = 1) -> None:
        """Plan a fault.

        :param kinds: a regular expression for kinds of requests.
        :param at: the first such request that is met, counted from now.
        :param times: for how many; None for all that come.
        """
        with self._lock:
            self._planned.append(Planned(re.compile(kinds), fault, at, times))

    def behave(self) -> None:
        """Forget all faults that were planned."""
        with self._lock:
            self._planned.clear()

    @contextlib.contextmanager
    def failing(self, kinds: str, fault: Fault) -> Iterator[Callable[[], int]]:
        """In the block all such requests fail; its value counts all requests so far."""
        self.fail(kinds, fault, times=None)
        try:
            yield lambda: len(self.seen)
        finally:
            self.behave()

    def count(self, kinds: str = '.*') -> int:
        """Requests of these kinds that came."""
        return len(self.of(kinds))

    def of(self, kinds: str) -> list[Seen]:
        with self._lock:
            return [seen for seen in self.seen if re.fullmatch(kinds, seen.kind)]

    def forget(self) -> None:
        """Count from zero again."""
        with self._lock:
            self.seen.clear()

    def answer(self, request: Request) -> Response:
        request.kind = self.storage.kind(request)
        is_json = request.headers.get('content-type', '').startswith('application/json')
        seen = Seen(request.kind, request.method, request.path, request.query, request.headers,
                    len(request.body), request.json if is_json else None)
        with self._lock:
            self.seen.append(seen)
            due = [planned.fault for planned in self._planned if planned.due(request.kind)]
        answer: Answer = lambda request: self.storage.answer(request, self.answer)  # noqa: E731
        for fault in due:
            answer = _around(fault, answer)
        response = answer(request)
        seen.status = response.status
        return response


def _around(fault: Fault, answer: Answer) -> Answer:
    return lambda request: fault(request, answer)


@contextlib.contextmanager
def server(bucket: str | None = 'bucket') -> Iterator[Server]:
    """A server with one bucket, running until the block ends."""
    http = _HTTPServer(('127.0.0.1', 0), _Handler)
    http.played = played = Server(http.server_address[1])
    if bucket is not None:
        played.storage.add_bucket(bucket)
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield played
    finally:
        played.ended.set()
        http.shutdown()
        http.end_connections()
        http.server_close()
        thread.join(10)
    if played.mistakes:
        raise AssertionError('the played server made a mistake') from played.mistakes[0]


class _HTTPServer(ThreadingHTTPServer):
    """A thread for each connection, all of them joined at the end."""

    request_queue_size = 128
    daemon_threads = False
    played: Server

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.played.connections += 1
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Without the shutdown that would send an orderly end before a reset."""
        self._open.discard(request)
        self.close_request(request)

    def end_connections(self) -> None:
        for connection in [*self._open]:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may go away in the middle. All else is a mistake of this server."""
        error = sys.exception()
        if not isinstance(error, OSError) and not self.played.breaks_off:
            self.played.mistakes.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _HTTPServer

    def _serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        response = self.server.played.answer(
            Request(self.command, self.path, headers, self._body(headers)))
        if response.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                       struct.pack('ii', 1, 0))
            self.close_connection = True
        elif response.stall_after is not None and not response.body:
            self._stall()
        else:
            self._send(response)

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = do_HEAD = _serve

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get('transfer-encoding', '').lower() != 'chunked':
            return self._read(int(headers.get('content-length', 0)))
        body = b''
        while size := int(self._line().split(b';')[0], 16):
            body += self._read(size)
            self._line()
        self._line()
        return body

    def _read(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionAbortedError('the client went away in the middle of a body')
        return data

    def _line(self) -> bytes:
        line = self.rfile.readline()
        if not line.endswith(b'\n'):
            raise ConnectionAbortedError('the client went away in the middle of a body')
        return line

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.status != 204 and 'Content-Length' not in response.headers:
            self.send_header('Content-Length', str(len(response.body)))
        self.end_headers()
        sent = [length for length in (response.send_only, response.stall_after)
                if length is not None]
        self.wfile.write(response.body[:min(sent, default=None)])
        self.wfile.flush()
        if response.stall_after is not None:
            self._stall()
        if sent:
            self.close_connection = True

    def _stall(self) -> None:
        self.server.played.ended.wait(STALLED_SECONDS)
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Nothing: requests are in `Server.seen`."""


# --- faults

def instead(response: Response) -> Fault:
    """This answer, and nothing is done."""
    return lambda request, answer: response


def status(code: int, reason: str = 'backendError', message: str = '', **headers: str) -> Fault:
    """An error in Google's words; headers by their names with underscores."""
    return instead(messages.error(
        code, reason, message, **{key.replace('_', '-'): value for key, value in headers.items()}))


def reset(request: Request, answer: Answer) -> Response:
    """The connection is reset, and nothing is done."""
    return Response(reset=True)


def lost(request: Request, answer: Answer) -> Response:
    """All is done as asked, and the connection is reset in place of the answer."""
    done = answer(request)
    return dataclasses.replace(done, reset=True)


def stall(request: Request, answer: Answer) -> Response:
    """An answer whose body never comes; one without a body does not come at all."""
    return dataclasses.replace(answer(request), stall_after=0)


def cut(length: int, *, stored_length: bool = True, honest: bool = True) -> Fault:
    """Only so many bytes of the body.

    :param stored_length: the header that tells the object's length stays.
    :param honest: Content-Length is the true one, so that HTTP itself shows the cut.
    """
    def fault(request: Request, answer: Answer) -> Response:
        response = answer(request)
        if not stored_length:
            response.headers.pop('x-goog-stored-content-length', None)
        if honest:
            return dataclasses.replace(response, send_only=length)
        response.body = response.body[:length]
        return response
    return fault


def without(header: str) -> Fault:
    """The answer without a header."""
    def fault(request: Request, answer: Answer) -> Response:
        response = answer(request)
        response.headers.pop(header, None)
        return response
    return fault


def with_header(header: str, value: str) -> Fault:
    def fault(request: Request, answer: Answer) -> Response:
        response = answer(request)
        response.headers[header] = value
        return response
    return fault


def with_json(**values: Any) -> Fault:
    """A JSON answer with other values; None takes one away."""
    def fault(request: Request, answer: Answer) -> Response:
        response = answer(request)
        if response.status == 200 and response.body:
            changed = response.json | values
            response.body = json.dumps(
                {key: value for key, value in changed.items() if value is not None}).encode()
        return response
    return fault


def other_bytes(request: Request, answer: Answer) -> Response:
    """A body of the right length with one bit wrong."""
    response = answer(request)
    middle = len(response.body) // 2
    response.body = (response.body[:middle] + bytes([response.body[middle] ^ 1])
                     + response.body[middle + 1:])
    return response


def html(code: int) -> Fault:
    """What a proxy says in the place of the store."""
    return instead(Response(code, {'Content-Type': 'text/html'}, b'<html>Sorry!</html>'))


def keep_only(length: int) -> Fault:
    """Of a chunk so many bytes are kept, and the 308 says so."""
    def fault(request: Request, answer: Answer) -> Response:
        first = int(request.headers['content-range'].removeprefix('bytes ').split('-')[0])
        shorter = dataclasses.replace(request, body=request.body[:length], headers={
            **request.headers, 'content-range': f'bytes {first}-{first + length - 1}/*'})
        return answer(shorter)
    return fault


def more_range(length: int) -> Fault:
    """A 308 that claims so many bytes more than were kept."""
    def fault(request: Request, answer: Answer) -> Response:
        response = answer(request)
        if response.status == 308:
            kept = int(response.headers.get('Range', 'bytes=0--1').split('-', 1)[1])
            response.headers['Range'] = f'bytes=0-{kept + length}'
        return response
    return fault


keep_nothing = instead(Response(308))
"""A 308 that says that not one byte was kept."""

gone = status(410, 'gone', 'Gone')

held = status(403, 'retentionPolicyNotMet', (
    "Object 'bucket/name' is subject to bucket's retention policy or object retention and cannot "
    'be deleted or overwritten until 2033-05-18T03:33:20.123456-07:00'))

forbidden = status(403, 'forbidden', (
    'backup@project.iam.gserviceaccount.com does not have storage.objects.delete access to the '
    "Google Cloud Storage object. Permission 'storage.objects.delete' denied on resource (or it "
    'may not exist).'))


def listing(change: Callable[[list[Any]], list[Any]]) -> Fault:
    """A page of a listing with its items changed."""
    def fault(request: Request, answer: Answer) -> Response:
        response = answer(request)
        page = response.json
        page['items'] = change(page.get('items', []))
        response.body = json.dumps(page).encode()
        return response
    return fault


def empty_page(request: Request, answer: Answer) -> Response:
    """A page without objects, whose token leads to where the listing is already."""
    after = json_api.after_of(request.query.get('pageToken', ''))
    return messages.as_json({'kind': 'storage#objects',
                             'nextPageToken': json_api.token_of(f'{after}\0')})
