"""The stores, each with the clients that are compared on it; the first client is the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import json
from pathlib import Path
import pkgutil
import shutil
import sys
import tempfile
from typing import Any

import requests

from benchmarks import processes
from benchmarks.processes import Taken
from benchmarks.stores import child
from tools.servers import gcs, sshd

BUCKET = 'bench'
LOCAL = 'backup_framework.drivers.local:LocalBackupDriver'
SFTP = 'backup_framework_sftp.driver:SFTPBackupDriver'
GCS = 'backup_framework_gcs.driver:GCSBackupDriver'
GCS_IMPORTS = [f'backup_framework_gcs.{module}' for module in ('service', 'upload', 'download')]
CIPHER = 'aes128-gcm@openssh.com'


@dataclasses.dataclass(frozen=True)
class Shape:
    """So many objects of one size, with the file that has the bytes of each."""

    count: int
    size: int
    source: Path

    @property
    def total(self) -> int:
        return self.count * self.size

    def __str__(self) -> str:
        size = f'{self.size >> 20} MiB' if self.size >> 20 else f'{self.size >> 10} KiB'
        return f'{self.count} x {size}'

    def job(self, client: str, way: str, threads: int, target: Path | None = None,
            **told: Any) -> child.Job:
        return child.Job(client, way, str(self.source), self.count, self.size, threads, told,
                         str(target or ''))

    @property
    def names(self) -> list[str]:
        return self.job('', '', 0).names

    @contextlib.contextmanager
    def linked(self) -> Iterator[Path]:
        """A directory with a name for each object, all of the one file."""
        with emptied(self.source.parent) as directory:
            for name in self.names:
                (directory / name).hardlink_to(self.source)
            yield directory


@contextlib.contextmanager
def emptied(above: Path) -> Iterator[Path]:
    """A directory that is removed afterwards."""
    with tempfile.TemporaryDirectory(dir=above) as directory:
        yield Path(directory)


Run = Callable[[Shape, str], Taken]
"""Moves objects of a shape one way, 'up' or 'down'."""


@dataclasses.dataclass(frozen=True)
class Client:
    name: str
    run: Run
    ways: Sequence[str] = ('up', 'down')


@dataclasses.dataclass(frozen=True)
class Store:
    """A store with nothing in it.

    :param fill: puts a shape's objects there, whatever way is the shortest.
    :param empty: removes all.
    """

    name: str
    clients: Sequence[Client]
    fill: Callable[[Shape], object]
    empty: Callable[[], object]


def through(driver: str, imports: Sequence[str], threads: int, options: dict[str, Any], *,
            keep: bool = False) -> Run:
    """Our side: a driver's verbs, from so many threads.

    :param keep: write what comes down to files.
    """
    def run(shape: Shape, way: str) -> Taken:
        with emptied(shape.source.parent) as directory:
            return _run_job(shape.job(
                'driver', way, threads, directory if keep else None,
                **{'class': driver, 'imports': list(imports), 'options': options}))

    return run


def _run_job(job: child.Job) -> Taken:
    """Run a job in a child; what it says of itself is without the start of Python."""
    taken, printed = processes.run([sys.executable, '-m', child.__name__], json.dumps(
        dataclasses.asdict(job)))
    return dataclasses.replace(taken, **json.loads(printed))


# --- files


@dataclasses.dataclass(frozen=True)
class Files:
    """Objects as files in a directory, which drivers find as well."""

    root: Path

    @property
    def box(self) -> Path:
        return self.root / child.CONTAINER

    def fill(self, shape: Shape) -> None:
        self.box.mkdir()
        for name in shape.names:
            shutil.copyfile(shape.source, self.box / name)

    def empty(self) -> None:
        for path in self.root.iterdir():
            shutil.rmtree(path)


@contextlib.contextmanager
def local(place: Path, connections: int | None) -> Iterator[Store]:
    """A directory, against `cp`, which is followed by `sync` where it stores."""
    files = Files(place / 'local')
    files.root.mkdir()

    def coreutils(shape: Shape, way: str) -> Taken:
        if way == 'down':
            with emptied(place) as target:
                return processes.run(['sh', '-c', f'cp {files.box}/* {target}'])[0]
        files.box.mkdir()
        with shape.linked() as links:
            return processes.run(
                ['sh', '-c', f'cp {links}/* {files.box} && sync {files.box}/* {files.box}'])[0]

    yield Store('local', [
        Client('cp', coreutils),
        Client('driver local', through(
            LOCAL, (), connections or 4, {'path': str(files.root)}, keep=True)),
    ], files.fill, files.empty)


# --- SFTP


@contextlib.contextmanager
def sftp(place: Path, connections: int | None) -> Iterator[Store]:
    """An sshd on loopback, against OpenSSH's sftp and scp with the fastest cipher."""
    with sshd.serving() as server:
        files = Files(server.root)
        options = server.options() | ({'connections': connections} if connections else {})
        threads = connections or _default(SFTP)
        yield Store('sftp', [
            Client('sftp', lambda shape, way: _openssh(server, files, shape, way)),
            Client('sftp, put -f', lambda shape, way: _openssh(server, files, shape, way, ' -f'),
                   ('up',)),
            Client('scp', lambda shape, way: _scp(server, files, shape, way)),
            *[Client(f'driver sftp, {transport}', through(
                SFTP, [f'backup_framework_sftp.{module}'], threads,
                options | {'transport': transport}))
              for transport, module in (('openssh', 'openssh'), ('paramiko', 'portable'))],
        ], files.fill, files.empty)


