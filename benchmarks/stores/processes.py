"""What a process and all below it took: seconds, CPU, and the most memory at one time."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import threading
import time

from benchmarks.stores import child

SAMPLE_SECONDS = 0.1
PAGE = os.sysconf('SC_PAGE_SIZE')


@dataclasses.dataclass(frozen=True)
class Taken:
    """What moving objects took.

    :param cpu: seconds, of the client's processes only.
    :param peak: bytes resident in all of them together; pages that are shared count for each.
    :param imports: seconds before that, in which Python modules were loaded.
    """

    seconds: float
    cpu: float
    peak: int
    imports: float = 0.0


def run(words: Sequence[str], text: str = '') -> tuple[Taken, str]:
    """Run a command with a text as its input; also gives what it printed.

    Its memory is looked at rarely: whoever looks takes time from what is measured.
    """
    with (tempfile.TemporaryFile('w+') as given, tempfile.TemporaryFile('w+') as printed,
          tempfile.TemporaryFile('w+') as said):
        given.write(text)
        given.seek(0)
        begin = time.perf_counter()
        process = subprocess.Popen(words, stdin=given, stdout=printed, stderr=said)
        watch = _watch(process.pid)
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
            raise RuntimeError(f'{words[0]} ended with {process.returncode}: {said.read()[-2000:]}')
        return Taken(seconds, used.ru_utime + used.ru_stime, peak), printed.read()


def run_job(job: child.Job) -> Taken:
    """Run a job in a child; what it says of itself is without the start of Python."""
    taken, printed = run([sys.executable, '-m', child.__name__], json.dumps(
        dataclasses.asdict(job)))
    return dataclasses.replace(taken, **json.loads(printed))


class _watch:
    """Samples the memory of a process and of all below it until `stop`."""

    def __init__(self, process: int) -> None:
        self._process = process
        self._peak = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()

    def stop(self) -> int:
        self._stopped.set()
        self._thread.join()
        return self._peak

    def _sample(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            self._peak = max(self._peak, sum(map(_resident, _tree(self._process))))


def _tree(process: int) -> list[int]:
    """A process and all below it; any of its threads may have started some.

    A child that is not a program of its own yet has the memory of its parent, which counts once.
    """
    found = [process]
    for parent in found:
        program = _read(f'/proc/{parent}/cmdline')
        for children in Path(f'/proc/{parent}/task').glob('*/children'):
            found += [int(child) for child in _read(str(children)).split()
                      if _read(f'/proc/{child}/cmdline') != program]
    return found


def _resident(process: int) -> int:
    fields = _read(f'/proc/{process}/statm').split()
    return int(fields[1]) * PAGE if fields else 0


def _read(path: str) -> str:
    """Of a process that may be gone."""
    try:
        return Path(path).read_text(errors='replace')
    except OSError:
        return ''
