"""The digests of format 2.0.0: 32 bytes by the algorithm that a manifest names."""

from __future__ import annotations

from collections.abc import Callable
import functools
import hashlib
from typing import Protocol

import blake3

from backup_framework import exceptions

SIZE = 32
NAMES = ('blake3', 'sha256')

Buffer = bytes | bytearray | memoryview


class Hasher(Protocol):
    def update(self, data: Buffer, /) -> object: ...

    def digest(self) -> bytes: ...


_NEW: dict[str, Callable[[], Hasher]] = {'blake3': blake3.blake3, 'sha256': hashlib.sha256}


class Algorithm:
    """One algorithm. Both let other threads run while they work on large pieces."""

    def __init__(self, name: str) -> None:
        """:raises UnsupportedVersion: this release does not know it."""
        if name not in _NEW:
            raise exceptions.UnsupportedVersion(
                f'its digests are made by {name[:40]!r}; this release knows {", ".join(NAMES)}')
        self.name = name
        self.new = _NEW[name]
        self.of = _blake3 if name == 'blake3' else _sha256
        """The digest of a buffer."""

    @functools.lru_cache(maxsize=8)  # noqa: B019 there are two algorithms
    def of_zeros(self, length: int) -> bytes:
        return self.of(bytes(length))

    def of_all(self, *parts: Buffer) -> bytes:
        """The digest of several buffers, one behind the other."""
        hasher = self.new()
        for part in parts:
            hasher.update(part)
        return hasher.digest()


def _blake3(data: Buffer) -> bytes:
    return blake3.blake3(data).digest()


def _sha256(data: Buffer) -> bytes:
    return hashlib.sha256(data).digest()


@functools.lru_cache(maxsize=2)
def algorithm(name: str) -> Algorithm:
    """:raises UnsupportedVersion: this release does not know it."""
    return Algorithm(name)
