"""Ourselves and what we are compared with: how each does an operation, by its own command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import importlib
import importlib.util
import os
from pathlib import Path
import secrets
import shutil
import subprocess
import sys
import time
from typing import Any

from benchmarks import processes
from benchmarks.processes import Taken

OPERATIONS = ('full', 'incremental', 'hints', 'unchanged', 'restore', 'verify')
"""In this order. The first is of the first state of the volume, all others are of the second."""

SAMPLE_SECONDS = 0.01
COMMAND = str(Path(sys.executable).with_name('backup-framework'))
CINDER_CHUNK = 52428800  # of its drivers but the posix ones, whose buffer would be 2 GB
CINDER_SECONDS = 3600


class CannotRun(Exception):
    """This tool, or one operation of it, is left out; the text says why."""


class Tool:
    """One competitor in a round, with a directory of its own.

    :param place: its directory, empty.
    :param volume: what is backed up; a file whose state changes between operations.
    """

    name = ''
    operations: Sequence[str] = ()
    environment: Mapping[str, str] = {}
    state = 'second'
    """The state of the volume that is restored and verified."""

    def __init__(self, place: Path, volume: Path) -> None:
        self.place = place
        self.volume = volume
        self.store = place / 'store'
        self.target = place / 'target'

    @classmethod
    def check(cls) -> None:
        """Raises CannotRun where the tool is not installed."""

    def prepare(self) -> None:
        """What comes before the first operation and is not measured."""
        self.store.mkdir()

    def repeat(self, operation: str) -> None:
        """Undo the same operation of this round, which only the anchor does twice."""

    def words(self, operation: str) -> list[str]:
        raise NotImplementedError

    def run(self, operation: str) -> Taken:
        shutil.rmtree(self.target, ignore_errors=True)
        self.target.mkdir()
        return self.command(self.words(operation))

    def command(self, words: Sequence[str], directory: Path | None = None) -> Taken:
        taken, _ = processes.run(words, environment=self.environment, every=SAMPLE_SECONDS,
                                 directory=directory or self.place)
        return taken

    def restored(self) -> Path:
        """The file that a restore has written."""
        return next(path for path in self.target.rglob('*') if path.is_file())

    def stored(self) -> int:
        """Bytes in the store; holes do not count."""
        found = [path.stat() for path in self.store.rglob('*') if path.is_file()]
        return sum(min(each.st_size, each.st_blocks * 512) for each in found)


def _require(command: str, package: str) -> None:
    if not shutil.which(command):
        raise CannotRun(f'there is no command {command}; on Debian it is in the package {package}')


class Cp(Tool):
    """The anchor: what the disk allows, and no proof of anything."""

    name = 'cp'
    operations = ('full', 'incremental', 'unchanged', 'restore', 'verify')

    def words(self, operation: str) -> list[str]:
        kept = str(self.store / self.state)
        if operation == 'verify':
            return ['cmp', str(self.volume), kept]
        if operation == 'restore':
            return ['cp', '--sparse=always', kept, str(self.target / 'volume')]
        return ['cp', '--sparse=always', str(self.volume), str(self._copy(operation))]

    def repeat(self, operation: str) -> None:
        if operation not in ('restore', 'verify'):
            self._copy(operation).unlink(missing_ok=True)

    def _copy(self, operation: str) -> Path:
        return self.store / {'full': 'first', 'incremental': 'second'}.get(operation, operation)


class Ours(Tool):
    """Our command with its defaults and the backend `local`.

    `options` are of the backend, besides the defaults; `changes` is a file for the hints.
    """

    name = 'ours'
    operations: tuple[str, ...] = OPERATIONS
    options: Mapping[str, str] = {}
    changes = Path()

    def prepare(self) -> None:
        lines = ['[DEFAULT]', f'state_path = {self.place}/state', 'enabled_backends = local',
                 '[local]', 'driver = local', f'path = {self.store}',
                 *(f'{name} = {value}' for name, value in self.options.items())]
        (self.place / 'conf').write_text('\n'.join([*lines, *self.sections(), '']))

    def sections(self) -> list[str]:
        """What stands behind the section of the backend."""
        return []

    def words(self, operation: str) -> list[str]:
        words = [COMMAND, '--config-file', str(self.place / 'conf'), '--quiet']
        if operation == 'version':
            return [COMMAND, '--version']
        return words + {
            'full': ['backup', 'create', str(self.volume), '--name', 'first'],
            'incremental': ['backup', 'create', str(self.volume), '--name', 'second',
                            '--incremental'],
            'hints': ['backup', 'create', str(self.volume), '--name', 'hinted', '--parent',
                      'first', '--changed-extents', str(self.changes)],
            'unchanged': ['backup', 'create', str(self.volume), '--name', 'same', '--parent',
                          'second'],
            'restore': ['backup', 'restore', self.state, str(self.target / 'volume')],
            'verify': ['backup', 'verify', self.state],
            'list': ['backup', 'list'],
        }[operation]

    def run(self, operation: str) -> Taken:
        try:
            return super().run(operation)
        except processes.CommandFailed as error:
            if 'unrecognized arguments: --changed-extents' in str(error):
                raise CannotRun('backup create has no --changed-extents here') from error
            raise


class Borg(Tool):
    """borg at its fastest: no encryption, fixed chunks of 4 MiB, LZ4."""

    name = 'borg'
    operations: Sequence[str] = ('full', 'incremental', 'unchanged', 'restore', 'verify')
    compression = 'lz4'

    def __init__(self, place: Path, volume: Path) -> None:
        super().__init__(place, volume)
        self.environment = {
            'BORG_BASE_DIR': str(place / 'borg'),
            'BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK': 'yes'}

    @classmethod
    def check(cls) -> None:
        _require('borg', 'borgbackup')

    def prepare(self) -> None:
        self.command(['borg', 'init', '--encryption', 'none', str(self.store)])

    def words(self, operation: str) -> list[str]:
        if operation == 'verify':
            return ['borg', 'check', '--verify-data', str(self.store)]
        if operation == 'restore':
            return ['borg', 'extract', '--sparse', f'{self.store}::incremental']
        return ['borg', 'create', '--compression', self.compression, '--sparse', '--files-cache',
                'disabled', '--chunker-params', 'fixed,4194304', f'{self.store}::{operation}',
                self.volume.name]

    def command(self, words: Sequence[str], directory: Path | None = None) -> Taken:
        return super().command(words, {'create': self.volume.parent, 'extract': self.target}.get(
            words[1]))


class BorgZstd(Borg):
    """For the size of the store."""

    name = 'borg zstd'
    operations = ('full',)
    compression = 'zstd'


class Restic(Tool):
    """restic with its defaults; it always encrypts."""

    name = 'restic'
    operations = ('full', 'incremental', 'unchanged', 'restore', 'verify')
    environment = {'RESTIC_PASSWORD': 'benchmark'}

    @classmethod
    def check(cls) -> None:
        _require('restic', 'restic')

    def prepare(self) -> None:
        self.command([*self._begin(), 'init'])
        helped = subprocess.run(['restic', 'restore', '--help'], capture_output=True, text=True)
        self._sparse = ['--sparse'] if '--sparse' in helped.stdout else []

    def words(self, operation: str) -> list[str]:
        return self._begin() + {
            'restore': ['restore', 'latest', '--target', str(self.target), *self._sparse],
            'verify': ['check', '--read-data'],
        }.get(operation, ['backup', '--force', str(self.volume)])

    def _begin(self) -> list[str]:
        return ['restic', '--quiet', '--repo', str(self.store), '--cache-dir',
                str(self.place / 'cache')]


class Cinder(Tool):
    """Cinder's own posix driver, in a process that has started before the clock does."""

    operations = ('full', 'incremental', 'unchanged', 'restore')
    compression = ''
    _client: Any = None
    _python: Any = None

    @classmethod
    def check(cls) -> None:
        # Its tests are not typed.
        client: Any = importlib.import_module('tests.interop.cinder_client')
        try:
            cls._python = client.find()
        except client.environments.Missing as error:
            raise CannotRun(f'{error}; "pytest tests/interop" puts it there, and BF_CINDER_VENV '
                            'names another place') from None
        cls._client = client

    def prepare(self) -> None:
        super().prepare()
        self._chain: list[Any] = []
        self._parent: dict[str, str] = {}

    def run(self, operation: str) -> Taken:
        shutil.rmtree(self.target, ignore_errors=True)
        self.target.mkdir()
        host = self._client.Cinder(self._python, self.place / 'log')
        try:
            for export in self._chain:
                host.import_(export)
            return self._measured(host, operation)
        except self._client.CinderError as error:
            raise processes.CommandFailed(f'Cinder, {operation}: {error}') from error
        finally:
            host.close()

    def _measured(self, host: Any, operation: str) -> Taken:
        process = host._process.pid
        before, begin = processes.cpu_seconds(process), time.perf_counter()
        watch = processes.Watch(process, SAMPLE_SECONDS)
        try:
            if operation == 'restore':
                host.restore(self.store, self._chain[:2], self.target / 'volume',
                             timeout=CINDER_SECONDS)
            else:
                self._backup(host)
            seconds = time.perf_counter() - begin
        finally:
            peak = watch.stop()
        return Taken(seconds, processes.cpu_seconds(process) - before, peak)

    def _backup(self, host: Any) -> None:
        row = {'size': max(1, self.volume.stat().st_size >> 30), **self._parent}
        made = host.backup(self.store, self.volume, row, {
            'backup_compression_algorithm': self.compression,
            'backup_file_size': CINDER_CHUNK}, timeout=CINDER_SECONDS)
        self._parent = {'parent_id': made['record']['id'],
                        'volume_id': made['record']['volume_id']}
        self._chain.append(made['export'])


