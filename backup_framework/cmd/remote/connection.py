"""A service as calls: who asks, and answers that are errors as ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
import os
from typing import TYPE_CHECKING, Any
from urllib import parse

from backup_framework import exceptions

if TYPE_CHECKING:
    from openstack import proxy

MICROVERSION = '3.71'
"""The newest one that this release speaks; services of Cinder have no newer one."""
TIMEOUT = 60.0
_PAGE = 500

_ERRORS: dict[int, type[exceptions.BackupFrameworkError]] = {
    401: exceptions.PermissionDenied, 403: exceptions.PermissionDenied,
    404: exceptions.NotFound, 406: exceptions.UnsupportedVersion}


class Connection:
    """The block-storage interface of a service.

    :param block_storage: that of an `openstack.connection.Connection`.
    """

    def __init__(self, block_storage: proxy.Proxy, name: str) -> None:
        self._proxy = block_storage
        self.name = name

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None,
             query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The document that answers a request; {} where there is none.

        :raises NotFound, Refused, PermissionDenied, UnsupportedVersion: the service says so.
        :raises StoreUnavailable: it cannot be reached, or fails.
        :raises ConfigurationError: the cloud names no such service.
        """
        from keystoneauth1 import exceptions as theirs
        from openstack import exceptions as sdks
        try:
            response = self._proxy.request(
                path, method, json=body, params=query or {}, microversion=MICROVERSION,
                headers={'Accept': 'application/json'}, raise_exc=False)
        except theirs.ClientException as error:
            raise exceptions.StoreUnavailable(
                f'the service {self.name} cannot be used: {error}') from error
        except sdks.ConfigException as error:
            raise exceptions.ConfigurationError(
                f'the service {self.name} cannot be used: {error}') from error
        if response.status_code >= 400:
            raise self._error(response)
        if not response.content:
            return {}
        try:
            document = response.json()
        except ValueError as error:
            raise self._strange(method, path) from error
        if not isinstance(document, dict):
            raise self._strange(method, path)
        return document

    def pages(self, collection: str, query: Mapping[str, Any], limit: int | None = None
              ) -> Iterator[dict[str, Any]]:
        """The items of a list, page by page."""
        marker, left = query.get('marker'), limit
        while left is None or left > 0:
            wanted = {name: value for name, value in {
                **query, 'marker': marker, 'limit': min(_PAGE, left or _PAGE)}.items()
                if value is not None}
            items = self.call('GET', f'/{collection}/detail', query=wanted).get(collection, [])
            yield from items[:left]
            if not items or items[-1]['id'] == marker:
                return
            marker = items[-1]['id']
            left = None if left is None else left - len(items)

    def _error(self, response: Any) -> exceptions.BackupFrameworkError:
        status = response.status_code
        message = _message(response)
        sentence = f'the service {self.name} answers {status}' + (f': {message}' if message else '')
        if status >= 500:
            return exceptions.StoreUnavailable(sentence)
        return _ERRORS.get(status, exceptions.Refused)(sentence)

    def _strange(self, method: str, path: str) -> exceptions.StoreUnavailable:
        return exceptions.StoreUnavailable(
            f'the service {self.name} answered {method} {path} with something that is no JSON: is '
            'there another program at that address?')


def _message(response: Any) -> str:
    """What a fault of Cinder says: its only member's `message`."""
    try:
        fault = next(iter(response.json().values()))
        return ' '.join(str(fault['message']).split())[:1000]
    except (AttributeError, KeyError, StopIteration, TypeError, ValueError):
        return ''


def connect(endpoint: str | None, cloud: str | None, warn: Callable[[str], None]) -> Connection:
    """The service at an endpoint, or of a cloud of clouds.yaml.

    At an endpoint nobody is asked for, unless OS_USERNAME and OS_PASSWORD are set.

    :raises InvalidInput: the endpoint is no URL, or the cloud has no name.
    :raises ConfigurationError: the client is not installed, or there is no such cloud.
    :raises StoreUnavailable, PermissionDenied: it cannot be reached, or does not let us in.
    """
    if endpoint is not None and not _is_url(endpoint):
        raise exceptions.InvalidInput(
            f'--endpoint: {endpoint!r} is no URL, such as http://127.0.0.1:8776/v3/PROJECT')
    if cloud == '':
        raise exceptions.InvalidInput('--os-cloud: the name of the cloud is empty')
    if endpoint is not None and _names_nobody(endpoint):
        warn(f'{endpoint} names no project: the service answers for its default one; another is '
             'named as in http://127.0.0.1:8776/v3/PROJECT')
    try:
        from keystoneauth1 import exceptions as theirs
        import openstack
        from openstack import exceptions as sdks
    except ImportError as error:
        raise exceptions.ConfigurationError(
            f'--endpoint and --os-cloud need the client of OpenStack ({error}): pip install '
            'backup-framework[client]') from error
    name = endpoint or f'of the cloud {cloud}'
    try:
        if cloud is not None:
            made = openstack.connect(cloud=cloud, api_timeout=TIMEOUT)
        else:
            made = openstack.connect(load_yaml_config=False, load_envvars=False,
                                     api_timeout=TIMEOUT, **_who(str(endpoint)))
        return Connection(made.block_storage, name)
    except theirs.Unauthorized as error:
        raise exceptions.PermissionDenied(f'the service {name} does not let us in: {error}'
                                          ) from error
    except theirs.ClientException as error:
        raise exceptions.StoreUnavailable(f'the service {name} cannot be reached: {error}'
                                          ) from error
    except sdks.SDKException as error:
        raise exceptions.ConfigurationError(f'the service {name} cannot be used: {error}'
                                            ) from error


def _names_nobody(endpoint: str) -> bool:
    """Whether the service must guess whose backups are meant."""
    path = parse.urlsplit(endpoint).path.rstrip('/')
    return 'OS_USERNAME' not in os.environ and (not path or path.endswith('/v3'))


def _is_url(text: str) -> bool:
    try:
        parts = parse.urlsplit(text)
        return parts.scheme in ('http', 'https') and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _who(endpoint: str) -> dict[str, Any]:
    if 'OS_USERNAME' not in os.environ:
        return {'auth_type': 'none', 'auth': {'endpoint': endpoint}}
    return {'auth_type': 'http_basic', 'auth': {
        'endpoint': endpoint, 'username': os.environ['OS_USERNAME'],
        'password': os.environ.get('OS_PASSWORD', '')}}
