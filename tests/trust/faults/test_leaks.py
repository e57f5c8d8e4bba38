"""Operations that fail, one after the other in one process: nothing of them stays."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import gc
import itertools
import os
from pathlib import Path
import tempfile
import threading

import pytest

from tests.trust.faults import scenes, test_commands
from tests.trust.faults.installation import Installation, quick_directory
from tests.trust.faults.striking import KINDS, Striker
from tests.trust.faults.test_commands import COMMANDS, Case

DRIVERS = {'memory': '', 'local': 'driver = local\npath = {place}/{{name}}\ndurability = none'}
HERE = ('unavailable', 'lost answer', 'denied', 'foreign', 'full', 'reads other bits',
        'not found')


@pytest.fixture(params=DRIVERS)
def case(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    with scenes.no_waiting() as clock, quick_directory() as place:
        temporary = place / 'temporary'
        temporary.mkdir()
        monkeypatch.setattr(tempfile, 'tempdir', str(temporary))
        installed = Installation(place, driver=DRIVERS[request.param].format(place=place))
        with contextlib.closing(installed):
            yield Case(installed, clock)


def belongings(installed: Installation) -> dict[str, object]:
    """What this process has, and what lies in the directories for what passes."""
    gc.collect()
    descriptors = os.listdir('/proc/self/fd')
    return {'descriptors': len(descriptors), 'threads': threading.active_count(),
            'temporary files': files(installed.directory / 'temporary'),
            'spools': files(installed.state / 'spool'),
            'locks': files(installed.state / 'locks'),
            'operations': [each.id for each in installed.manager.catalog.backups()
                           if each.status in ('creating', 'deleting', 'restoring')],
            'partial files': [str(each) for each in installed.directory.glob('.*')],
            'parts of objects': [name for store in ('shelf', 'elsewhere')
                                 for name in files(installed.directory / store)
                                 if Path(name).name.startswith('.tmp')]}


def files(directory: Path) -> list[str]:
    return sorted(str(each) for each in directory.rglob('*') if each.is_file())


def failures(case: Case) -> Iterator[tuple[str, Striker]]:
    """Commands in turn, struck later and later."""
    for position in itertools.count(1, 3):
        for kind, name in itertools.product(HERE, COMMANDS):
            yield name, Striker(position, KINDS[kind], forever=kind != 'lost answer')


def fail(case: Case, count: int) -> int:
    failed = 0
    case.installed.reset()
    before = None
    for number, (name, striker) in enumerate(itertools.islice(failures(case), count)):
        case.clock.pauses = 0
        case.installed.strike(striker)
        with contextlib.suppress(AssertionError, IndexError):
            failed += test_commands.attempt(case, name) != 'done'
        case.installed.strike(Striker())
        if before is None and number >= 20:
            before = belongings(case.installed)
        if number % 40 == 39:
            # Or the records of what failed would make each command slower.
            case.installed.reset()
    case.installed.reset()
    case.installed.strike(Striker())
    case.installed.manager.catalog.backups()
    assert belongings(case.installed) == before
    return failed


def test_nothing_stays_of_operations_that_fail(case: Case) -> None:
    assert fail(case, 60) >= 35


@pytest.mark.long
def test_nothing_stays_of_a_thousand_operations_that_fail(case: Case) -> None:
    assert fail(case, 1500) >= 500
