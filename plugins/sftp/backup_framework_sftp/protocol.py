"""A client of SFTP version 3 over any stream of bytes, made for whole objects in flight.

paramiko has one, which this replaces: it hides which extensions a server offers, drops the
acknowledgements of pipelined writes and the status of a close, knows neither fsync nor statvfs nor
the server's limits, asks for 32 KiB at a time and copies each byte several times; what would mend
that is private there. So here paramiko, or the system's ssh, only carries the bytes.

A session is used by one thread at a time. Each operation sends its request and gives a `Reply`;
sending several before the first `get` is what pipelining is here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import contextlib
import functools
import struct
from typing import Generic, NoReturn, Protocol, TypeVar

from backup_framework_sftp import packets
from backup_framework_sftp.packets import Fields, Flag, Kind, Malformed, string, u32, u64

T = TypeVar('T')
Buffer = bytes | bytearray | memoryview

REQUEST = 255 << 10
"""The most bytes of a file in one request: what OpenSSH's server takes in its packets."""
SAFE_REQUEST = 32 << 10
"""What every server has to take, also one that does not tell its limits."""
LEAST_REQUEST = 1 << 10
LONGEST_PACKET = (256 << 10) + 64
"""Longer ones are never asked for; OpenSSH has the same bound."""
WINDOW = 4 << 20
"""Bytes of a file that are on their way at most. The channel of OpenSSH's client has 2 MiB."""
MOST_REQUESTS = 128
"""Requests on their way at most: their answers have to fit into what lies between, so that neither
side waits for the other one to read. It is as many as make WINDOW of requests of 32 KiB."""

SPARE = WINDOW // REQUEST
"""Bodies of answers that a session keeps for the next ones."""

LIMITS = b'limits@openssh.com'
FSYNC = b'fsync@openssh.com'
STATVFS = b'statvfs@openssh.com'
POSIX_RENAME = b'posix-rename@openssh.com'
EXTENSIONS = {FSYNC: b'1', STATVFS: b'2', POSIX_RENAME: b'1', LIMITS: b'1'}
"""Those that are used, in the versions that are understood."""

_HEADER = struct.Struct('>IBI')
_STAGE = 64 << 10


class Stream(Protocol):
    """What carries a session; raises OSError, and TimeoutError when nothing moves any more."""

    def sendall(self, data: Buffer, /) -> None: ...

    def recv_into(self, buffer: bytearray | memoryview, /) -> int:
        """How many bytes came, 0 at the end of the stream."""

    def close(self) -> None:
        """End everything behind it; may be called twice."""

    def complaint(self) -> str:
        """What the transport said as it ended, or ''."""

    def is_quiet(self) -> bool:
        """Whether it is alive and has nothing to read, so that it may be used again."""


class SFTPError(Exception):
    """What leaves this module; its text is for people."""


class StatusError(SFTPError):
    """The server refused a request; the session goes on."""

    def __init__(self, code: int, message: str = '') -> None:
        super().__init__(message or packets.name_of(code))
        self.code = code


class ConnectionLost(SFTPError):
    """The stream ended or failed; the session cannot be used any more."""


class ProtocolError(ConnectionLost):
    """The server sent what the protocol does not allow at this place; the session is over."""


class Reply(Generic[T]):
    """The answer to a request that was sent, or will be with the next `get` of any reply."""

    __slots__ = ('_number', '_read', '_session')

    def __init__(self, session: Session, number: int, read: Callable[[int, bytearray], T]) -> None:
        self._session = session
        self._number = number
        self._read = read

    def get(self) -> T:
        """Wait for it; once.

        :raises StatusError: the server refused.
        :raises ConnectionLost: there will be no answer.
        """
        kind, body = self._session.collect(self._number)
        try:
            if kind == Kind.STATUS:
                _require_ok(body)
            return self._read(kind, body)
        except Malformed as error:
            self._session.give_up(ProtocolError(f'the server broke the protocol: {error}'))


