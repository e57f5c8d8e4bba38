"""On each kind of store a run ends at 25, 50, 75 and 99 %, and another one goes on with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import io
from pathlib import Path
import random

from backup_framework_gcs.driver import GCSBackupDriver
from backup_framework_sftp.driver import SFTPBackupDriver
import pytest

from backup_framework import store
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.drivers.local import LocalBackupDriver
from backup_framework.engine.monitor import Operation
from backup_framework.formats.v2 import writer
from backup_framework.testing.faults import Fault, FaultyDriver
from tests.trust.resume import rig
from tools.servers import gcs, sshd

CHUNK, OBJECTS = 64 << 10, 20
LARGEST = CHUNK + 4096
OPTIONS = {'format': '2.0.0', 'chunk_size': CHUNK, 'block_size': 4096, 'workers': 2,
           'retry_deadline': 20.0}

Make = Callable[[], ChunkedBackupDriver]


@pytest.fixture(scope='module')
def ssh_server(require_part: Callable[[str, str], None]) -> Iterator[sshd.Server]:
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(sshd.serving())
        except sshd.Missing as error:
            require_part('sshd', str(error))


@pytest.fixture(scope='module')
def gcs_server(require_part: Callable[[str, str], None]) -> Iterator[gcs.Server]:
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(gcs.fake_gcs_server())
        except gcs.Missing as error:
            require_part('gcs', str(error))


@pytest.fixture(params=['local', 'sftp', 'gcs'])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes a driver on a store of the test's own, as a new process would."""
    if request.param == 'local':
        return lambda: LocalBackupDriver.make(path=str(tmp_path), **OPTIONS)
    if request.param == 'sftp':
        server: sshd.Server = request.getfixturevalue('ssh_server')
        return lambda: SFTPBackupDriver.make(**OPTIONS | server.options(
            path=str(tmp_path), use_agent=False, timeout=20.0))
    url = request.getfixturevalue('gcs_server').url
    return lambda: GCSBackupDriver.make(
        bucket='resume', prefix=tmp_path.name, endpoint=url, anonymous=True, timeout=20.0,
        resumable_chunk_size=256 << 10, **OPTIONS)


@pytest.mark.parametrize('percent', [25, 50, 75, 99])
def test_what_was_stored_is_not_sent_again(make, monkeypatch, percent):
    monkeypatch.setattr(writer, 'SMALL', CHUNK // 4)
    volume = random.Random(4).randbytes(OBJECTS * CHUNK)
    backup = rig.record()

    def die() -> None:
        raise rig.Killed

    with contextlib.closing(make()) as real:
        plan = [Fault('commit', call=OBJECTS * percent // 100 + 1, name='*-0*', forever=True,
                      hook=die)]
        with pytest.raises(rig.Killed):
            rig.finish(FaultyDriver(real, plan), backup, volume)
    with contextlib.closing(make()) as driver:
        before = set(data_names(driver, backup))
        assert len(before) >= OBJECTS * percent // 100 - 2
        rig.finish(driver, backup, volume, Operation(resume=True))
        after = data_names(driver, backup)
        assert before <= set(after)
        sent = sum(driver.object_size(backup.container, name) for name in after
                   if name not in before)
        assert sent <= (OBJECTS - len(before) + 2) * LARGEST
        assert driver.verify(backup).ok
        target = io.BytesIO()
        driver.restore(backup, rig.VOLUME, target, True)
        assert target.getvalue() == volume
        driver.delete_backup(backup)
        assert data_names(driver, backup) == []


def data_names(driver: ChunkedBackupDriver, backup) -> list[str]:
    return store.Container(driver, str(backup.container)).names(f'{backup.service_metadata}-')
