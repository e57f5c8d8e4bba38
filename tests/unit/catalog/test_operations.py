"""Who may run beside whom; races; and what is left of those that died."""

import datetime
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import pytest
from sqlalchemy import select

from backup_framework import exceptions
from backup_framework.catalog import locks, operations, records, recovery, schema
from backup_framework.model import Backup, Status, Volume

OTHERS = ('restore', 'verify', 'export')


@pytest.fixture
def lock_files(state_path):
    return lambda: sorted(os.listdir(f'{state_path}/locks'))


@pytest.fixture
def rows(catalog):
    """The ids of the operations that are recorded."""
    chosen = select(schema.operations.c.id)
    return lambda: catalog._database.read(lambda link: list(link.execute(chosen).scalars()))


def test_an_operation_leaves_nothing(catalog, add, lock_files, rows):
    add(id='b1')
    with catalog.operation('verify', backup_id='b1') as operation:
        assert operation.recorded
        assert lock_files() == [operation.id]
        assert rows() == [operation.id]
    assert lock_files() == []
    assert rows() == []
    with pytest.raises(RuntimeError), catalog.operation('verify', backup_id='b1'):
        raise RuntimeError
    assert lock_files() == []
    assert catalog.recover() == []


def test_files_are_for_their_owner_only(catalog, state_path):
    with catalog.operation('create', backup_id='b1', volume_id='v1') as operation:
        locks = Path(state_path, 'locks')
        assert locks.stat().st_mode & 0o777 == 0o700
        assert (locks / operation.id).stat().st_mode & 0o777 == 0o600
        assert Path(state_path, 'installation').stat().st_mode & 0o777 == 0o600


def test_a_second_create_of_the_volume_is_refused(catalog):
    catalog.add_volume(Volume(id='v1', name='db'))
    with catalog.operation('create', backup_id='b1', volume_id='v1'):
        with pytest.raises(exceptions.InvalidVolume, match='volume db .* backup b1, since 20'):
            with catalog.operation('create', backup_id='b2', volume_id='v1'):
                pytest.fail('two at once')
        with catalog.operation('create', backup_id='b2', volume_id='v2'):
            pass
    with catalog.operation('create', backup_id='b2', volume_id='v1'):
        pass


@pytest.mark.parametrize('kind', [*OTHERS, 'delete', 'create'])
def test_a_delete_runs_alone(catalog, add, kind):
    add(id='b1')
    add(id='b2')
    with catalog.operation(kind, backup_id='b1', volume_id='v1'):
        with pytest.raises(exceptions.BackupInUse, match=f'a {kind} of backup b1 is running'):
            with catalog.operation('delete', backup_id='b1'):
                pytest.fail('not alone')
        with catalog.operation('delete', backup_id='b2'):
            pass


@pytest.mark.parametrize('status', [Status.CREATING, Status.ERROR, Status.AVAILABLE])
def test_what_children_need_is_not_deleted(catalog, add, status):
    add(id='root')
    add(id='child', parent_id='root', status=status)
    with pytest.raises(exceptions.BackupInUse, match='needed by backup child'):
        with catalog.operation('delete', backup_id='root'):
            pytest.fail('a child needs it')


@pytest.fixture
def family(add):
    """1.0.0 backups of one volume, where `orphan` needs `lost`, which is in no record."""
    noon = datetime.datetime(2026, 3, 10, 12, tzinfo=datetime.UTC)

    def at(hours, **fields):
        add(**{'format': '1.0.0', 'backend': 'local',
               'data_timestamp': noon + datetime.timedelta(hours=hours)} | fields)
    at(0, id='root')
    at(1, id='first', parent_id='root')
    at(2, id='failed', format=None, status=Status.ERROR_DELETING, service='local')
    at(2, id='other format', format='2.0.0')
    at(2, id='other volume', volume_id='v2')
    at(2, id='other backend', backend='vault')
    at(3, id='zulu')
    at(3, id='orphan', parent_id='lost')
    at(3, id='child', parent_id='orphan')
    at(4, id='sibling', parent_id='lost')
    at(5, id='newer')
    return at


def deletable(catalog):
    """Which backups a delete could begin with."""
    found = set()
    for backup in catalog.backups():
        try:
            with catalog.operation('delete', backup_id=backup.id):
                found.add(backup.id)
        except exceptions.BackupInUse:
            pass
    return found


