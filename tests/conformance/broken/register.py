"""Where broken drivers are written down."""

from __future__ import annotations

from collections.abc import Callable

from backup_framework.testing import memory

Driver = type[memory.MemoryBackupDriver]

BROKEN: list[tuple[str, Driver]] = []
"""The id of a sentence, and a driver that breaks it and no other one."""


def breaks(identifier: str) -> Callable[[Driver], Driver]:
    def add(driver: Driver) -> Driver:
        BROKEN.append((identifier, driver))
        return driver
    return add
