"""No name leads out of a store, in any driver, whether it was checked before or not.

For drivers of this host's file system a child looks at every path that Python hands to the system:
each is the store's own directory or one component of a name, below an open directory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import hashlib
import itertools
import os
from pathlib import Path
import sys
from typing import Any
import urllib.parse

from backup_framework_gcs.driver import GCSBackupDriver
from backup_framework_sftp.driver import SFTPBackupDriver
import pytest

from backup_framework import exceptions, store
from backup_framework.drivers.local import LocalBackupDriver
from backup_framework.drivers.nfs import NFSBackupDriver
from backup_framework.formats.v2 import names as v2_names
from plugins.gcs.tests import misbehaving
from tests.functional.command_line import CommandLine
from tests.functional.conftest import cli as cli
from tests.functional.conftest import make_volume as make_volume
from tests.functional.conftest import volume as volume
from tests.trust.hostile import children
from tests.trust.hostile.names import NAMES
from tests.trust.hostile.shop import encoded
from tests.trust.hostile.test_records import exported
from tools.servers import sshd

CANARY = b'whatever is outside'
EVENTS = {'open': 1, 'os.mkdir': 1, 'os.rename': 2, 'os.link': 2, 'os.symlink': 2, 'os.remove': 1,
          'os.rmdir': 1, 'os.truncate': 1, 'os.chmod': 1, 'os.chown': 1, 'os.utime': 1,
          'os.listdir': 1, 'os.scandir': 1, 'os.setxattr': 1}
"""How many of an audit event's arguments are paths."""


def furnished(base: Path) -> Path:
    """A store with links out of it, beside a directory that must stay as it is."""
    outside = base.parent / 'outside'
    (base / 'shelf').mkdir(parents=True)
    outside.mkdir()
    (outside / 'canary').write_bytes(CANARY)
    for place in (base, base / 'shelf'):
        (place / 'link').symlink_to(outside)
        (place / 'linked').symlink_to(outside / 'canary')
        (place / 'dangling').symlink_to(outside / 'made')
        os.mkfifo(place / 'pipe')
    return base


def around(base: Path) -> dict[str, str]:
    """Everything beside the store: paths and digests of the bytes."""
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ''
            for path in base.parent.rglob('*') if path != base and base not in path.parents}


def verbs(driver: Any, name: str) -> Iterator[Callable[[], object]]:
    """Everything that can be done with a name, as a container, an object or a prefix."""
    def write(container: str, called: str) -> None:
        with driver.get_object_writer(container, called) as writer:
            writer.write(b'data')

    def read(container: str, called: str) -> None:
        with driver.get_object_reader(container, called) as reader:
            assert CANARY not in reader.read()

    yield lambda: driver.put_container(name)
    for container, called in (('shelf', name), (name, 'canary')):
        yield lambda c=container, n=called: write(c, n)
        yield lambda c=container, n=called: read(c, n)
        yield lambda c=container, n=called: driver.object_size(c, n)
        yield lambda c=container, n=called: driver.delete_object(c, n)
    yield lambda: list(driver.get_container_entries(name, ''))
    yield lambda: list(driver.get_container_entries('shelf', name))
    yield lambda: driver.delete_objects('shelf', [name])
    yield lambda: driver.sync(name)
    yield lambda: store.Container(driver, name, retry_deadline=0).size(name)


def try_all(driver: Any, chosen: list[str], most: int | None = None) -> int:
    """Every verb with each name, or the first few; how many succeeded.

    Only errors of the framework come out.
    """
    done = 0
    for name in chosen:
        for verb in itertools.islice(verbs(driver, name), most):
            try:
                verb()
                done += 1
            except exceptions.BackupFrameworkError as error:
                assert not isinstance(error, exceptions.DriverBug), (name, error)
                assert str(error), name
    return done


def file_system_of(path: Path) -> str:
    lines = [line.split() for line in Path('/proc/self/mounts').read_text().splitlines()]
    return max((each for each in lines if Path(each[1]) in (path, *path.parents)),
               key=lambda each: len(each[1]))[2]


def watched(base: Path, driver: Any) -> str:
    """In a child: what the system was asked for; the first path that is none of a name's parts."""
    looking = False
    asked = 0

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal asked
        if not looking or event not in EVENTS:
            return
        for path in arguments[:EVENTS[event]]:
            if isinstance(path, int) or path is None:
                continue
            asked += 1
            spelled = os.fsencode(path)
            if b'/' in spelled and spelled != os.fsencode(base) or spelled == b'..':
                os.write(2, b'%s %s\n' % (event.encode(), spelled))
                raise AssertionError(f'{event} of {path!r}')

    try_all(driver, ['warm'])
    sys.addaudithook(look)
    looking = True
    done = try_all(driver, NAMES)
    looking = False
    assert done > len(NAMES) and asked > 10 * len(NAMES)
    return f'{done} of {asked}'


