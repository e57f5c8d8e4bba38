"""What the engine knows of a format: chunks go in, pieces come out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
import dataclasses
import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from backup_framework.exceptions import FormatError, StoreError
from backup_framework.formats.keyring import Keyring
from backup_framework.model import Backup, Extent

if TYPE_CHECKING:
    from backup_framework import store  # which needs what the options of commands need not
    from backup_framework.formats.splitting import Splitting

MANIFEST = '_metadata'
"""What the name of a manifest has behind the prefix, in every format."""

CONTAINER = 'bf-container.'
"""Names that begin with this belong to the container, not to a backup."""

LARGEST_MANIFEST = 512 << 20

BLOCK_SIZES = {'1.0.0': 32 << 10, '2.0.0': 64 << 10}
"""The versions that are written, with the block size of each where none is chosen."""

Tick = Callable[[], None]
"""Called now and then; may raise to stop."""

Fill = Callable[[int, memoryview], None]
"""Fills a buffer with the bytes of a volume from an offset on; any thread."""


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a volume as one unit of work.

    :param read: fills a buffer with the chunk's bytes from a volume offset on; None for a hole,
        which is zeros. A buffer may begin and end anywhere in the chunk.
    :param data: the extents outside of which all bytes are zeros, sorted; any thread.
    :param changed: the extents outside of which nothing differs from the parent, sorted; None where
        that is not known.
    """

    offset: int
    length: int
    read: Fill | None
    data: Callable[[], Iterable[Extent]]
    changed: Sequence[Extent] | None = None

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclasses.dataclass
class Header:
    """What a manifest says of its backup, beside its objects. Sizes in bytes, None if not said.

    :param manifest_digest: SHA-256 of the manifest itself as it is stored, in hexadecimal digits.
    :param sealed: the backup is, and it was opened: who wrote it had the key.
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
    sealed: bool = False
    digests_sha256: str | None = None
    manifest_digest: str | None = None
    properties: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Totals:
    """What a finished backup amounts to. `stored_bytes` counts every object, the manifest too.

    :param parent_id: None where it turned out that it could not build on its parent.
    :param manifest_digest: as in `Header`.
    :param unused: what an earlier run of the same backup stored, and this one has no use for.
    """

    object_count: int
    size_bytes: int
    stored_bytes: int
    parent_id: str | None = None
    manifest_digest: str | None = None
    unused: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Choices:
    """What the configuration says of how to write. None leaves it to the format.

    :param duplicates: where to look for bytes that are stored already: 'none', 'volume' or
        'container'.
    :param index_size: bytes of memory for finding them.
    :param spool_directory: where temporary files may grow; None is the system's.
    :param cache_directory: where what can be made again may be kept; None keeps nothing.
    :param keyring: for whom the backup is sealed, if it has recipients; None seals nothing.
    :param bad_objects: objects of the container that are known to be damaged: the blocks in them
        are stored anew, and nothing refers to them.
    :param resume: another run of the same backup was interrupted: keep what it stored where the
        volume has the same bytes still.
    """

    chunk_size: int | None = None
    block_size: int | None = None
    compression: str = 'zstd'
    digest: str = 'blake3'
    duplicates: str = 'volume'
    index_size: int = 16 << 20
    spool_directory: str | None = None
    cache_directory: str | None = None
    keyring: Keyring | None = None
    bad_objects: Collection[str] = ()
    resume: bool = False

    @property
    def seals(self) -> bool:
        """Whether there is somebody to seal the backup for."""
        return self.keyring is not None and bool(self.keyring.recipients)


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """Storing what is new in one or more chunks.

    :param length: bytes of the volume.
    :param cost: bytes of memory that it takes, until its result was added.
    :param run: any thread, any order; what it returns goes to `Writer.add`.
    """

    length: int
    cost: int
    run: Callable[[], Any]


class ChunkWriter(Protocol):
    """Takes the chunks of a backup, or of a part of one."""

    @property
    def chunk_size(self) -> int: ...

    @property
    def block_size(self) -> int: ...

    @property
    def largest_hole(self) -> int:
        """Bytes of a hole that it takes as one chunk, a multiple of the chunk size."""

    @property
    def largest_object(self) -> int:
        """Bytes that one of its objects may have."""

    @property
    def notes(self) -> Sequence[str]:
        """Sentences for the user, as where a changed option waits for the next full backup."""

    def stored_before(self) -> Iterable[Task]:
        """What is to be done before `tasks`, in the same way: looking at what is stored already."""

    def tasks(self, chunks: Iterable[Chunk]) -> Iterator[Task]:
        """The chunks, all of the volume or part in order, as tasks; pulled by one thread, and
        lazily."""

    def is_as_parent(self, extent: Extent, data: memoryview) -> bool:
        """Whether the parent has these bytes there; the extent is one whole block."""

    def add(self, result: Any) -> None:
        """Take in what a task returned; in the order of the tasks, one thread."""

    def close(self) -> None:
        """Let temporary files go; what was not stored is lost."""


class Writer(ChunkWriter, Protocol):
    """Takes one backup in one format."""

    def finish(self, tick: Tick) -> Totals:
        """Write what describes the backup, the manifest last, all of it durable.

        :raises InvalidBackup: the format cannot describe it.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """Something stored that is not what it should be.

    :param sentence: for the user; it names the object or the blocks.
    :param object: its name; None where it is not about one of `container`.
    :param extents: of the volume that it hurts, as far as that is known; sorted.
    """

    sentence: str
    container: str | None = None
    object: str | None = None
    extents: Sequence[Extent] = ()


