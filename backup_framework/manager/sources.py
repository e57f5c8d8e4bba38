"""The configured sources of volumes: opened when they are needed, and what they offer."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
from typing import BinaryIO

from backup_framework import conf, exceptions, loader
from backup_framework.catalog.jobs import RESTORE_FAILED
from backup_framework.engine import parallel, source
from backup_framework.interface.volume_source import Reading, VolumeSource
from backup_framework.manager.context import Context, reason_of
from backup_framework.model import Snapshot, Volume

IN_USE = 'in-use'


@dataclasses.dataclass
class Offer:
    """What a source has.

    :ivar error: why that cannot be told; the lists are empty then.
    """

    source: str
    volumes: list[Volume] = dataclasses.field(default_factory=list)
    snapshots: list[Snapshot] = dataclasses.field(default_factory=list)
    error: str | None = None


class Sources:
    """The sources of a configuration; each is opened once and closed by `close`.

    A volume without a source is at its path. Serves all threads.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = parallel.lock()
        self._open: dict[str, VolumeSource] = {}

    def names(self) -> list[str]:
        return [each.name for each in self._context.configuration.sources()]

    def get(self, name: str) -> VolumeSource:
        """:raises ConfigurationError: there is no such section, or it is wrong."""
        with self._lock:
            if name not in self._open:
                self._open[name] = self._make(self._section(name))
            return self._open[name]

    def _section(self, name: str) -> conf.SourceConfig:
        for each in self._context.configuration.sources():
            if each.name == name:
                return each
        raise exceptions.ConfigurationError(
            f'there is no section [volumes:{name}] in the configuration of this host')

    def _make(self, section: conf.SourceConfig) -> VolumeSource:
        cls: type[VolumeSource] = loader.load_heir(
            section.type, loader.VOLUME_SOURCES, VolumeSource)
        settings = self._context.configuration.source_settings(section, cls)
        try:
            return cls(settings, self._context)
        except exceptions.ConfigurationError as error:
            raise type(error)(f'section [{section.section}]: {error}') from error

    # Reading.

    def is_shared(self, volume: Volume) -> bool:
        """Whether several workers may read it at once."""
        return volume.source is None or self.get(volume.source).capabilities().shared

    def makes_snapshot(self, volume: Volume) -> bool:
        """Whether its source does, and it is worth it."""
        if volume.source is None:
            return False
        able = self.get(volume.source).capabilities()
        # Whether one is in use to which a restore failed is not known.
        worth = volume.status in (IN_USE, RESTORE_FAILED)
        return able.keeps or able.snapshots and worth

    def snapshot(self, volume: Volume, key: str | None = None) -> Snapshot | None:
        """A state to back up, where `makes_snapshot`; else None.

        Where it cannot be made the volume itself is read, after a warning.

        :param key: the same one again finds what a killed process left, where the source can.
        """
        if not self.makes_snapshot(volume):
            return None
        found = self.get(str(volume.source))
        try:
            return found.make_snapshot(volume, **_keyed(found, key))
        except exceptions.Refused as error:
            self._context.warn(f'volume {volume.name or volume.id} is read itself, not a snapshot '
                               f'of it: {error}')
            return None

    def delete_snapshot(self, volume: Volume, snapshot: Snapshot) -> None:
        """What `snapshot` gave goes; kept or gone already is fine."""
        self.get(str(volume.source)).delete_snapshot(volume, snapshot)

    def drop_snapshot(self, volume: Volume, key: str) -> None:
        """What `snapshot` made for this key goes, where the source can find it."""
        found = self.get(str(volume.source))
        if found.capabilities().repeats:
            found.drop_snapshot(volume, key)

    @contextlib.contextmanager
    def read(self, volume: Volume, snapshot: Snapshot | None = None, *,
             since: str | None = None, key: str | None = None) -> Iterator[Reading]:
        """A volume, or a state of it, for reading; see `snapshot` for the key.

        :param since: the id of the backup to build on: the reading says what changed, if the
            source knows that of this backup.
        :raises VolumeNotFound, InvalidVolume, VolumeError: it cannot be read.
        """
        if volume.source is None:
            with source.open_volume(_path_of(volume)) as file:
                yield Reading(file, source.size_of(file))
            return
        found = self.get(volume.source)
        with found.open(volume, snapshot, since=since, **_keyed(found, key)) as reading:
            yield reading

    def keep(self, volume: Volume, taken: str | None, backup_id: str) -> None:
        """The state of a reading is backed up: the next one may ask what changed since.

        That is a help for the next backup only: where it fails there is a warning.
        """
        if volume.source is None or taken is None:
            return
        try:
            self.get(volume.source).keep(volume, taken, backup_id)
        except exceptions.BackupFrameworkError as error:
            self._context.warn(f'the next backup of volume {volume.name or volume.id} will read '
                               f'all of it: {error}')

    # Writing.

    @contextlib.contextmanager
    def target(self, volume: Volume, key: str | None = None) -> Iterator[str | BinaryIO]:
        """What to restore to: a path that exists, or a stream that is written in order.

        :param key: see `snapshot`.
        :raises InvalidTarget: the volume must not be written to now.
        """
        if volume.source is None:
            yield _path_of(volume)
            return
        found = self.get(volume.source)
        with found.open_target(volume, **_keyed(found, key)) as target:
            yield target

    def creator(self, preferred: str | None = None, project_id: str | None = None) -> str:
        """The name of a source that makes volumes for a project.

        Not one whose volumes are another project's, which would see the new one.

        :raises Refused: none does.
        """
        names = [each.name for each in self._context.configuration.sources()
                 if project_id is None or each.project_id in (None, project_id)]
        for name in sorted(names, key=lambda name: name != preferred):
            if self.get(name).capabilities().creates:
                return name
        raise exceptions.Refused(
            'no volume can be made here: no section [volumes:NAME] has a source that makes any; '
            'restore to a volume that exists')

    def create(self, name: str, volume_name: str, size_bytes: int,
               project_id: str | None = None, key: str | None = None) -> Volume:
        """A new volume in the source `name`; see `snapshot`."""
        found = self.get(name)
        made = found.create(volume_name, size_bytes, project_id, **_keyed(found, key))
        return self._told(self._section(name), made, project_id)

    # Offering.

    def offers(self, only: str | None = None) -> Iterator[Offer]:
        """What each source has, or one of them; one that fails stops no other."""
        for section in self._context.configuration.sources():
            if only not in (None, section.name):
                continue
            try:
                yield self._offer(section)
            except Exception as error:
                yield Offer(section.name, error=reason_of(error))

    def _offer(self, section: conf.SourceConfig) -> Offer:
        found = self.get(section.name)
        volumes = [self._told(section, volume) for volume in found.volumes()]
        return Offer(section.name, volumes,
                     [snapshot for volume in volumes for snapshot in found.snapshots(volume)])

    def _told(self, section: conf.SourceConfig, volume: Volume,
              project_id: str | None = None) -> Volume:
        volume.source = section.name
        volume.project_id = volume.project_id or project_id or section.project_id
        volume.availability_zone = volume.availability_zone or section.availability_zone
        return volume

    def close(self) -> None:
        with self._lock:
            for each in self._open.values():
                each.close()
            self._open.clear()


def _keyed(source: VolumeSource, key: str | None) -> dict[str, str]:
    """The key as an argument, for sources that know what to do with it."""
    return {} if key is None or not source.capabilities().repeats else {'key': key}


def _path_of(volume: Volume) -> str:
    """:raises VolumeNotFound: it is not known."""
    if volume.path is None:
        raise exceptions.VolumeNotFound(
            f'the path of volume {volume.name or volume.id} is not known, and no source has it')
    return volume.path
