"""What a backup leaves in its store when it fails, with `--resume` and without."""

from __future__ import annotations

import pytest

from backup_framework import exceptions
from backup_framework.engine.monitor import Operation
from backup_framework.formats.v2 import writer
from backup_framework.testing.faults import Fault, FaultyDriver
from tests.trust.resume import rig
from tests.trust.resume.rig import BLOCK, Rig

GONE = [Fault('commit', call=4, forever=True, error=exceptions.StoreUnavailable),
        Fault('get_container_entries', call=3, forever=True, error=exceptions.StoreUnavailable)]


def failed(monkeypatch, plan, resume=True, **options):
    """The rig, the record and the error of a backup to a store that fails."""
    monkeypatch.setattr(writer, 'SMALL', BLOCK)
    store = Rig(**options)
    backup = rig.record()
    with store.process() as driver, pytest.raises(exceptions.BackupFrameworkError) as caught:
        rig.finish(FaultyDriver(driver, plan), backup, rig.first_volume(),
                   Operation(resume=resume))
    return store, backup, caught.value


@pytest.mark.parametrize('plan', [
    GONE, GONE[:1], [Fault('commit', call=4, error=exceptions.OperationCancelled)],
    [Fault('commit', call=4, error=exceptions.VolumeError)]],
    ids=['gone', 'read-only', 'cancelled', 'volume'])
def test_with_resume_what_was_stored_stays(monkeypatch, plan):
    store, backup, error = failed(monkeypatch, plan)
    before = store.data(backup)
    assert len(before) >= 3
    note, = error.__notes__
    assert '--resume' in note and backup.id in note
    store.go_on(backup, rig.first_volume())
    assert before.keys() <= store.data(backup).keys()
    store.check_and_delete(backup, rig.first_volume())


@pytest.mark.parametrize('resume, error, options', [
    (True, exceptions.StoreFull, {}), (False, exceptions.OperationCancelled, {}),
    (False, exceptions.StoreUnavailable, {}), (True, exceptions.PermissionDenied, {}),
    (True, exceptions.OperationCancelled, {'format': '1.0.0'})])
def test_else_it_is_removed(monkeypatch, resume, error, options):
    plan = [Fault('commit', call=4, error=error)]
    store, _, error = failed(monkeypatch, plan, resume, **options)
    assert store.objects() == {} and not getattr(error, '__notes__', [])


@pytest.mark.parametrize('call, error', [
    (1, exceptions.StoreError), (2, exceptions.StoreError), (2, exceptions.StoreUnavailable)])
def test_what_may_not_be_durable_does_not_stay(monkeypatch, call, error):
    """After an fsync that failed the next one succeeds, whatever was lost; the second is that of
    the manifest."""
    store, _, _ = failed(monkeypatch, [Fault('sync', call=call, error=error)])
    assert store.objects() == {}
