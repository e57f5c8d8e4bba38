"""Things that are dear to make, kept for whoever needs one next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
from typing import Generic, TypeVar

T = TypeVar('T')


class Pool(Generic[T]):
    """Things that one thread may use at a time: as many as threads ever used some at once."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._free: list[T] = []

    @contextlib.contextmanager
    def one(self) -> Iterator[T]:
        # Taking from a list and adding to it are atomic.
        try:
            thing = self._free.pop()
        except IndexError:
            thing = self._make()
        yield thing
        # After an error it is not used again.
        self._free.append(thing)


class Buffers:
    """Memory that is used again: the kernel need not clear new pages for each chunk."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    @contextlib.contextmanager
    def one(self, length: int) -> Iterator[memoryview]:
        """So many bytes, whatever is in them."""
        try:
            buffer = self._free.pop()
        except IndexError:
            buffer = bytearray()
        if len(buffer) < length:
            buffer = bytearray(length)
        yield memoryview(buffer)[:length]
        self._free.append(buffer)
