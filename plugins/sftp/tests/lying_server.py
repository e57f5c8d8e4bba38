"""An SFTP server without SSH, on a directory, that lies when it is told to.

Without lies it behaves as OpenSSH's does; the lies are in `lies`.
"""

from __future__ import annotations

from collections import Counter
import contextlib
import dataclasses
import errno
import os
from pathlib import Path
import select
import socket
import stat
import struct
import threading
from typing import Any

from backup_framework_sftp import packets
from backup_framework_sftp.packets import Code, Fields, Flag, Kind, string, u32, u64

from plugins.sftp.tests.lies import HangUp, Honest, Lie, Request, packet, space, status

POSIX_RENAME, FSYNC, STATVFS, LIMITS = (
    b'posix-rename@openssh.com', b'fsync@openssh.com', b'statvfs@openssh.com',
    b'limits@openssh.com')
EXTENSIONS = {POSIX_RENAME: b'1', FSYNC: b'1', STATVFS: b'2', LIMITS: b'1'}
ANY = 'any'

_CODES = {errno.ENOENT: Code.NO_SUCH_FILE, errno.ENOTDIR: Code.NO_SUCH_FILE,
          errno.EACCES: Code.PERMISSION_DENIED, errno.EPERM: Code.PERMISSION_DENIED,
          errno.EROFS: Code.PERMISSION_DENIED, errno.ENAMETOOLONG: Code.BAD_MESSAGE}
_PAGE = 100
_HELD_SECONDS = 0.002
_READABLE, _WRITABLE, _EXCLUSIVE = Flag.READ, Flag.WRITE, Flag.EXCL
_TRUNCATE = 0x10


@dataclasses.dataclass(eq=False)
class _Planned:
    name: str
    lie: Lie
    number: int | None
    seen: int = 0

    def concerns(self, request: Request) -> bool:
        if self.name not in (ANY, request.name):
            return False
        self.seen += 1
        return self.number in (None, self.seen)


