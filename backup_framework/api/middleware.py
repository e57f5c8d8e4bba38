"""What stands before the application, from the outside in:

request id        every answer has `x-openstack-request-id`, a preflight too
proxy headers     the scheme, the host and the address that the client used
CORS              answers to browsers of other origins
healthcheck       answers a load balancer, and needs nobody's name
application       turns what goes wrong into an answer; asks who it is, and limits their requests
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from oslo_config import cfg
from oslo_middleware import cors, healthcheck, http_proxy_to_wsgi, request_id, sizelimit
import webob
import webob.exc

from backup_framework.api import errors, microversions
from backup_framework.exceptions import ConfigurationError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from backup_framework.conf import Configuration

HEALTH = '/healthcheck'

_HEADERS = ['Authorization', 'X-Auth-Token', 'X-Project-Id', microversions.HEADER]
_EXPOSED = ['X-OpenStack-Request-Id', microversions.HEADER]
_SECTIONS = ('cors', 'healthcheck', 'oslo_middleware')
_METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE']


def pipeline(application: WSGIApplication, configuration: Configuration) -> WSGIApplication:
    """The application with all that stands before it.

    :raises ConfigurationError: an option of one of the parts makes no sense.
    """
    try:
        return _pipeline(application, configuration.oslo)
    except cfg.Error as error:
        raise ConfigurationError(f'[{"], [".join(_SECTIONS)}]: {error}') from None


def check(configuration: Configuration) -> None:
    """:raises ConfigurationError: as `pipeline`."""
    pipeline(webob.Response(), configuration)


def _pipeline(application: WSGIApplication, oslo: cfg.ConfigOpts) -> WSGIApplication:
    cors.set_defaults(allow_headers=_HEADERS, expose_headers=_EXPOSED, allow_methods=_METHODS)
    inner = _with_health(_with_faults(application), healthcheck.Healthcheck(None, oslo))
    inner = cors.CORS(inner, oslo)
    inner = http_proxy_to_wsgi.HTTPProxyToWSGI(inner, oslo)
    for section in _SECTIONS:
        # Some options are else read by each request.
        dict(oslo[section])
    made: WSGIApplication = request_id.RequestId(inner, oslo)
    return made


def _with_health(application: WSGIApplication, health: WSGIApplication) -> WSGIApplication:
    def route(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        asked = environ.get('PATH_INFO') == HEALTH and environ['REQUEST_METHOD'] in ('GET', 'HEAD')
        return (health if asked else application)(environ, start_response)
    return route


def _with_faults(application: WSGIApplication) -> WSGIApplication:
    def guard(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return application(environ, start_response)
        except Exception as error:
            return errors.response(error)(environ, start_response)
    return guard


def limit_body(request: webob.Request, largest: int) -> None:
    """Refuse a body that is too large, before it is read where its length is known.

    :raises webob.exc.HTTPRequestEntityTooLarge: at once, or when too much of it has been read.
    """
    if request.content_length is None:
        request.body_file = sizelimit.LimitingReader(request.body_file, largest)  # type: ignore
    elif request.content_length > largest:
        raise webob.exc.HTTPRequestEntityTooLarge(
            f'Request is too large. Larger than max_request_body_size ({largest}).')
