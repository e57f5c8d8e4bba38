"""What happens to the disk of a server in a jail, done from outside."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import stat

KIB = 1 << 10


@contextlib.contextmanager
def filled(root: Path, but: int = 0) -> Iterator[Path]:
    """A file takes what is left of the disk, but so many bytes."""
    ballast = root / 'ballast'
    status = os.statvfs(root)
    try:
        with ballast.open('wb') as file, contextlib.suppress(OSError):
            for _ in range((status.f_bavail * status.f_frsize - but) // (64 * KIB)):
                file.write(bytes(64 * KIB))
                file.flush()
        yield ballast
    finally:
        ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def owned_by_root(directory: Path, mode: int, *names: str) -> Iterator[None]:
    """A directory of this mode, and files in it, are root's."""
    paths = [directory, *(directory / name for name in names)]
    before = directory.stat()
    for path in paths:
        os.chown(path, 0, 0)
    directory.chmod(mode)
    try:
        yield
    finally:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.chown(path, before.st_uid, before.st_gid)
        directory.chmod(stat.S_IMODE(before.st_mode))
