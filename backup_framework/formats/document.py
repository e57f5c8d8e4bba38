"""JSON from a store: manifests of all versions, and what is inside of them."""

from __future__ import annotations

import json
import re
from typing import Any

from backup_framework import exceptions

_FREE_MEMBERS = 100_000
_BYTES_A_MEMBER = 32
_SURROGATE = re.compile(r'\\u[dD][89a-fA-F]')


def parse(document: bytes) -> dict[str, Any]:
    """The members of a manifest.

    :raises CorruptManifest: it is not a JSON object, or one made to exhaust memory.
    """
    try:
        members = loads(document.decode())
    except (ValueError, RecursionError) as error:
        raise exceptions.CorruptManifest(f'it cannot be read as JSON: {error}') from None
    if not isinstance(members, dict):
        raise exceptions.CorruptManifest('it is not a JSON object')
    return members


def loads(text: str) -> Any:
    """What JSON says.

    :raises ValueError: it is none, or one made to exhaust memory, or escapes in it spell lone
        surrogates: these are no text, and neither a catalog nor a terminal takes them.
    :raises RecursionError: it is nested too deep.
    """
    # Members that take many times the memory of their bytes: no document of ours has so many.
    allowed = _FREE_MEMBERS + len(text) // _BYTES_A_MEMBER
    if any(text.count(sign) > allowed for sign in '[{,'):
        raise ValueError('it has more members than such a document can have')
    found = json.loads(text)
    if _SURROGATE.search(text):
        json.dumps(found, ensure_ascii=False).encode()
    return found
