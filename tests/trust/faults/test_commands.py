"""Whole commands while a store fails at every call: what the catalog says afterwards, and what
the next command can do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib

import pytest

from backup_framework import exceptions
from backup_framework.model import Status
from tests.trust.faults import installation, scenes
from tests.trust.faults.installation import Installation
from tests.trust.faults.striking import KINDS, Striker

KINDS_HERE = ('unavailable', 'lost answer', 'denied', 'foreign')


class Case:
    """An installation with a chain of three, the bytes that each restores, and an exported record
    of a backup that the catalog has forgotten.
    """

    def __init__(self, installed: Installation, clock: scenes.Clock) -> None:
        self.installed, self.clock = installed, clock
        self.bytes: dict[str, bytes] = {}
        for number in range(3):
            data = installed.write(number)
            made = installed.create(incremental=number > 0)
            self.bytes[made.id] = data
        self.ids = list(self.bytes)
        self.record = installed.manager.export(self.ids[2])
        installed.manager.forget(self.ids[2])
        installed.write(4)
        installed.keep()


def _restore(case: Case) -> None:
    assert case.installed.restored(case.ids[1]) == case.bytes[case.ids[1]]


def _rebuild(case: Case) -> None:
    rebuilt = case.installed.manager.rebuild('shelf')
    assert [each.id for each in rebuilt.added] == [case.ids[2]] or rebuilt.problems


COMMANDS: dict[str, Callable[[Case], object]] = {
    'full': lambda case: case.installed.create(),
    'incremental': lambda case: case.installed.create(incremental=True),
    'restore': _restore,
    'verify': lambda case: case.installed.manager.verify(case.ids[1]),
    'delete': lambda case: case.installed.delete(case.ids[1]),
    'delete of a parent': lambda case: case.installed.delete(case.ids[0]),
    'import': lambda case: case.installed.manager.import_(case.record, backend='shelf'),
    'rebuild': _rebuild,
    'copy': lambda case: case.installed.copy(case.ids[1]),
}


@pytest.fixture(scope='module', params=scenes.VERSIONS)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with scenes.no_waiting() as clock, installation.quick_directory() as directory:
        installed = Installation(directory, request.param)
        with contextlib.closing(installed):
            yield Case(installed, clock)


def strike(case: Case, name: str, striker: Striker) -> str:
    case.installed.reset()
    case.clock.pauses = 0
    case.installed.strike(striker)
    return attempt(case, name)


def attempt(case: Case, name: str) -> str:
    try:
        COMMANDS[name](case)
    except exceptions.BackupFrameworkError as error:
        return type(error).__name__
    return 'done'


def check(case: Case, name: str, said: str) -> None:
    """The next process finds all in order, and goes on."""
    installed = case.installed
    installed.restart()
    records = {each.id: each for each in installed.manager.catalog.backups()}
    for backup_id, data in case.bytes.items():
        record = records.get(backup_id)
        if record is not None and record.status == Status.AVAILABLE:
            assert installed.restored(backup_id) == data, 'a backup is damaged'
        else:
            assert 'delete' in name or backup_id == case.ids[2], f'{backup_id} is {record}'
    new = [each for each in records.values() if each.id not in case.bytes]
    for record in new:
        assert (record.status == Status.AVAILABLE) == (said == 'done'), record.status
        if record.status == Status.ERROR:
            assert record.fail_reason
    following = installed.create(incremental=True)
    assert installed.restored(following.id) == installed.volume.read_bytes()
    installed.delete(following.id)
    for record in new:
        installed.delete(record.id)
    COMMANDS_AGAIN.get(name, lambda case: None)(case)
    assert [each for each in installed.manager.check_catalog() if each.kind != 'manifest'] == []
    check_store(case)


def _delete_again(case: Case, number: int) -> None:
    with contextlib.suppress(exceptions.BackupNotFound):
        case.installed.delete(case.ids[number])


COMMANDS_AGAIN: dict[str, Callable[[Case], object]] = {
    'delete': lambda case: _delete_again(case, 1),
    'delete of a parent': lambda case: _delete_again(case, 0),
}


def check_store(case: Case) -> None:
    """When all is deleted, nothing is left; what `forget` left is known again first."""
    installed = case.installed
    installed.manager.rebuild('shelf', adopt=True)
    for record in installed.manager.catalog.backups():
        _delete_if_there(installed, record.id)
    for name in installation.BACKENDS:
        left = [each for each in installed.store(name).raw_names('shelf')
                if not each.startswith('bf-container.')]
        assert not left, left


def _delete_if_there(installed: Installation, backup_id: str) -> None:
    with contextlib.suppress(exceptions.BackupNotFound):
        installed.delete(backup_id)


def visit(case: Case, name: str, step: int, kinds: Sequence[str]) -> int:
    counting = Striker()
    assert strike(case, name, counting) == 'done'
    check(case, name, 'done')
    count = 0
    for call in counting.calls[::step]:
        for kind in kinds:
            striker = Striker(call.position, KINDS[kind], forever=True)
            said = strike(case, name, striker)
            assert striker.struck
            try:
                check(case, name, said)
            except Exception as error:
                raise AssertionError(f'{name} {kind} at {call}: {error}') from error
            count += 1
    return count


@pytest.mark.parametrize('name', COMMANDS)
def test_a_command_whose_store_fails_for_good(case: Case, name: str) -> None:
    """Some positions of each; test_store_faults visits all, without a catalog."""
    assert visit(case, name, 23, KINDS_HERE[1::2]) >= 2


@pytest.mark.long
@pytest.mark.parametrize('name', COMMANDS)
def test_a_command_whose_store_fails_for_good_at_any_call(case: Case, name: str) -> None:
    assert visit(case, name, 1, KINDS_HERE) >= 12