def _default(driver: str) -> int:
    """The default of a driver's option connections."""
    options = pkgutil.resolve_name(driver).OPTIONS
    return next(int(option.default) for option in options if option.name == 'connections')


def _words(server: sshd.Server, program: str, port: str) -> list[str]:
    """A command of OpenSSH's that looks at nothing but what it is told."""
    return [program, '-q', '-F', 'none', '-c', CIPHER, '-i', str(server.keys['ed25519']),
            '-o', 'IdentitiesOnly=yes', '-o', f'UserKnownHostsFile={server.known_hosts}',
            port, str(server.port)]


def _openssh(server: sshd.Server, files: Files, shape: Shape, way: str, flag: str = '') -> Taken:
    """One batch. What comes down is kept nowhere, as on our side."""
    words = [*_words(server, 'sftp', '-P'), '-b', '-',
             f'{server.username}@{server.host}:{server.path}/{child.CONTAINER}']
    if way == 'up':
        files.box.mkdir()
        lines = [f'put{flag} {shape.source} {name}' for name in shape.names]
        return processes.run(words, '\n'.join([*lines, '']))[0]
    lines = [f'get {name} /dev/null' for name in shape.names]
    return processes.run(words, '\n'.join([*lines, '']))[0]


def _scp(server: sshd.Server, files: Files, shape: Shape, way: str) -> Taken:
    """What comes down goes to files: scp has nowhere else for several."""
    remote = f'{server.username}@{server.host}:{server.path}/{child.CONTAINER}/'
    words = _words(server, 'scp', '-P')
    if way == 'up':
        files.box.mkdir()
        with shape.linked() as links:
            return processes.run([*words, *map(str, sorted(links.iterdir())), remote])[0]
    with emptied(shape.source.parent) as target:
        return processes.run([*words, f'{remote}*', f'{target}/'])[0]


# --- Google Cloud Storage


@contextlib.contextmanager
def google(place: Path, connections: int | None) -> Iterator[Store]:
    """fake-gcs-server, against plain HTTP and against Google's library."""
    with gcs.fake_gcs_server() as server:
        threads = connections or _default(GCS)
        told = {'url': server.url, 'bucket': BUCKET}
        options = {'bucket': BUCKET, 'endpoint': server.url, 'anonymous': True} | (
            {'connections': connections} if connections else {})

        def empty() -> None:
            server.restart()
            with requests.Session() as session:
                session.trust_env = False
                session.post(f'{server.url}/storage/v1/b', json={'name': BUCKET}
                             ).raise_for_status()

        def plain(client: str, threads: int) -> Run:
            return lambda shape, way: _run_job(
                shape.job(client, way, threads, None, **told))

        empty()
        yield Store('gcs', [
            Client('requests', plain('requests', 1)),
            Client(f'requests, {threads} threads', plain('requests', threads)),
            Client('library', plain('library', 1)),
            Client('library, 4 threads', plain('library', 4)),
            Client('driver gcs', through(GCS, GCS_IMPORTS, threads, options)),
        ], lambda shape: plain('requests', 4)(shape, 'up'), empty)


STORES = {'local': local, 'sftp': sftp, 'gcs': google}
