"""The thaw always runs, to its end."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import threading
import time

import pytest

from backup_framework import conf, exceptions
from backup_framework.manager import hooks


def volume(thaw: str, timeout: float = 20.0) -> conf.VolumeConfig:
    return conf.VolumeConfig('name', '/path', thaw_command=('sh', '-c', thaw), hook_timeout=timeout)


def test_an_interruption_waits_for_the_thaw(tmp_path: Path) -> None:
    begun, go, done = (tmp_path / name for name in ('begun', 'go', 'done'))

    def interrupt() -> None:
        deadline = time.monotonic() + 20
        while not begun.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        if begun.exists():  # at another time, the signal would end the tests
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        go.touch()

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    thaw = f'touch {begun}; until [ -e {go} ]; do sleep 0.05; done; touch {done}'
    with pytest.raises(KeyboardInterrupt), hooks.frozen(volume(thaw)):
        pass
    assert done.exists()
    interrupting.join()


def test_a_thaw_that_never_ends_is_ended(tmp_path: Path) -> None:
    with pytest.raises(exceptions.VolumeError, match='longer than 0.3 s') as caught:
        with hooks.frozen(volume('sleep 60', 0.3)):
            pass
    assert caught.value.__notes__ == ['The volume may still be frozen.']


def test_what_could_not_be_thawed_in_order_is_thawed_at_the_end(tmp_path: Path) -> None:
    done = tmp_path / 'done'
    hanging = hooks.frozen(volume(f'echo thawed >> {done}'))
    hanging.__enter__()
    hooks.thaw_all()
    hooks.thaw_all()
    assert done.read_text() == 'thawed\n'
