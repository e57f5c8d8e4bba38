"""A disk that cannot read one object: it is named, and all others are verified and restored."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from backup_framework import conf, exceptions
from backup_framework.manager import Manager
from backup_framework.manager.creating import Request
from backup_framework.manager.restoring import Request as RestoreRequest

CHUNK = 256 << 10


@pytest.fixture
def unread(monkeypatch) -> list[str]:
    """Names of objects of which no byte can be read."""
    names: list[str] = []
    pread = os.pread

    def failing(fd: int, size: int, offset: int) -> bytes:
        if os.path.basename(os.readlink(f'/proc/self/fd/{fd}')) in names:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(fd, size, offset)

    monkeypatch.setattr(os, 'pread', failing)
    return names


@pytest.fixture(params=['1.0.0', '2.0.0'])
def manager(request, tmp_path):
    path = tmp_path / 'backup.conf'
    path.write_text('\n'.join([
        '[DEFAULT]', 'enabled_backends = disk', '[disk]', 'driver = local',
        f'path = {tmp_path / "store"}', f'format = {request.param}', 'compression = none',
        f'chunk_size = {CHUNK}', 'block_size = 4KiB', 'workers = 0', 'retry_deadline = 1']))
    with Manager(conf.load([str(path)], state_path=str(tmp_path / 'state'))) as opened:
        yield opened


def test_what_the_disk_cannot_read_is_an_error_of_the_object(manager, tmp_path, unread, caplog):
    data = os.urandom(40 * CHUNK)
    volume = tmp_path / 'volume'
    volume.write_bytes(data)
    backup = manager.create(Request(str(volume)))
    bad: Path = next(iter(sorted(
        each for each in (tmp_path / 'store').rglob('*-0000*') if each.stat().st_size >= CHUNK)))
    unread.append(bad.name)
    report = manager.verify(backup.id)
    assert report.problems and all(bad.name in str(each) for each in report.problems)
    assert 'Input/output error' in str(report.problems[0])
    with pytest.raises(exceptions.CorruptObject, match=bad.name):
        manager.restore(backup.id, RestoreRequest(str(tmp_path / 'target')))
    restored = manager.restore(backup.id, RestoreRequest(str(tmp_path / 'part'), partial=True))
    lost = [each.extent for each in restored.lost]
    expected = bytearray(data)
    for extent in lost:
        expected[extent.offset:extent.end] = bytes(extent.length)
    assert lost and (tmp_path / 'part').read_bytes() == expected
    assert len(lost) < 40 and 'trying again' not in caplog.text


def test_a_store_that_does_not_answer_either_is_away(manager, tmp_path, unread, monkeypatch):
    volume = tmp_path / 'volume'
    volume.write_bytes(os.urandom(CHUNK))
    backup = manager.create(Request(str(volume)))
    unread += [each.name for each in (tmp_path / 'store').rglob('*') if each.is_file()]

    def gone(fd: int) -> os.statvfs_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, 'fstatvfs', gone)
    with pytest.raises(exceptions.StoreUnavailable):
        manager.verify(backup.id)
