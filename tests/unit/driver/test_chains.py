"""Chains into every kind of target, from every kind of source, and parents that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
import contextlib
import dataclasses
import gzip
import io
import os
import pathlib
import random
import subprocess
from typing import BinaryIO

import pytest

from backup_framework import exceptions, model
from backup_framework.engine import target
from backup_framework.engine.monitor import Monitor, Operation
from backup_framework.formats import base
from backup_framework.testing import faults, memory, recording
from tests.unit.driver import chains

BLOCK, CHUNK = chains.BLOCK, chains.CHUNK
SIZES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, CHUNK, 40 * CHUNK + 777]


def generations(size: int) -> list[bytes]:
    """A volume three times: as it was, changed, changed with blocks that became zero."""
    first = chains.make_bytes(size)
    second = bytearray(first)
    for at in range(0, size, 7 * BLOCK + 13):
        second[at] ^= 0xff
    third = bytearray(second)
    third[size // 2:size // 2 + 6 * CHUNK] = bytes(len(third[size // 2:size // 2 + 6 * CHUNK]))
    third[-1:] = b'!' * len(third[-1:])
    return [first, bytes(second), bytes(third)]


@dataclasses.dataclass
class Chain:
    driver: memory.MemoryBackupDriver
    volumes: list[bytes]
    backups: list[model.Backup]


@pytest.fixture(params=[0, 4], ids=['plain', 'threads'])
def workers(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(params=SIZES)
def chain(request: pytest.FixtureRequest, workers: int) -> Chain:
    return make_chain(request.param, workers)


def make_chain(size: int, workers: int = 0) -> Chain:
    driver = chains.make_driver(workers=workers)
    made = Chain(driver, generations(size), [])
    for volume in made.volumes:
        made.backups.append(chains.take(driver, volume, made.backups[-1] if made.backups else None))
    return made


class OnlyBytes(io.BytesIO):
    """Insists on bytes, as some libraries do, and takes a part of them."""

    def write(self, data: object, /) -> int:
        assert type(data) is bytes
        return super().write(data[:700])


@contextlib.contextmanager
def new_file(folder: pathlib.Path, size: int) -> Iterator[tuple[BinaryIO, bool, bytes]]:
    with target.open_target(str(folder / 'new'), size) as (file, fresh):
        yield file, fresh, b''


@contextlib.contextmanager
def used_file(folder: pathlib.Path, size: int, extra: int = 0
              ) -> Iterator[tuple[BinaryIO, bool, bytes]]:
    tail = random.Random(8).randbytes(extra)
    path = folder / 'used'
    path.write_bytes(random.Random(7).randbytes(size) + tail)
    with target.open_target(str(path), size, force=True) as (file, fresh):
        yield file, fresh, tail


@contextlib.contextmanager
def of_class(kind: type[io.BytesIO], used: bool, folder: pathlib.Path, size: int
             ) -> Iterator[tuple[BinaryIO, bool, bytes]]:
    tail = b'old tail' if used else b''
    yield kind(random.Random(7).randbytes(size) + tail if used else b''), not used, tail


@contextlib.contextmanager
def device(folder: pathlib.Path, size: int) -> Iterator[tuple[BinaryIO, bool, bytes]]:
    if os.geteuid():
        pytest.skip('only root makes loop devices')
    path = folder / 'backing'
    sectors = random.Random(7).randbytes(size + 4096 - size % 4096)
    path.write_bytes(sectors)
    made = subprocess.run(['losetup', '--find', '--show', path], capture_output=True, text=True,
                          check=False)
    if made.returncode:
        pytest.skip(f'no loop device here: {made.stderr.strip()}')
    name = made.stdout.strip()
    try:
        with target.open_target(name, size, force=True) as (file, fresh):
            yield file, fresh, sectors[size:]
    finally:
        subprocess.run(['losetup', '--detach', name], check=True)


TARGETS = {
    'new file': new_file, 'used file': used_file,
    'longer file': lambda folder, size: used_file(folder, size, 5000),
    'bytes': lambda *args: of_class(io.BytesIO, False, *args),
    'used bytes': lambda *args: of_class(io.BytesIO, True, *args),
    'only bytes': lambda *args: of_class(OnlyBytes, False, *args),
    'used, only bytes': lambda *args: of_class(OnlyBytes, True, *args),
    'device': device,
}


@pytest.mark.parametrize('kind', TARGETS)
def test_every_member_comes_back_in_every_target(chain: Chain, kind: str,
                                                 tmp_path: pathlib.Path) -> None:
    for backup, volume in zip(chain.backups, chain.volumes):
        folder = tmp_path / backup.id
        folder.mkdir()
        with TARGETS[kind](folder, len(volume)) as (file, fresh, tail):
            chain.driver.restore(backup, '', file, fresh)
            file.seek(0)
            assert file.read() == volume + tail


def test_every_member_verifies(chain: Chain) -> None:
    for backup, volume in zip(chain.backups, chain.volumes):
        report = chain.driver.verify(backup)
        assert report.ok and not report.notes and report.checked_bytes == len(volume)
        assert chain.driver.volume_size(backup) == len(volume) == backup.size_bytes


def test_a_new_file_is_sparse(tmp_path: pathlib.Path) -> None:
    driver = chains.make_driver(chunk_size=1 << 20, block_size=4096)
    data = b'x' * 4096 + bytes(60 << 20) + b'y'
    root = chains.take(driver, data)
    child = chains.take(driver, bytes(4096) + data[4096:], parent=root)
    for backup, wanted in ((root, data), (child, bytes(4096) + data[4096:])):
        path = tmp_path / backup.id
        with target.open_target(str(path), len(data)) as (file, fresh):
            driver.restore(backup, '', file, fresh)
        assert path.read_bytes() == wanted
        assert os.stat(path).st_blocks * 512 < 1 << 20


def test_zeros_become_holes_in_a_used_file(tmp_path: pathlib.Path) -> None:
    driver = chains.make_driver(chunk_size=1 << 20, block_size=4096)
    backup = chains.take(driver, bytes(8 << 20))
    path = tmp_path / 'used'
    path.write_bytes(b'x' * (8 << 20))
    with target.open_target(str(path), 8 << 20, force=True) as (file, fresh):
        driver.restore(backup, '', file, fresh)
    assert path.read_bytes() == bytes(8 << 20)


SOURCES: dict[str, Callable[[pathlib.Path, bytes], BinaryIO]] = {
    'bytes': lambda path, data: io.BytesIO(data),
    'raw': lambda path, data: open(path, 'rb', buffering=0),
    'buffered': lambda path, data: open(path, 'rb'),
    'random': lambda path, data: open(path, 'r+b'),
    'gzip': lambda path, data: gzip.open(packed(path)),
}


def packed(path: pathlib.Path) -> pathlib.Path:
    other = path.with_suffix('.gz')
    other.write_bytes(gzip.compress(path.read_bytes()))
    return other


@pytest.mark.parametrize('kind', SOURCES)
@pytest.mark.parametrize('size', SIZES)
def test_every_source(tmp_path: pathlib.Path, kind: str, size: int, workers: int) -> None:
    data = chains.make_bytes(size)
    path = tmp_path / 'volume'
    path.write_bytes(data)
    driver = chains.make_driver(workers=workers)
    with SOURCES[kind](path, data) as file:
        backup = chains.take(driver, file)
        child = chains.take(driver, file, parent=backup)
    assert chains.bring_back(driver, backup) == data == chains.bring_back(driver, child)
    assert child.object_count == 0 and driver.verify(child).ok


def test_a_file_with_holes(tmp_path: pathlib.Path, workers: int) -> None:
    path = tmp_path / 'volume'
    with open(path, 'wb') as file:
        for at in (0, 1 << 20, (5 << 20) + 12_345, (16 << 20) - 1):
            file.seek(at)
            file.write(b'data')
    driver = chains.make_driver(workers=workers, chunk_size=1 << 16)
    with open(path, 'rb') as file:
        root = chains.take(driver, file)
    with open(path, 'r+b') as file:
        file.truncate(5 << 20)
        file.truncate((16 << 20) + 3)
        child = chains.take(driver, file, parent=root)
        file.seek(0)
        assert chains.bring_back(driver, child) == file.read()
    assert driver.verify(child).ok


def test_both_generations_of_calls() -> None:
    driver = chains.make_driver()
    data = chains.make_bytes(5000)
    for arguments in ((), (False,), (True,)):
        backup = chains.record()
        driver.backup(backup, io.BytesIO(data), *arguments)
        for more in ((), (False,), (True,)):
            file = io.BytesIO()
            driver.restore(backup, 'volume-1', file, *more)
            assert file.getvalue() == data
        (driver.delete if arguments else driver.delete_backup)(backup)
        assert not chains.names(driver)


def test_delete_of_what_has_no_objects_yet() -> None:
    driver = chains.make_driver()
    driver.delete(chains.record())
    driver.delete_backup(chains.record(container='missing', service_metadata='prefix'))
    assert not chains.names(driver)


def warned(chain: Chain, volume: bytes, parent: model.Backup, words: str,
           **settings: object) -> None:
    """A full backup with a warning; where the parent is required, an error and no object."""
    chain.driver.settings = chain.driver.make_settings(**{
        name: getattr(chain.driver.settings, name) for name in chain.driver.settings} | settings)
    before = chains.names(chain.driver)
    with pytest.raises(exceptions.InvalidBackup, match=words):
        chains.take(chain.driver, volume, chains.copy_of(parent),
                    Operation(parent_required=True))
    assert chains.names(chain.driver) == before
    operation = Operation()
    backup = chains.take(chain.driver, volume, chains.copy_of(parent), operation)
    sentence, = operation.warnings
    assert words in sentence and sentence.startswith('this is a full backup')
    assert backup.parent_id is None and not backup.is_incremental
    assert chains.manifest(chain.driver, backup)['parent_id'] is None
    assert chains.bring_back(chain.driver, backup) == volume


@pytest.mark.parametrize('size', [1, 4 * CHUNK - 1, 4 * CHUNK + 1, 9 * CHUNK])
def test_another_size_is_a_full_backup(size: int) -> None:
    chain = make_chain(4 * CHUNK)
    warned(chain, chains.make_bytes(size), chain.backups[-1], f'{size} bytes')


def test_another_block_size_is_a_full_backup() -> None:
    chain = make_chain(4 * CHUNK)
    warned(chain, chain.volumes[0], chain.backups[-1], 'block_size', block_size=2 * BLOCK)


def test_another_chunk_size_is_not() -> None:
    chain = make_chain(40 * CHUNK + 777)
    chain.driver.settings = chain.driver.make_settings(
        container=chains.CONTAINER, chunk_size=3 * BLOCK, block_size=BLOCK, compression='bz2')
    child = chains.take(chain.driver, chain.volumes[0], chain.backups[-1])
    assert child.parent_id and chains.bring_back(chain.driver, child) == chain.volumes[0]
    assert chain.driver.verify(child).ok


@pytest.mark.parametrize('body, words', [
    (None, 'hash list'), (b'not json', 'hash list'),
    (b'{"chunk_size": 512, "sha256s": []}', 'not the hash list')])
def test_a_parent_without_a_usable_hash_list(body: bytes | None, words: str) -> None:
    chain = make_chain(4 * CHUNK)
    parent = chain.backups[-1]
    chains.overwrite(chain.driver, f'{parent.service_metadata}_sha256file', body)
    warned(chain, chain.volumes[0], parent, words)


@pytest.mark.parametrize('by', ['digest', 'names'])
def test_a_hash_list_of_another_backup_is_no_parents(by: str) -> None:
    """It would leave out what is in no store: the blocks that the other backup had."""
    chain = make_chain(4 * CHUNK)
    other, parent = chain.backups[-2:]
    if by == 'names':
        for backup in chain.backups:
            document = chains.manifest(chain.driver, backup)
            del document['backup_framework']['digests_sha256']
            chains.rewrite(chain.driver, backup, document)
    chains.overwrite(chain.driver, f'{parent.service_metadata}_sha256file',
                     chains.body(chain.driver, f'{other.service_metadata}_sha256file'))
    assert not chain.driver.verify(parent).ok
    warned(chain, chain.volumes[-2], parent, 'not the hash list')


def test_a_parent_that_cannot_be_read() -> None:
    chain = make_chain(4 * CHUNK)
    parent = chain.backups[-1]
    denied = faults.FaultyDriver(chain.driver, [faults.Fault(
        'get_object_reader', name=f'{parent.service_metadata}_metadata', forever=True,
        error=exceptions.PermissionDenied('not yours'))])
    operation = Operation()
    child = chains.take(denied, chain.volumes[0], parent, operation)
    assert child.parent_id is None and 'not yours' in operation.warnings[0]


def test_a_parent_that_is_gone() -> None:
    chain = make_chain(4 * CHUNK)
    root, _, parent = chain.backups
    chains.overwrite(chain.driver, f'{root.service_metadata}_metadata', None)
    warned(chain, chain.volumes[0], parent, 'no manifest')


def test_a_parent_whose_record_is_missing() -> None:
    chain = make_chain(4 * CHUNK)
    orphan = chains.record(parent_id='lost')
    with pytest.raises(exceptions.InvalidBackup, match='lost'):
        chain.driver.backup(orphan, io.BytesIO(b'x'), operation=Operation(parent_required=True))


def test_a_record_without_its_parent_is_not_restored() -> None:
    chain = make_chain(4 * CHUNK)
    orphan = chains.copy_of(chain.backups[-1], parent=None)
    for call in (lambda: chain.driver.restore(orphan, '', io.BytesIO()),
                 lambda: chain.driver.verify(orphan)):
        with pytest.raises(exceptions.InvalidBackup, match='not known'):
            call()


def test_a_wrong_parent_by_the_manifest() -> None:
    chain = make_chain(4 * CHUNK)
    stranger = chains.take(chain.driver, random.Random(3).randbytes(4 * CHUNK))
    wrong = chains.copy_of(chain.backups[1], parent=stranger, parent_id=stranger.id)
    file = io.BytesIO(b'kept')
    with pytest.raises(exceptions.CorruptManifest, match='parent'):
        chain.driver.restore(wrong, '', file)
    assert file.getvalue() == b'kept' and not chain.driver.verify(wrong).ok


def test_a_wrong_parent_that_no_manifest_tells_is_found_by_the_hash_list() -> None:
    """Cinder's reader does not look at parent_id, and older manifests need not have one."""
    chain = make_chain(4 * CHUNK)
    stranger = chains.take(chain.driver, random.Random(3).randbytes(4 * CHUNK))
    document = chains.manifest(chain.driver, chain.backups[1])
    document['parent_id'] = None
    chains.rewrite(chain.driver, chain.backups[1], document)
    wrong = chains.copy_of(chain.backups[1], parent=stranger, parent_id=stranger.id)
    problems = chain.driver.verify(wrong).problems
    assert problems and all('wrong parent' in problem for problem in problems)


