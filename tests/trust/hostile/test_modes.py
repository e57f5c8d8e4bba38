"""What is made is for its owner alone, from the call that makes it, whatever the umask."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import re
import shutil
import stat
import subprocess
import sys
from typing import Any

import pytest

from backup_framework.manager import restoring
from tests.functional.command_line import CommandLine
from tests.functional.conftest import cli as cli
from tests.functional.conftest import make_volume as make_volume
from tests.functional.conftest import volume as volume
from tests.trust.hostile import children
from tests.trust.hostile.shop import Shop

UMASKS = (0o000, 0o022, 0o077)
_MADE = re.compile(r'^(?:\d+ +)?(\w+)\((.*)\) += \d')


class Recorder:
    """Sees the modes that Python's calls make things with, and those that take rights away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[str, int]] = []
        self.narrowed: list[str] = []
        opened, mkdir, chmod, fchmod = os.open, os.mkdir, os.chmod, os.fchmod

        def patched_open(path: Any, flags: int, mode: int = 0o777, **how: Any) -> int:
            if flags & os.O_CREAT:
                self.made.append((os.fsdecode(path), mode))
            return opened(path, flags, mode, **how)

        def patched_mkdir(path: Any, mode: int = 0o777, **how: Any) -> None:
            self.made.append((os.fsdecode(path) + '/', mode))
            mkdir(path, mode, **how)

        def patched_chmod(path: Any, mode: int, **how: Any) -> None:
            if os.stat(path).st_mode & ~mode & 0o077:
                self.narrowed.append(str(path))
            chmod(path, mode, **how)

        def patched_fchmod(fd: int, mode: int) -> None:
            if os.fstat(fd).st_mode & ~mode & 0o077:
                self.narrowed.append(os.readlink(f'/proc/self/fd/{fd}'))
            fchmod(fd, mode)

        for name, patched in (('open', patched_open), ('mkdir', patched_mkdir),
                              ('chmod', patched_chmod), ('fchmod', patched_fchmod)):
            monkeypatch.setattr(os, name, patched)


def wide(directory: Path) -> list[str]:
    """Files and directories below that others than their owner may use."""
    return [f'{path}: {path.lstat().st_mode & 0o7777:o}' for path in sorted(directory.rglob('*'))
            if path.lstat().st_mode & 0o077 and not path.is_symlink()]


def live(directory: Path, version: str) -> str:
    """In a child: all that makes something, and what was made too wide."""
    shop = Shop(directory, version)
    ours = [directory / 'volume', directory / 'test.conf']
    with pytest.MonkeyPatch.context() as patch:
        seen = Recorder(patch)
        with shop.manager:
            full = shop.create()
            shop.volume.write_bytes(b'other' * 5000)
            child = shop.create(incremental=True)
            shop.create(container='deep/in/the/store')
            shop.create(backend='other')
            shop.manager.restore(child.id, restoring.Request(str(directory / 'restored')))
            assert shop.manager.verify(child.id).ok
            record = shop.fields(child)
            shop.manager.forget(child.id)
            shop.take(record)
            shop.manager.delete(shop.manager.catalog.get_backup(child.id))
            shop.manager.rebuild('local')
            shop.manager.clean('local')
            shop.manager.set(full.id, properties={'a': 'b'})
    for path in ours:
        path.chmod(0o600)
    found = wide(directory)
    assert not found, found
    assert len(seen.made) > 20 and not seen.narrowed, seen.narrowed
    too_wide = [(path, f'{mode:o}') for path, mode in seen.made if mode & 0o077]
    assert not too_wide, too_wide
    return str(len(seen.made))


@pytest.mark.parametrize('version', ['1.0.0', '2.0.0'])
@pytest.mark.parametrize('umask', UMASKS)
def test_all_that_is_made(tmp_path: Path, umask: int, version: str) -> None:
    def act() -> str:
        os.umask(umask)
        return live(tmp_path, version)
    ran = children.run(act)
    assert ran.ok, ran.answer


def traced(log: str, below: Path) -> list[tuple[str, int]]:
    """What the system was asked to make below a directory: the call, and the mode in it."""
    made = []
    for line in log.splitlines():
        found = _MADE.match(line)
        if not found or str(below) not in line:
            continue
        call, arguments = found[1], found[2]
        if call in {'mkdir', 'mkdirat'} or 'O_CREAT' in arguments:
            made.append((line, int(arguments.rpartition(', ')[2], 8)))
    return made


def test_as_the_system_sees_it(cli: CommandLine, volume: Path,
                               require_part: Callable[[str, str], None]) -> None:
    """The real command under strace: SQLite makes files as well."""
    strace = shutil.which('strace')
    if strace is None:
        require_part('strace', 'there is no strace')
        return
    log = cli.directory / 'log'
    done = subprocess.run(
        [strace, '-f', '-y', '-s', '300', '-o', str(log), '-e',
         'trace=open,openat,creat,mkdir,mkdirat,mknod,mknodat', '-e', 'signal=none',
         *cli.script_words('backup', 'create', volume)],
        cwd=cli.directory, capture_output=True, text=True, timeout=120, check=False,
        preexec_fn=lambda: os.umask(0))
    if 'ptrace' in done.stderr:
        pytest.skip(f'this machine lets nobody trace: {done.stderr.strip()}')
    assert done.returncode == 0, done.stderr
    made = [(line, mode) for line, mode in traced(log.read_text(), cli.directory)
            if '__pycache__' not in line]
    assert len(made) > 8 and any('catalog.sqlite' in line for line, _ in made)
    assert any(str(cli.store) in line for line, _ in made)
    assert not [line for line, mode in made if mode & 0o077]
    assert not wide(cli.state) and not wide(cli.store)
    assert stat.S_IMODE(cli.state.stat().st_mode) == 0o700


def test_a_map_of_what_is_damaged(cli: CommandLine, volume: Path) -> None:
    made = cli.create(volume)
    found = next(path for path in cli.store.rglob('*-00001'))
    found.write_bytes(bytes(100))
    done = subprocess.run(
        [*cli.script_words('backup', 'restore', made['id'], 'target', '--partial',
                           '--bad-map', 'bad-map')], cwd=cli.directory, capture_output=True,
        text=True, timeout=60, check=False, preexec_fn=lambda: os.umask(0))
    assert done.returncode == 6, done.stderr
    for name in ('target', 'bad-map'):
        assert stat.S_IMODE((cli.directory / name).stat().st_mode) == 0o600


def test_a_key_that_is_made(cli: CommandLine) -> None:
    for umask in UMASKS:
        name = f'key-{umask}'
        done = subprocess.run(
            [sys.executable, '-c', 'import os, sys; os.umask(int(sys.argv[1])); '
             'from backup_framework.cmd import main; sys.exit(main.main(sys.argv[2:]))',
             str(umask), '--config-file', str(cli.config), 'key', 'generate', name],
            cwd=cli.directory, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert stat.S_IMODE((cli.directory / name).stat().st_mode) == 0o600
