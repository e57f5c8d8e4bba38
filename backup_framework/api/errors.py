"""What went wrong, as Cinder says it: `{"itemNotFound": {"code": 404, "message": ...}}`."""

from __future__ import annotations

from collections.abc import Mapping
import json
import logging

import webob
import webob.exc

from backup_framework import exceptions

LOG = logging.getLogger(__name__)

_NAMES = {400: 'badRequest', 401: 'unauthorized', 403: 'forbidden', 404: 'itemNotFound',
          405: 'badMethod', 409: 'conflictingRequest', 413: 'overLimit', 415: 'badMediaType',
          429: 'overLimit', 501: 'notImplemented', 503: 'serviceUnavailable'}

# The first that fits counts.
_STATUSES: tuple[tuple[type[exceptions.BackupFrameworkError], int], ...] = (
    (exceptions.NotFound, 404),
    (exceptions.InvalidInput, 400),
    (exceptions.Refused, 400),
    (exceptions.CatalogError, 503),
    (exceptions.NoSpace, 503),
)

_HIDDEN = {
    500: 'The server has either erred or is incapable of performing the requested operation.',
    503: 'The catalog of backups cannot be used at the moment.',
}


def response(error: Exception) -> webob.Response:
    """The answer to a request that ended with this; what nobody expected is logged."""
    if isinstance(error, webob.exc.WSGIHTTPException):
        return fault(error.status_int, error.detail or error.explanation, error.headers)
    if isinstance(error, exceptions.QuotaExceeded):
        return fault(413, _over_quota(error), {'Retry-After': '0'})
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    if status == 500:
        LOG.error('A request could not be answered', exc_info=error)
    elif status == 503:
        # What a disk or a database says is for the operator.
        LOG.error('The catalog cannot be used: %s', error)
    return fault(status, _HIDDEN.get(status) or str(error))


def fault(status: int, message: str, headers: Mapping[str, str] | None = None) -> webob.Response:
    """An error's answer.

    :param headers: of which those that tell a client what to do next are kept.
    """
    kept = {name: headers[name] for name in ('Allow', 'Retry-After', 'WWW-Authenticate')
            if headers and name in headers}
    said = {'code': status, 'message': message}
    if status in (413, 429) and 'Retry-After' in kept:
        said['retryAfter'] = kept['Retry-After']
    body = json.dumps({_NAMES.get(status, 'computeFault'): said}).encode()
    answer = webob.Response(body, status, content_type='application/json')
    answer.headers.update(list(kept.items()))
    return answer


def _over_quota(error: exceptions.QuotaExceeded) -> str:
    if error.resource == 'backups':
        return (f'BackupLimitExceeded: Maximum number of backups allowed ({error.limit}) '
                f'exceeded')
    return (f'VolumeBackupSizeExceedsAvailableQuota: Requested backup exceeds allowed Backup '
            f'gigabytes quota. Quota is {error.limit}G and {error.used}G has been consumed.')