def test_what_a_missing_parent_may_be_built_on_is_not_deleted(catalog, family):
    free = {'other format', 'other volume', 'other backend', 'sibling', 'newer'}
    assert deletable(catalog) == free
    catalog.forget('sibling')
    free = (free | {'child'}) - {'sibling'}
    assert deletable(catalog) == free
    with pytest.raises(exceptions.BackupInUse, match='needs lost, which is not in the catalog'):
        with catalog.operation('delete', backup_id='failed'):
            pytest.fail('it may be needed')
    catalog.forget('child')
    assert deletable(catalog) == (free | {'orphan'}) - {'child'}
    catalog.forget('orphan')
    assert deletable(catalog) >= {'first', 'failed', 'zulu'}


def test_nothing_waits_for_a_parent_that_is_taken_in(catalog, family):
    family(2, id='lost', parent_id='first')
    assert deletable(catalog) >= {'failed', 'zulu'} and 'first' not in deletable(catalog)


def test_two_that_lack_parents_go_one_after_the_other(catalog, family):
    """The parent that the newer one lacks may be built on the older one."""
    family(6, id='last', parent_id='lost too')
    assert deletable(catalog) == {'other format', 'other volume', 'other backend', 'last'}
    with pytest.raises(exceptions.BackupInUse, match='delete last first'):
        with catalog.operation('delete', backup_id='failed'):
            pytest.fail('it may be needed')


def test_an_import_that_has_not_ended_tells_nothing_of_a_chain(catalog, family):
    """Nor does one that failed; and both can be deleted, for nothing is stored of them."""
    family(1, id='lost', format=None, status=Status.CREATING)
    assert not deletable(catalog) & {'root', 'first', 'zulu', 'failed'}
    catalog.update_backup('lost', status=Status.ERROR)
    assert not deletable(catalog) & {'root', 'first', 'zulu', 'failed'}
    assert 'lost' in deletable(catalog)
    catalog.update_backup('lost', status=Status.DELETING)
    with catalog.operation('delete', backup_id='lost') as deleting:
        catalog.forget('lost', operation=deleting)


def test_what_another_installation_wrote_holds_nothing_of_ours(catalog, family):
    for each in ('sibling', 'orphan'):
        catalog.update_backup(each, owner='Cinder')
    assert deletable(catalog) >= {'first', 'zulu', 'failed'}


def test_a_delete_that_was_accepted_goes_on(catalog, family):
    catalog.update_backup('zulu', status=Status.DELETING)
    with catalog.operation('delete', backup_id='zulu') as deleting:
        catalog.forget('zulu', operation=deleting)


@pytest.mark.parametrize('kind', OTHERS)
def test_nothing_begins_during_a_delete(catalog, add, kind):
    add(id='b1')
    with catalog.operation('delete', backup_id='b1'):
        with pytest.raises(exceptions.BackupInUse, match='a delete of backup b1'):
            with catalog.operation(kind, backup_id='b1'):
                pytest.fail('during a delete')


def test_restoring_is_shown_while_restores_run_side_by_side(catalog, add):
    add(id='b1', display_name='nightly')
    add(id='broken', status=Status.ERROR)
    with catalog.operation('restore', backup_id='b1'):
        with catalog.operation('restore', backup_id='b1'):
            assert catalog.get_backup('nightly').status == Status.RESTORING
        assert [each.id for each in catalog.backups(status='restoring')] == ['b1']
        assert catalog.backups(status='available') == []
        assert catalog.newest_usable('v1').id == 'b1'
        with catalog.operation('restore', backup_id='broken'):
            assert catalog.get_backup('broken').status == Status.ERROR
        catalog.update_backup('b1', display_description='kept')
    assert catalog.get_backup('b1').status == Status.AVAILABLE


def test_finish_a_create(catalog, add, rows, state_path):
    with catalog.operation('create', backup_id='b1', volume_id='v1') as operation:
        add(id='b1', status=Status.CREATING)
        catalog.finish(operation, 'b1', Status.AVAILABLE, object_count=4)
        assert rows() == [], 'the outcome and the end are one transaction'
    assert os.listdir(f'{state_path}/locks') == []
    assert catalog.get_backup('b1').object_count == 4
    assert catalog.recover() == []
    assert catalog.get_backup('b1').status == Status.AVAILABLE


def test_forgetting_ends_a_delete(catalog, add, rows, state_path):
    add(id='b1')
    with catalog.operation('delete', backup_id='b1') as operation:
        catalog.forget('b1', operation=operation)
        assert rows() == []
    assert os.listdir(f'{state_path}/locks') == []


