"""Volumes that are block devices of this host."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import glob
import os
import stat
from typing import BinaryIO

from backup_framework import exceptions, model
from backup_framework.engine import source
from backup_framework.interface.volume_source import Capabilities, Reading, VolumeSource
from backup_framework.model import Option, OptionType, Snapshot, Volume


class BlockVolumes(VolumeSource):
    """Every block device that a pattern names is a volume, known by its path."""

    OPTIONS = (
        Option('devices', OptionType.LIST, required=True, sample='/dev/vg0/*,/dev/disk/by-id/wwn-*',
               help=('Paths of block devices, or patterns of paths as a shell has them, separated '
                     'by commas. A path that stays is best: a volume is known by it.')),
    )

    def __init__(self, settings: model.Settings, context: object = None) -> None:
        self._patterns = [str(pattern) for pattern in settings.devices]
        wrong = [pattern for pattern in self._patterns if not os.path.isabs(pattern)]
        if wrong:
            raise exceptions.ConfigurationError(f'devices: {wrong[0]!r} must be an absolute path')

    def capabilities(self) -> Capabilities:
        return Capabilities(shared=True)

    def volumes(self) -> Iterator[Volume]:
        for path in self._paths():
            with contextlib.suppress(exceptions.VolumeNotFound):  # it has just gone
                yield _volume(path)

    def _paths(self) -> list[str]:
        found = {path for pattern in self._patterns for path in glob.glob(pattern)}
        return sorted(path for path in found if _is_device(path))

    @contextlib.contextmanager
    def open(self, volume: Volume, snapshot: Snapshot | None = None, *,
             since: str | None = None, key: str | None = None) -> Iterator[Reading]:
        if snapshot is not None:
            raise exceptions.VolumeNotFound('block devices have no snapshots here')
        with source.open_volume(self._path(volume)) as file:
            yield Reading(file, source.size_of(file))

    @contextlib.contextmanager
    def open_target(self, volume: Volume, *, key: str | None = None
                    ) -> Iterator[str | BinaryIO]:
        path = self._path(volume)
        mounted = source.writable_mounts(path)
        if mounted:
            raise exceptions.InvalidTarget(f'{path} is mounted at {mounted[0]}')
        # Who opens it for writing does so alone, and refuses other uses.
        yield path

    def _path(self, volume: Volume) -> str:
        """:raises VolumeNotFound: it is not offered."""
        if volume.source_id not in self._paths():
            raise exceptions.VolumeNotFound(
                f'{volume.source_id!r} is no device that {", ".join(self._patterns)} names')
        return str(volume.source_id)

    def close(self) -> None:
        """Nothing stays open."""


def _is_device(path: str) -> bool:
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except OSError:
        return False


def _volume(path: str) -> Volume:
    """:raises VolumeNotFound: it is not there."""
    volume = Volume(name=os.path.basename(path), source_id=path, path=path, status='error')
    with (contextlib.suppress(exceptions.VolumeError, exceptions.InvalidVolume),
          source.open_volume(path) as file):
        volume.size_bytes = source.size_of(file)
        volume.status = 'in-use' if source.writable_mounts(path) else 'available'
    return volume
