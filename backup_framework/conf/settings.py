"""A backend's settings: the options of its driver, from its section and [backend_defaults]."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oslo_config import cfg

from backup_framework.conf import core, masking
from backup_framework.conf.types import oslo_options
from backup_framework.conf.values import Values, nearest
from backup_framework.driver.options import SHARED
from backup_framework.exceptions import ConfigurationError
from backup_framework.formats.base import BLOCK_SIZES
from backup_framework.model import Option, Settings

SECTOR = 512


def options_of(driver_class: type) -> dict[str, Option]:
    """What a section with this driver may hold beside `driver`, by name."""
    own = tuple(getattr(driver_class, 'OPTIONS', ()))
    return {option.name: option for option in SHARED + own}


def registered_options(options: Iterable[Option]) -> dict[str, cfg.Opt]:
    """All that may be written in the section, `NAME_file` of secrets included, by name."""
    return {made.name: made for option in options for made in oslo_options(option)}


def make(values: Values, section: str, driver_class: type,
         implied: dict[str, str]) -> Settings:
    """Settings of a backend, every value checked.

    :param implied: defaults of the backend that needs no section, else empty.
    :raises ConfigurationError: an unknown option, a wrong value, one that is missing.
    """
    options = options_of(driver_class)
    registered = registered_options(options.values())
    refuse_unknown(values, section, registered)
    values.register(registered.values(), section)
    apply_defaults(values, section, registered, implied)
    found = {name: read(values, section, option) for name, option in options.items()}
    missing = [name for name, option in options.items()
               if option.required and found[name] is None]
    if missing:
        raise ConfigurationError(f'section [{section}] lacks {" and ".join(missing)}, which its '
                                 f'driver requires')
    check_sizes(section, found)
    return Settings(options.values(), found)


def make_other(values: Values, section: str, some_class: type, shared: Iterable[str],
               what: str) -> Settings:
    """The settings of a section that is no backend's, every value checked.

    :param some_class: whose OPTIONS may stand there, beside the names in `shared`.
    :param what: for messages.
    :raises ConfigurationError: an unknown option, a wrong value, one that is missing.
    """
    options = {option.name: option for option in getattr(some_class, 'OPTIONS', ())}
    registered = registered_options(options.values())
    known = [*registered, *shared]
    for name in values.text.options(section):
        if name not in known:
            raise ConfigurationError(f'{values.label(section, name)}: {what} has no such option'
                                     f'{nearest(name, known)}')
    values.register(registered.values(), section)
    found = {name: read(values, section, option) for name, option in options.items()}
    missing = [name for name, option in options.items()
               if option.required and found[name] is None]
    if missing:
        raise ConfigurationError(f'section [{section}] lacks {" and ".join(missing)}, which '
                                 f'{what} requires')
    return Settings(options.values(), found)


def read(values: Values, section: str, option: Option) -> Any:
    if not option.secret:
        return values.get(section, option.name)
    values.refuse_reference(section, option.name)
    value = values.secret(section, option.name)
    masking.add_secret(value)
    return value


def refuse_unknown(values: Values, section: str, registered: dict[str, cfg.Opt]) -> None:
    for name in values.text.options(section):
        if name not in registered and name != 'driver':
            raise ConfigurationError(
                f'{values.label(section, name)}: this driver has no such option'
                f'{nearest(name, [*registered, "driver"])}')


def apply_defaults(values: Values, section: str, registered: dict[str, cfg.Opt],
                   implied: dict[str, str]) -> None:
    for name, value in implied.items():
        if name in registered:
            values.oslo.set_default(name, value, group=section)
    for name in values.text.options(core.DEFAULTS):
        if name in registered:
            values.set_default(section, name, core.DEFAULTS, secret=registered[name].secret)


def check_sizes(section: str, found: dict[str, Any]) -> None:
    """What one option alone cannot tell."""
    chunk, block = found.get('chunk_size'), found.get('block_size')
    if block is None:
        block = BLOCK_SIZES.get(str(found.get('format')))
    if block is not None and block % SECTOR:
        raise ConfigurationError(
            f'[{section}] block_size must be a multiple of {SECTOR} bytes, not {block}')
    if chunk is not None and block is not None and chunk % block:
        raise ConfigurationError(f'[{section}] chunk_size ({chunk} bytes) must be a multiple of '
                                 f'block_size ({block} bytes)')
