"""Commands whose system calls fail: strace is attached when all is imported, and injects errors.

The command is the real `main` in a process of its own, forked with its imports behind it, as in
`tests.functional.command_line`; so the calls that are counted are those of the command alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import os
from pathlib import Path
import re
import shutil
import subprocess

from tests.functional import command_line
from tests.functional.command_line import Done

CALLS = ('openat', 'write', 'pwrite64', 'fsync', 'fdatasync', 'close', 'rename', 'renameat',
         'renameat2', 'link', 'linkat', 'unlink', 'unlinkat', 'mkdir', 'mkdirat', 'read', 'pread64',
         'ftruncate')
ERRORS = ('EIO', 'ENOSPC', 'EDQUOT', 'EINTR', 'EACCES', 'ESTALE')
SECONDS = 60.0

_ELSEWHERE = re.compile(r'AT_FDCWD<[^>]*>, "/')
_LINE = re.compile(r'(?:\d+ +)?(\w+)\((.*)')


@dataclasses.dataclass(frozen=True)
class Position:
    """A system call of a command: the number `count` of its name."""

    call: str
    count: int

    def inject(self, error: str) -> str:
        return f'inject={self.call}:error={error}:when={self.count}'


class Tracer:
    """Runs commands in a directory under strace."""

    def __init__(self, directory: Path, config: Path) -> None:
        self._directory, self._config = directory, config
        self._number = 0

    def positions(self, argv: Sequence[object]) -> Iterator[Position]:
        """The calls of a command that concern files of the test; it has to succeed."""
        done, log = self._run(argv, [])
        assert done.code == 0, done.err
        yield from (position for position, _ in self._relevant(log))

    def _relevant(self, log: str) -> Iterator[tuple[Position, str]]:
        counts: dict[str, int] = {}
        written: set[str] = set()
        for line in log.splitlines():
            found = _LINE.match(line)
            if found is None or found[1] not in CALLS:
                continue
            counts[found[1]] = counts.get(found[1], 0) + 1
            descriptor = found[2].partition('>')[0]
            if found[1] in ('write', 'pwrite64'):
                written.add(descriptor)
            # What was only read, and a directory, is closed without fail.
            if self._concerns(found[2]) and (found[1] != 'close' or descriptor in written):
                yield Position(found[1], counts[found[1]]), line

    def _concerns(self, words: str) -> bool:
        # The working directory says nothing of a file with a whole path.
        told = _ELSEWHERE.sub('"/', words)
        return str(self._directory) in told and '/fault.' not in told

    def run(self, argv: Sequence[object], position: Position, error: str) -> Done | None:
        """None where it was a file of somebody else whose call failed: counts differ a little from
        run to run, where modules are looked for.
        """
        done, log = self._run(argv, ['-e', position.inject(error)])
        struck = any(line.endswith('(INJECTED)') for _, line in self._relevant(log))
        return done if struck else None

    def _run(self, argv: Sequence[object], inject: Sequence[str]) -> tuple[Done, str]:
        self._number += 1
        gate, log, *files = (self._directory / f'fault.{self._number}.{name}'
                             for name in ('gate', 'log', 'in', 'out', 'err'))
        os.mkfifo(gate)
        files[0].write_bytes(b'')
        words = ['--config-file', str(self._config), *map(str, argv)]
        process = command_line._context().Process(target=_gated_child, args=(
            str(gate), words, str(self._directory), [str(file) for file in files]))
        process.start()
        try:
            with _attached(int(process.pid or 0), log, inject):
                gate.write_bytes(b'go')
                process.join(SECONDS)
            # When strace has ended, its log is complete.
            assert process.exitcode is not None, f'{argv} did not end within {SECONDS} s'
            out, err = (file.read_bytes() if file.exists() else b'' for file in files[1:])
            done = Done(process.exitcode, out, err.decode(errors='replace'))
            return done, log.read_text(errors='replace')
        finally:
            process.kill()
            process.join()
            for file in (gate, log, *files):
                file.unlink(missing_ok=True)


def _gated_child(gate: str, argv: list[str], directory: str, files: list[str]) -> None:
    """Waits until it is traced."""
    Path(gate).read_bytes()
    command_line._child(argv, directory, files, {'XDG_STATE_HOME': f'{directory}/xdg'}, False)


@contextlib.contextmanager
def _attached(pid: int, log: Path, inject: Sequence[str]) -> Iterator[None]:
    words = ['strace', '-f', '-y', '-o', str(log), '-e', f'trace={",".join(CALLS)}', *inject,
             '-p', str(pid)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        said = strace.stderr.readline()
        try:
            assert 'attached' in said, f'strace cannot trace: {said}'
            yield
            strace.wait(SECONDS)
        finally:
            strace.terminate()


def missing() -> str | None:
    """Why nothing can be traced here; None where it can."""
    if shutil.which('strace') is None:
        return 'no strace'
    return None
