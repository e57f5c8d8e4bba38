"""Environments with foreign programs, built once for a user and kept between runs."""

import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

BUILD_SECONDS = 900


class Missing(Exception):
    """The environment cannot be had; says why."""


def find(variable, name, versions):
    """The folder of an environment that is there.

    :param variable: of the process environment: names a folder to use instead.
    :param versions: by name of distribution.
    """
    path = _folder(variable, name, versions)
    if not _is_complete(path, versions):
        raise Missing(f'no {" and ".join(versions)} in {path}')
    return path


def find_or_build(variable, name, versions):
    """The same, made where it is not there; that takes a minute or more."""
    path = _folder(variable, name, versions)
    if not _is_complete(path, versions):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_name(path.name + '.lock')):
            if not _is_complete(path, versions):
                _build(path, versions)
    return path


def _folder(variable, name, versions):
    if os.environ.get(variable):
        return pathlib.Path(os.environ[variable])
    cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return pathlib.Path(cache, 'backup_framework-tests', '-'.join([name, *versions.values()]))


def _is_complete(path, versions):
    packages = 'lib/python*/site-packages'
    return os.access(path / 'bin' / 'python', os.X_OK) and all(
        any(path.glob(f'{packages}/{name.replace("-", "_")}-{version}.dist-info'))
        for name, version in versions.items())


@contextlib.contextmanager
def _locked(path):
    deadline = time.monotonic() + BUILD_SECONDS
    with open(path, 'w') as lock:
        while not _try_lock(lock):
            if time.monotonic() > deadline:
                raise Missing(f'another run holds {path}')
            time.sleep(0.5)
        yield


def _try_lock(lock):
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _build(path, versions):
    """Builds beside the path and renames at the end, so that what is there is complete.

    Scripts in an environment hold its path, so its programs are called as `python -m MODULE`.
    """
    aside = pathlib.Path(tempfile.mkdtemp(prefix=path.name + '.', dir=path.parent))
    try:
        _run([sys.executable, '-m', 'venv', str(aside)])
        _run([str(aside / 'bin' / 'python'), '-m', 'pip', 'install', '--quiet',
              '--disable-pip-version-check', '--timeout', '20', '--retries', '2',
              *(f'{name}=={version}' for name, version in versions.items())])
        if path.exists():
            shutil.rmtree(path)
        aside.rename(path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _run(command):
    try:
        subprocess.run(command, check=True, timeout=BUILD_SECONDS, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except subprocess.CalledProcessError as error:
        raise Missing(f'{" ".join(command)}: {error.output.strip()[-500:]}') from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(str(error)) from error
