"""The nouns: backups, volumes, jobs, extents, options and settings as plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
import dataclasses
import datetime
import enum
from typing import Any, Generic, TypeVar
import uuid

Item = TypeVar('Item')

GIB = 1 << 30

FULL, QUICK, SAMPLED = 'full', 'quick', 'sampled'
"""The kinds of verification."""

MORE_DAMAGE = 'there are more problems than are listed here'


class Status(enum.StrEnum):
    """The states of a backup; names are Cinder's."""

    CREATING = 'creating'
    AVAILABLE = 'available'
    RESTORING = 'restoring'
    DELETING = 'deleting'
    ERROR = 'error'
    ERROR_DELETING = 'error_deleting'


@dataclasses.dataclass(frozen=True, slots=True)
class Extent:
    """A run of volume bytes."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclasses.dataclass
class Backup:
    """A backup's record. Answers `backup['id']` as well as `backup.id`, as Cinder's drivers expect.

    Cinder's fields keep Cinder's names and units (`size` is in GiB, rounded up); ours are in bytes.
    Times are aware datetimes in UTC. `parent` is the record of `parent_id`, set where a chain was
    looked up. `properties` is Cinder's `metadata`: key/value pairs of the user.
    """

    id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    volume_id: str = ''
    status: str = Status.CREATING
    display_name: str | None = None
    display_description: str | None = None
    container: str | None = None
    service_metadata: str | None = None
    parent_id: str | None = None
    snapshot_id: str | None = None
    size: int = 0
    object_count: int = 0
    fail_reason: str | None = None
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    created_at: datetime.datetime | None = None
    updated_at: datetime.datetime | None = None
    data_timestamp: datetime.datetime | None = None
    service: str | None = None
    host: str | None = None
    availability_zone: str | None = None
    user_id: str | None = None
    project_id: str | None = None
    encryption_key_id: str | None = None

    backend: str | None = None
    format: str | None = None
    size_bytes: int | None = None
    stored_bytes: int | None = None
    owner: str | None = None
    """Installation that wrote the backup, if that is not this one: such backups are read-only."""
    warnings: list[str] = dataclasses.field(default_factory=list)
    """What the user should know of this backup, such as why it is a full one."""
    manifest_digest: str | None = None
    """SHA-256 of the manifest's bytes as they were stored, in hexadecimal digits."""
    verified_at: datetime.datetime | None = None
    """When its last verification ended, whatever that found."""
    verified_how: str | None = None
    """Which one that was: full, quick or sampled."""
    fully_verified_at: datetime.datetime | None = None
    """When its last full verification ended, whatever that found."""
    damage: list[str] = dataclasses.field(default_factory=list)
    """What is known to be wrong with it: sentences; none after a full verification without."""

    parent: Backup | None = dataclasses.field(default=None, repr=False, compare=False)
    on_save: Callable[[Backup], None] | None = dataclasses.field(
        default=None, repr=False, compare=False)

    def __getitem__(self, key: str) -> Any:
        try:
            return getattr(self, key)
        except AttributeError:
            raise KeyError(key) from None

    def get(self, key: str, default: Any = None) -> Any:
        return getattr(self, key, default)

    def save(self) -> None:
        """Keep container and prefix (`service_metadata`) before the first object is written."""
        if self.on_save is not None:
            self.on_save(self)

    @property
    def is_incremental(self) -> bool:
        return self.parent_id is not None

    @property
    def needs_parent(self) -> bool:
        """Whether it cannot be restored without its parent; since 2.0.0 backups can.

        One whose format is not known yet counts as older.
        """
        return self.parent_id is not None and not (self.format or '').startswith('2.')

    @property
    def is_empty(self) -> bool:
        """Whether it is an import that has not ended, or failed: nothing says what it has.

        Backups that are made know their `service` before they store anything.
        """
        return (self.service is None and self.service_metadata is None
                and self.status not in (Status.AVAILABLE, Status.RESTORING))

    def chain(self) -> list[Backup]:
        """This backup and the parents it was looked up with, root first."""
        members: list[Backup] = []
        member: Backup | None = self
        while member is not None:
            members.append(member)
            member = member.parent
        return members[::-1]


