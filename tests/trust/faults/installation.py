"""An installation in this process: a real catalog and manager, two stores in memory, one volume."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import shutil
import tempfile
from typing import Any
import uuid

from backup_framework import conf
from backup_framework.driver import chunked
from backup_framework.manager import Manager, copying
from backup_framework.manager.creating import Request
from backup_framework.manager.restoring import Request as RestoreRequest
from backup_framework.model import Backup
from backup_framework.testing import memory
from tests.trust.faults.striking import Striker, StrikingDriver
from tests.unit.driver import chains

BACKENDS = ('shelf', 'elsewhere')
_CLASS = 'backup_framework.testing.memory.MemoryBackupDriver'


class Installation:
    """:ivar manager: of this moment; `restart` makes another one on the same catalog.

    :param driver: lines of each backend's section beside the shared ones; {name} is the backend.
    """

    def __init__(self, directory: Path, version: str = '2.0.0', driver: str = '',
                 deadline: float = 60.0) -> None:
        self.directory = directory
        self.state = directory / 'state'
        self.volume = directory / 'volume'
        self.warnings: list[str] = []
        self._number = uuid.uuid4()
        self._stores = {name: f'{name}-{self._number}' for name in BACKENDS}
        memory_driver = f'driver = {_CLASS}\nstore = {{name}}-{self._number}'
        sections = '\n'.join(
            f'[{name}]\n{(driver or memory_driver).format(name=name)}\n'
            f'format = {version}\nchunk_size = {2 * 4096}\nblock_size = 4096\nworkers = 0\n'
            f'retry_deadline = {deadline}' for name in BACKENDS)
        config = directory / 'test.conf'
        config.write_text(f'[DEFAULT]\nstate_path = {self.state}\n'
                          f'enabled_backends = {", ".join(BACKENDS)}\n{sections}\n')
        self._configuration = conf.load([str(config)])
        self.manager = self._start()
        self._kept: dict[str, dict[str, dict[str, memory.Body]]] = {}

    def _start(self) -> Manager:
        manager = Manager(self._configuration, warn=self.warnings.append)
        manager.__enter__()
        return manager

    def restart(self) -> None:
        """As the next command: dead operations are found first."""
        self.manager.__exit__()
        self.manager = self._start()

    def close(self) -> None:
        self.manager.__exit__()
        for name in self._stores.values():
            memory.forget_store(name)

    def strike(self, striker: Striker) -> None:
        """The stores of this manager are struck, in one count of calls."""
        for name in BACKENDS:
            driver = self.manager.drivers.get(name)
            assert isinstance(driver, chunked.ChunkedBackupDriver)
            struck = StrikingDriver(driver)
            struck.volume_metadata = driver.volume_metadata
            struck.old_names = list(self.store(name).containers.get('shelf', ()))
            struck.strike(striker)
            self.manager.drivers._open[name] = struck

    def store(self, backend: str = 'shelf') -> memory.MemoryStore:
        return memory.shared_store(self._stores[backend])

    def keep(self) -> None:
        """Remember all for `reset`."""
        self.manager.__exit__()
        shutil.copytree(self.state, self.directory / 'kept')
        self._kept = {name: {box: dict(objects) for box, objects
                             in self.store(name).containers.items()} for name in BACKENDS}
        self.manager = self._start()

    def reset(self) -> None:
        self.manager.__exit__()
        shutil.rmtree(self.state)
        shutil.copytree(self.directory / 'kept', self.state)
        for name, boxes in self._kept.items():
            self.store(name).containers = {box: dict(found) for box, found in boxes.items()}
        self.warnings.clear()
        self.manager = self._start()

    # Commands

    def write(self, seed: int) -> bytes:
        """Change a part of the volume."""
        data = bytearray(self.volume.read_bytes() if self.volume.exists()
                         else chains.make_bytes(5 * 8192 + 512))
        at = 3000 * seed % 30000
        data[at:at + 6000] = chains.make_bytes(6000, seed=seed)
        self.volume.write_bytes(data)
        return bytes(data)

    def create(self, **how: Any) -> Backup:
        return self.manager.create(Request(str(self.volume), container='shelf', **how))

    def restored(self, backup: str) -> bytes:
        target = self.directory / 'target'
        target.unlink(missing_ok=True)
        self.manager.restore(backup, RestoreRequest(str(target)))
        return target.read_bytes()

    def delete(self, backup: str) -> None:
        for each in self.manager.plan_delete([backup], with_dependents=True):
            self.manager.delete(each)

    def copy(self, backup: str) -> list[Backup]:
        return list(self.manager.copy(backup, copying.Request('elsewhere', container='shelf')))


@contextlib.contextmanager
def quick_directory() -> Iterator[Path]:
    """A directory in memory where there is one: a catalog's commits take no time there."""
    place = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix='bf-faults-', dir=place) as made:
        yield Path(made)
