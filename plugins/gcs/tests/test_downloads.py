"""Reading objects: whole and in part, one generation, every byte that was promised, checked."""

from __future__ import annotations

import contextlib

import pytest

from backup_framework import exceptions
from backup_framework.testing.bench import pattern
from plugins.gcs.tests import misbehaving
from plugins.gcs.tests.conftest import BUCKET
from plugins.gcs.tests.objects import BOX, Pauses, container, read
from tests.patience import soon

DATA = pattern(300_000)
NAME = f'{BOX}/name'


@pytest.fixture(autouse=True)
def stored(server):
    return server.storage.put(BUCKET, NAME, DATA)


# --- what is asked for

def test_a_whole_object_takes_one_request(server, driver):
    assert read(driver, 'name') == DATA
    assert [seen.kind for seen in server.seen] == ['media']


def test_an_object_of_no_bytes(server, driver):
    server.storage.put(BUCKET, NAME, b'')
    assert read(driver, 'name') == b''
    with driver.get_object_reader(BOX, 'name') as reader:
        reader.seek(0)
        assert reader.read() == b'' and reader.read(5) == b''


def test_a_part_takes_only_its_bytes(server, driver):
    with driver.get_object_reader(BOX, 'name') as reader:
        reader.seek(200_000)
        assert reader.read(1000) == DATA[200_000:201_000]
        reader.seek(10)
        assert reader.read(5) == DATA[10:15]
    assert [seen.headers.get('range', '').partition('-')[0] for seen in server.of('media')] == [
        'bytes=200000', 'bytes=10']


@pytest.mark.parametrize('at', [len(DATA), len(DATA) + 1, 10 * len(DATA)])
def test_behind_the_end_is_nothing(driver, at):
    with driver.get_object_reader(BOX, 'name') as reader:
        reader.seek(at)
        assert reader.read(10) == b'' and reader.read() == b''
        reader.seek(len(DATA) - 1)
        assert reader.read(10) == DATA[-1:]


@pytest.mark.parametrize('opened', ['read', 'seek'])
def test_all_reads_are_of_one_generation(server, driver, opened):
    """Never the beginning of one object and the end of another, of the same size too."""
    with driver.get_object_reader(BOX, 'name') as reader:
        if opened == 'seek':
            reader.seek(100)
        reader.read(10)
        server.storage.put(BUCKET, NAME, pattern(len(DATA), seed=1))
        reader.seek(200_000)
        with pytest.raises(exceptions.StoreError):
            reader.read(10)
    generations = [seen.query.get('generation') for seen in server.of('media')]
    assert generations[0] is None and generations[1] is not None
    assert read(driver, 'name') == pattern(len(DATA), seed=1)


def test_readers_that_stop_early_keep_no_connection(server, driver):
    for _ in range(30):
        with driver.get_object_reader(BOX, 'name') as reader:
            reader.read(10)
    assert read(driver, 'name') == DATA
    before = server.connections
    for _ in range(30):
        assert read(driver, 'name') == DATA
    assert server.connections <= before + 1, 'whole reads do not share connections'


# --- bodies that end too early

@pytest.mark.parametrize('length', [0, 1, 99_999, 100_000, len(DATA) - 2])
@pytest.mark.parametrize('honest', [True, False], ids=['cut', 'short'])
@pytest.mark.parametrize('stored_length', [True, False], ids=['told', 'not told'])
@pytest.mark.parametrize('start', [0, 1])
def test_a_short_body_is_never_an_end(server, driver, length, honest, stored_length, start):
    """`cut`: less than Content-Length says. `short`: Content-Length is wrong as well.

    A body that begins with byte 0, with a wrong length in all its headers, is told by its checksum;
    a part that does, by its Content-Range.
    """
    server.fail('media', misbehaving.cut(length, honest=honest, stored_length=stored_length))
    with pytest.raises(exceptions.StoreError) as caught:
        with driver.get_object_reader(BOX, 'name') as reader:
            reader.seek(start)
            while reader.read(100_000):
                pass
    if honest or stored_length or start:
        assert isinstance(caught.value, exceptions.StoreUnavailable)


@pytest.mark.parametrize('fault', [
    misbehaving.cut(120_000), misbehaving.reset, misbehaving.status(503), misbehaving.html(502)],
    ids=['cut', 'reset', '503', 'html'])
def test_the_framework_goes_on_where_a_body_ended(server, driver, fault):
    server.fail('media', fault, times=2)
    with container(driver).open('name') as reader:
        assert b''.join(iter(lambda: reader.read(50_000), b'')) == DATA
    assert server.count('media') == 3


@pytest.mark.parametrize('fault', [
    misbehaving.cut(120_000), misbehaving.with_header('x-goog-stored-content-length', '5')],
    ids=['cut', 'nonsense'])
def test_a_reader_that_failed_goes_on_where_it_was(server, driver, fault):
    server.fail('media', fault)
    found = b''
    with driver.get_object_reader(BOX, 'name') as reader:
        with pytest.raises(exceptions.StoreUnavailable):
            while piece := reader.read(50_000):
                found += piece
        assert found + reader.read() == DATA


