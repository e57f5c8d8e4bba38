"""Functions that run in a forked child of this process, which has all imports behind it."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import os
import pickle
import random
import select
import signal
import time
import traceback
from typing import Any
import uuid

SECONDS = 60.0
KILLED = 137


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a child ended: what its function returned, or the traceback, or that it was killed."""

    killed: bool
    result: Any = None
    trouble: str = ''


def run(function: Callable[[], Any], seed: object = None) -> Ended:
    """Call it in a child and wait, at most SECONDS.

    :param seed: ids and names are drawn from it, so that each child with it draws the same.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _be_child(function, seed, writing)
    os.close(writing)
    try:
        said = _read(reading, child)
    finally:
        os.close(reading)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == KILLED:
        return Ended(True)
    if not said:
        return Ended(False, trouble=f'the child ended with {status} and said nothing')
    return Ended(False, *pickle.loads(said))


def good(function: Callable[[], Any], seed: object = None) -> Any:
    """What the function returned in a child; an AssertionError with its traceback if it failed."""
    ended = run(function, seed)
    assert not ended.killed and not ended.trouble, ended.trouble or 'it was killed'
    return ended.result


def _be_child(function: Callable[[], Any], seed: object, writing: int) -> None:
    code = 1
    try:
        if seed is not None:
            _draw_from(random.Random(str(seed)))
        try:
            said = pickle.dumps((function(), ''))
            code = 0
        except BaseException:
            said = pickle.dumps((None, traceback.format_exc()))
        with open(writing, 'wb') as pipe:
            pipe.write(said)
    finally:
        os._exit(code)


def _draw_from(source: random.Random) -> None:
    def drawn() -> uuid.UUID:
        return uuid.UUID(int=source.getrandbits(128), version=4)

    uuid.uuid4 = drawn
    random._urandom = source.randbytes  # type: ignore[attr-defined]


def _read(reading: int, child: int) -> bytes:
    """All that the child writes; it is killed where that takes too long."""
    pieces = []
    deadline = time.monotonic() + SECONDS
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
            raise AssertionError(f'a child did not end within {SECONDS} s')
        piece = os.read(reading, 1 << 16)
        if not piece:
            return b''.join(pieces)
        pieces.append(piece)
