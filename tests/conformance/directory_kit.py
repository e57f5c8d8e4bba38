"""The kit for drivers whose store is a directory, which the system can fill, forbid or break."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import subprocess
from typing import Any

import pytest

from backup_framework.testing import conformance

NOBODY = 65534


class DirectoryKit(conformance.ChunkedDriverConformance):
    """Containers are directories below `path`: writers are really killed, disks really full."""

    fork_safe = True

    def raw_names(self, driver: Any, container: str) -> list[str]:
        top = os.path.join(driver.settings.path, container)
        return [os.path.relpath(os.path.join(directory, name), top)
                for directory, _, names in os.walk(top) for name in names]

    def outage(self, driver: Any) -> contextlib.AbstractContextManager[None] | None:
        """A dead file system lies over the store. Calls of the system are not counted."""
        return dead(driver) if os.geteuid() == 0 and os.path.exists('/dev/fuse') else None

    def fill(self, driver: Any, container: str) -> contextlib.AbstractContextManager[None] | None:
        """A small file system lies over the container."""
        point = os.path.join(driver.settings.path, container)
        return mounted(point, 'tmpfs', 'size=64k,mode=700') if os.geteuid() == 0 else None

    @contextlib.contextmanager
    def forbid(self, driver: Any, container: str) -> Iterator[None]:
        """Modes mean nothing to root, who becomes somebody else."""
        path = Path(driver.settings.path, container)
        mode, user = path.stat().st_mode, os.geteuid()
        path.chmod(0)
        if user == 0:
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(user)
            path.chmod(mode)

    @contextlib.contextmanager
    def protect(self, driver: Any, container: str, name: str) -> Iterator[None]:
        """A link has its name, which is no object's."""
        path = Path(driver.settings.path, container, name)
        aside = path.rename(path.with_name('.aside'))
        path.symlink_to(aside)
        try:
            yield
        finally:
            aside.rename(path)


@contextlib.contextmanager
def dead(driver: Any) -> Iterator[None]:
    """A FUSE file system without a server over the store: every call ends with ENOTCONN."""
    with contextlib.ExitStack() as stack:
        server = os.open('/dev/fuse', os.O_RDWR)
        try:
            stack.enter_context(mounted(
                driver.settings.path, 'fuse',
                f'fd={server},rootmode=40000,user_id=0,group_id=0', pass_fds=[server]))
        finally:
            os.close(server)
        # What a driver holds open would lead past the mount.
        driver.close()
        yield


@contextlib.contextmanager
def mounted(point: str, kind: str, options: str, **more: Any) -> Iterator[None]:
    done = subprocess.run(['mount', '-i', '-t', kind, '-o', options, 'none', point],
                          capture_output=True, text=True, check=False, **more)
    if done.returncode:
        pytest.skip(f'this machine cannot mount a {kind}: {done.stderr.strip()}')
    try:
        yield
    finally:
        subprocess.run(['umount', '-l', point], check=True)
