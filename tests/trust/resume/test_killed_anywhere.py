"""A backup is killed at every request to the store, once and twice, and gone on with."""

from __future__ import annotations

import itertools

import pytest

from backup_framework.formats.v2 import gathering, writer
from tests.trust.resume import rig
from tests.trust.resume.rig import BLOCK, CHUNK, Rig
from tests.trust.sealing.rig import ring

LARGEST = CHUNK + 1500
"""Bytes of an object here: a chunk, its table, header and footer."""
KINDS = list(itertools.product(('full', 'incremental'), ('none', 'volume', 'container'),
                               ('streamed', 'gathered'), ('open',)))
KINDS += [('full', 'volume', 'streamed', 'sealed'),
          ('incremental', 'container', 'gathered', 'sealed')]


@pytest.fixture(params=KINDS, ids='-'.join)
def scene(request, monkeypatch):
    """A store, the volume, and the parent of what is to be made of it."""
    kind, duplicates, grouping, sealing = request.param
    if grouping == 'streamed':
        monkeypatch.setattr(writer, 'SMALL', BLOCK)
    else:
        monkeypatch.setattr(gathering, 'GATHERED', CHUNK)
    store = Rig(ring('alice') if sealing == 'sealed' else None, duplicates=duplicates)
    volume, parent = rig.first_volume(), None
    if kind == 'incremental':
        parent = store.take(volume)
        volume = rig.changed(volume)
    if duplicates == 'container':
        # Of another volume, with some of the same bytes.
        store.take(rig.noise(1, 7) + volume[3 * CHUNK:] + rig.noise(1, 8))
    return store, volume, parent


def test_at_every_request(scene):
    store, volume, parent = scene
    whole = store.take(volume, parent)
    all_bytes = sum(store.data(whole).values())
    store.check_and_delete(whole, volume)
    visited = kept = 0
    for requests in range(store.requests(volume, parent)):
        backup = store.begin(volume, requests, parent)
        if backup is None:
            continue
        visited += 1
        before = store.data(backup)
        operation = store.go_on(backup, volume)
        assert [note for note in operation.warnings if 'kept' in note] == []
        sent = sum(size for name, size in store.data(backup).items() if name not in before)
        assert sent <= all_bytes - sum(before.values()) + LARGEST
        assert before.keys() <= store.data(backup).keys()
        kept += len(before)
        store.check_and_delete(backup, volume)
    assert visited >= 12 and kept >= 6
    if parent:
        store.check(parent, rig.first_volume())


def test_twice(scene):
    """Killed, gone on with, killed again; a name never has two contents, which this store tells."""
    store, volume, parent = scene
    visited = 0
    total = store.requests(volume, parent)
    for first in range(total // 3, total, 5):
        for second in itertools.count(2, 7):
            backup = store.begin(volume, first, parent)
            if backup is None:
                break
            before = {name: store.objects()[name] for name in store.data(backup)}
            store.go_on(backup, volume, second)
            assert before.items() <= store.objects().items()
            visited += 1
            ended = store.is_committed(backup)
            if not ended:
                store.go_on(backup, volume)
            store.check_and_delete(backup, volume)
            if ended:
                break
    assert visited >= 12


def test_with_several_workers(monkeypatch):
    monkeypatch.setattr(writer, 'SMALL', BLOCK)
    store = Rig(workers=3)
    volume = rig.first_volume()
    whole = store.take(volume)
    all_bytes = sum(store.data(whole).values())
    total = store.requests(volume)
    visited = 0
    for requests in range(total):
        backup = store.begin(volume, requests)
        if backup is not None:
            before = sum(store.data(backup).values())
            names = store.data(backup).keys()
            store.go_on(backup, volume)
            sent = sum(size for name, size in store.data(backup).items() if name not in names)
            assert sent <= all_bytes - before + 3 * LARGEST
            store.check_and_delete(backup, volume)
            visited += 1
    assert visited >= 12
