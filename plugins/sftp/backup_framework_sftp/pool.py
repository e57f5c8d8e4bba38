"""Sessions that are kept for the next verb."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import os
import threading
from typing import Generic, Protocol, TypeVar


class Session(Protocol):
    """What a pool keeps."""

    def close(self) -> None: ...

    def is_usable(self) -> bool:
        """Whether another verb may begin on it: nothing is under way, and the server is there."""


S = TypeVar('S', bound=Session)


class Pool(Generic[S]):
    """Makes sessions when they are needed and keeps some that came back. Serves all threads.

    It never waits for a session: the framework sees to it that no more verbs run at once than are
    declared.
    """

    def __init__(self, make: Callable[[], S], keep: int) -> None:
        """
        :param make: a new session; may raise.
        :param keep: idle sessions at most.
        """
        self._make = make
        self._keep = keep
        self._idle: list[S] = []
        self._lock = threading.Lock()
        self._closed = False
        self._process = os.getpid()
        self._inherited: list[S] = []

    @contextlib.contextmanager
    def lend(self) -> Iterator[S]:
        """A session of one's own for a block. What leaves the block is left to it."""
        session = self._take() or self._make()
        process = os.getpid()
        try:
            yield session
        finally:
            # A child that was forked in the block does not end its parent's session.
            if os.getpid() == process:
                self._take_back(session)

    def close(self) -> None:
        """End the idle sessions; those that are lent end when they come back. Twice is fine."""
        with self._lock:
            self._forget_inherited()
            self._closed = True
        self._end_idle()

    def _take(self) -> S | None:
        """An idle session that works, the one that was used last first."""
        while True:
            with self._lock:
                self._forget_inherited()
                self._closed = False
                if not self._idle:
                    return None
                session = self._idle.pop()
            if session.is_usable():
                return session
            session.close()

    def _take_back(self, session: S) -> None:
        if not session.is_usable():
            session.close()
            # What ended this one has mostly ended the others: a server that was started anew
            # costs one failure, not one for each connection.
            self._end_idle()
            return
        with self._lock:
            keep = not self._closed and len(self._idle) < self._keep
            if keep:
                self._idle.append(session)
        if not keep:
            session.close()

    def _end_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()

    def _forget_inherited(self) -> None:
        """After a fork the idle sessions are the parent's: neither used nor closed here.

        They are kept, for a session that is collected might say good-bye on the wire.
        """
        if self._process != os.getpid():
            self._process = os.getpid()
            self._inherited += self._idle
            self._idle = []
