"""A fault at one call of an operation, whatever verb it is: calls are counted over all verbs.

`faults.FaultyDriver` counts each verb for itself. Here the position is the place in the whole row
of calls, so that `every position` can be said, and a store can be away from one on.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import functools
import itertools
from typing import Any

from backup_framework import exceptions
from backup_framework.driver import chunked
from backup_framework.testing import faults

LISTING = frozenset({'get_container_entries', 'list_containers'})
WRITING = frozenset({'put_container', 'get_object_writer', 'write', 'commit', 'sync'})
READING = frozenset({'get_object_reader', 'read'})
COUNTED = LISTING | WRITING | READING | {'delete_object', 'object_size'}
CHANGED = LISTING | READING | {'write', 'object_size'}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of fault.

    :param verbs: at which it makes sense; None is all.
    :param error: raised before the effect, or where `after` is set, after it.
    :param change: gives other data than those of the call, or of the caller; gets also the names
        that were there when the operation began.
    """

    verbs: frozenset[str] | None = None
    error: Callable[[], BaseException] | None = None
    after: bool = False
    change: Callable[[Any, list[str]], Any] | None = None

    def fits(self, verb: str) -> bool:
        return self.verbs is None or verb in self.verbs


def _flip(data: Any, _: object) -> bytes:
    changed = bytearray(data)
    if changed:
        changed[len(changed) // 2] ^= 1
    return bytes(changed)


def _cut(data: Any, _: object) -> bytes:
    return bytes(data)[:len(data) // 2]


KINDS = {
    'unavailable': Kind(error=lambda: exceptions.StoreUnavailable('the store did not answer')),
    'lost answer': Kind(after=True, error=lambda: exceptions.StoreUnavailable('connection reset')),
    'come later': Kind(error=lambda: exceptions.StoreUnavailable('too busy', retry_after=7.0)),
    'denied': Kind(error=lambda: exceptions.PermissionDenied('not for you')),
    'full': Kind(WRITING, lambda: exceptions.StoreFull('no space left')),
    'full afterwards': Kind(WRITING, lambda: exceptions.StoreFull('no space left'), after=True),
    'exists': Kind(frozenset({'get_object_writer', 'commit'}),
                   lambda: exceptions.ObjectExists('other bytes are there already')),
    'not found': Kind(READING | {'object_size', 'get_container_entries'},
                      lambda: exceptions.ObjectNotFound('there is no such object')),
    'foreign': Kind(error=lambda: ZeroDivisionError('a bug of the driver')),
    'foreign afterwards': Kind(after=True, error=lambda: OSError(5, 'Input/output error')),
    'stores half': Kind(frozenset({'write'}), change=_cut),
    'stores other bits': Kind(frozenset({'write'}), change=_flip),
    'reads half': Kind(READING, change=_cut),
    'reads other bits': Kind(READING, change=_flip),
    'reads nothing': Kind(READING, change=lambda data, _: b''),
    'old listing': Kind(frozenset({'get_container_entries'}), change=lambda _, old: list(old)),
    'twice in a listing': Kind(LISTING, change=lambda names, _: [*names, *names]),
    'wrong size': Kind(frozenset({'object_size'}), change=lambda size, _: size + 1),
}


@dataclasses.dataclass(frozen=True)
class Call:
    """What was asked of a store."""

    verb: str
    position: int


class Striker:
    """Makes the plan for `FaultyDriver`s that share one count of calls.

    :param position: of the call that is struck, counted from 1; 0 strikes none.
    :param more: further positions with their kinds: a fault may be followed by another one.
    """

    def __init__(self, position: int = 0, kind: Kind | None = None, *, forever: bool = False,
                 more: dict[int, Kind] | None = None) -> None:
        self.calls: list[Call] = []
        self.struck = 0
        self.lies = kind is not None and kind.fits('write') and kind.change is not None
        self._planned = {position: kind, **(more or {})}
        self._last = kind if forever else None
        self._from = position
        self._count = itertools.count(1)
        self._due: Kind | None = None

    def plan(self, driver: StrikingDriver) -> list[faults.Fault]:
        change = functools.partial(self._change, driver)
        return [fault for verb in sorted(COUNTED) for fault in (
            faults.Fault(verb, forever=True, change=change if verb in CHANGED else None,
                         hook=functools.partial(self._before, verb)),
            faults.Fault(verb, forever=True, after=True, hook=self._after))]

    def _before(self, verb: str) -> None:
        position = next(self._count)
        self.calls.append(Call(verb, position))
        kind = self._planned.get(position)
        if self._last is not None and position > self._from:
            kind = self._last
        self._due = kind if kind is not None and kind.fits(verb) else None
        if self._due is None:
            return
        self.struck += 1
        if self._due.error is not None and not self._due.after:
            raise self._due.error()

    def _after(self) -> None:
        due, self._due = self._due, None
        if due is not None and due.error is not None and due.after:
            raise due.error()

    def _change(self, driver: StrikingDriver, data: Any) -> Any:
        if self._due is None or self._due.change is None:
            return data
        old = [name for name in driver.old_names if name.startswith(driver.prefix)]
        return self._due.change(data, old)


class StrikingDriver(faults.FaultyDriver):
    """A driver that a striker strikes.

    :ivar old_names: what an old listing says, all of it.
    """

    def __init__(self, driver: chunked.ChunkedBackupDriver) -> None:
        super().__init__(driver)
        self.old_names: list[str] = []
        self.prefix = ''

    def strike(self, striker: Striker | None) -> None:
        """None strikes no more."""
        self.plan = [] if striker is None else striker.plan(self)

    def get_container_entries(self, container: str, prefix: str) -> list[str]:
        self.prefix = prefix
        return super().get_container_entries(container, prefix)
