"""Stores whose listings lie: nothing is asked for that is no name, and nothing wrong comes in."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from backup_framework import exceptions
from backup_framework.testing import memory
from tests.trust.hostile.names import NAMES
from tests.trust.hostile.shop import Shop
from tests.unit.driver import chains


class Liar(memory.MemoryBackupDriver):
    """Lists more than there is.

    :ivar lies: names besides.
    :ivar asked: the names that were asked for.
    """

    lies: list[str]
    asked: list[str]

    def get_container_entries(self, container: str, prefix: str) -> list[str]:
        return [*super().get_container_entries(container, prefix),
                *(name for name in self.lies if name.startswith(prefix))]

    def list_containers(self) -> list[str]:
        return [*super().list_containers(), *self.lies]

    def get_object_reader(self, container: str, object_name: str, extra_metadata: object = None
                          ) -> object:
        self.asked += [container, object_name]
        return super().get_object_reader(container, object_name)

    def delete_object(self, container: str, object_name: str) -> None:
        self.asked += [container, object_name]
        super().delete_object(container, object_name)


def liar(version: str) -> Liar:
    made = Liar.make(format=version, chunk_size=chains.CHUNK, block_size=chains.BLOCK, workers=0,
                     retry_deadline=0.0, container=chains.CONTAINER)
    made.lies, made.asked = [], []
    return made


def is_inside(name: str) -> bool:
    return not any(part in ('', '.', '..') or '\0' in part for part in name.split('/'))


@pytest.mark.parametrize('version', ['1.0.0', '2.0.0'])
def test_operations_on_a_store_that_lists_more(version: str) -> None:
    driver = liar(version)
    backup = chains.take(driver, b'words' * 5000)
    prefix = str(backup.service_metadata)
    # What lies among a backup's own names, and whole manifests of others.
    driver.lies = [f'{prefix}{name}' for name in NAMES] + [f'{prefix}-{name}' for name in NAMES] + [
        f'{name}_metadata' for name in NAMES] + [f'{prefix}-0000{name}' for name in NAMES]
    for act in (lambda: driver.verify(backup), lambda: driver.prefixes(chains.CONTAINER),
                lambda: chains.bring_back(driver, backup),
                lambda: chains.take(driver, b'other' * 5000, backup),
                lambda: driver.delete_backup(backup)):
        try:
            act()
        except exceptions.BackupFrameworkError as error:
            assert not isinstance(error, exceptions.DriverBug) and len(str(error)) < 3000
    assert driver.asked and all(map(is_inside, driver.asked))
    assert all(name.startswith((prefix, 'volume_', 'shelf', 'bf-container.'))
               or name.endswith('_metadata') for name in driver.asked)


@pytest.mark.parametrize('version', ['1.0.0', '2.0.0'])
def test_a_rebuild_from_a_store_that_lists_more(tmp_path: Path, version: str,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is comes back; each lie is a problem, or nothing."""
    shop = Shop(tmp_path, version)
    with shop.manager:
        backup = shop.create()
        shop.manager.forget(backup.id)
        driver = type(shop.manager.drivers.chunked('local', 'be asked'))
        listed, entries = driver.list_containers, driver.get_container_entries
        monkeypatch.setattr(driver, 'list_containers', lambda self: [*listed(self), *NAMES[::9]])
        monkeypatch.setattr(driver, 'get_container_entries', lambda self, container, prefix: [
            *entries(self, container, prefix),
            *(f'{name}_metadata' for name in NAMES[::9] if name.startswith(prefix))])
        rebuilt = shop.manager.rebuild('local')
        assert [each.id for each in rebuilt.added] == [backup.id]
        assert rebuilt.problems and all(len(each) < 3000 for each in rebuilt.problems)


def test_a_restore_asks_for_what_the_manifest_says() -> None:
    driver = liar('2.0.0')
    backup = chains.take(driver, b'words' * 5000)
    driver.asked.clear()
    driver.lies = NAMES
    driver.restore(backup, '', io.BytesIO())
    assert set(driver.asked) <= {chains.CONTAINER, *chains.names(driver)}
