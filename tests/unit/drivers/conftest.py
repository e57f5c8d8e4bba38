"""Stores on the real file system."""

import contextlib
import os
import subprocess
import traceback

import pytest

from backup_framework.drivers.local import LocalBackupDriver


class Store:
    """A driver with shorter verbs."""

    def __init__(self, driver, path):
        self.driver = driver
        self.path = path

    def put(self, container, name, data=b'data'):
        with self.driver.get_object_writer(container, name) as writer:
            writer.write(data)

    def get(self, container, name):
        with self.driver.get_object_reader(container, name) as reader:
            return reader.read()

    def names(self, container, prefix=''):
        return sorted(self.driver.get_container_entries(container, prefix))

    def files(self):
        """All that is below the store, directories too."""
        return sorted(str(found.relative_to(self.path)) for found in self.path.rglob('*'))


@pytest.fixture
def make_store(tmp_path):
    """Makes a store below tmp_path, or at `path`, with a driver's options."""
    with contextlib.ExitStack() as stack:
        def make(driver=LocalBackupDriver, path=None, **values):
            path = path or tmp_path / 'store'
            made = driver.make(path=str(path), **values)
            stack.callback(made.close)
            return Store(made, path)

        yield make


@pytest.fixture
def store(make_store):
    return make_store()


@pytest.fixture
def mount_tmpfs(tmp_path):
    """Mounts a tmpfs, for root only; `mount(point, options, source)` gives the point."""
    if os.geteuid() != 0:
        pytest.skip('only root can mount')
    points = []

    def mount(point=None, options='size=1m', source='tmpfs'):
        point = point or tmp_path / 'mounted'
        point.mkdir(exist_ok=True)
        done = subprocess.run(['mount', '-t', 'tmpfs', '-o', options, source, point],
                              capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f'this machine cannot mount a tmpfs: {done.stderr.strip()}')
        points.append(point)
        return point

    yield mount
    for point in reversed(points):
        subprocess.run(['umount', '-l', point], check=False, capture_output=True)


@pytest.fixture
def unprivileged(tmp_path):
    """Runs a function as a user without rights, in a child; what it returns, as text."""
    if os.geteuid() != 0:
        return lambda function: str(function())

    for directory in (tmp_path, *tmp_path.parents):
        if not directory.stat().st_mode & 0o001:
            directory.chmod(directory.stat().st_mode | 0o011)

    def run(function):
        receiving, sending = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
                os.write(sending, str(function()).encode())
            except BaseException:
                os.write(sending, traceback.format_exc().encode())
            finally:
                os._exit(0)
        os.close(sending)
        with open(receiving, encoding='utf-8') as said:
            text = said.read()
        os.waitpid(child, 0)
        return text

    return run
