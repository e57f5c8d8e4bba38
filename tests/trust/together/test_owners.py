"""A container has one installation that writes and deletes in it: its mark, and ways around it."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import io
import json
import uuid

from hypothesis import given, settings
from hypothesis import strategies as some
import pytest

from backup_framework import exceptions, model, store
from backup_framework.engine.monitor import Monitor, Operation
from backup_framework.formats.v2 import owner
from backup_framework.testing import faults, memory
from tests.trust.together.stage import Stage

OURS, THEIRS, THIRD = (str(uuid.UUID(int=number)) for number in (1, 2, 3))


@pytest.fixture
def driver() -> memory.MemoryBackupDriver:
    made = memory.MemoryBackupDriver.make()
    made.put_container('box')
    return made


@pytest.fixture
def box(driver: memory.MemoryBackupDriver) -> store.Container:
    return store.Container(driver, 'box', retry_deadline=0)


def marks(box: store.Container) -> list[str]:
    return box.names(owner.PREFIX)


def test_the_first_one_has_it(box: store.Container) -> None:
    assert owner.find(box) is None and not owner.check(box, OURS)
    owner.claim(box, OURS)
    owner.claim(box, OURS)
    assert marks(box) == ['bf-container.owner-1'] and owner.check(box, OURS)
    with pytest.raises(exceptions.ForeignContainer, match=f'{OURS}.*{THEIRS}') as refused:
        owner.claim(box, THEIRS)
    assert '--adopt' in refused.value.advice and '--adopt' not in str(refused.value)
    with pytest.raises(exceptions.ForeignContainer):
        owner.check(box, THEIRS)
    assert not owner.check(box, None)


def test_a_mark_is_never_rewritten(box: store.Container) -> None:
    owner.claim(box, OURS)
    first = box.get('bf-container.owner-1', owner.LARGEST)
    owner.claim(box, THEIRS, adopt=True)
    assert marks(box) == ['bf-container.owner-1', 'bf-container.owner-2']
    assert box.get('bf-container.owner-1', owner.LARGEST) == first
    with pytest.raises(exceptions.ForeignContainer, match=THEIRS):
        owner.claim(box, OURS)
    for _ in range(9):
        owner.claim(box, OURS, adopt=True)
        owner.claim(box, THEIRS, adopt=True)
    mark = owner.find(box)
    assert mark is not None and mark.installation == THEIRS
    assert 'bf-container.owner-20' in marks(box)


class Overtaken(memory.MemoryBackupDriver):
    """Somebody else writes the same mark just before, or just after, ours is written."""

    after = False
    other: Callable[[], None] | None = None

    def keep(self, container: str, object_name: str, data: bytes) -> None:
        other, self.other = self.other, None
        if other and not self.after:
            other()
        super().keep(container, object_name, data)
        if other and self.after:
            other()


@pytest.mark.parametrize('adopt', [False, True])
@pytest.mark.parametrize('after', [False, True])
def test_of_two_that_claim_at_once_one_has_it(adopt: bool, after: bool) -> None:
    driver = Overtaken.make()
    driver.put_container('box')
    box = store.Container(driver, 'box', retry_deadline=0)
    if adopt:
        owner.claim(box, THIRD)
    won: list[str] = []

    def other() -> None:
        try:
            owner.claim(box, THEIRS, adopt=adopt)
            won.append(THEIRS)
        except exceptions.ForeignContainer:
            pass

    driver.other, driver.after = other, after
    try:
        owner.claim(box, OURS, adopt=adopt)
        won.append(OURS)
    except exceptions.ForeignContainer:
        pass
    mark = owner.find(box)
    assert mark is not None and mark.installation == won[-1]
    # Who adopts after another one has claimed takes it over; then the first sees that itself.
    assert len(won) == 1


def test_a_store_that_replaces_tells_the_one_that_lost(box: store.Container) -> None:
    """Both wrote the same name; whose mark is there now has it, and the other one sees that."""
    owner.claim(box, OURS)
    box.delete('bf-container.owner-1')
    owner.claim(box, THEIRS)
    with pytest.raises(exceptions.ForeignContainer):
        owner.claim(box, OURS)


@pytest.mark.parametrize('content', [
    b'', b'{', b'[]', b'{"version": 2}', b'{"version": 1}', b'\xff',
    b'x' * (owner.LARGEST + 1), json.dumps({
        'version': 1, 'installation': OURS, 'marked_at': 'yesterday', 'host': 'h'}).encode(),
    json.dumps({'version': 1, 'installation': OURS, 'marked_at': '2026-01-01T00:00:00+00:00',
                'host': 'h\x1b[2J'}).encode()])
def test_a_mark_that_cannot_be_read_is_nobodys_until_it_is_adopted(
        box: store.Container, driver: memory.MemoryBackupDriver, content: bytes) -> None:
    driver.keep('box', 'bf-container.owner-3', content)
    for ask in owner.check, owner.claim:
        with pytest.raises(exceptions.ForeignContainer, match='cannot be read') as refused:
            ask(box, OURS)
        assert '--adopt' in refused.value.advice
    owner.claim(box, OURS, adopt=True)
    assert marks(box)[-1] == 'bf-container.owner-4' and owner.check(box, OURS)


@settings(max_examples=300, deadline=None)
@given(some.binary(max_size=200) | some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(), lambda inner: some.lists(inner)
    | some.dictionaries(some.sampled_from(('version', 'installation', 'marked_at', 'host')), inner),
    max_leaves=6).map(lambda value: json.dumps(value).encode()))
def test_whatever_stands_in_a_mark(content: bytes) -> None:
    driver = memory.MemoryBackupDriver.make()
    driver.put_container('box')
    driver.keep('box', 'bf-container.owner-1', content)
    with pytest.raises(exceptions.ForeignContainer):
        owner.check(store.Container(driver, 'box', retry_deadline=0), OURS)


def test_it_goes_with_the_last_object(box: store.Container, driver: memory.MemoryBackupDriver
                                      ) -> None:
    owner.claim(box, THEIRS)
    owner.claim(box, OURS, adopt=True)
    driver.keep('box', 'p-00001', b'data')
    owner.release(box, OURS)
    assert len(marks(box)) == 2
    box.delete('p-00001')
    owner.release(box, THEIRS)
    owner.release(box, None)
    assert len(marks(box)) == 2
    owner.release(box, OURS)
    assert box.names('') == []


@pytest.mark.parametrize('after', [False, True])
@pytest.mark.parametrize('call', [1, 2, 3])
@pytest.mark.parametrize('verb', [
    'get_container_entries', 'get_object_writer', 'commit', 'get_object_reader', 'sync'])
def test_every_call_of_a_claim_may_fail(verb: str, call: int, after: bool) -> None:
    """Then nobody has it, or the one who claimed, and claiming again works."""
    inner = memory.MemoryBackupDriver.make()
    inner.put_container('box')
    fault = faults.Fault(verb, call=call, after=after, error=exceptions.PermissionDenied('no'))
    with contextlib.suppress(exceptions.PermissionDenied):
        owner.claim(store.Container(faults.FaultyDriver(inner, [fault]), 'box', retry_deadline=0),
                    OURS)
    box = store.Container(inner, 'box', retry_deadline=0)
    owner.claim(box, OURS)
    assert owner.check(box, OURS) and marks(box) == ['bf-container.owner-1']


# Through the manager: two installations with one store.


@pytest.fixture
def two(make_stage: Callable[..., Stage]) -> tuple[Stage, Stage]:
    ours = make_stage(options='container = shelf')
    theirs = make_stage(options=f'container = shelf\nstore = {ours.root}')
    return ours, theirs


def names(stage: Stage) -> list[str]:
    return sorted(stage.store.containers.get('shelf', {}))


def test_an_earlier_release_left_no_mark(two: tuple[Stage, Stage]) -> None:
    ours, theirs = two
    ours.write('one', b'1' * 5000)
    ours.create('one')()
    ours.store.remove('shelf', 'bf-container.owner-1')
    theirs.write('two', b'2' * 5000)
    with pytest.raises(exceptions.ForeignContainer, match='which wrote its backups'):
        theirs.create('two')()
    with theirs.manager() as manager:
        failed, = manager.catalog.backups()
        assert failed.status == 'error' and failed.service_metadata is None
    theirs.delete('two')()
    ours.write('three', b'3' * 5000)
    ours.create('three')()
    assert 'bf-container.owner-1' in names(ours)


def test_a_container_changes_hands(two: tuple[Stage, Stage]) -> None:
    """Refusals change nothing; who adopted it works there, and the other one does not."""
    ours, theirs = two
    ours.write('one', b'1' * 5000)
    ours.create('one')()
    before = names(ours)
    theirs.write('two', b'2' * 5000)
    with pytest.raises(exceptions.ForeignContainer):
        theirs.create('two')()
    assert names(ours) == before
    theirs.create('two', adopt=True)()
    with pytest.raises(exceptions.ForeignContainer):
        ours.delete('one')()
    with ours.manager() as manager:
        assert manager.catalog.get_backup('one').status == 'available'
        for backup in manager.plan_delete(['one'], adopt=True):
            assert manager.delete(backup, adopt=True)
    with theirs.manager() as manager:
        made = [each for each in manager.catalog.backups() if each.status == 'available']
        assert manager.verify(made[0].id).ok
        for backup in manager.plan_delete([each.id for each in manager.catalog.backups()]):
            manager.delete(backup, adopt=True)
    assert names(ours) == []


def test_a_container_that_is_taken_over_while_a_backup_runs(two: tuple[Stage, Stage]) -> None:
    """The backup fails before its manifest, and takes away only what is its own."""
    ours, theirs = two
    ours.write('one', b'1' * 5000)
    theirs.write('two', b'2' * 5000)

    def take_over(verb: str, container: str | None, name: str | None) -> None:
        if verb == 'commit' and name and name.endswith('_map'):
            ours.store.on_request = lambda *_: None
            theirs.create('two', adopt=True)()

    ours.store.on_request = take_over
    with pytest.raises(exceptions.ForeignContainer):
        ours.create('one')()
    with theirs.manager() as manager:
        assert manager.verify('two').ok
    assert not [name for name in names(ours) if name.endswith('_metadata')
                and 'two' not in name][1:]
    theirs.delete('two')()
    assert names(ours) == []


def test_who_lost_while_both_began_can_delete_its_record() -> None:
    """It stored nothing, so it has no business in the other one's container."""
    driver = Overtaken.make()
    driver.other = lambda: owner.claim(
        store.Container(driver, 'box', retry_deadline=0), THEIRS)
    saved: list[str | None] = []
    backup = model.Backup(volume_id='volume', container='box', created_at=model.utcnow(),
                          on_save=lambda record: saved.append(record.service_metadata))
    operation = Operation(Monitor(), owner=OURS)
    with pytest.raises(exceptions.ForeignContainer, match=THEIRS):
        driver.backup(backup, io.BytesIO(b'words' * 1000), operation=operation)
    assert saved[0] is not None and saved[-1] is None
    driver.delete(backup, operation=operation)
    assert marks(store.Container(driver, 'box', retry_deadline=0)) == ['bf-container.owner-1']
