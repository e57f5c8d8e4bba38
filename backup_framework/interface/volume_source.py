"""Where volumes come from. Found by entry point `backup_framework.volumes`."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
import dataclasses
from typing import BinaryIO

from backup_framework import exceptions, model
from backup_framework.model import Extent, Snapshot, Volume


@dataclasses.dataclass(frozen=True)
class Capabilities:
    """What a source can do beside listing, reading and writing volumes.

    :param creates: `create` makes volumes, for restores.
    :param snapshots: `make_snapshot` takes a state of a volume that others write to.
    :param keeps: `keep` keeps what was read; every backup then reads a snapshot.
    :param repeats: what was made or opened for a `key` is found by it. Methods are called with
        one only then: the same again where a process was killed meanwhile.
    :param shared: several may read one volume at once, on several hosts too. Only then a large
        one is backed up in parts.
    """

    creates: bool = False
    snapshots: bool = False
    keeps: bool = False
    repeats: bool = False
    shared: bool = False


@dataclasses.dataclass(frozen=True)
class Reading:
    """An opened volume.

    :param file: a plain file is read by several threads, where it is wanted; one that cannot seek
        in order. The attribute `holes` of a plain file, sorted extents that do not touch, says
        where it has zeros that need not be read.
    :param changed: where alone it may differ from backup `changed_since`; a sample is compared
        before that is believed.
    :param taken: what the source calls the state that is read, where it could keep it.
    """

    file: BinaryIO
    size: int
    changed: Sequence[Extent] | None = None
    changed_since: str | None = None
    taken: str | None = None


class VolumeSource(abc.ABC):
    """One [volumes:NAME] section makes one.

    The contract is in numbered sentences; `backup_framework.testing.sources` tests each one that
    can be tested from outside. A volume is known by its `source_id`.

    S1. One instance serves all threads, and several volumes may be open at once; one of them
        several times, where `capabilities` says `shared`.
    S2. Only errors of `backup_framework.exceptions` leave a source: VolumeNotFound for what it does
        not have, whatever that is called, and also for what is outside of what it offers.
    S3. What `capabilities` declares works. What it does not is Refused, and changes nothing.
    S4. `close` may be called twice. Neither it nor the end of a block leaves anything behind: no
        descriptor, process, mount or temporary name.
    """

    OPTIONS: tuple[model.Option, ...] = ()
    """The options of its section beside those that all sources have."""

    @abc.abstractmethod
    def __init__(self, settings: model.Settings, context: object = None) -> None:
        """Keep the settings; opens nothing and asks nobody."""

    @abc.abstractmethod
    def volumes(self) -> Iterable[Volume]:
        """All volumes that it has.

        V1. Each once, with a `source_id` that stays, a name, and its size in bytes.
        V2. One that others write to is `in-use`, where that can be told. One that cannot be read is
            `error`, and hides no other. One of which nothing can be told now is `unknown`: what was
            known of it stays.
        V3. A volume whose `id` is its `source_id` has that id, a UUID, everywhere. Others get one.
        """

    def snapshots(self, volume: Volume) -> Iterable[Snapshot]:
        """The snapshots of a volume that users may back up.

        V4. Each once, with a `source_id` that stays; `volume_id` is the volume's `id`.
        """
        return ()

    @abc.abstractmethod
    def open(self, volume: Volume, snapshot: Snapshot | None = None, *,
             since: str | None = None, key: str | None = None) -> AbstractContextManager[Reading]:
        """A volume, or a snapshot of it, for reading.

        O1. The file gives exactly `size` bytes, those of the volume.
        O2. Of a snapshot it gives what the volume had when that was made.
        O3. Reading changes nothing.
        O4. With `since`, the id of a backup, `changed` has all that may differ from it: sorted,
            without overlaps, inside the volume. None where that is not known of this very backup.
        O5. With a `key` that was given before it takes over what a killed process left behind.
        """

    @abc.abstractmethod
    def open_target(self, volume: Volume, *, key: str | None = None
                    ) -> AbstractContextManager[str | BinaryIO]:
        """What to restore to: the path of a file or device, or a stream that is written in order.

        T1. When the block has ended well the volume has what was written, and keeps it.
        T2. A volume that must not be written to now is InvalidTarget, before anything was.
        T3. With a `key` that was given before it takes over what a killed process left behind.
        """

    def create(self, name: str, size_bytes: int, project_id: str | None = None, *,
               key: str | None = None) -> Volume:
        """A new volume.

        C1. It has this size, holds zeros only, and is listed.
        C2. It is never one that was there. Any text may be `name`: where it is taken or cannot be
            had, the volume is called differently.
        C3. With a `key` that was given before it is the volume that was made for that.
        """
        raise exceptions.Refused('this source makes no volumes')

    def capabilities(self) -> Capabilities:
        return Capabilities()

    def make_snapshot(self, volume: Volume, *, key: str | None = None) -> Snapshot:
        """A state of a volume, taken at one moment, for a backup.

        N1. What is written to the volume afterwards is not in it.
        N3. With a `key` that was given before it is the snapshot that was made for that, or takes
            its place.
        """
        raise exceptions.Refused('this source makes no snapshots')

    def delete_snapshot(self, volume: Volume, snapshot: Snapshot) -> None:
        """N2. What `make_snapshot` made is gone. One that is missing is fine."""
        raise exceptions.Refused('this source makes no snapshots')

    def drop_snapshot(self, volume: Volume, key: str) -> None:
        """N4. What `make_snapshot` made for this `key` is gone. If that is nothing it is fine."""
        raise exceptions.Refused('this source makes no snapshots')

    def keep(self, volume: Volume, taken: str, backup_id: str) -> None:
        """The state `taken`, that of a reading, is backed up.

        K1. From now on `open` tells what changed since that backup, until another is kept.
        """
        raise exceptions.Refused('this source keeps nothing')

    def check(self) -> None:
        """Whether it can be used; raises what is wrong."""
        for _ in self.volumes():
            return

    @abc.abstractmethod
    def close(self) -> None: ...
