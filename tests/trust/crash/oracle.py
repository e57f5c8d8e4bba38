"""Operations that may be interrupted, and what must be true afterwards, whatever happened."""

from __future__ import annotations

from collections.abc import Callable, Iterable
import dataclasses

from backup_framework import exceptions
from backup_framework.manager import copying
from backup_framework.manager.manager import Manager, RestoreRequest
from backup_framework.model import Backup, Status
from tests.trust.crash.world import FIRST, STATES, World

Names = frozenset[str]
Raw = dict[str, int]

LOST_BY_DELETE = (Status.ERROR_DELETING, Status.DELETING)


@dataclasses.dataclass(frozen=True)
class Operation:
    """What one process does until it is killed, and the next one again.

    :param prepare: brings a world that began to where the operation starts.
    :param again: the next ordinary command, where it is not the same one.
    :param makes: names of the backups that it makes.
    :param loses: names of those that it deletes.
    :param unknown: the catalog does not know the backups before it.
    """

    name: str
    run: Callable[[World, Manager], None]
    prepare: Callable[[World], None] = lambda world: None
    again: Callable[[World, Manager], None] | None = None
    makes: Names = frozenset()
    loses: Names = frozenset()
    unknown: bool = False


def full(world: World, manager: Manager) -> None:
    world.create(manager, 'third', incremental=False)


def incremental(world: World, manager: Manager) -> None:
    assert world.create(manager, 'third', incremental=True).parent_id


def restore_new(world: World, manager: Manager) -> None:
    manager.restore('second', RestoreRequest(str(world.target)))


def restore_new_again(world: World, manager: Manager) -> None:
    """It is there in full, or it is not there; a partial file is removed by the next restore."""
    if world.target.exists():
        assert world.target.read_bytes() == STATES['second'], 'a target appeared before its bytes'
        world.target.unlink()
    restore_new(world, manager)
    assert world.target.read_bytes() == STATES['second']
    assert not list(world.root.glob('.target.*')), 'a partial file was left'


def restore_over(world: World, manager: Manager) -> None:
    manager.restore('second', RestoreRequest(str(world.target), force=True))


def restore_over_again(world: World, manager: Manager) -> None:
    restore_over(world, manager)
    assert world.target.read_bytes() == STATES['second']


def make_target(world: World) -> None:
    world.target.write_bytes(FIRST[::-1])


def delete_child(world: World, manager: Manager) -> None:
    delete_named(manager, ['second'])


def delete_parent(world: World, manager: Manager) -> None:
    """In Cinder's format with the backup that needs it."""
    delete_named(manager, ['first'])


def delete_named(manager: Manager, names: Iterable[str]) -> None:
    left = [each.id for each in manager.catalog.backups() if each.display_name in names]
    for backup in manager.plan_delete(left, with_dependents=True):
        assert manager.delete(backup)


def has_chain(manager: Manager, backup: Backup) -> bool:
    """Whether all that it is built on is known."""
    try:
        manager.catalog.chain(backup)
    except exceptions.InvalidBackup:
        return False
    return True


def delete_parent_again(world: World, manager: Manager) -> None:
    delete_named(manager, ['first'] if world.version != '1.0.0' else ['first', 'second'])


def verify(world: World, manager: Manager) -> None:
    assert not manager.verify('second').problems


def export_and_forget(world: World) -> None:
    with world.manager() as manager:
        record = manager.export('second')
        (world.root / 'record').write_text(f'{record["backup_service"]} {record["backup_url"]}')
        manager.forget('second')


def import_(world: World, manager: Manager) -> None:
    service, url = (world.root / 'record').read_text().split()
    manager.import_({'backup_service': service, 'backup_url': url}, backend='main')


def import_again(world: World, manager: Manager) -> None:
    if not any(each.display_name == 'second' for each in manager.catalog.backups()):
        import_(world, manager)


def lose_catalog(world: World) -> None:
    for file in world.state.glob('catalog.sqlite*'):
        file.unlink()


def rebuild(world: World, manager: Manager) -> None:
    assert not manager.rebuild('main').problems


def copy(world: World, manager: Manager) -> None:
    original = [each for each in manager.catalog.backups(backend='main')
                if each.display_name == 'second']
    list(manager.copy(original[0].id, copying.Request('other')))


