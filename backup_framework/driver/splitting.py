"""What the chunked base does of a backup in parts, which several drivers take together."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import dataclasses
from typing import Any, BinaryIO

from backup_framework import exceptions, model
from backup_framework.driver import work
from backup_framework.engine import backup as backup_engine
from backup_framework.engine import hints, source
from backup_framework.formats import base, versions
from backup_framework.formats.splitting import Part, Split, Splitting, StoredPart


class Parts(work.Work):
    """One step of it. Methods mean what those of ChunkedBackupDriver do."""

    def begin(self, backup: model.Backup, volume_file: BinaryIO, part_size: int) -> Split | None:
        self._begin('backup')
        volume = source.open_source(volume_file, anywhere=True)
        if isinstance(volume, source.StreamSource):
            return None
        with contextlib.ExitStack() as stack:
            writer, version, container = self._prepared(
                backup, volume.size, self._header(backup, None, None), stack)
            if version.splitting is None:
                return None
            try:
                return version.splitting.begin(writer, part_size)
            except BaseException as error:
                self._clean_up(version, container, backup, error)
                raise

    def store(self, backup: model.Backup, volume_file: BinaryIO, split: Split, part: Part
              ) -> StoredPart:
        self._begin('backup')
        if self._operation.changed is None:
            self._operation.changed = hints.of(volume_file)
        volume = self._source(volume_file, split, part)
        version = versions.format_of(str(backup.format))
        choices = dataclasses.replace(self._choices(backup), resume=self._takes_up(part))
        with contextlib.ExitStack() as stack:
            parent = self._parent_if_there(backup, stack)
            header = base.Header(version.version, backup_id=backup.id, owner=self._operation.owner)
            writer = _of(version).open_part(
                self._container_of(backup), str(backup.service_metadata), header, choices, parent,
                split, part)
            stack.callback(writer.close)
            hinted = volume if parent is None else self._hinted(backup, volume, writer)
            backup_engine.store(hinted, writer, monitor=self._monitor, **self._limits())
            self._monitor.start('hashes')
            stored = writer.end(self._monitor.tick)
            for note in writer.notes:
                self._operation.warn(note)
        return stored

    def _source(self, volume_file: BinaryIO, split: Split, part: Part) -> source.Source:
        volume = source.open_source(volume_file, anywhere=True)
        if volume.size != split.size:
            raise exceptions.VolumeChanged(
                f'the volume has {volume.size} bytes, and had {split.size} when the backup began')
        if isinstance(volume, source.FileSource | source.SeekSource):
            volume.within = part.extent
        return volume

    def _takes_up(self, part: Part) -> bool:
        """Whether what earlier attempts stored may be used."""
        if part.attempt == 1 or not self._able.reports_size or self._able.durable_together:
            return False
        # What was stored last may not be listed yet.
        self._monitor.sleep(self._able.listing_delay)
        return True

    def _parent_if_there(self, backup: model.Backup, stack: contextlib.ExitStack
                         ) -> base.State | None:
        """None where it has gone since the backup began: then the part needs none."""
        if backup.parent_id is None:
            return None
        try:
            return stack.enter_context(contextlib.closing(self._parent(backup)))
        except (exceptions.FormatError, exceptions.InvalidBackup, exceptions.StoreError) as error:
            self._operation.warn(f'a part of it is as in a full backup, because {error}')
            return None

    def end(self, backup: model.Backup, split: Split, parts: Sequence[StoredPart], attempt: int,
            backup_metadata: bool) -> dict[str, Any]:
        self._begin('backup')
        version = versions.format_of(str(backup.format))
        container = self._container_of(backup)
        header = dataclasses.replace(self._full_header(backup, backup_metadata),
                                     version=version.version, parent_id=backup.parent_id)
        writer = _of(version).open_end(
            container, str(backup.service_metadata), header, self._choices(backup), split, parts,
            attempt)
        with contextlib.closing(writer):
            self._monitor.start('hashes')
            totals = writer.finish(self._monitor.tick)
        return self._outcome(backup, version, container, totals)


def _of(version: base.Format) -> Splitting:
    if version.splitting is None:
        raise exceptions.InvalidBackup(f'backups of format {version.version} have no parts')
    return version.splitting
