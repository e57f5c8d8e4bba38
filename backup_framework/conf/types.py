"""The types of our options for oslo.config, and options made from a driver's plain records.

A type is called with a text (or with a ready value, which it lets pass) and returns the value, or
raises ValueError whose text ends the sentence "OPTION must be ...".
"""

from __future__ import annotations

import datetime
import os
import re
from typing import Any

from oslo_config import cfg, types

from backup_framework.model import Option, OptionType

UNITS = {'': 1, 'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30, 'T': 1 << 40}
SPANS = {'s': datetime.timedelta(seconds=1), 'm': datetime.timedelta(minutes=1),
         'h': datetime.timedelta(hours=1), 'd': datetime.timedelta(days=1),
         'w': datetime.timedelta(weeks=1), 'y': datetime.timedelta(days=365)}
_DURATION = re.compile(r'([0-9]{1,9})\s*([smhdwy])', re.IGNORECASE)
# No number of bytes that makes sense has more digits, and int() of thousands is slow.
_SIZE = re.compile(r'([0-9]{1,18})\s*(?:([KMGT])(?:iB)?)?', re.IGNORECASE)
_DECIMAL = re.compile(r'[0-9.]+\s*[KMGT]B', re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes from `64MiB`, `64M` or `67108864`; ValueError otherwise."""
    match = _SIZE.fullmatch(text.strip())
    if match:
        return int(match[1]) * UNITS[(match[2] or '').upper()]
    if _DECIMAL.fullmatch(text.strip()):
        raise ValueError('a size whose unit is KiB, MiB, GiB or TiB, like 64MiB (KB, MB and GB '
                         'mean different things to different people)')
    raise ValueError('a size like 64MiB, 64M or 67108864 (whole numbers; units K, M, G, T)')


def format_size(size: int) -> str:
    """The shortest exact spelling that `parse_size` reads: 33554432 is 32MiB."""
    for unit in 'TGMK':
        if size and size % UNITS[unit] == 0:
            return f'{size // UNITS[unit]}{unit}iB'
    return str(size)


def parse_duration(text: str) -> datetime.timedelta:
    """A time from `90m`, `12h`, `30d`, `8w` or `1y` (365 days); ValueError otherwise."""
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError('a time like 12h, 30d, 8w or 1y')
    try:
        return int(match[1]) * SPANS[match[2].lower()]
    except OverflowError:
        raise ValueError('a time like 12h, 30d, 8w or 1y, not of millions of years') from None


def spelled(option: Option, value: Any) -> Any:
    """A value as a file spells it: sizes with their unit, modes in octal; others as they are."""
    if value is None:
        return None
    if option.type is OptionType.SIZE:
        return format_size(value)
    return f'{value:04o}' if option.type is OptionType.MODE else value


def _between(minimum: str | None, maximum: str | None) -> str:
    if minimum is not None and maximum is not None:
        return f' from {minimum} to {maximum}'
    if minimum is not None:
        return f' of at least {minimum}'
    return f' of at most {maximum}' if maximum is not None else ''


class Type(types.ConfigType):
    """Equal to another of the same class and bounds, so that an option may be registered again."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class Size(Type):
    """A number of bytes."""

    def __init__(self, min: int | None = None, max: int | None = None) -> None:
        super().__init__('size')
        # oslo.config's sample shows these four.
        self.min, self.max = min, max
        self.sample_min = None if min is None else format_size(min)
        self.sample_max = None if max is None else format_size(max)

    def __call__(self, value: Any) -> int:
        size = parse_size(value) if isinstance(value, str) else int(value)
        if size < (self.min or 0) or (self.max is not None and size > self.max):
            raise ValueError(f'a size{_between(self.sample_min, self.sample_max)}')
        return size

    def _formatter(self, value: Any) -> str:
        return value if isinstance(value, str) else format_size(value)


class Duration(Type):
    """A length of time."""

    def __init__(self) -> None:
        super().__init__('time')

    def __call__(self, value: Any) -> datetime.timedelta:
        return value if isinstance(value, datetime.timedelta) else parse_duration(str(value))

    def _formatter(self, value: Any) -> str:
        return str(value)


class Mode(Type):
    """Permission bits, written in octal."""

    def __init__(self) -> None:
        super().__init__('octal mode')

    def __call__(self, value: Any) -> int:
        if isinstance(value, int):
            return value
        if not re.fullmatch(r'(0o)?[0-7]{3,5}', value.strip()):
            raise ValueError('an octal mode like 0640')
        mode = int(value.strip(), 8)
        if mode > 0o7777:
            raise ValueError('an octal mode like 0640')
        return mode

    def _formatter(self, value: Any) -> str:
        return value if isinstance(value, str) else f'{value:04o}'


class Path(Type):
    """A path of this machine; `~` is the home directory, `$state_path` is replaced."""

    def __init__(self) -> None:
        super().__init__('path')

    def __call__(self, value: Any) -> str:
        path = str(os.fspath(value))
        if not path or '\0' in path:
            raise ValueError('a path')
        return os.path.expanduser(path)

    def _formatter(self, value: Any) -> str:
        return str(value)


class Choice(Type):
    """One of a few words."""

    def __init__(self, choices: tuple[str, ...]) -> None:
        super().__init__(f'one of {", ".join(choices)}')
        # Not called `choices`: the sample would add a line without a word for each.
        self.words = choices

    def __call__(self, value: Any) -> str:
        if value not in self.words:
            raise ValueError(f'one of {", ".join(self.words)}')
        return str(value)

    def _formatter(self, value: Any) -> str:
        return str(value)


class Number(Type):
    """An integer, or a float where `whole` is false."""

    def __init__(self, whole: bool, min: float | None = None, max: float | None = None) -> None:
        super().__init__('integer' if whole else 'number')
        self.whole, self.min, self.max = whole, min, max

    def __call__(self, value: Any) -> int | float:
        try:
            number = int(value) if self.whole else float(value)
        except (TypeError, ValueError):
            raise ValueError(self._expected()) from None
        low = self.min is not None and number < self.min
        high = self.max is not None and number > self.max
        if low or high or number != number:
            raise ValueError(self._expected())
        return number

    def _expected(self) -> str:
        bounds = [None if bound is None else f'{bound:g}' for bound in (self.min, self.max)]
        return f'{"an integer" if self.whole else "a number"}{_between(*bounds)}'

    def _formatter(self, value: Any) -> str:
        return str(value)


class Boolean(types.Boolean):
    """yes or no, in oslo.config's spellings."""

    def __call__(self, value: Any) -> bool:
        try:
            return super().__call__(value)
        except ValueError:
            raise ValueError('yes or no') from None

    def _formatter(self, value: Any) -> str:
        return str(value).lower()


class Pairs(types.Dict):
    """A dict of texts, written as name:value, separated by commas."""

    def __init__(self) -> None:
        super().__init__(value_type=types.String(), type_name='name:value pairs')

    def __call__(self, value: Any) -> dict[str, str]:
        try:
            return super().__call__(value)
        except ValueError:
            raise ValueError('name:value pairs, separated by commas') from None


def type_of(option: Option) -> types.ConfigType:
    """The oslo.config type of a driver's option."""
    if option.choices:
        return Choice(option.choices)
    minimum, maximum = option.minimum, option.maximum
    match option.type:
        case OptionType.SIZE:
            return Size(None if minimum is None else int(minimum),
                        None if maximum is None else int(maximum))
        case OptionType.INTEGER | OptionType.FLOAT:
            return Number(option.type is OptionType.INTEGER, minimum, maximum)
        case OptionType.BOOLEAN:
            return Boolean()
        case OptionType.LIST:
            return types.List(item_type=types.String(), type_name='list')
        case OptionType.PATH:
            return Path()
        case OptionType.MODE:
            return Mode()
    return types.String(type_name='string')


def oslo_options(option: Option) -> list[cfg.Opt]:
    """An option as oslo.config's; a secret one is followed by its `NAME_file`."""
    help = option.help + (' Required.' if option.required else '')
    # `required` is checked where settings are made: oslo.config would ask for the options of
    # backends that a command does not use.
    # A tuple would be shown as Python spells it.
    default = list(option.default) if isinstance(option.default, tuple) else option.default
    made = cfg.Opt(option.name, type=type_of(option), default=default,
                   help=help.strip(), secret=option.secret, sample_default=option.sample)
    return [made, secret_file(option.name)] if option.secret else [made]


def secret_file(name: str) -> cfg.Opt:
    return cfg.Opt(f'{name}_file', type=Path(),
                   help=f'A file that holds the value of {name}, read instead of it.')
