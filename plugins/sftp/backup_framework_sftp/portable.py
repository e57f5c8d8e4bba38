"""paramiko as the transport: works where there is no ssh, and where it could not log in.

Imported when a connection needs it, for paramiko takes a while to load.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
import errno
import logging
import socket
import threading
import time
from typing import TYPE_CHECKING

import paramiko
from paramiko import ssh_exception

from backup_framework import exceptions, model
from backup_framework_sftp import failures, host_keys, login, options, private_keys
from backup_framework_sftp.host_keys import HostKey, KnownHosts, Verdict

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

WINDOW = 16 << 20
"""Bytes that the server may send before we read them: a gigabit a second at 100 ms."""
PACKET = 32 << 10

LOG = logging.getLogger(f'{__name__}.paramiko')
# What paramiko logs as an error, with a traceback, it also raises; the rest is for debugging.
LOG.addFilter(lambda record: record.levelno <= logging.DEBUG)

RSA = ('rsa-sha2-512', 'rsa-sha2-256')
KEY_TYPES = ('ssh-ed25519', 'ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp384', 'ecdsa-sha2-nistp521',
             *RSA)

_BROKEN = (paramiko.SSHException, EOFError, OSError)


class Wire(socket.socket):
    """The socket below, on which paramiko would try to send for ever."""

    patience = 30.0
    _blocked_since: float | None = None

    def send(self, data: ReadableBuffer, flags: int = 0, /) -> int:
        try:
            count = super().send(data, flags)
        except TimeoutError:
            now = time.monotonic()
            self._blocked_since = self._blocked_since or now
            if now - self._blocked_since > self.patience:
                raise ConnectionAbortedError(
                    errno.ECONNABORTED, 'the server does not take what is sent') from None
            raise
        self._blocked_since = None
        return count


class Stream:
    """A channel of paramiko's. Used by one thread at a time."""

    def __init__(self, transport: paramiko.Transport, channel: paramiko.Channel,
                 settings: model.Settings, deadline: float) -> None:
        self._transport = transport
        self._channel = channel
        self._settings = settings
        self._deadline = deadline
        self._greeted = False

    def sendall(self, data: bytes | bytearray | memoryview, /) -> None:
        with memoryview(data) as view, self._waiting():
            sent = 0
            while sent < len(view):
                count = self._channel.send(bytes(view[sent:sent + PACKET]))
                # A transport that has ended drops what it is given and says nothing.
                if not count or not self._transport.is_active():
                    raise ConnectionResetError(errno.ECONNRESET, 'the connection ended')
                sent += count

    def recv_into(self, buffer: bytearray | memoryview, /) -> int:
        with self._waiting():
            data = self._channel.recv(len(buffer))
        if not self._greeted:
            if not data:
                raise failures.no_sftp(self._settings, 'the session ended at once')
            self._greeted = True
            self._channel.settimeout(self._settings.timeout)
        buffer[:len(data)] = data
        return len(data)

    def is_quiet(self) -> bool:
        channel = self._channel
        return (self._transport.is_active() and not channel.closed and not channel.eof_received
                and not channel.recv_ready())

    def complaint(self) -> str:
        error = self._transport.get_exception()
        return '' if error is None or isinstance(error, EOFError) else str(error)

    def close(self) -> None:
        _end(self._transport)

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Around what waits for the server."""
        if not self._greeted:
            self._channel.settimeout(max(0.001, self._deadline - time.monotonic()))
        try:
            yield
        except TimeoutError:
            if not self._greeted:
                raise failures.silent(self._settings) from None
            raise TimeoutError(f'no answer within {self._settings.timeout:g} seconds') from None
        except (paramiko.SSHException, EOFError) as error:
            raise ConnectionResetError(errno.ECONNRESET, _reason(error)) from error


def connect(settings: model.Settings) -> Stream:
    """Connect, know the server, log in, ask for SFTP: in this order, all within the timeout.

    :raises StoreError: one of these failed.
    """
    deadline = time.monotonic() + settings.timeout
    known = host_keys.read(options.local_path(settings.known_hosts))
    keys = private_keys.find(settings)
    wire = dial(settings, deadline)
    transport = start(wire, preferred(known, settings), settings.ciphers)
    try:
        with _alarm(wire, deadline, settings):
            _know(settings, known, greet(transport, settings))
            login.log_in(transport, settings, keys, deadline)
            channel = _open(transport, settings)
    except BaseException:
        _end(transport)
        raise
    if settings.keepalive:
        transport.set_keepalive(settings.keepalive)
    return Stream(transport, channel, settings, deadline)


def ask_key(settings: model.Settings, types: Sequence[str]) -> HostKey | None:
    """The server's host key of one of these types, without logging in; None if it has none.

    :raises StoreError: it cannot be asked.
    """
    deadline = time.monotonic() + settings.timeout
    wire = dial(settings, deadline)
    transport = start(wire, types, settings.ciphers)
    try:
        with _alarm(wire, deadline, settings):
            return greet(transport, settings)
    except exceptions.StoreError as error:
        if isinstance(error.__cause__, ssh_exception.IncompatiblePeer):
            return None
        raise
    finally:
        _end(transport)


def dial(settings: model.Settings, deadline: float) -> Wire:
    """A socket to the server, whichever of its addresses answers."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise failures.unavailable(
            settings, f'its address cannot be found: {error.strerror or error}') from error
    reason: OSError | None = None
    for family, kind, protocol, _, address in found:
        wire = Wire(family, kind, protocol)
        wire.patience = settings.timeout
        try:
            wire.settimeout(max(0.001, deadline - time.monotonic()))
            wire.connect(address)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            wire.close()
            reason = error
        else:
            return wire
    if isinstance(reason, TimeoutError):
        raise failures.silent(settings) from reason
    raise failures.unavailable(settings, (reason and reason.strerror) or str(reason)) from reason


