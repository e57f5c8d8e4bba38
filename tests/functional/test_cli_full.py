"""Full and read-only file systems, volumes that fail while they are read, devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import subprocess

import pytest

from tests.functional.conftest import change

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a small file system of its own, if this is root."""
    mounted: list[Path] = []

    def make(name: str, options: str) -> Path:
        path = tmp_path / name
        path.mkdir()
        command = ['mount', '-t', 'tmpfs', '-o', f'mode=700,{options}', 'none', str(path)]
        if os.geteuid() or subprocess.run(command, check=False).returncode:
            pytest.skip('only root can mount, where the kernel lets it')
        mounted.append(path)
        return path

    yield make
    for path in mounted:
        subprocess.run(['umount', '-l', str(path)], check=True)


def test_a_full_store(cli, mount, make_volume):
    mount('store', 'size=200k')
    message = cli.refused(7, 'backup', 'create', make_volume())
    assert 'No space left' in message or 'full' in message
    assert cli.objects() == []
    made, = cli.json('backup', 'list')
    assert made['status'] == 'error' and made['fail_reason'] in message
    small = make_volume('small', 10_000)
    cli.create(small)
    cli.good('backup', 'verify', '--all')


def test_a_store_without_inodes(cli, mount, volume):
    mount('store', 'nr_inodes=6')
    cli.refused(7, 'backup', 'create', volume)
    assert cli.objects() == []


def test_a_full_target(cli, mount, make_volume):
    made = cli.create(make_volume(size=3_000_000))
    small = mount('small', 'size=1m')
    message = cli.refused(7, 'backup', 'restore', made['id'], small / 'new')
    assert 'no space left' in message and not list(small.iterdir())
    (small / 'old').write_bytes(b'old')
    done = cli.run('backup', 'restore', made['id'], small / 'old', '--force', '--truncate')
    assert done.code == 7 and 'is damaged now' in done.err


def test_a_full_disk_under_the_catalog(cli, mount, volume):
    state = mount('state', 'size=1m')
    made = cli.create(volume)
    fill(state / 'filler')
    assert cli.json('backup', 'show', made['id']) == made
    assert len(cli.json('backup', 'list')) == 1
    for words in (('backup', 'restore', made['id'], 'target'), ('backup', 'verify', made['id']),
                  ('backup', 'export', made['id'])):
        cli.good(*words)
    assert (cli.directory / 'target').read_bytes() == volume.read_bytes()
    before = cli.objects()
    for words in (('create', volume), ('delete', made['id']), ('set', made['id'], '--name', 'x')):
        done = cli.run('backup', *words)
        assert done.code in (5, 7), done.err
        assert 'internal' not in done.err
    assert cli.objects() == before
    (state / 'filler').unlink()
    assert cli.create(volume, '--incremental')['parent_id'] == made['id']


def fill(path: Path) -> None:
    with pytest.raises(OSError), open(path, 'wb', buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_catalog_that_can_only_be_read(cli, mount, volume):
    mount('state', 'size=2m')
    made = cli.create(volume)
    subprocess.run(['mount', '-o', 'remount,ro', str(cli.state)], check=True)
    assert cli.json('backup', 'list')[0]['id'] == made['id']
    assert cli.json('backup', 'show', made['id']) == made
    for words in (('restore', made['id'], 'target'), ('verify', made['id'])):
        done = cli.good('backup', *words)
        assert 'Warning: the catalog cannot be written' in done.err
    cli.good('backup', 'export', made['id'])
    assert (cli.directory / 'target').read_bytes() == volume.read_bytes()
    before = cli.objects()
    for words in (('create', volume), ('delete', made['id']), ('forget', made['id'])):
        cli.refused(5, 'backup', *words)
    assert cli.objects() == before


def test_a_catalog_directory_without_write_permission(cli, volume):
    made = cli.create(volume)
    cli.state.chmod(0o500)
    (cli.state / 'catalog.sqlite').chmod(0o400)
    for words in (('list',), ('show', made['id'])):
        cli.good('backup', *words, unprivileged=True)
    done = cli.good('backup', 'restore', made['id'], 'target', unprivileged=True)
    assert 'cannot be written' in done.err
    assert 'cannot be written' in cli.refused(5, 'backup', 'create', volume, unprivileged=True)


@pytest.mark.parametrize('version', ['1.0.0', '2.0.0'])
def test_a_volume_that_shrinks_while_it_is_read(cli, gate, make_volume, version):
    cli.configure(workers=0, format=version, chunk_size='5MiB', block_size='64KiB')
    volume = make_volume(size=40 << 20)
    gate.shut('written *-00001')
    running = cli.start('backup', 'create', volume)
    gate.wait()
    os.truncate(volume, 70_000)
    gate.open()
    done = running.wait()
    assert done.code == 5 and f'{volume} shrank while it was read' in done.err
    assert cli.objects() == [] and cli.json('backup', 'list')[0]['status'] == 'error'


def test_files_of_the_kernel_are_no_volumes(cli):
    assert 'its size cannot be told' in cli.refused(4, 'backup', 'create', '/proc/version')
    assert 'its size cannot be told' in cli.refused(4, 'backup', 'create', '/proc/self/mem')


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Path]:
    """A block device of 1 MiB."""
    backing = tmp_path / 'backing'
    backing.write_bytes(os.urandom(1 << 20))
    done = subprocess.run(['losetup', '--find', '--show', str(backing)], check=False,
                          stdout=subprocess.PIPE, text=True)
    if done.returncode:
        pytest.skip('there are no loop devices here')
    yield Path(done.stdout.strip())
    subprocess.run(['losetup', '--detach', done.stdout.strip()], check=True)


def test_a_block_device_there_and_back(cli, loop):
    before = loop.read_bytes()
    made = cli.create(loop, '--name', 'device')
    assert made['size_bytes'] == 1 << 20
    change(loop, 5000, bytes(500_000))
    changed = loop.read_bytes()
    child = cli.create(loop, '--incremental')
    assert child['is_incremental']
    assert '--force' in cli.refused(4, 'backup', 'restore', 'device', loop)
    assert loop.read_bytes() == changed
    cli.good('backup', 'restore', 'device', loop, '--force')
    assert loop.read_bytes() == before
    cli.good('backup', 'restore', child['id'], loop, '--force')
    assert loop.read_bytes() == changed


def test_a_device_that_is_smaller(cli, loop, make_volume):
    made = cli.create(make_volume(size=(1 << 20) + 1))
    before = loop.read_bytes()
    assert '1048576 bytes' in cli.refused(4, 'backup', 'restore', made['id'], loop, '--force')
    assert loop.read_bytes() == before


def test_a_mounted_device(cli, loop, tmp_path):
    subprocess.run(['mke2fs', '-q', '-F', str(loop)], check=True)
    point = tmp_path / 'point'
    point.mkdir()
    if subprocess.run(['mount', '-t', 'ext4', str(loop), str(point)], check=False).returncode:
        pytest.skip('this kernel does not mount it')
    try:
        done = cli.good('backup', 'create', loop, '-f', 'json')
        assert str(point) in done.json['warnings'][0] and str(point) in done.err
        forced = cli.good('backup', 'create', loop, '-f', 'json', '--force')
        assert forced.json['warnings'] and not forced.err
        assert f'mounted at {point}' in cli.refused(
            4, 'backup', 'restore', done.json['id'], loop, '--force')
    finally:
        subprocess.run(['umount', str(point)], check=True)
