"""Reading an object: one request from where the reader stands, its checksum along the way."""

from __future__ import annotations

import re

import requests

from backup_framework import exceptions
from backup_framework_gcs import checksum
from backup_framework_gcs.errors import Task
from backup_framework_gcs.layout import Place
from backup_framework_gcs.service import Service, pinned

LARGEST = 4 << 20

WHOLE, PARTIAL, BEYOND = 200, 206, 416


class Reader:
    """Reads an object; asks for it with the first `read`, and again with the first after a `seek`.

    All requests of a reader are for the generation that it saw first. What is read from the first
    byte to the last without a `seek` or an error is compared with the object's checksum.
    """

    def __init__(self, service: Service, task: Task, place: Place) -> None:
        self._service = service
        self._task = task
        self._place = place
        self._position = 0
        self._response: requests.Response | None = None
        self._size: int | None = None
        self._generation: str | None = None
        self._stored_crc: str | None = None
        self._crc: int | None = None
        """Of what was read since byte 0; None where reading began elsewhere."""

    def seek(self, offset: int, /) -> int:
        if offset != self._position:
            self.close()
            self._position = offset
        return offset

    def read(self, size: int = -1, /) -> bytes:
        if size is None or size < 0:
            return b''.join(iter(lambda: self.read(LARGEST), b''))
        if size == 0 or self._size is not None and self._position >= self._size:
            return b''
        try:
            return self._read(size)
        except BaseException:
            self.close()  # its body stands nobody knows where
            raise

    def _read(self, size: int) -> bytes:
        response = self._open() if self._response is None else self._response
        if response is None or self._size is None:
            return b''
        data = self._receive(response, min(size, self._size - self._position))
        self._position += len(data)
        if self._crc is not None:
            self._crc = checksum.extend(self._crc, data)
        if self._position == self._size:
            self._end(response)
        return data

    def close(self) -> None:
        """Let the request go; its connection is used again when its body was read whole."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def _open(self) -> requests.Response | None:
        """Ask for the object from where the reader stands; None where that is beyond its end."""
        headers = {'Accept-Encoding': 'gzip'}  # as it is stored: else the service may unpack it
        if self._position:
            headers['Range'] = f'bytes={self._position}-'
        response = self._service.request(
            self._task, 'GET', self._service.object_path(self._place), (WHOLE, PARTIAL, BEYOND),
            params={'alt': 'media'} | pinned(self._generation), headers=headers, stream=True)
        self._response = response
        if response.status_code == BEYOND:
            self.close()
            self._require_beyond()
            return None
        self._size = self._size_of(response)
        self._generation = self._generation or response.headers.get('X-Goog-Generation')
        found = re.search(r'\bcrc32c=([A-Za-z0-9+/]{6}==)', response.headers.get('X-Goog-Hash', ''))
        self._stored_crc = found[1] if found else None
        self._crc = None if self._position else 0
        return response

    def _size_of(self, response: requests.Response) -> int:
        """The size of the whole object, from an answer that is what was asked for."""
        if response.status_code == PARTIAL:
            size = self._size_of_part(response)
        elif self._position:
            raise self._task.error(
                exceptions.StoreError, 'the service reads no ranges of objects')
        else:
            size = self._size_of_whole(response)
        if self._size not in (None, size):
            raise self._unavailable(f'it had {self._size} bytes before and has {size} now')
        return size

    def _size_of_part(self, response: requests.Response) -> int:
        said = response.headers.get('Content-Range', '')
        found = re.fullmatch(r'bytes (\d{1,19})-(\d{1,19})/(\d{1,19})', said)
        if not found:
            raise self._unavailable(f'the service does not say which part it sends ({said!a})')
        first, last, size = map(int, found.groups())
        if first != self._position or last != size - 1:
            raise self._unavailable(f'the service sends {said} for the bytes from {self._position}')
        return size

    def _size_of_whole(self, response: requests.Response) -> int:
        told = [response.headers.get(name) for name in (
            'Content-Length', 'X-Goog-Stored-Content-Length')]
        sizes = {int(text) for text in told if text and re.fullmatch(r'\d{1,19}', text)}
        if len(sizes) > 1:
            raise self._unavailable(
                f'the service sends {told[0]} bytes of an object that has {told[1]}')
        return sizes.pop() if sizes else self._service.facts(self._task, self._place).size

    def _require_beyond(self) -> None:
        """The service says that the object ends before; believe it when its size says the same."""
        size = self._service.facts(self._task, self._place, self._generation).size
        if self._position < size:
            raise self._unavailable(f'the service refuses byte {self._position} of {size}')
        self._size = size

    def _receive(self, response: requests.Response, size: int) -> bytes:
        """Exactly `size` bytes of the body."""
        with self._task.guard():
            data: bytes = response.raw.read(size, decode_content=False)
            while len(data) < size:
                more = response.raw.read(size - len(data), decode_content=False)
                if not more:
                    raise self._unavailable(
                        f'the body ended after {self._position + len(data)} of {self._size} bytes')
                data += more
        return data

    def _end(self, response: requests.Response) -> None:
        """The last byte was read: there must be no more, and the checksum must be right."""
        with self._task.guard():
            if response.raw.read(1, decode_content=False):
                raise self._unavailable(f'the body has more than {self._size} bytes')
        self.close()
        if self._crc is None:
            return
        stored = self._stored_crc or self._service.facts(
            self._task, self._place, self._generation).crc32c
        if stored is None:
            raise self._task.error(
                exceptions.StoreError,
                'the bytes cannot be checked: the service tells no CRC32C of the object')
        if stored != checksum.spelled(self._crc):
            # Not StoreUnavailable: reading on would pass what came before for good.
            raise self._task.error(
                exceptions.StoreError,
                f'the bytes that came have CRC32C {checksum.spelled(self._crc)}, those that are '
                f'stored have {stored}; read the object again')

    def _unavailable(self, reason: str) -> exceptions.StoreError:
        return self._task.error(exceptions.StoreUnavailable, reason)