def test_finish_of_what_was_taken_for_dead(catalog, add, open_catalog, state_path, rows):
    with catalog.operation('create', backup_id='b1', volume_id='v1') as operation:
        add(id='b1', status=Status.CREATING)
        os.unlink(f'{state_path}/locks/{operation.id}')
        assert len(open_catalog().recover()) == 1
        assert rows() == []
        with pytest.raises(exceptions.InvalidBackup, match='taken for dead'):
            catalog.finish(operation, 'b1', Status.AVAILABLE)
        with pytest.raises(exceptions.InvalidBackup, match='taken for dead'):
            catalog.forget('b1', operation=operation)
    assert catalog.get_backup('b1').status == Status.ERROR


def test_an_exclusive_operation_says_of_what(catalog):
    for kind in ('create', 'delete'):
        with pytest.raises(exceptions.InvalidInput), catalog.operation(kind):
            pass


def test_a_path_that_is_no_text_is_no_obstacle(catalog, add):
    add(id='b1')
    with catalog.operation('restore', backup_id='b1', detail='/mnt/\udcff') as operation:
        assert operation.recorded


def test_leases(catalog, add, open_catalog, tmp_path, monkeypatch):
    """Of another installation only the lease is known; renewing it is cheap."""
    add(id='b1')
    other = open_catalog(str(tmp_path / 'other'))
    with catalog.operation('delete', backup_id='b1') as operation:
        catalog.transition('b1', [Status.AVAILABLE], Status.DELETING)
        assert other.recover() == []
        monkeypatch.setattr(operations, 'LEASE', -operations.LEASE)
        catalog.renew(operation)
        assert other.recover() == []
        operation.renewed -= operations.RENEW_SECONDS
        catalog.renew(operation)
        [sentence] = other.recover()
        assert 'marked error_deleting' in sentence
        operation.renewed -= operations.RENEW_SECONDS
        with pytest.raises(exceptions.InvalidBackup, match='taken for dead'):
            catalog.renew(operation)
    assert catalog.get_backup('b1').status == Status.ERROR_DELETING


def test_here_an_expired_lease_means_nothing(catalog, add, open_catalog, monkeypatch):
    monkeypatch.setattr(operations, 'LEASE', -operations.LEASE)
    with catalog.operation('create', backup_id='b1', volume_id='v1'):
        add(id='b1', status=Status.CREATING)
        assert open_catalog().recover() == []
        assert catalog.recover() == []


def test_an_unfinished_backup_without_operation_is_marked(catalog, add):
    add(id='b1', status=Status.CREATING)
    add(id='b2', status=Status.DELETING)
    assert len(catalog.recover()) == 2
    found = catalog.get_backup('b1')
    assert found.status == Status.ERROR
    assert found.fail_reason == ('interrupted: the process that made it ended before it was '
                                 'complete')
    assert catalog.get_backup('b2').status == Status.ERROR_DELETING
    assert catalog.recover() == []


# Two at once


def _race(children, work):
    """What `work` answers in two processes that begin at the same time."""
    from multiprocessing import get_context
    start = get_context('fork').Barrier(2)

    def racer():
        start.wait(30)
        return work()
    children.start(racer)
    children.start(racer)
    return sorted([children.answer(), children.answer()])


@pytest.mark.parametrize('round_', range(3))
def test_two_creates_of_one_volume(children, open_catalog, connection, round_):
    def create():
        catalog = open_catalog()
        answer = f'b{os.getpid()}'
        try:
            with catalog.operation('create', backup_id=answer, volume_id='v1'):
                catalog.add_backup(Backup(id=answer, volume_id='v1'))
                children.tell('won')
                time.sleep(600)
        except exceptions.InvalidVolume:
            return 'refused'
    assert _race(children, create) == ['refused', 'won']


@pytest.mark.parametrize('round_', range(3))
def test_two_transitions(children, open_catalog, add, round_):
    add(id='b1')

    def transit():
        try:
            open_catalog().transition('b1', [Status.AVAILABLE], Status.DELETING)
        except exceptions.InvalidBackup as error:
            assert 'is deleting' in str(error)
            return 'lost'
        return 'won'
    assert _race(children, transit) == ['lost', 'won']


def test_a_path_is_one_volume_for_two(children, open_catalog, catalog):
    ids = _race(children, lambda: open_catalog().volume_at_path('/dev/x').id)
    assert ids[0] == ids[1] == catalog.get_volume('/dev/x').id


@pytest.mark.parametrize('connection', ['sqlite', 'postgresql', 'mariadb'], indirect=True)
def test_two_open_a_new_catalog(children, open_catalog):
    assert _race(children, lambda: len(open_catalog().backups())) == [0, 0]
    assert _race(children, lambda: open_catalog().installation)[0] == open_catalog().installation


