"""Listing every page, whatever the pages look like, and deleting many objects in few requests."""

from __future__ import annotations

import itertools
import urllib.parse

import pytest

from backup_framework import exceptions
from plugins.gcs.tests import messages, misbehaving
from plugins.gcs.tests.conftest import BUCKET
from plugins.gcs.tests.objects import BOX, Pauses, container

NAMES = [f'page-{number:05}' for number in range(2500)]


def fill(server: misbehaving.Server, names: list[str], box: str = BOX) -> None:
    for name in names:
        server.storage.put(BUCKET, f'{box}/{name}', b'x')


def left(server: misbehaving.Server) -> list[str]:
    return [name.removeprefix(f'{BOX}/') for name in server.storage.objects[BUCKET]]


def listed(driver, prefix: str = '', box: str = BOX) -> list[str]:
    return list(driver.get_container_entries(box, prefix))


# --- pages

@pytest.mark.parametrize('page, requests', [(1000, 3), (1250, 3), (500, 5), (499, 6)])
def test_every_page_is_followed(server, driver, page, requests):
    fill(server, NAMES)
    server.storage.page = page
    assert sorted(listed(driver)) == NAMES
    assert server.count('list') == requests


@pytest.mark.parametrize('size', [0, 1, 9, 10, 11, 20])
def test_pages_that_are_just_full(server, driver, size):
    fill(server, NAMES[:size])
    server.storage.page = 10
    assert sorted(listed(driver)) == NAMES[:size]


def test_only_this_container_and_prefix(server, driver):
    for box in (BOX, f'{BOX}2', f'{BOX}-', f'{BOX}/sub', 'bo'):
        fill(server, ['a-1', 'a-2', 'b-1', 'ä'], box)
    server.storage.page = 2
    assert sorted(listed(driver, 'a-')) == ['a-1', 'a-2']
    assert sorted(listed(driver)) == ['a-1', 'a-2', 'b-1', 'sub/a-1', 'sub/a-2', 'sub/b-1',
                                      'sub/ä', 'ä']
    assert listed(driver, 'ä') == ['ä']


def test_a_prefix_of_the_store_is_kept_out_of_names(server, make_driver):
    driver = make_driver(server.url, prefix='some/where')
    fill(server, ['a'], f'some/where/{BOX}')
    fill(server, ['b'])
    fill(server, ['c'], f'some/where-else/{BOX}')
    assert listed(driver) == ['a']
    assert list(driver.list_containers()) == [BOX]


@pytest.mark.parametrize('fault', [
    misbehaving.listing(lambda items: items[::-1]),
    misbehaving.listing(lambda items: items + items),
    misbehaving.listing(lambda items: [item for item in items for _ in range(2)]),
    misbehaving.empty_page],
    ids=['unordered', 'doubled', 'each twice', 'empty page'])
def test_each_name_once_however_pages_look(server, driver, fault):
    fill(server, NAMES[:95])
    server.storage.page = 10
    server.fail('list', fault, at=2, times=4)
    found = listed(driver)
    assert sorted(found) == NAMES[:95]


def test_pages_that_overlap(server, driver):
    """A name on two pages, as when objects are made while a listing goes on."""
    fill(server, NAMES[:40])
    server.storage.page = 10

    def again(items):
        return [{'name': f'{BOX}/{NAMES[0]}'}, *items]

    server.fail('list', misbehaving.listing(again), times=None)
    assert sorted(listed(driver)) == NAMES[:40]


@pytest.mark.parametrize('fault', [
    misbehaving.status(503), misbehaving.reset, misbehaving.cut(50), misbehaving.html(200),
    misbehaving.with_json(items='nonsense'), misbehaving.with_json(items=[5]),
    misbehaving.with_json(items=[{}]), misbehaving.with_json(items=[{'name': None}])],
    ids=['503', 'reset', 'cut', 'html', 'text', 'numbers', 'nameless', 'null'])
@pytest.mark.parametrize('page', [1, 3])
def test_a_page_that_fails_is_no_end(server, driver, fault, page):
    fill(server, NAMES[:45])
    server.storage.page = 10
    server.fail('list', fault, at=page)
    with pytest.raises(exceptions.StoreUnavailable):
        listed(driver)
    server.behave()
    server.fail('list', fault, at=page)
    assert container(driver).names('') == NAMES[:45], 'the framework did not list it again'


def test_pages_in_a_circle_end(server, driver):
    fill(server, NAMES[:5])
    server.fail('list', misbehaving.with_json(nextPageToken='IA=='), times=20)
    with pytest.raises(exceptions.StoreUnavailable):
        listed(driver)
    assert server.count('list') < 20


def test_pages_in_a_larger_circle_end(server, driver):
    tokens = itertools.cycle(['IA==', 'IQ==', 'Ig=='])
    server.fail('list', lambda request, answer: misbehaving.with_json(
        nextPageToken=next(tokens))(request, answer), times=20)
    with pytest.raises(exceptions.StoreUnavailable, match='circle'):
        listed(driver)
    assert server.count('list') == 4


def test_a_service_that_does_not_heed_the_prefix(server, driver):
    fill(server, ['good'])
    server.fail('list', misbehaving.listing(
        lambda items: [*items, {'name': 'stray'}, {'name': 'other/stray'}]))
    assert listed(driver) == ['good']