class Sealed(Ours):
    """Ours with encryption, and a key in a file."""

    name = 'ours sealed'
    operations = ('full', 'incremental', 'restore', 'verify')
    options = {'encryption': 'aes-256-gcm', 'keys': 'main'}

    @classmethod
    def check(cls) -> None:
        if importlib.util.find_spec('cryptography') is None:
            raise CannotRun('cryptography is not installed: it is in the extra encryption')

    def sections(self) -> list[str]:
        key = self.place / 'main.key'
        key.touch(0o600)
        key.write_text(f'{secrets.token_hex(32)}\n')
        return ['[key:main]', 'type = file', f'path = {key}']


def _kind(base: type[Tool], name: str, **values: Any) -> type[Tool]:
    return type(base.__name__, (base,), {'name': name, **values})


CODECS = ('none', 'zstd', 'zlib')
FORMAT_1 = [_kind(Ours, f'1.0.0 {codec}', operations=('full', 'incremental', 'restore'),
                  options={'format': '1.0.0', 'compression': codec}) for codec in CODECS]
CINDER = [_kind(Cinder, f'cinder {codec}', compression=codec) for codec in CODECS]
FAMILIES: dict[str, Sequence[type[Tool]]] = {
    'ours': [Ours], 'sealed': [Sealed], '1.0.0': FORMAT_1, 'borg': [Borg, BorgZstd],
    'restic': [Restic], 'cinder': CINDER}


def chosen(only: Sequence[str]) -> tuple[list[type[Tool]], dict[str, str]]:
    """The tools that are here, and for those that are not the reason."""
    found: list[type[Tool]] = []
    left_out = {}
    for family in only or FAMILIES:
        try:
            for tool in FAMILIES[family]:
                tool.check()
        except CannotRun as error:
            left_out[family] = str(error)
            continue
        found += FAMILIES[family]
    return found, left_out


def versions(found: Sequence[type[Tool]]) -> dict[str, str]:
    """What each command says of itself."""
    asked = {'ours': [COMMAND, '--version'], 'borg': ['borg', '--version'],
             'restic': ['restic', 'version'], 'cp': ['cp', '--version']}
    names = {'cp', *(tool.name for tool in found)}
    told = {name: subprocess.run(words, capture_output=True, text=True, env=dict(
        os.environ, LC_ALL='C')).stdout.splitlines()[0]
        for name, words in asked.items() if name in names}
    for tool in found:
        if issubclass(tool, Cinder):
            told['cinder'] = tool._client.VERSION
    return told