def test_a_delete_and_a_new_child(children, open_catalog, add):
    """Either the delete sees the child or the child sees the delete."""
    add(id='root')

    def delete():
        catalog = open_catalog()
        try:
            with catalog.operation('delete', backup_id='root'):
                children.tell('deleted')
                time.sleep(600)
        except exceptions.BackupInUse as error:
            assert 'needed by backup child' in str(error)
            return 'saw child'

    def create():
        try:
            open_catalog().add_backup(Backup(id='child', parent_id='root'))
        except exceptions.InvalidBackup:
            return 'saw delete'
        return 'created'
    children.start(delete)
    children.start(create)
    outcome = {children.answer(), children.answer()}
    assert outcome in ({'saw child', 'created'}, {'deleted', 'saw delete'})


def test_many_writers_lose_nothing(children, open_catalog, catalog):
    def write():
        mine = open_catalog()
        for _ in range(10):
            mine.add_backup(Backup())
        return 'done'
    for _ in range(4):
        children.start(write)
    assert [children.answer() for _ in range(4)] == ['done'] * 4
    assert len(catalog.backups()) == 40


# Death


def _killed(children, work):
    """Run `work`, which answers once it is in its operation, and kill it there."""
    child = children.start(work)
    answer = children.answer()
    assert not isinstance(answer, BaseException), answer
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    return answer


@pytest.fixture
def hold(children, open_catalog):
    """A process that begins an operation on b1, does `then`, and stays in it."""
    def holds(kind, then=lambda catalog: None, **named):
        def work():
            catalog = open_catalog()
            with catalog.operation(kind, backup_id='b1', volume_id='v1', **named) as operation:
                then(catalog)
                children.tell(operation.id)
                time.sleep(600)
        return work
    return holds


def test_a_killed_create_is_marked(children, catalog, hold, lock_files):
    dead = _killed(children, hold(
        'create', lambda c: c.add_backup(Backup(id='b1', volume_id='v1', display_name='night'))))
    assert lock_files() == [dead]
    [sentence] = catalog.recover()
    assert sentence.startswith('backup b1 (night) was interrupted')
    found = catalog.get_backup('b1')
    assert found.status == Status.ERROR
    assert found.fail_reason.startswith('interrupted: ')
    assert lock_files() == []
    assert catalog.recover() == []
    with catalog.operation('create', backup_id='b2', volume_id='v1'):
        pass


def test_a_killed_delete_is_marked(children, catalog, add, hold):
    add(id='b1')
    _killed(children, hold('delete', lambda c: c.transition(
        'b1', [Status.AVAILABLE], Status.DELETING)))
    assert len(catalog.recover()) == 1
    assert catalog.get_backup('b1').status == Status.ERROR_DELETING
    with catalog.operation('delete', backup_id='b1'):
        pass


def test_a_killed_restore_blocks_nothing(children, catalog, add, hold):
    add(id='b1')
    _killed(children, hold('restore', detail='/dev/null'))
    assert catalog.get_backup('b1').status == Status.RESTORING
    assert catalog.recover() == [
        'a restore of backup b1 into /dev/null was interrupted; its target is damaged']
    assert catalog.get_backup('b1').status == Status.AVAILABLE


def test_a_killed_restore_to_a_new_file_damaged_nothing(children, catalog, add, hold):
    add(id='b1')
    _killed(children, hold('restore', detail='/nowhere/disk'))
    [sentence] = catalog.recover()
    assert 'damaged' not in sentence and '.disk.*.partial' in sentence


def test_a_kill_after_the_commit_changes_nothing(children, catalog, open_catalog):
    def work():
        mine = open_catalog()
        with mine.operation('create', backup_id='b1', volume_id='v1') as operation:
            mine.add_backup(Backup(id='b1', volume_id='v1'))
            mine.finish(operation, 'b1', Status.AVAILABLE)
            children.tell('finished')
            time.sleep(600)
    _killed(children, work)
    assert catalog.recover() == []
    assert catalog.get_backup('b1').status == Status.AVAILABLE
    with catalog.operation('create', backup_id='b2', volume_id='v1'):
        pass


def test_the_living_are_left_alone(children, catalog, hold):
    children.start(hold('create', lambda c: c.add_backup(Backup(id='b1', volume_id='v1'))))
    children.answer()
    assert catalog.recover() == []
    assert catalog.get_backup('b1').status == Status.CREATING


