"""What a process and all below it took: seconds, CPU, and the most memory at one time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import os
from pathlib import Path
import re
import subprocess
import tempfile
import threading
import time

SAMPLE_SECONDS = 0.1
PAGE = os.sysconf('SC_PAGE_SIZE')
TICKS = os.sysconf('SC_CLK_TCK')
LIST_SECONDS = 0.1
"""For which a list of processes is kept: to make it takes longer than to use it."""


@dataclasses.dataclass(frozen=True)
class Taken:
    """What a piece of work took.

    :param cpu: seconds, of the client's processes only.
    :param peak: bytes resident in all of them together; pages that are shared count for each.
    :param imports: seconds before that, in which Python modules were loaded.
    """

    seconds: float
    cpu: float
    peak: int
    imports: float = 0.0


class CommandFailed(Exception):
    """A command that is measured ended with an error; the text has the end of what it said."""


def run(words: Sequence[str], text: str = '', *, environment: Mapping[str, str] | None = None,
        directory: Path | None = None, every: float = SAMPLE_SECONDS) -> tuple[Taken, str]:
    """Run a command with a text as its input; also gives what it printed.

    :param environment: what is added to this process's.
    :param every: seconds between looks at its memory, each of which takes time from what is
        measured.
    :raises CommandFailed: it did not end well.
    """
    with (tempfile.TemporaryFile('w+') as given, tempfile.TemporaryFile('w+') as printed,
          tempfile.TemporaryFile('w+') as said):
        given.write(text)
        given.seek(0)
        begin = time.perf_counter()
        process = subprocess.Popen(words, stdin=given, stdout=printed, stderr=said, cwd=directory,
                                   env={**os.environ, **(environment or {})})
        watch = Watch(process.pid, every)
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            peak = watch.stop()
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        if process.returncode:
            said.seek(0)
            raise CommandFailed(f'"{" ".join(words)}" ended with {process.returncode}: '
                                f'{said.read()[-2000:].strip()}')
        return Taken(seconds, used.ru_utime + used.ru_stime, peak), printed.read()


class Watch:
    """Samples the memory of a process and of all below it until `stop`, which gives the peak."""

    def __init__(self, process: int, every: float = SAMPLE_SECONDS) -> None:
        self._process = process
        self._every = every
        self._peak = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()

    def stop(self) -> int:
        self._stopped.set()
        self._thread.join()
        return self._peak

    def _sample(self) -> None:
        listed = 0.0
        while not self._stopped.wait(self._every):
            if time.monotonic() - listed >= LIST_SECONDS:
                found, listed = tree(self._process), time.monotonic()
            # The kernel remembers the peak of one process; that of several is only seen.
            seen = _highest(found[0]) if len(found) == 1 else sum(map(_resident, found))
            self._peak = max(self._peak, seen)


def tree(process: int) -> list[int]:
    """A process and all below it; any of its threads may have started some.

    A child that is not a program of its own yet has the memory of its parent, which counts once.
    """
    found = [process]
    for parent in found:
        program = _read(f'/proc/{parent}/cmdline')
        for thread in _threads(parent):
            found += [int(child) for child in
                      _read(f'/proc/{parent}/task/{thread}/children').split()
                      if _read(f'/proc/{child}/cmdline') != program]
    return found


def _threads(process: int) -> list[str]:
    try:
        return os.listdir(f'/proc/{process}/task')
    except (FileNotFoundError, ProcessLookupError):
        return []


def cpu_seconds(process: int) -> float:
    """What a process that still runs has used so far."""
    fields = _read(f'/proc/{process}/stat').rpartition(')')[2].split()
    return sum(map(int, fields[11:13])) / TICKS if fields else 0.0


def _resident(process: int) -> int:
    fields = _read(f'/proc/{process}/statm').split()
    return int(fields[1]) * PAGE if fields else 0


def _highest(process: int) -> int:
    found = re.search(r'^VmHWM:\s*(\d+) kB', _read(f'/proc/{process}/status'), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _read(path: str) -> str:
    """Of a process that may be gone."""
    try:
        return Path(path).read_text(errors='replace')
    except OSError:
        return ''
