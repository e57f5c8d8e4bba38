"""A place in memory for each test, where one can be had."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import functools
import os
from pathlib import Path
import tempfile

import pytest

from backup_framework import loader
from backup_framework.catalog.database import Database
from tests.trust.together.stage import Stage


@pytest.fixture
def make_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
               ) -> Iterator[Callable[..., Stage]]:
    """Makes empty stages."""
    # Looking for the distribution of a class would take longer than all else of a run.
    monkeypatch.setattr(loader, 'load', functools.cache(loader.load))
    # So would compiling the same queries; an engine of SQLite holds no connection.
    make_engine, engines = Database._make_engine, {}
    monkeypatch.setattr(Database, '_make_engine', lambda self: (
        engines.get(self.name) or engines.setdefault(self.name, make_engine(self))))
    place = '/dev/shm' if os.access('/dev/shm', os.W_OK) else str(tmp_path)
    made: list[Stage] = []

    def make(**how: object) -> Stage:
        made.append(Stage(Path(tempfile.mkdtemp(prefix='bf-together-', dir=place)), **how))
        return made[-1]

    yield make
    for stage in made:
        stage.close()
