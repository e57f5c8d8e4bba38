"""What a server may answer instead of the truth.

A lie is a function of a request and of a function that does honestly what was asked and gives the
packet of the answer. What the lie gives is sent instead.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import struct

from backup_framework_sftp.packets import Code, Kind, string, u32, u64


class HangUp(Exception):
    """Ends the connection, after some bytes."""

    def __init__(self, last_words: bytes = b'') -> None:
        super().__init__()
        self.last_words = last_words


@dataclasses.dataclass
class Request:
    """What the client asked.

    :ivar name: as in the draft, in lower case; of an extension, what stands before the @.
    """

    kind: int
    name: str
    id: bytes
    body: bytes


Honest = Callable[[], bytes]
Lie = Callable[[Request, Honest], bytes]


def fails(code: int = Code.FAILURE, message: bytes = b'Failure') -> Lie:
    """It is not done, and the answer says so."""
    return lambda request, honest: status(request, code, message)


def fails_late(request: Request, honest: Honest) -> bytes:
    """It is done, but the answer says that it is not."""
    honest()
    return status(request, Code.FAILURE)


def pretends(request: Request, honest: Honest) -> bytes:
    """It is not done, but the answer says that it is."""
    return status(request, Code.OK)


def hangs_up(request: Request, honest: Honest) -> bytes:
    raise HangUp


def hangs_up_late(request: Request, honest: Honest) -> bytes:
    """It is done, but the connection ends before the answer."""
    honest()
    raise HangUp


def hangs_up_within(request: Request, honest: Honest) -> bytes:
    """The connection ends in the middle of the answer."""
    answer = honest()
    raise HangUp(answer[:len(answer) // 2])


def is_silent(request: Request, honest: Honest) -> bytes:
    return b''


def stops_within(request: Request, honest: Honest) -> bytes:
    """Only half of the answer comes; the connection stays."""
    answer = honest()
    return answer[:len(answer) // 2]


def babbles(request: Request, honest: Honest) -> bytes:
    return b'\xff\xfe not a packet at all \r\n' * 20


def answers_another(request: Request, honest: Honest) -> bytes:
    """The number of the answer is one that was never asked."""
    answer = honest()
    return answer[:5] + struct.pack('>I', 0x7fffffff) + answer[9:]


def answers_twice(request: Request, honest: Honest) -> bytes:
    return honest() * 2


def answers_as(kind: int) -> Lie:
    """The answer's type is another one."""
    def lie(request: Request, honest: Honest) -> bytes:
        answer = honest()
        return answer[:4] + bytes([kind]) + answer[5:]
    return lie


def announces(length: int) -> Lie:
    """The answer says another length than it has."""
    return lambda request, honest: struct.pack('>I', length) + honest()[4:]


def shows(body: bytes, kind: int) -> Lie:
    """The answer to this request is of this type and has this body."""
    return lambda request, honest: packet(kind, request.id + body)


def gives(change: Callable[[bytes], bytes]) -> Lie:
    """The data of a read, changed."""
    def lie(request: Request, honest: Honest) -> bytes:
        answer = honest()
        if answer[4] != Kind.DATA:
            return answer
        return packet(Kind.DATA, request.id + string(change(answer[13:])))
    return lie


# --- packets


def packet(kind: int, body: bytes) -> bytes:
    return struct.pack('>IB', 1 + len(body), kind) + body


def status(request: Request, code: int, message: bytes = b'') -> bytes:
    return packet(Kind.STATUS, request.id + u32(code) + string(message) + string(b''))


def space(blocks: int, unit: int, files: int = 1000, free_files: int = 1000) -> bytes:
    """The body of an answer to statvfs."""
    return b''.join(map(u64, (
        unit, unit, blocks, blocks, blocks, files, free_files, free_files, 1, 0, 255)))
