"""What the engine knows of a format: chunks go in, entries come out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
import dataclasses
import datetime
import re
from typing import Any, Protocol

from backup_framework.formats import digests
from backup_framework.model import Backup, Extent

MANIFEST = '_metadata'
"""What the name of a manifest has behind the prefix, in every format."""

LARGEST_MANIFEST = 512 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a volume as one unit of work.

    :param read: returns the bytes, in whichever thread calls it; None for a hole, which is zeros.
    """

    offset: int
    length: int
    read: Callable[[], bytes | bytearray] | None


@dataclasses.dataclass(frozen=True, slots=True)
class Entry(Extent):
    """What one stored object gives to a volume.

    :param zero: its bytes are known to be zeros without looking at the object.
    """

    name: str
    zero: bool


@dataclasses.dataclass
class Header:
    """What a manifest says of its backup, beside its objects. Sizes in bytes, None if not said.

    :param owner: the installation that wrote it, if it was one of ours.
    :param digests_sha256: of the object with the block digests, in hexadecimal digits.
    """

    version: str
    backup_id: str | None = None
    volume_id: str | None = None
    name: str | None = None
    description: str | None = None
    created_at: datetime.datetime | None = None
    parent_id: str | None = None
    volume_meta: str | None = None
    extra_metadata: Any = None
    size: int | None = None
    stored_bytes: int | None = None
    data_timestamp: datetime.datetime | None = None
    snapshot_id: str | None = None
    owner: str | None = None
    digests_sha256: str | None = None
    properties: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Totals:
    """What a finished backup amounts to. `stored_bytes` counts every object, the manifest too."""

    object_count: int
    size_bytes: int
    stored_bytes: int


class Stored(Protocol):
    """What storing a chunk came to."""

    @property
    def length(self) -> int: ...


class Writer(Protocol):
    """Takes one backup in one format."""

    @property
    def chunk_size(self) -> int: ...

    @property
    def largest_hole(self) -> int:
        """Bytes of a hole that it takes as one chunk."""

    def store(self, chunk: Chunk) -> Stored:
        """Store what is new in a chunk; any thread, any order."""

    def add(self, stored: Any) -> None:
        """Take in what `store` returned; in volume order, one thread."""

    def finish(self, tick: Callable[[], None]) -> Totals:
        """Write what describes the backup, the manifest last, all of it durable.

        :param tick: called now and then; may raise to stop.
        :raises InvalidBackup: the format cannot describe it.
        """

    def close(self) -> None:
        """Let temporary files go."""


class Reader(Protocol):
    """One backup in a store, its manifest read and checked."""

    @property
    def header(self) -> Header: ...

    @property
    def entries(self) -> Sequence[Entry]:
        """Sorted by offset, without overlaps."""

    def read(self, entry: Entry, wanted: Sequence[Extent]
             ) -> Generator[tuple[int, memoryview], None, None]:
        """The verified bytes of the wanted extents of an entry, with their volume offsets.

        Any thread. Nothing is given out before it has been verified.

        :raises CorruptObject: the object's bytes are not those that were stored.
        :raises MissingObject: the object is gone.
        """

    def check(self, entry: Entry) -> None:
        """Read and verify the stored object itself, also one known to be zeros."""

    def cost(self, entry: Entry) -> int:
        """Bytes that reading an entry takes at a time."""

    def digests(self, spool_directory: str | None = None) -> digests.Spool | None:
        """All block digests of the volume, in a spool that the caller closes; None if not kept."""

    def problems(self, sizes: bool) -> list[str]:
        """What is wrong with the backup's objects, without reading them: sentences.

        :param sizes: the store tells stored sizes; compare them where they are known.
        """


@dataclasses.dataclass(frozen=True)
class Format:
    """A version of the stored bytes, as what stands above sees it.

    :param chunk_size: bytes, where the options do not say.
    :param belongs: matches what stands behind the prefix in the name of a backup's object.
    :param open_reader: (container, prefix, members of the manifest, whole_limit=bytes)
    :param open_writer: (container, prefix, header, chunk_size=, block_size=, compression=, parent=,
        spool_directory=)
    :param volume_size: (readers of a chain root first, spool directory) in bytes.
    :param container: the default container of a new backup.
    """

    version: str
    chunk_size: int
    belongs: re.Pattern[str]
    open_reader: Callable[..., Reader]
    open_writer: Callable[..., Writer]
    volume_size: Callable[[Sequence[Reader], str | None], int]
    container: Callable[[Backup], str]