def test_two_backups_of_one_volume_at_once() -> None:
    driver = chains.make_driver(workers=2)
    data = chains.make_bytes(100 * CHUNK)
    with futures.ThreadPoolExecutor(4) as pool:
        backups = list(pool.map(lambda number: chains.take(driver, data), range(8)))
        assert list(pool.map(lambda backup: chains.bring_back(driver, backup), backups)) == [
            data] * 8
        list(pool.map(driver.delete, backups[1:]))
    assert driver.verify(backups[0]).ok and len(chains.names(driver)) == 102


def test_progress_counts_every_byte() -> None:
    chain = make_chain(40 * CHUNK + 777, workers=3)
    for call in (lambda o: chain.driver.restore(chain.backups[-1], '', io.BytesIO(), operation=o),
                 lambda o: chain.driver.verify(chain.backups[-1], operation=o)):
        operation = Operation()
        call(operation)
        assert operation.monitor.done == operation.monitor.total == 40 * CHUNK + 777


def test_what_a_store_cannot_hold_is_refused_before_anything_is_stored() -> None:
    class Small(memory.MemoryBackupDriver):
        able: dict[str, int] = {'max_object_size': chains.CHUNK - 1}

        def capabilities(self) -> model.Capabilities:
            return dataclasses.replace(super().capabilities(), **self.able)

    driver = Small(chains.make_driver().settings)
    with pytest.raises(exceptions.ConfigurationError, match='chunk_size'):
        chains.take(driver, b'x' * 5000)
    driver.able = {'longest_name': 40}
    with pytest.raises(exceptions.InvalidName, match='too long'):
        chains.take(driver, b'x' * 5000)
    assert chains.names(driver) == []


