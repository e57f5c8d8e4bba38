"""Whether the kit sees what is broken: each sentence's drivers fail its cases, and no others."""

from __future__ import annotations

import dataclasses

import pytest

from backup_framework.formats import versions
from backup_framework.testing import conformance
from backup_framework.testing.memory import MemoryBackupDriver
from tests.conformance import broken, memory_kit

pytestmark = pytest.mark.filterwarnings('ignore:the kit could not remove')


def test_the_interface_has_sentences() -> None:
    found = conformance.sentences()
    assert len(found) >= 40
    assert found['W3'] == 'An exception inside the block leaves nothing visible.'
    assert found['W6'].endswith('clears what a kill left.')


def test_each_sentence_has_a_case_and_a_broken_driver() -> None:
    assert set(conformance.cases()) == set(conformance.sentences())
    assert {identifier for identifier, _ in broken.BROKEN} == set(conformance.sentences())


def test_the_memory_driver_does_all_that_a_driver_may_do() -> None:
    can = dataclasses.asdict(memory_kit.make().capabilities())
    # The second one is no ability: it says that what is durable may be lost with the rest.
    assert [name for name, value in can.items() if value is False] == [
        'durable', 'durable_together']


def test_backups_are_made_in_every_format() -> None:
    for names in (names for identifier, names in conformance.cases().items()
                  if identifier.startswith('B')):
        for name in names:
            marks = getattr(conformance.ChunkedDriverConformance, name).pytestmark
            asked = [mark.args[1] for mark in marks if mark.args[0] == 'version']
            assert asked == [sorted(versions.FORMATS)], name


@pytest.mark.parametrize('good', [
    MemoryBackupDriver, memory_kit.PlainMemoryDriver, memory_kit.ReplacingMemoryDriver])
def test_a_good_driver_passes(good: type[MemoryBackupDriver]) -> None:
    outcomes = conformance.run(memory_kit.MemoryKit(), lambda: memory_kit.make(good))
    assert [outcome for outcome in outcomes if outcome.result != 'passed'] == []


@pytest.mark.parametrize(
    ('identifier', 'driver'), broken.BROKEN,
    ids=[f'{identifier}-{driver.__name__}' for identifier, driver in broken.BROKEN])
def test_a_broken_driver_fails_its_sentence_only(
        identifier: str, driver: type[MemoryBackupDriver]) -> None:
    outcomes = conformance.run(memory_kit.MemoryKit(), lambda: memory_kit.make(driver))
    failed = [outcome for outcome in outcomes if outcome.result == 'failed']
    assert {outcome.sentence for outcome in failed} == {identifier}, failed
