"""Memory does not grow with the volume: measured in a process of its own."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

GIB, MIB = 1 << 30, 1 << 20

PROGRAM = """
import os, sys, uuid
from backup_framework import model
from backup_framework.drivers.local import LocalBackupDriver
from backup_framework.engine import target

folder, size, data = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
driver = LocalBackupDriver.make(path=os.path.join(folder, 'store'), durability='none')
volume = os.path.join(folder, 'volume')
step = size // 8
with open(volume, 'wb') as file:
    file.truncate(size)
    for number in range(8):
        for at in range(0, data // 8, 1 << 20):
            file.seek(number * step + 12345 + at)
            file.write(os.urandom(min(1 << 20, data // 8 - at)))
backup = model.Backup(volume_id=str(uuid.uuid4()))
with open(volume, 'rb') as file:
    done = driver.backup(backup, file)
assert done['size_bytes'] == size
with target.open_target(os.path.join(folder, 'restored'), size) as (file, fresh):
    driver.restore(backup, '', file, fresh)
driver.close()
assert os.stat(os.path.join(folder, 'restored')).st_size == size
for number in range(8):
    with open(volume, 'rb') as one, open(os.path.join(folder, 'restored'), 'rb') as two:
        for file in one, two:
            file.seek(number * step)
        left = data // 8 + (1 << 20)
        while left > 0:
            assert one.read(1 << 20) == two.read(1 << 20)
            left -= 1 << 20
# Not ru_maxrss: a child begins with that of its parent.
print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])
"""


def peak(folder: pathlib.Path, size: int, data: int) -> int:
    """Bytes that backup and restore of a sparse volume took at most."""
    ended = subprocess.run([sys.executable, '-c', PROGRAM, str(folder), str(size), str(data)],
                           capture_output=True, text=True, check=False)
    assert not ended.returncode, ended.stderr
    return int(ended.stdout) << 10


def test_a_sparse_gibibyte(tmp_path: pathlib.Path) -> None:
    assert peak(tmp_path, GIB, 8 * MIB) < 200 * MIB


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_sparse_tebibyte_with_a_gibibyte_of_data(tmp_path: pathlib.Path) -> None:
    assert peak(tmp_path, 1024 * GIB, GIB) < 256 * MIB
