"""One store, two users: Cinder runs as another user than we do, and both are in one group.

It is the primary group of Cinder's user: what Cinder writes has that group, also where the store
passes its own on, because Cinder takes the set-group-id bit from the directories that it makes.
"""

import multiprocessing
import os
import shutil

import installation
from installation import BLOCK, CHUNK, files_below, noise, patched
import make_witness
import pytest

from backup_framework import exceptions

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='only root can become another user')

FORK = multiprocessing.get_context('fork')
GROUP = 47114
ELSE = 65534
CINDER = {'uid': ELSE, 'gid': GROUP, 'groups': [GROUP]}
SHARED = {'file_mode': '0660', 'directory_mode': '0770', 'group': GROUP}
SMALL = {'backup_sha_block_size_bytes': BLOCK, 'backup_file_size': CHUNK}
STATES = make_witness.volumes_of('siblings')[:2]


@pytest.fixture
def store(open_folder):
    return open_folder / 'store'


@pytest.fixture
def target(open_folder):
    return open_folder / 'targets' / 'target'


@pytest.fixture
def volume(open_folder):
    return open_folder / 'volume'


@pytest.fixture
def shared(install, store):
    return install(store, **SHARED)


@pytest.fixture
def chain(shared, volume):
    return installation.our_chain(shared, STATES, volume)


@pytest.mark.parametrize('gid', [GROUP, ELSE], ids=['primary', 'supplementary'])
def test_cinder_restores_our_shared_store(cinder, store, chain, target, gid):
    cinder.restore(store, chain[-1].exports, target, target_size=len(STATES[-1]),
                   **CINDER | {'gid': gid})
    assert target.read_bytes() == STATES[-1]


def test_cinder_outside_the_group_reads_nothing(cinder, store, chain, target):
    with pytest.raises(cinder.Error, match='^PermissionError: '):
        cinder.restore(store, chain[-1].exports, target, uid=ELSE, gid=ELSE)


def test_cinder_cannot_read_our_private_store(cinder, install, store, volume, target):
    made, = installation.our_chain(install(store), STATES[:1], volume)
    with pytest.raises(cinder.Error, match='^PermissionError: '):
        cinder.restore(store, made.exports, target, **CINDER)


def test_modes_and_group_of_a_shared_store(store, chain):
    for folder, _, names in os.walk(store):
        assert os.stat(folder).st_mode & 0o7777 == 0o770
        for name in names:
            status = os.stat(os.path.join(folder, name))
            assert (status.st_mode & 0o7777, status.st_gid) == (0o660, GROUP)


def test_cinder_deletes_from_our_shared_store(cinder, store, chain):
    for made in reversed(chain):
        cinder.delete(store, made.exports, **CINDER)
    assert files_below(store) == []


@pytest.fixture
def cinders(cinder, store, volume):
    """A backup of Cinder's, whose directory has the group, as an operator sets it up."""
    store.mkdir()
    os.chown(store, ELSE, GROUP)
    store.chmod(0o2770)
    volume.write_bytes(STATES[0])
    return cinder.backup(store, volume, {}, SMALL, **CINDER)


def test_cinder_goes_on_with_our_shared_store(cinder, shared, store, volume, chain, target):
    """Its incremental lies beside ours and is restored by us."""
    for export in chain[-1].exports:
        cinder.import_(export)
    volume.write_bytes(changed := patched(STATES[-1], 1, noise(BLOCK)))
    made = cinder.backup(store, volume, {
        'parent_id': chain[-1].id, 'volume_id': chain[-1].volume_id}, SMALL, **CINDER)
    backup = shared.manager.import_(made['export'])
    assert shared.restored(backup.id, target) == changed


def as_member(function, *arguments):
    """What a function says, or the exception it raises, in a child that is a user of the group."""
    mine, childs = FORK.Pipe(duplex=False)

    def run():
        os.setgroups([GROUP])
        os.setgid(ELSE - 1)
        os.setuid(ELSE - 1)
        try:
            childs.send(function(*arguments))
        except Exception as error:
            childs.send(error)
    child = FORK.Process(target=run)
    child.start()
    childs.close()
    answer = mine.recv()
    child.join()
    if isinstance(answer, Exception):
        raise answer
    return answer


@pytest.fixture
def home(open_folder):
    """Where the member of the group keeps its catalog."""
    home = open_folder / 'home'
    home.mkdir()
    os.chown(home, ELSE - 1, ELSE - 1)
    return home


def continue_cinders(home, store, volume, target):
    """Rebuild, verify, restore, and an incremental of ours; its exports."""
    with installation.installed(home, store, **SHARED) as ours:
        backup, = ours.rebuild(adopt=True)
        assert ours.verify(backup.id) == []
        ours.restored(backup.id, target)
        made = ours.create(volume, state_of=backup.volume_id, incremental=True)
        assert made.parent_id == backup.id
        return ours.exports(made.id)


def test_we_read_cinders_store_as_another_user(cinder, cinders, store, volume, target, home):
    changed = patched(STATES[0], 2, bytes(BLOCK) + noise(BLOCK))
    volume.write_bytes(changed)
    volume.chmod(0o644)
    exports = as_member(continue_cinders, home, store, volume, target)
    assert target.read_bytes() == STATES[0]
    target.unlink()
    cinder.restore(store, exports, target, **CINDER)
    assert target.read_bytes() == changed


def delete_cinders(home, store):
    with installation.installed(home, store, **SHARED) as ours:
        backup, = ours.rebuild(adopt=True)
        ours.delete(backup.id)
        assert ours.catalog.backups() == []


def test_we_delete_from_cinders_store_as_another_user(cinders, store, home):
    as_member(delete_cinders, home, store)
    assert files_below(store) == []


def read_cinders(home, store):
    with installation.installed(home, store) as ours:
        return ours.rebuild()


def test_store_without_our_group_is_an_error(cinders, store, home):
    """Not an empty store."""
    shutil.chown(store, ELSE, ELSE)
    with pytest.raises(exceptions.PermissionDenied):
        as_member(read_cinders, home, store)
