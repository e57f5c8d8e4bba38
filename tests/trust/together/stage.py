"""A catalog and a store in memory, put back to the same beginning for each run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
import datetime
import io
from pathlib import Path
import random
import shutil

from backup_framework import conf, exceptions, model
from backup_framework.manager.manager import Manager, Request, RestoreRequest
from backup_framework.model import Backup, Status
from backup_framework.testing import memory
from tests.trust.together.scheduler import Command, Run, Segment, stopping

BLOCK, CHUNK, BLOCKS = 1024, 4096, 12
DRIVER = 'backup_framework.testing.memory:MemoryBackupDriver'
REFUSALS = (exceptions.Refused, exceptions.NotFound, exceptions.InvalidInput)


def now() -> datetime.datetime:
    return model.utcnow()


def state(seed: int, parent: bytes | None = None) -> bytes:
    """A volume; with a parent, two of its blocks are others."""
    source = random.Random(seed)
    if parent is None:
        return source.randbytes(BLOCK * BLOCKS)
    changed = bytearray(parent)
    for at in source.sample(range(BLOCKS), 2):
        changed[at * BLOCK:(at + 1) * BLOCK] = source.randbytes(BLOCK)
    return bytes(changed)


@dataclasses.dataclass
class Stage:
    """:ivar held: what each backup has, by its name.
    :ivar leftovers: there were some at the beginning: all that is found at the end must be mended.
    :ivar thorough: look for disagreements after each run.
    """

    root: Path
    version: str = '2.0.0'
    held: dict[str, bytes] = dataclasses.field(default_factory=dict)
    options: str = ''
    driver: str = DRIVER
    place: str | None = None
    leftovers: bool = False
    thorough: bool = False

    def __post_init__(self) -> None:
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.write_text(
            f'[DEFAULT]\nstate_path = {self.state}\nenabled_backends = main\n'
            f'[main]\ndriver = {self.driver}\n{self.place or f"store = {self.root}"}\n'
            f'chunk_size = {CHUNK}\nblock_size = {BLOCK}\n'
            f'workers = 0\nretry_deadline = 0\ncompression = none\n'
            f'format = {self.version}\n{self.options}\n')
        self.load()
        self._kept: dict[str, dict[str, memory.Body]] = {}

    def load(self) -> None:
        """Read the configuration, which may have been changed."""
        self._configuration = conf.load([str(self.config)])

    @property
    def config(self) -> Path:
        return self.root / 'test.conf'

    @property
    def state(self) -> Path:
        return self.root / 'state'

    @property
    def store(self) -> memory.MemoryStore:
        return memory.shared_store(str(self.root))

    def manager(self) -> Manager:
        return Manager(self._configuration, warn=lambda sentence: None)

    def write(self, name: str, data: bytes, volume: str = 'disk') -> None:
        """Give the volume the state that the backup of this name is to have."""
        (self.root / volume).write_bytes(data)
        self.held[name] = data

    def create(self, name: str, volume: str = 'disk', **how: object) -> Callable[[], None]:
        def command() -> None:
            with self.manager() as manager:
                manager.create(Request(str(self.root / volume), name=name, force=True, **how))
        return command

    def delete(self, name: str) -> Callable[[], None]:
        def command() -> None:
            with self.manager() as manager:
                for backup in manager.plan_delete([name]):
                    manager.delete(backup)
        return command

    def restore(self, name: str) -> Callable[[], None]:
        target = self.root / 'restored'

        def command() -> None:
            with self.manager() as manager:
                manager.restore(name, RestoreRequest(str(target), force=True, truncate=True))
            assert target.read_bytes() == self.held[name], f'{name} was restored wrongly'
        return command

    def keep(self) -> None:
        """This is the beginning to which each run goes back."""
        self._kept = {name: dict(objects) for name, objects in self.store.containers.items()}
        shutil.copytree(self.state, self.root / 'kept', dirs_exist_ok=True)

    def again(self) -> None:
        self.store.containers = {name: dict(objects) for name, objects in self._kept.items()}
        shutil.rmtree(self.state)
        shutil.copytree(self.root / 'kept', self.state)

    def run(self, commands: Sequence[Command], segments: Sequence[Segment],
            coarse: bool = False) -> Run:
        self.again()
        run = Run(commands, segments, coarse)
        with stopping(run, self.store):
            return run()

    def check(self, run: Run) -> None:
        """What must be true whatever the order was; then that deleting all leaves nothing."""
        strange = [error for error in run.errors
                   if error is not None and not isinstance(error, REFUSALS)]
        assert not strange, (strange, run.trace)
        with self.manager() as manager:
            backups = manager.catalog.backups()
            unfinished = [each.status for each in backups if each.status not in (
                Status.AVAILABLE, Status.ERROR, Status.ERROR_DELETING)
                and each.id not in manager.catalog.postponed()]
            assert not unfinished, (unfinished, run.trace)
            for backup in backups:
                self._check_backup(manager, backup, run)
            if self.leftovers or self.thorough:
                found = [each.sentence for each in manager.check_catalog(repair=self.leftovers)
                         if not each.is_mended and each.kind != 'delete']
                assert not found, (found, run.trace)
            self._delete_all(manager)
        left = {name: sorted(objects) for name, objects in self.store.containers.items()
                if objects}
        assert not left, (left, run.trace)

    def _check_backup(self, manager: Manager, backup: Backup, run: Run) -> None:
        if backup.status != Status.AVAILABLE:
            return
        target = io.BytesIO()
        try:
            manager.catalog.chain(backup)
            # By the driver alone, which takes a third of the time.
            manager.drivers.get('main').restore(backup, '', target)
        except exceptions.BackupFrameworkError as error:
            raise AssertionError(f'{backup.display_name}: {error}', run.trace) from error
        assert target.getvalue() == self.held[str(backup.display_name)], run.trace

    def _delete_all(self, manager: Manager) -> None:
        left = [each.id for each in manager.catalog.backups()]
        for backup in manager.plan_delete(left, with_dependents=True):
            if manager.catalog.has_backup(backup.id):
                manager.delete(backup)
        assert manager.catalog.backups() == []

    def close(self) -> None:
        memory.forget_store(str(self.root))
        shutil.rmtree(self.root, ignore_errors=True)
