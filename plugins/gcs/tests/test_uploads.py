"""Writing objects: single and resumable, bounded, conditional, checked, and cancelled.

Preconditions of resumable uploads, checksums that the service is given, and offsets that it moves
are proven on our own server alone: neither emulator has them (see test_conformance.py).
"""

from __future__ import annotations

from concurrent import futures
import contextlib
import os
import tracemalloc

import pytest

from backup_framework import exceptions
from backup_framework.testing.bench import pattern
from plugins.gcs.tests import misbehaving
from plugins.gcs.tests.conftest import BUCKET, CHUNK
from plugins.gcs.tests.objects import BOX, Pauses, container, put, read, write

SMALL, LARGE = pattern(1000), pattern(2 * CHUNK + 5)
NAME = f'{BOX}/name'


class Interrupted(Exception):
    """What a block is left with."""


def stored(server: misbehaving.Server) -> bytes | None:
    """The object's bytes, straight from the server."""
    found = server.storage.objects[BUCKET].get(NAME)
    return None if found is None else found.data


# --- one request or many

@pytest.mark.parametrize('size, kinds', [
    (0, 'insert'), (1, 'insert'), (CHUNK - 1, 'insert'), (CHUNK, 'insert'),
    (CHUNK + 1, 'start chunk chunk'), (2 * CHUNK - 1, 'start chunk chunk'),
    (2 * CHUNK, 'start chunk chunk'), (2 * CHUNK + 1, 'start chunk chunk chunk')])
@pytest.mark.parametrize('pieces', ['at once', 'in pieces'])
def test_a_small_object_takes_one_request_and_a_large_one_its_chunks(
        server, driver, size, kinds, pieces):
    data = pattern(size)
    if pieces == 'at once':
        put(driver, 'name', data)
    else:
        write(driver, 'name', data)
    assert stored(server) == data and read(driver, 'name') == data
    uploads = server.of('insert|start|chunk|status')
    assert [seen.kind for seen in uploads] == kinds.split()
    assert all(seen.size == CHUNK for seen in server.of('chunk')[:-1])


def test_uploads_that_go_to_another_host_keep_their_connections(server, driver):
    """As where endpoint is a private address, and the service answers with its public one."""
    def elsewhere(request, answer):
        response = answer(request)
        response.headers['Location'] = response.headers['Location'].replace(
            '127.0.0.1', 'localhost')
        return response

    server.fail('start', elsewhere, times=None)
    for number in range(5):
        put(driver, f'{number}', LARGE)
    assert server.connections == 2


def test_a_forked_process_has_connections_of_its_own(server, driver):
    """Answers would else be read by whichever process is faster."""
    put(driver, 'parent', SMALL)
    child = os.fork()
    if not child:
        try:
            put(driver, 'child', SMALL)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    put(driver, 'again', SMALL)
    assert sorted(driver.get_container_entries(BOX, '')) == ['again', 'child', 'parent']
    assert server.connections == 2


def test_a_chunk_size_of_many_units(server, make_driver):
    driver, data = make_driver(server.url, resumable_chunk_size=3 * CHUNK), pattern(7 * CHUNK + 1)
    put(driver, 'name', data)
    assert stored(server) == data
    assert [seen.size for seen in server.of('chunk')] == [3 * CHUNK, 3 * CHUNK, CHUNK + 1]


@pytest.mark.parametrize('data', [SMALL, LARGE], ids=['small', 'large'])
def test_every_upload_is_conditional_and_tells_its_checksum(server, driver, data):
    put(driver, 'name', data)
    first, = server.of('insert|start')
    assert first.query['ifGenerationMatch'] == '0'
    server.storage.objects[BUCKET].clear()
    server.fail('insert|chunk', flip_last_upload)
    with pytest.raises(exceptions.StoreError):
        write(driver, 'name', data)
    assert stored(server) is None and server.count('delete') == 0, 'they were stored for a while'
    server.fail('insert|chunk', flip_last_upload)
    put(driver, 'name', data)
    assert stored(server) == data, 'the framework did not send them again'


