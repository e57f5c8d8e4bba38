"""Planted disagreements of catalog, manifests and objects: exactly these are found, and mended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from backup_framework import store
from backup_framework.formats.v2 import owner
from backup_framework.manager.drift import Finding
from backup_framework.model import Backup, Status
from tests.trust.together import stage as stages
from tests.trust.together.stage import Stage

OLD = 'volume_{0}_20200101000000_backup_{0}'
KINDS = ('record', 'manifest', 'field', 'field', 'field', 'field', 'status', 'leftovers', 'unused',
         'unknown', 'object', 'delete', 'mark')


class Planted:
    """A stage with sound backups, on which each method plants one disagreement."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        data = stages.state(1)
        for number in range(11):
            stage.write(f'b{number}', data, volume=f'disk{number}')
            stage.create(f'b{number}', volume=f'disk{number}')()
            data = stages.state(number + 2)
        stage.write('child', stages.state(50, stage.held['b0']), volume='disk0')
        stage.create('child', volume='disk0', incremental=True)()

    def backup(self, name: str) -> Backup:
        with self.stage.manager() as manager:
            return manager.catalog.get_backup(name)

    def change(self, name: str, **fields: object) -> None:
        with self.stage.manager() as manager:
            manager.catalog.update_backup(self.backup(name).id, **fields)

    def keep(self, container: str, name: str) -> None:
        with self.stage.manager() as manager:
            driver = manager.drivers.chunked('main', 'be tested')
            driver.put_container(container)
            with driver.get_object_writer(container, name) as writer:
                writer.write(b'left over')

    def drop(self, container: str, name: str) -> None:
        with self.stage.manager() as manager:
            manager.drivers.chunked('main', 'be tested').delete_object(container, name)

    def names(self, container: str) -> list[str]:
        with self.stage.manager() as manager:
            driver = manager.drivers.chunked('main', 'x')
            return store.Container(driver, container, retry_deadline=0).names('')

    def plant(self) -> None:
        """One of each kind, in the order of `KINDS`."""
        gone = self.backup('b1')
        self.drop(str(gone.container), f'{gone.service_metadata}_metadata')
        with self.stage.manager() as manager:
            manager.forget('b2')
        self.change('b3', size_bytes=17)
        self.change('b4', stored_bytes=3)
        self.change('b5', parent_id=self.backup('b0').id)
        self.change('b6', data_timestamp=self.backup('b0').created_at)
        self.change('b7', status=Status.ERROR)
        with self.stage.manager() as manager:
            failed = Backup(volume_id=self.backup('b8').volume_id, backend='main',
                            container=self.backup('b8').container, display_name='failed',
                            service_metadata=OLD.format('f'), format='2.0.0', status=Status.ERROR)
            manager.catalog.add_backup(failed)
        self.keep(str(failed.container), OLD.format('f') + '-00001')
        self.keep(str(failed.container), OLD.format('f') + '_map')
        spare = self.backup('b9')
        self.keep(str(spare.container), f'{spare.service_metadata}-00099')
        self.keep(str(spare.container), OLD.format('u') + '_map')
        hurt = self.backup('b10')
        self.drop(str(hurt.container), f'{hurt.service_metadata}-00001')
        self.wait()
        with self.stage.manager() as manager:
            driver = manager.drivers.chunked('main', 'x')
            driver.put_container('empty')
            owner.claim(store.Container(driver, 'empty'), manager.catalog.installation)

    def wait(self) -> None:
        """A delete of `child` that waits for one that has ended."""
        with self.stage.manager() as manager:
            backup = manager.catalog.get_backup('child')
            driver = manager.drivers.chunked('main', 'x')
            driver.delete_object(str(backup.container), f'{backup.service_metadata}_metadata')
            with manager.catalog.operation('delete', backup_id=backup.id) as row:
                manager.catalog.transition(backup.id, [Status.AVAILABLE], Status.DELETING)
                manager.catalog.postpone(row, backup.id, ['somebody'])


on_both = pytest.mark.parametrize('planted', ['memory', 'local'], indirect=True)


@pytest.fixture
def planted(request: pytest.FixtureRequest, make_stage: Callable[..., Stage], tmp_path: Path
            ) -> Planted:
    if getattr(request, 'param', 'memory') == 'memory':
        return Planted(make_stage())
    return Planted(make_stage(driver='local', place=f'path = {tmp_path}/store\ndurability = none'))


def check(stage: Stage, **how: object) -> list[Finding]:
    with stage.manager() as manager:
        return manager.check_catalog(**how)


@on_both
def test_nothing_is_found_in_a_sound_store(planted: Planted) -> None:
    assert check(planted.stage) == []
    assert check(planted.stage, repair=True) == []


@on_both
def test_exactly_what_was_planted_is_found(planted: Planted) -> None:
    planted.plant()
    found = check(planted.stage)
    assert sorted(each.kind for each in found) == sorted(KINDS), [
        (each.kind, each.sentence) for each in found]
    assert len(KINDS) == 13
    told = {each.kind: each for each in found}
    assert planted.backup('b1').id in told['record'].sentence
    assert 'catalog rebuild main' in told['manifest'].sentence
    fields = ' '.join(each.sentence for each in found if each.kind == 'field')
    for field in 'size_bytes 17', 'stored_bytes 3', 'parent_id', 'data_timestamp':
        assert f'has {field}' in fields
    assert len(told['leftovers'].names) == 2 and 'failed' not in told['status'].names
    assert told['unused'].names[0].endswith('-00099')
    assert told['unknown'].names == [OLD.format('u') + '_map']
    assert told['object'].names[0].endswith('-00001')
    assert not any(each.is_mended or each.outcome for each in found)