def start(wire: Wire, key_types: Sequence[str], ciphers: Sequence[str]) -> paramiko.Transport:
    """A transport that has sent nothing yet."""
    transport = paramiko.Transport(wire, default_window_size=WINDOW,
                                   default_max_packet_size=PACKET)
    transport.daemon = True
    transport.set_log_channel(LOG.name)
    # Each is longer than all together may take: the alarm ends what is late.
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = 2e4
    security = transport.get_security_options()
    security.key_types = tuple(key_types)
    security.ciphers = tuple(each for each in ciphers if each in security.ciphers)
    return transport


def preferred(known: KnownHosts, settings: model.Settings) -> list[str]:
    """All types of host keys, first those of which the server's key is known."""
    types = known.types(settings.host, settings.port)
    first = [*types, *(RSA if 'ssh-rsa' in types else ())]
    return sorted(KEY_TYPES, key=lambda each: each not in first)


def greet(transport: paramiko.Transport, settings: model.Settings) -> HostKey:
    """Agree on keys with the server; the one that it has proven to have.

    :raises StoreUnavailable: it broke off.
    :raises StoreError: it has no algorithm in common with us.
    """
    if not transport.get_security_options().ciphers:
        raise failures.no_common(settings, 'paramiko knows none of the ciphers')
    try:
        transport.start_client()
        key = transport.get_remote_server_key()
    except ssh_exception.IncompatiblePeer as error:
        raise failures.no_common(settings, str(error)) from error
    except _BROKEN as error:
        raise failures.unavailable(settings, _reason(error)) from error
    return HostKey(key.get_name(), key.asbytes())


def _know(settings: model.Settings, known: KnownHosts, key: HostKey) -> None:
    verdict, line = known.judge(settings.host, settings.port, key)
    if verdict is not Verdict.KNOWN:
        raise failures.host_key(settings, known, verdict, (key.type, key.fingerprint),
                                line.number if line else None)


def _open(transport: paramiko.Transport, settings: model.Settings) -> paramiko.Channel:
    try:
        channel = transport.open_session()
    except _BROKEN as error:
        raise failures.unavailable(settings, f'no session: {_reason(error)}') from error
    try:
        channel.invoke_subsystem('sftp')
    except _BROKEN as error:
        if not transport.is_active():
            raise failures.unavailable(settings, _reason(error)) from error
        raise failures.no_sftp(settings) from error
    return channel


def _end(transport: paramiko.Transport) -> None:
    """End the connection and the threads behind it."""
    transport.close()
    transport.sock.close()
    # Else the timer of the handshake, a thread, would outlive it.
    transport.packetizer.complete_handshake()
    if transport.ident is not None:
        transport.join(5)


@contextlib.contextmanager
def _alarm(wire: Wire, deadline: float, settings: model.Settings) -> Iterator[None]:
    """Break the connection off at the deadline: paramiko waits for some answers without end.

    :raises StoreUnavailable: that has happened.
    """
    late = threading.Event()

    def ring() -> None:
        late.set()
        with contextlib.suppress(OSError):
            wire.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(deadline - time.monotonic(), ring)
    timer.daemon = True
    timer.start()
    failure: exceptions.StoreError | None = None
    try:
        yield
    except exceptions.StoreError as error:
        failure = error
    finally:
        timer.cancel()
        timer.join()
    if late.is_set():
        raise failures.silent(settings) from failure
    if failure is not None:
        raise failure


def _reason(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else '') or str(error)
    return text or 'the server ended the connection'
