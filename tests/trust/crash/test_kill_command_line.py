"""The real command line is killed at a random moment, on each kind of store.

The moment is uniform over the time that the command takes. The seed is printed with each run. Then
`oracle.judge` does what an operator would do next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import json
import os
from pathlib import Path
import random
import time
from typing import Any
import urllib.error
import urllib.parse
import urllib.request

import pytest

from tests.functional.command_line import CommandLine, until
from tests.trust.crash import oracle
from tests.trust.crash.tracing import share
from tests.trust.crash.world import CINDERS, OURS, World
from tools.servers import gcs, sshd

Make = Callable[[str], World]

FEW, MANY = 12, 200
COMMANDS: dict[str, tuple[object, ...]] = {
    'full': ('backup', 'create', 'DISK', '--name', 'third'),
    'incremental': ('backup', 'create', 'DISK', '--name', 'third', '--incremental'),
    'restore to a new file': ('backup', 'restore', 'second', 'TARGET'),
    'restore over a file': ('backup', 'restore', 'second', 'TARGET', '--force'),
    'delete': ('backup', 'delete', 'second'),
    'delete of a parent': ('backup', 'delete', 'first', '--with-dependents'),
    'verify': ('backup', 'verify', 'second'),
    'rebuild': ('catalog', 'rebuild', 'main'),
    'copy': ('backup', 'copy', 'second', '--to-backend', 'other')}


@pytest.fixture(scope='module')
def ssh_server(require_part: Callable[[str, str], None]) -> Iterator[sshd.Server]:
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(sshd.serving())
        except sshd.Missing as error:
            require_part('sshd', str(error))


@pytest.fixture(scope='module')
def gcs_server(require_part: Callable[[str, str], None]) -> Iterator[gcs.Server]:
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(gcs.fake_gcs_server())
        except gcs.Missing as error:
            require_part('gcs', str(error))


@pytest.fixture(params=['local', 'nfs', 'sftp', 'gcs'])
def kind(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
         ) -> tuple[Make, Callable[[], None]]:
    """Makes a world of a format on such a store; and waits until the store has no client left."""
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.delenv('SSH_AUTH_SOCK', raising=False)
    numbers = iter(range(1 << 20))

    def make(version: str, *options: tuple[str, object], **more: Any) -> World:
        root = tmp_path / f'world{next(numbers)}'
        return World(root, version, request.param, options, workers=2, **more)

    if request.param == 'sftp':
        server: sshd.Server = request.getfixturevalue('ssh_server')
        found = {name: str(value) for name, value in server.options(use_agent=False).items()}

        def on_sftp(version: str) -> World:
            root = tmp_path / f'world{next(numbers)}'
            options = found | {'path': f'{root}/NAME'}
            return World(root, version, 'sftp', tuple(options.items()), workers=2)
        return on_sftp, lambda: until(lambda: not server.sessions(), 'the end of the sessions')
    if request.param == 'gcs':
        url = request.getfixturevalue('gcs_server').url

        def on_gcs(version: str) -> World:
            place = f'world{next(numbers)}'
            return World(
                tmp_path / place, version, 'gcs',
                (('bucket', 'crash'), ('prefix', f'{place}/NAME'), ('endpoint', url),
                 ('anonymous', True)), workers=2,
                listing=lambda name: listed(url, f'{place}/{name}/'))
        return on_gcs, lambda: None
    if request.param == 'nfs':
        return lambda version: make(version, *share(tmp_path)), lambda: None
    return make, lambda: None


def listed(url: str, prefix: str) -> dict[str, int]:
    """The objects of the emulator, asked in plain HTTP."""
    query = urllib.parse.urlencode({'prefix': prefix})
    try:
        with urllib.request.urlopen(f'{url}/storage/v1/b/crash/o?{query}', timeout=20) as answer:
            return {each['name']: int(each['size']) for each in json.load(answer).get('items', ())}
    except urllib.error.HTTPError:
        return {}


def kill_at_random(kind: tuple[Make, Callable[[], None]], kills: int, seed: int) -> int:
    """How often the command was still running when it was killed."""
    print(f'seed {seed}')
    make, quiet = kind
    chance = random.Random(seed)
    names = [*COMMANDS]
    lasting: dict[tuple[str, str], float] = {}
    killed = 0
    for number in range(kills):
        name = chance.choice(names)
        version = chance.choice([OURS, OURS, CINDERS])
        operation = oracle.OPERATIONS[name]
        made = make(version)
        made.begin()
        operation.prepare(made)
        delay = chance.uniform(0, lasting.get((name, version), 0.3))
        started = time.monotonic()
        alive = kill(made, COMMANDS[name], delay)
        if not alive:
            # The next one is killed within the time that it takes.
            lasting[name, version] = max(0.05, time.monotonic() - started)
        killed += alive
        quiet()
        try:
            oracle.judge(made, operation)
        except BaseException as error:
            error.add_note(f'kill {number} of seed {seed}: {name}, format {version}, after '
                           f'{delay:.3f} s')
            raise
    return killed


def kill(made: World, argv: tuple[object, ...], delay: float) -> bool:
    """Whether the command was still running after so many seconds."""
    cli = CommandLine(made.root)
    cli.config = made.config
    made.write_configuration()
    names = {'DISK': made.disk, 'TARGET': made.target}
    running = cli.start(*(names.get(str(word), word) for word in argv))
    ends = time.monotonic() + delay
    until(lambda: not running.alive or time.monotonic() > ends, 'the moment')
    alive = running.alive
    running.kill()
    return alive


def test_a_dozen_kills(kind: tuple[Make, Callable[[], None]]) -> None:
    assert kill_at_random(kind, FEW, int.from_bytes(os.urandom(4))) >= FEW // 4


@pytest.mark.long
def test_hundreds_of_kills(kind: tuple[Make, Callable[[], None]]) -> None:
    assert kill_at_random(kind, MANY, int.from_bytes(os.urandom(4))) >= MANY // 4