UNKNOWN = 'unknown'
"""Status of a volume of which its source can tell nothing now."""


@dataclasses.dataclass
class Volume:
    """A protected volume's record. `metadata` groups are those of Cinder's volume_meta.

    One with a `source` is read and written through that; one without is at `path`.
    """

    id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    name: str | None = None
    path: str | None = None
    size_bytes: int | None = None
    created_at: datetime.datetime | None = None
    updated_at: datetime.datetime | None = None
    base: dict[str, Any] = dataclasses.field(default_factory=dict)
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    image_metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    source: str | None = None
    """The configured source of volumes that has it."""
    source_id: str | None = None
    """What that source calls it: a path, an address, an id."""
    project_id: str | None = None
    """Whose it is; None is everybody's."""
    availability_zone: str | None = None
    description: str | None = None
    status: str = 'available'
    """In Cinder's words: available, in-use, creating, error and more; or `UNKNOWN`."""
    bootable: bool = False
    offered_at: datetime.datetime | None = None
    """When a worker last said that its source has it; None where none does."""


@dataclasses.dataclass
class Snapshot:
    """A volume as it was at one time, which its source keeps."""

    id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    volume_id: str = ''
    source_id: str | None = None
    name: str | None = None
    description: str | None = None
    status: str = 'available'
    size_bytes: int | None = None
    created_at: datetime.datetime | None = None
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)


class JobState(enum.StrEnum):
    """What became of an accepted operation."""

    QUEUED = 'queued'
    RUNNING = 'running'
    DONE = 'done'
    FAILED = 'failed'
    CANCELLED = 'cancelled'

    @property
    def is_open(self) -> bool:
        return self in OPEN_STATES


OPEN_STATES = (JobState.QUEUED, JobState.RUNNING)


@dataclasses.dataclass
class Job:
    """An accepted operation. Workers run it; the catalog says what was accepted and came of it.

    :param kind: create, restore, delete, verify, import, prune or part.
    :param source: the source of its volume, which who runs it must have.
    :param attempts: how often a worker began with it or went on.
    :param done: of `total`, in the unit of its phase: bytes, objects, backups.
    :param arguments: what its kind needs beside; JSON.
    """

    id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    kind: str = ''
    project_id: str | None = None
    user_id: str | None = None
    request_id: str | None = None
    backup_id: str | None = None
    volume_id: str | None = None
    backend: str | None = None
    source: str | None = None
    state: str = JobState.QUEUED
    created_at: datetime.datetime | None = None
    started_at: datetime.datetime | None = None
    ended_at: datetime.datetime | None = None
    host: str | None = None
    attempts: int = 0
    phase: str | None = None
    done: int = 0
    total: int | None = None
    fail_reason: str | None = None
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Service:
    """A running process of the service, as it last told of itself.

    :param binary: as clients of Cinder know it, such as cinder-backup.
    :param sources: the names of those that it can reach.
    :param backends: by name: driver, ok, error, free_bytes and checked_at of each.
    """

    id: str
    binary: str = ''
    host: str = ''
    zone: str | None = None
    started_at: datetime.datetime | None = None
    seen_at: datetime.datetime | None = None
    disabled: bool = False
    disabled_reason: str | None = None
    sources: list[str] = dataclasses.field(default_factory=list)
    backends: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Page(Generic[Item]):
    """Some of what was asked for.

    :param total: how many there are without paging; None where that was not asked.
    """

    items: list[Item]
    total: int | None = None


@dataclasses.dataclass(frozen=True)
class Quota:
    """How much a project may have, or has: backups, and GiB of the volumes that they are of.

    -1 is no limit.
    """

    backups: int = -1
    gigabytes: int = -1


