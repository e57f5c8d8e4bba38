"""The command line as a process of its own, without paying for its imports each time.

A server (the standard library's, of `multiprocessing`) imports the commands once and forks for each
call. What runs is the real `main` in a real process, with its own standard streams, signals, user
and exit code. `script` is the installed command itself, for what depends on how Python starts.
"""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
import ctypes
import dataclasses
import functools
import json
import multiprocessing
from multiprocessing.context import ForkServerContext, ForkServerProcess
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

ROOT = Path(__file__).parents[2]
SECONDS = 60.0
_CAPABILITY_VERSION_3 = 0x20080522  # linux/capability.h

_PRELOADED = (
    'alembic', 'backup_framework.cmd.backend', 'backup_framework.cmd.backup',
    'backup_framework.cmd.catalog', 'backup_framework.cmd.columns', 'backup_framework.cmd.config',
    'backup_framework.cmd.driver', 'backup_framework.cmd.main', 'backup_framework.cmd.record',
    'backup_framework.cmd.verify', 'backup_framework.cmd.volume', 'backup_framework.drivers.local',
    'backup_framework.loader', 'backup_framework.manager', 'cliff.formatters.json_format',
    'cliff.formatters.table', 'pytest')


@dataclasses.dataclass
class Done:
    """How a command ended. A negative code is the number of the signal that killed it."""

    code: int
    output: bytes
    err: str

    @property
    def out(self) -> str:
        return self.output.decode(errors='replace')

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Running:
    """A command that was started."""

    def __init__(self, process: ForkServerProcess, files: list[Path]) -> None:
        self._process = process
        self._files = files

    @property
    def pid(self) -> int:
        return int(self._process.pid or 0)

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, seconds: float = SECONDS) -> Done:
        self._process.join(seconds)
        if self._process.exitcode is None:
            self.kill()
            raise AssertionError(f'the command did not end within {seconds} s: {self._read()}')
        return Done(self._process.exitcode, *self._read())

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def _read(self) -> tuple[bytes, str]:
        out, err = self._files
        return out.read_bytes() if out.is_file() else b'', err.read_text(errors='replace')


class CommandLine:
    """Commands with one configuration.

    :ivar directory: where it and all that belongs to a test lives; the working directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / 'state'
        self.store = directory / 'store'
        self.config = directory / 'test.conf'
        self._started: list[Running] = []
        self._local: dict[str, object] = {
            'driver': 'local', 'path': self.store, 'chunk_size': '64KiB', 'block_size': '4KiB',
            'workers': 2, 'durability': 'none', 'retry_deadline': 1}
        self.configure()

    def configure(self, more: str = '', default: str = '', **local: object) -> None:
        """Write the configuration: lines for [DEFAULT], options of [local], and more sections.

        Options of [local] stay for the next call.
        """
        self._local.update(local)
        section = '\n'.join(f'{name} = {value}' for name, value in self._local.items())
        self.config.write_text(f'[DEFAULT]\nstate_path = {self.state}\n{default}\n'
                               f'[local]\n{section}\n{more}\n')

    def start(self, *argv: object, stdin: str | bytes | Path = '', stdout: Path | None = None,
              env: Mapping[str, str] | None = None, unprivileged: bool = False,
              config: bool = True) -> Running:
        """Start a command.

        :param stdin: what it reads, or the path of a FIFO or file that it reads.
        :param stdout: the path of a FIFO or file that it writes instead of a file of its own.
        :param unprivileged: root may no more than others may to what belongs to them.
        :param config: name the configuration on the command line.
        """
        number = len(self._started)
        files = [self.directory / f'{number}.{name}' for name in ('in', 'out', 'err')]
        if isinstance(stdin, Path):
            files[0] = stdin
        else:
            files[0].write_bytes(stdin.encode() if isinstance(stdin, str) else stdin)
        files[1] = stdout or files[1]
        options = ['--config-file', str(self.config)] if config else []
        process = _context().Process(target=_child, args=(
            [*options, *map(str, argv)], str(self.directory), [str(file) for file in files],
            {'XDG_STATE_HOME': str(self.directory / 'xdg'), **(env or {})}, unprivileged))
        process.start()
        self._started.append(running := Running(process, files[1:]))
        return running

    def run(self, *argv: object, seconds: float = SECONDS, **how: Any) -> Done:
        return self.start(*argv, **how).wait(seconds)

    def good(self, *argv: object, **how: Any) -> Done:
        """Run a command that has to succeed."""
        done = self.run(*argv, **how)
        assert done.code == 0, done.err
        return done

    def json(self, *argv: object, **how: Any) -> Any:
        """What a command that has to succeed says in JSON."""
        return self.good(*argv, '-f', 'json', **how).json

    def create(self, *argv: object, **how: Any) -> Any:
        return self.json('backup', 'create', *argv, **how)

    def refused(self, code: int, *argv: object, **how: Any) -> str:
        """What a command says that has to fail in one sentence with this code."""
        done = self.run(*argv, **how)
        assert done.code == code, (done.code, done.err)
        errors = [line for line in done.err.splitlines() if line.startswith('Error: ')]
        assert len(errors) == 1, done.err
        assert 'Traceback' not in done.err and 'internal error' not in done.err, done.err
        return errors[0]

    def script(self, *argv: object, **how: Any) -> subprocess.CompletedProcess[str]:
        """The installed command, by the real interpreter."""
        return subprocess.run(
            self.script_words(*argv), cwd=self.directory, text=True, timeout=SECONDS,
            **{'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE} | how)

    def script_words(self, *argv: object) -> list[str]:
        command = Path(sys.executable).with_name('backup-framework')
        return [str(command), '--config-file', str(self.config), *map(str, argv)]

    def end(self) -> None:
        """Kill what a failed test left running."""
        for running in self._started:
            if running.alive:
                running.kill()

    def objects(self) -> list[str]:
        """All files of the store, temporary ones too."""
        return sorted(str(file.relative_to(self.store))
                      for file in self.store.rglob('*') if file.is_file())


def until(condition: Any, what: str, seconds: float = SECONDS) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f'{what} did not happen within {seconds} s'
        time.sleep(0.01)


@functools.cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(list(_PRELOADED))
    return context


def _child(argv: list[str], directory: str, files: list[str], env: dict[str, str],
           unprivileged: bool) -> None:
    """In the forked process: become the command."""
    modes = (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_TRUNC] * 2)
    for number, (file, mode) in enumerate(zip(files, modes, strict=True)):
        os.dup2(os.open(file, mode, 0o600), number)
    sys.stdin = open(0, encoding='utf-8', closefd=False)
    os.chdir(directory)
    os.environ.update(env)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if unprivileged:
        _drop_capabilities()
    from backup_framework.cmd import main
    sys.exit(main.main(argv))


def _drop_capabilities() -> None:
    """As another user would be, but still able to read the modules that are imported later."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), 'capset')
