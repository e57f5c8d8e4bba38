"""Block devices as volumes, on loop devices."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import subprocess

import pytest

from backup_framework import exceptions
from backup_framework.model import Settings, Volume
from backup_framework.testing import sources
from backup_framework.volumes.block import BlockVolumes

MIB = 1 << 20


def of(*devices: str) -> BlockVolumes:
    return BlockVolumes(Settings(BlockVolumes.OPTIONS, {'devices': list(devices)}))


@pytest.fixture
def device(tmp_path: Path, loop: Callable[..., str]) -> str:
    (tmp_path / 'image').write_bytes(os.urandom(MIB) + bytes(20 * MIB))
    return loop(tmp_path / 'image')


class TestBlock(sources.SourceKit):

    @pytest.fixture
    def source(self, device: str) -> BlockVolumes:
        return of(device)


def test_devices_by_patterns_and_links(tmp_path: Path, device: str) -> None:
    (tmp_path / 'vg').mkdir()
    (tmp_path / 'vg' / 'data').symlink_to(device)
    (tmp_path / 'vg' / 'file').write_bytes(b'no device')
    (tmp_path / 'vg' / 'gone').symlink_to('/nowhere')
    source = of(f'{tmp_path}/vg/*', f'{tmp_path}/vg/d*')
    (volume,) = source.volumes()
    assert (volume.source_id, volume.name, volume.size_bytes, volume.status) == (
        f'{tmp_path}/vg/data', 'data', 21 * MIB, 'available')
    for other in (device, f'{tmp_path}/vg/file', '/dev/null'):
        with pytest.raises(exceptions.VolumeNotFound), source.open(Volume(source_id=other)):
            pass


def test_one_that_is_mounted(tmp_path: Path, device: str) -> None:
    source, point = of(device), tmp_path / 'mount'
    point.mkdir()
    subprocess.run(['mkfs.ext4', '-q', device], check=True, timeout=60)
    subprocess.run(['mount', device, point], check=True, timeout=60)
    try:
        (volume,) = source.volumes()
        assert volume.status == 'in-use'
        with pytest.raises(exceptions.InvalidTarget, match='mounted at'), \
                source.open_target(volume):
            pass
        assert len(sources.content(source, volume)) == 21 * MIB
    finally:
        subprocess.run(['umount', point], check=True, timeout=60)
    with source.open_target(volume) as path:
        assert path == device


def test_patterns_are_absolute() -> None:
    with pytest.raises(exceptions.ConfigurationError, match='absolute'):
        of('loop*')
    with pytest.raises(ValueError, match='missing option: devices'):
        BlockVolumes(Settings(BlockVolumes.OPTIONS, {}))
