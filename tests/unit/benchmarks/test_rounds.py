"""Rounds: whose turn it is, who is left out, and a whole one."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import time

import pytest

from benchmarks import processes
from benchmarks.processes import CommandFailed
from benchmarks.volumes import __main__ as volumes
from benchmarks.volumes import command_line, growth, images, rounds, tools
from benchmarks.volumes.layout import MIB


def test_everyone_has_a_turn_and_the_anchor_two() -> None:
    orders = [rounds.in_turn(list('abc'), ['cp'], number) for number in range(3)]  # type: ignore
    assert orders == [['cp', 'a', 'b', 'cp', 'c'], ['cp', 'b', 'c', 'cp', 'a'],
                      ['cp', 'c', 'a', 'cp', 'b']]
    assert rounds.in_turn([], ['cp'], 1) == ['cp']  # type: ignore[list-item]


def test_time_is_measured_until_all_is_on_the_disk(monkeypatch: pytest.MonkeyPatch,
                                                   tmp_path: Path) -> None:
    tool = tools.Cp(tmp_path, tmp_path / 'volume')
    monkeypatch.setattr(tool, 'run', lambda operation: processes.Taken(1.0, 1.0, 0))
    monkeypatch.setattr(os, 'sync', lambda: time.sleep(0.05))
    assert rounds.timed(tool, 'full')[1] >= 1.05


def test_what_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch,
                                           tmp_path: Path) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setenv('BF_CINDER_VENV', str(tmp_path / 'none'))
    found, left_out = tools.chosen([])
    assert [tool.name for tool in found] == [
        'ours', 'ours sealed', '1.0.0 none', '1.0.0 zstd', '1.0.0 zlib']
    assert set(left_out) == {'borg', 'restic', 'cinder'}
    assert 'borgbackup' in left_out['borg']
    assert str(tmp_path / 'none') in left_out['cinder']


def test_another_byte_than_was_backed_up_is_noticed(tmp_path: Path) -> None:
    tool = tools.Ours(tmp_path, tmp_path / 'volume')
    tool.target.mkdir()
    (tmp_path / 'image').write_bytes(b'was here')
    (tool.target / 'volume').write_bytes(b'was here')
    rounds.compare(tmp_path / 'image', tool)
    (tool.target / 'volume').write_bytes(b'was hers')
    with pytest.raises(CommandFailed, match='ours restored something else'):
        rounds.compare(tmp_path / 'image', tool)


def test_holes_take_no_room_in_a_store(tmp_path: Path) -> None:
    tool = tools.Cp(tmp_path, tmp_path / 'volume')
    tool.prepare()
    with open(tool.store / 'first', 'wb') as file:
        file.write(b'x' * 4096)
        file.truncate(MIB)
    (tool.store / 'small').write_bytes(b'12345')
    assert tool.stored() == 4096 + 5


# All of it

def arguments(place: Path, **more: object) -> argparse.Namespace:
    return argparse.Namespace(**{
        'mib': 16, 'rounds': 1, 'only': ['ours'], 'format': None, 'option': [], 'clean': False,
        'directory': place / 'cache', 'json': place / 'json', **more})


@pytest.fixture
def keep_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Other tests run on this machine."""
    monkeypatch.setattr(rounds, 'DROP', tmp_path / 'none')


@pytest.mark.usefixtures('keep_caches')
def test_a_round_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                         capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(rounds, 'START_RUNS', 1)
    volumes.measure(arguments(tmp_path))
    told = json.loads((tmp_path / 'json').read_text())
    done = {(run['tool'], run['operation']) for run in told['runs']}
    missing = {('ours', what.removeprefix('ours, ')) for what in told['left_out']}
    assert done | missing == {
        *(('cp', operation) for operation in tools.Cp.operations),
        *(('ours', operation) for operation in (*tools.OPERATIONS, *rounds.STARTS))}
    copied = [run['growth'] for run in told['runs']
              if run['tool'] == 'cp' and run['operation'] == 'full']
    assert len(copied) == 1 and copied[0] > 4 * MIB
    assert all(run['seconds'] > 0 and run['peak'] > 0 for run in told['runs']
               if run['tool'] == 'ours')
    assert [path.name for path in (tmp_path / 'cache').iterdir()] == [
        f'images-16-recipe-{images.RECIPE}']
    assert 'full / cp + sync' in capsys.readouterr().out


def test_what_cannot_fit_is_refused_before_it_is_begun(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match='MiB free, and about .* needed'):
        volumes.measure(arguments(tmp_path, mib=1 << 40))
    assert not list((tmp_path / 'cache').iterdir())


def test_a_failure_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise OSError(28, os.strerror(28), 'somewhere')

    assert command_line.stoppable(fails) == 1
    assert capsys.readouterr().err.startswith('the benchmark ended early: [Errno 28]')


@pytest.mark.usefixtures('keep_caches')
def test_growth_with_size_and_workers(tmp_path: Path) -> None:
    pairs = [images.pair(tmp_path, mib) for mib in (16, 32)]
    found = [point for pair in pairs for point in growth.points(tmp_path, pair, [1], {})]
    assert [(point.mib, point.tool, point.operation) for point in found] == [
        (mib, tool, operation) for mib in (16, 32) for tool in ('cp', '1 worker')
        for operation in ('full', 'restore')]
    told = growth.told(found, [16, 32], [1.5])
    assert told[-1] == 'a second core: 1.50 × as fast; 1.6 × is missed'
    assert told[-2].startswith('restore: 32 MiB take')
    assert len(list(tmp_path.iterdir())) == 2


def test_the_anchor_copies_anew_each_time(tmp_path: Path) -> None:
    (tmp_path / 'volume').write_bytes(b'x' * MIB)
    tool = tools.Cp(tmp_path, tmp_path / 'volume')
    tool.prepare()
    for _ in range(2):
        tool.repeat('full')
        assert tool.stored() == 0
        tool.run('full')
        assert tool.stored() == MIB
