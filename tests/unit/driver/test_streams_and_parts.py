"""Streams as source and target, parts of a volume, and restoring only what differs."""

from __future__ import annotations

from collections.abc import Callable
import io
import os
import pathlib
import threading
from typing import BinaryIO

import pytest

from backup_framework import exceptions, model
from backup_framework.driver import chunked
from backup_framework.engine import restore as restore_engine
from backup_framework.engine import target, writing
from backup_framework.engine.monitor import Operation
from backup_framework.model import Extent
from tests.unit.driver import chains

CHUNK = chains.CHUNK
DATA = chains.make_bytes(20 * CHUNK + 777)


@pytest.fixture(params=['1.0.0', '2.0.0'])
def driver(request: pytest.FixtureRequest) -> chunked.ChunkedBackupDriver:
    return chains.make_driver(format=request.param, workers=2)


@pytest.fixture
def backup(driver: chunked.ChunkedBackupDriver) -> model.Backup:
    """An incremental one, so that objects of two backups take turns."""
    first = bytearray(DATA)
    for at in range(0, len(first), 5 * CHUNK):
        first[at:at + 100] = b'old' * 33 + b'!'
    return chains.take(driver, DATA, chains.take(driver, bytes(first)))


def through_pipe(write: Callable[[BinaryIO], object], read: Callable[[BinaryIO], None]) -> None:
    """`write` in this thread, `read` in another."""
    receiving, sending = os.pipe()

    def drain() -> None:
        with open(receiving, 'rb') as file:
            read(file)

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        with open(sending, 'wb') as file:
            write(file)
    finally:
        thread.join(30)
    assert not thread.is_alive()


def streamed(driver: chunked.ChunkedBackupDriver, backup: model.Backup,
             operation: Operation | None = None) -> bytes:
    got: list[bytes] = []
    through_pipe(lambda file: driver.restore(backup, '', file, operation=operation),
                 lambda file: got.append(file.read()))
    return got[0]


@pytest.mark.parametrize('size', [0, 1, CHUNK - 1, CHUNK, 9 * CHUNK + 3])
def test_a_stream_of_unknown_length(driver: chunked.ChunkedBackupDriver, size: int) -> None:
    data = DATA[:size]
    backups: list[model.Backup] = []
    through_pipe(lambda file: file.write(data),
                 lambda file: backups.append(chains.take(driver, file)))
    backup, = backups
    assert backup.size_bytes == size and driver.verify(backup).ok
    assert chains.bring_back(driver, backup) == data


@pytest.mark.parametrize('cut', [0, CHUNK])
def test_a_stream_on_a_parent(driver: chunked.ChunkedBackupDriver, backup: model.Backup,
                              cut: int) -> None:
    """Format 1.0.0 has to know the size first; 2.0.0 sees at the end that it is another."""
    data = DATA[:len(DATA) - cut]
    operation, backups = Operation(), []
    through_pipe(lambda file: file.write(data), lambda file: backups.append(
        chains.take(driver, file, backup, operation)))
    child, = backups
    assert chains.bring_back(driver, child) == data and driver.verify(child).ok
    full = child.format == '1.0.0' or cut > 0
    assert (child.parent_id is None) == full == (
        'this is a full backup' in ''.join(operation.warnings))


def test_to_a_stream(driver: chunked.ChunkedBackupDriver, backup: model.Backup,
                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore_engine, 'WINDOW', 3 * CHUNK + 100)
    operation = Operation()
    assert streamed(driver, backup, operation) == DATA
    assert operation.monitor.done == operation.monitor.total == len(DATA)


def test_a_stream_whose_reader_goes(driver: chunked.ChunkedBackupDriver,
                                    backup: model.Backup) -> None:
    receiving, sending = os.pipe()
    os.close(receiving)
    with (open(sending, 'wb', buffering=0) as file,
          pytest.raises(exceptions.VolumeError, match='byte 0: Broken pipe')):
        driver.restore(backup, '', file)


RANGES = [Extent(0, 1), Extent(5, 2 * CHUNK), Extent(3 * CHUNK - 7, 9 * CHUNK),
          Extent(len(DATA) - 10, 10), Extent(7 * CHUNK, 0)]


@pytest.mark.parametrize('wanted', RANGES, ids=str)
def test_a_part(driver: chunked.ChunkedBackupDriver, backup: model.Backup,
                wanted: Extent) -> None:
    part = DATA[wanted.offset:wanted.end]
    assert streamed(driver, backup, Operation(wanted=wanted)) == part
    new = io.BytesIO()
    driver.restore(backup, '', new, True, operation=Operation(wanted=wanted, wanted_at=0))
    assert new.getvalue() == part
    used = io.BytesIO(b'\xff' * len(DATA))
    driver.restore(backup, '', used, operation=Operation(wanted=wanted))
    around = b'\xff' * len(DATA)
    assert used.getvalue() == around[:wanted.offset] + part + around[wanted.end:]


