"""The processes of a daemon, which cotyledon keeps, and the signals that they know.

SIGTERM and SIGINT end all of them when what they do is done, SIGHUP reads the files again, SIGUSR2
prints a report. A child that dies is started again; children whose master dies end themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
import logging
import math
import multiprocessing
import os
import signal
import sys
from types import FrameType
from typing import Any, ClassVar, Protocol

import cotyledon
from oslo_reports import guru_meditation_report

import backup_framework
from backup_framework import conf
from backup_framework.exceptions import BackupFrameworkError, ConfigurationError

LOG = logging.getLogger(__name__)

MERCY = 5.0
"""Seconds that a part has longer than its patience, before its process is ended."""


class Running(Protocol):
    """What a child process does."""

    def run(self) -> None:
        """Until `stop` is called by another thread."""

    def stop(self) -> None:
        """End `run`; returns when what had begun has ended, or was given up."""

    def reload(self) -> None:
        """Take the new values of mutable options."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Some child processes that do the same.

    :ivar make: called in each of them.
    :ivar patience: seconds that `stop` may take, as the configuration says now.
    :ivar leave: lets go of what only these processes need, where it was inherited by others.
    """

    name: str
    make: Callable[[], Running]
    patience: Callable[[], float]
    processes: int = 1
    leave: Callable[[], object] = lambda: None


class _Child(cotyledon.Service):
    """In a child process, the main thread of which hears signals."""

    name: ClassVar[str | None] = 'child'

    def __init__(self, worker_id: Any, part: Part, others: Sequence[Part],
                 configuration: conf.Configuration) -> None:
        super().__init__(worker_id)
        for other in others:
            other.leave()
        # Ctrl-C reaches all processes of a terminal; the master tells us to end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # cotyledon shows these of the object, and has them of the class.
        self.name = part.name  # type: ignore[misc]
        self._part = part
        self._configuration = configuration
        self._stopping = False
        self._set_patience()
        try:
            self._running = part.make()
        except BackupFrameworkError as error:
            LOG.error('The process %s cannot start: %s', part.name, error)
            sys.exit(1)

    def run(self) -> None:
        self._running.run()
        if not self._stopping:
            raise RuntimeError(f'{self.name} has ended by itself')

    def terminate(self) -> None:
        self._stopping = True
        self._running.stop()

    def reload(self) -> None:
        if _reload(self._configuration):
            self._set_patience()
            self._running.reload()

    def _set_patience(self) -> None:
        seconds = self._part.patience() + MERCY
        self.graceful_shutdown_timeout = _whole(seconds)  # type: ignore[misc]


class _Master(cotyledon.ServiceManager):
    """Adds to cotyledon's: SIGINT drains too, and SIGHUP is for our children alone.

    Its own SIGHUP goes to the process group, and so ends the programs that backups are using.
    """

    def __init__(self, configuration: conf.Configuration, parts: Sequence[Part]) -> None:
        # Configuration and listening socket are inherited.
        super().__init__(mp_context=multiprocessing.get_context('fork'))
        self._configuration = configuration
        self._parts = parts
        for part in parts:
            others = [other for other in parts if other is not part]
            self.add(_Child, part.processes, (part, others, configuration))
            # Else who connects while we drain would wait for nobody.
            self.register_hooks(on_terminate=part.leave)  # type: ignore[arg-type]
        self._set_patience()

    def _set_patience(self) -> None:
        """Long enough for its children to end themselves."""
        longest = max(part.patience() for part in self._parts)
        self._graceful_shutdown_timeout = _whole(longest + 2 * MERCY)

    def _on_signal_received(self, sig: int) -> None:
        if sig == signal.SIGHUP:
            self._forktimes.clear()
            if _reload(self._configuration):
                self._set_patience()
            for process in self._child_processes:
                if process.pid is not None and process.is_alive():
                    os.kill(process.pid, sig)
        elif sig == signal.SIGINT:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            super()._on_signal_received(sig)


def run(configuration: conf.Configuration, parts: Sequence[Part]) -> None:
    """Keep the processes until a signal ends them; does not return.

    All that can be wrong is to be found before, and nothing may be open that a child must not
    share: the catalog, drivers, threads.
    """
    master = _Master(configuration, parts)
    signal.signal(signal.SIGUSR2, _print_report)
    LOG.info('backup-framework %s begins, process %d. %s', backup_framework.__version__,
             os.getpid(), configuration.describe_source())
    master.run()


def _whole(seconds: float) -> int:
    """For alarm(2), where zero would be no alarm."""
    return max(1, math.ceil(seconds))


def _reload(configuration: conf.Configuration) -> bool:
    """Whether the files could be read again."""
    try:
        configuration.reload()
    except ConfigurationError as error:
        LOG.error('The configuration stays as it was: %s', error)
        return False
    LOG.info('Process %d has read the configuration again', os.getpid())
    configuration.oslo.log_opt_values(LOG, logging.DEBUG)
    return True


class _Version:
    """As oslo.reports asks for it."""

    def vendor_string(self) -> str:
        return 'backup-framework'

    def product_string(self) -> str:
        return 'backup-framework'

    def version_string_with_package(self) -> str:
        return backup_framework.__version__


def _print_report(number: int, frame: FrameType | None) -> None:
    """Threads, processes and options of this process, on stderr; children inherit this."""
    try:
        text = guru_meditation_report.TextGuruMeditation(_Version(), frame).run()
    except Exception as error:
        LOG.error('There is no report: %s', error, exc_info=error)
        return
    print(conf.mask(text), file=sys.stderr, flush=True)
