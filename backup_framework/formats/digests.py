"""Block digests: computed, compared, and kept in a spool file instead of memory.

A digest is SHA-256 in DIGEST_SIZE bytes. Inside the framework the digest of a whole block of zeros
is ZERO, all zero bytes, whatever the block size: so holes cost neither time nor space, and what is
equal can still be compared as bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
import functools
import hashlib

from backup_framework import spool

DIGEST_SIZE = 32
ZERO = bytes(DIGEST_SIZE)

_JOINED_BLOCKS = 4
_JOINED_BYTES = 128 << 10


Buffer = bytes | bytearray | memoryview


@functools.lru_cache(maxsize=8)
def zero_digest(block_size: int) -> bytes:
    """The SHA-256 of a whole block of zeros, as stored hash lists have it."""
    return hashlib.sha256(bytes(block_size)).digest()


def count(length: int, block_size: int) -> int:
    """Blocks in so many bytes; the last one may be short."""
    return -(-length // block_size)


def of(data: Buffer, block_size: int) -> bytes:
    """The digests of `data`, which begins at a block's start."""
    view = memoryview(data)
    zeros = _zeros(block_size)
    found: list[bytes] = []
    for at in range(0, len(view), block_size):
        block = view[at:at + block_size]
        # A memcmp, where comparing a memoryview goes byte by byte.
        zero = zeros.startswith(block) and len(block) == block_size
        found.append(ZERO if zero else hashlib.sha256(block).digest())
    return b''.join(found)


@functools.lru_cache(maxsize=4)
def _zeros(length: int) -> bytes:
    return bytes(length)


def of_zeros(length: int, block_size: int) -> bytes:
    """The digests of so many zeros."""
    whole, rest = divmod(length, block_size)
    tail = hashlib.sha256(bytes(rest)).digest() if rest else b''
    return bytes(whole * DIGEST_SIZE) + tail


def joined_gap(block_size: int) -> int:
    """Unchanged blocks between changed ones that are stored with them: an object costs more."""
    return min(_JOINED_BLOCKS, _JOINED_BYTES // block_size)


def changed_runs(old: bytes, new: bytes, joined_gap: int = 0) -> list[tuple[int, int]]:
    """Runs (first block, count) in which `new` differs from `old`.

    :param old: may be shorter than `new`, whose further blocks are then changed.
    :param joined_gap: runs that are this many blocks apart, or nearer, become one.
    """
    if old == new:
        return []
    runs: list[tuple[int, int]] = []
    for block in range(len(new) // DIGEST_SIZE):
        at = block * DIGEST_SIZE
        if old[at:at + DIGEST_SIZE] == new[at:at + DIGEST_SIZE]:
            continue
        if runs and block - sum(runs[-1]) <= joined_gap:
            runs[-1] = (runs[-1][0], block + 1 - runs[-1][0])
        else:
            runs.append((block, 1))
    return runs


class Spool:
    """The digests of a whole volume in a temporary file. Runs of ZERO are holes in it.

    `append` is for one thread; `get` for any.

    :param directory: where the file grows; None is the system's directory for such.
    """

    def __init__(self, block_size: int, directory: str | None = None) -> None:
        self.block_size = block_size
        self.length = 0
        self._spool = spool.Spool(directory)

    def append(self, digests: bytes) -> None:
        """:raises NoSpace: the disk of the spool directory is full."""
        if digests.count(0) != len(digests):
            self._spool.write(self.length * DIGEST_SIZE, digests)
        self.length += len(digests) // DIGEST_SIZE

    def get(self, first: int, blocks: int) -> bytes:
        """Digests of so many blocks from block `first`; fewer at the end of the volume."""
        blocks = max(0, min(blocks, self.length - first))
        data = self._spool.read(first * DIGEST_SIZE, blocks * DIGEST_SIZE)
        return data + bytes(blocks * DIGEST_SIZE - len(data))

    def batches(self, blocks: int = 16384) -> Iterator[bytes]:
        """All digests in order, so many at a time."""
        for first in range(0, self.length, blocks):
            yield self.get(first, blocks)

    def close(self) -> None:
        self._spool.close()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
