"""Backups on a store in memory, with records as the manager would make them."""

from __future__ import annotations

import dataclasses
import io
import json
import random
from typing import Any, BinaryIO

from backup_framework import model
from backup_framework.driver import chunked
from backup_framework.engine.monitor import Operation
from backup_framework.testing import memory

BLOCK = 512
CHUNK = 4 * BLOCK
CONTAINER = 'shelf'


def make_driver(**values: Any) -> memory.MemoryBackupDriver:
    """A driver on a store of its own, with small chunks and no patience, writing format 1.0.0."""
    return memory.MemoryBackupDriver.make(**{
        'format': '1.0.0', 'chunk_size': CHUNK, 'block_size': BLOCK, 'workers': 0,
        'retry_deadline': 0.0, 'container': CONTAINER} | values)


def make_bytes(length: int, seed: int = 0) -> bytes:
    """Half text, half noise, a run of zeros in the middle: every codec has its case."""
    noise = random.Random(seed).randbytes(length)
    data = bytearray(noise[:length // 2] + b'words and words ' * (length // 32 + 1))[:length]
    zeros = slice(length // 3, length // 3 + min(length // 4, 3 * CHUNK))
    data[zeros] = bytes(len(data[zeros]))
    return bytes(data)


def record(parent: model.Backup | None = None, **fields: Any) -> model.Backup:
    return model.Backup(**{
        'volume_id': 'volume-1', 'created_at': model.utcnow(), 'parent': parent,
        'parent_id': parent.id if parent else None} | fields)


def take(driver: chunked.ChunkedBackupDriver, volume: bytes | BinaryIO,
         parent: model.Backup | None = None, operation: Operation | None = None,
         **fields: Any) -> model.Backup:
    """Back up, and give the record what the driver returned."""
    backup = record(parent, **fields)
    file = io.BytesIO(volume) if isinstance(volume, bytes) else volume
    for field, value in driver.backup(backup, file, operation=operation).items():
        setattr(backup, field, value)
    return backup


def bring_back(driver: chunked.ChunkedBackupDriver, backup: model.Backup) -> bytes:
    target = io.BytesIO()
    driver.restore(backup, 'volume-1', target, True)
    return target.getvalue()


def names(driver: memory.MemoryBackupDriver, container: str = CONTAINER) -> list[str]:
    return sorted(driver.store.containers.get(container, {}))


def data_names(driver: memory.MemoryBackupDriver, backup: model.Backup) -> list[str]:
    return [name for name in names(driver, str(backup.container))
            if name.startswith(f'{backup.service_metadata}-')]


def body(driver: memory.MemoryBackupDriver, name: str, container: str = CONTAINER) -> bytes:
    return driver.store.containers[container][name].data


def overwrite(driver: memory.MemoryBackupDriver, name: str, data: bytes | None,
              container: str = CONTAINER) -> None:
    """Other bytes under an object's name, behind the driver's back; None removes it."""
    if data is None:
        del driver.store.containers[container][name]
    else:
        driver.store.containers[container][name] = memory.Body(data, len(data))


def manifest(driver: memory.MemoryBackupDriver, backup: model.Backup) -> dict[str, Any]:
    return json.loads(body(driver, f'{backup.service_metadata}_metadata'))


def rewrite(driver: memory.MemoryBackupDriver, backup: model.Backup,
            document: dict[str, Any]) -> None:
    """Put another manifest in the place of a backup's, without a digest that would give it away."""
    backup.manifest_digest = None
    ours = document.get('backup_framework')
    if isinstance(ours, dict):
        ours.pop('sha256', None)
    overwrite(driver, f'{backup.service_metadata}_metadata', json.dumps(document).encode())


def copy_of(backup: model.Backup, **fields: Any) -> model.Backup:
    return dataclasses.replace(backup, **fields)