class Session:
    """A conversation with a server.

    :param stream: belongs to the session; closed when it cannot be used.
    :raises ConnectionLost: no SFTP server answers there.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._staged = bytearray(_STAGE)
        self._view = memoryview(self._staged)
        self._start = self._end = 0
        self._unsent = bytearray()
        self._number = 0
        self._awaited: set[int] = set()
        self._arrived: dict[int, tuple[int, bytearray]] = {}
        self._spare: list[bytearray] = []
        self._moving = False
        """Set while bytes move: whatever interrupts that leaves no boundary of packets to find."""
        self._lost = False
        self.is_silent = False
        """Whether it was lost because nothing came any more."""
        self.read_size = self.write_size = SAFE_REQUEST
        try:
            self.extensions = self._shake_hands()
            self._ask_limits()
        except BaseException:
            stream.close()
            raise

    # --- operations

    def open(self, path: bytes, flags: Flag, mode: int | None = None) -> Reply[bytes]:
        """A handle."""
        return self._ask(Kind.OPEN, _handle, string(path), u32(flags), packets.mode(mode))

    def close_handle(self, handle: bytes) -> Reply[None]:
        return self._ask(Kind.CLOSE, _nothing, string(handle))

    def read(self, handle: bytes, offset: int, length: int) -> Reply[memoryview]:
        """Up to `length` bytes; StatusError with EOF behind the end."""
        return self._ask(Kind.READ, functools.partial(_data, length),
                         string(handle), u64(offset), u32(length))

    def write(self, handle: bytes, offset: int, data: Buffer) -> Reply[None]:
        """Sent when this returns; `data` may change then."""
        self._require_usable()
        length = len(data)
        self._moving = True
        number = self._queue(Kind.WRITE, (string(handle), u64(offset), u32(length)), length)
        self._flush(data)
        return Reply(self, number, _nothing)

    def stat(self, path: bytes) -> Reply[packets.Attributes]:
        return self._ask(Kind.STAT, _attributes, string(path))

    def lstat(self, path: bytes) -> Reply[packets.Attributes]:
        return self._ask(Kind.LSTAT, _attributes, string(path))

    def fstat(self, handle: bytes) -> Reply[packets.Attributes]:
        return self._ask(Kind.FSTAT, _attributes, string(handle))

    def set_mode(self, path: bytes, mode: int) -> Reply[None]:
        return self._ask(Kind.SETSTAT, _nothing, string(path), packets.mode(mode))

    def set_file_mode(self, handle: bytes, mode: int) -> Reply[None]:
        return self._ask(Kind.FSETSTAT, _nothing, string(handle), packets.mode(mode))

    def open_directory(self, path: bytes) -> Reply[bytes]:
        return self._ask(Kind.OPENDIR, _handle, string(path))

    def read_directory(self, handle: bytes) -> Reply[list[tuple[bytes, packets.Attributes]]]:
        """Some entries; StatusError with EOF behind the last."""
        return self._ask(Kind.READDIR, _names, string(handle))

    def make_directory(self, path: bytes, mode: int) -> Reply[None]:
        return self._ask(Kind.MKDIR, _nothing, string(path), packets.mode(mode))

    def remove_directory(self, path: bytes) -> Reply[None]:
        return self._ask(Kind.RMDIR, _nothing, string(path))

    def remove(self, path: bytes) -> Reply[None]:
        return self._ask(Kind.REMOVE, _nothing, string(path))

    def rename(self, old: bytes, new: bytes) -> Reply[None]:
        """Refused where `new` exists."""
        return self._ask(Kind.RENAME, _nothing, string(old), string(new))

    def replace(self, old: bytes, new: bytes) -> Reply[None]:
        """A rename that takes the place of `new`, where POSIX_RENAME is offered."""
        return self._extended(POSIX_RENAME, _nothing, string(old), string(new))

    def fsync(self, handle: bytes) -> Reply[None]:
        """Where FSYNC is offered."""
        return self._extended(FSYNC, _nothing, string(handle))

    def space(self, path: bytes) -> Reply[packets.Space]:
        """Where STATVFS is offered."""
        return self._extended(STATVFS, _space, string(path))

    def offers(self, extension: bytes) -> bool:
        return self.extensions.get(extension) == EXTENSIONS[extension]

    # --- the conversation

    def is_usable(self) -> bool:
        """Whether another verb may use it: nothing is owed, and the server is still there."""
        unread = self._awaited or self._start != self._end
        return not (self.is_lost or unread) and self._stream.is_quiet()

    @property
    def is_lost(self) -> bool:
        return self._lost or self._moving

    def settle(self) -> None:
        """Wait for all that is owed and forget it; a session that is lost owes nothing."""
        with contextlib.suppress(ConnectionLost):
            while self._awaited:
                self._receive()
                self._arrived.clear()
        self._arrived.clear()

    def close(self) -> None:
        self._lost = True
        self._stream.close()

    def reuse(self, read: list[memoryview]) -> None:
        """Take back data that nobody reads any more: new memory costs more than copying."""
        self._spare = [view.obj for view in read[-SPARE:] if isinstance(view.obj, bytearray)]

    def collect(self, number: int) -> tuple[int, bytearray]:
        """Type and body of the answer to a request, in whatever order answers come."""
        while number not in self._arrived:
            self._receive()
        return self._arrived.pop(number)

    def give_up(self, error: ConnectionLost, cause: BaseException | None = None) -> NoReturn:
        """End the session with this error."""
        self.close()
        raise error from cause

    def _ask(self, kind: Kind, read: Callable[[int, bytearray], T], *fields: bytes) -> Reply[T]:
        """Pack a request. It is sent with the next ones, at the latest when a reply is awaited."""
        self._require_usable()
        return Reply(self, self._queue(kind, fields), read)

    def _extended(self, name: bytes, read: Callable[[int, bytearray], T],
                  *fields: bytes) -> Reply[T]:
        return self._ask(Kind.EXTENDED, read, string(name), *fields)

    def _queue(self, kind: Kind, fields: tuple[bytes, ...], following: int = 0) -> int:
        """The number of a request that is packed now; `following` bytes are sent behind it."""
        number = self._number = (self._number + 1) & 0xffffffff
        body = b''.join(fields)
        self._unsent += _HEADER.pack(5 + len(body) + following, kind, number) + body
        self._awaited.add(number)
        return number

    def _receive(self) -> None:
        """Take one answer from the stream."""
        self._require_usable()
        self._flush()
        self._moving = True
        self._stage(_HEADER.size)
        length, kind, number = _HEADER.unpack_from(self._staged, self._start)
        if number not in self._awaited or not 5 < length <= LONGEST_PACKET:
            self.give_up(ProtocolError(
                f'the server broke the protocol: it sent a packet of {length} bytes and type '
                f'{kind} that nobody asked for'))
        self._start += _HEADER.size
        known = self._spare and len(self._spare[-1]) == length - 5
        body = self._spare.pop() if known else bytearray(length - 5)
        self._fill(memoryview(body))
        self._awaited.remove(number)
        self._arrived[number] = kind, body
        self._moving = False

    def _require_usable(self) -> None:
        if self.is_lost:
            raise ConnectionLost('the connection was lost before')

    def _flush(self, data: Buffer = b'') -> None:
        """Send the requests that wait, and `data` behind the last one."""
        self._moving = True
        unsent, self._unsent = self._unsent, bytearray()
        try:
            for piece in (unsent, data):
                if piece:
                    self._stream.sendall(piece)
        except OSError as error:
            self._fail(error)
        self._moving = False

    def _fill(self, target: memoryview) -> None:
        """Fill `target` from what is staged, then straight from the stream."""
        done = min(len(target), self._end - self._start)
        target[:done] = self._view[self._start:self._start + done]
        self._start += done
        while done < len(target):
            done += self._read(target[done:])

    def _stage(self, size: int) -> None:
        """Have at least `size` bytes staged; as many as come at once."""
        if self._start + size > _STAGE:
            left = self._end - self._start
            self._staged[:left] = self._staged[self._start:self._end]
            self._start, self._end = 0, left
        elif self._start == self._end:
            self._start = self._end = 0
        while self._end - self._start < size:
            self._end += self._read(self._view[self._end:])

    def _read(self, target: memoryview) -> int:
        try:
            count = self._stream.recv_into(target)
        except OSError as error:
            self._fail(error)
        if not count:
            self._fail(None)
        return count

    def _fail(self, error: OSError | None) -> NoReturn:
        self.is_silent = isinstance(error, TimeoutError)
        reason = (error.strerror or str(error) or type(error).__name__) if error else (
            'the server closed it')
        complaint = self._stream.complaint()
        self.give_up(ConnectionLost(
            f'the connection was lost ({reason}{": " if complaint else ""}{complaint})'), error)

    # --- its beginning

    def _shake_hands(self) -> Mapping[bytes, bytes]:
        """Agree on the version; the extensions that the server offers, with their versions."""
        self._unsent += struct.pack('>IBI', 5, Kind.INIT, packets.VERSION)
        self._flush()
        self._moving = True
        self._stage(_HEADER.size)
        length, kind, version = _HEADER.unpack_from(self._staged, self._start)
        if kind != Kind.VERSION or not 5 <= length <= LONGEST_PACKET:
            self._refuse_greeting()
        self._start += _HEADER.size
        body = bytearray(length - 5)
        self._fill(memoryview(body))
        self._moving = False
        if version != packets.VERSION:
            self.give_up(ProtocolError(
                f'the server speaks version {version} of SFTP, and only version 3 is known here'))
        try:
            return dict(Fields(body).rest())
        except Malformed as error:
            self.give_up(ProtocolError(f'the server broke the protocol in its greeting: {error}'))

    def _refuse_greeting(self) -> NoReturn:
        said = packets.printable(bytes(self._staged[self._start:self._end]))
        self.give_up(ProtocolError(
            f'the server does not speak SFTP; it said {said!r}. If that is a greeting, take it '
            'out of what the login shell of this user prints'))

    def _ask_limits(self) -> None:
        if not self.offers(LIMITS):
            return
        try:
            _, reading, writing, _ = self._extended(LIMITS, _four).get()
        except StatusError:
            return
        self.read_size, self.write_size = _limited(reading), _limited(writing)


def _limited(offered: int) -> int:
    """The size of requests for what a server says that it takes; 0 means that it does not tell."""
    return min(max(offered, LEAST_REQUEST), REQUEST) if offered else SAFE_REQUEST


def _require_ok(body: bytearray) -> None:
    fields = Fields(body)
    code = fields.u32()
    if code == packets.Code.OK:
        return
    try:
        message = fields.string()
    except Malformed:  # some servers leave it out
        message = b''
    raise StatusError(code, packets.printable(message))


def _expect(kind: int, wanted: Kind) -> None:
    if kind != wanted:
        raise Malformed(f'packet type {kind} where {wanted.name} ({wanted}) has to be')


def _nothing(kind: int, body: bytearray) -> None:
    _expect(kind, Kind.STATUS)


def _handle(kind: int, body: bytearray) -> bytes:
    _expect(kind, Kind.HANDLE)
    handle = Fields(body).string()
    if not 0 < len(handle) <= 256:
        raise Malformed(f'a handle of {len(handle)} bytes')
    return handle


def _data(wanted: int, kind: int, body: bytearray) -> memoryview:
    _expect(kind, Kind.DATA)
    length = Fields(body).u32()
    if length != len(body) - 4 or length > wanted:
        raise Malformed(f'{length} bytes of a file where {wanted} were asked for')
    return memoryview(body)[4:]


def _attributes(kind: int, body: bytearray) -> packets.Attributes:
    _expect(kind, Kind.ATTRS)
    return Fields(body).attributes()


def _names(kind: int, body: bytearray) -> list[tuple[bytes, packets.Attributes]]:
    _expect(kind, Kind.NAME)
    names = Fields(body).names()
    if not names:
        raise Malformed('a page of a directory without a name')
    for name, _ in names:
        if not name or b'/' in name or b'\0' in name:
            raise Malformed(f'{name[:64]!r} as a name in a directory')
    return names


def _space(kind: int, body: bytearray) -> packets.Space:
    _expect(kind, Kind.EXTENDED_REPLY)
    return Fields(body).space()


def _four(kind: int, body: bytearray) -> tuple[int, int, int, int]:
    _expect(kind, Kind.EXTENDED_REPLY)
    fields = Fields(body)
    return fields.u64(), fields.u64(), fields.u64(), fields.u64()
