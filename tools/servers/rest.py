"""A client of the REST API in a few lines: JSON over one connection that is kept."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
from typing import Any
import urllib.parse

SECONDS = 60.0


class Refused(Exception):
    """An answer that is an error.

    :ivar status: of the answer.
    :ivar body: what was in it.
    """

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f'{status}: {body}')
        self.status, self.body = status, body


class Rest:
    """Speaks for one user of one project.

    :param endpoint: of the API, like http://127.0.0.1:8776/v3.
    :param project: goes into the URL.
    :param password: of the user, for http_basic.
    """

    def __init__(self, endpoint: str, project: str = 'demo', *, user: str | None = None,
                 password: str | None = None, version: str = '3.71') -> None:
        self._to = urllib.parse.urlsplit(endpoint)
        self.project, self.version = project, version
        self._headers = {'Content-Type': 'application/json', 'Accept': 'application/json'}
        if password is not None:
            token = base64.b64encode(f'{user}:{password}'.encode()).decode()
            self._headers['Authorization'] = f'Basic {token}'
        elif user is not None:
            self._headers['X-Auth-Token'] = f'{user}:{project}'
        self._link: http.client.HTTPConnection | None = None
        self.headers: dict[str, str] = {}

    def get(self, path: str, **query: Any) -> Any:
        text = urllib.parse.urlencode({name: value for name, value in query.items()
                                       if value is not None})
        return self.call('GET', path + (f'?{text}' if text else ''))

    def post(self, path: str, body: Any) -> Any:
        return self.call('POST', path, body)

    def put(self, path: str, body: Any) -> Any:
        return self.call('PUT', path, body)

    def delete(self, path: str) -> Any:
        return self.call('DELETE', path)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of an answer, or None where it has no body; its headers are `headers`.

        :param path: behind the project; one that begins with // stands for itself.
        :raises Refused: the answer is an error.
        """
        whole = path[1:] if path.startswith('//') else f'{self._to.path}/{self.project}{path}'
        data = None if body is None else json.dumps(body)
        headers = {**self._headers, 'OpenStack-API-Version': f'volume {self.version}'}
        try:
            answer = self._ask(method, whole, data, headers)
        except (http.client.BadStatusLine, ConnectionResetError, BrokenPipeError):
            # The server has closed a connection that was not used, or has just been started anew.
            self.close()
            if method != 'GET':
                raise
            answer = self._ask(method, whole, data, headers)
        content = answer.read()
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        is_json = self.headers.get('content-type', '').startswith('application/json')
        found = json.loads(content) if content and is_json else content.decode() or None
        if answer.status >= 400:
            raise Refused(answer.status, found)
        return found

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _ask(self, method: str, path: str, data: str | None, headers: dict[str, str]
             ) -> http.client.HTTPResponse:
        if self._link is None:
            self._link = http.client.HTTPConnection(
                str(self._to.hostname), self._to.port, timeout=SECONDS)
        try:
            self._link.request(method, path, data, headers)
            return self._link.getresponse()
        except BaseException:
            with contextlib.suppress(OSError):
                self.close()
            raise
