"""Files as volumes: which ones are, that no name leads out, who is in use, states that are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import errno
import os
from pathlib import Path
import random
import stat
import subprocess
import sys
import textwrap
import time
from typing import Any
import uuid

import pytest

from backup_framework import exceptions
from backup_framework.engine import target
from backup_framework.model import Extent, Settings, Snapshot, Volume
from backup_framework.testing import sources
from backup_framework.testing.sources import content, write
from backup_framework.volumes.file import FileVolumes
from tests.patience import soon

MIB = 1 << 20
DATA = random.Random(1).randbytes(3 * MIB)


def of(**options: Any) -> FileVolumes:
    return FileVolumes(Settings(FileVolumes.OPTIONS, options))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / 'images'
    made.mkdir()
    (made / 'disk').write_bytes(DATA)
    with open(made / 'sparse', 'wb') as file:
        file.truncate(4 * MIB)
        file.seek(2 * MIB)
        file.write(b'data')
    return made


class TestDirectory(sources.SourceKit):

    @pytest.fixture
    def source(self, folder: Path) -> FileVolumes:
        return of(path=str(folder), snapshots=False)


class TestMap(sources.SourceKit):

    @pytest.fixture
    def source(self, folder: Path, tmp_path: Path) -> FileVolumes:
        (tmp_path / 'map').write_text(f'# the volumes\n\none = {folder}/disk\n two={folder}/sparse')
        return of(map_file=str(tmp_path / 'map'))


class TestReflinks(sources.SourceKit):

    @pytest.fixture
    def source(self, reflinks: Path) -> Iterator[FileVolumes]:
        (reflinks / 'disk').write_bytes(DATA)
        yield of(path=str(reflinks), keep_snapshot=True)
        for path in reflinks.iterdir():
            path.unlink()


def ids(source: FileVolumes) -> list[str | None]:
    return [volume.source_id for volume in source.volumes()]


def test_what_is_a_volume(folder: Path, tmp_path: Path) -> None:
    (tmp_path / 'secret').write_bytes(DATA)
    (folder / 'link').symlink_to(tmp_path / 'secret')
    (folder / '.hidden').write_bytes(DATA)
    (folder / 'below').mkdir()
    os.mkfifo(folder / 'fifo')
    with open(os.fsencode(folder) + b'/\xff', 'wb'):
        pass
    source = of(path=str(folder))
    assert ids(source) == ['disk', 'sparse']
    assert [v.size_bytes for v in source.volumes()] == [3 * MIB, 4 * MIB]
    assert ids(of(path=str(folder), pattern='s*')) == ['sparse']
    for name, error in (('link', exceptions.InvalidVolume), ('fifo', exceptions.InvalidVolume),
                        ('below', exceptions.InvalidVolume),
                        ('.hidden', exceptions.VolumeNotFound)):
        with pytest.raises(error), source.open(Volume(source_id=name)):
            pass
        with pytest.raises(error), source.open_target(Volume(source_id=name)):
            pass
    with pytest.raises(exceptions.VolumeNotFound), \
            of(path=str(folder), pattern='s*').open(Volume(source_id='disk')):
        pass


def test_one_that_is_written_to_is_in_use(folder: Path) -> None:
    source = of(path=str(folder))

    def status() -> str:
        return next(v.status for v in source.volumes() if v.name == 'disk')

    assert status() == 'available'
    with open(folder / 'disk', 'rb'):
        assert status() == 'available'
    with open(folder / 'disk', 'r+b'):
        assert status() == 'in-use'
        with pytest.raises(exceptions.InvalidTarget, match='in use'), \
                source.open_target(Volume(source_id='disk')):
            pass
        assert len(content(source, Volume(source_id='disk'))) == 3 * MIB
    assert status() == 'available'


def test_a_lease_is_let_go_and_writers_are_not_held_up(folder: Path) -> None:
    """Somebody who opens it while we look waits no longer than our look takes, and we live on."""
    def look_and_let_go() -> None:
        writer = subprocess.Popen(['sh', '-c', 'while :; do : >> "$0" || exit 3; done',
                                   folder / 'disk'])
        try:
            source, until, seen = of(path=str(folder), pattern='disk'), time.monotonic() + 1, set()
            while time.monotonic() < until:
                seen.add(next(v.status for v in source.volumes()))
            assert 'available' in seen
            assert writer.poll() is None
        finally:
            writer.kill()
            writer.wait()
        with open(folder / 'disk', 'r+b'):
            pass

    soon(look_and_let_go, 5)


def test_a_restore_waits_for_a_lease(folder: Path) -> None:
    """Ours is held for no time, but others look as well."""
    holder = subprocess.Popen([sys.executable, '-c', textwrap.dedent("""
        import fcntl, os, signal, sys, time
        fd = os.open(sys.argv[1], os.O_RDONLY)
        signal.signal(signal.SIGIO, lambda *_: fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK))
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        print('held', flush=True)
        time.sleep(60)
        """), folder / 'disk'], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        if not holder.stdout.readline():
            pytest.skip('no leases here')
        with target.open_target(str(folder / 'disk'), MIB, force=True):
            pass
    finally:
        holder.kill()
        holder.communicate()


def test_a_mounted_image_is_in_use(folder: Path, loop: Callable[..., str]) -> None:
    source = of(path=str(folder), pattern='disk')
    device = loop(folder / 'disk')
    assert next(v.status for v in source.volumes()) == 'in-use'
    with pytest.raises(exceptions.InvalidTarget), source.open_target(Volume(source_id='disk')):
        pass
    subprocess.run(['losetup', '-d', device], check=True)
    loop(folder / 'disk', '--read-only')
    assert next(v.status for v in source.volumes()) == 'available'


@pytest.mark.parametrize(('pattern', 'wanted', 'made'), [
    ('*', 'new disk', 'new-disk'), ('*', '../../etc/passwd', 'etc-passwd'), ('*', '.x', 'x'),
    ('*', '\0', 'volume'), ('*', 'ä/ö', 'volume'), ('*.img', 'new', 'new.img'),
    ('*.img', 'new.img', 'new.img'), ('vol-*', 'a', 'vol-a')])
def test_names_of_new_volumes(tmp_path: Path, pattern: str, wanted: str, made: str) -> None:
    source = of(path=str(tmp_path), pattern=pattern)
    first = source.create(wanted, 5 * MIB)
    assert first.source_id == made and first.size_bytes == 5 * MIB
    assert [path.name for path in tmp_path.iterdir()] == [made]
    found = (tmp_path / made).stat()
    assert stat.S_IMODE(found.st_mode) == 0o600 and found.st_blocks == 0
    second = source.create(wanted, MIB)
    assert second.source_id != made and (tmp_path / made).stat().st_size == 5 * MIB
    assert ids(source) == sorted([made, str(second.source_id)])


def test_a_link_is_never_written_through(tmp_path: Path) -> None:
    folder, outside = tmp_path / 'images', tmp_path / 'outside'
    folder.mkdir()
    (folder / 'new').symlink_to(outside)
    made = of(path=str(folder)).create('new', MIB)
    assert made.source_id != 'new' and not outside.exists()


def test_nothing_can_be_made_where_no_name_fits(tmp_path: Path) -> None:
    with pytest.raises(exceptions.Refused, match='the pattern disk\\[0-9\\] fits no new name'):
        of(path=str(tmp_path), pattern='disk[0-9]').create('new', MIB)
    assert not list(tmp_path.iterdir())


def test_a_volume_that_does_not_fit_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(exceptions.VolumeError, match='cannot make a volume'):
        of(path=str(tmp_path)).create('new', 1 << 62)
    assert not list(tmp_path.iterdir())


def test_a_volume_of_a_process_that_was_killed_early_gets_its_size(tmp_path: Path) -> None:
    source = of(path=str(tmp_path))
    os.truncate(str(source.create('new', MIB, key='k').path), 0)
    assert source.create('new', MIB, key='k').size_bytes == MIB
    assert ids(source) == ['new']


def test_without_extended_attributes_there_may_be_two(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **more: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, 'not here')
    for name in ('setxattr', 'getxattr'):
        monkeypatch.setattr(os, name, fail)
    source = of(path=str(tmp_path))
    made = [source.create('new', MIB, key='k').source_id for _ in range(2)]
    assert ids(source) == sorted(made)


def test_ids_of_a_map(folder: Path, tmp_path: Path) -> None:
    own, file = str(uuid.uuid4()), tmp_path / 'map'
    file.write_text(f'{own} = {folder}/disk\ngone = {tmp_path}/nothing\nodd = {tmp_path}\n')
    source = of(map_file=str(file))
    found = {volume.source_id: volume for volume in source.volumes()}
    assert found[own].id == own and found[own].status == 'available'
    assert found['gone'].status == found['odd'].status == 'error'
    with pytest.raises(exceptions.Refused):
        source.create('new', MIB)
    file.write_text(f'other = {folder}/disk')
    assert ids(source) == ['other']


@pytest.mark.parametrize('text', ['disk', 'disk = relative', '= /disk', 'a = /x\na = /y'])
def test_a_map_that_makes_no_sense(tmp_path: Path, text: str) -> None:
    (tmp_path / 'map').write_text(text)
    with pytest.raises(exceptions.ConfigurationError, match='NAME = PATH'):
        of(map_file=str(tmp_path / 'map')).check()


def test_a_section_says_either(tmp_path: Path) -> None:
    for options in ({}, {'path': '/a', 'map_file': '/b'}):
        with pytest.raises(exceptions.ConfigurationError, match='either path or map_file'):
            of(**options)
    with pytest.raises(exceptions.VolumeError, match='cannot list'):
        of(path=str(tmp_path / 'nothing')).check()
    with pytest.raises(exceptions.ConfigurationError, match='cannot read'):
        of(map_file=str(tmp_path / 'nothing')).check()


def test_a_file_system_that_shares_no_blocks(tmp_path: Path) -> None:
    (tmp_path / 'disk').write_bytes(DATA)
    if os.stat('/dev/shm').st_dev == os.stat(tmp_path).st_dev:
        pytest.skip('this one may share blocks')
    source = of(path='/dev/shm')
    made = source.create(f'bf-{uuid.uuid4()}', MIB)
    try:
        with pytest.raises(exceptions.Refused, match='snapshots = no'):
            source.make_snapshot(made)
        assert not [name for name in os.listdir('/dev/shm') if f'.{made.name}.' in name]
    finally:
        os.unlink(str(made.path))


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid():
        pytest.skip('only root can mount')
    point = tmp_path / 'read only'
    point.mkdir()
    (point / 'disk').write_bytes(DATA)
    if subprocess.run(['mount', '--bind', point, point], check=False, timeout=60).returncode:
        pytest.skip('no mounts here')
    try:
        subprocess.run(['mount', '-o', 'remount,ro,bind', point], check=True, timeout=60)
        yield point
    finally:
        subprocess.run(['umount', point], check=True, timeout=60)


def is_refused(source: FileVolumes, name: str) -> bool:
    """Whether it makes no snapshot, and has nothing to say against that there is none."""
    volume = Volume(source_id=name)
    with pytest.raises(exceptions.Refused, match='snapshots = no'):
        source.make_snapshot(volume, key='k')
    with pytest.raises(exceptions.Refused, match='snapshots = no'):
        source.make_snapshot(volume)
    source.drop_snapshot(volume, 'k')
    source.delete_snapshot(volume, Snapshot(source_id=f'.{name}.0123456789abcdef.snapshot'))
    return len(content(source, volume)) == len(DATA)


def test_no_snapshots_in_a_directory_that_is_read_only(read_only: Path) -> None:
    assert is_refused(of(path=str(read_only)), 'disk')


def test_no_snapshots_of_names_that_leave_no_room(tmp_path: Path) -> None:
    (tmp_path / ('x' * 229)).write_bytes(DATA)
    assert is_refused(of(path=str(tmp_path)), 'x' * 229)


def test_no_snapshots_where_we_may_not_write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = os.open

    def refuse(path: str, flags: int, *args: Any, **more: Any) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, 'Permission denied')
        return known(path, flags, *args, **more)

    monkeypatch.setattr(os, 'open', refuse)
    assert is_refused(of(path=str(folder)), 'disk')


class TestKept:
    """What a kept state says of changes: enough, of the right backup, and of no other volume."""

    @pytest.fixture
    def shelf(self, reflinks: Path) -> Iterator[Path]:
        for name in ('disk', 'disk.b'):
            (reflinks / name).write_bytes(DATA)
        yield reflinks
        for path in reflinks.iterdir():
            path.unlink()

    @pytest.fixture
    def source(self, shelf: Path) -> FileVolumes:
        return of(path=str(shelf), keep_snapshot=True)

    def back_up(self, source: FileVolumes, name: str = 'disk', since: str | None = None
                ) -> tuple[str, list[Extent] | None]:
        volume, backup = Volume(source_id=name), str(uuid.uuid4())
        snapshot = source.make_snapshot(volume)
        with source.open(volume, snapshot, since=since) as opened:
            source.keep(volume, str(opened.taken), backup)
        source.delete_snapshot(volume, snapshot)
        return backup, opened.changed

    def hidden(self, shelf: Path) -> int:
        return len([path for path in shelf.iterdir() if path.name.startswith('.')])

    def test_the_changes_since_each_backup(self, source: FileVolumes, shelf: Path) -> None:
        first, changed = self.back_up(source)
        assert changed is None
        write(source, Volume(source_id='disk'), DATA[:MIB] + b'new' + DATA[MIB + 3:])
        # A write of the same bytes is a change as well.
        with open(shelf / 'disk', 'r+b') as file:
            file.seek(2 * MIB)
            file.write(b'new')
        second, changed = self.back_up(source, since=first)
        assert changed and any(e.offset <= 2 * MIB < e.end for e in changed)
        third, changed = self.back_up(source, since=second)
        assert changed == []
        assert self.back_up(source, since=first)[1] is None

    def test_one_state_a_volume_is_kept(self, source: FileVolumes, shelf: Path) -> None:
        other, _ = self.back_up(source, 'disk.b')
        for _ in range(3):
            last, _ = self.back_up(source)
        assert self.hidden(shelf) == 2
        assert ids(source) == ['disk', 'disk.b']
        assert self.back_up(source, 'disk.b', since=other)[1] == []
        assert self.back_up(source, since=other)[1] is None

    def test_only_ids_name_states(self, source: FileVolumes) -> None:
        volume = Volume(source_id='disk')
        snapshot = source.make_snapshot(volume)
        for wrong in ('../../x', 'b.' + str(uuid.uuid4()), ''):
            with pytest.raises(exceptions.VolumeNotFound):
                source.keep(volume, str(snapshot.source_id), wrong)
        with source.open(volume, snapshot, since='../../x') as opened:
            assert opened.changed is None
        for name in ('disk', '.disk.0123456789abcdef.kept', snapshot.source_id):
            with pytest.raises(exceptions.VolumeNotFound):
                source.delete_snapshot(Volume(source_id='disk.b'), Snapshot(source_id=name))
        source.delete_snapshot(volume, snapshot)

    def test_what_somebody_was_killed_with_goes(self, source: FileVolumes, shelf: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
        volume = Volume(source_id='disk')
        source.make_snapshot(volume)
        source.make_snapshot(volume)
        assert self.hidden(shelf) == 2
        soon = time.time() + 8 * 86400
        monkeypatch.setattr(time, 'time', lambda: soon)
        source.make_snapshot(Volume(source_id='disk.b'))
        assert self.hidden(shelf) == 3
        source.make_snapshot(volume)
        assert self.hidden(shelf) == 2
