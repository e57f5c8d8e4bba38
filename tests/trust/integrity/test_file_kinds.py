"""What is no file in the place of an object of a directory: nothing is followed, nothing waits."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import shutil
import socket
import time

import pytest

from backup_framework import model
from backup_framework.drivers import local
from backup_framework.engine.monitor import Operation
from tests.trust.integrity import rig
from tests.unit.driver import chains

SOON = 10.0


def directory(path: Path, sound: Path, other: Path) -> None:
    path.mkdir()


def link_outside(path: Path, sound: Path, other: Path) -> None:
    """To the right bytes, even so: who may change them is not the store."""
    path.symlink_to(sound)


def link_to_another(path: Path, sound: Path, other: Path) -> None:
    path.symlink_to(other.name)


def link_to_nothing(path: Path, sound: Path, other: Path) -> None:
    path.symlink_to('nothing')


def link_to_itself(path: Path, sound: Path, other: Path) -> None:
    path.symlink_to(path.name)


def fifo(path: Path, sound: Path, other: Path) -> None:
    os.mkfifo(path)


def listening(path: Path, sound: Path, other: Path) -> None:
    place = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # The name of a socket may have 107 bytes.
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(f'/proc/self/fd/{place}/s')
            (path.parent / 's').rename(path)
    finally:
        os.close(place)


KINDS: list[Callable[[Path, Path, Path], None]] = [
    directory, link_outside, link_to_another, link_to_nothing, link_to_itself, fifo, listening]


def said(driver: local.LocalBackupDriver, backup: model.Backup, **how: bool) -> str:
    try:
        return ' '.join(driver.verify(backup, operation=Operation(**how)).problems)
    except rig.ERRORS as error:
        return str(error)


@pytest.mark.timeout(120)
@pytest.mark.parametrize('version', [rig.CINDERS, rig.OURS])
@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)
def test_in_the_place_of_each_object(kind: Callable[[Path, Path, Path], None], version: str,
                                     tmp_path: Path) -> None:
    driver = local.LocalBackupDriver.make(
        path=str(tmp_path / 'store'), format=version, chunk_size=rig.CHUNK, block_size=rig.BLOCK,
        workers=0, retry_deadline=0.0, durability='none', container='shelf', compression='none')
    right = rig.volumes()[1]
    parent = chains.take(driver, rig.volumes()[0])
    backup = chains.take(driver, right, parent)
    shelf = tmp_path / 'store' / 'shelf'
    prefixes = tuple(str(each.service_metadata) for each in backup.chain())
    visited, dead = 0, set()
    for path in sorted(shelf.iterdir()):
        if not path.name.startswith(prefixes):
            continue
        sound = tmp_path / 'sound'
        path.rename(sound)
        kind(path, sound, next(other for other in sorted(shelf.iterdir()) if other != path))
        begun = time.monotonic()
        found = said(driver, backup)
        said(driver, backup, quick=True)
        check_restore(driver, backup, right)
        assert time.monotonic() - begun < SOON
        visited += 1
        if not found:
            dead.add(path.name.removeprefix(prefixes[0]))
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        sound.rename(path)
    assert visited >= (6 if version == rig.OURS else 10)
    # What the child does not need of its parent. A directory of this name is no object, and a hash
    # list that is not there is said in a note.
    known = {'_metadata', '_map'} if version == rig.OURS else {'_sha256file'}
    if kind is directory:
        known |= {f'{prefixes[1]}_sha256file'}
    assert dead <= known, dead
    assert not said(driver, backup) and driver.verify(backup).ok


def check_restore(driver: local.LocalBackupDriver, backup: model.Backup, right: bytes) -> None:
    target = rig.Watched(right)
    try:
        driver.restore(backup, '', target)
    except rig.ERRORS:
        return
    assert target.getvalue() == right