def test_a_dry_run_says_what_would_be_done_and_does_nothing(planted: Planted) -> None:
    planted.plant()
    before = check(planted.stage)
    found = check(planted.stage, repair=True, dry_run=True)
    outcomes = {each.kind: each.outcome for each in found}
    assert {kind for kind, outcome in outcomes.items() if outcome} == {
        'record', 'leftovers', 'unused', 'unknown', 'delete', 'mark'}
    assert outcomes['leftovers'] == 'would be removed'
    assert [each.sentence for each in check(planted.stage)] == [each.sentence for each in before]


@on_both
def test_what_can_be_mended_is_and_the_rest_is_left(planted: Planted) -> None:
    planted.plant()
    kept = {name: planted.names(str(planted.backup(name).container))
            for name in ('b0', 'b3', 'b4', 'b5', 'b6', 'b7', 'b10')}
    found = check(planted.stage, repair=True)
    mended = {each.kind for each in found if each.is_mended}
    assert mended == {'record', 'leftovers', 'unused', 'unknown', 'delete', 'mark'}, [
        (each.kind, each.outcome) for each in found]
    for name, names in kept.items():
        assert set(names) >= set(planted.names(str(planted.backup(name).container)))
        assert [each for each in planted.names(str(planted.backup(name).container))
                if each.endswith('_metadata')]
    assert planted.backup('b1').status == 'error'
    left = check(planted.stage, repair=True)
    # The objects of the backup whose manifest is gone are leftovers now.
    assert sorted(each.kind for each in left) == sorted(
        ['manifest', 'field', 'field', 'field', 'field', 'status', 'object', 'leftovers'])
    assert planted.names('empty') == []
    with planted.stage.manager() as manager:
        for name in 'b0', 'b3', 'b9':
            assert manager.verify(name).ok


def test_what_nobody_knows_stays_while_it_may_be_running(planted: Planted) -> None:
    """Another catalog's backups: too young, of no known age, or in a container that is not ours."""
    ours = str(planted.backup('b0').container)
    young = f'volume_x_{stages.now():%Y%m%d%H%M%S}_backup_x-00001'
    for container, name in ((ours, young), (ours, 'someones-00001'),
                            ('cinders', OLD.format('c') + '-00001')):
        planted.keep(container, name)
        found, = check(planted.stage, repair=True)
        assert found.kind == 'unknown' and 'may belong to a backup' in found.outcome
        assert name in planted.names(container)
        planted.drop(container, name)
    planted.keep(ours, OLD.format('o') + '-00001')
    assert check(planted.stage, repair=True, older_than=1e10)[0].outcome.startswith('left')
    assert check(planted.stage, repair=True)[0].is_mended
    planted.keep(ours, young)
    assert check(planted.stage, repair=True, older_than=-1)[0].is_mended


def test_what_nobody_knows_is_removed_by_no_other_rule_than_that_nothing_uses_it(
        planted: Planted) -> None:
    """The format that new backups have says nothing of what was left in the container."""
    gone = planted.backup('b0')
    container, prefix = str(gone.container), str(gone.service_metadata)
    planted.stage.delete('b0')()
    used = [name for name in planted.names(container) if name.startswith(f'{prefix}-')]
    assert used
    planted.keep(container, f'{prefix}-00099')
    planted.stage.config.write_text(
        planted.stage.config.read_text().replace('format = 2.0.0', 'format = 1.0.0'))
    planted.stage.load()
    found, = check(planted.stage, repair=True, older_than=-1)
    assert (found.kind, found.names, found.is_mended) == ('unknown', [f'{prefix}-00099'], True)
    assert [name for name in planted.names(container) if name.startswith(f'{prefix}-')] == used
    with planted.stage.manager() as manager:
        assert manager.verify('child').ok


def test_a_manifest_that_cannot_be_read_keeps_everything_in_its_container(planted: Planted
                                                                          ) -> None:
    backup = planted.backup('b0')
    container, prefix = str(backup.container), str(backup.service_metadata)
    planted.drop(container, f'{prefix}_metadata')
    planted.keep(container, f'{prefix}_metadata')
    planted.keep(container, OLD.format('u') + '-00001')
    before = planted.names(container)
    found = check(planted.stage, repair=True)
    assert sorted(each.kind for each in found) == ['unknown', 'unreadable']
    assert sorted(planted.names(container)) == sorted(before)


def test_objects_of_a_running_backup_are_left_alone(planted: Planted) -> None:
    """Of one in this catalog, also where its objects do not look so."""
    spare = planted.backup('b9')
    planted.keep(str(spare.container), f'{spare.service_metadata}-00099')
    with planted.stage.manager() as manager:
        with manager.catalog.operation('create', backup_id='running', volume_id='v'):
            running = Backup(id='running', volume_id='v', backend='main',
                             container=spare.container, service_metadata='running')
            manager.catalog.add_backup(running)
            planted.keep(str(spare.container), 'running-00001')
            found, = check(planted.stage, repair=True)
            assert found.kind == 'unused' and 'running' in found.outcome
            manager.catalog.update_backup('running', status=Status.ERROR)
    assert f'{spare.service_metadata}-00099' in planted.names(str(spare.container))
    found = check(planted.stage, repair=True)
    assert [each.kind for each in found if each.is_mended] == ['leftovers', 'unused']
