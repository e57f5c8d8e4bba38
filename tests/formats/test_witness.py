"""Stores that real Cinder and released versions wrote come back byte for byte."""

from __future__ import annotations

import hashlib
import json
import pathlib
import shutil
from typing import Any

import pytest

from backup_framework import model
from backup_framework.drivers import local
from backup_framework.engine import target
from backup_framework.engine.monitor import Operation
from tests.formats import v2_reader

DATA = pathlib.Path(__file__).parent / 'data'
CASES = sorted(path.parent for path in DATA.glob('*/*/records.json'))


@pytest.fixture(params=CASES, ids=lambda case: f'{case.parent.name}/{case.name}')
def case(request: pytest.FixtureRequest) -> pathlib.Path:
    return request.param


@pytest.fixture
def driver(case: pathlib.Path, tmp_path: pathlib.Path) -> local.LocalBackupDriver:
    """On a copy: witnesses are never written to. Git keeps no empty directories."""
    if (case / 'store').exists():
        shutil.copytree(case / 'store', tmp_path / 'store')
    else:
        (tmp_path / 'store').mkdir()
    return local.LocalBackupDriver.make(path=str(tmp_path / 'store'), retry_deadline=0.0)


def load(case: pathlib.Path) -> tuple[dict[str, model.Backup], list[dict[str, Any]]]:
    """The records by id, each with its parent, and what is expected of each."""
    backups: dict[str, model.Backup] = {}
    for record in json.loads((case / 'records.json').read_text()):
        backups[record['id']] = model.Backup(
            id=record['id'], volume_id=record['volume_id'], parent_id=record['parent_id'],
            container=record['container'], service_metadata=record['service_metadata'],
            size=record['size'], parent=backups.get(record['parent_id']))
    return backups, json.loads((case / 'expected.json').read_text())


def test_there_are_witnesses_and_none_goes_untested() -> None:
    kept = sorted(path for path in DATA.glob('*/*') if path.is_dir() and path.name != '__pycache__')
    assert kept == CASES and len(kept) >= 20
    for path in kept:
        backups, expected = load(path)
        assert list(backups) == [one['id'] for one in expected] and expected


def test_restored_byte_for_byte(case: pathlib.Path, driver: local.LocalBackupDriver,
                                tmp_path: pathlib.Path) -> None:
    backups, expected = load(case)
    for one in expected:
        backup = backups[one['id']]
        assert driver.volume_size(backup) == one['size']
        for used in (False, True):
            path = tmp_path / f'{backup.id}-{used}'
            if used:
                path.write_bytes(b'\xa5' * one['size'])
            with target.open_target(str(path), one['size'], force=True) as (file, fresh):
                driver.restore(backup, backup.volume_id, file, fresh)
            restored = path.read_bytes()
            assert len(restored) == one['size']
            assert hashlib.sha256(restored).hexdigest() == one['sha256']


@pytest.mark.parametrize('of_v2', [case for case in CASES if case.name.startswith('v2-')],
                         ids=lambda case: f'{case.parent.name}/{case.name}')
def test_read_by_the_page_alone(of_v2: pathlib.Path) -> None:
    """Stores of format 2.0.0, by a reader that knows nothing of the framework."""
    backups, expected = load(of_v2)
    for one in expected:
        backup = backups[one['id']]
        restored = v2_reader.restore(
            of_v2 / 'store' / str(backup.container), str(backup.service_metadata))
        assert len(restored) == one['size']
        assert hashlib.sha256(restored).hexdigest() == one['sha256']


def test_verified(case: pathlib.Path, driver: local.LocalBackupDriver) -> None:
    backups, expected = load(case)
    for one in expected:
        for quick in (False, True):
            report = driver.verify(backups[one['id']], operation=Operation(quick=quick))
            # Without sizes in bytes a volume that shrank looks as one whose hash list was cut.
            assert not report.problems and (not report.notes or case.name == 'shrunk')
            assert quick or report.checked_bytes == one['size']


def test_an_incremental_goes_on_top(case: pathlib.Path, driver: local.LocalBackupDriver,
                                    tmp_path: pathlib.Path) -> None:
    """What Cinder or an earlier release wrote can be the parent of what we write."""
    backups, expected = load(case)
    newest = backups[expected[-1]['id']]
    options = json.loads((case / 'records.json').read_text())[-1]['options']
    path = tmp_path / 'volume'
    with target.open_target(str(path), expected[-1]['size']) as (file, fresh):
        driver.restore(newest, '', file, fresh)
    block = options.get('backup_sha_block_size_bytes') or options['block_size']
    driver.settings = driver.make_settings(
        path=driver.settings.path, block_size=block, chunk_size=4 * block)
    backup = model.Backup(volume_id=newest.volume_id, parent_id=newest.id, parent=newest)
    with open(path, 'r+b') as file:
        file.write(b'changed'[:expected[-1]['size']])
        driver.backup(backup, file, operation=Operation(parent_required=True))
    with open(tmp_path / 'again', 'w+b') as file:
        driver.restore(backup, '', file, True)
    assert (tmp_path / 'again').read_bytes() == path.read_bytes()
    assert driver.verify(backup).ok
