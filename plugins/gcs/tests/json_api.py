"""The part of Google Cloud Storage's JSON API that the driver may use, on dictionaries.

Written from Google's documents for what neither emulator does: preconditions on every method,
checksums that the client sends, offsets and endings of resumable uploads, `fields`, and the limit
of a batch. No sockets here: `Storage.answer` makes a `Response` of a `Request`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
import dataclasses
import hashlib
import itertools
import json
import re
import threading
from typing import Any
import urllib.parse

import google_crc32c

from plugins.gcs.tests.messages import (
    Refused,
    Request,
    Response,
    as_json,
    error,
    inner_request,
    parts,
    refuse,
    selected,
)

QUANTUM = 256 << 10
"""Bytes of a resumable upload are kept in whole multiples of this, but for the last ones."""

LONGEST_PAGE = 1000
LONGEST_BATCH = 100


@dataclasses.dataclass
class Object:
    name: str
    data: bytes
    generation: int
    properties: dict[str, Any]

    @property
    def crc32c(self) -> str:
        return crc32c(self.data)

    @property
    def md5(self) -> str:
        return base64.b64encode(hashlib.md5(self.data).digest()).decode()


@dataclasses.dataclass
class Session:
    """A resumable upload; `done` is its answer when it has ended."""

    request: Request
    bucket: str
    properties: dict[str, Any]
    data: bytearray = dataclasses.field(default_factory=bytearray)
    done: Response | None = None


def crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, 'big')).decode()


def token_of(name: str) -> str:
    """The page token that leads to what comes after a name."""
    return base64.b64encode(name.encode()).decode()


def after_of(token: str) -> str:
    return base64.b64decode(token).decode()


# Method, pattern of the path, and the names of the kind where `uploadType`, `alt` and the like do
# not say more.
_BUCKET = r'(?:/storage/v1)?/b/(?P<bucket>[^/]+)'
ROUTES = [(method, re.compile(pattern + r'\Z'), kind) for method, pattern, kind in (
    ('POST', r'/token', 'token'),
    ('POST', r'/batch/storage/v1', 'batch'),
    ('POST', r'/upload/storage/v1/b/(?P<bucket>[^/]+)/o', 'insert'),
    ('PUT', r'/upload/storage/v1/b/(?P<bucket>[^/]+)/o', 'chunk'),
    ('DELETE', r'/upload/storage/v1/b/(?P<bucket>[^/]+)/o', 'cancel'),
    ('GET', r'/storage/v1/b', 'buckets'),
    ('POST', r'/storage/v1/b', 'make-bucket'),
    ('GET', rf'{_BUCKET}/iam/testPermissions', 'permissions'),
    ('GET', rf'{_BUCKET}/o', 'list'),
    ('GET', rf'(?:/download)?{_BUCKET}/o/(?P<name>[^/]+)', 'metadata'),
    ('DELETE', rf'{_BUCKET}/o/(?P<name>[^/]+)', 'delete'),
    ('GET', _BUCKET, 'bucket'),
    ('DELETE', _BUCKET, 'delete-bucket'))]


class Storage:
    """Buckets and their objects. One request at a time changes them.

    :ivar page: objects of a listing's page, at most LONGEST_PAGE.
    :ivar checks_early: whether a resumable upload's preconditions are judged when it is started,
        beside when it ends; Google promises the end alone.
    :ivar token: what `Authorization` has to bear; None takes requests without.
    :ivar permissions: those that `testPermissions` admits to; None means all.
    """

    def __init__(self) -> None:
        self.buckets: dict[str, dict[str, Any]] = {}
        self.objects: dict[str, dict[str, Object]] = {}
        self.sessions: dict[str, Session] = {}
        self.page = LONGEST_PAGE
        self.checks_early = False
        self.token: str | None = None
        self.permissions: set[str] | None = None
        self._numbers = itertools.count(1_700_000_000_000_001, 7)
        self._lock = threading.RLock()

    def add_bucket(self, name: str, **properties: Any) -> None:
        self.buckets[name] = {'kind': 'storage#bucket', 'id': name, 'name': name,
                              'location': 'US', 'storageClass': 'STANDARD', **properties}
        self.objects[name] = {}

    def put(self, bucket: str, name: str, data: bytes, **properties: Any) -> Object:
        """Store an object, whatever is there."""
        made = Object(name, data, next(self._numbers), properties)
        self.objects[bucket][name] = made
        return made

    @staticmethod
    def kind(request: Request) -> str:
        """What a request is: the name under which it is counted."""
        kind = next((kind for method, pattern, kind in ROUTES
                     if method == request.method and pattern.match(request.path)), 'unknown')
        query = request.query
        if kind == 'insert' and query.get('uploadType') == 'resumable':
            return 'start'
        if kind == 'chunk' and request.headers.get('content-range', '').startswith('bytes */'):
            return 'status'
        if kind == 'metadata' and query.get('alt') == 'media':
            return 'media'
        return kind

    def answer(self, request: Request, one: Callable[[Request], Response] | None = None
               ) -> Response:
        """
        :param one: answers one part of a batch; else this method does.
        """
        kind = self.kind(request)
        match = next((pattern.match(request.path) for method, pattern, _ in ROUTES
                      if method == request.method and pattern.match(request.path)), None)
        if match is None:
            return error(404, 'notFound', f'{request.method} {request.path} is not played here')
        if self.token and kind != 'token':
            if request.headers.get('authorization') != f'Bearer {self.token}':
                return error(401, 'authError', 'Invalid Credentials')
        if kind == 'batch':
            return self._batch(request, one or self.answer)
        where = {key: urllib.parse.unquote(value) for key, value in match.groupdict().items()}
        try:
            with self._lock:
                verb = getattr(self, '_' + kind.replace('-', '_'))
                response: Response = verb(request, **where)
        except Refused as refused:
            return refused.response
        if response.status == 200 and response.body and 'fields' in request.query:
            response.body = json.dumps(
                selected(response.json, request.query['fields'])).encode()
        return response

    # --- buckets

    def _buckets(self, request: Request) -> Response:
        return as_json({'kind': 'storage#buckets', 'items': [
            self.buckets[name] for name in sorted(self.buckets)
            if name.startswith(request.query.get('prefix', ''))]})

    def _make_bucket(self, request: Request) -> Response:
        properties = request.json
        if properties['name'] in self.buckets:
            raise refuse(409, 'conflict', 'Your previous request to create the named bucket '
                                          'succeeded and you already own it.')
        self.add_bucket(**properties)
        return as_json(self.buckets[properties['name']])

    def _bucket(self, request: Request, bucket: str) -> Response:
        self._objects(bucket)
        return as_json(self.buckets[bucket])

    def _delete_bucket(self, request: Request, bucket: str) -> Response:
        if self._objects(bucket):
            raise refuse(409, 'conflict', 'The bucket you tried to delete is not empty.')
        del self.buckets[bucket], self.objects[bucket]
        return Response(204)

    def _permissions(self, request: Request, bucket: str) -> Response:
        self._objects(bucket)
        asked = urllib.parse.parse_qs(request.target.partition('?')[2]).get('permissions', [])
        return as_json({'kind': 'storage#testIamPermissionsResponse', 'permissions': [
            name for name in asked if self.permissions is None or name in self.permissions]})

    def _token(self, request: Request) -> Response:
        return as_json({'access_token': self.token or 'any', 'expires_in': 3600,
                        'token_type': 'Bearer'})

    # --- objects

    def _list(self, request: Request, bucket: str) -> Response:
        query, objects = request.query, self._objects(bucket)
        prefix, delimiter = query.get('prefix', ''), query.get('delimiter')
        after = after_of(query.get('pageToken', ''))
        names = [name for name in sorted(objects)
                 if name.startswith(prefix) and name > after
                 and name >= query.get('startOffset', '')
                 and (not query.get('endOffset') or name < query['endOffset'])]
        size = min(int(query.get('maxResults', LONGEST_PAGE)), self.page, LONGEST_PAGE)
        answer: dict[str, Any] = {'kind': 'storage#objects'}
        if len(names) > size:
            names = names[:size]
            answer['nextPageToken'] = token_of(names[-1])
        if delimiter:
            folders = {name[:name.index(delimiter, len(prefix)) + len(delimiter)]
                       for name in names if delimiter in name[len(prefix):]}
            names = [name for name in names if delimiter not in name[len(prefix):]]
            answer['prefixes'] = sorted(folders)
        if names:
            answer['items'] = [self.resource(bucket, objects[name]) for name in names]
        return as_json(answer)

    def _metadata(self, request: Request, bucket: str, name: str) -> Response:
        return as_json(self.resource(bucket, self._existing(request, bucket, name)))

    def _media(self, request: Request, bucket: str, name: str) -> Response:
        found = self._existing(request, bucket, name)
        data, status, headers = found.data, 200, {
            'Content-Type': 'application/octet-stream',
            'x-goog-hash': f'crc32c={found.crc32c},md5={found.md5}',
            'x-goog-generation': str(found.generation), 'x-goog-metageneration': '1',
            'x-goog-stored-content-encoding': 'identity',
            'x-goog-stored-content-length': str(len(found.data))}
        wanted = re.match(r'bytes=(\d+)-(\d*)\Z', request.headers.get('range', ''))
        if wanted:
            start, end = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
            if start >= len(data):
                raise Refused(Response(416, {'Content-Range': f'bytes */{len(data)}'}))
            headers['Content-Range'] = f'bytes {start}-{end}/{len(data)}'
            data, status = data[start:end + 1], 206
        return Response(status, headers, data)

    def _delete(self, request: Request, bucket: str, name: str) -> Response:
        self._existing(request, bucket, name)
        del self.objects[bucket][name]
        return Response(204)

    def _insert(self, request: Request, bucket: str) -> Response:
        properties, data = {}, request.body
        if request.query.get('uploadType') == 'multipart':
            (_, first), (_, data) = parts(request)
            properties = json.loads(first)
        return self._store(request, bucket, properties, data, request.headers)

    def _store(self, request: Request, bucket: str, properties: dict[str, Any], data: bytes,
               headers: dict[str, str]) -> Response:
        """Make an object, if the request that wants it may."""
        name = properties.get('name') or request.query.get('name', '')
        if not name or len(name.encode()) > 1024:
            raise refuse(400, 'invalid', 'The object name is missing or too long.')
        self._check(request, self._objects(bucket).get(name))
        if 'kmsKeyName' in request.query:
            properties = properties | {'kmsKeyName': request.query['kmsKeyName']}
        promised = dict(item.strip().split('=', 1)
                        for item in headers.get('x-goog-hash', '').split(',') if '=' in item)
        promised |= {key: value for key, value in properties.items() if key == 'crc32c'}
        actual = crc32c(data)
        if promised.get('crc32c', actual) != actual:
            raise refuse(400, 'invalid', f'Provided CRC32C "{promised["crc32c"]}" doesn\'t match '
                                         f'calculated CRC32C "{actual}".')
        return as_json(self.resource(bucket, self.put(bucket, name, data, **{
            key: value for key, value in properties.items() if key not in ('name', 'crc32c')})))

    # --- resumable uploads

    def _start(self, request: Request, bucket: str) -> Response:
        properties = request.json
        objects = self._objects(bucket)
        name = properties.get('name') or request.query.get('name', '')
        if self.checks_early:
            self._check(request, objects.get(name))
        number = f'session-{next(self._numbers)}'
        self.sessions[number] = Session(request, bucket, {'name': name} | properties)
        query = urllib.parse.urlencode({**request.query, 'upload_id': number})
        return Response(200, {'X-GUploader-UploadID': number, 'Location':
                              f'http://{request.headers["host"]}{request.path}?{query}'})

    def _session(self, request: Request) -> Session:
        session = self.sessions.get(request.query.get('upload_id', ''))
        if session is None:
            raise refuse(404, 'notFound', 'No such upload.')
        return session

    def _status(self, request: Request, bucket: str) -> Response:
        """`bytes */N` with all N bytes here ends the upload; else it asks how far it is."""
        session = self._session(request)
        total = request.headers['content-range'].removeprefix('bytes */')
        if session.done is None and total == str(len(session.data)):
            session.done = self._finish(session, request)
        return session.done or resume_incomplete(len(session.data))

    def _chunk(self, request: Request, bucket: str) -> Response:
        session = self._session(request)
        if session.done is not None:
            return session.done
        match = re.match(r'bytes (\d+)-(\d+)/(\d+|\*)\Z', request.headers.get('content-range', ''))
        if match is None or int(match[2]) - int(match[1]) + 1 != len(request.body):
            raise refuse(400, 'badRequest', 'Failed to parse Content-Range header.')
        start, kept = int(match[1]), len(session.data)
        if start > kept:
            raise refuse(400, 'badRequest', (
                'Invalid request. According to the Content-Range header, the upload offset is '
                f'{start} byte(s), which exceeds already uploaded size of {kept} byte(s).'))
        session.data += request.body[kept - start:]
        if match[3] == str(len(session.data)):
            session.done = self._finish(session, request)
            return session.done
        del session.data[len(session.data) // QUANTUM * QUANTUM:]
        return resume_incomplete(len(session.data))

    def _finish(self, session: Session, last: Request) -> Response:
        try:
            return self._store(session.request, session.bucket, session.properties,
                               bytes(session.data), last.headers)
        except Refused as refused:
            return refused.response

    def _cancel(self, request: Request, bucket: str) -> Response:
        session = self._session(request)
        session.done = session.done or error(499, 'clientClosedRequest')
        return Response(499)

    # --- what several verbs need

    def _objects(self, bucket: str) -> dict[str, Object]:
        if bucket not in self.objects:
            raise refuse(404, 'notFound', 'The specified bucket does not exist.')
        return self.objects[bucket]

    def _existing(self, request: Request, bucket: str, name: str) -> Object:
        found = self._objects(bucket).get(name)
        wanted = request.query.get('generation')
        if found is None or wanted not in (None, str(found.generation)):
            raise refuse(404, 'notFound', f'No such object: {bucket}/{name}')
        self._check(request, found)
        return found

    def _check(self, request: Request, found: Object | None) -> None:
        wanted = request.query.get('ifGenerationMatch')
        generation = found.generation if found else 0
        if wanted is not None and int(wanted) != generation:
            raise refuse(412, 'conditionNotMet', (
                'At least one of the pre-conditions you specified did not hold.'))

    @staticmethod
    def resource(bucket: str, found: Object) -> dict[str, Any]:
        return {'storageClass': 'STANDARD', **found.properties, 'kind': 'storage#object',
                'id': f'{bucket}/{found.name}/{found.generation}', 'bucket': bucket,
                'name': found.name, 'size': str(len(found.data)), 'crc32c': found.crc32c,
                'md5Hash': found.md5, 'generation': str(found.generation), 'metageneration': '1',
                'timeCreated': '2026-01-02T03:04:05.678Z', 'updated': '2026-01-02T03:04:05.678Z'}

    def _batch(self, request: Request, one: Callable[[Request], Response]) -> Response:
        """Each part is a request in full, answered in the same place."""
        asked = list(parts(request))
        if len(asked) > LONGEST_BATCH:
            return error(400, 'badRequest', 'The batch request contains too many calls.')
        boundary, answers = 'batch_of_answers', b''
        for headers, body in asked:
            part = inner_request(body, request.headers)
            response = one(part)
            if response.reset:
                return response
            lines = [f'--{boundary}', 'Content-Type: application/http']
            if 'content-id' in headers:
                lines.append(f'Content-ID: <response-{headers["content-id"].strip("<>")}>')
            lines += ['', f'HTTP/1.1 {response.status} Because']
            lines += [f'{key}: {value}' for key, value in response.headers.items()]
            lines += [f'Content-Length: {len(response.body)}', '', '']
            answers += '\r\n'.join(lines).encode() + response.body + b'\r\n'
        return Response(200, {'Content-Type': f'multipart/mixed; boundary={boundary}'},
                        answers + f'--{boundary}--\r\n'.encode())


def resume_incomplete(kept: int) -> Response:
    return Response(308, {'Range': f'bytes=0-{kept - 1}'} if kept else {})
