"""No more verbs are open at once than the driver declares, whatever a backup does."""

from __future__ import annotations

import dataclasses
import random
import time

import pytest

from backup_framework import model
from backup_framework.testing import faults, memory, recording
from tests.unit.driver import chains

CHUNK, BLOCK = 8 << 20, 64 << 10


class FewDriver(memory.MemoryBackupDriver):
    """A store that takes few connections."""

    most = 1

    def capabilities(self) -> model.Capabilities:
        return dataclasses.replace(super().capabilities(), connections=self.most)


def make(monkeypatch: pytest.MonkeyPatch, most: int, **values: object) -> recording.RecordingDriver:
    """Such a driver, each write of which takes some time, so that those that can meet do."""
    monkeypatch.setattr(FewDriver, 'most', most)
    driver = FewDriver.make(**{
        'format': '2.0.0', 'chunk_size': CHUNK, 'block_size': BLOCK, 'workers': 4,
        'compression': 'none', 'container': chains.CONTAINER} | values)
    slow = faults.Fault('write', forever=True, hook=lambda: time.sleep(0.002))
    return recording.RecordingDriver(faults.FaultyDriver(driver, [slow]))


@pytest.mark.parametrize('most', [1, 2, 3])
def test_gathered_objects_are_stored_beside_others(monkeypatch: pytest.MonkeyPatch, most: int
                                                   ) -> None:
    driver = make(monkeypatch, most)
    small = CHUNK // 2 - 2 * BLOCK
    volume = b''.join(
        random.Random(number).randbytes(CHUNK if number % 2 else small)
        + bytes(0 if number % 2 else CHUNK - small) for number in range(12))
    backup = chains.take(driver, volume)
    assert driver.most_open <= most
    assert chains.bring_back(driver, backup) == volume


def test_looking_for_duplicates_opens_nothing_beside_the_writer(
        monkeypatch: pytest.MonkeyPatch) -> None:
    driver = make(monkeypatch, 1, duplicates='container')
    known = random.Random(1).randbytes(CHUNK)
    chains.take(driver, known)
    driver.forget()
    other = random.Random(2).randbytes(CHUNK - 8 * BLOCK) + known[:8 * BLOCK]
    backup = chains.take(driver, other, volume_id='volume-2')
    assert driver.most_open == 1
    assert int(backup.stored_bytes or 0) < CHUNK
    assert chains.bring_back(driver, backup) == other
