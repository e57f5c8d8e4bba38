"""The WSGI application: finds the route, asks who asks, reads the body, answers."""

from __future__ import annotations

from collections.abc import Iterable
import json
import logging
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import webob

from backup_framework.api import (
    auth,
    errors,
    metrics,
    microversions,
    middleware,
    policy,
    rates,
    routes,
)
from backup_framework.api.context import RequestContext
from backup_framework.api.requests import Request, check_document, path_of, read_document
from backup_framework.api.schemas import at
from backup_framework.catalog import Catalog
from backup_framework.manager import Manager
from backup_framework.service import notifications, working
from backup_framework.service.dispatch import Dispatcher

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from backup_framework.conf import Configuration

LOG = logging.getLogger(__name__)


def check(configuration: Configuration) -> None:
    """Find before the first request, and before any fork, what would keep it from an answer.

    :raises ConfigurationError: what is wrong.
    """
    middleware.check(configuration)
    working.check_options(configuration)
    working.check_board(configuration)


def make(configuration: Configuration, catalog: Catalog | None = None,
         dispatcher: Dispatcher | None = None) -> WSGIApplication:
    """The API as a WSGI application, for any server; to be made after the last fork.

    :param catalog: of the process, which closes it; None opens the configured one.
    :raises ConfigurationError: an option makes no sense.
    """
    catalog = catalog or Catalog(configuration.connection, configuration.state_path)
    dispatcher = dispatcher or Dispatcher(configuration, catalog)
    application = Application(configuration, catalog, dispatcher)
    return middleware.pipeline(application, configuration)


class Application:
    """What is behind the middleware. One serves all threads."""

    def __init__(self, configuration: Configuration, catalog: Catalog,
                 dispatcher: Dispatcher) -> None:
        self._shared = {'configuration': configuration, 'catalog': catalog,
                        'manager': Manager(configuration, catalog), 'dispatcher': dispatcher,
                        'counters': metrics.Requests(),
                        'notifications': notifications.open(configuration, catalog)}
        self._authenticate = auth.make(configuration, policy.Rules(configuration.oslo))
        self._limiter = rates.Limiter(configuration.api.rate_limit)
        self._options = configuration.api

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse
                 ) -> Iterable[bytes]:
        began = time.monotonic()
        request = Request(environ)
        request.version = microversions.MIN
        request.route = None
        # Nobody, until it is known who asks: what is logged before must not bear another's id.
        request.context = RequestContext(request_id=environ.get('openstack.request_id'))
        for name, value in self._shared.items():
            setattr(request, name, value)
        try:
            response = self._answer(request)
        except Exception as error:
            response = errors.response(error)
        response.headers[microversions.HEADER] = f'{microversions.SERVICE} {request.version}'
        response.vary = (*(response.vary or ()), microversions.HEADER)
        seconds = time.monotonic() - began
        request.counters.count(request.route, response.status_int, seconds)
        # A line break in a path must not make a line of the log.
        LOG.info('%s %s: %s, %d ms', quote(request.method), quote(path_of(request), safe='/:'),
                 response.status_int, seconds * 1000)
        return response(environ, start_response)

    def _answer(self, request: Request) -> webob.Response:
        request.version = microversions.wanted(request.headers)
        route, request.url_project, arguments = routes.find(request.method, path_of(request))
        request.route = route
        if not (route.public(self._options) if callable(route.public) else route.public):
            request.context = self._authenticate(request, request.url_project)
            self._limiter.check(request.context)
        if request.version < route.since:
            raise webob.exc.HTTPNotFound()
        if route.body is not None:
            middleware.limit_body(request, self._options.max_request_body_size)
            request.document = read_document(request)
            check_document(at(route.body, request.version), request.document)
        answer = route.call(request, **arguments)
        return answer if isinstance(answer, webob.Response) else _response(route.status, answer)


def _response(status: int, answer: Any) -> webob.Response:
    if answer is None:
        response = webob.Response(status=status)
        del response.content_type
        return response
    return webob.Response(json.dumps(answer).encode(), status, content_type='application/json')