@dataclasses.dataclass(frozen=True)
class Capabilities:
    """What a store can do. Declared, never guessed; a declared no must hold as well as a yes.

    :param ranged_read: readers can `seek`.
    :param conditional_create: other bytes under an existing name are refused (ObjectExists).
    :param atomic_replace: where they are not refused, the name shows the old object or the new one
        at any moment; else it may be missing for a moment.
    :param lists_containers: `list_containers` works.
    :param reports_size: `object_size` works.
    :param reports_free_space: `free_space` works.
    :param reports_clock: `clock` works.
    :param durable: what a writer or `sync` returned from survives a power cut.
    :param durable_together: objects are durable only when the `sync` of the driver that wrote them
        has returned; what a backup stored that was interrupted is not, and never will be.
    :param connections: verbs that may be open at once.
    :param delete_batch: names that `delete_objects` takes in one call.
    :param max_object_size: bytes, or None for no limit.
    :param longest_name: bytes that container, a slash and object name may have together.
    :param writer_buffer: bytes that one open writer may hold in memory.
    :param listing_delay: seconds after which a listing shows what other clients wrote.
    """

    ranged_read: bool = False
    conditional_create: bool = False
    atomic_replace: bool = True
    lists_containers: bool = False
    reports_size: bool = False
    reports_free_space: bool = False
    reports_clock: bool = False
    durable: bool = True
    durable_together: bool = False
    connections: int = 8
    delete_batch: int = 1
    max_object_size: int | None = None
    longest_name: int = 1024
    writer_buffer: int = 0
    listing_delay: float = 0.0


class OptionType(enum.Enum):
    """How an option's text is read. A size is bytes, written as 64MiB; a mode is octal."""

    STRING = 'string'
    INTEGER = 'integer'
    FLOAT = 'float'
    BOOLEAN = 'boolean'
    SIZE = 'size'
    LIST = 'list'
    PATH = 'path'
    MODE = 'mode'


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a backend's section; `conf` makes oslo.config options of these."""

    name: str
    type: OptionType = OptionType.STRING
    default: Any = None
    help: str = ''
    required: bool = False
    secret: bool = False
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    sample: str | None = None
    """What the sample file shows where the default would say nothing."""


class Settings:
    """A backend's options as attributes: what was given, else each option's default.

    Values arrive ready for use: sizes in bytes, lists as lists. A required option that is missing,
    or a name that no option has, is a ValueError: a driver made by hand is checked as well.
    """

    def __init__(self, options: Iterable[Option], values: Mapping[str, Any]) -> None:
        known = {option.name: option for option in options}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f'no such option: {", ".join(unknown)}')
        missing = [o.name for o in known.values() if o.required and values.get(o.name) is None]
        if missing:
            raise ValueError(f'missing option: {", ".join(missing)}')
        self._values = {name: option.default for name, option in known.items()} | dict(values)
        self._secret = {option.name for option in known.values() if option.secret}

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__['_values'][name]
        except KeyError:
            raise AttributeError(f'there is no option {name}') from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def shown(self) -> dict[str, Any]:
        """All values, with stars for secrets that are set."""
        return {name: '***' if name in self._secret and value is not None else value
                for name, value in self._values.items()}

    def __repr__(self) -> str:
        return f'Settings({", ".join(f"{n}={v!r}" for n, v in self.shown().items())})'


def size_gib(size: int) -> int:
    """Bytes as whole GiB, rounded up: the unit of Cinder's `size`."""
    return -(-size // GIB)


Newness = tuple[datetime.datetime, datetime.datetime, str]


def newness(backup: Backup) -> Newness:
    """Greater for what is newer; no two backups have the same."""
    time = time_of(backup)
    return time, backup.created_at or time, backup.id


def time_of(backup: Backup) -> datetime.datetime:
    """Of the state of the volume that it holds."""
    time = backup.data_timestamp or backup.created_at
    # The first day of all would be none in a zone west of Greenwich.
    return time or datetime.datetime.fromtimestamp(0, datetime.UTC)


def utcnow() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
