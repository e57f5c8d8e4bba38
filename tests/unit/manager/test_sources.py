"""Sources as operations see them: found by name, one failing stops no other, volumes of paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
import types
from typing import Any

import pytest

from backup_framework import conf, exceptions
from backup_framework.interface.volume_source import Capabilities, Reading, VolumeSource
from backup_framework.manager.sources import Sources
from backup_framework.model import Option, Snapshot, Volume
from backup_framework.testing.sources import content

HERE = 'tests.unit.manager.test_sources'


class Shelf(VolumeSource):
    """Does as a test says."""

    OPTIONS = (Option('fails', default='', help='What fails.'),)
    able = Capabilities(snapshots=True)

    def __init__(self, settings: Any, context: object = None) -> None:
        if settings.fails == 'init':
            raise exceptions.ConfigurationError('it is odd')
        self.settings, self.context = settings, context
        self.calls: list[str] = []

    def capabilities(self) -> Capabilities:
        return self.able

    def volumes(self) -> Iterator[Volume]:
        yield Volume(source_id='one', name='one', size_bytes=1)
        if self.settings.fails == 'list':
            raise ZeroDivisionError('a bug')
        yield Volume(source_id='two', name='two', size_bytes=1, project_id='own',
                     availability_zone='own')

    def snapshots(self, volume: Volume) -> list[Snapshot]:
        return [Snapshot(source_id=f'{volume.source_id}@1', volume_id=volume.id)]

    def open(self, volume: Volume, snapshot: Snapshot | None = None, *, since: str | None = None
             ) -> Any:
        raise exceptions.VolumeError('not now')

    open_target = open

    def make_snapshot(self, volume: Volume) -> Snapshot:
        if self.settings.fails == 'snapshot':
            raise exceptions.Refused('this disk makes none')
        return Snapshot(source_id='made')

    def keep(self, volume: Volume, taken: str, backup_id: str) -> None:
        self.calls.append(f'keep {taken} {backup_id}')
        raise exceptions.VolumeError('the disk is full')

    def close(self) -> None:
        self.calls.append('close')


Make = Callable[..., tuple[Sources, list[str]]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Sources of this text, and what the user is told."""
    def make(text: str = '') -> tuple[Sources, list[str]]:
        (tmp_path / 'conf').write_text(text)
        told: list[str] = []
        configuration = conf.load([str(tmp_path / 'conf')], state_path=str(tmp_path / 'state'))
        context: Any = types.SimpleNamespace(configuration=configuration, warn=told.append)
        return Sources(context), told
    return make


def shelf(name: str, more: str = '') -> str:
    return f'[volumes:{name}]\ntype = {HERE}:Shelf\n{more}\n'


def test_one_that_fails_stops_no_other(make: Make) -> None:
    sources, _ = make(shelf('a', 'fails = list') + shelf('b', 'fails = init')
                      + '[volumes:c]\ntype = nobody\n'
                      + shelf('d', 'project_id = demo\navailability_zone = nova'))
    offers = {offer.source: offer for offer in sources.offers()}
    assert list(offers) == sources.names() == ['a', 'b', 'c', 'd']
    assert [offer.source for offer in sources.offers('c')] == ['c']
    assert offers['a'].error == 'a bug' and offers['a'].volumes == []
    assert 'section [volumes:b]: it is odd' in str(offers['b'].error)
    assert 'offers a source of volumes nobody' in str(offers['c'].error)
    assert offers['d'].error is None
    assert [(v.source, v.project_id, v.availability_zone) for v in offers['d'].volumes] == [
        ('d', 'demo', 'nova'), ('d', 'own', 'own')]
    assert [(s.source_id, s.volume_id) for s in offers['d'].snapshots] == [
        (f'{v.source_id}@1', v.id) for v in offers['d'].volumes]


def test_each_is_made_once_and_closed(make: Make) -> None:
    sources, _ = make(shelf('a'))
    made: Any = sources.get('a')
    assert sources.get('a') is made and made.context is not None
    sources.close()
    assert made.calls == ['close'] and sources.get('a') is not made
    with pytest.raises(exceptions.ConfigurationError, match=r'no section \[volumes:z\]'):
        sources.get('z')


def test_a_volume_without_source_is_a_path(make: Make, tmp_path: Path) -> None:
    sources, _ = make()
    (tmp_path / 'disk').write_bytes(b'data')
    volume = Volume(path=str(tmp_path / 'disk'))
    assert sources.snapshot(volume) is None
    with sources.read(volume) as opened:
        assert isinstance(opened, Reading)
        assert (opened.file.read(), opened.size, opened.changed) == (b'data', 4, None)
    with sources.target(volume) as path:
        assert path == volume.path
    sources.keep(volume, None, 'backup')
    for way in (sources.read, sources.target):
        with pytest.raises(exceptions.VolumeNotFound, match='path of volume x is not known'), \
                way(Volume(name='x')):
            pass


def test_a_snapshot_is_made_where_it_is_worth_it(make: Make) -> None:
    sources, told = make(shelf('a') + shelf('b', 'fails = snapshot'))
    assert sources.snapshot(Volume(source='a')) is None
    made = sources.snapshot(Volume(source='a', status='in-use'))
    assert made is not None and made.source_id == 'made'
    assert sources.snapshot(Volume(source='b', name='x', status='in-use')) is None
    assert told == ['volume x is read itself, not a snapshot of it: this disk makes none']


def test_a_key_is_only_for_sources_that_know_it(make: Make) -> None:
    sources, _ = make(shelf('a'))
    volume = Volume(source='a', status='in-use')
    made = sources.snapshot(volume, 'key')
    assert made is not None and made.source_id == 'made'
    sources.drop_snapshot(volume, 'key')


def test_each_backup_reads_a_snapshot_where_states_are_kept(
        make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shelf, 'able', Capabilities(snapshots=True, keeps=True))
    sources, _ = make(shelf('a'))
    assert sources.snapshot(Volume(source='a')) is not None


def test_a_state_that_cannot_be_kept_is_no_failure(make: Make) -> None:
    sources, told = make(shelf('a'))
    sources.keep(Volume(source='a', name='x'), None, 'backup')
    assert told == []
    sources.keep(Volume(source='a', name='x'), 'state', 'backup')
    assert told == ['the next backup of volume x will read all of it: the disk is full']


def test_new_volumes(make: Make, tmp_path: Path) -> None:
    (tmp_path / 'images').mkdir()
    sources, _ = make(shelf('a') + f'[volumes:b]\ntype = file\npath = {tmp_path}/images\n'
                      'project_id = demo\navailability_zone = nova\n'
                      f'[volumes:c]\ntype = file\npath = {tmp_path}/images\n')
    assert sources.creator() == sources.creator('a') == sources.creator('b') == 'b'
    assert sources.creator('c') == 'c'
    assert sources.creator('b', 'demo') == 'b' and sources.creator('b', 'other') == 'c'
    made = sources.create('b', 'new', 5000, 'theirs')
    assert (made.source, made.source_id, made.project_id, made.availability_zone) == (
        'b', 'new', 'theirs', 'nova')
    assert content(sources.get('b'), made) == bytes(5000)
    sources, _ = make(shelf('a'))
    with pytest.raises(exceptions.Refused, match='no volume can be made here'):
        sources.creator()
