"""Power cuts on real file systems: their image is copied while they are mounted, and mounted again.

Store and catalog are on ext4, XFS or btrfs in a file. What the file holds at a moment is what a
disk would hold: the rest is in memory. Copies are taken at calls of two backups, a restore and a
delete, before and after each fsync among them; mounting a copy replays the file system's journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import os
from pathlib import Path
import random
import shutil
import subprocess

import pytest

from backup_framework.drivers import local
from backup_framework.manager.manager import RestoreRequest
from backup_framework.model import Status
from tests.trust.crash import children, oracle
from tests.trust.crash.points import Points
from tests.trust.crash.world import OURS, SECOND, STATES, World

MIB = 1 << 20
MAKERS = {'ext4': ('mkfs.ext4', 'e2fsprogs', 64), 'xfs': ('mkfs.xfs', 'xfsprogs', 300),
          'btrfs': ('mkfs.btrfs', 'btrfs-progs', 128)}
OPTIONS = {'xfs': ',nouuid'}
POINTS = 770
"""So many points the operations have, about."""
FEW, MANY = 3, 100


@pytest.fixture(params=MAKERS)
def image(request: pytest.FixtureRequest, place: Path,
          require_part: Callable[[str, str], None]) -> tuple[Path, str]:
    """A file with an empty file system, and its kind."""
    tool, package, mib = MAKERS[request.param]
    if os.geteuid():
        pytest.skip('only root can mount')
    if shutil.which(tool) is None:
        require_part(package, f'no {tool}')
    path = place / 'image'
    with open(path, 'wb') as file:
        file.truncate(mib * MIB)
    subprocess.run([tool, '-q', str(path)], check=True, capture_output=True, timeout=60)
    return path, request.param


@contextlib.contextmanager
def mounted(image: Path, kind: str, point: Path) -> Iterator[Path]:
    point.mkdir(exist_ok=True)
    done = subprocess.run(['mount', '-t', kind, '-o', f'loop{OPTIONS.get(kind, "")}', str(image),
                           str(point)], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        pytest.skip(f'this machine mounts no {kind} from a file: {done.stderr.strip()}')
    try:
        yield point
    finally:
        subprocess.run(['umount', str(point)], check=True, capture_output=True, timeout=60)


class Cuts(Points):
    """Copies an image at some of the points.

    :ivar taken: copies, and what had been done by then.
    """

    def __init__(self, image: Path, every: int, first: int) -> None:
        super().__init__(0, lambda: None)
        self._image, self._every, self._first = image, every, first
        self._done: set[str] = set()
        self.taken: list[tuple[Path, frozenset[str]]] = []

    def done(self, name: str) -> None:
        """An operation was acknowledged; now is a moment, too."""
        self._done.add(name)
        self._cut()

    def here(self, kind: str) -> None:
        super().here(kind)
        if self.count % self._every == self._first:
            self._cut()

    def _cut(self) -> None:
        copy = self._image.with_name(f'cut{len(self.taken)}')
        subprocess.run(['cp', '--sparse=always', str(self._image), str(copy)], check=True,
                       timeout=60)
        self.taken.append((copy, frozenset(self._done)))


def work(made: World, cuts: Cuts) -> list[tuple[Path, frozenset[str]]]:
    cuts.interpose(local.LocalBackupDriver, sync=True)
    made.write_configuration()
    with made.manager() as manager:
        for name in ('first', 'second'):
            made.set_disk(STATES[name])
            made.create(manager, name, incremental=name == 'second')
            cuts.done(name)
        manager.restore('second', RestoreRequest(str(made.target)))
        cuts.done('restored')
        # From here on it may be there, or not.
        cuts.done('-first')
        oracle.delete_named(manager, ['first'])
        cuts.done('gone')
    return cuts.taken


def judge(made: World, done: frozenset[str]) -> None:
    """All that was acknowledged is there, whatever is there is whole, and work goes on."""
    made.write_configuration()
    wanted = {name for name in STATES if name in done and f'-{name}' not in done}
    if 'restored' in done or made.target.exists():
        assert made.target.read_bytes() == SECOND, 'the restored file is not what it was'
    with made.manager() as manager:
        there = {}
        for backup in manager.catalog.backups():
            if backup.status == Status.AVAILABLE:
                there[backup.display_name] = backup.id
                assert made.restore(manager, backup.id) == STATES[str(backup.display_name)]
        assert wanted <= there.keys(), f'{wanted - there.keys()} are lost'
        assert not ('gone' in done and 'first' in there), 'a deleted backup is back'
        made.set_disk(STATES['third'])
        third = made.create(manager, 'third', incremental=True)
        assert made.restore(manager, third.id) == STATES['third']
        oracle.delete_named(manager, [str(each.display_name)
                                      for each in manager.catalog.backups()])


def cut(image: tuple[Path, str], wanted: int, seed: int) -> int:
    """How many power cuts were judged."""
    path, kind = image
    every = max(1, POINTS // wanted)
    first = random.Random(seed).randrange(every)
    print(f'{kind}: at each point {first} modulo {every}')
    with mounted(path, kind, path.with_name('mount')) as point:
        made = World(point / 'world', OURS)
        cuts = Cuts(path, every, first)
        taken = children.good(lambda: work(made, cuts))
    for number, (copy, done) in enumerate(taken):
        with mounted(copy, kind, path.with_name('again')) as point:
            ended = children.run(lambda at=point, by=done: judge(World(at / 'world', OURS), by))
            assert not ended.trouble, f'cut {number}, done {sorted(done)}: {ended.trouble}'
        copy.unlink()
    return len(taken)


def test_some_power_cuts(image: tuple[Path, str]) -> None:
    assert cut(image, FEW, seed=1) >= FEW


@pytest.mark.long
def test_many_power_cuts(image: tuple[Path, str]) -> None:
    assert cut(image, MANY, int.from_bytes(os.urandom(4))) >= MANY
