"""Defects that Cinder had or has: each row of the table names the tests that would see it here."""

from __future__ import annotations

import csv
from pathlib import Path
import re

import pytest

from backup_framework import exceptions, model
from backup_framework.testing import faults
from tests.trust.integrity import rig
from tests.unit.driver import chains

ROOT = Path(__file__).parents[3]
TABLE = ROOT / 'doc/source/reliability/cinder.csv'

each_version = pytest.mark.parametrize('version', [rig.CINDERS, rig.OURS])


def test_every_row_names_tests_that_there_are() -> None:
    rows = list(csv.reader(TABLE.read_text().splitlines()))
    assert rows[0] == ['Defect of Cinder', 'What is done here', 'Test'] and len(rows) > 20
    for row in rows[1:]:
        named = re.findall(r'``([\w/.]+\.py)(?:::(\w+))?``', row[2])
        assert len(row) == 3 and named, row
        for file, test in named:
            text = (ROOT / file).read_text()
            assert not test or f'def {test}(' in text, (file, test)


@each_version
def test_what_was_zeroed_since_stays_zero_on_a_new_volume(version: str) -> None:
    """Cinder leaves out blocks of zeros of every layer, so data of the layer below come back."""
    driver = chains.make_driver(format=version)
    data = chains.make_bytes(6 * rig.CHUNK)
    root = chains.take(driver, data)
    wiped = bytearray(data)
    wiped[:rig.CHUNK] = bytes(rig.CHUNK)
    wiped[4 * rig.CHUNK:4 * rig.CHUNK + rig.BLOCK] = bytes(rig.BLOCK)
    child = chains.take(driver, bytes(wiped), root)
    assert chains.bring_back(driver, child) == bytes(wiped)
    assert chains.bring_back(driver, root) == data


@each_version
def test_a_delete_that_cannot_list_is_no_delete(version: str) -> None:
    """Cinder forgets the record, and nobody knows of the objects any more."""
    driver = chains.make_driver(format=version)
    backup = chains.take(driver, chains.make_bytes(5 * rig.CHUNK))
    for error in (exceptions.StoreUnavailable, exceptions.PermissionDenied):
        broken = faults.FaultyDriver(driver, [
            faults.Fault('get_container_entries', forever=True, error=error)])
        with pytest.raises(exceptions.StoreError):
            broken.delete(backup)
        assert chains.data_names(driver, backup)
    driver.delete(backup)
    assert not chains.names(driver)


@each_version
@pytest.mark.parametrize('prefix', [None, ''])
def test_a_record_without_a_prefix_deletes_nothing(version: str, prefix: str | None) -> None:
    """In Cinder all objects of the container went."""
    driver = chains.make_driver(format=version)
    other = chains.take(driver, chains.make_bytes(3 * rig.CHUNK))
    before = chains.names(driver)
    driver.delete(model.Backup(volume_id='volume-1', container=chains.CONTAINER,
                               service_metadata=prefix))
    assert chains.names(driver) == before and driver.verify(other).ok


@each_version
def test_what_is_not_stored_is_never_success(version: str) -> None:
    """A restore that shifted data, or left some out, has told of success in Cinder's drivers."""
    driver = chains.make_driver(format=version)
    data = chains.make_bytes(9 * rig.CHUNK + 77)
    backup = chains.take(driver, data)
    for name in chains.data_names(driver, backup):
        body = chains.body(driver, name)
        chains.overwrite(driver, name, body[1:] + body[:1])
        target = rig.Watched(data)
        try:
            driver.restore(backup, '', target)
        except exceptions.FormatError:
            continue
        finally:
            chains.overwrite(driver, name, body)
        assert target.getvalue() == data
