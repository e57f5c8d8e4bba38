"""The played server is as strict as Google's documents, and its faults are what they say.

Spoken to in plain HTTP: what is proven with this server rests on these tests.
"""

from __future__ import annotations

from collections.abc import Iterator
import http.client
import json
import urllib.parse

import pytest

from plugins.gcs.tests import json_api, misbehaving
from plugins.gcs.tests.misbehaving import Server

UPLOAD = '/upload/storage/v1/b/bucket/o'
OBJECT = '/storage/v1/b/bucket/o/name'
KEPT = json_api.QUANTUM


@pytest.fixture
def server() -> Iterator[Server]:
    with misbehaving.server() as running:
        yield running


def ask(server: Server, method: str, target: str, body: bytes = b'', **headers: str
        ) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, and body; header names with underscores."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(server.url).netloc, timeout=10)
    try:
        connection.request(method, target, body, {
            key.replace('_', '-'): value for key, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, \
            answer.read()
    finally:
        connection.close()


def start(server: Server, query: str = '') -> str:
    status, headers, _ = ask(server, 'POST', f'{UPLOAD}?uploadType=resumable&name=name{query}')
    assert status == 200
    return headers['location'].removeprefix(server.url)


def chunk(server: Server, session: str, first: int, data: bytes, total: object = '*',
          **headers: str) -> tuple[int, str | None]:
    status, answer, _ = ask(server, 'PUT', session, data, content_range=(
        f'bytes {first}-{first + len(data) - 1}/{total}'), **headers)
    return status, answer.get('range')


@pytest.mark.parametrize('method, target', [
    ('POST', f'{UPLOAD}?uploadType=media&name=name&ifGenerationMatch=%s'),
    ('GET', f'{OBJECT}?ifGenerationMatch=%s'),
    ('GET', f'{OBJECT}?alt=media&ifGenerationMatch=%s'),
    ('DELETE', f'{OBJECT}?ifGenerationMatch=%s')])
def test_preconditions_hold_for_every_method(server: Server, method: str, target: str) -> None:
    there = server.storage.put('bucket', 'name', b'old')
    for wrong in (0, there.generation + 1):
        assert ask(server, method, target % wrong)[0] == 412
    assert server.storage.objects['bucket']['name'].data == b'old'
    assert ask(server, method, target % there.generation)[0] in (200, 204)


@pytest.mark.parametrize('early', [False, True])
def test_preconditions_hold_for_resumable_uploads(server: Server, early: bool) -> None:
    session = start(server, '&ifGenerationMatch=0')
    server.storage.checks_early = early
    server.storage.put('bucket', 'name', b'faster')
    assert chunk(server, session, 0, b'late', 4)[0] == 412
    assert server.storage.objects['bucket']['name'].data == b'faster'
    target = f'{UPLOAD}?uploadType=resumable&name=name&ifGenerationMatch=0'
    assert ask(server, 'POST', target)[0] == (412 if early else 200)


def test_a_generation_that_is_gone_cannot_be_read(server: Server) -> None:
    old = server.storage.put('bucket', 'name', b'old')
    target = f'{OBJECT}?alt=media&generation={old.generation}'
    assert ask(server, 'GET', target)[2] == b'old'
    server.storage.put('bucket', 'name', b'new')
    assert ask(server, 'GET', target)[0] == 404


def test_chunks_are_kept_in_whole_quanta_and_overlap(server: Server) -> None:
    session = start(server)
    data = bytes(range(256)) * (KEPT // 128) + b'end'
    assert chunk(server, session, 0, data[:KEPT - 1]) == (308, None)
    assert chunk(server, session, 0, data[:KEPT + 9]) == (308, f'bytes=0-{KEPT - 1}')
    assert chunk(server, session, KEPT + 1, data[KEPT + 1:], len(data))[0] == 400
    assert ask(server, 'PUT', session, content_range='bytes */*')[:2][0] == 308
    assert chunk(server, session, 0, data, len(data))[0] == 200
    assert server.storage.objects['bucket']['name'].data == data
    assert ask(server, 'PUT', session, content_range='bytes */*')[0] == 200


def test_an_upload_of_whole_quanta_ends_with_its_total(server: Server) -> None:
    session = start(server)
    assert chunk(server, session, 0, bytes(KEPT)) == (308, f'bytes=0-{KEPT - 1}')
    assert 'name' not in server.storage.objects['bucket']
    assert ask(server, 'PUT', session, content_range=f'bytes */{KEPT}')[0] == 200
    assert server.storage.objects['bucket']['name'].data == bytes(KEPT)


def test_a_cancelled_upload_makes_no_object(server: Server) -> None:
    session = start(server)
    assert ask(server, 'DELETE', session)[0] == 499
    assert chunk(server, session, 0, b'data', 4)[0] == 499
    assert not server.storage.objects['bucket']


@pytest.mark.parametrize('promised, status', [(b'data', 200), (b'date', 400)])
def test_the_client_s_checksum_is_held_to(server: Server, promised: bytes, status: int) -> None:
    checksum = f'crc32c={json_api.crc32c(promised)}'
    target = f'{UPLOAD}?uploadType=media&name=name'
    assert ask(server, 'POST', target, b'data', x_goog_hash=checksum)[0] == status
    session = start(server)
    assert chunk(server, session, 0, b'data', 4, x_goog_hash=checksum)[0] == status
    body = (b'--b\r\nContent-Type: application/json\r\n\r\n{"name": "name", "crc32c": "%s"}\r\n'
            b'--b\r\nContent-Type: x/y\r\n\r\ndata\r\n--b--'
            % json_api.crc32c(promised).encode())
    assert ask(server, 'POST', f'{UPLOAD}?uploadType=multipart', body,
               content_type='multipart/related; boundary="b"')[0] == status


def test_a_batch_takes_a_hundred_and_counts_its_parts(server: Server) -> None:
    for number in range(3):
        server.storage.put('bucket', f'n{number}', b'')
    server.fail('delete', misbehaving.forbidden, at=2)

    def batch(count: int) -> tuple[int, bytes]:
        body = b''.join(b'--b\r\nContent-Type: application/http\r\n\r\nDELETE %s/n%d HTTP/1.1\r\n'
                        b'\r\n\r\n' % (OBJECT.removesuffix('/name').encode(), number)
                        for number in range(count))
        status, _, answer = ask(server, 'POST', '/batch/storage/v1', body + b'--b--',
                                content_type='multipart/mixed; boundary="b"')
        return status, answer

    status, answer = batch(4)
    assert status == 200
    assert [int(line.split()[1]) for line in answer.splitlines()
            if line.startswith(b'HTTP/1.1')] == [204, 403, 204, 404]
    assert list(server.storage.objects['bucket']) == ['n1']
    assert (server.count('batch'), server.count('delete')) == (1, 4)
    assert batch(101)[0] == 400


def test_a_listing_has_pages_and_only_the_fields_that_were_asked_for(server: Server) -> None:
    for number in range(5):
        server.storage.put('bucket', f'n{number}', b'')
    server.storage.page = 2
    found, token = [], ''
    for _ in range(3):
        page = json.loads(ask(server, 'GET', (
            '/storage/v1/b/bucket/o?fields=items(name),nextPageToken&pageToken='
            + urllib.parse.quote(token)))[2])
        assert all(item.keys() == {'name'} for item in page['items'])
        found += [item['name'] for item in page['items']]
        token = page.get('nextPageToken', '')
    assert found == [f'n{number}' for number in range(5)] and not token
    assert 'nextPageToken' not in json.loads(
        ask(server, 'GET', '/storage/v1/b/bucket/o?fields=items/name')[2])


def test_faults_come_when_they_are_due(server: Server) -> None:
    server.storage.put('bucket', 'name', b'x' * 1000)
    server.fail('media', misbehaving.status(503, Retry_After='7'), at=2, times=2)
    server.fail('metadata', misbehaving.reset)
    server.fail('delete', misbehaving.lost)
    server.fail('media', misbehaving.cut(10), at=5)
    media = f'{OBJECT}?alt=media'
    answers = [ask(server, 'GET', media) for _ in range(4)]
    assert [answer[0] for answer in answers] == [200, 503, 503, 200]
    assert answers[1][1]['retry-after'] == '7'
    with pytest.raises(http.client.IncompleteRead):
        ask(server, 'GET', media)
    with pytest.raises(ConnectionResetError):
        ask(server, 'GET', OBJECT)
    with pytest.raises(ConnectionResetError):
        ask(server, 'DELETE', OBJECT)
    assert not server.storage.objects['bucket'], 'a lost answer means that all was done'
    assert server.count() == 7


def test_a_chunk_may_be_kept_in_part(server: Server) -> None:
    session = start(server)
    server.fail('chunk', misbehaving.keep_only(KEPT))
    server.fail('chunk', misbehaving.more_range(KEPT), at=2)
    assert chunk(server, session, 0, bytes(2 * KEPT)) == (308, f'bytes=0-{KEPT - 1}')
    assert chunk(server, session, KEPT, bytes(KEPT)) == (308, f'bytes=0-{3 * KEPT - 1}')
    assert ask(server, 'PUT', session, content_range='bytes */*')[1]['range'] == (
        f'bytes=0-{2 * KEPT - 1}')
