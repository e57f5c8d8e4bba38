"""The names of a backup's objects in format 2.0.0, made and taken apart."""

from __future__ import annotations

import re

from backup_framework import exceptions, store
from backup_framework.formats import base

CONTAINER = base.CONTAINER

LONGEST_PREFIX = store.LONGEST_NAME - 32
MAP = '_map'
KEYS = '_keys-'
LAST_GENERATION = 9999
LAST_ATTEMPT = 9999
LAST_NUMBER = 10 ** 18 - 1

_NUMBER = r'[0-9]{5}|[1-9][0-9]{5,17}'
_DATA = re.compile(rf'(.+)-({_NUMBER})\Z', re.DOTALL)
is_number = re.compile(_NUMBER.encode()).fullmatch
"""Whether these bytes are the number of a data object."""
# At most four digits: such a name is never that of a data object too.
_MAP = re.compile(re.escape(MAP) + r'(-([2-9]|[1-9][0-9]{1,3}))?\Z')
_STORED = re.compile(r'(.+)(_map(-([2-9]|[1-9][0-9]{1,3}))?|_keys-[1-9][0-9]{0,3})\Z', re.DOTALL)
_KEYS = re.compile(r'(.+)' + re.escape(KEYS) + r'([1-9][0-9]{0,3})\Z', re.DOTALL)


def data_name(prefix: str, number: int) -> str:
    """The name of an object with frames and block tables; numbers count from 1."""
    return f'{prefix}-{number:05d}'


def map_name(prefix: str, attempt: int = 1) -> str:
    return f'{prefix}{MAP}' if attempt == 1 else f'{prefix}{MAP}-{attempt}'


def attempt_of(prefix: str, name: str) -> int:
    """Which attempt at the map this is."""
    return int(name[len(prefix) + len(MAP) + 1:] or 1)


def keys_name(prefix: str, generation: int) -> str:
    """The name of the keys of a sealed backup; generations count from 1."""
    return f'{prefix}{KEYS}{generation}'


def manifest_name(prefix: str) -> str:
    return prefix + base.MANIFEST


def is_map(prefix: str, name: str) -> bool:
    """Whether an attempt to store this backup's map has this name."""
    return name.startswith(prefix) and _MAP.match(name, len(prefix)) is not None


def is_data(prefix: str, name: str) -> bool:
    """Whether a data object of this backup has this name."""
    found = _DATA.match(name)
    return found is not None and found[1] == prefix


def keys_of(name: str) -> tuple[str, int] | None:
    """The prefix and the generation of a backup's keys; None where this is no name of such."""
    found = _KEYS.match(name)
    return None if found is None else (found[1], int(found[2]))


def is_keys(prefix: str, name: str) -> bool:
    """Whether a generation of this backup's keys has this name."""
    found = keys_of(name)
    return found is not None and found[0] == prefix


def belongs(prefix: str, name: str) -> bool:
    """Whether an object of this backup has this name; that of another's, if its prefix is longer,
    does not."""
    return (name == manifest_name(prefix) or is_map(prefix, name) or is_data(prefix, name)
            or is_keys(prefix, name))


def stored_by(name: str) -> str | None:
    """See `formats.base.Format`."""
    found = _DATA.match(name) or _STORED.match(name)
    return None if found is None or name.startswith(CONTAINER) else found[1]


def prefix_of(name: str) -> str:
    """The prefix of the backup that stored this data object.

    :raises CorruptObject: no data object has such a name.
    """
    return _parts(name)[0]


def number_of(name: str) -> int:
    """The number of a data object.

    :raises CorruptObject: no data object has such a name.
    """
    return int(_parts(name)[1])


def check_prefix(prefix: object) -> str:
    """:raises InvalidName: no backup has this prefix."""
    if not isinstance(prefix, str):
        raise exceptions.InvalidName(f'{str(prefix)[:40]!r} is not a prefix')
    store.check_new_name(prefix)
    if prefix.startswith(CONTAINER) or len(prefix) > LONGEST_PREFIX:
        raise exceptions.InvalidName(f'{prefix[:40]!r} cannot be the prefix of a backup')
    return prefix


def _parts(name: str) -> tuple[str, str]:
    found = _DATA.match(name)
    if found is None:
        raise exceptions.CorruptObject(f'{name[:80]!r} is not the name of a data object')
    return found[1], found[2]
