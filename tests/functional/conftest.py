"""A configuration of its own for each test, and volumes with real bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
import random

import pytest

from tests.functional.command_line import CommandLine
from tests.functional.gated_store import NAME, Gate

Volume = Callable[..., Path]

CINDERS, OURS = '1.0.0', '2.0.0'

in_cinders_format = pytest.mark.parametrize('version', [CINDERS], indirect=True)
"""Marks a test that asks for `version`: it is about chains, hash lists or objects of that format.
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[CommandLine]:
    command_line = CommandLine(tmp_path)
    yield command_line
    command_line.end()


@pytest.fixture(params=[CINDERS, OURS])
def version(cli: CommandLine, request: pytest.FixtureRequest) -> str:
    """The format of new backups; the test runs for each."""
    cli.configure(format=request.param)
    return str(request.param)


@pytest.fixture
def gate(cli: CommandLine, tmp_path: Path) -> Gate:
    """Makes the store stop where the test wants it."""
    made = Gate(tmp_path / 'gate')
    cli.configure(driver=NAME, gate=made.directory)
    return made


@pytest.fixture
def make_volume(tmp_path: Path) -> Volume:
    """Makes a file of so many bytes, other ones for another seed, with a hole in its middle."""
    def make(name: str = 'disk', size: int = 300_001, seed: int = 1) -> Path:
        path = tmp_path / name
        data = random.Random(seed).randbytes(size)
        with open(path, 'wb') as file:
            file.write(data[:size // 3])
            file.seek(size // 3 * 2)
            file.write(data[size // 3 * 2:])
        return path
    return make


@pytest.fixture
def volume(make_volume: Volume) -> Path:
    return make_volume()


def change(path: Path, offset: int = 100_000, data: bytes = b'changed' * 100) -> bytes:
    """Write into a volume; its bytes afterwards."""
    with open(path, 'r+b') as file:
        file.seek(offset)
        file.write(data)
    return path.read_bytes()
