"""What a process holds of the system: to see whether anything is left behind."""

from __future__ import annotations

import contextlib
import gc
import os
import time

PAUSE = 0.02


def held() -> dict[str, int] | None:
    """How many descriptors, threads and children this process has; None where /proc is missing."""
    return _counted() if os.path.exists('/proc/self/task') else None


def more_than(before: dict[str, int], seconds: float) -> dict[str, int]:
    """How many more of each kind there are after at most so many seconds: nothing, if all is well.

    What waits for the garbage collector is not counted.
    """
    deadline = time.monotonic() + seconds
    while more := _difference(before, _counted()):
        gc.collect()
        more = _difference(before, _counted())
        if not more or time.monotonic() > deadline:
            return more
        time.sleep(PAUSE)
    return more


def _difference(before: dict[str, int], now: dict[str, int]) -> dict[str, int]:
    return {kind: now[kind] - before[kind] for kind in now if now[kind] > before[kind]}


def _counted() -> dict[str, int]:
    return {'descriptors': len(os.listdir('/proc/self/fd')),
            'threads': len(os.listdir('/proc/self/task')),
            'children': _children()}


def _children() -> int:
    """Ended ones that nobody waited for are counted, too."""
    own, found = str(os.getpid()), 0
    for process in filter(str.isdecimal, os.listdir('/proc')):
        with contextlib.suppress(OSError), open(f'/proc/{process}/stat', 'rb') as file:
            # A command may hold blanks and parentheses; its parent is the second word behind it.
            found += file.read().decode(errors='replace').rpartition(')')[2].split()[1] == own
    return found
