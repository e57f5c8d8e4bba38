"""Objects of zeros, known by their MD5."""

from __future__ import annotations

import functools
import hashlib

from backup_framework.formats.manifest import StoredObject

_PIECE = bytes(1 << 20)


@functools.lru_cache(maxsize=256)
def zero_md5(length: int) -> str:
    """The MD5 of so many zeros."""
    md5 = hashlib.md5(usedforsecurity=False)
    for _ in range(length // len(_PIECE)):
        md5.update(_PIECE)
    md5.update(_PIECE[:length % len(_PIECE)])
    return md5.hexdigest()


class ZeroTest:
    """Whether an object is all zeros, by its MD5: for the few lengths that chunks have."""

    _LENGTHS = 64
    _LONGEST = 256 << 20
    _MOST = 3 << 29  # bytes hashed in all: a manifest with many lengths must not cost minutes

    def __init__(self) -> None:
        self._known: dict[int, str] = {}
        self._left = self._MOST

    def __call__(self, stored: StoredObject) -> bool:
        length = stored.length
        if length not in self._known:
            if (length > min(self._LONGEST, self._left)
                    or len(self._known) >= self._LENGTHS):
                return False
            self._left -= length
            self._known[length] = zero_md5(length)
        return self._known[length] == stored.md5
