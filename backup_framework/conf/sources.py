"""The [volumes:NAME] sections: where the volumes come from that the service offers."""

from __future__ import annotations

import dataclasses

from oslo_config import cfg

from backup_framework.conf import settings
from backup_framework.conf.keys import NAME
from backup_framework.conf.values import Values
from backup_framework.exceptions import ConfigurationError
from backup_framework.model import Settings

PREFIX = 'volumes:'

TYPE = cfg.StrOpt('type', help=(
    'What has the volumes: file, block, nbd, cinder, or what an installed package offers. '
    'Required.'))
OPTIONS = (
    TYPE,
    cfg.StrOpt('project_id', help=(
        'The project whose volumes these are. Unset, and where the source knows no better, all '
        'projects see them and may back them up, and only admins may restore over them.')),
    cfg.StrOpt('availability_zone', help='The availability zone that these volumes are shown in.'),
)


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """One such section.

    :ivar type: the name of its entry point.
    """

    name: str
    type: str
    section: str
    project_id: str | None = None
    availability_zone: str | None = None


def read_all(values: Values) -> list[SourceConfig]:
    """All of them, in the order of the files. Their own options are read by `make`.

    :raises ConfigurationError: a name or a type that makes no sense.
    """
    found = [_read(values, section) for section in values.text.sections()
             if section.lower().startswith(PREFIX)]
    names = [source.name for source in found]
    for source in found:
        if names.count(source.name) > 1:
            raise ConfigurationError(f'several sections [{PREFIX}NAME] have the name '
                                     f'{source.name}; rename one of them')
    return found


def _read(values: Values, section: str) -> SourceConfig:
    name = section[len(PREFIX):].strip()
    if not NAME.fullmatch(name):
        raise ConfigurationError(f'section [{section}]: {name!r} cannot be the name of a source '
                                 f'of volumes (up to 64 letters, digits, "_", "-" and ".")')
    values.register(OPTIONS, section)
    given = {option.dest: values.get(section, option.dest) for option in OPTIONS}
    if not given['type']:
        raise ConfigurationError(f'section [{section}] lacks its type; write type = file, block, '
                                 f'nbd or cinder')
    return SourceConfig(name, section=section, **given)


def make(values: Values, source: SourceConfig, source_class: type) -> Settings:
    """The settings of a source, every value checked.

    :raises ConfigurationError: an unknown option, a wrong value, one that is missing.
    """
    return settings.make_other(values, source.section, source_class,
                               [option.dest for option in OPTIONS],
                               f'a source of type {source.type}')