@pytest.mark.parametrize('name', ['', '/', 'a//b', './a', 'a/../b', '/a', 'folder/'])
def test_names_that_the_framework_cannot_have_made(server, driver, name):
    """Consoles and other programs put things into buckets too."""
    fill(server, ['good', name])
    assert listed(driver) == ['good']


def test_a_missing_bucket(server, make_driver):
    driver = make_driver(server.url, bucket='missing')
    with pytest.raises(exceptions.ContainerNotFound):
        listed(driver)
    assert container(driver).names('') == []


# --- deleting

def test_many_deletes_take_few_requests(server, driver):
    fill(server, NAMES + ['stays'])
    step = driver.capabilities().delete_batch
    box = container(driver)
    for start in range(0, len(NAMES), step):
        box.delete_many(NAMES[start:start + step])
    assert left(server) == ['stays']
    assert server.count('batch') == 25 and server.count('delete') == 2500


def test_what_is_missing_is_fine(server, driver):
    fill(server, NAMES[:10:2])
    driver.delete_objects(BOX, NAMES[:10])
    driver.delete_objects(BOX, NAMES[:10])
    driver.delete_object(BOX, NAMES[0])
    assert left(server) == []


@pytest.mark.parametrize('fault, error', [
    (misbehaving.forbidden, exceptions.PermissionDenied),
    (misbehaving.held, exceptions.PermissionDenied),
    (misbehaving.status(503), exceptions.StoreUnavailable),
    (misbehaving.status(429, 'rateLimitExceeded'), exceptions.StoreUnavailable),
    (misbehaving.status(400, 'invalid'), exceptions.StoreError)],
    ids=['403', 'held', '503', '429', '400'])
def test_a_part_of_a_batch_that_fails(server, driver, fault, error):
    """The others go, and the error is told."""
    fill(server, NAMES[:10])
    server.fail('delete', fault, at=4)
    with pytest.raises(error):
        driver.delete_objects(BOX, NAMES[:10])
    assert left(server) == [NAMES[3]]


def test_parts_that_pass_are_tried_again_until_they_do(server, driver):
    pauses = Pauses()
    fill(server, NAMES[:10])
    server.fail('delete', misbehaving.status(503, Retry_After='5'), at=4, times=3)
    container(driver, pauses).delete_many(NAMES[:10])
    assert left(server) == [] and server.count('batch') == 2
    assert len(pauses) == 1 and pauses[0] >= 5


def test_a_lasting_refusal_is_told_before_one_that_passes(server, driver):
    fill(server, NAMES[:10])
    server.fail('delete', misbehaving.status(503), at=2)
    server.fail('delete', misbehaving.forbidden, at=6)
    with pytest.raises(exceptions.PermissionDenied):
        driver.delete_objects(BOX, NAMES[:10])


@pytest.mark.parametrize('fault', [
    misbehaving.status(404, 'notFound'), misbehaving.status(501, 'notImplemented'),
    misbehaving.status(400, 'badRequest'), misbehaving.instead(messages.Response(405)),
    misbehaving.instead(messages.Response(
        200, {'Content-Type': 'multipart/mixed; boundary=b'}, b'\r\n--b--\r\n'))],
    ids=['404', '501', '400', '405', 'without parts'])
def test_a_service_without_batches(server, driver, fault):
    fill(server, NAMES[:10] + ['stays'])
    server.fail('batch', fault, times=None)
    driver.delete_objects(BOX, NAMES[:10])
    assert left(server) == ['stays']


@pytest.mark.parametrize('fault, error', [
    (misbehaving.status(503), exceptions.StoreUnavailable),
    (misbehaving.reset, exceptions.StoreUnavailable),
    (misbehaving.forbidden, exceptions.PermissionDenied)], ids=['503', 'reset', '403'])
def test_a_batch_that_fails_as_a_whole(server, driver, fault, error):
    fill(server, NAMES[:10])
    server.fail('batch', fault)
    with pytest.raises(error):
        driver.delete_objects(BOX, NAMES[:10])
    assert server.count('batch|delete') == 1


def test_answers_in_another_order(server, driver):
    """Google: parts may be carried out, and answered, in any order; Content-ID tells which."""
    fill(server, NAMES[:10])
    server.fail('delete', misbehaving.status(503), at=4)

    def mixed(request, answer):
        response = answer(request)
        boundary = b'--batch_of_answers'
        _, *parts, end = response.body.split(boundary)
        response.body = boundary + boundary.join(parts[::-1]) + boundary + end
        return response

    server.fail('batch', mixed)
    with pytest.raises(exceptions.StoreUnavailable):
        driver.delete_objects(BOX, NAMES[:10])
    assert left(server) == [NAMES[3]]


@pytest.mark.parametrize('names', [['with blank', 'ö', 'a%2Fb', 'sub/name', 'a+b&c=d', 'q?', '#']])
def test_odd_names_go_in_batches_too(server, driver, names):
    fill(server, names + ['stays'])
    driver.delete_objects(BOX, names)
    assert left(server) == ['stays'] and server.count('batch') == 1


def test_a_name_is_quoted_in_every_path(server, driver):
    fill(server, ['a/b?c=d#e'])
    driver.delete_object(BOX, 'a/b?c=d#e')
    assert urllib.parse.unquote(server.of('delete')[0].path).endswith(f'/{BOX}/a/b?c=d#e')
    assert left(server) == []
