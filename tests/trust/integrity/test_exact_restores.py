"""Every layer of a chain comes back exactly in every kind of target, in every way.

The chain has twenty layers in which data become zeros and zeros become data, and four more, in
which the volume also shrinks and grows to sizes of no particular kind. So each thing that a restore
may leave out, because the target is known to be zeros or to have it already, is wrong somewhere if
it is left out wrongly: Cinder's, for one, brings back what was zeroed since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import hashlib
import itertools
import os
from pathlib import Path
import random
import subprocess
import uuid

import pytest

from backup_framework import conf, exceptions
from backup_framework.key_managers import file as key_files
from backup_framework.manager.manager import Manager, Request, RestoreRequest
from backup_framework.model import Extent
from backup_framework.testing import memory

BLOCK, CHUNK = 4 << 10, 16 << 10
RESIZED = 20
"""Layers before the volume changes its size, which ends a chain of format 1.0.0."""
LAYERS = 24
FORMS = ['2.0.0', '2.0.0 sealed', '1.0.0']
WAYS = ['plain', 'delta', 'range']
TARGETS = ['new', 'sparse', 'prefilled', 'stale', 'larger', 'smaller', 'device']
SAMPLE = (1, 13, 22)
"""Layers of `make test`."""


@dataclasses.dataclass
class Chain:
    """An installation with a volume that was backed up night after night."""

    root: Path
    form: str
    name: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    ids: list[str] = dataclasses.field(default_factory=list)
    volumes: list[bytes] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        sealed = self.form.endswith('sealed')
        key = self.root / 'main.key'
        if sealed:
            key_files.generate(str(key))
        (self.root / 'test.conf').write_text(
            f'[DEFAULT]\nstate_path = {self.root / "state"}\nenabled_backends = main\n'
            f'[main]\ndriver = backup_framework.testing.memory:MemoryBackupDriver\n'
            f'store = {self.name}\nformat = {self.form.split()[0]}\nblock_size = {BLOCK}\n'
            f'chunk_size = {CHUNK}\nworkers = 0\nretry_deadline = 0\n'
            + (f'encryption = aes-256-gcm\nkeys = main\n[key:main]\ntype = file\npath = {key}\n'
               if sealed else ''))
        self.configuration = conf.load([str(self.root / 'test.conf')])

    def manager(self) -> Manager:
        return Manager(self.configuration, warn=lambda sentence: None)

    def make(self) -> Chain:
        disk = self.root / 'disk'
        with self.manager() as manager:
            for volume in itertools.islice(states(), LAYERS):
                disk.write_bytes(volume)
                backup = manager.create(Request(str(disk), incremental=bool(self.ids)))
                self.ids.append(backup.id)
                self.volumes.append(volume)
        return self


def states() -> Iterator[bytes]:
    """A volume, as it was each night."""
    chance = random.Random(11)
    volume = bytearray(chance.randbytes(9 * CHUNK + 123))
    for night in itertools.count():
        yield bytes(volume)
        for _ in range(3):
            at = chance.randrange(len(volume))
            length = chance.choice([1, 700, BLOCK, 3 * BLOCK, CHUNK])
            at -= at % BLOCK if length % BLOCK == 0 else 0
            length = min(length, len(volume) - at)
            zero = chance.random() < 0.5
            volume[at:at + length] = bytes(length) if zero else chance.randbytes(length)
        if night + 1 in (RESIZED, RESIZED + 2):
            del volume[-chance.randrange(1, 2 * CHUNK):]
        if night + 1 in (RESIZED + 1, RESIZED + 3):
            volume += bytes(CHUNK) + chance.randbytes(chance.randrange(1, CHUNK))


@dataclasses.dataclass
class Target:
    """:ivar before: what is there; None for a new file."""

    path: Path
    before: bytes | None

    def content(self) -> bytes:
        return self.path.read_bytes()


@contextlib.contextmanager
def target(kind: str, folder: Path, size: int, older: bytes) -> Iterator[Target]:
    """:param older: what the volume had another night."""
    path = folder / 'target'
    path.unlink(missing_ok=True)
    noise = random.Random(size).randbytes
    if kind == 'new':
        yield Target(path, None)
        return
    if kind == 'device':
        with device(folder, -(-size // 4096) * 4096 + 8192) as made:
            yield made
        return
    before = {'sparse': bytes(size), 'prefilled': b'\xaa' * size, 'larger': noise(size + 5000),
              'stale': older[:size].ljust(size, b'\xaa'), 'smaller': noise(max(0, size - 1))}[kind]
    path.write_bytes(b'' if kind == 'sparse' else before)
    os.truncate(path, len(before))
    yield Target(path, before)


@contextlib.contextmanager
def device(folder: Path, size: int) -> Iterator[Target]:
    backing = folder / 'backing'
    before = random.Random(3).randbytes(size)
    backing.write_bytes(before)
    made = subprocess.run(['losetup', '--find', '--show', backing], capture_output=True, text=True,
                          check=False)
    if made.returncode:
        pytest.skip(f'no loop device here: {made.stderr.strip()}')
    path = Path(made.stdout.strip())
    try:
        yield Target(path, before)
    finally:
        subprocess.run(['losetup', '--detach', path], check=True)


def expected(volume: bytes, before: bytes | None, wanted: Extent | None) -> bytes:
    """What must be in the target: outside of what is restored all is as it was."""
    start, end = (wanted.offset, wanted.end) if wanted else (0, len(volume))
    if before is None:
        return volume[start:end]
    return before[:start] + volume[start:end] + before[end:]


def request(way: str, kind: str, path: Path, size: int, chance: random.Random) -> RestoreRequest:
    wanted = None
    if way == 'range':
        start = chance.randrange(size)
        wanted = Extent(start, chance.randrange(1, size - start + 1))
    return RestoreRequest(str(path), force=kind != 'new', delta=way == 'delta', wanted=wanted)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope='module')
def make_chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Chain]]:
    made: dict[str, Chain] = {}

    def make(form: str) -> Chain:
        if form not in made:
            made[form] = Chain(tmp_path_factory.mktemp('chain'), form).make()
        return made[form]

    yield make
    for chain in made.values():
        memory.forget_store(chain.name)


def restore_all(chain: Chain, kind: str, layers: range | tuple[int, ...], folder: Path) -> int:
    if kind == 'device' and os.geteuid():
        pytest.skip('only root makes loop devices')
    chance = random.Random(kind)
    visited = 0
    with chain.manager() as manager:
        for layer, way in itertools.product(layers, WAYS):
            volume, backup_id = chain.volumes[layer - 1], chain.ids[layer - 1]
            with target(kind, folder, len(volume), chain.volumes[layer - 4]) as made:
                asked = request(way, kind, made.path, len(volume), chance)
                check(manager, backup_id, asked, volume, made, kind)
            visited += 1
    return visited


def check(manager: Manager, backup_id: str, asked: RestoreRequest, volume: bytes, made: Target,
          kind: str) -> None:
    if kind == 'smaller' and (asked.wanted is None or asked.wanted.end == len(volume)):
        with pytest.raises(exceptions.InvalidTarget):
            manager.restore(backup_id, asked)
        assert made.content() == made.before
        return
    restored = manager.restore(backup_id, asked)
    right = expected(volume, made.before, asked.wanted)
    assert sha256(made.content()) == sha256(right), (backup_id, asked)
    if kind == 'larger' and asked.wanted is None:
        assert restored.tail == 5000


each_form = pytest.mark.parametrize('form', FORMS)
each_target = pytest.mark.parametrize('kind', TARGETS)


@each_target
@each_form
def test_some_layers(form: str, kind: str, make_chain: Callable[[str], Chain], tmp_path: Path
                     ) -> None:
    """21 tests of 9: 189 in all."""
    assert restore_all(make_chain(form), kind, SAMPLE, tmp_path) == 3 * len(SAMPLE)


@pytest.mark.long
@each_target
@each_form
def test_every_layer(form: str, kind: str, make_chain: Callable[[str], Chain], tmp_path: Path
                     ) -> None:
    """21 tests of 72: 1,512 in all."""
    assert restore_all(make_chain(form), kind, range(1, LAYERS + 1), tmp_path) == 3 * LAYERS


def test_the_layers_have_what_they_should() -> None:
    """Data that became zeros on another layer than the first, and the other way round."""
    volumes = list(itertools.islice(states(), LAYERS))
    became = {'zeros': 0, 'data': 0, 'shorter': 0, 'longer': 0}
    for before, after in itertools.pairwise(volumes):
        became['shorter'] += len(after) < len(before)
        became['longer'] += len(after) > len(before)
        for at in range(0, min(len(before), len(after)) - BLOCK, BLOCK):
            one, two = any(before[at:at + BLOCK]), any(after[at:at + BLOCK])
            became['zeros'] += one and not two
            became['data'] += two and not one
    assert len(volumes) == LAYERS and min(became['zeros'], became['data']) >= 10, became
    assert (became['shorter'], became['longer']) == (2, 2), became
    assert all(len(volume) % 512 for volume in volumes)
