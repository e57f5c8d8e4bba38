"""What `backup prune` keeps: the section [retention], and what [volume:NAME] says instead."""

from __future__ import annotations

from typing import Any

from oslo_config import cfg, types

from backup_framework.conf.types import Duration, Number
from backup_framework.conf.values import Values

SECTION = 'retention'

_KEPT = {'last': 'The newest backups of a volume that stay.'} | {
    period: f'For so many {unit}s in which a volume has backups, the newest of each stays.'
    for period, unit in (('hourly', 'hour'), ('daily', 'day'), ('weekly', 'week'),
                         ('monthly', 'month'), ('yearly', 'year'))}

OPTIONS = (
    *(cfg.Opt(f'keep_{name}', type=Number(True, min=0), help=help)
      for name, help in _KEPT.items()),
    cfg.Opt('keep_within', type=Duration(), sample_default='14d', help=(
        'All backups stay that are at most so much older than the newest one, like 12h, 14d or '
        '8w.')),
    cfg.Opt('protect', type=types.List(item_type=types.String(), type_name='list'), help=(
        'Properties, as KEY or KEY=VALUE: a backup that has one of them stays.')),
)


def read(values: Values, volume_section: str | None) -> dict[str, Any]:
    """The rules for a volume: each option of its section, else of [retention]; without what
    neither says.

    :raises ConfigurationError: a value that makes no sense.
    """
    found = {}
    for section in (SECTION, volume_section):
        if section is not None:
            values.register(OPTIONS, section)
            given = {option.dest: values.get(section, option.dest) for option in OPTIONS}
            found.update({name.removeprefix('keep_'): value for name, value in given.items()
                          if value is not None})
    return found