def flip_last_upload(request, answer):
    """One bit of what is uploaded changes on its way."""
    middle = len(request.body) * 3 // 4
    request.body = (request.body[:middle] + bytes([request.body[middle] ^ 1])
                    + request.body[middle + 1:])
    return answer(request)


@pytest.mark.parametrize('data', [SMALL, LARGE], ids=['small', 'large'])
def test_storage_class_and_key_reach_the_service(server, make_driver, data):
    key = 'projects/p/locations/l/keyRings/r/cryptoKeys/k'
    driver = make_driver(server.url, storage_class='COLDLINE', kms_key_name=key)
    put(driver, 'name', data)
    properties = server.storage.objects[BUCKET][NAME].properties
    assert (properties['storageClass'], properties['kmsKeyName']) == ('COLDLINE', key)


def test_location_and_storage_class_reach_a_bucket_that_is_made(server, make_driver):
    driver = make_driver(server.url, bucket='new', project='ours', location='europe-west3',
                         storage_class='NEARLINE')
    driver.put_container(BOX)
    put(driver, 'name', SMALL)
    made = server.storage.buckets['new']
    assert (made['location'].lower(), made['storageClass']) == ('europe-west3', 'NEARLINE')
    assert server.of('make-bucket')[0].query['project'] == 'ours'


# --- memory

