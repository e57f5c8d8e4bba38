"""Which backup an accepted incremental one is built on, and what is read to find it."""

from __future__ import annotations

from collections.abc import Iterator
import datetime

import pytest

from backup_framework.catalog import Catalog
from backup_framework.model import Snapshot
from tests.unit.manager.test_jobs import MIB, World


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.manager.close()
    made.catalog.close()


@pytest.fixture
def pages(monkeypatch) -> list[int]:
    """How many backups each page has that is read."""
    found: list[int] = []
    backup_page = Catalog.backup_page

    def counted(self, *args, **wanted):
        page = backup_page(self, *args, **wanted)
        found.append(len(page.items))
        return page

    monkeypatch.setattr(Catalog, 'backup_page', counted)
    return found


def test_a_parent_behind_many_is_found_and_the_newest_without_reading_all(world, pages):
    volume = world.volume(size=MIB)
    first, *_, newest = [world.make(volume) for _ in range(6)]
    backup, job = world.accept(volume, incremental=True)
    assert backup.parent_id == newest.id and pages == [4]
    world.manager.cancel(job.id)
    after_first = first.data_timestamp + datetime.timedelta(microseconds=1)
    world.catalog.offer_volumes('demo', [volume], [
        Snapshot(volume_id=volume.id, source_id='s', created_at=after_first)])
    (snapshot,) = world.catalog.snapshot_page(None).items
    backup, _ = world.accept(volume, incremental=True, snapshot_id=snapshot.id)
    assert backup.parent_id == first.id and pages == [4, 4, 2]
