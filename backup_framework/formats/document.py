"""Manifests as documents: what those of all versions have in common."""

from __future__ import annotations

import json
from typing import Any

from backup_framework import exceptions

_FREE_MEMBERS = 100_000
_BYTES_A_MEMBER = 32


def parse(document: bytes) -> dict[str, Any]:
    """The members of a manifest.

    :raises CorruptManifest: it is not a JSON object, or one made to exhaust memory.
    """
    # Members that take many times the memory of their bytes: no manifest has so many.
    allowed = _FREE_MEMBERS + len(document) // _BYTES_A_MEMBER
    if any(document.count(sign) > allowed for sign in (b'[', b'{', b',')):
        raise exceptions.CorruptManifest('it has more members than a manifest can have')
    try:
        members = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise exceptions.CorruptManifest(f'it is not JSON: {error}') from None
    if not isinstance(members, dict):
        raise exceptions.CorruptManifest('it is not a JSON object')
    return members
