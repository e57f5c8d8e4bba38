"""Records as rows: names are those of Cinder's API, values raw for programs, short for people."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
import datetime
from typing import Any

from cliff import columns

from backup_framework.catalog import Catalog
from backup_framework.cmd.base import printable
from backup_framework.model import Backup, Volume

BACKUP_TABLE = ('id', 'name', 'status', 'size_bytes', 'stored_bytes', 'is_incremental', 'volume',
                'backend', 'created_at')
BACKUP = ('id', 'name', 'description', 'status', 'fail_reason', 'size', 'size_bytes',
          'stored_bytes', 'object_count', 'format', 'volume_id', 'volume', 'container', 'backend',
          'is_incremental', 'parent_id', 'has_dependent_backups', 'snapshot_id', 'created_at',
          'data_timestamp', 'metadata', 'owner', 'verified_at', 'verified_how', 'fully_verified_at',
          'damage', 'warnings')
BACKUP_LIST = tuple(name for name in BACKUP if name != 'has_dependent_backups')
"""What a listing has: all but what takes a question for each backup."""

VOLUME = ('id', 'name', 'source', 'path', 'size_bytes', 'created_at', 'metadata')


class Size(columns.FormattableColumn[int | None]):
    """Bytes; for people with a binary unit."""

    def human_readable(self) -> str:
        return '' if self._value is None else human_size(self._value)


class Rate(columns.FormattableColumn[float]):
    """Bytes a second; for people as progress shows them."""

    def human_readable(self) -> str:
        return f'{self._value / 1e6:.1f} MB/s'


class Ahead(columns.FormattableColumn[float]):
    """Seconds by which something is ahead."""

    def human_readable(self) -> str:
        return f'{self._value:+.1f} s'


class Unknown(columns.FormattableColumn[None]):
    """What could not be found out."""

    def human_readable(self) -> str:
        return 'unknown'


class Text(columns.FormattableColumn[str | None]):
    """Text from outside; for people without what would move the cursor of a terminal."""

    def human_readable(self) -> str:
        return printable(self._value or '')


class Pairs(columns.FormattableColumn[dict[str, str]]):
    """Key/value pairs."""

    def human_readable(self) -> str:
        return printable(', '.join(
            f'{key}={value}' for key, value in sorted(self._value.items())))


class Names(columns.FormattableColumn[Sequence[str]]):
    """Short words."""

    def human_readable(self) -> str:
        return printable(', '.join(self._value))


class Sentences(columns.FormattableColumn[list[str]]):
    """One a line."""

    def human_readable(self) -> str:
        return '\n'.join(map(printable, self._value))


def human_size(size: float) -> str:
    """Bytes as people read them: 1.5 GiB."""
    for unit in ('B', 'KiB', 'MiB', 'GiB', 'TiB'):
        if size < 1024 or unit == 'TiB':
            return f'{size:.0f} B' if unit == 'B' else f'{size:.1f} {unit}'
        size /= 1024
    raise AssertionError


def time(value: datetime.datetime | None) -> str | None:
    """UTC, as Cinder's API writes it, to the microsecond."""
    return value.astimezone(datetime.UTC).replace(tzinfo=None).isoformat() if value else None


class Rows:
    """Makes rows of backups, looking names of volumes up once."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._volumes: dict[str, Volume | None] = {}

    def backup(self, backup: Backup, names: Sequence[str] = BACKUP) -> tuple[Any, ...]:
        self._look_up([backup])
        return tuple(self._value(backup, name) for name in names)

    def listing(self, backups: Sequence[Backup], parsed_args: argparse.Namespace
                ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Names and rows: for a table that nobody chose columns for, as many as fit."""
        chosen = {*parsed_args.columns, *parsed_args.sort_columns}
        short = parsed_args.formatter == 'table' and chosen <= set(BACKUP_TABLE)
        names = BACKUP_TABLE if short else BACKUP_LIST
        self._look_up(backups)
        return names, [self.backup(backup, names) for backup in backups]

    def _look_up(self, backups: Iterable[Backup]) -> None:
        missing = {backup.volume_id for backup in backups} - self._volumes.keys()
        if missing:
            self._volumes |= dict.fromkeys(missing)
            self._volumes |= {volume.id: volume for volume in self._catalog.volumes(missing)}

    def _value(self, backup: Backup, name: str) -> Any:
        match name:
            case 'name' | 'description':
                return Text(getattr(backup, f'display_{name}'))
            case 'status':
                return str(backup.status)
            case 'size_bytes' | 'stored_bytes':
                return Size(getattr(backup, name))
            case 'created_at' | 'data_timestamp' | 'verified_at' | 'fully_verified_at':
                return time(getattr(backup, name))
            case 'metadata':
                return Pairs(backup.metadata)
            case 'warnings' | 'damage':
                return Sentences(getattr(backup, name))
            case 'volume':
                volume = self._volumes[backup.volume_id]
                return Text(volume.name or volume.path if volume else None)
            case 'has_dependent_backups':
                return bool(self._catalog.dependents(backup.id))
        value = getattr(backup, name)
        return Text(value) if value is None or isinstance(value, str) else value


def volume(found: Volume) -> tuple[Any, ...]:
    return (found.id, Text(found.name), found.source, Text(found.path), Size(found.size_bytes),
            time(found.created_at), Pairs(found.metadata))
