"""A power cut at every step of backups, deletes and a restore, in every state that is legal then.

The steps are those of the local driver and of the target of a restore. SQLite's own file is not
part of the model: the catalog is taken for lost, and what counts is what the store tells. Done is
what was acknowledged: a backup when the command says so, a delete when it has begun.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
import random
import shutil

import pytest

from backup_framework import exceptions
from backup_framework.manager.manager import RestoreRequest
from tests.trust.crash import children, model, oracle
from tests.trust.crash.model import Contents, Step
from tests.trust.crash.world import CINDERS, OURS, STATES, World


def record(made: World) -> list[Step]:
    """Three backups, a restore of the second, deletes of the first and of the third."""
    recorder = model.Recorder(made.root)

    def work() -> list[Step]:
        recorder.begin()
        with made.manager() as manager:
            for name, data in STATES.items():
                made.set_disk(data)
                made.create(manager, name, incremental=name == 'second')
                recorder.done(name)
            manager.restore('second', RestoreRequest(str(made.target)))
            recorder.done('restored')
            for name in ('third', 'second', 'first'):
                recorder.done(f'-{name}')
                oracle.delete_named(manager, [name])
        return recorder.steps

    made.write_configuration()
    steps: list[Step] = children.good(work)
    return [step for step in steps if step.kind == 'done' or _is_modelled(step.path)]


def _is_modelled(path: str) -> bool:
    """The store, the target, and the directory that both are in."""
    return path in ('', 'main') or path.startswith(('main/', 'target', '.target'))


def judge(made: World, done: frozenset[str], state: Contents) -> None:
    """What was done is there, and whatever is there is whole."""
    wanted = {name for name in STATES if name in done and f'-{name}' not in done}
    target = state.get('target')
    assert target in (None, STATES['second']), 'the target has its name before its bytes'
    assert target or 'restored' not in done, 'a restored file was lost'
    with made.manager() as manager:
        with contextlib.suppress(exceptions.StoreError):
            rebuilt = manager.rebuild('main', adopt=True)
            broken = [each for each in rebuilt.problems if 'is the parent of others' not in each]
            assert not broken, broken
        there = set()
        for backup in manager.catalog.backups():
            name = str(backup.display_name)
            if made.version == CINDERS and not oracle.has_chain(manager, backup):
                assert name not in wanted
                continue
            assert made.restore(manager, backup.id) == STATES[name], f'{name} restores wrongly'
            there.add(name)
        assert wanted <= there, f'{wanted - there} are lost'


def cut_everywhere(place: Path, version: str, durability: str, most: int, seed: int) -> int:
    """How many states were judged; of more than `most`, that many by chance."""
    steps = record(World(place / 'world', version, durability=durability))
    states = list(model.crashes(steps, random.Random(seed)))
    total = len(states)
    if total > most:
        states = random.Random(seed).sample(states, most)
    print(f'seed {seed}: {len(states)} of {total} states of {len(steps)} steps')
    made = World(place / 'after', version)
    made.write_configuration()
    empty = made.config.read_bytes()
    with made.manager() as manager:
        manager.catalog.backups()
    shutil.copytree(made.state, place / 'state')

    def judge_all() -> None:
        for number, (done, state) in enumerate(states):
            shutil.rmtree(made.root)
            (made.root / 'own').mkdir(parents=True)
            made.config.write_bytes(empty)
            shutil.copytree(place / 'state', made.state)
            model.make(state, made.root)
            try:
                judge(made, done, state)
            except (AssertionError, exceptions.BackupFrameworkError) as error:
                error.add_note(f'state {number}, done: {sorted(done)}, there: {sorted(state)}')
                raise

    judge_all()
    return len(states)


def test_a_power_cut(place: Path) -> None:
    assert cut_everywhere(place, OURS, 'object', 150, seed=1) >= 150


@pytest.mark.long
@pytest.mark.parametrize('durability', ['object', 'backup'])
@pytest.mark.parametrize('version', [OURS, CINDERS])
def test_power_cuts(place: Path, version: str, durability: str) -> None:
    seed = int.from_bytes(os.urandom(4))
    assert cut_everywhere(place, version, durability, 2500, seed) >= 1000
