"""Which error comes of which answer, and what a verb does about it: nothing, but tell."""

from __future__ import annotations

import contextlib

import pytest

from backup_framework import exceptions
from backup_framework.exceptions import (
    ContainerNotFound,
    ObjectNotFound,
    PermissionDenied,
    StoreError,
    StoreUnavailable,
)
from backup_framework.testing import resources
from plugins.gcs.tests import messages, misbehaving
from plugins.gcs.tests.conftest import BUCKET, CHUNK
from plugins.gcs.tests.objects import BOX, read, write
from tests.patience import soon

VERBS = {
    'put_container': lambda driver: driver.put_container(BOX),
    'list': lambda driver: list(driver.get_container_entries(BOX, '')),
    'containers': lambda driver: list(driver.list_containers()),
    'write small': lambda driver: write(driver, 'new', b'data'),
    'write large': lambda driver: write(driver, 'new', bytes(CHUNK + 1)),
    'read': lambda driver: read(driver, 'name'),
    'size': lambda driver: driver.object_size(BOX, 'name'),
    'delete': lambda driver: driver.delete_object(BOX, 'name'),
    'delete many': lambda driver: driver.delete_objects(BOX, ['name', 'other']),
    'clock': lambda driver: driver.clock(),
    'check': lambda driver: driver.check_for_setup_error(),
}

each_verb = pytest.mark.parametrize('verb', VERBS.values(), ids=VERBS.keys())

FAULTS = {
    '400': (misbehaving.status(400, 'invalid'), StoreError),
    '401': (misbehaving.status(401, 'authError', 'Invalid Credentials'), PermissionDenied),
    '403': (misbehaving.forbidden, PermissionDenied),
    '403 accountDisabled': (misbehaving.status(403, 'accountDisabled'), PermissionDenied),
    '403 rateLimitExceeded': (misbehaving.status(403, 'rateLimitExceeded'), StoreUnavailable),
    '403 userRateLimitExceeded': (
        misbehaving.status(403, 'userRateLimitExceeded'), StoreUnavailable),
    '403 in plain text': (
        misbehaving.instead(messages.Response(403, {}, b'go away')), PermissionDenied),
    '408': (misbehaving.status(408, 'requestTimeout'), StoreUnavailable),
    '429': (misbehaving.status(429, 'rateLimitExceeded'), StoreUnavailable),
    '500': (misbehaving.status(500), StoreUnavailable),
    '502 html': (misbehaving.html(502), StoreUnavailable),
    '503': (misbehaving.status(503), StoreUnavailable),
    '504': (misbehaving.status(504, 'gatewayTimeout'), StoreUnavailable),
    'a redirection': (misbehaving.instead(messages.Response(
        302, {'Location': 'http://127.0.0.1:9/'})), StoreError),
    'reset': (misbehaving.reset, StoreUnavailable),
}


@pytest.fixture(autouse=True)
def stored(server):
    for name in ('name', 'other'):
        server.storage.put(BUCKET, f'{BOX}/{name}', b'data')


# --- classes

@each_verb
@pytest.mark.parametrize('fault, error', FAULTS.values(), ids=FAULTS.keys())
def test_the_class_of_an_error(server, driver, verb, fault, error):
    server.fail('.*', fault, times=None)
    with pytest.raises(StoreError) as caught:
        verb(driver)
    assert type(caught.value) is error, caught.value
    assert caught.value.retryable == (error is StoreUnavailable)
    assert BUCKET in str(caught.value) and len(str(caught.value)) < 600
    if fault is not FAULTS['400'][0]:  # which is also how a service without batches answers
        assert server.count() == 1, [seen.path for seen in server.seen]


@each_verb
@pytest.mark.parametrize('body', [b'<html>', b'', b'[]', b'null', b'"text"', b'{"items": 3}',
                                  b'\xff\xfe', b'{' * 1000], ids=repr)
def test_nonsense_is_a_store_error(server, driver, verb, body):
    answer = messages.Response(200, {'Content-Type': 'application/json'}, body)
    server.fail('.*', misbehaving.instead(answer), times=None)
    try:
        verb(driver)
    except StoreError as error:
        assert BUCKET in str(error) and len(str(error)) < 600