def test_recovery_beside_operations_that_begin_and_end(children, catalog, open_catalog):
    def work():
        mine = open_catalog()
        for number in range(15):
            backup_id = f'b{number}'
            with mine.operation('create', backup_id=backup_id, volume_id='v1') as operation:
                mine.add_backup(Backup(id=backup_id, volume_id='v1'))
                mine.finish(operation, backup_id, Status.AVAILABLE)
        return 'done'
    worker = children.start(work)
    said = []
    while worker.is_alive():
        said += catalog.recover()
    assert children.answer() == 'done'
    assert said == []
    assert {each.status for each in catalog.backups()} == {Status.AVAILABLE}


def test_several_recover_the_same_death(children, catalog, hold, open_catalog):
    _killed(children, hold('create', lambda c: c.add_backup(Backup(id='b1', volume_id='v1'))))
    assert _race(children, lambda: len(open_catalog().recover())) == [0, 1]


def test_a_fork_does_not_inherit_the_lock(children, catalog, open_catalog):
    def work():
        mine = open_catalog()
        with mine.operation('create', backup_id='b1', volume_id='v1'):
            mine.add_backup(Backup(id='b1', volume_id='v1'))
            grandchild = os.fork()
            if not grandchild:
                time.sleep(600)
            children.tell(grandchild)
            time.sleep(600)
    grandchild = _killed(children, work)
    try:
        assert len(catalog.recover()) == 1
    finally:
        os.kill(grandchild, signal.SIGKILL)


def test_a_fork_that_ends_does_not_end_the_operation(catalog, open_catalog, add, rows):
    add(id='b1')
    with catalog.operation('delete', backup_id='b1') as operation:
        child = os.fork()
        if not child:
            try:
                catalog._end(operation)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert rows() == [operation.id]
        assert open_catalog().recover() == []
        assert rows() == [operation.id]


def test_a_program_does_not_inherit_the_lock(children, catalog, open_catalog):
    def work():
        mine = open_catalog()
        with mine.operation('create', backup_id='b1', volume_id='v1'):
            mine.add_backup(Backup(id='b1', volume_id='v1'))
            program = subprocess.Popen(
                [sys.executable, '-S', '-c', 'import time; time.sleep(600)'], close_fds=False)
            children.tell(program.pid)
            time.sleep(600)
    program = _killed(children, work)
    try:
        assert len(catalog.recover()) == 1
    finally:
        os.kill(program, signal.SIGKILL)


def test_stale_locks_are_swept_and_held_ones_are_not(catalog, add, lock_files, state_path):
    with catalog.operation('verify', backup_id='b1') as operation:
        Path(state_path, 'locks', 'stale').touch()
        add(id='b1', status=Status.DELETING)
        add(id='b2', status=Status.CREATING)
        catalog.recover()
        assert lock_files() == [operation.id]


def test_a_death_is_told_once(catalog, add):
    """Two found the same row; or its owner ended between the look and the burial."""
    add(id='b1')
    with catalog.operation('restore', backup_id='b1', detail='target') as operation:
        dead = [recovery.Dead(operation.id, 'restore', 'b1', 'target')]
        assert len(catalog._database.write(lambda c: recovery.bury(c, dead))) == 1
        assert catalog._database.write(lambda c: recovery.bury(c, dead)) == []


def test_an_operation_that_began_after_the_look_is_left_alone(catalog, add):
    with catalog.operation('create', backup_id='b1', volume_id='v1'):
        add(id='b1', status=Status.CREATING)
        found = [recovery.Dead(None, 'create', 'b1', None)]
        assert catalog._database.write(lambda c: recovery.bury(c, found)) == []
    assert catalog.get_backup('b1').status == Status.CREATING


def test_a_lock_that_was_swept_while_it_was_made(tmp_path, monkeypatch):
    real, removed = locks.fcntl.flock, []

    def flock(descriptor, how):
        if not removed:
            removed.append(os.unlink(tmp_path / 'lock'))
        real(descriptor, how)
    monkeypatch.setattr(locks.fcntl, 'flock', flock)
    lock = locks.Lock(str(tmp_path), 'lock')
    assert not locks.is_free(lock.path)
    lock.release()
    lock.release()
    assert locks.is_free(lock.path)


@pytest.mark.parametrize('connection', ['postgresql'], indirect=True)
def test_a_collision_on_a_server_is_tried_again(catalog, add):
    """There, whoever comes second may see the first only by a constraint it broke."""
    add(id='b1')
    tries = []

    def work(link):
        tries.append(link)
        if len(tries) == 1:
            values = records.new_backup(Backup(id='b1'))
            link.execute(schema.backups.insert().values(values))
        return 'done'
    assert catalog._database.write(work) == 'done'
    assert len(tries) == 2
