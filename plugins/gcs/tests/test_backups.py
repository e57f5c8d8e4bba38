"""Whole backups through the framework, while the service fails at any request."""

from __future__ import annotations

import io

from backup_framework_gcs.driver import GCSBackupDriver
import pytest

from backup_framework import exceptions, model
from backup_framework.engine.monitor import Monitor, Operation
from backup_framework.testing.bench import pattern
from plugins.gcs.tests import misbehaving
from plugins.gcs.tests.conftest import BUCKET, CHUNK
from plugins.gcs.tests.objects import BOX, Pauses
from tests.patience import soon

VOLUME = pattern(3 * CHUNK) + bytes(CHUNK) + pattern(1000, seed=1)
OPTIONS = {'chunk_size': 2 * CHUNK, 'block_size': CHUNK // 8, 'compression': 'none', 'workers': 0}
"""Without workers the requests come in one order, so that each of them can be met."""


class Quick(Monitor):
    """Waits for nothing, and notes what it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses = Pauses()

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) > 100:
            raise exceptions.OperationCancelled('it is tried again and again')


@pytest.fixture
def driver(server, make_driver):
    return make_driver(server.url, **OPTIONS)


def back_up(driver: GCSBackupDriver, monitor: Monitor | None = None,
            parent: model.Backup | None = None, volume: bytes = VOLUME) -> model.Backup:
    record = model.Backup(volume_id='volume', container=BOX, parent=parent,
                          parent_id=parent.id if parent else None, size_bytes=len(volume))
    updates = driver.backup(record, io.BytesIO(volume),
                            operation=Operation(monitor=monitor or Quick()))
    for field, value in updates.items():
        setattr(record, field, value)
    return record


def restored(driver: GCSBackupDriver, record: model.Backup) -> bytes:
    target = io.BytesIO()
    driver.restore(record, '', target, operation=Operation(monitor=Quick()))
    return target.getvalue()


def delete(driver: GCSBackupDriver, record: model.Backup) -> None:
    driver.delete(record, operation=Operation(monitor=Quick()))


FAULTS = {
    '503': misbehaving.status(503), '429': misbehaving.status(429, 'rateLimitExceeded'),
    'reset': misbehaving.reset, 'lost': misbehaving.lost, 'html': misbehaving.html(502),
    'cut': misbehaving.cut(10), '410': misbehaving.gone, '401': misbehaving.status(401),
    '403': misbehaving.forbidden, 'nonsense': misbehaving.html(200)}
PASSING = {'503', '429', 'reset', 'lost', 'html', 'cut'}
each_fault = pytest.mark.parametrize('fault', FAULTS)


def requests_of(server: misbehaving.Server, verb) -> int:
    """How many requests something makes when all goes well."""
    before = server.count()
    verb()
    return server.count() - before


@each_fault
def test_a_fault_at_any_request_of_a_backup(server, driver, fault):
    """The backup that comes of it is right, or there is an error and nothing is left."""
    total = requests_of(server, lambda: delete(driver, back_up(driver)))
    needed = requests_of(server, lambda: back_up(driver))
    assert 8 <= needed < total < 40
    for number in range(1, needed + 1):
        server.storage.objects[BUCKET].clear()
        server.behave()
        server.fail('.*', FAULTS[fault], at=number)
        try:
            record = back_up(driver)
        except exceptions.BackupFrameworkError as error:
            assert fault not in PASSING, f'at request {number}: {error}'
            left = [name for name in server.storage.objects[BUCKET] if name.endswith('_metadata')]
            assert not left, f'a fault at request {number} left a backup'
        else:
            server.behave()
            assert restored(driver, record) == VOLUME, f'a fault at request {number}'
            assert driver.verify(record).ok


@each_fault
def test_a_fault_at_any_request_of_a_restore(server, driver, fault):
    parent = back_up(driver)
    changed = VOLUME[:100] + b'changed' + VOLUME[107:]
    record = back_up(driver, parent=parent, volume=changed)
    needed = requests_of(server, lambda: restored(driver, record))
    assert needed >= 4
    for number in range(1, needed + 1):
        server.behave()
        server.fail('.*', FAULTS[fault], at=number)
        try:
            assert restored(driver, record) == changed, f'a fault at request {number}'
        except exceptions.BackupFrameworkError as error:
            assert fault not in PASSING, f'at request {number}: {error}'
    server.behave()
    assert restored(driver, record) == changed


@pytest.mark.parametrize('fault', sorted(PASSING))
def test_a_fault_at_any_request_of_a_delete(server, driver, fault):
    needed = requests_of(server, lambda: delete(driver, back_up(driver))) - requests_of(
        server, lambda: back_up(driver))
    for number in range(1, needed + 1):
        server.storage.objects[BUCKET].clear()
        server.behave()
        record = back_up(driver)
        server.fail('.*', FAULTS[fault], at=number)
        delete(driver, record)
        assert not server.storage.objects[BUCKET], f'a fault at request {number} left something'


# --- what is waited, and for how long

@pytest.mark.parametrize('status', [429, 503])
def test_a_wait_that_the_service_asks_for_is_kept(server, driver, status):
    monitor = Quick()
    server.fail('insert|start|chunk|list', misbehaving.status(status, Retry_After='13'), at=2,
                times=3)
    assert restored(driver, back_up(driver, monitor)) == VOLUME
    assert len(monitor.pauses) == 3 and min(monitor.pauses) >= 13


@pytest.mark.parametrize('fault', ['503', '429', 'reset'])
def test_when_the_deadline_has_passed_the_error_is_told(server, make_driver, fault):
    driver = make_driver(server.url, retry_deadline=0.6, **OPTIONS)
    server.fail('insert|start', FAULTS[fault], times=None)

    def back_up_in_vain():
        before = server.count('insert|start')
        with pytest.raises(exceptions.StoreUnavailable, match=f'bucket {BUCKET}'):
            back_up(driver, Monitor())
        assert 1 <= server.count('insert|start') - before < 20

    soon(back_up_in_vain, 12)


def test_a_wait_that_would_pass_the_deadline_is_not_begun(server, make_driver):
    driver = make_driver(server.url, retry_deadline=30.0, **OPTIONS)
    server.fail('insert|start', misbehaving.status(503, Retry_After='3000'), times=None)
    monitor = Quick()
    with pytest.raises(exceptions.StoreUnavailable):
        back_up(driver, monitor)
    assert monitor.pauses == [] and server.count('insert|start') == 1


# --- credentials that may do less

def test_a_backup_needs_no_right_to_delete(server, driver):
    """As with the role Storage Object Creator and Viewer, against whoever takes the key."""
    server.fail('delete|batch', misbehaving.forbidden, times=None)
    full = back_up(driver)
    child = back_up(driver, parent=full, volume=VOLUME[::-1])
    assert restored(driver, full) == VOLUME and restored(driver, child) == VOLUME[::-1]
    assert driver.verify(child).ok
    assert server.count('delete|batch') == 0
    with pytest.raises(exceptions.PermissionDenied, match=r'storage\.objects\.delete'):
        delete(driver, full)
    assert restored(driver, full) == VOLUME


def test_a_backup_that_fails_says_what_it_could_not_remove(server, driver):
    server.fail('delete|batch', misbehaving.forbidden, times=None)
    server.fail('insert|start', misbehaving.forbidden, at=2, times=None)
    with pytest.raises(exceptions.PermissionDenied) as caught:
        back_up(driver)
    assert any('may be left' in note for note in caught.value.__notes__)


def test_a_backup_needs_no_right_to_buckets(server, driver):
    """storage.buckets.get and .create belong to other roles than those for objects."""
    server.fail('bucket|buckets|make-bucket', misbehaving.forbidden, times=None)
    assert restored(driver, back_up(driver)) == VOLUME
    assert server.count('bucket|buckets|make-bucket') == 0


def test_what_a_policy_holds_is_not_deleted_and_the_backup_stays(server, driver):
    record = back_up(driver)
    server.fail('delete', misbehaving.held, times=None)
    with pytest.raises(exceptions.PermissionDenied, match='held'):
        delete(driver, record)
    server.behave()
    assert restored(driver, record) == VOLUME