@pytest.mark.parametrize('verb', ['check', 'put_container', 'clock', 'list'])
def test_a_page_of_another_program_is_no_bucket(server, driver, verb):
    """As of a hotel's network, or of an endpoint that is something else."""
    server.fail('.*', misbehaving.html(200), times=None)
    with pytest.raises(StoreError):
        VERBS[verb](driver)


@each_verb
def test_an_answer_that_does_not_come(server, make_driver, verb):
    driver = make_driver(server.url, timeout=0.3, connect_timeout=0.3)
    server.fail('.*', misbehaving.stall, times=None)

    def ask_in_vain():
        with pytest.raises(StoreUnavailable):
            verb(driver)

    soon(ask_in_vain, 5)


@each_verb
@pytest.mark.parametrize('at', ['closed port', 'odd name'])
def test_no_server_at_all(make_driver, verb, at):
    url = 'http://127.0.0.1:9' if at == 'closed port' else 'http://no-such-host.invalid'
    with pytest.raises(StoreUnavailable):
        verb(make_driver(url, connect_timeout=2.0))


@pytest.mark.parametrize('verb, error', [
    ('list', ContainerNotFound), ('write small', ContainerNotFound),
    ('write large', ContainerNotFound), ('check', ContainerNotFound),
    ('containers', ContainerNotFound), ('clock', ContainerNotFound)])
def test_a_missing_bucket(server, make_driver, verb, error):
    with pytest.raises(error, match='bucket missing'):
        VERBS[verb](make_driver(server.url, bucket='missing'))
    assert 'missing' not in server.storage.buckets


@pytest.mark.parametrize('verb', ['read', 'size'])
def test_a_missing_object(server, make_driver, driver, verb):
    server.storage.objects[BUCKET].clear()
    with pytest.raises(ObjectNotFound):
        VERBS[verb](driver)
    with pytest.raises((ObjectNotFound, ContainerNotFound)):
        VERBS[verb](make_driver(server.url, bucket='missing'))


@pytest.mark.parametrize('verb', ['delete', 'delete many'])
def test_deleting_in_a_missing_bucket_is_fine(server, make_driver, verb):
    VERBS[verb](make_driver(server.url, bucket='missing'))


# --- what the errors say

@pytest.mark.parametrize('header, wait', [
    ('7', 7), ('0', 0), ('', None), ('soon', None), ('-5', None), ('1e9', None),
    ('Wed, 21 Oct 2015 07:28:00 GMT', 0), ('Fri, 01 Jan 2999 00:00:00 GMT', 3600),
    ('99999999999999', 3600)])
@pytest.mark.parametrize('status', [429, 503])
def test_how_long_to_wait(server, driver, status, header, wait):
    server.fail('delete', misbehaving.status(status, Retry_After=header))
    with pytest.raises(StoreUnavailable) as caught:
        driver.delete_object(BOX, 'name')
    assert caught.value.retry_after == wait


@each_verb
def test_a_refusal_names_the_permission(server, driver, verb):
    server.fail('.*', misbehaving.forbidden, times=None)
    with pytest.raises(PermissionDenied, match=r'storage\.(objects|buckets)\.\w+'):
        verb(driver)


def test_what_is_held_by_a_policy_is_said(server, driver):
    server.fail('delete', misbehaving.held, times=None)
    with pytest.raises(PermissionDenied, match='held.*retention.*2033-05-18'):
        driver.delete_object(BOX, 'name')
    with pytest.raises(PermissionDenied, match='held.*retention'):
        driver.delete_objects(BOX, ['name', 'other'])


def test_text_from_outside_is_bounded_and_printable(server, driver):
    server.fail('delete', misbehaving.status(400, 'invalid', '\x1b[31m' + 'long ' * 10_000))
    with pytest.raises(StoreError) as caught:
        driver.delete_object(BOX, 'name')
    assert '\x1b' not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize('kind, fault, verb', [
    ('chunk', misbehaving.reset, 'write large'), ('media', misbehaving.reset, 'read'),
    ('start', misbehaving.with_header('Location', 'http://127.0.0.1:9/?upload_id=session-1'),
     'write large')], ids=['upload', 'download', 'moved'])
