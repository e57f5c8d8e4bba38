"""A manifest of a version that is not known here: every command refuses, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import json
from pathlib import Path
from typing import Any

import pytest

from backup_framework import exceptions
from backup_framework.manager import verifying
from backup_framework.manager.copying import Request as CopyRequest
from backup_framework.manager.manager import Manager, Request, RestoreRequest
from backup_framework.testing import memory
from tests.trust.together.stage import Stage, state

VERSIONS = ['3.0.0', '2.0.1', '1.1.0', '2', None, ['2.0.0']]


@pytest.fixture(params=['1.0.0', '2.0.0'])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """Two backups, one on the other, in one container."""
    made = Stage(tmp_path / 'stage', version=request.param)
    data = state(1)
    for name in ('old', 'new'):
        made.write(name, data)
        made.create(name, incremental=name == 'new', container='shelf')()
        data = state(2, data)
    yield made
    made.close()


def become(stage: Stage, version: Any) -> str:
    """The newer backup is of this version; its id. Its record knows no digest that would tell."""
    with stage.manager() as manager:
        backup = manager.catalog.get_backup('new')
        manager.catalog.update_backup(backup.id, manifest_digest=None)
    name = f'{backup.service_metadata}_metadata'
    members = json.loads(stage.store.containers['shelf'][name].data)
    body = json.dumps(members | {'version': version}).encode()
    stage.store.containers['shelf'][name] = memory.Body(body, len(body))
    return backup.id


def refused(call: Callable[[], object]) -> None:
    with pytest.raises((exceptions.FormatError, exceptions.InvalidBackup, exceptions.InvalidInput)):
        call()


@pytest.mark.parametrize('version', VERSIONS)
def test_every_command(stage: Stage, version: Any, tmp_path: Path) -> None:
    with stage.manager() as manager:
        exported = manager.export('new')
    backup_id = become(stage, version)
    before = {name: body.data for name, body in stage.store.containers['shelf'].items()}
    target = tmp_path / 'target'
    disk = str(stage.root / 'disk')
    visited = 0
    for command in commands(backup_id, target, disk):
        with stage.manager() as manager:
            command(manager)
        visited += 1
    with stage.manager() as manager:
        # With the record of the failed backup that was to be built on it.
        for each in [*manager.catalog.dependents(backup_id), manager.catalog.get_backup(backup_id)]:
            manager.forget(each.id)
        rebuilt = manager.rebuild('main', adopt=True)
        assert not rebuilt.added and len(rebuilt.problems) == 1
        refused(lambda: manager.import_(exported, backend='main'))
        assert not manager.catalog.has_backup(backup_id)
        assert manager.verify('old').ok
    assert visited >= 10 and not target.exists()
    assert {name: body.data for name, body in stage.store.containers['shelf'].items()} == before


def commands(backup_id: str, target: Path, disk: str) -> list[Callable[[Manager], object]]:
    how = verifying.How()

    def verify_all(manager: Manager) -> None:
        found = {backup.id: verified for backup, verified in manager.verify_all(
            verifying.Selection(), how)}
        verified = found[backup_id]
        assert isinstance(verified, Exception) or not verified.report.ok

    def check(manager: Manager) -> None:
        assert any(each.kind == 'unreadable' or backup_id in each.sentence
                   for each in manager.check_catalog(repair=True))

    return [
        lambda manager: refused(lambda: manager.restore(backup_id, RestoreRequest(str(target)))),
        lambda manager: refused(lambda: manager.restore(
            backup_id, RestoreRequest(str(target), partial=True))),
        lambda manager: refused(lambda: manager.restore(
            backup_id, RestoreRequest(str(target), resume=True))),
        lambda manager: refused(lambda: list(manager.copy(backup_id, CopyRequest('main')))),
        lambda manager: refused(lambda: manager.create(Request(disk, parent=backup_id))),
        lambda manager: _bad(manager.verify(backup_id)),
        lambda manager: _bad(manager.verify(backup_id, quick=True)),
        verify_all, check, check,
        lambda manager: manager.container('shelf', 'main'),
    ]


def _bad(report: Any) -> None:
    assert not report.ok


def test_what_it_may_use_stays_when_another_is_deleted(stage: Stage) -> None:
    """What a newer format refers to nobody can tell here."""
    become(stage, '3.0.0')
    before = set(stage.store.containers['shelf'])
    with stage.manager() as manager:
        prefix = manager.catalog.get_backup('old').service_metadata
        if stage.version == '1.0.0':
            with pytest.raises(exceptions.BackupInUse):
                manager.plan_delete(['old'])
            return
        for backup in manager.plan_delete(['old']):
            with pytest.raises(exceptions.BackupFrameworkError):
                manager.delete(backup)
    assert before - set(stage.store.containers['shelf']) <= {f'{prefix}_metadata'}