def test_a_body_that_does_not_come(server, make_driver):
    driver = make_driver(server.url, timeout=0.3)

    def read_in_vain():
        server.fail('media', misbehaving.stall)
        with pytest.raises(exceptions.StoreUnavailable, match='in time'):
            read(driver, 'name')

    soon(read_in_vain, 5)


# --- bytes that are not those that were stored

@pytest.mark.parametrize('fault', [
    misbehaving.other_bytes,
    misbehaving.with_header('x-goog-hash', 'crc32c=AAAAAA==,md5=1B2M2Y8AsgTpgAmY7PhCfg==')],
    ids=['body', 'header'])
@pytest.mark.parametrize('piece', [-1, 100_000, len(DATA)])
def test_bytes_and_checksum_that_differ_are_not_read_to_their_end(server, driver, fault, piece):
    server.fail('media', fault)
    with pytest.raises(exceptions.StoreError):
        with driver.get_object_reader(BOX, 'name') as reader:
            while reader.read(piece):
                pass


@pytest.mark.parametrize('header', [None, '', 'md5=1B2M2Y8AsgTpgAmY7PhCfg==', 'crc32c=',
                                    'crc32c=nonsense'])
def test_a_missing_checksum_is_never_taken_for_a_good_one(server, driver, header):
    fault = (misbehaving.without('x-goog-hash') if header is None
             else misbehaving.with_header('x-goog-hash', header))
    server.fail('media', fault, times=None)
    with contextlib.suppress(exceptions.StoreError):
        assert read(driver, 'name') == DATA
    server.fail('media', misbehaving.other_bytes, times=None)
    with pytest.raises(exceptions.StoreError):
        read(driver, 'name')
    server.fail('metadata', misbehaving.with_json(crc32c=None), times=None)
    with pytest.raises(exceptions.StoreError):
        read(driver, 'name')


def test_a_checksum_of_another_generation_is_no_use(server, driver):
    """No header, and the object is replaced before its checksum is asked for."""
    server.fail('media', misbehaving.without('x-goog-hash'))
    server.fail('media', misbehaving.other_bytes)
    replacing = DATA[:150_000] + bytes([DATA[150_000] ^ 1]) + DATA[150_001:]

    def replaced(request, answer):
        server.storage.put(BUCKET, NAME, replacing)
        return answer(request)

    server.fail('metadata', replaced)
    with pytest.raises(exceptions.StoreError):
        read(driver, 'name')


def another_part(asked: str) -> misbehaving.Fault:
    """The service sends this part, and says so."""
    def fault(request, answer):
        request.headers['range'] = asked
        return answer(request)
    return fault


@pytest.mark.parametrize('asked', ['bytes=0-', 'bytes=99-', 'bytes=101-', 'bytes=100-299998'])
def test_another_part_than_was_asked_for(server, driver, asked):
    server.fail('media', another_part(asked))
    with pytest.raises(exceptions.StoreUnavailable):
        with driver.get_object_reader(BOX, 'name') as reader:
            reader.seek(100)
            reader.read()


@pytest.mark.parametrize('fault', [
    misbehaving.with_header('Content-Range', 'bytes 0-299998/299999'),
    misbehaving.with_header('Content-Range', 'bytes 100-299999/400000'),
    misbehaving.with_header('Content-Range', 'bytes 99-299998/300000'),
    misbehaving.with_header('Content-Range', 'nonsense'),
    misbehaving.without('Content-Range'),
    misbehaving.instead(misbehaving.Response(200, {}, DATA)),
    misbehaving.instead(misbehaving.Response(204)),
    misbehaving.instead(misbehaving.Response(416, {}, b''))],
    ids=['another part', 'another size', 'one early', 'nonsense', 'missing', 'the whole',
         'nothing', 'refused'])
def test_a_part_that_is_said_to_be_another(server, driver, fault):
    server.fail('media', fault)
    with pytest.raises(exceptions.StoreError):
        with driver.get_object_reader(BOX, 'name') as reader:
            reader.seek(100)
            reader.read(100)


@pytest.mark.parametrize('start', [0, 1])
def test_a_body_that_goes_on_behind_its_end(server, driver, start):
    def longer(request, answer):
        response = answer(request)
        response.body += b'more'
        return response

    server.fail('media', longer)
    with pytest.raises(exceptions.StoreUnavailable):
        with driver.get_object_reader(BOX, 'name') as reader:
            reader.seek(start)
            reader.read()


# --- what the framework does with it

def test_the_framework_waits_as_long_as_it_was_asked(server, driver):
    pauses = Pauses()
    server.fail('media', misbehaving.status(429, 'rateLimitExceeded', Retry_After='11'), times=2)
    assert container(driver, pauses).get('name', 1 << 20) == DATA
    assert len(pauses) == 2 and min(pauses) >= 11


def test_a_missing_object_is_not_asked_for_again(server, driver):
    pauses = Pauses()
    with pytest.raises(exceptions.ObjectNotFound):
        container(driver, pauses).get('missing', 1 << 20)
    assert not pauses and server.count('media') == 1
