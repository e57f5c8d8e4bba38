"""Worlds in memory, small objects, and commands under strace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
import shutil
import tempfile

import pytest

from backup_framework.formats.v2 import gathering, writer
from tests.trust.crash import world
from tests.trust.crash.tracing import Traced, share
from tests.trust.crash.world import FIRST, World


@pytest.fixture(autouse=True)
def small_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process and its forks; the command line has objects of the usual size."""
    monkeypatch.setattr(writer, 'SMALL', world.SMALL)
    monkeypatch.setattr(gathering, 'GATHERED', world.GATHERED)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, where thousands of worlds cost no disk."""
    with tempfile.TemporaryDirectory(dir=world.memory_directory() or tmp_path) as directory:
        yield Path(directory)


@pytest.fixture
def traced(tmp_path: Path, require_part: Callable[[str, str], None]) -> Callable[..., Traced]:
    """Makes a world whose commands run under strace."""
    if shutil.which('strace') is None:
        require_part('strace', 'strace is not installed')

    def make(driver: str, version: str) -> Traced:
        options = share(tmp_path) if driver == 'nfs' else ()
        made = World(tmp_path / 'world', version, driver, options)
        made.write_configuration()
        made.set_disk(FIRST)
        return Traced(made)
    return make
