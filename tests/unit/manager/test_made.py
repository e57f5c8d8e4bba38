"""A backup that others delete: it was made all the same, and none is taken for it."""

from __future__ import annotations

import pytest

from backup_framework import conf, exceptions
from backup_framework.catalog import Catalog, records
from backup_framework.manager import Manager, copying
from backup_framework.manager.creating import Request
from backup_framework.model import Status


@pytest.fixture
def manager(tmp_path):
    path = tmp_path / 'backup.conf'
    path.write_text('\n'.join(['[DEFAULT]', 'enabled_backends = one, two', *(
        line for name in ('one', 'two') for line in (
            f'[{name}]', 'driver = local', f'path = {tmp_path / name}'))]))
    with Manager(conf.load([str(path)], state_path=str(tmp_path))) as opened:
        yield opened


def test_a_backup_that_another_command_deletes_at_once(manager, tmp_path, monkeypatch):
    volume = tmp_path / 'volume'
    volume.write_bytes(b'data')
    kept = manager.create(Request(str(volume), backend='one'))
    finish = Catalog.finish

    def finish_and_forget(self, operation, backup_id, to, **fields):
        finish(self, operation, backup_id, to, **fields)
        self.forget(backup_id)

    monkeypatch.setattr(Catalog, 'finish', finish_and_forget)
    made = manager.create(Request(str(volume), backend='one'))
    (copied,) = manager.copy(kept.id, copying.Request('two'))
    for backup in (made, copied):
        assert backup.status == Status.AVAILABLE and backup.size_bytes == 4
        assert not manager.catalog.has_backup(backup.id)


def test_metadata_from_before_they_had_a_bound_are_copied_and_rebuilt(
        manager, tmp_path, monkeypatch):
    volume = tmp_path / 'volume'
    volume.write_bytes(b'data')
    large = {f'k{number}': 'x' * 200 for number in range(100)}
    with pytest.raises(exceptions.InvalidInput, match='metadata as JSON .* 16384'):
        manager.create(Request(str(volume), backend='one', properties=large))
    assert manager.catalog.backups() == []
    with monkeypatch.context() as before:
        before.setattr(records, '_MOST_METADATA', 1 << 20)
        kept = manager.create(Request(str(volume), backend='one', properties=large))
    (copied,) = manager.copy(kept.id, copying.Request('two'))
    assert copied.metadata == large | {copying.COPIED_FROM: kept.id}
    record = manager.export(kept.id)
    manager.catalog.forget(kept.id)
    assert manager.import_(record, backend='one').metadata == large
    manager.catalog.forget(kept.id)
    rebuilt = manager.rebuild('one')
    assert ([backup.metadata for backup in rebuilt.added], rebuilt.problems) == ([large], [])


def test_a_backup_with_the_name_of_one_that_is_gone_is_not_deleted(manager, tmp_path, monkeypatch):
    """Two take a delete up that waited; one has ended it when the other looks for the record."""
    volume = tmp_path / 'volume'
    volume.write_bytes(b'data')
    gone = manager.create(Request(str(volume), backend='one'))
    named = manager.create(Request(str(volume), backend='one', name=gone.id))
    manager.delete(gone)
    monkeypatch.setattr(Catalog, 'postponed', lambda self: {gone.id: []})
    manager.take_up()
    assert manager.catalog.backup_of(named.id, None).status == Status.AVAILABLE


def test_a_backup_after_which_its_volume_cannot_be_recorded(tmp_path, manager, monkeypatch):
    """The backup is, so it has not failed, and no rebuild is needed."""
    volume, warned = tmp_path / 'volume', []
    volume.write_bytes(b'data')

    def fail(*_, **__):
        raise exceptions.CatalogError('the catalog is away')

    monkeypatch.setattr(Catalog, 'update_volume', fail)
    with Manager(manager.configuration, warn=warned.append) as opened:
        made = opened.create(Request(str(volume), backend='one'))
    assert made.status == manager.catalog.get_backup(made.id).status == Status.AVAILABLE
    assert [sentence for sentence in warned if 'the catalog is away' in sentence]