def test_memory_is_bounded_by_connections_and_chunk(fake_gcs, make_driver):
    """The server is another process, so that what is measured is the client's."""
    chunk, connections, size = 1 << 20, 3, 12 << 20
    driver = make_driver(fake_gcs.url, resumable_chunk_size=chunk, connections=connections,
                         bucket='memory')
    driver.put_container(BOX)
    piece = pattern(chunk // 2)

    def upload(number: int) -> None:
        with driver.get_object_writer(BOX, f'name-{number}') as writer:
            for _ in range(size // len(piece)):
                writer.write(piece)

    upload(0)
    tracemalloc.start()
    try:
        with futures.ThreadPoolExecutor(connections) as pool:
            list(pool.map(upload, range(1, 1 + connections)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    held = driver.capabilities().writer_buffer
    assert held <= 2 * chunk
    assert peak <= connections * (held + chunk) + chunk, 'memory grows with the object'
    assert driver.object_size(BOX, 'name-1') == size


# --- the service's answer is not believed

@pytest.mark.parametrize('fault', [
    misbehaving.with_json(size='999'), misbehaving.with_json(size=None),
    misbehaving.with_json(size='many'), misbehaving.with_json(crc32c='AAAAAA=='),
    misbehaving.with_json(crc32c=None), misbehaving.html(200),
    misbehaving.instead(misbehaving.Response(200, {'Content-Type': 'application/json'}, b'[]'))],
    ids=['size', 'no size', 'odd size', 'crc32c', 'no crc32c', 'html', 'list'])
@pytest.mark.parametrize('data, kind, at', [(SMALL, 'insert', 1), (LARGE, 'chunk', 3)],
                         ids=['small', 'large'])
def test_an_upload_is_done_only_when_size_and_checksum_say_so(server, driver, fault, data, kind,
                                                              at):
    server.fail(kind, fault, at=at)
    with pytest.raises(exceptions.StoreError):
        write(driver, 'name', data)
    server.behave()
    put(driver, 'name', data)
    assert stored(server) == data
    server.storage.objects[BUCKET].clear()
    server.fail(kind, fault, at=at)
    put(driver, 'name', data)
    assert stored(server) == data, 'the framework did not get over one wrong answer'


# --- a name that is taken

@pytest.mark.parametrize('early', [False, True], ids=['judged at the end', 'judged at once'])
@pytest.mark.parametrize('data, last', [(SMALL, 'insert'), (LARGE, 'chunk')],
                         ids=['small', 'large'])
class TestATakenName:

    def test_by_equal_bytes_is_fine(self, server, driver, data, last, early):
        server.storage.checks_early = early
        there = server.storage.put(BUCKET, NAME, data)
        write(driver, 'name', data)
        assert server.storage.objects[BUCKET][NAME] is there, 'it was replaced'

    @pytest.mark.parametrize('other', [
        lambda data: data[:-1], lambda data: data + b'!', lambda data: data[:-1] + b'\0',
        lambda data: b''], ids=['shorter', 'longer', 'other', 'empty'])
    def test_by_other_bytes_is_refused(self, server, driver, data, last, early, other):
        server.storage.checks_early = early
        there = server.storage.put(BUCKET, NAME, other(data))
        with pytest.raises(exceptions.ObjectExists):
            put(driver, 'name', data)
        assert server.storage.objects[BUCKET][NAME] is there, 'it was replaced'

    def test_after_a_lost_answer_by_ourselves(self, server, driver, data, last, early):
        server.storage.checks_early = early
        server.fail(last, misbehaving.lost, at=1 if last == 'insert' else 3)
        put(driver, 'name', data)
        assert stored(server) == data
        assert server.count('insert|start') == 2 and server.count('delete') == 0

    def test_after_a_lost_answer_by_somebody_else(self, server, driver, data, last, early):
        server.storage.checks_early = early

        def overtaken(request, answer):
            server.storage.put(BUCKET, NAME, b'of somebody else')
            return misbehaving.lost(request, answer)

        server.fail(last, overtaken, at=1 if last == 'insert' else 3)
        with pytest.raises(exceptions.ObjectExists):
            put(driver, 'name', data)
        assert stored(server) == b'of somebody else'

    def test_and_free_again_when_it_is_looked_at(self, server, driver, data, last, early):
        server.storage.checks_early = early
        server.fail('insert|start', misbehaving.status(412, 'conditionNotMet'))
        put(driver, 'name', data)
        assert stored(server) == data

    def test_cannot_be_looked_at(self, server, driver, data, last, early):
        """Comparing takes a permission of its own; without it nothing is taken for stored."""
        server.storage.checks_early = early
        server.storage.put(BUCKET, NAME, data)
        server.fail('metadata|media', misbehaving.forbidden, times=None)
        with pytest.raises(exceptions.PermissionDenied):
            put(driver, 'name', data)


# --- resumable uploads

def ranges(server: misbehaving.Server) -> list[str]:
    return [seen.headers['content-range'].removeprefix('bytes ') for seen in server.of('chunk')]


def test_what_the_service_did_not_keep_is_sent_again(server, make_driver):
    driver, data = make_driver(server.url, resumable_chunk_size=2 * CHUNK), pattern(4 * CHUNK + 1)
    server.fail('chunk', misbehaving.keep_nothing)
    server.fail('chunk', misbehaving.keep_only(CHUNK), at=2)
    write(driver, 'name', data)
    assert stored(server) == data
    assert ranges(server) == [
        f'0-{2 * CHUNK - 1}/*', f'0-{2 * CHUNK - 1}/*', f'{CHUNK}-{2 * CHUNK - 1}/*',
        f'{2 * CHUNK}-{4 * CHUNK - 1}/*', f'{4 * CHUNK}-{4 * CHUNK}/{4 * CHUNK + 1}']


def test_of_the_last_chunk_too(server, make_driver):
    driver, data = make_driver(server.url, resumable_chunk_size=2 * CHUNK), pattern(4 * CHUNK)
    server.fail('chunk', misbehaving.keep_only(CHUNK), at=2)
    write(driver, 'name', data)
    assert stored(server) == data
    assert ranges(server)[-1] == f'{3 * CHUNK}-{4 * CHUNK - 1}/{4 * CHUNK}'


@pytest.mark.parametrize('fault', [
    misbehaving.keep_nothing, misbehaving.more_range(CHUNK), misbehaving.more_range(-1),
    misbehaving.with_header('Range', 'bytes=5-9'), misbehaving.with_header('Range', 'nonsense'),
    misbehaving.with_header('Range', 'bytes=0-' + '9' * 30)],
    ids=['nothing', 'too much', 'one too few', 'another start', 'nonsense', 'endless'])
@pytest.mark.parametrize('at', [1, 2])
def test_an_upload_that_gets_nowhere_ends(server, driver, fault, at):
    server.fail('chunk', fault, at=at, times=None)
    with pytest.raises(exceptions.StoreUnavailable):
        write(driver, 'name', LARGE)
    assert server.count('chunk') < 12
    assert stored(server) is None


@pytest.mark.parametrize('fault', [
    misbehaving.gone, misbehaving.status(404, 'notFound'), misbehaving.status(503),
    misbehaving.status(429, 'rateLimitExceeded'), misbehaving.reset, misbehaving.html(502)],
    ids=['410', '404', '503', '429', 'reset', 'html'])
@pytest.mark.parametrize('at', [1, 2, 3])
def test_a_lost_session_is_begun_again_by_the_framework(server, driver, fault, at):
    server.fail('chunk', fault, at=at)
    with pytest.raises(exceptions.StoreUnavailable):
        write(driver, 'name', LARGE)
    assert server.count('chunk') == at, 'the driver itself tried again'
    assert stored(server) is None
    server.fail('chunk', fault, at=at)
    put(driver, 'name', LARGE)
    assert stored(server) == LARGE


def test_a_session_that_ends_before_its_end(server, driver):
    """The service takes a chunk in the middle for the last one: what it made is not our object."""
    def ended(request, answer):
        first = request.headers['content-range'].removeprefix('bytes ').partition('/')[0]
        request.headers['content-range'] = f'bytes {first}/{CHUNK}'
        return answer(request)

    server.fail('chunk', ended)
    with pytest.raises(exceptions.StoreUnavailable):
        write(driver, 'name', LARGE)
    assert stored(server) is None, 'half an object is left'


@pytest.mark.parametrize('location', [None, 'nonsense', 'file:///etc/passwd'])
def test_a_session_without_a_place(server, driver, location):
    fault = (misbehaving.without('Location') if location is None
             else misbehaving.with_header('Location', location))
    server.fail('start', fault)
    with pytest.raises(exceptions.StoreUnavailable):
        write(driver, 'name', LARGE)


# --- writers that do not end well

@pytest.mark.parametrize('error', [Interrupted, KeyboardInterrupt, exceptions.StoreUnavailable])
@pytest.mark.parametrize('size', [0, 1000, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_a_cancelled_writer_leaves_neither_object_nor_session(server, driver, error, size):
    with pytest.raises(error):
        with driver.get_object_writer(BOX, 'name') as writer:
            writer.write(pattern(size))
            raise error('left')
    assert stored(server) is None
    sessions = server.storage.sessions.values()
    assert len(sessions) == (1 if size > CHUNK else 0)
    assert all(session.done and session.done.status == 499 for session in sessions)


@pytest.mark.parametrize('fault', [
    misbehaving.status(503), misbehaving.forbidden, misbehaving.reset, misbehaving.html(200)],
    ids=['503', '403', 'reset', 'html'])
def test_a_failed_cancel_does_not_hide_why(server, driver, fault):
    server.fail('cancel', fault)
    with pytest.raises(Interrupted):
        with driver.get_object_writer(BOX, 'name') as writer:
            writer.write(LARGE)
            raise Interrupted
    assert server.count('cancel') == 1


def test_a_failed_upload_is_cancelled(server, driver):
    server.fail('chunk', misbehaving.status(503), at=2)
    with contextlib.suppress(exceptions.StoreUnavailable):
        write(driver, 'name', LARGE)
    session, = server.storage.sessions.values()
    assert session.done and session.done.status == 499


def test_the_framework_waits_before_it_begins_again(server, driver):
    pauses = Pauses()
    server.fail('chunk', misbehaving.status(503, Retry_After='7'), times=2)
    container(driver, pauses).put('name', lambda: [LARGE])
    assert len(pauses) == 2 and min(pauses) >= 7
    assert stored(server) == LARGE and server.count('start') == 3
