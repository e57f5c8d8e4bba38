"""A TCP proxy on loopback that fails on request, for tests of what clients do then.

    with proxy.before(server.host, server.port) as between:
        between.cut(after=4096, way='down')

What it does can be changed while connections are open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import socket
import struct
import threading
import time
from typing import Literal

from tools.servers import parts

HOST = '127.0.0.1'
SECONDS = 10.0
_PIECE = 64 << 10

Way = Literal['up', 'down']
"""Up is from the client to the server."""

Act = Literal['cut', 'reset', 'half-close', 'stall', 'swallow']


@dataclasses.dataclass(eq=False)
class _Rule:
    """What happens to a connection when `after` bytes more have gone one way."""

    act: Act
    after: int
    way: Way | None
    times: int | None = None

    def concerns(self, way: Way) -> bool:
        return self.way in (None, way)


class _Link:
    """A client's connection and the one made for it to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rule: _Rule | None = None
        self.passed = 0
        self.pumps = 2
        self.spoiled = False

    def count(self, rule: _Rule) -> int:
        """Bytes that may still pass under this rule."""
        if self.rule is not rule:
            self.rule, self.passed = rule, 0
        return max(0, rule.after - self.passed)

    def cut(self) -> None:
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """As `cut`, and what each side sends after that is answered with a reset."""
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.cut()

    def close(self) -> None:
        self.client.close()
        self.server.close()


class Proxy:
    """Passes bytes on until it is told otherwise.

    :ivar port: where it listens.
    :ivar connections: how many were accepted so far.
    :ivar passed: bytes that went each way so far.
    :ivar delay: seconds that each piece waits before it is passed on.
    """

    host = HOST

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.port = parts.free_port()
        self.connections = 0
        self.passed: dict[Way, int] = {'up': 0, 'down': 0}
        self.delay = 0.0
        self._rule: _Rule | None = None
        self._links: set[_Link] = set()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self._listen()

    @property
    def open(self) -> int:
        """Connections that are open now."""
        with self._changed:
            return len(self._links)

    def cut(self, after: int = 0, way: Way | None = None, times: int | None = 1) -> None:
        """End a connection after so many bytes more one way, or either way.

        :param times: how many connections are ended so; None for all.
        """
        self._set(_Rule('cut', after, way, times))

    def reset(self, after: int = 0, way: Way | None = None, times: int | None = 1) -> None:
        """As `cut`, by a reset."""
        self._set(_Rule('reset', after, way, times))

    def half_close(self, after: int = 0, way: Way | None = None, times: int | None = 1) -> None:
        """End one way only: who receives hears an end, who sends hears nothing."""
        self._set(_Rule('half-close', after, way, times))

    def stall(self, after: int = 0, way: Way | None = None) -> None:
        """Let no byte more through on each connection, until `heal`."""
        self._set(_Rule('stall', after, way))

    def swallow(self, after: int = 0, way: Way | None = None) -> None:
        """A black hole: connections are accepted, bytes are taken, and none arrives."""
        self._set(_Rule('swallow', after, way))

    def drop(self) -> None:
        """End all connections; new ones are accepted."""
        with self._changed:
            for link in self._links:
                link.cut()

    def refuse(self) -> None:
        """End all connections and refuse new ones, until `heal`."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()
        self.drop()

    def heal(self) -> None:
        """Pass everything on again. Connections that lost bytes are ended."""
        with self._changed:
            for link in self._links:
                if link.spoiled:
                    link.cut()
        self._set(None)
        self.delay = 0.0
        if self._listener is None:
            self._listen()

    def stop(self) -> None:
        self.refuse()
        self._set(None)
        for thread in self._threads:
            thread.join(SECONDS)

    def _set(self, rule: _Rule | None) -> None:
        with self._changed:
            self._rule = rule
            self._changed.notify_all()

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, self.port))
        listener.listen(64)
        self._listener = listener
        self._run(self._accept, listener)

    def _run(self, function: Callable[..., None], *args: object) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=function, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(self._target, SECONDS)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            self._join(_Link(client, server), listener)

    def _join(self, link: _Link, listener: socket.socket) -> None:
        with self._changed:
            self._links.add(link)
        if listener is not self._listener:
            link.cut()
        self._run(self._pump, link, link.client, link.server, 'up')
        self._run(self._pump, link, link.server, link.client, 'down')

    def _pump(self, link: _Link, source: socket.socket, target: socket.socket, way: Way) -> None:
        try:
            while data := source.recv(_PIECE):
                self._pass(link, memoryview(data), target, way)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            link.cut()  # a reset on one side ends both
        with self._changed:
            link.pumps -= 1
            if not link.pumps:
                self._links.discard(link)
                link.close()

    def _pass(self, link: _Link, data: memoryview, target: socket.socket, way: Way) -> None:
        if self.delay:
            time.sleep(self.delay)
        while data:
            size, act = self._judge(link, way, len(data))
            target.sendall(data[:size])
            data = data[size:]
            match act:
                case 'cut' | 'reset':
                    link.cut() if act == 'cut' else link.reset()
                    return
                case 'half-close':
                    target.shutdown(socket.SHUT_WR)
                    return
                case 'swallow':
                    return

    def _judge(self, link: _Link, way: Way, size: int) -> tuple[int, str]:
        """How much of a piece passes now, and what happens then. Waits while it is stalled."""
        with self._changed:
            while ((rule := self._rule) is not None and rule.act == 'stall' and rule.concerns(way)
                   and not link.count(rule)):
                self._changed.wait(SECONDS)
            if rule is None or not rule.concerns(way):
                self.passed[way] += size
                return size, 'pass'
            allowed = min(size, link.count(rule))
            link.passed += allowed
            self.passed[way] += allowed
            return allowed, self._act(link, rule) if not link.count(rule) else 'pass'

    def _act(self, link: _Link, rule: _Rule) -> str:
        if rule.act in ('swallow', 'half-close'):
            link.spoiled = True
        if rule.times is not None:
            rule.times -= 1
            if not rule.times:
                self._rule = None
        return rule.act


@contextlib.contextmanager
def before(host: str, port: int) -> Iterator[Proxy]:
    """A proxy in front of a server; its connections are ended afterwards."""
    proxy = Proxy(host, port)
    try:
        yield proxy
    finally:
        proxy.stop()
