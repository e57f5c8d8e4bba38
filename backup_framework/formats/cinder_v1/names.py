"""Names of the objects of format 1.0.0."""

from __future__ import annotations

import re

_STORED = re.compile(r'(.+)(-[0-9]{5,}|_sha256file)\Z', re.DOTALL)
_BELONGS = re.compile(r'(-[0-9]{5,}|_sha256file|_metadata)\Z')


def hash_list_name(prefix: str) -> str:
    return f'{prefix}_sha256file'


def data_name(prefix: str, number: int) -> str:
    return f'{prefix}-{number:05d}'


def stored_by(name: str) -> str | None:
    """See `formats.base.Format`."""
    found = _STORED.match(name)
    return found and found[1]


def belongs(prefix: str, name: str) -> bool:
    """Whether an object is of the backup with this prefix, and not of one with a longer one."""
    return name.startswith(prefix) and _BELONGS.match(name, len(prefix)) is not None
