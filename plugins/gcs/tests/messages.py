"""Requests and answers of the JSON API as plain data, and what is packed inside them."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import json
import re
from typing import Any
import urllib.parse

JSON = 'application/json; charset=UTF-8'


@dataclasses.dataclass
class Request:
    """A request, with its headers' names in lower case. `kind` is what `Storage.kind` calls it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    kind: str = ''

    @property
    def path(self) -> str:
        return self.target.partition('?')[0]

    @property
    def query(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(self.target.partition('?')[2], keep_blank_values=True))

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else {}


@dataclasses.dataclass
class Response:
    """An answer. What misbehaves: `reset` closes the connection with a reset in its place,
    `send_only` so many bytes of the body and then an end, `stall_after` as many and then nothing.
    """

    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b''
    reset: bool = False
    send_only: int | None = None
    stall_after: int | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Refused(Exception):
    """Raised to answer with an error."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def as_json(value: Any, status: int = 200, **headers: str) -> Response:
    return Response(status, {'Content-Type': JSON, **headers}, json.dumps(value).encode())


def error(status: int, reason: str, message: str = '', **headers: str) -> Response:
    """An error as Google words it."""
    message = message or reason
    return as_json({'error': {'code': status, 'message': message, 'errors': [
        {'message': message, 'domain': 'global', 'reason': reason}]}}, status, **headers)


def refuse(status: int, reason: str, message: str = '') -> Refused:
    return Refused(error(status, reason, message))


def parts(request: Request) -> Iterator[tuple[dict[str, str], bytes]]:
    """Headers and body of each part of a multipart request, their bytes untouched."""
    boundary = re.search(r'boundary="?([^";]+)', request.headers['content-type'])
    assert boundary, request.headers
    for part in (b'\n' + request.body).split(b'\n--' + boundary[1].encode())[1:-1]:
        head, body = re.split(rb'\r?\n\r?\n', part.partition(b'\n')[2], maxsplit=1)
        yield headers_of(head), body.removesuffix(b'\r')


def headers_of(head: bytes) -> dict[str, str]:
    pairs = (line.partition(':') for line in head.decode().splitlines())
    return {name.strip().lower(): value.strip() for name, _, value in pairs if name.strip()}


def inner_request(body: bytes, outer: dict[str, str]) -> Request:
    """The request that a part of a batch is; it inherits the outer one's authorization."""
    line, _, rest = body.lstrip().partition(b'\n')
    head, *content = re.split(rb'\r?\n\r?\n', rest, maxsplit=1)
    method, url, _ = line.decode().split()
    split = urllib.parse.urlsplit(url)
    inherited = {key: outer[key] for key in ('authorization', 'host') if key in outer}
    return Request(method, split.path + (f'?{split.query}' if split.query else ''),
                   inherited | headers_of(head), content[0] if content else b'')


def selected(value: Any, fields: str) -> Any:
    """What `fields` leaves of a JSON answer: `a,b(c,d)` or `a,b/c`."""
    if isinstance(value, list):
        return [selected(item, fields) for item in value]
    kept = {}
    for field in re.findall(r'[^,()/]+(?:\([^)]*\)|/[^,]+)?', fields):
        name, _, inner = re.match(r'([^(/]+)([(/]?)(.*?)\)?\Z', field).groups()  # type: ignore
        if name == '*':
            return value
        if name in value:
            kept[name] = selected(value[name], inner) if inner else value[name]
    return kept
