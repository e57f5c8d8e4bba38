"""The conformance kit: what a driver's author runs to know that the driver keeps the contract.

Subclass `ChunkedDriverConformance` in a test file, with one fixture::

    class TestShelf(conformance.ChunkedDriverConformance):

        @pytest.fixture
        def driver(self, tmp_path):
            return ShelfBackupDriver.make(path=str(tmp_path / 'shelf.db'))

Each case proves one numbered sentence of `backup_framework.interface`, which a failure quotes.
Containers are named `bf-kit-...` and emptied after each case. Where a case cannot be provoked from
outside it is skipped and says which method of `hooks.Hooks` the author can override.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import dataclasses
import functools
import itertools
from typing import Any

import pytest

from backup_framework.driver import chunked
from backup_framework.testing import (
    backup_cases,
    container_cases,
    failure_cases,
    general_cases,
    object_cases,
)
from backup_framework.testing import sentences as contract
from backup_framework.testing.bench import CONTAINER, Bench
from backup_framework.testing.sentences import sentence, sentences

__all__ = ['CONTAINER', 'Bench', 'ChunkedDriverConformance', 'Outcome', 'cases', 'run',
           'sentence', 'sentences']


class ChunkedDriverConformance(general_cases.GeneralCases, failure_cases.FailureCases,
                               container_cases.ContainerCases, object_cases.ObjectCases,
                               backup_cases.BackupCases):
    """All cases. A subclass gives a fixture `driver`, and bounds and hooks where it wants to."""

    @pytest.fixture
    def bench(self, driver: chunked.ChunkedBackupDriver) -> Iterator[Bench]:
        bench = Bench(self, driver)
        yield bench
        bench.clean()


def cases(kit: type[Any] = ChunkedDriverConformance) -> dict[str, list[str]]:
    """Each id of the contract with the names of the kit's cases for it."""
    return contract.cases_of(kit)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How one case ended: 'passed', 'failed' or 'skipped', and why."""

    sentence: str
    case: str
    result: str
    reason: str = ''


def run(kit: ChunkedDriverConformance,
        make: Callable[[], chunked.ChunkedBackupDriver]) -> list[Outcome]:
    """Run all cases without pytest's collection, a new driver for each: to test the kit itself."""
    return [_run(kit, make(), identifier, name, case)
            for identifier, names in cases(type(kit)).items()
            for method in names
            for name, case in _expanded(method, getattr(kit, method))]


def _run(kit: ChunkedDriverConformance, driver: chunked.ChunkedBackupDriver, identifier: str,
         name: str, case: Callable[[Bench], None]) -> Outcome:
    bench = Bench(kit, driver)
    try:
        case(bench)
    except pytest.skip.Exception as skipped:
        return Outcome(identifier, name, 'skipped', str(skipped))
    except Exception as error:
        return Outcome(identifier, name, 'failed', repr(error))
    finally:
        bench.clean()
    return Outcome(identifier, name, 'passed')


def _expanded(name: str, method: Callable[..., None]) -> Iterator[tuple[str, Callable[..., None]]]:
    """A case, or one for each combination of the rows of its `parametrize` marks."""
    marks = [mark for mark in getattr(method, 'pytestmark', ()) if mark.name == 'parametrize']
    for number, rows in enumerate(itertools.product(*map(_rows, marks))):
        values = {key: value for row in rows for key, value in row.items()}
        yield f'{name}[{number}]' if marks else name, functools.partial(method, **values)


def _rows(mark: pytest.Mark) -> list[dict[str, Any]]:
    """The arguments that each row of a `parametrize` mark stands for."""
    names, rows = mark.args
    return [{names: row} if isinstance(names, str) else dict(zip(names, row)) for row in rows]
