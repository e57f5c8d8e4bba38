"""The local driver with a gate: it stops before or after a chosen call, until it is let go."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import fnmatch
from pathlib import Path
import time
from typing import Any

from backup_framework.drivers import local
from backup_framework.model import Option, OptionType
from tests.functional.command_line import until

NAME = f'{__name__}:GatedDriver'


class Gate:
    """The test's side: choose where to stop, wait until it is reached, open again.

    Steps are 'writing' (all bytes are in a temporary file), 'written', 'reading', 'deleting' and
    'deleted', followed by a blank and a pattern for the object's name.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory
        self._step = directory / 'step'
        self._reached = directory / 'reached'

    def shut(self, step: str) -> None:
        self._reached.unlink(missing_ok=True)
        self._step.write_text(step)

    def wait(self) -> None:
        until(self._reached.exists, f'"{self._step.read_text()}"')

    def open(self) -> None:
        self._step.unlink(missing_ok=True)


class GatedDriver(local.LocalBackupDriver):
    """Stops where the gate says."""

    OPTIONS = (*local.LocalBackupDriver.OPTIONS, Option('gate', OptionType.PATH, required=True))

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[Any]:
        with super().get_object_writer(container, object_name, extra_metadata) as writer:
            yield writer
            self._pass('writing', object_name)
        self._pass('written', object_name)

    @contextlib.contextmanager
    def get_object_reader(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[Any]:
        self._pass('reading', object_name)
        with super().get_object_reader(container, object_name, extra_metadata) as reader:
            yield reader

    def delete_object(self, container: str, object_name: str) -> None:
        self._pass('deleting', object_name)
        super().delete_object(container, object_name)
        self._pass('deleted', object_name)

    def _pass(self, step: str, name: str) -> None:
        gate = Path(self.settings.gate)
        try:
            wanted = (gate / 'step').read_text()
        except FileNotFoundError:
            return
        if not fnmatch.fnmatch(f'{step} {name}', wanted):
            return
        (gate / 'reached').touch()
        while (gate / 'step').exists():
            time.sleep(0.01)
