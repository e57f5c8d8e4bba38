"""Several deletes in one request, as the service defines batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import email
import email.message
import email.policy
import re
import secrets
from typing import NamedTuple

from backup_framework_gcs.errors import Refusal

PATH = '/batch/storage/v1'


class Request(NamedTuple):
    """A body and its media type."""

    body: bytes
    kind: str


def request(paths: Sequence[str]) -> Request:
    """A request that deletes what is under some paths of the service."""
    boundary = secrets.token_hex(16)
    parts = [f'--{boundary}\r\nContent-Type: application/http\r\nContent-ID: <{number}>\r\n\r\n'
             f'DELETE {path} HTTP/1.1\r\nContent-Length: 0\r\n\r\n\r\n'
             for number, path in enumerate(paths)]
    return Request(''.join([*parts, f'--{boundary}--\r\n']).encode(),
                   f'multipart/mixed; boundary={boundary}')


def answers(kind: str, body: bytes) -> Mapping[int, Refusal]:
    """The answers by the numbers of their requests; in any order, and some may be missing."""
    message = email.message_from_bytes(
        f'Content-Type: {kind}\r\n\r\n'.encode() + body, policy=email.policy.compat32)
    found = {}
    for part in message.walk():
        number = re.fullmatch(r'<?response-<?(\d+)>*', str(part.get('Content-ID', '')).strip())
        if number:
            answer = _answer(part)
            if answer is not None:
                found[int(number[1])] = answer
    return found


def _answer(part: email.message.Message) -> Refusal | None:
    """The HTTP answer that a part holds."""
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return None
    line, _, rest = payload.partition(b'\n')
    status = re.match(rb'HTTP/\S+ (\d{3})\b *([^\r]*)', line)
    if not status:
        return None
    inner = email.message_from_bytes(rest, policy=email.policy.compat32)
    content = inner.get_payload(decode=True)
    return Refusal(int(status[1]), status[2].decode('latin-1'), dict(inner.items()),
                   content if isinstance(content, bytes) else b'')
