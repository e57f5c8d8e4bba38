"""A catalog, two stores and a volume in one directory, in a state that can be had again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import hashlib
import os
from pathlib import Path
import pickle
import random
import shutil
import sqlite3
from typing import Any

from backup_framework import conf
from backup_framework.manager.manager import Manager, Request, RestoreRequest
from backup_framework.model import Backup
from backup_framework.testing import memory
from tests.trust.crash import children

CINDERS, OURS = '1.0.0', '2.0.0'
KIB = 1 << 10
CHUNK, BLOCK = 64 * KIB, 4 * KIB
SIZE = (1 << 20) + 512
SMALL, GATHERED = 24 * KIB, 64 * KIB
"""What a chunk and an object of gathered chunks have in format 2.0.0, so that a small volume makes
objects of both kinds."""
MEMORY = 'backup_framework.testing.memory:MemoryBackupDriver'
_TIMES = {'created_at', 'updated_at', 'data_timestamp', 'started_at', 'lease_until', 'pid'}


def volume_states() -> list[bytes]:
    """Three states of a volume: data, duplicates and zeros; some of each become something else."""
    source = random.Random(7)
    first = bytearray(SIZE)
    for chunk in (0, 1, 2, 5, 9, 16):
        data = source.randbytes(CHUNK)[:SIZE - chunk * CHUNK]
        first[chunk * CHUNK:chunk * CHUNK + len(data)] = data
    first[12 * CHUNK:13 * CHUNK] = first[5 * CHUNK:6 * CHUNK]
    second = bytearray(first)
    second[CHUNK:CHUNK + 9 * BLOCK] = source.randbytes(9 * BLOCK)
    second[9 * CHUNK:10 * CHUNK] = bytes(CHUNK)
    second[7 * CHUNK:7 * CHUNK + BLOCK] = source.randbytes(BLOCK)
    third = bytearray(second)
    third[2 * CHUNK + 3 * BLOCK:2 * CHUNK + 13 * BLOCK] = source.randbytes(10 * BLOCK)
    third[10 * CHUNK:10 * CHUNK + BLOCK] = source.randbytes(BLOCK)
    third[14 * CHUNK:14 * CHUNK + 2 * BLOCK] = source.randbytes(2 * BLOCK)
    third[5 * CHUNK:5 * CHUNK + 2 * BLOCK] = bytes(2 * BLOCK)
    return [bytes(first), bytes(second), bytes(third)]


FIRST, SECOND, THIRD = volume_states()
STATES = {'first': FIRST, 'second': SECOND, 'third': THIRD}


@dataclasses.dataclass(frozen=True)
class World:
    """:param root: holds the installation, the volume `disk` and, where they are directories, the
        stores `main` and `other`.
    :param options: of the driver; NAME in them is `main` or `other`.
    :param listing: what a store elsewhere holds, with sizes.
    """

    root: Path
    version: str = OURS
    driver: str = 'local'
    options: tuple[tuple[str, object], ...] = ()
    durability: str = 'object'
    workers: int = 0
    listing: Callable[[str], dict[str, int]] | None = None

    @property
    def config(self) -> Path:
        return self.root / 'test.conf'

    @property
    def state(self) -> Path:
        """Not beside the stores, whose drivers sync the directory that they are in."""
        return self.root / 'own' / 'state'

    @property
    def disk(self) -> Path:
        return self.root / 'disk'

    @property
    def target(self) -> Path:
        return self.root / 'target'

    def write_configuration(self) -> None:
        (self.root / 'own').mkdir(parents=True, exist_ok=True)
        common = {'chunk_size': CHUNK, 'block_size': BLOCK, 'workers': self.workers,
                  'retry_deadline': 1, 'format': self.version}
        lines = [f'[DEFAULT]\nstate_path = {self.state}\n'
                 'enabled_backends = main, other\ndefault_backend = main']
        for name in ('main', 'other'):
            lines += [f'[{name}]', *(f'{option} = {value}' for option, value in
                                     (self._options(name) | common).items())]
        self.config.write_text('\n'.join(lines) + '\n')

    def _options(self, name: str) -> dict[str, object]:
        if self.driver == 'memory':
            return {'driver': MEMORY, 'store': f'{self.root}/{name}'}
        place = ({} if self.driver == 'gcs' else {'path': f'{self.root}/{name}'}) | dict(
            self.options)
        return {'driver': self.driver, **{option: str(value).replace('NAME', name)
                                          for option, value in place.items()},
                **({'durability': self.durability} if self.driver in ('local', 'nfs') else {})}

    @contextlib.contextmanager
    def manager(self) -> Iterator[Manager]:
        """A command's: what died is recovered, and all is closed at the end."""
        configuration = conf.load([str(self.config)])
        with Manager(configuration, warn=lambda sentence: None) as manager:
            yield manager

    def set_disk(self, state: bytes) -> None:
        self.disk.write_bytes(state)

    def create(self, manager: Manager, name: str, **how: Any) -> Backup:
        return manager.create(Request(str(self.disk), name=name, force=True, **how))

    def restore(self, manager: Manager, backup: str) -> bytes:
        """The bytes of a backup."""
        target = self.root / 'compared'
        target.unlink(missing_ok=True)
        manager.restore(backup, RestoreRequest(str(target)))
        data = target.read_bytes()
        target.unlink()
        return data

    def begin(self) -> None:
        """Two backups, a full one and one on it; the volume is in its third state."""
        self.write_configuration()
        with self.manager() as manager:
            for name in ('first', 'second'):
                self.set_disk(STATES[name])
                self.create(manager, name, incremental=name == 'second')
        self.set_disk(THIRD)
        self.keep()

    # A store in memory outlives a process as a file.

    def _kept(self, name: str) -> Path:
        return self.root / f'{name}.pickle'

    def keep(self) -> None:
        """Called before a process ends, in whatever way."""
        if self.driver != 'memory':
            return
        for name in ('main', 'other'):
            store = memory.shared_store(f'{self.root}/{name}')
            # By a name that is not interposed: this is the work of the test.
            with open(self._kept(name), 'wb') as file:
                pickle.dump((store.containers, store.temporary), file)

    def take_up(self) -> None:
        """Called when a process begins."""
        if self.driver != 'memory':
            return
        for name in ('main', 'other'):
            store = memory.shared_store(f'{self.root}/{name}')
            if self._kept(name).exists():
                with open(self._kept(name), 'rb') as file:
                    store.containers, store.temporary = pickle.load(file)

    def begun(self) -> list[str]:
        """The backends that have a store by now."""
        return [name for name in ('main', 'other') if self.driver in ('memory', 'gcs')
                or (self.root / name).is_dir()]

    def raw(self) -> dict[str, int]:
        """Everything in the stores, temporary and hidden names too, with sizes."""
        found: dict[str, int] = {}
        for name in ('main', 'other'):
            if self.listing is not None:
                found |= self.listing(name)
            elif self.driver == 'memory':
                store = memory.shared_store(f'{self.root}/{name}')
                for container, objects in store.containers.items():
                    found |= {f'{name}/{container}/{each}': body.size
                              for each, body in objects.items()}
                found |= {f'{name}/{container}/{each}': 0 for container, each in store.temporary}
            else:
                found |= {str(file.relative_to(self.root)): file.stat().st_size
                          for file in (self.root / name).rglob('*') if file.is_file()}
        return found

    def mark(self) -> tuple[object, ...]:
        """Equal for two worlds that differ in nothing but times."""
        files = []
        for path in sorted(self.root.rglob('*')):
            name = str(path.relative_to(self.root))
            if path.is_file() and not name.startswith('own/state/catalog'):
                exact = not name.endswith(('_metadata', '.pickle'))
                files.append((name, path.stat().st_size,
                              hashlib.blake2b(path.read_bytes()).digest() if exact else b''))
            elif path.is_dir():
                files.append((name, -1, b''))
        stored = tuple(sorted(self._pickled().items())) if self.driver == 'memory' else ()
        return (*files, *stored, self._rows())

    def _pickled(self) -> dict[str, int]:
        found = {}
        for name in ('main', 'other'):
            with open(self._kept(name), 'rb') as file:
                containers, temporary = pickle.load(file)
            found |= {f'{name}/{box}/{each}': body.size
                      for box, objects in containers.items() for each, body in objects.items()}
            found |= {f'{name}/{box}': 0 for box in containers}
            found |= {f'{name}/{box}/{each}': -1 for box, each in temporary}
        return found

    def _rows(self) -> tuple[object, ...]:
        """What the catalog holds, without times and process ids."""
        path = self.state / 'catalog.sqlite'
        if not path.exists():
            return ()
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.row_factory = sqlite3.Row
            tables = [row[0] for row in database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
            return tuple(
                (table, tuple(sorted(
                    (key, str(row[key])) for key in row.keys() if key not in _TIMES)))
                for table in tables for row in database.execute(f'SELECT * FROM {table}'))

    def operations(self) -> int:
        """Rows of running operations in the catalog."""
        return sum(1 for row in self._rows() if row[0] == 'operations')


class Copies:
    """A world that is put back to its beginning again and again."""

    def __init__(self, world: World, prepare: Callable[[World], None]) -> None:
        self.world = world
        self._kept = world.root.with_name(f'{world.root.name}.kept')
        children.good(lambda: prepare(world), seed='the beginning')
        shutil.copytree(world.root, self._kept)

    def again(self) -> World:
        shutil.rmtree(self.world.root)
        shutil.copytree(self._kept, self.world.root)
        return self.world

    def copy_to(self, place: Path) -> None:
        shutil.copytree(self._kept, place)

    def close(self) -> None:
        for path in (self.world.root, self._kept):
            shutil.rmtree(path, ignore_errors=True)


def memory_directory() -> Path | None:
    """A directory in memory, where thousands of worlds cost no disk."""
    place = Path('/dev/shm')
    return place if os.access(place, os.W_OK) else None
