"""Finding bytes that are stored already, by their digests, within a bound of memory.

An entry says where a block with this digest is. It is made only when the object it names has been
stored, or belongs to a committed backup; so whatever is found may be referred to at once. What the
bound pushes out is stored again when it comes again: savings are lost, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from backup_framework.formats.v2.packing import Place

_ENTRY, _FRAME = 180, 290
"""Bytes of memory that an entry takes, and each frame that entries share, as measured."""


class Index:
    """Digests and places, the older ones forgotten half of them at a time.

    Any thread: the dicts' own operations are atomic, and where two threads both find that there is
    no more room, entries are forgotten too early.

    :param size: bytes of memory; 0 remembers nothing.
    :param others: where to look for what is not remembered.
    """

    def __init__(self, size: int, others: Callable[[bytes], Place | None] | None = None) -> None:
        self._others = others
        self._most = size // 2
        self._weight = 0
        self._young: dict[bytes, Place] = {}
        self._old: dict[bytes, Place] = {}

    def find(self, digest: bytes) -> Place | None:
        place = self._young.get(digest) or self._old.get(digest)
        return self._others(digest) if place is None and self._others else place

    def add(self, places: Mapping[bytes, Place]) -> None:
        weight = _weight(places)
        if weight > self._most:
            places = dict(list(places.items())[:self._most // (_ENTRY + _FRAME)])
            weight = _weight(places)
        if self._weight + weight > self._most:
            self._old, self._young, self._weight = self._young, {}, 0
        self._young.update(places)
        self._weight += weight


def _weight(places: Mapping[bytes, Place]) -> int:
    return _ENTRY * len(places) + _FRAME * len({id(frame) for frame, _ in places.values()})
