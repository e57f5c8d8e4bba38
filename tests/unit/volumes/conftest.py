"""A file system that shares blocks, and loop devices: what only root can have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import os
from pathlib import Path
import shutil
import subprocess

import pytest

MIB = 1 << 20


@pytest.fixture(scope='module')
def reflinks(require_part: Callable[[str, str], None], tmp_path_factory: pytest.TempPathFactory
             ) -> Iterator[Path]:
    """A directory on XFS."""
    if os.geteuid():
        pytest.skip('only root can mount')
    if shutil.which('mkfs.xfs') is None:
        require_part('xfsprogs', 'no mkfs.xfs')
    folder = tmp_path_factory.mktemp('xfs')
    image, point = folder / 'image', folder / 'mount'
    image.touch()
    os.truncate(image, 320 * MIB)
    subprocess.run(['mkfs.xfs', '-q', image], check=True, capture_output=True, timeout=60)
    point.mkdir()
    done = subprocess.run(['mount', '-o', 'loop', image, point], capture_output=True, text=True,
                          check=False, timeout=60)
    if done.returncode:
        pytest.skip(f'this kernel mounts no XFS: {done.stderr.strip()}')
    try:
        yield point
    finally:
        subprocess.run(['umount', point], check=True, timeout=60)
        image.unlink()


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Makes loop devices on files: `loop(path)`, and arguments for losetup."""
    if os.geteuid():
        pytest.skip('only root makes loop devices')
    with contextlib.ExitStack() as end:
        def make(path: Path, *options: str) -> str:
            done = subprocess.run(['losetup', '-f', '--show', *options, path], text=True,
                                  capture_output=True, check=False, timeout=60)
            if done.returncode:
                pytest.skip(f'no loop device: {done.stderr.strip()}')
            device = done.stdout.strip()
            end.callback(subprocess.run, ['losetup', '-d', device], check=False,
                         capture_output=True, timeout=60)
            return device
        yield make