def problem_of(error: FormatError, extents: Sequence[Extent] = ()) -> Problem:
    return Problem(str(error), error.container, error.name, extents)


def is_of_object(error: StoreError) -> bool:
    """Whether a store that is there, and lets us in, cannot give this one object."""
    return type(error) is StoreError


def of_object(container: str, name: str, what: str, extents: Sequence[Extent] = ()) -> Problem:
    """A problem of an object.

    :param what: the rest of the sentence that begins with the object.
    """
    return Problem(f'object {name} of container {container} {what}', container, name, extents)


def joined(extents: Iterable[Extent]) -> list[Extent]:
    """Sorted, and those that touch as one."""
    found: list[Extent] = []
    for extent in sorted(extents, key=lambda each: each.offset):
        if found and extent.offset <= found[-1].end:
            last = found.pop()
            extent = Extent(last.offset, max(last.end, extent.end) - last.offset)
        found.append(extent)
    return found


Tell = Callable[[Problem], None]
"""Learns of a problem; any thread."""


class Piece(NamedTuple):
    """Verified bytes of a volume; `data` is None for zeros."""

    offset: int
    length: int
    data: memoryview | None


class Unit(Protocol):
    """A part of bringing a state back that one thread does.

    :param length: bytes of the volume.
    :param cost: bytes of memory that it takes.
    """

    @property
    def length(self) -> int: ...

    @property
    def cost(self) -> int: ...

    def pieces(self, present: Fill | None = None, tell: Tell | None = None
               ) -> Generator[Piece, None, None]:
        """The verified pieces, each byte in one at most, in any order.

        A piece's data are valid until the next one is asked for.

        :param present: reads what the target has; pieces that it has already may be left out.
        :param tell: learns, in the place of an error, which bytes cannot be had; all others come.
        :raises CorruptObject: something stored is not what was stored.
        :raises MissingObject: an object is gone.
        """

    def problems(self, tick: Tick) -> list[Problem]:
        """Read and verify all that the unit needs, also what restoring it need not look at."""


class Use(NamedTuple):
    """How a backup uses an object.

    :param length: bytes of the object; None where only the store knows.
    :param share: of it that the backup uses, at most: from 0 to 1.
    """

    length: int | None
    share: float


