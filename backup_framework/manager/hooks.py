"""The commands that bring a volume to rest before it is read, and wake it afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
import logging
import os
import signal
import subprocess

from backup_framework import conf, exceptions

LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def frozen(volume: conf.VolumeConfig | None) -> Iterator[None]:
    """Run the block between `freeze_command` and `thaw_command`; the latter always runs.

    :raises VolumeError: a command failed or took longer than `hook_timeout`. Where the block failed
        already, a failing thaw is only added to its error.
    """
    if volume is None:
        yield
        return
    try:
        _run('freeze_command', volume.freeze_command, volume.hook_timeout)
        yield
    except BaseException as error:
        try:
            _run('thaw_command', volume.thaw_command, volume.hook_timeout)
        except exceptions.VolumeError as second:
            error.add_note(str(second))
        raise
    _run('thaw_command', volume.thaw_command, volume.hook_timeout)


def _run(what: str, command: Sequence[str], timeout: float) -> None:
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
            said = process.communicate(timeout=timeout)[0].decode(errors='replace')
        except BaseException as error:
            # With what it started, which would keep its output open.
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
