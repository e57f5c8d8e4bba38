"""An object while it is read and while it is written: many requests on their way at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import os
import stat

from backup_framework import exceptions
from backup_framework_sftp.packets import Attributes, Code
from backup_framework_sftp.protocol import (
    FSYNC,
    LEAST_REQUEST,
    MOST_REQUESTS,
    WINDOW,
    Reply,
    Session,
    SFTPError,
    StatusError,
)

Guard = Callable[[], contextlib.AbstractContextManager[None]]


@dataclasses.dataclass(slots=True)
class Piece:
    """A part of an object that was asked for."""

    offset: int
    length: int
    reply: Reply[memoryview]


class Reader:
    """An object that is being read, whole or in ranges.

    Up to WINDOW bytes are asked for before they are read. After a `seek` it is at first no more
    than what is read, so that a reader of ranges does not fetch what lies between them.

    :param handle: of its file, closed by `close`.
    :param size: what its name had when the file was opened; the file has to have as many bytes.
    :param guard: a block around requests that makes StoreErrors of their errors.
    """

    def __init__(self, session: Session, handle: bytes, size: int, spelled: str,
                 guard: Guard) -> None:
        self._session = session
        self._handle: bytes | None = handle
        self._size = size
        self._spelled = spelled
        self._guard = guard
        self._status: Reply[Attributes] | None = session.fstat(handle)
        self._request = session.read_size
        self._position = 0
        self._origin: int | None = None
        self._asked = 0
        self._pieces: deque[Piece] = deque()
        self._rest = memoryview(b'')
        self._broken = False

    def read(self, size: int | None = -1, /) -> bytes:
        """The next `size` bytes, all that are left without it, fewer only at the end."""
        left = max(0, self._size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        with self._step():
            return self._take(wanted)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        position = start + offset
        if position < 0:
            raise ValueError('a position before the start of the object')
        if position != self._position:
            with self._step():
                self._confirm_size()
                self._session.settle()
            self._pieces.clear()
            self._rest = memoryview(b'')
            self._position = self._origin = self._asked = position
        return position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        """What is still on its way is waited for, as the session goes on to another verb."""
        _let_go(self._session, self._handle)
        self._handle = None
        # An idle session keeps no memory for the next one.
        self._session.reuse([])

    @contextlib.contextmanager
    def _step(self) -> Iterator[None]:
        """Around requests: after one that failed, where the reader stands is not known."""
        if self._handle is None:
            raise _not_open(self._spelled)
        if self._broken:
            raise exceptions.StoreUnavailable(f'{self._spelled}: reading it failed before')
        self._broken = True
        with self._guard():
            yield
        self._broken = False

    def _take(self, wanted: int) -> bytes:
        end = self._position + wanted
        ahead = min(WINDOW, end if self._origin is None else self._position - self._origin)
        self._ask(end, ahead)
        self._confirm_size()
        parts, used = [], []
        while self._position < end:
            if not self._rest:
                self._rest = self._next_piece()
                self._ask(end, ahead)
            part = self._rest[:end - self._position]
            self._rest = self._rest[len(part):]
            self._position += len(part)
            parts.append(part)
            if not self._rest:
                used.append(part)
        data = b''.join(parts)
        self._session.reuse(used)
        return data

    def _ask(self, end: int, ahead: int) -> None:
        """Ask for what is read now, then in whole requests for what may be read next.

        :param end: of what is read now.
        :param ahead: how many bytes more.
        """
        stop = self._size if ahead else end
        while self._asked < stop and self._has_room():
            length = min(self._request, stop - self._asked)
            if self._asked >= end and self._asked + length > end + ahead:
                return
            self._pieces.append(self._piece(self._asked, length))
            self._asked += length

    def _has_room(self) -> bool:
        """Whether more may be on its way."""
        return not self._pieces or (self._asked - self._pieces[0].offset < WINDOW
                                    and len(self._pieces) < MOST_REQUESTS)

    def _piece(self, offset: int, length: int) -> Piece:
        assert self._handle is not None
        return Piece(offset, length, self._session.read(self._handle, offset, length))

    def _next_piece(self) -> memoryview:
        piece = self._pieces.popleft()
        try:
            data = piece.reply.get()
        except StatusError as error:
            if error.code != Code.EOF:
                raise
            data = memoryview(b'')
        if len(data) < min(piece.length, LEAST_REQUEST):
            raise exceptions.StoreUnavailable(
                f'{self._spelled} has {self._size} bytes, but the server sent {len(data)} where '
                f'{piece.length} were asked for at {piece.offset}')
        left = piece.length - len(data)
        if left:
            self._request = max(LEAST_REQUEST, len(data))
            self._pieces.appendleft(self._piece(piece.offset + len(data), left))
        return data

    def _confirm_size(self) -> None:
        """Compare the size of the open file with that of the name, once."""
        status, self._status = self._status, None
        if status is None:
            return
        size = status.get().size
        if size != self._size:
            raise exceptions.StoreUnavailable(
                f'{self._spelled} had {self._size} bytes and has {size} now: it was replaced '
                'while it was opened')


class Writer:
    """An object that is being written, to a temporary name. Small pieces are gathered.

    A bad acknowledgement is the error of the `write` that finds it, at the latest of `finish`.

    :param handle: of the temporary file.
    :param mode: permissions that the object is to have.
    :param guard: a block around requests that makes StoreErrors of their errors.
    """

    def __init__(self, session: Session, handle: bytes, mode: int, spelled: str,
                 guard: Guard) -> None:
        self._session = session
        self._handle: bytes | None = handle
        self._mode = mode
        self._spelled = spelled
        self._guard = guard
        self._buffer = memoryview(bytearray(session.write_size))
        self._held = 0
        self._sent = 0
        self._mode_set = session.set_file_mode(handle, mode)
        self._written: deque[Reply[None]] = deque()
        self._in_flight = min(max(1, WINDOW // session.write_size), MOST_REQUESTS)
        self._broken = False

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Write all of it; how many bytes that were."""
        view = memoryview(data).cast('B')
        self._require_whole()
        self._broken = True
        with self._guard():
            self._take(view)
        self._broken = False
        return len(view)

    @property
    def size(self) -> int:
        """Bytes of the object so far."""
        return self._sent + self._held

    def finish(self) -> bool:
        """Return when all bytes are in the file, and on the disk where the server offers that.

        :returns: whether the file has the permissions that it is to have.
        """
        handle = self._require_whole()
        if self._held:
            self._send(self._buffer[:self._held])
            self._held = 0
        while self._written:
            self._written.popleft().get()
        found = self._session.fstat(handle)
        synced = self._session.fsync(handle) if self._session.offers(FSYNC) else None
        attributes = found.get()
        if synced is not None:
            synced.get()
        if attributes.size not in (None, self._sent):
            raise exceptions.StoreUnavailable(
                f'the server has {attributes.size} bytes of {self._spelled}, and {self._sent} '
                'were written')
        self._handle = None
        self._session.close_handle(handle).get()
        return self._has_mode(attributes)

    def abandon(self) -> None:
        """Let go of the file."""
        _let_go(self._session, self._handle)
        self._handle = None

    def _take(self, view: memoryview) -> None:
        if self._held:
            part = view[:len(self._buffer) - self._held]
            self._hold(part)
            view = view[len(part):]
            if self._held == len(self._buffer):
                self._send(self._buffer)
                self._held = 0
        while len(view) >= len(self._buffer):
            self._send(view[:len(self._buffer)])
            view = view[len(self._buffer):]
        self._hold(view)

    def _hold(self, part: memoryview) -> None:
        self._buffer[self._held:self._held + len(part)] = part
        self._held += len(part)

    def _send(self, data: memoryview) -> None:
        assert self._handle is not None
        self._written.append(self._session.write(self._handle, self._sent, data))
        self._sent += len(data)
        while len(self._written) > self._in_flight:
            self._written.popleft().get()

    def _require_whole(self) -> bytes:
        """The handle, if all went well so far."""
        if self._handle is None:
            raise _not_open(self._spelled)
        if self._broken:
            raise exceptions.StoreUnavailable(f'{self._spelled}: writing it failed before')
        return self._handle

    def _has_mode(self, attributes: Attributes) -> bool:
        # Where it is refused, what the file has counts: no object is worth less for its mode.
        with contextlib.suppress(StatusError):
            self._mode_set.get()
        return attributes.mode is None or stat.S_IMODE(attributes.mode) == self._mode


def _let_go(session: Session, handle: bytes | None) -> None:
    """Close a file, and wait for what is still on its way: another verb may have the session."""
    with contextlib.suppress(SFTPError):
        if handle is not None:
            session.close_handle(handle)
    session.settle()


def _not_open(spelled: str) -> exceptions.StoreError:
    return exceptions.StoreError(f'{spelled} is not open any more')
