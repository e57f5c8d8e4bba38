"""How fast a store takes and gives bytes: a bounded probe, sent as a backup sends its chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import itertools
import os
import time

from backup_framework import exceptions, store
from backup_framework.engine import parallel
from backup_framework.engine.monitor import Monitor

MIB = 1 << 20
MOST = 128 * MIB
"""Bytes that a probe writes at most."""

LARGEST = 32 * MIB
SECONDS = 5.0
"""For each way; what has begun by then is still brought to an end."""

_FIRST = 256 << 10
_GROWTH = 16
_PIECE = MIB
_SHIFT = 8191


@dataclasses.dataclass(frozen=True)
class _Object:
    """One object of the probe; `piece` is the number of its first piece of noise."""

    name: str
    size: int
    piece: int


class Probe:
    """Writes rounds of objects, each round larger while there is time, and reads the last back.

    The first round is small: it opens the connections, and tells how much a slow store can take.

    :param prefix: what the names of its objects begin with.
    :param workers: objects on their way at once.
    :param largest: bytes that an object may have.
    :param note: told the name of each object before it is written.
    """

    def __init__(self, container: store.Container, monitor: Monitor, *, prefix: str,
                 workers: int, largest: int, note: Callable[[str], None]) -> None:
        self._container = container
        self._monitor = monitor
        self._prefix = prefix
        self._workers = workers
        self._largest = largest
        self._note = note
        self._noise = os.urandom(2 * _PIECE)
        self._objects: list[_Object] = []
        self._next = 0
        self._deadline = 0.0

    def __str__(self) -> str:
        at_once = min(self._workers, len(self._objects))
        return f'objects of {self._objects[0].size / MIB:.2f} MiB, {at_once} at once'

    def write(self) -> float:
        """Bytes a second, `sync` included."""
        self._deadline = time.monotonic() + SECONDS
        total, left = self._workers * _FIRST, MOST
        for number in itertools.count():
            rate = self._write_round(number, total)
            left -= total
            time_left = self._deadline - time.monotonic()
            larger = min(left, total * _GROWTH, int(rate * time_left))
            if larger < 2 * total:
                break
            total = larger
        return rate

    def _write_round(self, number: int, total: int) -> float:
        count = max(self._workers, -(-total // self._largest))
        size = total // count
        pieces = -(-size // _PIECE)
        planned = [_Object(f'{self._prefix}speed-{number}-{index:05}', size,
                           self._next + index * pieces)
                   for index in range(count)]
        self._next += count * pieces
        for each in planned:
            self._note(each.name)
        self._monitor.start('write', total)
        started = time.monotonic()
        written = self._each(self._write, planned)
        self._container.sync()
        seconds = time.monotonic() - started
        self._objects = [dataclasses.replace(each, size=length)
                         for each, length in zip(planned, written, strict=True)]
        return sum(written) / seconds

    def _write(self, each: _Object) -> int:
        if self._late():
            return 0
        return self._container.put(each.name, lambda: self._pieces(each))

    def read(self) -> float:
        """Bytes a second, compared with what was written.

        :raises StoreError: other bytes came back.
        """
        self._monitor.start('read', sum(each.size for each in self._objects))
        started = time.monotonic()
        self._deadline = started + SECONDS
        return sum(self._each(self._read, self._objects)) / (time.monotonic() - started)

    def _read(self, each: _Object) -> int:
        if self._late():
            return 0
        length = 0
        with self._container.open(each.name) as reader:
            for piece in self._pieces(each):
                if reader.read(len(piece)) != piece:
                    raise exceptions.StoreError(
                        f'other bytes came back from object {each.name} than were written')
                length += len(piece)
        return length

    def _late(self) -> bool:
        return time.monotonic() > self._deadline

    def _each(self, function: Callable[[_Object], int], objects: list[_Object]) -> list[int]:
        results = parallel.ordered_map(function, objects, workers=self._workers, budget=1,
                                       cost=lambda each: 0)
        with contextlib.closing(results):
            return list(results)

    def _pieces(self, each: _Object) -> Iterator[bytes]:
        """Noise that nothing can compress, no two places alike; none but the first when late."""
        for index, start in enumerate(range(0, each.size, _PIECE)):
            self._monitor.check()
            if start and self._late():
                return
            shift = (each.piece + index) * _SHIFT % _PIECE
            length = min(_PIECE, each.size - start)
            yield self._noise[shift:shift + length]
            self._monitor.advance(length)
