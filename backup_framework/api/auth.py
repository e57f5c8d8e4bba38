"""Who a request comes from, in one of three ways: none, http_basic, keystone."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
import functools
import ipaddress
import logging
import re
from typing import TYPE_CHECKING, Any

import webob
import webob.exc

from backup_framework.api import users
from backup_framework.api.context import RequestContext, implied
from backup_framework.api.policy import Rules
from backup_framework.conf.api import PROJECT
from backup_framework.exceptions import ConfigurationError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from backup_framework.conf import Configuration

LOG = logging.getLogger(__name__)

Authenticator = Callable[[webob.Request, str | None], RequestContext]
"""Gives the context of a request, whose URL names a project or does not.

:raises webob.exc.HTTPUnauthorized: nobody knows who asks.
:raises webob.exc.HTTPBadRequest: the URL names another project than the caller's.
"""

ANONYMOUS = 'anonymous'

_ID = re.compile(PROJECT, re.ASCII)


def make(configuration: Configuration, rules: Rules) -> Authenticator:
    """What `[api] auth_strategy` names.

    :raises ConfigurationError: it lacks something.
    """
    api = configuration.api
    if api.auth_strategy == 'keystone':
        return functools.partial(_keystone, rules, _tokens(configuration))
    if api.auth_strategy == 'http_basic':
        known = users.Users(api.http_basic_auth_user_file, api.users_file)
        return functools.partial(_basic, rules, known)
    if not _is_loopback(api.host):
        LOG.warning('auth_strategy is none and the API listens on %s: whoever reaches it may read, '
                    'overwrite and delete every volume and backup', api.host)
    return functools.partial(_nobody, rules, api.default_project)


def _nobody(rules: Rules, default_project: str, request: webob.Request, url_project: str | None
            ) -> RequestContext:
    """Everybody is the admin of the project that they name, in the URL or as cinderclient does."""
    user, _, project = request.headers.get('X-Auth-Token', '').partition(':')
    # Cinderclient sends both without a user who was not named.
    user = request.headers.get('X-User-Id') or (project and user) or ANONYMOUS
    project = request.headers.get('X-Project-Id') or project or url_project or default_project
    for what, each in (('user', user), ('project', project), ('project', url_project or project)):
        if not _ID.fullmatch(each):
            raise webob.exc.HTTPBadRequest(
                f'The id of a {what} has up to 255 letters, digits, "_", "-" and ".".')
    return _context(rules, request, url_project, user_id=user, project_id=project,
                    roles=implied(['admin']))


def _basic(rules: Rules, known: users.Users, request: webob.Request, url_project: str | None
           ) -> RequestContext:
    name, password = _credentials(request)
    projects = known.projects(name, password) if name else None
    if not projects:
        raise webob.exc.HTTPUnauthorized(
            'The request you have made requires authentication.',
            headers=[('WWW-Authenticate', 'Basic realm="backup-framework", charset="UTF-8"')])
    project = url_project or request.headers.get('X-Project-Id') or next(iter(projects))
    if project not in projects:
        raise _malformed()
    return _context(rules, request, url_project, user_id=name, user_name=name, project_id=project,
                    roles=implied(projects[project]))


def _credentials(request: webob.Request) -> tuple[str, bytes]:
    scheme, _, token = request.headers.get('Authorization', '').strip().partition(' ')
    if scheme.lower() != 'basic':
        return '', b''
    try:
        name, _, password = base64.b64decode(token.strip(), validate=True).partition(b':')
        return name.decode(), password
    except (binascii.Error, ValueError):
        return '', b''


def _tokens(configuration: Configuration) -> WSGIApplication:
    """What looks at a token, writes down in the environ whose it is, and answers 204 then."""
    try:
        from keystonemiddleware import auth_token
    except ImportError:
        raise ConfigurationError('auth_strategy = keystone needs keystonemiddleware: pip install '
                                 '"backup-framework[keystone]"') from None
    made: WSGIApplication = auth_token.AuthProtocol(
        webob.Response(status=204), {'oslo_config_config': configuration.oslo})
    options = configuration.oslo.keystone_authtoken
    if not options.www_authenticate_uri or not (options.auth_type or options.auth_section):
        raise ConfigurationError('auth_strategy = keystone needs www_authenticate_uri and the '
                                 'service user (auth_type, auth_url, …) in [keystone_authtoken]')
    return made


def _keystone(rules: Rules, tokens: WSGIApplication, request: webob.Request,
              url_project: str | None) -> RequestContext:
    from keystoneauth1.exceptions import ClientException
    try:
        answer = request.get_response(tokens)
    except ClientException as error:
        LOG.error('Keystone cannot be asked about a token: %s', error)
        answer = webob.Response(status=503)
    if answer.status_int == 503:
        raise webob.exc.HTTPServiceUnavailable('The identity service cannot be asked.')
    known = answer.status_int == 204
    context = RequestContext.from_environ(request.environ, rules=rules) if known else None
    if context is None or not context.user_id or not context.project_id:
        raise webob.exc.HTTPUnauthorized(
            'The request you have made requires authentication, with a token for a project.',
            headers=[(name, value) for name, value in answer.headers.items()
                     if name == 'WWW-Authenticate'])
    return _of_project(context, url_project)


def _context(rules: Rules, request: webob.Request, url_project: str | None, **known: Any
             ) -> RequestContext:
    environ = request.environ
    context = RequestContext(
        rules=rules, request_id=environ.get('openstack.request_id'),
        global_request_id=environ.get('openstack.global_request_id'), **known)
    return _of_project(context, url_project)


def _of_project(context: RequestContext, url_project: str | None) -> RequestContext:
    if url_project is not None and url_project != context.project_id:
        raise _malformed()
    return context


def _malformed() -> webob.exc.HTTPBadRequest:
    return webob.exc.HTTPBadRequest('Malformed request url')


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'
