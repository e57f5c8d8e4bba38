"""What the engine knows of a backup in parts: runs of chunks that several writers store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
from typing import Protocol

from backup_framework.formats import base
from backup_framework.model import Extent


@dataclasses.dataclass(frozen=True)
class Split:
    """What all parts of a backup have in common, whoever stores them.

    :param size: of the volume.
    :param parts: their extents, in the order of the volume, numbered from 1 on.
    """

    size: int
    chunk_size: int
    block_size: int
    digest: str
    compression: str
    parts: Sequence[Extent]


@dataclasses.dataclass(frozen=True)
class Part:
    """A part, and a run at it.

    :param attempt: counts from 1, and never comes twice, so that of several that run at once, where
        one is taken for dead that is not, each has names of its own.
    """

    number: int
    attempt: int
    extent: Extent


@dataclasses.dataclass(frozen=True)
class StoredPart:
    """What a part came to: the object that has the rows of its chunks.

    :param digest: of the object, in hexadecimal digits.
    """

    extent: Extent
    name: str
    length: int
    digest: str


class PartWriter(base.ChunkWriter, Protocol):
    """Takes the chunks of one part."""

    def end(self, tick: base.Tick) -> StoredPart:
        """Have all of it durable."""


@dataclasses.dataclass(frozen=True)
class Splitting:
    """What a format does for a backup in parts.

    :param begin: (writer: opened for the backup, of which it takes no chunk; part_size: bytes that
        a part has, about) what parts need in the store is durable on return
    :param open_part: (container, prefix, header, choices, parent: a State or None, split, part);
        what earlier attempts stored is taken up where the choices say so
    :param open_end: (container, prefix, header, choices, split, parts: StoredParts, all of them in
        the order of the volume; attempt: counts from 1, and never comes twice) gives a writer that
        only needs to be finished; it and `open_part` raise InvalidBackup after too many attempts
    """

    begin: Callable[..., Split]
    open_part: Callable[..., PartWriter]
    open_end: Callable[..., base.Writer]
