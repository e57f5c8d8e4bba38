"""Files of this host that options name."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO


def open_regular(path: str) -> BinaryIO:
    """A file to read; a pipe or a device in its place is an error, and nothing waits for it.

    :raises OSError: as `open`.
    """
    file = open(path, 'rb', opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK))
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, 'it is not a regular file', path)
