"""Backups of reflinked states of a volume, on real XFS and btrfs."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import random
import re
import shlex
import shutil
import subprocess
import textwrap

import pytest

from backup_framework.engine import fiemap
from backup_framework.model import Extent
from tests.functional.command_line import ROOT
from tests.functional.test_cli_run import section, shell

KIB, MIB = 1 << 10, 1 << 20
SIZE = 6 * MIB
TOOLS = {'xfs': ('mkfs.xfs', 'xfsprogs', ''), 'btrfs': ('mkfs.btrfs', 'btrfs-progs', ''),
         'btrfs zstd': ('mkfs.btrfs', 'btrfs-progs', 'compress-force=zstd,')}


@pytest.fixture(scope='module', params=['xfs', 'btrfs'])
def shelf(request, require_part, tmp_path_factory) -> Iterator[Path]:
    """A directory on a file system that shares blocks."""
    tool, package, options = TOOLS[request.param]
    if os.geteuid():
        pytest.skip('only root can mount')
    if shutil.which(tool) is None:
        require_part(package, f'no {tool}')
    image = tmp_path_factory.mktemp('file_system') / 'image'
    with open(image, 'wb') as file:
        file.truncate(320 * MIB)
    run(tool, '-q', str(image))
    point = image.with_name('mount')
    point.mkdir()
    try:
        mounted = subprocess.run(['mount', '-o', f'{options}loop', str(image), str(point)],
                                 capture_output=True, text=True, check=False)
        if mounted.returncode:
            pytest.skip(f'this kernel mounts no {request.param}: {mounted.stderr.strip()}')
        yield point
    finally:
        if os.path.ismount(point):
            subprocess.run(['umount', str(point)], check=True, timeout=60)
        image.unlink()


@pytest.fixture
def disk(shelf: Path) -> Iterator[Path]:
    """A volume with data, a hole, and blocks that were never written."""
    disk = shelf / 'disk'
    with open(disk, 'wb') as file:
        file.write(random.Random(1).randbytes(2 * MIB) + b'compressible' * (MIB // 12))
        # Compressed, where that is wanted: later a file with such blocks is not any more.
        file.flush()
        os.fsync(file.fileno())
        os.posix_fallocate(file.fileno(), 4 * MIB, MIB)
        file.truncate(SIZE)
    yield disk
    for path in shelf.iterdir():
        if path.is_dir():
            run('btrfs', 'subvolume', 'delete', str(path))
        else:
            path.unlink()


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def reflink(path: Path, name: str) -> Path:
    made = path.with_name(name)
    made.unlink(missing_ok=True)
    run('cp', '--reflink=always', str(path), str(made))
    return made


def write(path: Path, offset: int, data: bytes) -> None:
    with open(path, 'r+b') as file:
        file.seek(offset)
        file.write(data)


def differing(new: Path, old: Path) -> list[Extent] | None:
    with open(new, 'rb') as one, open(old, 'rb') as other:
        return fiemap.differing(one.fileno(), other.fileno())


def change(disk: Path, chance: random.Random) -> None:
    """Do something to a volume that programs do to volumes."""
    offset, length = chance.randrange(SIZE), chance.choice([1, 4 * KIB, 70 * KIB, 300 * KIB])
    length = min(length, SIZE - offset)
    match chance.randrange(6):
        case 0 | 1:
            write(disk, offset, chance.randbytes(length))
        case 2:
            write(disk, offset // 4096 * 4096, bytes(length))
        case 3:
            run('fallocate', '--punch-hole', '-o', str(offset), '-l', str(length), str(disk))
        case 4:
            run('fallocate', '-o', str(offset), '-l', str(length), str(disk))
        case 5:
            os.truncate(disk, offset)
            os.truncate(disk, chance.randrange(SIZE - MIB, SIZE))


@pytest.mark.parametrize('shelf', TOOLS, indirect=True)
@pytest.mark.parametrize('seed', range(4))
def test_what_differs_is_found(disk, seed):
    chance = random.Random(seed)
    for _ in range(6):
        before = reflink(disk, 'before')
        for _ in range(chance.randrange(6)):
            change(disk, chance)
        found = differing(disk, before)
        new, old = bytearray(disk.read_bytes()), bytearray(before.read_bytes())
        assert all(extent.end <= len(new) for extent in found)
        old = (old + bytes(len(new)))[:len(new)]
        for extent in found:
            new[extent.offset:extent.end] = old[extent.offset:extent.end] = bytes(extent.length)
        assert new == old


def test_only_what_changed_differs(disk):
    before = reflink(disk, 'before')
    write(disk, MIB + 5, b'changed')
    write(disk, 4 * MIB + 8 * KIB, b'changed')
    assert differing(disk, before) == [
        Extent(MIB, 4 * KIB), Extent(4 * MIB + 8 * KIB, 4 * KIB)]
    os.truncate(disk, SIZE + 4 * KIB)
    assert differing(disk, before)[-1] == Extent(SIZE, 4 * KIB)
    assert differing(before, disk)[-1].end < SIZE


@pytest.mark.parametrize('shelf', ['btrfs zstd'], indirect=True)
def test_compressed_blocks_have_no_places(disk):
    found = differing(reflink(disk, 'copy'), disk)
    assert found and 2 * MIB <= found[0].offset and found[-1].end < 3 * MIB + 128 * KIB


def test_a_copy_shares_nothing(disk):
    copy = disk.with_name('copy')
    run('cp', '--reflink=never', '--sparse=never', str(disk), str(copy))
    changed = differing(copy, disk)
    assert changed and changed[0].offset == 0 and changed[0].end > 2.9 * MIB


def test_more_extents_than_a_page_holds(disk):
    with open(disk, 'r+b') as file:
        for offset in range(0, SIZE, 8 * KIB):
            os.pwrite(file.fileno(), b'scattered', offset)
            if offset % (64 * KIB):
                os.fdatasync(file.fileno())
    before = reflink(disk, 'before')
    places = range(0, SIZE, 64 * KIB)
    for offset in places:
        write(disk, offset, b'changed')
    assert differing(disk, before) == [Extent(offset, 4 * KIB) for offset in places]


@pytest.mark.parametrize('shelf', ['btrfs'], indirect=True)
def test_snapshots_of_a_subvolume(shelf, disk):
    live = shelf / 'live'
    run('btrfs', 'subvolume', 'create', str(live))
    run('cp', '--reflink=always', str(disk), str(live / 'disk'))
    run('btrfs', 'subvolume', 'snapshot', '-r', str(live), str(shelf / 'monday'))
    write(live / 'disk', 2 * MIB, b'changed')
    run('btrfs', 'subvolume', 'snapshot', '-r', str(live), str(shelf / 'tuesday'))
    assert differing(shelf / 'tuesday/disk', shelf / 'monday/disk') == [Extent(2 * MIB, 4 * KIB)]


def restored(cli, made) -> bytes:
    cli.good('backup', 'restore', made['id'], 'back', '--force', '--truncate')
    return (cli.directory / 'back').read_bytes()


def test_a_snapshot_of_the_parent_is_a_list_of_changes(cli, version, disk):
    monday = reflink(disk, 'monday')
    parent = cli.create(monday, '--volume', 'vm')
    write(disk, MIB, b'changed')
    write(disk, 5 * MIB + 77, b'changed')
    tuesday = reflink(disk, 'tuesday')
    how = ('--volume', 'vm', '--parent', parent['id'], '--snapshot-of-parent')
    made = cli.create(tuesday, *how, monday)
    assert (made['parent_id'], made['warnings']) == (parent['id'], [])
    assert restored(cli, made) == disk.read_bytes()
    # One that is of another night says that nothing changed, where all has.
    write(disk, 0, random.Random(2).randbytes(SIZE))
    wednesday = reflink(disk, 'wednesday')
    made = cli.create(wednesday, *how, disk)
    assert 'the changed extents are wrong' in made['warnings'][0]
    assert restored(cli, made) == disk.read_bytes()


def test_the_recipe_of_the_page(cli, shelf, disk):
    page = (ROOT / 'doc/source/operating.rst').read_text()
    recipe = re.search(r'^    cp --reflink=always vm.img monday(?:.*\n)+?    rm monday.img$', page,
                       re.M)
    assert recipe
    disk.rename(shelf / 'vm.img')
    command = shlex.join(cli.script_words())
    night = 'printf changed | dd of=vm.img bs=1 seek=77777 conv=notrunc\n'
    script = textwrap.dedent(recipe[0]).replace('backup-framework', command).replace(
        '\n\n', '\n' + night)
    done = subprocess.run(['bash', '-eu', '-c', script], cwd=shelf, text=True, timeout=60,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 'arning' not in done.stderr
    newest = cli.json('backup', 'list')[0]
    assert newest['is_incremental']
    assert restored(cli, newest) == (shelf / 'tuesday.img').read_bytes()
    assert not (shelf / 'monday.img').exists()


def test_it_is_looked_for_when_the_volume_is_frozen(cli, disk):
    monday = reflink(disk, 'monday')
    parent = cli.create(monday, '--volume', 'vm')
    cli.configure(section('vm', disk, freeze_command=shell(
        f'printf late | dd of={disk} bs=1 seek={MIB} conv=notrunc')))
    made = cli.create('vm', '--parent', parent['id'], '--snapshot-of-parent', monday)
    assert made['warnings'] == []
    assert restored(cli, made)[MIB:MIB + 4] == b'late'


def test_where_nobody_can_tell_all_is_read(cli, version, volume):
    parent = cli.create(volume)
    copy = volume.with_name('copy')
    shutil.copyfile(volume, copy)
    write(volume, 0, b'changed')
    how = ('--parent', parent['id'], '--snapshot-of-parent')
    made = cli.create(volume, *how, copy)
    assert 'the whole volume was read' in made['warnings'][0] and str(copy) in made['warnings'][0]
    assert restored(cli, made) == volume.read_bytes()
    with open(copy, 'ab') as file:
        file.write(b'more')
    made = cli.create(volume, *how, copy)
    assert '300005 bytes' in made['warnings'][0]


def test_what_is_refused(cli, volume):
    parent = cli.create(volume)
    link, disk = volume.with_name('link'), volume.with_name('other')
    os.link(volume, link)
    shutil.copyfile(volume, disk)
    how = ('backup', 'create', volume, '--snapshot-of-parent')
    assert '--parent' in cli.refused(2, *how, disk)
    assert 'the volume itself' in cli.refused(2, *how, link, '--parent', parent['id'])
    assert 'gone' in cli.refused(3, *how, volume.with_name('gone'), '--parent', parent['id'])
    done = cli.run(*how, link, '--changed-extents', link)
    assert done.code == 2 and 'not allowed with' in done.err
    assert len(cli.json('backup', 'list')) == 1
