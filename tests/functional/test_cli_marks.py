"""Objects are marked as bad while backups are made that may need them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.functional.command_line import CommandLine, Running
from tests.functional.conftest import OURS, change
from tests.functional.gated_store import Gate
from tests.functional.test_cli_checks import flip, object_of
from tests.functional.test_cli_verify import SIZE, shown, verify

Begin = Callable[..., tuple[Running, dict[str, str]]]


@pytest.fixture
def begin(cli: CommandLine, gate: Gate) -> Begin:
    """Begins a backup that stops at a step of the store; its record then."""
    def begun(volume: Path, step: str, *words: str) -> tuple[Running, dict[str, str]]:
        before = {row['id'] for row in cli.json('backup', 'list')}
        gate.shut(step)
        running = cli.start('backup', 'create', volume, *words, '-f', 'json')
        gate.wait()
        made, = (row for row in cli.json('backup', 'list') if row['id'] not in before)
        return running, made
    return begun


def is_suspected(cli: CommandLine, made: dict[str, str], file: Path) -> bool:
    sentences = shown(cli, made)['damage']
    return any(file.name in each and 'could not be found out' in each for each in sentences)


def test_a_backup_that_runs_may_need_what_is_marked(cli, make_volume, gate, begin, version):
    """The mark stays as long as nobody knows."""
    volume = make_volume(size=SIZE)
    first = cli.create(volume)
    file = object_of(cli, first)
    running, second = begin(volume, 'writing *_metadata', '--incremental')
    flip(file)
    verify(cli, first['id'], '--mark-bad', code=6)
    gate.open()
    assert running.wait().code == 0
    assert shown(cli, second)['status'] == 'available' and is_suspected(cli, second, file)
    if version == OURS:
        cli.good('backup', 'delete', first['id'])
    third = cli.create(volume, '--incremental')
    assert third['is_incremental'] == (version == OURS)
    assert verify(cli, third['id'])[0]['result'] == 'good'
    verify(cli, second['id'], code=6)
    assert shown(cli, second)['damage'] and not is_suspected(cli, second, file)


def test_a_full_verification_tells_that_nothing_marked_is_needed(cli, make_volume, gate, begin):
    cli.configure(format=OURS, duplicates='none')
    volume = make_volume(size=SIZE)
    first = cli.create(volume)
    file = object_of(cli, first)
    beside = cli.create(make_volume('other', seed=2), '--container', 'another')
    running, second = begin(volume, 'writing *_metadata')
    flip(file)
    verify(cli, first['id'], '--mark-bad', code=6)
    gate.open()
    assert running.wait().code == 0
    assert is_suspected(cli, second, file) and shown(cli, beside)['damage'] == []
    verify(cli, second['id'], '--quick')
    assert is_suspected(cli, second, file)
    assert verify(cli, second['id'])[0]['result'] == 'good'
    assert shown(cli, second)['damage'] == []


@pytest.mark.parametrize('step', ['writing *_metadata', 'written *_metadata'])
def test_a_backup_that_was_interrupted_before_is_suspected_when_it_is_gone_on_with(
        cli, make_volume, gate, begin, step):
    """It may be complete; where it is not, what is marked is stored anew."""
    cli.configure(format=OURS, workers=0)
    volume = make_volume(size=SIZE)
    first = cli.create(volume)
    change(volume)
    file = object_of(cli, first)
    running, second = begin(volume, step, '--incremental')
    running.kill()
    gate.open()
    assert shown(cli, second)['status'] == 'error'
    flip(file)
    verify(cli, first['id'], '--mark-bad', code=6)
    cli.good('backup', 'create', volume, '--resume', '--incremental')
    is_complete = step.startswith('written')
    assert shown(cli, second)['status'] == 'available' and is_suspected(cli, second, file)
    assert verify(cli, second['id'], code=6 if is_complete else 0)
    assert bool(shown(cli, second)['damage']) == is_complete


def test_a_backup_that_ends_while_others_are_looked_at_is_suspected(
        cli, make_volume, tmp_path, gate, begin):
    cli.configure(format=OURS, workers=0)
    volume = make_volume(size=SIZE)
    first = cli.create(volume)
    other = cli.create(volume, '--incremental')
    file = object_of(cli, first)
    running, second = begin(volume, 'writing *_metadata', '--incremental')
    flip(file)
    looking = Gate(tmp_path / 'looking')
    cli.configure(gate=looking.directory)
    looking.shut(f'reading *{other["id"]}_metadata')
    verifying = cli.start('backup', 'verify', first['id'], '--mark-bad')
    looking.wait()
    gate.open()
    assert running.wait().code == 0
    looking.open()
    assert verifying.wait().code == 6
    assert is_suspected(cli, second, file)
    assert shown(cli, other)['damage'] and not is_suspected(cli, other, file)


def test_only_what_is_not_marked_is_told_to_be_used_again(cli, make_volume, version):
    """Also where the same verification finds what is marked."""
    volume, other = make_volume(size=SIZE), make_volume('other', size=SIZE, seed=2)
    first = cli.create(volume)
    flip(object_of(cli, first))
    words = ('backup', 'verify', '--volume', volume)
    assert 'go on using objects' in cli.run(*words).err
    verify(cli, first['id'], '--mark-bad', code=6)
    cli.create(volume, '--incremental')
    done = cli.run(*words)
    assert done.code == 6 and 'go on using objects' not in done.err
    second = cli.create(other)
    flip(object_of(cli, second))
    assert 'go on using objects' in cli.run('backup', 'verify', '--all').err
