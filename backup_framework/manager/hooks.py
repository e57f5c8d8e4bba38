"""The commands that bring a volume to rest before it is read, and wake it afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
import functools
import logging
import os
import signal
import subprocess
import time

from backup_framework import conf, exceptions

LOG = logging.getLogger(__name__)

_frozen: list[conf.VolumeConfig] = []
"""Volumes of this process whose thaw_command has not been started."""


@contextlib.contextmanager
def frozen(volume: conf.VolumeConfig | None) -> Iterator[None]:
    """Run the block between `freeze_command` and `thaw_command`; the latter always runs.

    :raises VolumeError: a command failed or took longer than `hook_timeout`. Where the block failed
        already, a failing thaw is only added to its error.
    """
    if volume is None:
        yield
        return
    _frozen.append(volume)
    try:
        _run('freeze_command', volume.freeze_command, volume.hook_timeout)
        yield
    except BaseException as error:
        try:
            _thaw(volume)
        except exceptions.VolumeError as second:
            error.add_note(str(second))
        raise
    _thaw(volume)


def thaw_all() -> None:
    """Wake what is still frozen: for the end of a process that could not get there in order."""
    while _frozen:
        try:
            _thaw(_frozen[-1])
        except exceptions.VolumeError as error:
            LOG.error('%s', error)


def _thaw(volume: conf.VolumeConfig) -> None:
    """Whoever asks to stop meanwhile is heard when it has run."""
    started = functools.partial(_forget, volume)
    try:
        _run('thaw_command', volume.thaw_command, volume.hook_timeout, started)
    except exceptions.VolumeError as error:
        started()
        error.add_note('The volume may still be frozen.')
        raise
    started()


def _forget(volume: conf.VolumeConfig) -> None:
    if volume in _frozen:
        _frozen.remove(volume)


def _run(what: str, command: Sequence[str], timeout: float,
         started: Callable[[], None] | None = None) -> None:
    """Run a command to its end.

    :param started: called when it runs; what interrupts us then is raised only when it has ended.
    """
    if not command:
        return
    LOG.info('%s: %s', what, command[0])
    try:
        # A session of its own: Ctrl-C on the terminal must not end a thaw_command.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, start_new_session=True)
    except OSError as error:
        raise exceptions.VolumeError(
            f'{what} {command[0]} cannot be run: {error.strerror}') from error
    with process:
        try:
            if started is not None:
                started()
            said = _said(process, timeout, steadfast=started is not None).decode(errors='replace')
        except BaseException as error:
            # With what it started, which would keep its output open.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise exceptions.VolumeError(
                f'{what} {command[0]} took longer than {timeout:g} s and was ended') from None
    if process.returncode:
        last = said.strip().splitlines()[-1:]
        raise exceptions.VolumeError(
            f'{what} {command[0]} failed with exit code {process.returncode}'
            + ''.join(f': {line[:200]}' for line in last))


def _said(process: subprocess.Popen[bytes], timeout: float, steadfast: bool) -> bytes:
    """The output of a command that ended in time.

    :param steadfast: raise what interrupts the waiting only when the command has ended.
    """
    deadline = time.monotonic() + timeout
    interruption: BaseException | None = None
    while True:
        try:
            said = process.communicate(timeout=max(0.0, deadline - time.monotonic()))[0]
            break
        except (KeyboardInterrupt, exceptions.OperationCancelled) as error:
            if not steadfast:
                raise
            interruption = error
    if interruption is not None:
        raise interruption
    return said