def test_errors_tell_no_upload_ids_and_know_their_object(server, driver, kind, fault, verb):
    server.fail(kind, fault)
    with pytest.raises(StoreUnavailable) as caught:
        VERBS[verb](driver)
    assert 'upload_id' not in str(caught.value) and 'session-' not in str(caught.value)
    assert (caught.value.container, caught.value.name) == (
        BOX, 'name' if verb == 'read' else 'new')


# --- buckets that are made

def test_a_bucket_is_made_once(server, make_driver):
    driver = make_driver(server.url, bucket='new')
    for _ in range(3):
        driver.put_container(BOX)
    assert server.count('make-bucket') == 1 and 'new' in server.storage.buckets
    assert server.count('list') == 1, 'it is looked for again and again'


def test_a_bucket_that_another_made_meanwhile(server, make_driver):
    driver = make_driver(server.url, bucket='new')

    def overtaken(request, answer):
        server.storage.add_bucket('new')
        return answer(request)

    server.fail('make-bucket', overtaken)
    driver.put_container(BOX)


def test_a_bucket_of_somebody_else(server, make_driver):
    """Names of buckets are the world's: this one is taken, and cannot be seen."""
    driver = make_driver(server.url, bucket='taken')
    server.fail('list|bucket', misbehaving.forbidden, times=None)
    with pytest.raises(PermissionDenied):
        driver.put_container(BOX)
    assert server.count('make-bucket') == 0


def test_a_bucket_that_somebody_else_made_meanwhile(server, make_driver):
    server.fail('make-bucket', misbehaving.status(409, 'conflict'))
    server.fail('list', misbehaving.forbidden, at=2)
    with pytest.raises(PermissionDenied):
        make_driver(server.url, bucket='taken').put_container(BOX)


def test_a_bucket_that_may_not_be_made(server, make_driver):
    server.fail('make-bucket', misbehaving.forbidden)
    with pytest.raises(PermissionDenied, match=r'storage\.buckets\.create'):
        make_driver(server.url, bucket='new').put_container(BOX)


@pytest.mark.parametrize('container', ['Upper', 'a', '-ab', 'ab-', 'with blank', 'ö' * 5, 'x' * 64])
def test_containers_that_no_bucket_can_be_called_after(server, make_driver, container):
    """With layout = bucket; such a name is no outage, and is not asked for again and again."""
    driver = make_driver(server.url, layout='bucket')
    server.fail('make-bucket|list', misbehaving.status(400, 'invalid'), times=None)
    for verb in (lambda: driver.put_container(container),
                 lambda: list(driver.get_container_entries(container, ''))):
        with pytest.raises(StoreError) as caught:
            verb()
        assert not caught.value.retryable, caught.value


# --- after many failures

@pytest.mark.parametrize('fault', [misbehaving.status(503), misbehaving.reset,
                                   misbehaving.cut(1), misbehaving.forbidden],
                         ids=['503', 'reset', 'cut', '403'])
def test_200_failures_leave_nothing_open(fault, make_driver):
    before = resources.held()
    if before is None:
        pytest.skip('this system has no /proc, which tells what a process holds')
    with misbehaving.server(BUCKET) as server:
        driver = make_driver(server.url)
        server.storage.put(BUCKET, f'{BOX}/name', bytes(CHUNK))
        verbs = [VERBS[verb] for verb in ('list', 'write small', 'write large', 'read', 'delete')]

        def failures(count: int) -> None:
            with server.failing('.*', fault):
                for number in range(count):
                    with contextlib.suppress(StoreError):
                        verbs[number % len(verbs)](driver)

        failures(10)
        after_few = resources.held()
        assert after_few
        failures(200)
        assert not resources.more_than(after_few, 5.0), 'it grows with the failures'
        driver.close()
    assert not resources.more_than(before, 5.0), 'a closed driver holds something'


def test_a_driver_that_was_closed_works_again(server, driver):
    assert read(driver, 'name') == b'data'
    driver.close()
    assert read(driver, 'name') == b'data'


def test_no_error_is_anything_but_the_framework_s(server, driver):
    """The contract's own words for what a name may not be, at the border of the driver."""
    for name in ('a\nb', 'a\rb', 'x' * 1100):
        with pytest.raises(exceptions.StoreError):
            write(driver, name, b'data')
