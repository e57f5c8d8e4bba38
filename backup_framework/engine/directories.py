"""Directories of this host: those for their owner only, and names in them made durable."""

from __future__ import annotations

import errno
import os


def make_private(path: str) -> None:
    """Make a directory and those above it, each 0700 and durable; what exists is left as it is.

    `os.makedirs` gives its mode to the last one alone.
    """
    path = os.path.abspath(path)
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    make_private(above)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    sync(above)


def sync(path: str) -> None:
    """Make the names in a directory durable; nothing where it may not be read, or has no sync."""
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(directory)
