"""The points at which a process may be killed: before and after each call that has an effect.

Interposed are all verbs of a driver, with each `write` in a writer's block; the calls of `os` that
change files or directories; commits of the catalog. Calls of `os` that only read are left out: a
kill there leaves what a kill at the call before it left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import os
from typing import Any

import sqlalchemy.engine.default

from backup_framework.driver import chunked

CHANGING = ('write', 'pwrite', 'rename', 'replace', 'link', 'unlink', 'remove', 'mkdir', 'rmdir',
            'ftruncate', 'fchmod', 'fchown')
SYNCING = ('fsync', 'fdatasync')
CREATING = os.O_CREAT | os.O_TRUNC
VERBS = ('put_container', 'get_container_entries', 'delete_object', 'delete_objects', 'sync',
         'remove_temporary', 'list_containers', 'object_size')

Call = Callable[..., Any]


class Points:
    """Counts the points of this process.

    :param at: the point, counted from 1, at which `end` is called; 0 is none.
    :param after: whether there are also points after the calls. What is between the end of one and
        the beginning of the next changes nothing that outlives the process.
    :ivar kinds: how many there were of each kind.
    """

    def __init__(self, at: int, end: Callable[[], None], *, after: bool = True) -> None:
        self._at = at
        self._end = end
        self._after = after
        self.count = 0
        self.kinds: dict[str, int] = {}

    def here(self, kind: str) -> None:
        self.count += 1
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if self.count == self._at:
            self._end()

    def around(self, kind: str, function: Call) -> Call:
        """The function, with a point before it and one after it."""
        def call(*args: Any, **kwargs: Any) -> Any:
            self.here(kind)
            try:
                return function(*args, **kwargs)
            finally:
                if self._after:
                    self.here(kind)
        return call

    def interpose(self, driver: type[chunked.ChunkedBackupDriver], *, sync: bool = False) -> None:
        """Put points around everything, for as long as this process lives.

        :param sync: an fsync is done. Without, it is only a point: a killed process leaves what it
            wrote.
        """
        self._system_calls(sync)
        for verb in VERBS:
            setattr(driver, verb, self.around(verb, getattr(driver, verb)))
        for verb in ('get_object_writer', 'get_object_reader'):
            setattr(driver, verb, self._block(verb, getattr(driver, verb)))
        dialect = sqlalchemy.engine.default.DefaultDialect
        dialect.do_commit = self.around(  # type: ignore[method-assign]
            'catalog', dialect.do_commit)

    def _system_calls(self, sync: bool) -> None:
        for name in CHANGING:
            setattr(os, name, self.around(name, getattr(os, name)))
        for name in SYNCING:
            setattr(os, name, self.around(name, getattr(os, name) if sync else _nothing))
        plain, counted = os.open, self.around('open', os.open)

        def opened(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            return (counted if flags & CREATING else plain)(path, flags, *args, **kwargs)

        os.open = opened

    def _block(self, verb: str, method: Call) -> Call:
        @contextlib.contextmanager
        def block(*args: Any, **kwargs: Any) -> Iterator[Any]:
            self.here(verb)
            with method(*args, **kwargs) as given:
                self.here(verb)
                yield _Writer(self, given) if verb == 'get_object_writer' else given
                self.here(verb)
            self.here(verb)
        return block


def _nothing(fd: int) -> None:
    """What an fsync does in a process that is killed."""


class _Writer:
    """An object's writer with points around each `write`."""

    def __init__(self, points: Points, writer: Any) -> None:
        self.write = points.around('write of an object', writer.write)
