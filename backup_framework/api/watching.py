"""Files that are read again when they change, while the service runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
import logging
import os
import time
from typing import Generic, TypeVar

from backup_framework.exceptions import ConfigurationError

LOG = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds after which files are looked at again."""

T = TypeVar('T')


class Watched(Generic[T]):
    """What was made of some files. While they are wrong, what they said before counts.

    It is replaced as a whole, so no thread meets it half made.

    :param paths: gives the files; those that do not exist may come into being.
    :param load: makes something of them, or raises ConfigurationError.
    :raises ConfigurationError: they are wrong from the start.
    """

    def __init__(self, paths: Callable[[], Iterable[str]], load: Callable[[], T]) -> None:
        self._paths, self._load = paths, load
        self._looked = time.monotonic()
        self._seen = _seen(paths())
        self._made = load()

    def get(self) -> T:
        """What the files say now, or said a moment ago."""
        now = time.monotonic()
        if now >= self._looked + LOOK_EVERY:
            self._looked = now
            self._look()
        return self._made

    def _look(self) -> None:
        seen = _seen(self._paths())
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._made = self._load()
        except ConfigurationError as error:
            LOG.error('A change of a file does not count, because it is wrong: %s', error)


def _seen(paths: Iterable[str]) -> dict[str, tuple[int, int, int]]:
    """What changes when a file does."""
    seen = {}
    for path in paths:
        try:
            stat = os.stat(path)
        except OSError:
            continue
        seen[path] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    return seen
