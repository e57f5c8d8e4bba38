"""Which version of Cinder's API a request wants: 3.0 without a header, at most 3.71."""

from __future__ import annotations

from collections.abc import Mapping
import re

import microversion_parse as parse
import webob.exc

HEADER = 'OpenStack-API-Version'
SERVICE = 'volume'

MIN = parse.Version(3, 0)
MAX = parse.Version(3, 71)

SERVICE_CLUSTER = parse.Version(3, 7)
BACKUP_UPDATE = parse.Version(3, 9)
VOLUME_GROUP = parse.Version(3, 13)
SNAPSHOT_GROUP = parse.Version(3, 14)
BACKUP_PROJECT = parse.Version(3, 18)
VOLUME_PROVIDER = parse.Version(3, 21)
FILTERS = parse.Version(3, 31)
SORT_BY_NAME = parse.Version(3, 37)
LIMITS_OF_PROJECT = parse.Version(3, 39)
SNAPSHOT_USER = parse.Version(3, 41)
BACKUP_METADATA = parse.Version(3, 43)
WITH_COUNT = parse.Version(3, 45)
VOLUME_FROM_BACKUP = parse.Version(3, 47)
VOLUME_TARGETS = parse.Version(3, 48)
BACKUP_ZONE = parse.Version(3, 51)
VOLUME_STRICT = parse.Version(3, 53)
BACKUP_USER = parse.Version(3, 56)
VOLUME_CLUSTER = parse.Version(3, 61)
VOLUME_TYPE_ID = parse.Version(3, 63)
ENCRYPTION_KEY = parse.Version(3, 64)
CONSUMES_QUOTA = parse.Version(3, 65)

_SPELLING = re.compile(r'[1-9][0-9]{0,3}\.(?:0|[1-9][0-9]{0,3})', re.ASCII)


def wanted(headers: Mapping[str, str]) -> parse.Version:
    """What the header asks for; other services may be named in it too.

    :raises webob.exc.HTTPBadRequest: it makes no sense.
    :raises webob.exc.HTTPNotAcceptable: there is no such version here.
    """
    text = parse.get_version({HEADER: headers.get(HEADER, '')}, SERVICE)
    if text is None:
        return MIN
    if text == 'latest':
        return MAX
    if not _SPELLING.fullmatch(text):
        raise webob.exc.HTTPBadRequest(
            f'API Version String {text[:20]!r} is of invalid format. Must be of format '
            f'MajorNum.MinorNum.')
    version = parse.Version(*map(int, text.split('.')))
    if not MIN <= version <= MAX:
        raise webob.exc.HTTPNotAcceptable(
            f'Version {version} is not supported by the API. Minimum is {MIN} and maximum is '
            f'{MAX}.')
    return version
