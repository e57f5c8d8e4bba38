"""The [key:NAME] sections: who wraps the keys of sealed backups, and which backends use them."""

from __future__ import annotations

from collections.abc import Collection
import dataclasses
import re

from backup_framework.conf import core, settings
from backup_framework.conf.values import Values, nearest
from backup_framework.exceptions import ConfigurationError
from backup_framework.formats.keyring import MOST_RECIPIENTS
from backup_framework.model import Settings

NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}')
_TYPE = core.KEY_TYPE.name


@dataclasses.dataclass(frozen=True)
class KeyConfig:
    """One such section.

    :ivar type: the name of its key manager's entry point.
    """

    name: str
    type: str
    section: str


def read_all(values: Values) -> dict[str, KeyConfig]:
    """All of them by name, in the order of the files. Their options are read by `make`.

    :raises ConfigurationError: a name or a type that makes no sense.
    """
    found: dict[str, KeyConfig] = {}
    for section in values.text.sections():
        if not section.lower().startswith(core.KEY):
            continue
        key = _read(values, section)
        if key.name in found:
            raise ConfigurationError(f'the sections [{found[key.name].section}] and [{section}] '
                                     f'have one name; rename one of them')
        found[key.name] = key
    return found


def _read(values: Values, section: str) -> KeyConfig:
    name = section[len(core.KEY):].strip()
    if not NAME.fullmatch(name):
        raise ConfigurationError(f'section [{section}]: {name!r} cannot be the name of a key (up '
                                 f'to 64 letters, digits, "_", "-" and ".")')
    values.register([core.KEY_TYPE], section)
    kind = values.get(section, _TYPE)
    if not kind:
        raise ConfigurationError(f'section [{section}] lacks its type; write type = file, '
                                 f'passphrase or castellan')
    return KeyConfig(name, kind, section)


def make(values: Values, key: KeyConfig, manager_class: type) -> Settings:
    """The settings of a key for its manager, every value checked.

    :raises ConfigurationError: an unknown option, a wrong value, one that is missing.
    """
    return settings.make_other(values, key.section, manager_class, [_TYPE],
                               f'a key of type {key.type}')


def check_backend(values: Values, section: str, chosen: Settings, known: Collection[str]) -> None:
    """Whether a backend can be sealed as its section says.

    :param known: the names of keys that have sections.
    :raises ConfigurationError: it cannot, or it would not be though it looks so.
    """
    names, label = list(chosen.keys), values.label(section, 'keys')
    strange = [name for name in names if name not in known]
    if strange:
        raise ConfigurationError(f'{label} names {strange[0]}, but there is no section '
                                 f'[{core.KEY}{strange[0]}]{nearest(strange[0], known)}')
    if len(set(names)) < len(names) or len(names) > MOST_RECIPIENTS:
        raise ConfigurationError(f'{label} must name each key once, and {MOST_RECIPIENTS} of them '
                                 f'at most')
    if chosen.encryption == 'none':
        if names and not _is_said(values, section, 'encryption'):
            raise ConfigurationError(
                f'{label} says for whom backups are sealed, but nothing says that they are; write '
                f'encryption = aes-256-gcm there, or encryption = none')
        return
    if not names:
        raise ConfigurationError(
            f'section [{section}] wants encryption, but no keys; write keys = NAME there, and a '
            f'section [{core.KEY}NAME]')
    if not chosen.format.startswith('2.'):
        raise ConfigurationError(
            f'section [{section}] wants encryption, and format {chosen.format} has none; write '
            f'format = 2.0.0 there, or encryption = none')


def _is_said(values: Values, section: str, name: str) -> bool:
    return values.given(section, name) or name in values.text.options(core.DEFAULTS)
