"""Volumes whose files say what changed, through the driver, in both formats."""

from __future__ import annotations

import io

import pytest

from backup_framework.driver import chunked
from backup_framework.engine.monitor import Operation
from backup_framework.model import Extent
from tests.unit.driver import chains

CHUNK = chains.CHUNK
DATA = chains.make_bytes(20 * CHUNK + 777)
CHANGED = DATA[:7 * CHUNK] + b'changed' + DATA[7 * CHUNK + 7:]


class Tracked(io.BytesIO):
    """A volume that knows what changed in it, and counts what is read."""

    def __init__(self, data: bytes, extents: list[tuple[int, int]]) -> None:
        super().__init__(data)
        self.extents = extents
        self.seen = 0

    def get_cbt_extents(self) -> list[tuple[int, int]]:
        return self.extents

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.seen += len(data)
        return data


@pytest.fixture(params=['1.0.0', '2.0.0'])
def driver(request: pytest.FixtureRequest) -> chunked.ChunkedBackupDriver:
    return chains.make_driver(format=request.param, workers=2)


def test_only_what_changed_is_read(driver: chunked.ChunkedBackupDriver) -> None:
    parent = chains.take(driver, DATA)
    volume = Tracked(CHANGED, [(7 * CHUNK, 7)])
    operation = Operation()
    backup = chains.take(driver, volume, parent, operation=operation)
    assert chains.bring_back(driver, backup) == CHANGED
    assert not operation.warnings
    if backup.format == '2.0.0':
        # The sample reads some blocks as well.
        assert volume.seen < len(DATA)


def test_a_wrong_hint_reads_everything(driver: chunked.ChunkedBackupDriver) -> None:
    parent = chains.take(driver, DATA)
    other = bytes(byte ^ 1 for byte in DATA)
    operation = Operation()
    backup = chains.take(driver, Tracked(other, [(0, 1)]), parent, operation)
    assert chains.bring_back(driver, backup) == other
    assert 'changed extents are wrong' in operation.warnings[0]


def test_a_full_backup_needs_no_hint(driver: chunked.ChunkedBackupDriver) -> None:
    backup = chains.take(driver, Tracked(DATA, []))
    assert chains.bring_back(driver, backup) == DATA


def test_what_the_caller_knows_goes_before(driver: chunked.ChunkedBackupDriver) -> None:
    parent = chains.take(driver, DATA)
    operation = Operation(changed=[Extent(7 * CHUNK, 7)])
    backup = chains.take(driver, Tracked(CHANGED, [(0, 1)]), parent, operation=operation)
    assert chains.bring_back(driver, backup) == CHANGED
