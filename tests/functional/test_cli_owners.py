"""Two installations on one store, and records that say less than the store does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.functional.command_line import CommandLine
from tests.functional.conftest import change, in_cinders_format


@pytest.fixture
def other(cli: CommandLine, tmp_path: Path) -> CommandLine:
    """Another installation with the same store."""
    directory = tmp_path / 'other'
    directory.mkdir()
    made = CommandLine(directory)
    made.configure(path=cli.store)
    yield made
    made.end()


def test_nothing_is_built_on_what_another_installation_may_delete(
        cli: CommandLine, other: CommandLine, volume: Path) -> None:
    full = cli.create(volume, '--name', 'full')
    other.good('catalog', 'rebuild', 'local')
    change(volume)
    child = other.create(volume, '--incremental', '--adopt')
    assert not child['is_incremental'] and 'none to build on' in child['warnings'][0]
    assert 'read-only' in other.refused(4, 'backup', 'create', volume, '--parent', full['id'])
    assert 'belongs to' in cli.refused(4, 'backup', 'delete', full['id'])
    assert cli.json('backup', 'show', full['id'])['status'] == 'available'
    cli.good('backup', 'delete', full['id'], '--adopt')
    other.good('backup', 'restore', child['id'], 'out')
    assert (other.directory / 'out').read_bytes() == volume.read_bytes()


def test_a_backup_whose_end_was_not_recorded_is_healed(cli: CommandLine, volume: Path) -> None:
    made = cli.create(volume)
    cli.good('backup', 'set', made['id'], '--state', 'error')
    cli.refused(4, 'backup', 'restore', made['id'], 'out')
    done = cli.good('catalog', 'rebuild', 'local')
    assert f'Backup {made["id"]} is complete' in done.err
    shown = cli.json('backup', 'show', made['id'])
    assert (shown['status'], shown['stored_bytes']) == ('available', made['stored_bytes'])


def test_two_volumes_at_one_path_after_a_rebuild(cli: CommandLine, volume: Path) -> None:
    cli.create(volume)
    for file in cli.state.glob('catalog.sqlite*'):
        file.unlink()
    cli.create(volume)
    assert 'another volume is known at' in cli.good('catalog', 'rebuild', 'local').err
    assert cli.create(volume, '--incremental')['is_incremental']


@in_cinders_format
def test_a_forgotten_child_is_spoken_of(cli: CommandLine, volume: Path, version: str) -> None:
    full = cli.create(volume)
    child = cli.create(volume, '--incremental')
    assert f'it needs backup {full["id"]}' in cli.good('backup', 'forget', child['id']).err


def test_properties_set_at_once_are_all_kept(cli: CommandLine, volume: Path) -> None:
    made = cli.create(volume)
    running = [cli.start('backup', 'set', made['id'], '--property', f'key{n}={n}')
               for n in range(8)]
    assert [each.wait().code for each in running] == [0] * 8
    assert cli.json('backup', 'show', made['id'])['metadata'] == {
        f'key{n}': str(n) for n in range(8)}


def test_a_whole_chain_has_to_be_adopted(
        cli: CommandLine, other: CommandLine, volume: Path) -> None:
    cli.configure(format='1.0.0')
    other.configure(format='1.0.0')
    full = cli.create(volume)
    child = cli.create(volume, '--incremental')
    other.good('catalog', 'rebuild', 'local')
    other.good('backup', 'set', child['id'], '--adopt')
    assert full['id'] in other.refused(4, 'backup', 'create', volume, '--parent', child['id'])
    assert not other.create(volume, '--incremental')['is_incremental']
    other.good('backup', 'set', full['id'], '--adopt')
    assert other.create(volume, '--parent', child['id'])['is_incremental']


def test_an_output_that_cannot_be_written(cli: CommandLine, volume: Path) -> None:
    made = cli.create(volume)
    with open('/dev/full', 'w') as full:
        done = cli.script('backup', 'show', made['id'], stdout=full)
    assert done.returncode == 5 and done.stderr.startswith('Error: the output cannot be written')


def test_a_newer_backup_of_another_installation_is_passed_over(
        cli: CommandLine, other: CommandLine, volume: Path) -> None:
    ours = cli.create(volume)
    other.good('catalog', 'rebuild', 'local')
    theirs = other.create(volume, '--adopt')
    cli.good('catalog', 'rebuild', 'local')
    assert cli.json('backup', 'list')[0]['id'] == theirs['id']
    assert cli.create(volume, '--incremental', '--adopt')['parent_id'] == ours['id']
