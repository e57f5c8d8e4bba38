"""Directories of this host that are for their owner only."""

from __future__ import annotations

import contextlib
import os


def make_private(path: str) -> None:
    """Make a directory and those above it, each 0700; what exists is left as it is.

    `os.makedirs` gives its mode to the last one alone.
    """
    path = os.path.abspath(path)
    if os.path.isdir(path):
        return
    make_private(os.path.dirname(path))
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
