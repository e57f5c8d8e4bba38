"""Sealed backups on a store in memory: recipients, drivers, and what is found in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import hashlib
import io
from typing import Any

import pytest

from backup_framework import exceptions, model, store
from backup_framework.driver import chunked
from backup_framework.engine.monitor import Operation
from backup_framework.formats.keyring import Keyring, Recipient
from backup_framework.formats.v2 import key_sets
from backup_framework.interface.key_manager import KeyManager
from backup_framework.key_managers import wrapping
from backup_framework.testing import memory
from tests.unit.driver import chains

BLOCK, CHUNK, CONTAINER = chains.BLOCK, chains.CHUNK, chains.CONTAINER


class KnownKey(KeyManager):
    """A key that everybody can work out from its name."""

    def __init__(self, name: str) -> None:
        self._key = hashlib.sha256(name.encode()).digest()

    def wrap(self, key: bytes, context: bytes) -> dict[str, Any]:
        return wrapping.wrap(self._key, key, context)

    def unwrap(self, wrapped: Mapping[str, Any], context: bytes) -> bytes:
        return wrapping.unwrap(self._key, wrapped, context)


def recipient(name: str) -> Recipient:
    return Recipient(name, 'known', KnownKey(name))


def ring(*names: str, others: Sequence[str] = (), **how: bool) -> Keyring:
    """Seals for these, and opens what is sealed for the others too."""
    return Keyring([recipient(name) for name in names], [recipient(name) for name in others], **how)


def driver(keys: Keyring | None = None, beside: memory.MemoryBackupDriver | None = None,
           **values: Any) -> memory.MemoryBackupDriver:
    """A driver that writes format 2.0.0, on a store of its own or that of another driver."""
    made = chains.make_driver(**{'format': '2.0.0'} | values)
    if beside is not None:
        made.store = beside.store
    made.keys = keys
    return made


def objects(of: memory.MemoryBackupDriver) -> dict[str, bytes]:
    return {name: chains.body(of, name) for name in chains.names(of)}


def put(of: memory.MemoryBackupDriver, there: Mapping[str, bytes]) -> None:
    """Give the store exactly these objects."""
    of.store.containers[CONTAINER] = {
        name: memory.Body(data, len(data)) for name, data in there.items()}


def recorded_nowhere(backup: model.Backup) -> model.Backup:
    """The record as a rebuilt catalog would have it of the same store."""
    return chains.copy_of(backup, manifest_digest=None)


def verify(of: chunked.ChunkedBackupDriver, backup: model.Backup, **how: Any) -> list[str]:
    """What is found to be wrong."""
    report = of.verify(backup, operation=Operation(**how))
    return list(report.problems)


def changed(data: bytes, step: int = 5 * BLOCK) -> bytes:
    """A block here and there is another one."""
    volume = bytearray(data)
    for at in range(step, len(volume) - BLOCK, 2 * step):
        volume[at:at + BLOCK] = hashlib.sha256(volume[at:at + BLOCK]).digest() * (BLOCK // 32)
    return bytes(volume)


class Stream(io.RawIOBase):
    """Bytes that can be read once, in order."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return self._file.readinto(buffer)


class Metadata:
    """A volume's metadata that is always the same."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get(self, volume_id: str) -> str:
        return self._text

    def put(self, volume_id: str, json_metadata: str) -> None:
        assert json_metadata == self._text


def keys_of(of: memory.MemoryBackupDriver, backup: model.Backup, *names: str
            ) -> Mapping[str, bytes]:
    """The data keys that a backup's keys hold."""
    box = store.Container(of, CONTAINER)
    return key_sets.read(box, str(backup.service_metadata), ring(*names)).keys


def refusals(of: memory.MemoryBackupDriver, backup: model.Backup) -> list[str]:
    """Restoring a backup and verifying it find out that something is wrong; what they say."""
    with pytest.raises((exceptions.FormatError, exceptions.InvalidBackup)) as caught:
        chains.bring_back(of, backup)
    try:
        problems = verify(of, backup)
        assert problems
    except (exceptions.KeyUnavailable, exceptions.InvalidBackup) as error:
        problems = [str(error)]
    return [str(caught.value), *problems]