class State(Protocol):
    """One restorable state of a volume, from one backup or from a chain. Close it."""

    @property
    def header(self) -> Header: ...

    @property
    def size(self) -> int: ...

    @property
    def notes(self) -> Sequence[str]:
        """What cannot be verified, and why: sentences."""

    def units(self, wanted: Extent) -> Iterator[Unit]:
        """What brings the wanted bytes back, in volume order, each byte in one unit.

        Pieces outside of `wanted` do not come. Several units may be worked on at once.

        :raises CorruptManifest: no object has some of the bytes.
        """

    def prepare_check(self) -> list[Problem]:
        """To be called before `Unit.problems`, and before `Unit.pieces` that tells; what is wrong
        beside the units."""

    def missing(self, sizes: bool, tick: Tick) -> tuple[int, list[Problem]]:
        """How many objects are needed, and which are not there. None of them is read.

        :param sizes: the store tells stored sizes; compare them where they are known.
        """

    def uses(self) -> dict[str, Use]:
        """The objects of its container that the newest backup of the state needs, by name.

        Without its manifest, and what belongs to that; of a chain's parents, none.
        """

    def extents_of(self, objects: Collection[str]) -> dict[str, list[Extent]]:
        """For each of these objects that the state needs: for which bytes, sorted.

        Nothing is read but what describes the state: as exact as that tells.
        """

    def close(self) -> None: ...


class Reader(Protocol):
    """One backup in a store, its manifest read and checked."""

    @property
    def header(self) -> Header: ...

    @property
    def object_count(self) -> int: ...


class Ownership(Protocol):
    """Keeps two installations from working in one container; one of None is left alone."""

    def check(self, container: store.Container, installation: str | None) -> bool:
        """Whether it is marked as the installation's; False where it is nobody's.

        :raises ForeignContainer: another one works there, or nobody can tell.
        """

    def claim(self, container: store.Container, installation: str | None, *,
              adopt: bool = False) -> None:
        """Mark the container as the installation's, if it is not.

        :param adopt: also if it is another one's.
        :raises ForeignContainer: it is, or somebody else was quicker.
        """

    def release(self, container: store.Container, installation: str | None) -> None:
        """Take the installation's mark away if nothing else is in the container."""


@dataclasses.dataclass(frozen=True)
class Format:
    """A version of the stored bytes, as what stands above sees it.

    :param needs_parent: restoring an incremental backup takes its parents.
    :param open_reader: (container, prefix, document, members of the manifest, keyring: a Keyring
        or None); raises KeyUnavailable where that does not open it
    :param open_state: (readers of a chain root first, or of one backup that needs no parent;
        spool_directory=, whole_limit=bytes of objects that may be held as a whole)
    :param open_writer: (container, prefix, header, choices, parent: a State or None, size: of the
        volume or None where it is not known yet); raises InvalidBackup where the parent does not
        fit, ConfigurationError where the choices do not
    :param leftovers: (container, prefix, committed=, tick=, keyring=) what may be deleted once the
        manifest with this prefix is gone: lists of names, to be deleted in this order; `committed`
        where there may have been one
    :param container: the default container of a new backup
    :param stored_by: the prefix of the backup that stored an object of this name, None where it has
        no name that the format gives; a manifest's is left to others
    :param ownership: None where a backup uses no objects of others
    :param resumes: a backup that was interrupted can be gone on with
    :param splitting: None where a backup cannot be taken in parts
    """

    version: str
    needs_parent: bool
    open_reader: Callable[..., Reader]
    open_state: Callable[..., State]
    open_writer: Callable[..., Writer]
    leftovers: Callable[..., Sequence[Sequence[str]]]
    container: Callable[[Backup], str]
    stored_by: Callable[[str], str | None]
    ownership: Ownership | None = None
    resumes: bool = False
    splitting: Splitting | None = None
