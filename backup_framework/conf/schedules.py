"""The [schedule:NAME] sections: what the service backs up by itself, and when."""

from __future__ import annotations

import dataclasses
import datetime
import string
from typing import Any
import zoneinfo

from oslo_config import cfg, types

from backup_framework.conf import retention
from backup_framework.conf.types import Boolean, Type
from backup_framework.conf.values import Values
from backup_framework.exceptions import ConfigurationError

PREFIX = 'schedule:'
EVERY = '*'
_NAMED = ('schedule', 'volume', 'date', 'time')


class Zone(Type):
    """A time zone of this machine's database."""

    def __init__(self) -> None:
        super().__init__('time zone')

    def __call__(self, value: Any) -> zoneinfo.ZoneInfo:
        try:
            return zoneinfo.ZoneInfo(str(value))
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError('a time zone like UTC or Europe/Berlin') from None

    def _formatter(self, value: Any) -> str:
        return str(value)


class Template(Type):
    """A text with fields in braces."""

    def __init__(self) -> None:
        super().__init__('template')

    def __call__(self, value: Any) -> str:
        text = str(value)
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError:
            raise ValueError(self._expected()) from None
        for _, field, detail, conversion in parts:
            if field is not None and (field not in _NAMED or detail or conversion):
                raise ValueError(self._expected())
        return text

    def _expected(self) -> str:
        return f'a text in which only {", ".join(f"{{{name}}}" for name in _NAMED)} stand in braces'

    def _formatter(self, value: Any) -> str:
        return str(value)


# Mutable: a reload reads them again.
OPTIONS = (
    cfg.StrOpt('cron', mutable=True, sample_default='0 2 * * *', help=(
        'When, in the five fields of cron: minute, hour, day of the month, month, day of the week. '
        'Required.')),
    cfg.Opt('timezone', type=Zone(), default='UTC', mutable=True, help=(
        'The time zone that cron counts in. Where its clocks are set forward, what would have '
        'been in the hour that is left out comes right after it.')),
    cfg.Opt('volumes', type=types.List(item_type=types.String(), type_name='list'), mutable=True,
            sample_default='web, db', help=(
        'The names or ids of the volumes, or * for all that a worker offers at that time. '
        'Required.')),
    cfg.StrOpt('source', mutable=True, help=(
        'The source that the volumes are in, for * and for names that several sources have.')),
    cfg.StrOpt('backend', mutable=True, help='Where backups go. Unset, default_backend.'),
    cfg.Opt('incremental', type=Boolean(), default=True, mutable=True, help=(
        'Make incremental backups; where a volume has none to build on, a full one.')),
    cfg.Opt('name', type=Template(), default='{volume} {date} {time}', mutable=True, help=(
        'The name of the backups. {schedule}, {volume}, {date} and {time} are replaced; the last '
        'two are those of the time zone.')),
    cfg.StrOpt('project_id', mutable=True, help=(
        'The project that the backups belong to, and whose volumes may be named. Unset, that of '
        'each volume.')),
)

RETENTION = tuple(
    cfg.Opt(option.name, type=option.type, sample_default=option.sample_default, mutable=True,
            help=option.help) for option in retention.OPTIONS)


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """One such section.

    :ivar cron: as written; the service reads it.
    :ivar volumes: names or ids, or one `*`.
    :ivar name: a template for `name_at`.
    :ivar rules: of the section alone; with any of them the volume is pruned after its backup.
    """

    name: str
    cron: str
    volumes: tuple[str, ...]
    timezone: zoneinfo.ZoneInfo
    template: str
    source: str | None = None
    backend: str | None = None
    incremental: bool = True
    project_id: str | None = None
    rules: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def key(self) -> str:
        """Under which the catalog keeps its next time."""
        return f'{PREFIX}{self.name}'

    def name_at(self, volume: str, now: datetime.datetime) -> str:
        """The name of a backup that is made now."""
        there = now.astimezone(self.timezone)
        return self.template.format(schedule=self.name, volume=volume,
                                    date=f'{there:%Y-%m-%d}', time=f'{there:%H:%M}')[:255]


def section_names(values: Values) -> dict[str, str]:
    """Section by name of the schedule, in the order of the files."""
    return {section[len(PREFIX):].strip(): section for section in values.text.sections()
            if section.lower().startswith(PREFIX)}


def read(values: Values, name: str, section: str) -> ScheduleConfig:
    """:raises ConfigurationError: no name, something is missing, or makes no sense."""
    if not name:
        raise ConfigurationError(f'section [{section}] lacks the name of the schedule behind the '
                                 f'colon')
    values.register((*OPTIONS, *RETENTION), section)
    found = {option.dest: values.get(section, option.dest) for option in (*OPTIONS, *RETENTION)}
    volumes = tuple(volume for volume in found['volumes'] or () if volume)
    missing = [label for label, value in (('cron', found['cron']), ('volumes', volumes))
               if not value]
    if missing:
        raise ConfigurationError(f'section [{section}] lacks {" and ".join(missing)}')
    if EVERY in volumes and len(volumes) > 1:
        raise ConfigurationError(f'{values.label(section, "volumes")}: * stands for all volumes; '
                                 f'name no others beside it')
    rules = {option.dest.removeprefix('keep_'): found[option.dest] for option in RETENTION
             if found[option.dest] is not None}
    return ScheduleConfig(
        name=name, cron=found['cron'], volumes=volumes, timezone=found['timezone'],
        template=found['name'], source=found['source'], backend=found['backend'],
        incremental=found['incremental'], project_id=found['project_id'], rules=rules)