def test_a_part_that_is_not_there(driver: chunked.ChunkedBackupDriver,
                                  backup: model.Backup) -> None:
    file = io.BytesIO()
    with pytest.raises(exceptions.InvalidInput, match='the volume has'):
        driver.restore(backup, '', file, operation=Operation(wanted=Extent(len(DATA), 1)))
    assert file.getvalue() == b''


def test_only_what_differs_is_written(driver: chunked.ChunkedBackupDriver, backup: model.Backup,
                                      tmp_path: pathlib.Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'used'
    used = bytearray(DATA)
    used[9000:9003] = b'yes'
    zero = DATA.index(bytes(CHUNK))
    used[zero + 5] = 1
    path.write_bytes(used)
    written: list[tuple[int, int]] = []

    def write(self: writing.FileTarget, offset: int, data: memoryview) -> None:
        written.append((offset, len(data)))
        os.pwrite(self._fd, data, offset)

    monkeypatch.setattr(writing.FileTarget, '_write', write)
    with target.open_target(str(path), len(DATA), force=True) as (file, fresh):
        driver.restore(backup, '', file, fresh, operation=Operation(delta=True))
    assert path.read_bytes() == DATA
    assert sum(length for _, length in written) <= 4 * 4096


@pytest.mark.parametrize('length', [0, 5000, len(DATA), len(DATA) + 100])
def test_a_delta_to_any_length(driver: chunked.ChunkedBackupDriver, backup: model.Backup,
                               tmp_path: pathlib.Path, length: int) -> None:
    path = tmp_path / 'used'
    path.write_bytes(b'\xff' * length)
    with target.open_target(str(path), len(DATA), force=True, truncate=True) as (file, fresh):
        driver.restore(backup, '', file, fresh, operation=Operation(delta=True))
    assert path.read_bytes() == DATA


def test_a_delta_wants_a_file(driver: chunked.ChunkedBackupDriver, backup: model.Backup) -> None:
    with pytest.raises(exceptions.InvalidTarget, match='cannot be told'):
        driver.restore(backup, '', io.BytesIO(DATA), operation=Operation(delta=True))


@pytest.mark.parametrize('into', ['1.0.0', '2.0.0'])
def test_a_stored_state_is_a_volume(driver: chunked.ChunkedBackupDriver, backup: model.Backup,
                                    into: str) -> None:
    other = chains.make_driver(format=into, container='other')
    copy = chains.record()
    state = driver.open_state(backup)
    try:
        for field, value in other.store_state(copy, state).items():
            setattr(copy, field, value)
    finally:
        state.close()
    assert copy.format == into and other.verify(copy).ok
    assert chains.bring_back(other, copy) == DATA


def test_hints_are_used_and_tried(driver: chunked.ChunkedBackupDriver, backup: model.Backup,
                                  tmp_path: pathlib.Path) -> None:
    changed = bytearray(DATA)
    changed[9000:9003] = b'yes'
    path = tmp_path / 'volume'
    path.write_bytes(changed)
    for hint, words in ((Extent(9000, 3), None), (Extent(0, 3), 'whole volume was read')):
        operation = Operation(changed=[hint])
        if words:
            path.write_bytes(bytes(len(DATA)))
        with open(path, 'rb') as file:
            child = chains.take(driver, file, backup, operation)
        assert child.parent_id == backup.id and driver.verify(child).ok
        assert chains.bring_back(driver, child) == path.read_bytes()
        assert words in operation.warnings[0] if words else not operation.warnings


def test_what_a_hint_leaves_out_is_not_read(driver: chunked.ChunkedBackupDriver,
                                            backup: model.Backup, tmp_path: pathlib.Path) -> None:
    """Seen by a lie that the sample does not find: one block of many."""
    big = chains.make_bytes(4000 * chains.BLOCK)
    root = chains.take(driver, big)
    changed = bytearray(big)
    changed[700 * chains.BLOCK] ^= 1
    changed[3000 * chains.BLOCK] ^= 1
    path = tmp_path / 'volume'
    path.write_bytes(changed)
    with open(path, 'rb') as file:
        operation = Operation(changed=[Extent(700 * chains.BLOCK, 1)])
        child = chains.take(driver, file, root, operation)
    if not operation.warnings:
        changed[3000 * chains.BLOCK] ^= 1
    assert chains.bring_back(driver, child) == bytes(changed)
