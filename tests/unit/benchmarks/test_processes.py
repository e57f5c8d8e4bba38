"""What a command took, with the processes below it."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import pytest

from benchmarks import processes
from benchmarks.processes import CommandFailed

MIB = 1 << 20


WAIT = ('import pathlib, time; until = time.monotonic() + 60\n'
        'while not pathlib.Path({0!r}).exists() and time.monotonic() < until: time.sleep(0.01)')
"""Code that waits for a file, so that what is to be seen is there as long as that takes."""


def test_cpu_and_memory_of_a_command_and_of_its_children_count(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read, seen = processes._resident, tmp_path / 'seen'

    def resident(process: int) -> int:
        found = read(process)
        if found > 45 * MIB:
            seen.touch()
        return found

    monkeypatch.setattr(processes, '_resident', resident)
    inner = 'page = bytearray(b"x") * (40 << 20); ' + WAIT.format(str(seen))
    outer = (f'import subprocess, sys; end = __import__("time").process_time() + 0.3\n'
             'while __import__("time").process_time() < end: pass\n'
             f'subprocess.run([sys.executable, "-c", {inner!r}])\n')
    taken, _ = processes.run([sys.executable, '-c', outer], every=0.01)
    assert 0.3 <= taken.cpu < taken.seconds
    assert 50 * MIB < taken.peak < 90 * MIB


def test_the_peak_between_two_looks_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path
                                            ) -> None:
    read, over, seen = processes._highest, tmp_path / 'over', tmp_path / 'seen'

    def highest(process: int) -> int:
        is_over = over.exists()
        found = read(process)
        if is_over:
            seen.touch()
        return found

    monkeypatch.setattr(processes, '_highest', highest)
    code = ('page = bytearray(b"x") * (80 << 20); del page\n'
            f'open({str(over)!r}, "w").close()\n{WAIT.format(str(seen))}')
    taken, _ = processes.run([sys.executable, '-c', code], every=0.2)
    assert taken.peak > 80 * MIB


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(CommandFailed, match='ended with 3: no such thing'):
        processes.run([sys.executable, '-c',
                       'import sys; print("no such thing", file=sys.stderr); sys.exit(3)'])


def test_a_process_that_ends_while_it_is_looked_at_has_none_below_it(
        monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE) as process:
        assert processes.tree(process.pid) == [process.pid]
        read = processes._read

        def ends(path: str) -> str:
            process.communicate()
            return read(path)
        monkeypatch.setattr(processes, '_read', ends)
        assert processes.tree(process.pid) == [process.pid]
