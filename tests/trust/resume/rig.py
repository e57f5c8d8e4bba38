"""Backups on a store in memory whose process dies at a chosen request, and is followed by another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import io
import random
import re
import uuid

from backup_framework import model
from backup_framework.engine.monitor import Operation
from backup_framework.formats.keyring import Keyring
from backup_framework.model import Extent
from backup_framework.testing import memory

BLOCK = 512
CHUNK = 4 * BLOCK
CONTAINER = 'shelf'
CHUNKS = 9
VOLUME = 'volume-1'

_DATA = re.compile(r'-[0-9]{5,}\Z')


class Killed(BaseException):
    """The end of a process: no store hears of it after that."""


def noise(chunks: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(chunks * CHUNK)


def first_volume() -> bytes:
    """Noise, a hole, text that compresses, and blocks that repeat; its end is no whole block."""
    data = noise(CHUNKS, 1)
    return b''.join((data[:3 * CHUNK], bytes(2 * CHUNK), b'words and words ' * (CHUNK // 16),
                     data[:CHUNK + BLOCK], data[3 * CHUNK:6 * CHUNK + 77]))


def changed(data: bytes, seed: int = 2, step: int = CHUNK + BLOCK) -> bytes:
    """A block of most chunks is another one, one chunk has become zeros."""
    volume = bytearray(data)
    for at in range(BLOCK, len(volume) - BLOCK, step):
        volume[at:at + BLOCK] = random.Random(seed + at).randbytes(BLOCK)
    volume[CHUNK:2 * CHUNK] = bytes(CHUNK)
    return bytes(volume)


class Rig:
    """A store, and the processes that use it one after the other.

    :param keys: that backups are sealed with.
    :ivar options: of the backend.
    """

    def __init__(self, keys: Keyring | None = None, **options: object) -> None:
        self.keys = keys
        self.name = str(uuid.uuid4())
        self.store = memory.shared_store(self.name)
        self.options = {'format': '2.0.0', 'chunk_size': CHUNK, 'block_size': BLOCK, 'workers': 0,
                        'retry_deadline': 0.0, 'container': CONTAINER, **options}

    @contextlib.contextmanager
    def process(self, requests: int | None = None, objects: int | None = None
                ) -> Iterator[memory.MemoryBackupDriver]:
        """A driver. It dies at the request after so many, or when it has stored so many data
        objects; the block ends quietly then.
        """
        left, stored = requests, objects
        dead = False

        def count(verb: str, container: str | None, name: str | None) -> None:
            nonlocal left, stored, dead
            dead = dead or left == 0 or stored == 0
            if dead:
                raise Killed
            left = None if left is None else left - 1
            if stored is not None and verb == 'commit' and _DATA.search(str(name)):
                stored -= 1

        self.store.on_request = count
        try:
            driver = memory.MemoryBackupDriver.make(store=self.name, **self.options)
            driver.keys = self.keys
            yield driver
        except Killed:
            assert dead
        finally:
            self.store.on_request = lambda *_: None
            self.store.temporary.clear()

    def begin(self, volume: bytes, requests: int | None, parent: model.Backup | None = None,
              objects: int | None = None) -> model.Backup | None:
        """A backup whose process dies, see `process`: its record, as it was saved.

        None where it was too early for one that says where objects are, or too late.
        """
        saved: list[model.Backup] = []
        backup = record(parent)
        backup.on_save = lambda each: saved.append(dataclasses.replace(each, on_save=None))
        with self.process(requests, objects) as driver:
            finish(driver, backup, volume)
        return saved[0] if saved and not self.is_committed(saved[0]) else None

    def is_committed(self, backup: model.Backup) -> bool:
        return f'{backup.service_metadata}_metadata' in self.objects()

    def go_on(self, backup: model.Backup, volume: bytes, requests: int | None = None,
              changed: Sequence[Extent] | None = None, **fields: object) -> Operation:
        """A second process takes the backup up."""
        for name, value in fields.items():
            setattr(backup, name, value)
        operation = Operation(resume=True, changed=changed)
        with self.process(requests) as driver:
            finish(driver, backup, volume, operation)
        return operation

    def take(self, volume: bytes, parent: model.Backup | None = None) -> model.Backup:
        backup = record(parent)
        with self.process() as driver:
            finish(driver, backup, volume)
        return backup

    def requests(self, volume: bytes, parent: model.Backup | None = None) -> int:
        """How many there are in a backup that lives; nothing of it stays."""
        asked = 0

        def count(*_: object) -> None:
            nonlocal asked
            asked += 1

        with self.process() as driver:
            self.store.on_request = count
            backup = record(parent)
            finish(driver, backup, volume)
            total = asked
            driver.delete_backup(backup)
        return total

    def objects(self) -> dict[str, bytes]:
        return {name: body.data
                for name, body in self.store.containers.get(CONTAINER, {}).items()}

    def data(self, backup: model.Backup) -> dict[str, int]:
        """The bytes of each data object of a backup."""
        return {name: len(data) for name, data in self.objects().items()
                if name.startswith(str(backup.service_metadata)) and _DATA.search(name)}

    def put(self, name: str, data: bytes | None) -> None:
        """Other bytes under a name; None removes it."""
        if data is None:
            del self.store.containers[CONTAINER][name]
        else:
            self.store.containers[CONTAINER][name] = memory.Body(data, len(data))

    def check(self, backup: model.Backup, volume: bytes) -> None:
        """It is there, whole and right; and when it is deleted nothing is left of it."""
        with self.process() as driver:
            report = driver.verify(backup)
            assert report.ok, report.problems
            target = io.BytesIO()
            driver.restore(backup, VOLUME, target, True)
            assert target.getvalue() == volume
            assert driver.verify(backup, operation=Operation(quick=True)).ok

    def check_and_delete(self, backup: model.Backup, volume: bytes) -> None:
        self.check(backup, volume)
        with self.process() as driver:
            driver.delete_backup(backup)
        assert [name for name in self.objects() if backup.id in name] == []


def record(parent: model.Backup | None = None) -> model.Backup:
    return model.Backup(volume_id=VOLUME, created_at=model.utcnow(), parent=parent,
                        parent_id=parent.id if parent else None)


def finish(driver: memory.MemoryBackupDriver, backup: model.Backup, volume: bytes,
           operation: Operation | None = None) -> None:
    done = driver.backup(backup, io.BytesIO(volume), operation=operation or Operation(resume=True))
    for field, value in done.items():
        setattr(backup, field, value)
