"""A server of SFTP in memory that keeps one file and misbehaves as it is told. No process."""

from __future__ import annotations

from collections.abc import Callable
import struct

from backup_framework_sftp.packets import HAS_MODE, HAS_SIZE, Code, Fields, Kind, string, u32, u64
from backup_framework_sftp.protocol import FSYNC, LIMITS

Hook = Callable[[Kind, int, bytes], bytes | None]


class ScriptedStream:
    """A stream whose other end answers at once, from the same thread.

    :param hook: asked first: type, number and body of a request to the bytes that answer it, or
        None for the usual answer.
    :param extensions: what is offered.
    :param order: changes a batch of answers, such as `reversed`.
    :param portion: bytes that come at once at most.
    """

    def __init__(self, contents: bytes = b'', *, hook: Hook | None = None,
                 extensions: tuple[bytes, ...] = (LIMITS, FSYNC), request: int = 1024,
                 order: Callable[[list[bytes]], list[bytes]] = list,
                 portion: int = 1 << 20) -> None:
        self.contents = bytearray(contents)
        self.requests: list[Kind] = []
        self.hook = hook
        self.closed = False
        self.waiting = 0
        """Answers that were not fetched yet; `most` is the most there ever were."""
        self.most = 0
        self._extensions = extensions
        self._request = request
        self._order = order
        self._portion = portion
        self._input = bytearray()
        self._answers: list[bytes] = []
        self._output = bytearray()

    def sendall(self, data: bytes) -> None:
        self._input += data
        while len(self._input) >= 4 and len(self._input) >= 4 + self._length():
            packet = bytes(self._input[4:4 + self._length()])
            del self._input[:4 + self._length()]
            self._take(packet)

    def recv_into(self, buffer: memoryview) -> int:
        if not self._output:
            self._output += b''.join(self._order(self._answers))
            self._answers = []
        count = min(len(buffer), len(self._output), self._portion)
        buffer[:count] = self._output[:count]
        del self._output[:count]
        return count

    def close(self) -> None:
        self.closed = True

    def complaint(self) -> str:
        return 'said so'

    def is_quiet(self) -> bool:
        return not (self.closed or self._output or self._answers)

    def _length(self) -> int:
        return int(struct.unpack_from('>I', self._input)[0])

    def _take(self, packet: bytes) -> None:
        kind, number = struct.unpack_from('>BI', packet)
        kind = Kind(kind)
        self.requests.append(kind)
        answer = self.hook(kind, number, packet[5:]) if self.hook else None
        if answer is None:
            answer = self._usual(kind, number, Fields(packet[5:]))
        self._answers.append(answer)
        self.most = max(self.most, len(self._answers))

    def _usual(self, kind: Kind, number: int, fields: Fields) -> bytes:
        if kind == Kind.INIT:
            offers = b''.join(string(name) + string(b'1') for name in self._extensions)
            return raw(Kind.VERSION, 3, offers)
        if kind == Kind.OPEN:
            return raw(Kind.HANDLE, number, string(b'handle'))
        if kind in (Kind.FSTAT, Kind.LSTAT):
            return raw(Kind.ATTRS, number, u32(HAS_SIZE | HAS_MODE) + u64(len(self.contents))
                       + u32(0o100600))
        if kind == Kind.READ:
            return self._read(number, fields)
        if kind == Kind.WRITE:
            self._write(fields)
        if kind == Kind.EXTENDED and fields.string() == LIMITS:
            return raw(Kind.EXTENDED_REPLY, number,
                       b''.join(u64(n) for n in (1 << 18, self._request, self._request, 8)))
        return status(number, Code.OK)

    def _read(self, number: int, fields: Fields) -> bytes:
        fields.string()
        offset, length = fields.u64(), fields.u32()
        data = bytes(self.contents[offset:offset + length])
        return answer_data(number, data) if data else status(number, Code.EOF)

    def _write(self, fields: Fields) -> None:
        fields.string()
        offset, data = fields.u64(), fields.string()
        self.contents.extend(bytes(max(0, offset + len(data) - len(self.contents))))
        self.contents[offset:offset + len(data)] = data


def raw(kind: int, number: int, body: bytes) -> bytes:
    return struct.pack('>IBI', 5 + len(body), kind, number) + body


def status(number: int, code: int, message: bytes = b'because') -> bytes:
    return raw(Kind.STATUS, number, u32(code) + string(message) + string(b''))


def answer_data(number: int, data: bytes) -> bytes:
    return raw(Kind.DATA, number, string(data))


def only(wanted: Kind, answer: Callable[[int, bytes], bytes], turns: tuple[int, ...] | None = None
         ) -> Hook:
    """A hook for requests of one type, or for those of them whose turn (0, 1, …) is named."""
    seen = 0

    def hook(kind: Kind, number: int, body: bytes) -> bytes | None:
        nonlocal seen
        if kind != wanted:
            return None
        seen += 1
        return answer(number, body) if turns is None or seen - 1 in turns else None

    return hook
