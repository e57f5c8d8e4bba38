"""Backup, incremental, verify and restore of one image, as ratios to `cp --sparse=always`.

    .venv/bin/python benchmarks/against_cp.py [--mib 1024] [--rounds 3] [--directory DIR]

Every round times cp and our commands in turn on the same image, each with the `sync` that makes its
bytes durable; the ratios are medians over the rounds. Single seconds mean little on a shared
machine, ratios of one run do.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import functools
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
COMMAND = [str(pathlib.Path(sys.executable).with_name('backup-framework')), '--quiet']


def make_image(path: pathlib.Path, size: int) -> None:
    """40 % holes, 10 % written zeros, 25 % text, 25 % noise, in runs of 1 MiB."""
    kinds = random.Random(1)
    with open(path, 'wb') as file:
        file.truncate(size)
        for offset in range(0, size, MIB):
            kind = kinds.random()
            if kind < 0.4:
                continue
            file.seek(offset)
            file.write(bytes(MIB) if kind < 0.5 else text(offset) if kind < 0.75
                       else kinds.randbytes(MIB))


def text(seed: int) -> bytes:
    words = [b'%08x ' % random.Random(seed + n).getrandbits(20) for n in range(4096)]
    return (b''.join(words) * (MIB // (9 * 4096) + 1))[:MIB]


def change(path: pathlib.Path, size: int) -> None:
    """One 64 KiB block in a hundred."""
    where = random.Random(2)
    with open(path, 'r+b') as file:
        for _ in range(size // 65536 // 100):
            file.seek(where.randrange(size // 65536) * 65536)
            file.write(where.randbytes(65536))


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    os.sync()
    return time.perf_counter() - started


def run(*words: str | pathlib.Path) -> None:
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)


def one_round(place: pathlib.Path, size: int) -> dict[str, float]:
    """Seconds of each step."""
    image, copy, restored = place / 'image', place / 'copy', place / 'restored'
    make_image(image, size)
    os.sync()
    seconds = {'cp': timed(lambda: run('cp', '--sparse=always', image, copy))}
    ours: list[str | pathlib.Path] = [*COMMAND, '--config-file', place / 'conf', 'backup']
    steps: list[tuple[str, list[str | pathlib.Path]]] = [
        ('backup, full', ['create', image, '--name', 'full']),
        ('backup, unchanged', ['create', image, '--name', 'same', '--incremental']),
        ('backup, 1 % changed', ['create', image, '--name', 'changed', '--incremental']),
        ('verify', ['verify', 'changed']),
        ('restore', ['restore', 'changed', restored])]
    for name, words in steps:
        if '%' in name:
            change(image, size)
        seconds[name] = timed(functools.partial(run, *ours, *words))
    run('cmp', image, restored)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--mib', type=int, default=1024)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--directory', help='where the image and the store are made')
    options = parser.parse_args()
    rounds = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=options.directory) as place:
            conf = pathlib.Path(place) / 'conf'
            conf.write_text(f'[DEFAULT]\nstate_path = {place}/state\n')
            rounds.append(one_round(pathlib.Path(place), options.mib * MIB))
    print(f'{options.mib} MiB, {options.rounds} rounds; medians')
    for name in rounds[0]:
        seconds = statistics.median(each[name] for each in rounds)
        ratio = statistics.median(each[name] / each['cp'] for each in rounds)
        print(f'{name:22}{seconds:8.2f} s{ratio:8.2f} x cp')
    return 0


if __name__ == '__main__':
    sys.exit(main())