class SocketStream:
    """The client's end, as the driver wants it."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self.sendall = end.sendall
        self.recv_into = end.recv_into
        self.close = end.close

    def complaint(self) -> str:
        return ''

    def is_quiet(self) -> bool:
        return self._socket.fileno() >= 0 and not select.select([self._socket], [], [], 0)[0]


class LyingServer:
    """Serves a directory, which clients call `/`.

    :ivar extensions: what the next connection is offered.
    :ivar counts: requests so far, by their names.
    :ivar held: answers are kept back until so many wait or the client pauses.
    :ivar shuffled: they are sent last one first then.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.extensions = dict(EXTENSIONS)
        self.counts: Counter[str] = Counter()
        self.held = 0
        self.shuffled = False
        self._planned: list[_Planned] = []
        self._handles: dict[bytes, _Handle] = {}
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._clients: list[socket.socket] = []
        self._timeout: float | None = None
        self._threads: list[threading.Thread] = []

    def lie(self, name: str, lie: Lie, number: int | None = None) -> None:
        """Lie from now on when this is asked (ANY: whatever is).

        :param number: only the time that has this number, counted from 1 from now on.
        """
        self._planned.append(_Planned(name, lie, number))

    def be_honest(self) -> None:
        self._planned.clear()
        self.held, self.shuffled = 0, False
        self.extensions = dict(EXTENSIONS)

    def count_again(self) -> None:
        """The next requests are the first of those that the lies count."""
        for client, thread in zip(self._clients, self._threads):
            if client.fileno() < 0:
                thread.join(10)  # what it asked before it went away counts no more
        for plan in self._planned:
            plan.seen = 0

    def set_timeout(self, seconds: float) -> None:
        """What all clients wait from now on, whatever their options say."""
        self._timeout = seconds
        for end in self._clients:
            if end.fileno() >= 0:
                end.settimeout(seconds)

    @property
    def open_handles(self) -> int:
        return len(self._handles)

    def opened_file(self, request: Request) -> bool:
        """Whether what an fsync is asked for is a file, not a directory."""
        fields = Fields(request.body)
        fields.string()
        return stat.S_ISREG(os.fstat(self._handles[fields.string()].fd).st_mode)

    def connect(self, timeout: float) -> SocketStream:
        ours, theirs = _connected()
        theirs.settimeout(timeout if self._timeout is None else self._timeout)
        self._clients.append(theirs)
        thread = threading.Thread(target=self._serve, args=(ours,), daemon=True)
        self._ends.append(ours)
        self._threads.append(thread)
        thread.start()
        return SocketStream(theirs)

    def stop(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for handle in self._handles.values():
            handle.close()

    def _serve(self, end: socket.socket) -> None:
        held: list[bytes] = []
        mine: set[bytes] = set()
        try:
            while request := _receive(end):
                held.append(self._answer(request, mine))
                if len(held) > self.held or not select.select([end], [], [], _HELD_SECONDS)[0]:
                    end.sendall(b''.join(reversed(held) if self.shuffled else held))
                    held = []
        except HangUp as bye:
            with contextlib.suppress(OSError):
                end.sendall(b''.join(held) + bye.last_words)
        except OSError:
            pass  # the client went away
        finally:
            end.close()
            with self._lock:
                for handle in mine & self._handles.keys():
                    self._handles.pop(handle).close()

    def _answer(self, request: Request, mine: set[bytes]) -> bytes:
        with self._lock:
            self.counts[request.name] += 1
            honest = _Once(lambda: self._do(request, mine))
            lies = [plan.lie for plan in self._planned if plan.concerns(request)]
            return lies[0](request, honest) if lies else honest()

    def _do(self, request: Request, mine: set[bytes]) -> bytes:
        action = getattr(self, f'_do_{request.name.replace("-", "_")}', None)
        if request.kind == Kind.INIT:
            return packet(Kind.VERSION, u32(packets.VERSION) + b''.join(
                string(name) + string(version) for name, version in self.extensions.items()))
        offered = {name.split(b'@')[0].decode() for name in self.extensions}
        if action is None or request.kind == Kind.EXTENDED and request.name not in offered:
            return status(request, Code.OP_UNSUPPORTED)
        try:
            answer = action(Fields(request.body))
        except OSError as error:
            return status(request, _CODES.get(error.errno or 0, Code.FAILURE))
        except (_Refused, EOFError, KeyError) as error:
            return status(request, Code.EOF if isinstance(error, EOFError) else Code.FAILURE)
        if answer is None:
            return status(request, Code.OK)
        if answer[0] == Kind.HANDLE:
            mine.add(answer[1][4:])
        return packet(answer[0], request.id + answer[1])

    def _path(self, fields: Fields) -> Path:
        return self.root / os.fsdecode(fields.string()).strip('/')

    def _new_handle(self, handle: _Handle) -> tuple[Kind, bytes]:
        name = os.urandom(4)
        self._handles[name] = handle
        return Kind.HANDLE, string(name)

    def _do_open(self, fields: Fields) -> tuple[Kind, bytes]:
        path, wanted = self._path(fields), fields.u32()
        flags = {_READABLE: os.O_RDONLY, _WRITABLE: os.O_WRONLY}.get(
            Flag(wanted & (_READABLE | _WRITABLE)), os.O_RDWR)
        for bit, flag in ((Flag.CREAT, os.O_CREAT), (_EXCLUSIVE, os.O_EXCL),
                          (_TRUNCATE, os.O_TRUNC)):
            flags |= flag if wanted & bit else 0
        mode = fields.attributes().mode
        return self._new_handle(_Handle(os.open(path, flags, 0o666 if mode is None else mode)))

    def _do_close(self, fields: Fields) -> None:
        self._handles.pop(fields.string()).close()

    def _do_read(self, fields: Fields) -> tuple[Kind, bytes]:
        handle, offset, size = self._handles[fields.string()], fields.u64(), fields.u32()
        data = os.pread(handle.fd, min(size, 255 << 10), offset)
        if not data:
            raise EOFError
        return Kind.DATA, string(data)

    def _do_write(self, fields: Fields) -> None:
        handle, offset, data = self._handles[fields.string()], fields.u64(), fields.string()
        if os.pwrite(handle.fd, data, offset) != len(data):
            raise _Refused

    def _do_lstat(self, fields: Fields) -> tuple[Kind, bytes]:
        return Kind.ATTRS, _attributes(os.lstat(self._path(fields)))

    def _do_stat(self, fields: Fields) -> tuple[Kind, bytes]:
        return Kind.ATTRS, _attributes(os.stat(self._path(fields)))

    def _do_fstat(self, fields: Fields) -> tuple[Kind, bytes]:
        return Kind.ATTRS, _attributes(os.fstat(self._handles[fields.string()].fd))

    def _do_setstat(self, fields: Fields) -> None:
        path, mode = self._path(fields), fields.attributes().mode
        if mode is not None:
            os.chmod(path, mode)

    def _do_fsetstat(self, fields: Fields) -> None:
        handle, mode = self._handles[fields.string()], fields.attributes().mode
        if mode is not None:
            os.fchmod(handle.fd, mode)

    def _do_opendir(self, fields: Fields) -> tuple[Kind, bytes]:
        path = self._path(fields)
        names = [b'.', b'..', *map(os.fsencode, os.listdir(path))]
        return self._new_handle(_Handle(os.open(path, os.O_RDONLY), path, names))

    def _do_readdir(self, fields: Fields) -> tuple[Kind, bytes]:
        handle = self._handles[fields.string()]
        entries: list[bytes] = []
        while handle.names and len(entries) < _PAGE:
            name = handle.names.pop()
            with contextlib.suppress(FileNotFoundError):
                entries.append(string(name) + string(b'-rw ' + name)
                               + _attributes(os.lstat(handle.path / os.fsdecode(name))))
        if not entries:
            raise EOFError
        return Kind.NAME, u32(len(entries)) + b''.join(entries)

    def _do_remove(self, fields: Fields) -> None:
        self._path(fields).unlink()

    def _do_mkdir(self, fields: Fields) -> None:
        self._path(fields).mkdir()

    def _do_rmdir(self, fields: Fields) -> None:
        self._path(fields).rmdir()

    def _do_realpath(self, fields: Fields) -> tuple[Kind, bytes]:
        path = os.fsencode('/' + os.path.normpath(os.fsdecode(fields.string())).lstrip('./'))
        return Kind.NAME, u32(1) + string(path) + string(path) + u32(0)

    def _do_rename(self, fields: Fields) -> None:
        old, new = self._path(fields), self._path(fields)
        os.link(old, new)
        old.unlink()

    def _do_posix_rename(self, fields: Fields) -> None:
        fields.string()
        os.rename(self._path(fields), self._path(fields))

    def _do_fsync(self, fields: Fields) -> None:
        fields.string()
        os.fsync(self._handles[fields.string()].fd)

    def _do_statvfs(self, fields: Fields) -> tuple[Kind, bytes]:
        fields.string()
        found = os.statvfs(self._path(fields))
        return Kind.EXTENDED_REPLY, space(found.f_bavail, found.f_frsize)

    def _do_limits(self, fields: Fields) -> tuple[Kind, bytes]:
        return Kind.EXTENDED_REPLY, u64(256 << 10) + u64(255 << 10) * 2 + u64(1000)


class _Refused(Exception):
    pass


class _Once:
    """An honest deed, done at most once."""

    def __init__(self, do: Honest) -> None:
        self._do = do
        self._answer: bytes | None = None

    def __call__(self) -> bytes:
        if self._answer is None:
            self._answer = self._do()
        return self._answer


@dataclasses.dataclass
class _Handle:
    fd: int
    path: Path = Path()
    names: list[bytes] = dataclasses.field(default_factory=list)

    def close(self) -> None:
        os.close(self.fd)


def _connected() -> tuple[socket.socket, socket.socket]:
    """Two ends; of TCP, as a socket pair of the system holds only few small packets."""
    with socket.create_server(('127.0.0.1', 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    for end in (ours, theirs):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


def _attributes(found: Any) -> bytes:
    return u32(packets.HAS_SIZE | packets.HAS_MODE | packets.HAS_TIMES) + u64(found.st_size) + u32(
        found.st_mode) + u32(int(found.st_atime)) + u32(int(found.st_mtime))


def _receive(end: socket.socket) -> Request | None:
    head = end.recv(4, socket.MSG_WAITALL)
    if len(head) < 4:
        return None
    (length,) = struct.unpack('>I', head)
    content = end.recv(length, socket.MSG_WAITALL)
    if len(content) < length:
        return None
    kind = content[0]
    if kind == Kind.INIT:
        return Request(kind, 'init', b'', content[1:])
    name = Kind(kind).name.lower()
    if kind == Kind.EXTENDED:
        name = Fields(content[5:]).string().split(b'@')[0].decode()
    return Request(kind, name, content[1:5], content[5:])
