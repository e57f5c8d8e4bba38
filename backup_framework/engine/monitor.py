"""Who hears of progress and may ask to stop; and what an operation was asked to do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
import dataclasses
import enum
import time

from backup_framework import exceptions
from backup_framework.formats.base import Problem
from backup_framework.model import Extent


class Monitor:
    """Hears of progress. Subclass it to show some; every method may be called from any thread.

    `heartbeat`, if set, is called now and then while an operation goes on, in the thread that
    started it: the manager renews the operation's lease by it.
    """

    def __init__(self) -> None:
        self.phase = ''
        self.total: int | None = None
        self.done = 0
        self.heartbeat: Callable[[], None] | None = None
        self._cancelled = False
        self._signal: int | None = None

    def start(self, phase: str, total: int | None = None) -> None:
        """A phase begins: 'backup', 'restore', 'verify', 'hashes', 'delete' or 'keys'.

        When a store's speed is measured they are called 'write' and 'read'.

        :param total: bytes of the volume; objects in phase 'delete', backups in phase 'keys'; None
            if not known.
        """
        self.phase, self.total, self.done = phase, total, 0

    def advance(self, length: int) -> None:
        """So much more of `total` is done."""
        self.done += length
        if self.heartbeat is not None:
            self.heartbeat()

    def tick(self) -> None:
        """The operation goes on, with nothing to count.

        :raises OperationCancelled: where somebody asked to stop.
        """
        self.advance(0)
        self.check()

    def end(self) -> None:
        """The operation has ended, well or not."""

    def cancel(self, signal: int | None = None) -> None:
        """Ask the operation to stop. Safe in a signal handler: it only sets a flag."""
        self._signal, self._cancelled = signal, True

    def check(self) -> None:
        """:raises OperationCancelled: where somebody asked to stop."""
        if self._cancelled:
            raise exceptions.OperationCancelled(signal=self._signal)

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than until somebody asks to stop."""
        deadline = time.monotonic() + seconds
        self.tick()
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))
            self.tick()


@dataclasses.dataclass(frozen=True)
class Sample:
    """A part of a state, chosen at random.

    :param percent: of its chunks (format 1.0.0: objects).
    :param seed: the same one chooses the same ones; None others each time.
    """

    percent: float
    seed: int | None = None


class Sweep(enum.Enum):
    """Whether what nothing refers to may be deleted now."""

    NOW = enum.auto()
    LATER = enum.auto()
    """A backup that is running may refer to it; the same delete is repeated when that has ended."""
    LOOK_AGAIN = enum.auto()
    """A backup has ended since the manifests were listed."""


@dataclasses.dataclass
class Operation:
    """What the caller of `backup`, `restore`, `delete` or `verify` wants beside the interface.

    :param parent_required: the parent must fit; without it a full backup is made instead.
    :param version: the format of a full backup; None is the backend's.
    :param changed: where alone the volume may differ from the parent: sorted, without overlaps;
        None where that is not known.
    :param wanted: restore only these bytes; None is all of them.
    :param wanted_at: where the first of them goes in the target; None is where it was.
    :param delta: read the target first and write only what differs.
    :param lost: bytes that cannot be restored are left alone, and told here, in the place of an
        error; None is an error.
    :param quick: verify manifest and presence only.
    :param sample: verify only a part; None is all.
    :param bad_objects: tells of a container which objects are known to be damaged: nothing new
        may refer to them.
    :param resume: a backup that is interrupted leaves what it stored, and one whose record says
        where an earlier run stored something goes on with that.
    :param owner: the id of this installation, for the manifest and the container.
    :param adopt: take the container over if it is another installation's.
    :param spool_directory: where temporary files may grow; None is the system's.
    :param cache_directory: where what can be made again may be kept; None keeps nothing.
    :param before_writing: called before a restore writes its first byte, when all is known that it
        needs.
    :param may_sweep: asked with the prefixes of the manifests that were looked at, before what they
        do not refer to is deleted; None is yes.
    :param warnings: sentences for the user, added while the operation runs.
    """

    monitor: Monitor = dataclasses.field(default_factory=Monitor)
    parent_required: bool = False
    version: str | None = None
    changed: Sequence[Extent] | None = None
    wanted: Extent | None = None
    wanted_at: int | None = None
    delta: bool = False
    lost: list[Problem] | None = None
    quick: bool = False
    sample: Sample | None = None
    bad_objects: Callable[[str], Collection[str]] = lambda container: ()
    resume: bool = False
    owner: str | None = None
    adopt: bool = False
    spool_directory: str | None = None
    cache_directory: str | None = None
    before_writing: Callable[[], None] = lambda: None
    may_sweep: Callable[[Collection[str]], Sweep] | None = None
    warnings: list[str] = dataclasses.field(default_factory=list)

    def warn(self, sentence: str) -> None:
        self.warnings.append(sentence)
