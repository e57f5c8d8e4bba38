"""A volume of 16 TiB by the installed command, with the defaults of format 2.0.0."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import random
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

KIB, MIB, TIB = 1 << 10, 1 << 20, 1 << 40
SIZE = 16 * TIB
PIECE = 64 * KIB
MOST_MEMORY = 112 * MIB

# A process begins with the peak of the one that started it: that must be a small one.
MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory whose file system takes files of so many bytes; ext4 does not."""
    for above in (tmp_path, Path('/dev/shm')):
        if not above.is_dir():
            continue
        directory = Path(tempfile.mkdtemp(dir=above))
        try:
            with open(directory / 'trial', 'wb') as file:
                file.truncate(SIZE)
            (directory / 'trial').unlink()
            if shutil.disk_usage(directory).free > 512 * MIB:
                yield directory
                return
        except OSError:
            continue
        finally:
            shutil.rmtree(directory)
    pytest.skip(f'neither {tmp_path} nor /dev/shm has room for sparse files of 16 TiB')


def make(path: Path) -> None:
    """64 MiB of data, scattered, some of it in the first and in the last bytes."""
    chance = random.Random(16)
    offsets = sorted(chance.randrange(SIZE - PIECE) for _ in range(1022))
    with open(path, 'wb') as file:
        file.truncate(SIZE)
        for offset in (0, *offsets, SIZE - PIECE):
            file.seek(offset)
            file.write(chance.randbytes(PIECE))


def pieces(path: Path) -> Iterator[tuple[int, bytes]]:
    """What is not zeros, in pages that hold something else."""
    with open(path, 'rb', buffering=0) as file:
        end = 0
        while True:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:
                return
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            for at in range(start, end, 4 * KIB):
                data = os.pread(file.fileno(), 4 * KIB, at)
                if data.count(0) != len(data):
                    yield at, data


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_sixteen_tebibytes_need_little_memory(cli, place):
    cli.config.write_text(f'[DEFAULT]\nstate_path = {cli.state}\n'
                          f'[local]\ndriver = local\npath = {cli.store}\nformat = 2.0.0\n')
    volume, target = place / 'volume', place / 'restored'
    make(volume)
    figures = []

    def measure(step: str, *argv: object) -> None:
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, '-c', MEASURED, *cli.script_words('backup', *argv)],
            cwd=cli.directory, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        figures.append((step, time.monotonic() - begun, int(done.stdout) << 10))

    measure('full', 'create', volume, '--name', 'full')
    stored = len(cli.objects())
    measure('unchanged', 'create', volume, '--incremental', '--name', 'unchanged')
    assert len(cli.objects()) <= stored + 3
    measure('verify', 'verify', 'unchanged')
    measure('restore', 'restore', 'unchanged', target)
    for step, seconds, memory in figures:
        print(f'{step:10} {seconds:6.1f} s {memory / MIB:6.1f} MiB')
    assert target.stat().st_size == SIZE
    # Each piece lies in two blocks; the zeros around it are written with it.
    assert target.stat().st_blocks * 512 <= 2 * 64 * MIB + MIB
    assert all(one == other for one, other in zip(pieces(volume), pieces(target), strict=True))
    assert max(memory for _, _, memory in figures) <= MOST_MEMORY, figures
