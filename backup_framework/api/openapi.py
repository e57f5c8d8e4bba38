"""The OpenAPI description, made of the tables and schemas that serve the requests."""

from __future__ import annotations

from collections.abc import Iterator
import functools
import re
from typing import TYPE_CHECKING, Any

from backup_framework.api import answers, microversions, schemas
from backup_framework.api.middleware import HEALTH
from backup_framework.api.requests import Listable, Request
from backup_framework.api.views import base_url
from backup_framework.conf.api import PROJECT

if TYPE_CHECKING:
    from backup_framework.api.routes import Route

JSON = 'application/json'
FAULTS = {400: 'The request makes no sense, or not now.', 401: 'Nobody knows who asks.',
          403: 'The caller may not do this.', 404: 'There is no such thing.',
          405: 'This cannot be done here.', 406: 'There is no such microversion.',
          413: 'A quota is used up, or the body is too large.',
          415: 'The body is not JSON.', 429: 'Too many requests.',
          503: 'The catalog or the identity service is away.'}

_VERSION = f'{microversions.SERVICE} {microversions.MAX}'
_ABOUT = (f'What volumes have as backups, in the words of OpenStack Block Storage. This describes '
          f'microversion {microversions.MAX}; x-versions has what bodies may hold in older ones.')

Description = dict[str, Any]


def show(request: Request) -> Description:
    """The description of this service, for clients and tools."""
    return _description() | {'servers': [{'url': base_url(request)}]}


@functools.cache
def _description() -> Description:
    # The table of routes names this module.
    from backup_framework.api import routes
    paths: dict[str, Description] = {}
    for prefix, table in (('', routes.ROOT), (routes.PREFIX, routes.ROUTES),
                          (routes.PREFIX + '/{project_id}', routes.ROUTES)):
        for route in table:
            item = paths.setdefault(prefix + route.path, {})
            item[route.method.lower()] = _operation(prefix, route)
    paths[HEALTH] = {'get': _health()}
    return {
        'openapi': '3.1.0', 'paths': paths,
        'info': {'title': 'backup-framework', 'version': str(microversions.MAX),
                 'description': _ABOUT},
        'components': {
            'schemas': {name: getattr(answers, name) for name in _names().values()},
            'securitySchemes': {
                'basic': {'type': 'http', 'scheme': 'basic'},
                'token': {'type': 'apiKey', 'in': 'header', 'name': 'X-Auth-Token'}}},
        'security': [{'basic': []}, {'token': []}, {}]}


def _operation(prefix: str, route: Route) -> Description:
    name = f'{route.call.__module__.rpartition(".")[2]}.{route.call.__name__}'
    made: Description = {
        'operationId': f'{name}:{route.path}' + (':project' if '{' in prefix else ''),
        'summary': (route.call.__doc__ or '').strip().partition('\n')[0],
        'parameters': [*_in_path(prefix + route.path), *_in_query(route.listed)],
        'responses': {str(route.status): _success(route)} | {
            str(status): _fault(text) for status, text in FAULTS.items()}}
    if prefix:
        made['parameters'].append({
            'name': microversions.HEADER, 'in': 'header', 'required': False,
            'description': f'Without it the request is one of {microversions.MIN}.',
            'schema': {'enum': [_VERSION]}})
    if route.path.endswith('/action'):
        made |= _actions()
    elif route.body is not None:
        made['requestBody'] = _body(schemas.at(route.body, microversions.MAX))
        if len(route.body) > 1:
            made['x-versions'] = {str(since): schema for since, schema in route.body.items()}
    if route.public is True:
        made['security'] = []
    return made


def _actions() -> Description:
    """One member of the body says which action it is, and so what the answer is."""
    from backup_framework.api.routes import ACTIONS
    return {'requestBody': _body({'oneOf': [
                schemas.within(name, action.schema) for name, action in ACTIONS.items()]}),
            'x-answers': {name: _reference(action.answer) for name, action in ACTIONS.items()
                          if action.answer is not None}}


def _body(schema: schemas.Schema) -> Description:
    return {'required': True, 'content': {JSON: {'schema': schema}}}


def _in_path(path: str) -> Iterator[Description]:
    for name in re.findall(r'\{(\w+)\}', path):
        schema: schemas.Schema = {'type': 'string', 'minLength': 1, 'maxLength': 255}
        if name == 'project_id':
            schema = {'type': 'string', 'pattern': f'^{PROJECT}$'}
        yield {'name': name, 'in': 'path', 'required': True, 'schema': schema}


def _in_query(listed: Listable | None) -> Iterator[Description]:
    if listed is None:
        return
    text: schemas.Schema = {'type': 'string', 'maxLength': 255}
    number: schemas.Schema = {'type': 'integer', 'minimum': 0, 'maximum': (1 << 31) - 1}
    flag: schemas.Schema = {'enum': [*schemas.TRUE, *schemas.FALSE]}
    sort = {'type': 'string', 'pattern': f'^({"|".join(listed.sort_keys)})(:(asc|desc))?$'}
    known = {'limit': number, 'offset': number, 'marker': text, 'sort': sort,
             'with_count': flag, 'all_tenants': flag,
             **dict.fromkeys((*listed.filters, *listed.admin_filters), text),
             **{f'{name}~': text for name in listed.like}}
    for name, schema in known.items():
        yield {'name': name, 'in': 'query', 'required': False, 'schema': schema}


def _success(route: Route) -> Description:
    made: Description = {'description': 'Done, or accepted.'}
    if route.answer is not None:
        made['content'] = {JSON: {'schema': _reference(route.answer)}}
    elif route.media is not None:
        made['content'] = {route.media: {'schema': {'type': 'string'}}}
    return made


def _fault(text: str) -> Description:
    return {'description': text, 'content': {JSON: {'schema': _reference(answers.FAULT)}}}


def _reference(schema: schemas.Schema) -> schemas.Schema:
    return {'$ref': f'#/components/schemas/{_names()[id(schema)]}'}


@functools.cache
def _names() -> dict[int, str]:
    """What `answers` calls its schemas."""
    return {id(value): name for name, value in vars(answers).items()
            if isinstance(value, dict) and name.isupper()}


def _health() -> Description:
    text = {'text/plain': {'schema': {'type': 'string'}}, 'text/html': {'schema': {
        'type': 'string'}}, JSON: {'schema': {'type': 'object'}}}
    return {'operationId': 'healthcheck', 'summary': 'Whether this process answers.',
            'security': [], 'responses': {
                '200': {'description': 'It does.', 'content': text},
                '503': {'description': 'It was taken out of service.', 'content': text}}}
