"""Progress for people: a line on the terminal with percent, rate and time left."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from backup_framework.engine.monitor import Monitor

_INTERVAL = 0.2


class TerminalMonitor(Monitor):
    """Shows each phase on stderr; only for a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._shown = 0.0

    def start(self, phase: str, total: int | None = None) -> None:
        super().start(phase, total)
        if self._progress is None:
            self._progress = Progress(
                TextColumn('{task.description}'), BarColumn(), TaskProgressColumn(),
                DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn(),
                console=Console(file=sys.stderr), auto_refresh=False, transient=True)
            self._progress.start()
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(phase, total=total)
        self._progress.refresh()

    def advance(self, length: int) -> None:
        super().advance(length)
        now = time.monotonic()
        if self._progress is None or self._task is None or now - self._shown < _INTERVAL:
            return
        self._shown = now
        self._progress.update(self._task, completed=self.done, refresh=True)

    def end(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress = self._task = None
