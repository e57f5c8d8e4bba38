"""A disk fills at every size: under the store, under the catalog, under the target of a restore."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
import contextlib
from pathlib import Path

import pytest

from backup_framework import exceptions
from backup_framework.cmd import exit_codes
from backup_framework.model import Status
from tests.trust.faults import disks
from tests.trust.faults.disks import PAGE, Installed
from tools.servers import sshd

STORES = {
    'local': 'driver = local\npath = {path}',
    'nfs': 'driver = nfs\npath = {path}\naccepted_types = tmpfs',
    'sftp': 'driver = sftp\n{options}',
}


@pytest.fixture(scope='module')
def server(require_part: Callable[[str, str], None]) -> Iterator[sshd.Server]:
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(sshd.serving())
        except sshd.Missing as error:
            require_part('sshd', str(error))
            raise
        yield made


@pytest.fixture
def section(request: pytest.FixtureRequest, disk: Path) -> str:
    if request.param != 'sftp':
        return STORES[request.param].format(path=disk / 'store')
    options = request.getfixturevalue('server').options(path=str(disk / 'store'))
    lines = '\n'.join(f'{name} = {value}' for name, value in options.items())
    return STORES['sftp'].format(options=lines)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with disks.mounted(tmp_path / 'disk', 'size=4m,nr_inodes=200') as point:
        yield point


@pytest.fixture
def installed(section: str, tmp_path: Path) -> Iterator[Installed]:
    made = Installed(tmp_path, section)
    yield made
    made.manager.__exit__()


def failure(installed: Installed) -> exceptions.BackupFrameworkError | None:
    """What a backup says that does not succeed."""
    try:
        installed.create()
    except exceptions.BackupFrameworkError as error:
        return error
    return None


def says_no_space(error: BaseException, where: Iterable[str]) -> None:
    assert exit_codes.of(error) == exit_codes.NO_SPACE, repr(error)
    said = str(error).lower()
    assert 'no space' in said or 'no inodes' in said or 'full' in said, said
    assert any(place in str(error) for place in where), f'it does not say where: {error}'


def sweep(installed: Installed, disk: Path, fill: Callable[[Path, int], None],
          sizes: Iterable[int]) -> int:
    """At each size a backup, which fails or is right; then deletes, on a disk that is full."""
    first = installed.write(0)
    older = installed.create()
    data = installed.write(1)
    failures = 0
    for size in sizes:
        fill(disk, size)
        error = failure(installed)
        newest = next(each for each in installed.manager.catalog.backups(status=None)
                      if each.id != older.id)
        if error is None:
            assert newest.status == Status.AVAILABLE
            assert installed.restore(newest) == data
        else:
            failures += 1
            says_no_space(error, [str(disk), 'box', 'sftp', 'container'])
            assert newest.status == Status.ERROR and newest.fail_reason
            assert manifests(disk) == 1, 'a part of a backup is visible'
        fill(disk, 0)
        assert installed.restore(older) == first
        installed.delete(newest)
        assert manifests(disk) == 1
    # An ordinary backup when there is room, and the older one goes on a full disk as well.
    disks.clear(disk)
    after = installed.create()
    assert installed.restore(after) == data
    fill(disk, 0)
    installed.delete(older)
    assert installed.restore(after) == data
    return failures


def manifests(disk: Path) -> int:
    return len(list(disk.rglob('*_metadata')))


def needed(disk: Path, installed: Installed) -> int:
    """Bytes that a backup takes."""
    before = disks.free(disk)
    installed.write(2)
    made = installed.create()
    used = before - disks.free(disk)
    installed.delete(made)
    return used


EACH = pytest.mark.parametrize('section', STORES, indirect=True)


@EACH
def test_a_store_that_fills_at_some_sizes(installed: Installed, disk: Path) -> None:
    need = needed(disk, installed)
    sizes = [*range(0, need, need // 8 // PAGE * PAGE), need + 4 * PAGE]
    assert sweep(installed, disk, disks.leave, sizes) >= 8


@pytest.mark.parametrize('section', ['local'], indirect=True)
def test_a_store_that_has_no_inodes_left(installed: Installed, disk: Path) -> None:
    assert sweep(installed, disk, disks.leave_inodes, range(6)) >= 2


@pytest.mark.long
@EACH
def test_a_store_that_fills_at_any_size(installed: Installed, disk: Path) -> None:
    need = needed(disk, installed)
    sizes = [*range(0, need, max(512, need // 90)), need + 4 * PAGE]
    assert sweep(installed, disk, disks.leave, sizes) >= 60


# --- the disk of the catalog

@pytest.fixture
def on_disk(disk: Path, tmp_path: Path) -> Iterator[Installed]:
    """An installation whose state is on the small disk."""
    made = Installed(tmp_path, f'driver = local\npath = {tmp_path}/store', disk / 'state')
    yield made
    made.manager.__exit__()


def fill_catalog(installed: Installed, disk: Path, sizes: Iterable[int]) -> int:
    first = installed.write(0)
    older = installed.create()
    data = installed.write(1)
    failures = 0
    for size in sizes:
        disks.leave(disk, size)
        error = failure(installed)
        if error is not None:
            failures += 1
            says_no_space(error, [str(disk)])
        assert installed.restore(older) == first
        disks.clear(disk)
        installed.restart()
        for record in installed.manager.catalog.backups():
            if record.id != older.id:
                assert (record.status == Status.AVAILABLE) == (error is None)
                installed.delete(record)
        made = installed.create()
        assert installed.restore(made) == data
        installed.delete(made)
        assert installed.manager.check_catalog() == []
    return failures


def test_a_catalog_whose_disk_fills(on_disk: Installed, disk: Path) -> None:
    assert fill_catalog(on_disk, disk, range(0, 15 * PAGE, 3 * PAGE)) >= 1


@pytest.mark.long
def test_a_catalog_whose_disk_fills_at_any_size(on_disk: Installed, disk: Path) -> None:
    assert fill_catalog(on_disk, disk, range(0, 40 * PAGE, PAGE)) >= 3


# --- the disk of a restored volume

def fill_target(installed: Installed, disk: Path, sizes: Iterable[int]) -> int:
    data = installed.write(0)
    made = installed.create()
    failures = 0
    for size in sizes:
        disks.leave(disk, size)
        target = disk / 'target'
        try:
            assert installed.restore(made, target) == data
            target.unlink()
        except exceptions.BackupFrameworkError as error:
            failures += 1
            says_no_space(error, ['the target'])
            assert sorted(each.name for each in disk.iterdir()) == ['ballast']
    return failures


@pytest.fixture
def beside(disk: Path, tmp_path: Path) -> Iterator[Installed]:
    made = Installed(tmp_path, f'driver = local\npath = {tmp_path}/store')
    yield made
    made.manager.__exit__()


def test_a_target_whose_disk_fills(beside: Installed, disk: Path) -> None:
    assert fill_target(beside, disk, range(0, 26 * PAGE, 3 * PAGE)) >= 5


@pytest.mark.long
def test_a_target_whose_disk_fills_at_any_size(beside: Installed, disk: Path) -> None:
    assert fill_target(beside, disk, range(0, 26 * PAGE, 2048)) >= 30
