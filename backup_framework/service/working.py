"""A worker process: the worker, and the schedules beside it."""

from __future__ import annotations

import threading

from backup_framework import loader
from backup_framework.conf import Configuration
from backup_framework.interface.volume_source import VolumeSource
from backup_framework.manager import Manager
from backup_framework.service import local, notifications, schedules
from backup_framework.service.boards import Board
from backup_framework.service.dispatch import Dispatcher
from backup_framework.service.worker import LEAVE_SECONDS, THREAD_SECONDS, Worker


def check(configuration: Configuration) -> None:
    """Find before any process is forked what would keep a worker from its work.

    :raises ConfigurationError: what is wrong, or that a worker without a board runs already.
    """
    check_sections(configuration)
    check_board(configuration)
    if configuration.jobboard().connection is None:
        local.Alone(configuration.state_path).release()


def check_board(configuration: Configuration) -> None:
    """:raises ConfigurationError: its connection makes no sense, or its client is missing."""
    options = configuration.jobboard()
    if options.connection is not None:
        Board(options)


def check_options(configuration: Configuration) -> None:
    """Read what the API needs too, at its requests.

    :raises ConfigurationError: what is wrong.
    """
    configuration.service()
    _ = configuration.quota
    schedules.check(configuration)


def check_sections(configuration: Configuration) -> None:
    """Read all that a worker will.

    :raises ConfigurationError: what is wrong.
    """
    check_options(configuration)
    for name in configuration.enabled_backends:
        configuration.settings(name, loader.load(configuration.backend(name).driver))
    for source in configuration.sources():
        found = loader.load_heir(source.type, loader.VOLUME_SOURCES, VolumeSource)
        configuration.source_settings(source, found)
    notifications.check(configuration)


def patience(configuration: Configuration) -> float:
    """Seconds that a worker may take to stop."""
    return (configuration.service().drain_timeout + LEAVE_SECONDS + THREAD_SECONDS
            + notifications.LEAVE)


class Working:
    """What the process does; see `daemon.Running`."""

    def __init__(self, configuration: Configuration) -> None:
        self._worker = Worker(configuration)
        self._dispatcher = Dispatcher(configuration, self._worker.catalog)
        self._scheduler = schedules.Scheduler(
            configuration, Manager(configuration, self._worker.catalog), self._dispatcher.submit)
        self._schedules = threading.Thread(target=self._scheduler.run, name='schedules',
                                           daemon=True)

    def run(self) -> None:
        self._schedules.start()
        self._worker.run()

    def stop(self) -> None:
        self._scheduler.stop()
        self._worker.stop()
        self._dispatcher.close()

    def reload(self) -> None:
        self._worker.reload()
        self._scheduler.reload()
