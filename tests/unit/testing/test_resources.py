"""Whether it is seen what a process holds."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import os
import subprocess
import threading

import pytest

from backup_framework.testing import resources


def _descriptor(stack: contextlib.ExitStack) -> None:
    stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))


def _thread(stack: contextlib.ExitStack) -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    stack.callback(thread.join)
    stack.callback(end.set)


def _child(stack: contextlib.ExitStack) -> None:
    """One that has ended and that nobody has waited for."""
    child = subprocess.Popen(['true'])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    stack.callback(child.wait)


@pytest.mark.parametrize(('kind', 'take'), [
    ('descriptors', _descriptor), ('threads', _thread), ('children', _child)])
def test_one_more_is_seen_until_it_is_let_go(
        kind: str, take: Callable[[contextlib.ExitStack], None]) -> None:
    before = resources.held()
    assert before is not None
    with contextlib.ExitStack() as stack:
        take(stack)
        assert resources.more_than(before, 0) == {kind: 1}
    assert resources.more_than(before, 5) == {}


def test_what_is_let_go_in_time_is_nothing_left() -> None:
    before = resources.held()
    assert before is not None
    threading.Timer(0.1, lambda: None).start()
    assert resources.more_than(before, 10) == {}


def test_what_only_the_garbage_collector_would_close_is_nothing_left() -> None:
    before = resources.held()
    assert before is not None

    class Circle:
        def __init__(self) -> None:
            self.file = open(os.devnull, 'rb', buffering=0)
            self.me = self

        def __del__(self) -> None:
            self.file.close()

    Circle()
    assert resources.more_than(before, 0) == {}