THIRD_ONLY = frozenset({'third'})
OPERATIONS = {operation.name: operation for operation in (
    Operation('full', full, makes=THIRD_ONLY),
    Operation('incremental', incremental, makes=THIRD_ONLY),
    Operation('restore to a new file', restore_new, again=restore_new_again),
    Operation('restore over a file', restore_over, make_target, restore_over_again),
    Operation('delete', delete_child, loses=frozenset({'second'})),
    Operation('delete of a parent', delete_parent, again=delete_parent_again,
              loses=frozenset({'first'})),
    Operation('verify', verify),
    Operation('import', import_, export_and_forget, import_again, unknown=True),
    Operation('rebuild', rebuild, lose_catalog, unknown=True),
    Operation('copy', copy, makes=frozenset({'second'})))}


def judge(world: World, operation: Operation, expected: Raw | None = None,
          committed: Names = frozenset({'first', 'second'})) -> Raw:
    """The next commands after an operation was interrupted; what the stores hold when all that it
    made is deleted.

    :param expected: what that is after an operation that was not interrupted.
    :param committed: names of the backups that were reported as made.
    """
    world.take_up()
    with world.manager() as manager:
        assert not world.operations(), 'an operation that died still stands in the catalog'
        loses = _lost_with(world, operation)
        _check_backups(world, manager, operation,
                       frozenset() if operation.unknown else committed - loses)
        if operation.name == 'full':
            _heal(world, manager, operation)
        (operation.again or operation.run)(world, manager)
        _check_backups(world, manager, operation, (committed | operation.makes) - loses,
                       read=operation.makes)
        return _clean(world, manager, operation, committed - loses, expected)


def _lost_with(world: World, operation: Operation) -> Names:
    """In Cinder's format the second goes with the first."""
    if operation.name == 'delete of a parent' and world.version == '1.0.0':
        return frozenset({'first', 'second'})
    return operation.loses


def _check_backups(world: World, manager: Manager, operation: Operation, wanted: Names, *,
                   read: Names = frozenset(STATES), verified: bool = False) -> None:
    """What is available restores exactly; what is not is what was interrupted."""
    available = set()
    for backup in manager.catalog.backups():
        name = str(backup.display_name)
        if backup.status != Status.AVAILABLE:
            _check_interrupted(manager, operation, backup, _lost_with(world, operation))
            continue
        available.add(name)
        if name in read:
            assert world.restore(manager, backup.id) == STATES[name], f'{name} restores wrongly'
        if verified:
            assert not manager.verify(backup.id).problems
    assert wanted <= available, f'{wanted - available} are lost'


def _check_interrupted(manager: Manager, operation: Operation, backup: Backup, loses: Names
                       ) -> None:
    if backup.display_name in operation.makes:
        assert backup.status == Status.ERROR, backup.status
    else:
        assert backup.display_name in loses and backup.status in LOST_BY_DELETE, backup
    try:
        manager.restore(backup.id, RestoreRequest('/nonexistent/target'))
    except exceptions.InvalidBackup:
        return
    raise AssertionError(f'{backup.display_name} is {backup.status} and was restored')


def _heal(world: World, manager: Manager, operation: Operation) -> None:
    """A backup whose manifest was written is complete, and a rebuild of the catalog says so."""
    failed = {each.id for each in manager.catalog.backups(status=Status.ERROR)}
    healed = set(manager.rebuild('main').healed)
    assert healed <= failed
    _check_backups(world, manager, operation, frozenset(), read=operation.makes)


def _clean(world: World, manager: Manager, operation: Operation, kept: Names,
           expected: Raw | None) -> Raw:
    """Deleting what is left removes all that the operation stored, and only that."""
    copied = operation.name == 'copy'
    for backup in manager.catalog.backups():
        if backup.display_name not in kept or (copied and backup.backend == 'other'):
            for each in manager.plan_delete([backup.id]):
                assert manager.delete(each)
    for backend in world.begun():
        manager.clean(backend, 0)
    _check_backups(world, manager, operation, kept, read=frozenset(), verified=True)
    left = world.raw()
    assert expected is None or left == expected, (
        f'left: {left.keys() - expected.keys()}, lost: {expected.keys() - left.keys()}')
    delete_named(manager, STATES)
    for backend in world.begun():
        manager.clean(backend, 0)
    assert not world.raw(), f'{world.raw()} are left when nothing is'
    assert not list((world.state / 'locks').glob('*')), 'a lock was left'
    assert not list(world.state.glob('spool/*')), 'a spool was left'
    return left
