"""Many processes of the real command line: only documented refusals, and nothing is lost."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from concurrent import futures
import contextlib
import json
from pathlib import Path
import random
import threading
import time

import pytest

from tests.functional.command_line import CommandLine
from tests.unit.catalog.conftest import postgresql  # noqa: F401

WORKERS = 8
VOLUMES = ('one', 'two', 'three')
GOOD, NOT_FOUND, REFUSED, USAGE, CORRUPT = 0, 3, 4, 2, 6
EXPECTED = {
    'create': {GOOD, REFUSED}, 'restore': {GOOD, NOT_FOUND, REFUSED},
    'delete': {GOOD, NOT_FOUND, REFUSED}, 'verify': {GOOD, NOT_FOUND, REFUSED},
    # A record that points to nothing any more is bad input; a known one is refused.
    'export': {GOOD, NOT_FOUND, REFUSED}, 'import': {GOOD, USAGE, REFUSED},
    # What is in motion is said, not counted as damage.
    'rebuild': {GOOD, CORRUPT}, 'repair': {GOOD, CORRUPT}}
"""The exit codes that are documented for a command beside others; everything else is a failure."""


class Crowd:
    """Workers with one catalog and one store.

    :ivar held: what each backup has, by its name.
    :ivar going: names that somebody has tried to delete.
    :ivar outcomes: how often a command ended with which code.
    """

    def __init__(self, directory: Path, database: str | None) -> None:
        self._directory = directory
        self._database = database
        self._lock = threading.Lock()
        self.held: dict[str, bytes] = {}
        self.going: set[str] = set()
        self.outcomes: collections.Counter[tuple[str, int]] = collections.Counter()
        self.strange: list[str] = []
        self._newest = {volume: random.Random(volume).randbytes(150_001) for volume in VOLUMES}

    def command_line(self, name: str) -> CommandLine:
        directory = self._directory / name
        directory.mkdir()
        made = CommandLine(directory)
        made.state, made.store = self._directory / 'state', self._directory / 'store'
        more = f'[database]\nconnection = {self._database}\n' if self._database else ''
        made.configure(more, path=made.store, format='2.0.0', compression='none', workers=1)
        return made

    def work(self, number: int, until: float, least: int) -> None:
        """Until then, and until that many backups are there; on a slow machine, for two minutes."""
        source = random.Random(number)
        cli = self.command_line(f'worker{number}')
        actions: list[Callable[[CommandLine, random.Random], None]] = [
            *[self.create] * 4, *[self.delete] * 3, self.restore, self.restore, self.verify,
            self.import_, self.rebuild, self.repair]
        while (now := time.monotonic()) < until or (
                now < until + 120 and self.outcomes['create', GOOD] < least):
            source.choice(actions)(cli, source)

    def run(self, cli: CommandLine, what: str, *argv: object, **how: object) -> int:
        done = cli.run(*argv, **how)
        with self._lock:
            self.outcomes[what, done.code] += 1
            if done.code not in EXPECTED[what] or 'internal error' in done.err:
                self.strange.append(f'{what}: {done.code}: {done.err}')
        self.output = done.output
        return done.code

    def create(self, cli: CommandLine, source: random.Random) -> None:
        volume = source.choice(VOLUMES)
        with self._lock:
            data = bytearray(self._newest[volume])
            at = source.randrange(len(data) - 9000)
            data[at:at + 9000] = source.randbytes(9000)
            self._newest[volume] = bytes(data)
        name = f'{volume}-{cli.directory.name}-{source.getrandbits(40):x}'
        path = cli.directory / 'disk'
        path.write_bytes(data)
        full = ['--no-incremental'] if source.random() < 0.2 else ['--incremental']
        self.held[name] = bytes(data)
        if self.run(cli, 'create', 'backup', 'create', path, '--volume', volume, '--name', name,
                    *full) != GOOD:
            # A failed record has the name; whoever meets it is refused.
            self.going.add(name)

    def _some(self, source: random.Random) -> str | None:
        with self._lock:
            names = sorted(self.held)
        return source.choice(names[-12:]) if names else None

    def delete(self, cli: CommandLine, source: random.Random) -> None:
        name = self._some(source)
        if name is not None:
            self.going.add(name)
            self.run(cli, 'delete', 'backup', 'delete', name)

    def restore(self, cli: CommandLine, source: random.Random) -> None:
        name, target = self._some(source), cli.directory / 'restored'
        if name is None:
            return
        code = self.run(cli, 'restore', 'backup', 'restore', name, target, '--force', '--truncate')
        if code == GOOD and target.read_bytes() != self.held[name]:
            self.strange.append(f'{name} was restored wrongly')
        target.unlink(missing_ok=True)

    def verify(self, cli: CommandLine, source: random.Random) -> None:
        name = self._some(source)
        if name is not None:
            self.run(cli, 'verify', 'backup', 'verify', name)

    def import_(self, cli: CommandLine, source: random.Random) -> None:
        name = self._some(source)
        if name is None:
            return
        done = cli.run('backup', 'export', name, '-f', 'json')
        self.outcomes['export', done.code] += 1
        if done.code == GOOD:
            self.run(cli, 'import', 'backup', 'import', '-', stdin=json.dumps(done.json))

    def rebuild(self, cli: CommandLine, source: random.Random) -> None:
        self.run(cli, 'rebuild', 'catalog', 'rebuild', 'local')

    def repair(self, cli: CommandLine, source: random.Random) -> None:
        self.run(cli, 'repair', 'catalog', 'check', '--repair')

    def check(self) -> int:
        """Everything that should be there is, and restores; then that deleting leaves nothing."""
        assert not self.strange, (self.strange, self.outcomes)
        cli = self.command_line('last')
        # Any command takes up what waited, and then nothing may be wrong.
        cli.run('catalog', 'check', '--repair')
        assert cli.json('catalog', 'check') == []
        there = {each['name']: each for each in cli.json('backup', 'list')}
        lost = set(self.held) - self.going - set(there)
        assert not lost, (lost, self.outcomes)
        good = [name for name, each in there.items() if each['status'] == 'available']
        for name in good:
            cli.good('backup', 'restore', there[name]['id'], 'out', '--force', '--truncate')
            assert (cli.directory / 'out').read_bytes() == self.held[name]
        if good:
            cli.good('backup', 'verify', '--all')
        for each in there.values():
            cli.run('backup', 'delete', each['id'])
        assert cli.json('backup', 'list') == []
        cli.good('backend', 'clean', '--older-than', 0)
        assert cli.objects() == []
        return len(good)


def stress(directory: Path, seconds: float, database: str | None = None, least: int = 0) -> Crowd:
    crowd = Crowd(directory, database)
    # The catalog and the installation are made by one; a rebuild may come before the first backup.
    (directory / 'store').mkdir(mode=0o700)
    crowd.command_line('first').good('backup', 'list')
    until = time.monotonic() + seconds
    with futures.ThreadPoolExecutor(WORKERS) as pool:
        for worker in [pool.submit(crowd.work, number, until, least)
                       for number in range(WORKERS)]:
            worker.result()
    crowd.check()
    print(sorted(crowd.outcomes.items()))
    return crowd


@pytest.fixture(params=['sqlite', 'postgresql'])
def database(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == 'sqlite' else request.getfixturevalue('postgresql')


@pytest.fixture
def emptied(database: str | None) -> Iterator[str | None]:
    yield database
    if database is not None:
        import sqlalchemy as sa
        engine = sa.create_engine(database)
        with engine.begin() as link:
            link.execute(sa.text('DROP SCHEMA public CASCADE'))
            link.execute(sa.text('CREATE SCHEMA public'))
        engine.dispose()


def test_a_short_while(tmp_path: Path, emptied: str | None) -> None:
    crowd = stress(tmp_path, 5, emptied, least=3)
    assert crowd.outcomes['create', GOOD] >= 3


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_long_while(tmp_path: Path, emptied: str | None) -> None:
    crowd = stress(tmp_path, 300, emptied)
    assert crowd.outcomes['create', GOOD] >= 100
    assert {what for what, _ in crowd.outcomes} == set(EXPECTED)


def test_two_hosts_with_one_store(tmp_path: Path) -> None:
    """One of them has the container; the other one is refused, and does no harm."""
    hosts: list[CommandLine] = []
    for name in 'here', 'there':
        (tmp_path / name).mkdir()
        hosts.append(CommandLine(tmp_path / name))
        hosts[-1].configure(path=tmp_path / 'store', format='2.0.0', container='shelf', workers=1)
        (tmp_path / name / 'disk').write_bytes(random.Random(name).randbytes(150_001))
        hosts[-1].store = tmp_path / 'store'

    def work(cli: CommandLine) -> list[int]:
        return [cli.run('backup', 'create', cli.directory / 'disk', '--incremental').code
                for _ in range(4)]

    with futures.ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(work, hosts))
    assert sorted(codes) == [[GOOD] * 4, [REFUSED] * 4]
    owner, other = hosts if codes[0][0] == GOOD else hosts[::-1]
    owner.good('backup', 'verify', '--all')
    for cli in other, owner:
        ids = [each['id'] for each in cli.json('backup', 'list')]
        assert len(ids) == 4
        with contextlib.suppress(AssertionError):
            cli.good('catalog', 'check', '--repair')
        cli.good('backup', 'delete', *ids)
    assert owner.objects() == []
