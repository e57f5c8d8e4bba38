"""Each bit of a sealed backup: its change is found, and nothing wrong is restored."""

from __future__ import annotations

from collections.abc import Iterator
import random

import pytest

from backup_framework import exceptions
from tests.trust.sealing import rig
from tests.unit.driver import chains

STEP = 61
"""One bit in so many in `make test`, others each time that one is added."""


def backup_of(compression: str) -> tuple[rig.memory.MemoryBackupDriver, rig.model.Backup, bytes]:
    """A backup with objects of its own and of its parent, small: each bit is changed."""
    driver = rig.driver(rig.ring('main', 'escrow'), compression=compression)
    data = random.Random(1).randbytes(rig.CHUNK) + b'words and words ' * 64 + bytes(rig.CHUNK + 77)
    parent = chains.take(driver, data)
    later = data[:-77] + b'y' * 77
    return driver, rig.recorded_nowhere(chains.take(driver, later, parent)), later


def flips(stored: dict[str, bytes], names: list[str], step: int) -> Iterator[tuple[str, bytes]]:
    at = 0
    for name in names:
        for bit in range(8 * len(stored[name])):
            at += 1
            if at % step == 0:
                changed = bytearray(stored[name])
                changed[bit // 8] ^= 1 << bit % 8
                yield name, bytes(changed)


def find_all(compression: str, step: int) -> int:
    driver, backup, data = backup_of(compression)
    prefix = str(backup.service_metadata)
    parent = str(backup.parent.service_metadata)
    stored = rig.objects(driver)
    # The manifest, the map and the keys of the parent are dead for this backup.
    names = [name for name in stored
             if name.startswith(prefix) or name.startswith(f'{parent}-')]
    assert {name[len(prefix):] for name in names if name.startswith(prefix)} == {
        '_metadata', '_map', '_keys-1', '-00001'}
    assert rig.verify(driver, backup) == []
    count = 0
    for name, changed in flips(stored, names, step):
        chains.overwrite(driver, name, changed)
        try:
            assert rig.verify(driver, backup)
        except (exceptions.KeyUnavailable, exceptions.InvalidBackup) as error:
            assert prefix in str(error)
        try:
            assert chains.bring_back(driver, backup) == data
        except (exceptions.FormatError, exceptions.InvalidBackup):
            pass
        chains.overwrite(driver, name, stored[name])
        count += 1
    return count


@pytest.mark.parametrize('compression', ['none', 'zstd'])
def test_some_bits(compression: str) -> None:
    assert find_all(compression, STEP) >= 850


@pytest.mark.long
@pytest.mark.timeout(600)
def test_all_bits() -> None:
    assert find_all('none', 1) >= 55_000