def test_there_are_enough() -> None:
    assert len(NAMES) >= 300 and len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize('cls', [LocalBackupDriver, NFSBackupDriver])
def test_on_a_file_system(cls: type[LocalBackupDriver], tmp_path: Path) -> None:
    base = furnished(tmp_path / 'above' / 'store')
    before = around(base)
    more: dict[str, Any] = {}
    if cls is NFSBackupDriver:
        kind = file_system_of(base)
        more = {'accepted_types': [kind]}
    with contextlib.closing(cls.make(path=str(base), durability='none', **more)) as driver:
        try:
            driver.check_for_setup_error()
        except exceptions.StoreError as error:
            pytest.skip(f'no share can be played here: {error}')
        ran = children.run(lambda: watched(base, driver))
    assert ran.ok, ran.answer
    assert around(base) == before and (base.parent / 'outside/canary').read_bytes() == CANARY


def test_over_sftp(tmp_path: Path, require_part: Callable[[str, str], None],
                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.delenv('SSH_AUTH_SOCK', raising=False)
    base = furnished(tmp_path / 'above' / 'store')
    before = around(base)
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(sshd.serving())
        except sshd.Missing as error:
            require_part('sshd', str(error))
            raise
        options = server.options(path=str(base), use_agent=False, timeout=1.0)
        driver = stack.enter_context(contextlib.closing(SFTPBackupDriver.make(**options)))
        assert try_all(driver, NAMES, 6) > len(NAMES) // 2
    assert around(base) == before


def test_in_a_bucket() -> None:
    """Each request is about an object of the configured bucket that begins with the prefix."""
    with misbehaving.server('bucket') as server:
        options: dict[str, Any] = {'bucket': 'bucket', 'prefix': 'inner', 'endpoint': server.url,
                   'anonymous': True, 'timeout': 20.0, 'retry_deadline': 0.0}
        with contextlib.closing(GCSBackupDriver.make(**options)) as driver:
            driver.put_container('shelf')
            assert try_all(driver, NAMES) > len(NAMES)
        seen = list(server.seen)
    assert len(seen) > len(NAMES)
    for request in seen:
        path = request.path
        assert '/b/bucket' in path and '/../' not in path and '/./' not in path, path
        _, marker, quoted = path.partition('/b/bucket/o/')
        if marker:
            assert urllib.parse.unquote(quoted).startswith('inner/'), path


def test_what_is_made_of_names_of_others() -> None:
    """Prefixes are checked before anything is put behind them."""
    accepted = []
    for name in NAMES:
        with contextlib.suppress(exceptions.InvalidName):
            accepted.append(v2_names.check_prefix(name))
    assert accepted and all(
        os.path.normpath(f'/b/{each}') == f'/b/{each}' and each.isprintable() for each in accepted)
    assert len(accepted) < len(NAMES) // 4


SOME = ['..', '../../outside', '-x', '\x1b[2J', 'link/new']


@pytest.mark.parametrize('name', SOME, ids=ascii)
def test_on_the_command_line(cli: CommandLine, volume: Path, name: str) -> None:
    """As container, volume, backend and in a record: done in the store, or refused."""
    cli.store = cli.directory / 'above' / 'store'
    cli.configure(path=furnished(cli.store))
    record = exported(cli, volume)
    fields, before = dict(record), around(cli.store)
    with_name = f'--container={name}'
    for argv in (('backup', 'create', volume, with_name),
                 ('catalog', 'rebuild', 'local', with_name), ('backup', 'show', '--', name),
                 ('backup', 'create', volume, f'--volume={name}'),
                 ('backend', 'show', '--', name), ('backup', 'restore', '--', name, 'target')):
        done = cli.run(*argv)
        assert 'Traceback' not in done.err and 'internal error' not in done.err, done.err
        assert '\x1b' not in done.err + done.out and done.code in (0, 2, 3, 4, 5, 6), done.err
    for field in ('container', 'service_metadata', 'id', 'volume_id', 'parent_id', 'host'):
        done = cli.run('backup', 'import', '-', stdin=encoded(fields | {field: name}))
        assert done.code in (0, 2, 4) and 'Traceback' not in done.err, (field, done.err)
    assert around(cli.store) == before
    inside = {Path(cli.state), cli.store}
    made = {path for path in cli.directory.rglob('*')
            if not any(each == path or each in path.parents for each in inside)}
    assert all(path.suffix in {'.in', '.out', '.err', '.conf', ''} for path in made)
    assert not (cli.directory / 'x').exists() and not Path('/etc/new-00001').exists()
