"""The [volume:NAME] sections: what `backup run` backs up."""

from __future__ import annotations

import dataclasses
import os

from backup_framework.conf import core
from backup_framework.conf.values import Values
from backup_framework.exceptions import ConfigurationError


@dataclasses.dataclass(frozen=True)
class VolumeConfig:
    """One such section.

    :ivar path: absolute.
    :ivar backend: a name, or None for the default backend.
    :ivar incremental: None where the backend's section decides; likewise container.
    :ivar freeze_command: words for an exec without a shell, empty for no command.
    :ivar hook_timeout: seconds for each of the two commands.
    """

    name: str
    path: str
    backend: str | None = None
    incremental: bool | None = None
    container: str | None = None
    description: str | None = None
    freeze_command: tuple[str, ...] = ()
    thaw_command: tuple[str, ...] = ()
    hook_timeout: float = 60.0
    properties: dict[str, str] = dataclasses.field(default_factory=dict)


def section_names(values: Values) -> dict[str, str]:
    """Section by volume name, in the order of the files."""
    return {section[len(core.VOLUME):].strip(): section for section in values.text.sections()
            if section.lower().startswith(core.VOLUME)}


def read(values: Values, name: str, section: str) -> VolumeConfig:
    """:raises ConfigurationError: no name, no path, or a value that makes no sense."""
    if not name:
        raise ConfigurationError(f'section [{section}] lacks the name of the volume behind the '
                                 f'colon')
    values.register(core.VOLUMES, section)
    fields = {option.dest: values.get(section, option.dest) for option in core.VOLUMES}
    if not fields['path']:
        raise ConfigurationError(f'section [{section}] lacks the path of the volume')
    if not os.path.isabs(fields['path']):
        raise ConfigurationError(f'{values.label(section, "path")} must be an absolute path, not '
                                 f'{fields["path"]!r}')
    for hook in ('freeze_command', 'thaw_command'):
        fields[hook] = values.words(section, hook)
    return VolumeConfig(name=name, **fields)
