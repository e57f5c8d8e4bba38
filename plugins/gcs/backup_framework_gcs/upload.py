"""Writing an object: in one request when it is small, else as a resumable upload."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import json
import logging
import re
import secrets
import urllib.parse

import requests

from backup_framework import exceptions
from backup_framework_gcs import checksum
from backup_framework_gcs.checksum import Buffer
from backup_framework_gcs.errors import Task
from backup_framework_gcs.layout import Place
from backup_framework_gcs.service import Facts, Service

LOG = logging.getLogger(__name__)

CONTENT = 'application/octet-stream'
DONE = (200, 201)
INCOMPLETE = 308
EXISTS = 412
GONE = (404, 410)
MOST_IDLE = 3
"""Answers in a row to one part that say that nothing more of it was kept."""

PIECE = 256 << 10


class Writer:
    """Takes an object's bytes, and stores them under a name that nothing else has yet.

    Every upload is conditional on the name being free. Where it is not, the bytes are only counted
    and summed, and compared with those that are there: they may be our own, stored by a request
    whose answer was lost.
    """

    def __init__(self, service: Service, task: Task, place: Place) -> None:
        self._service = service
        self._task = task
        self._place = place
        self._chunk: int = service.settings.resumable_chunk_size
        self._buffer = bytearray()
        self._start = 0
        self._crc = 0
        self._session: str | None = None
        self._exists = False

    def write(self, data: Buffer) -> int:
        view = memoryview(data)
        while view:
            if len(self._buffer) == self._chunk:
                self._send_part()
            piece = view[:self._chunk - len(self._buffer)]
            self._buffer += piece
            view = view[len(piece):]
        return len(data)

    def finish(self) -> None:
        """Store the object. It is there, whole, when this returns."""
        self._crc = checksum.extend(self._crc, self._buffer)
        if self._exists:
            self._compare()
        elif self._session is None:
            self._judge(self._send_whole())
        else:
            self._judge(self._send_rest())

    def cancel(self) -> None:
        """Let the service forget an upload that was begun; it does so itself after a week."""
        session, self._session = self._session, None
        self._buffer = bytearray()
        if session is not None:
            try:
                self._service.request(
                    self._task, 'DELETE', session, (200, 204, 499, *GONE))
            except exceptions.StoreError as error:
                LOG.debug('cancelling an upload: %s', error)

    @property
    def _end(self) -> int:
        """Bytes taken so far."""
        return self._start + len(self._buffer)

    # --- one request

    def _send_whole(self) -> requests.Response:
        boundary = secrets.token_hex(16)
        described = json.dumps(self._description() | {'crc32c': checksum.spelled(self._crc)})
        head = (f'--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n'
                f'{described}\r\n--{boundary}\r\nContent-Type: {CONTENT}\r\n\r\n').encode()
        tail = f'\r\n--{boundary}--\r\n'.encode()
        return self._service.request(
            self._task, 'POST', self._service.upload_path(self._place.bucket), (*DONE, EXISTS),
            params=self._conditions('multipart'), data=Body(head, self._buffer, tail),
            headers={'Content-Type': f'multipart/related; boundary={boundary}'})

    def _description(self) -> dict[str, str]:
        storage_class = self._service.settings.storage_class
        return ({'name': self._place.name, 'contentType': CONTENT}
                | ({'storageClass': storage_class} if storage_class else {}))

    def _conditions(self, kind: str) -> dict[str, str]:
        key = self._service.settings.kms_key_name
        return ({'uploadType': kind, 'ifGenerationMatch': '0', 'fields': 'size,crc32c,generation'}
                | ({'kmsKeyName': key} if key else {}))

    # --- a resumable upload

    def _send_part(self) -> None:
        """Send a full buffer, which is not the end of the object."""
        self._crc = checksum.extend(self._crc, self._buffer)
        if self._session is None and not self._exists:
            self._begin()
        if not self._exists:
            answer = self._deliver('*')
            if answer is not None:
                self._refuse_early(answer)
        self._start, self._buffer = self._end, bytearray()

    def _begin(self) -> None:
        answer = self._service.request(
            self._task, 'POST', self._service.upload_path(self._place.bucket), (*DONE, EXISTS),
            params=self._conditions('resumable'), json=self._description(),
            headers={'X-Upload-Content-Type': CONTENT})
        if answer.status_code == EXISTS:
            self._exists = True
            return
        session = answer.headers.get('Location', '')
        scheme = urllib.parse.urlsplit(answer.url).scheme
        if not session.startswith(f'{scheme}://'):
            raise self._unavailable('the service did not say where to send the upload')
        self._session = session

    def _send_rest(self) -> requests.Response:
        answer = self._deliver(str(self._end))
        assert answer is not None
        return answer

    def _deliver(self, total: str) -> requests.Response | None:
        """Send the buffer, and what the service did not keep of it again.

        :param total: the size of the object, or '*' as long as there is more.
        :returns: the answer that ends the upload, or None when the service waits for more.
        """
        sent, idle = self._start, 0
        while True:
            answer = self._put(sent, total)
            if answer.status_code != INCOMPLETE:
                return answer
            kept = self._kept(answer)
            if kept == self._end and total == '*':
                return None
            idle = 0 if kept > sent else idle + 1
            if idle == MOST_IDLE:
                raise self._unavailable(f'the upload does not get beyond byte {kept}')
            sent = kept

    def _put(self, sent: int, total: str) -> requests.Response:
        assert self._session is not None
        part = memoryview(self._buffer)[sent - self._start:]
        headers = {'Content-Range': f'bytes {sent}-{self._end - 1}/{total}' if part else
                   f'bytes */{total}'}
        if total != '*':
            headers['X-Goog-Hash'] = f'crc32c={checksum.spelled(self._crc)}'
        answer = self._service.request(
            self._task, 'PUT', self._session, (*DONE, INCOMPLETE, EXISTS, *GONE),
            data=Body(part) if part else b'', headers=headers)
        if answer.status_code in GONE:
            self._session = None
            raise self._unavailable('the service has forgotten the upload')
        return answer

    def _kept(self, answer: requests.Response) -> int:
        """The bytes of the object that the service has by now."""
        said = answer.headers.get('Range')
        found = re.fullmatch(r'bytes=0-(\d{1,19})', said or '')
        kept = int(found[1]) + 1 if found else 0 if said is None else -1
        if not self._start <= kept <= self._end:
            raise self._unavailable(
                f'the service says that it has {said} after {self._end} bytes were sent to it')
        return kept

    def _refuse_early(self, answer: requests.Response) -> None:
        """An upload must not end before its end; what it made is not our object."""
        self._session = None
        if answer.status_code == EXISTS:
            self._exists = True
            return
        facts = Facts.of(self._task, self._task.parsed(answer))
        raise self._removed(facts, f'the service ended the upload after {self._end} bytes')

    # --- what came of it

    def _judge(self, answer: requests.Response) -> None:
        """Compare what the service stored with what was sent."""
        self._session = None
        if answer.status_code == EXISTS:
            self._compare()
            return
        facts = Facts.of(self._task, self._task.parsed(answer))
        if not self._is_ours(facts):
            raise self._removed(
                facts, f'{facts.size} bytes with CRC32C {facts.crc32c} were stored of {self._end} '
                f'with {checksum.spelled(self._crc)}')

    def _compare(self) -> None:
        """The name is taken: fine when its object has the same bytes."""
        task = dataclasses.replace(
            self._task, needs='storage.objects.get', missing=exceptions.ObjectNotFound)
        try:
            facts = self._service.facts(task, self._place)
        except exceptions.ObjectNotFound as error:
            raise self._unavailable('an object of this name was there and is gone') from error
        if not self._is_ours(facts):
            raise self._task.error(
                exceptions.ObjectExists,
                f'another object of this name is already there, with {facts.size} bytes and CRC32C '
                f'{facts.crc32c}')

    def _is_ours(self, facts: Facts) -> bool:
        return (facts.size, facts.crc32c) == (self._end, checksum.spelled(self._crc))

    def _removed(self, facts: Facts, reason: str) -> exceptions.StoreError:
        """The error for an object that came out wrong, which is taken away again."""
        task = dataclasses.replace(self._task, needs='storage.objects.delete')
        try:
            self._service.delete(task, self._place, facts.generation)
        except exceptions.StoreError as error:
            return self._unavailable(f'{reason}, and it could not be removed ({error})')
        return self._unavailable(reason)

    def _unavailable(self, reason: str) -> exceptions.StoreError:
        return self._task.error(exceptions.StoreUnavailable, reason)


class Body:
    """A request's body in pieces: a socket's timeout counts for each, not for all together.

    It can be sent more than once, as when the service asks for a new token.
    """

    def __init__(self, *parts: Buffer) -> None:
        self._parts = [memoryview(part) for part in parts]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[memoryview]:
        for part in self._parts:
            for start in range(0, len(part), PIECE):
                yield part[start:start + PIECE]
