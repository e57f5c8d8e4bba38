"""Small disks, and installations on them."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import subprocess

import pytest

from backup_framework import conf
from backup_framework.manager import Manager
from backup_framework.manager.creating import Request
from backup_framework.manager.restoring import Request as RestoreRequest
from backup_framework.model import Backup
from tests.unit.driver import chains

PAGE = 4096


@contextlib.contextmanager
def mounted(point: Path, options: str = 'size=4m') -> Iterator[Path]:
    """A disk in memory, which only root may have."""
    point.mkdir(exist_ok=True)
    command = ['mount', '-t', 'tmpfs', '-o', f'mode=700,{options}', 'none', str(point)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip('only root can mount, where the kernel lets it')
    try:
        yield point
    finally:
        subprocess.run(['umount', '-l', str(point)], check=True)


def free(point: Path) -> int:
    status = os.statvfs(point)
    return status.f_bavail * status.f_frsize


def leave(point: Path, size: int) -> None:
    """A file takes what is left of the disk, but so many bytes."""
    ballast = point / 'ballast'
    ballast.unlink(missing_ok=True)
    with ballast.open('wb') as file:
        file.write(bytes(max(0, free(point) - size)))


def leave_inodes(point: Path, count: int) -> None:
    place = point / 'inodes'
    place.mkdir(exist_ok=True)
    for file in place.iterdir():
        file.unlink()
    for number in range(os.statvfs(point).f_favail - count):
        (place / str(number)).touch()


def clear(point: Path) -> None:
    (point / 'ballast').unlink(missing_ok=True)
    if (point / 'inodes').exists():
        for file in (point / 'inodes').iterdir():
            file.unlink()


class Installed:
    """A catalog in `directory/state`, one backend, one volume."""

    def __init__(self, directory: Path, section: str, state: Path | None = None) -> None:
        self.directory = directory
        self.volume = directory / 'volume'
        self.target = directory / 'target'
        self.warnings: list[str] = []
        config = directory / 'test.conf'
        config.write_text(
            f'[DEFAULT]\nstate_path = {state or directory / "state"}\n[shelf]\n{section}\n'
            'chunk_size = 16KiB\nblock_size = 4KiB\nworkers = 0\nretry_deadline = 0\n'
            'container = box\n')
        with config.open('a') as file:
            file.write('[DEFAULT]\nenabled_backends = shelf\n')
        self._configuration = conf.load([str(config)])
        self.manager = self._start()

    def _start(self) -> Manager:
        manager = Manager(self._configuration, warn=self.warnings.append)
        manager.__enter__()
        return manager

    def restart(self) -> None:
        self.manager.__exit__()
        self.manager = self._start()

    def write(self, seed: int, length: int = 90_000) -> bytes:
        data = chains.make_bytes(length, seed=seed)
        self.volume.write_bytes(data)
        return data

    def create(self) -> Backup:
        return self.manager.create(Request(str(self.volume)))

    def delete(self, backup: Backup) -> None:
        self.manager.delete(self.manager.plan_delete([backup.id])[0])

    def restore(self, backup: Backup, target: Path | None = None) -> bytes:
        path = target or self.target
        path.unlink(missing_ok=True)
        self.manager.restore(backup.id, RestoreRequest(str(path)))
        return path.read_bytes()