def test_a_manifest_that_could_not_be_read_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, 'LARGEST_MANIFEST', 2000)
    driver = chains.make_driver()
    with pytest.raises(exceptions.InvalidBackup, match='scattered'):
        chains.take(driver, chains.make_bytes(20 * chains.CHUNK))
    assert chains.names(driver) == []


def test_deleting_is_durable_and_shows_progress() -> None:
    recorded = recording.RecordingDriver(chains.make_driver())
    backup = chains.take(recorded, chains.make_bytes(3 * chains.CHUNK))
    recorded.forget()
    monitor = Monitor()
    recorded.delete_backup(backup, operation=Operation(monitor))
    verbs = [call.verb for call in recorded.calls]
    assert verbs[:2] == ['delete_object', 'sync'] and verbs[-1] == 'sync'
    assert (monitor.phase, monitor.done) == ('delete', monitor.total)


@pytest.mark.parametrize('stored, configured', [('1.0.0', '2.0.0'), ('2.0.0', '1.0.0')])
def test_the_manifest_says_how_to_delete_what_the_record_does_not(
        stored: str, configured: str) -> None:
    """Records that Cinder or an old catalog handed over name no format."""
    driver = chains.make_driver(store='of-unknown-format', format=stored)
    backup = chains.take(driver, chains.make_bytes(3 * CHUNK))
    backup.format = None
    chains.make_driver(store='of-unknown-format', format=configured).delete(backup)
    assert chains.names(driver) == []
