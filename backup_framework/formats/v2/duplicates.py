"""Finding bytes that are stored already, by their digests, within a bound of memory.

An entry says where a block with this digest is. It is made only when the object it names has been
stored, or belongs to a committed backup; so whatever is found may be referred to at once. What the
bound pushes out is stored again when it comes again: savings are lost, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from backup_framework.formats.v2.packing import Place

_ENTRY = 420
"""Bytes of memory that an entry takes, with its share of a frame: measured, rounded up."""


class Index:
    """Digests and places, the older ones forgotten half of them at a time.

    Any thread: the dicts' own operations are atomic, and where two threads both find that there is
    no more room, entries are forgotten too early.

    :param size: bytes of memory; 0 remembers nothing.
    :param others: where to look for what is not remembered.
    """

    def __init__(self, size: int, others: Callable[[bytes], Place | None] | None = None) -> None:
        self._others = others
        self._most = size // 2 // _ENTRY
        self._young: dict[bytes, Place] = {}
        self._old: dict[bytes, Place] = {}

    def find(self, digest: bytes) -> Place | None:
        place = self._young.get(digest) or self._old.get(digest)
        return self._others(digest) if place is None and self._others else place

    def add(self, places: Mapping[bytes, Place]) -> None:
        if len(places) > self._most:
            places = dict(list(places.items())[:self._most])
        if len(self._young) + len(places) > self._most:
            self._old, self._young = self._young, {}
        self._young.update(places)
