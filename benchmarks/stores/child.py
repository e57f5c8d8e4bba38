"""A measured process: moves objects in one way through Python, and prints what that took.

It is told a job as JSON on its standard input. What it needs is imported first; then, until all is
stored or read and every connection closed, the clock runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
import dataclasses
import functools
import importlib
import json
import os
import pkgutil
import resource
import sys
import time
from typing import Any

from backup_framework import store
from backup_framework.engine import parallel

CONTAINER = 'bench'
LIMIT = 1 << 60
READ = 1 << 20
"""What the engine asks an object for at a time."""

Move = Callable[[str], object]


@dataclasses.dataclass(frozen=True)
class Job:
    """What to move, and through what.

    :param client: a function of this module.
    :param way: 'up' or 'down'.
    :param source: a file with the bytes of an object; all objects have the same.
    :param threads: that move objects side by side.
    :param told: what the client needs besides.
    :param target: a directory for what comes down, or ''.
    """

    client: str
    way: str
    source: str
    count: int
    size: int
    threads: int
    told: dict[str, Any]
    target: str = ''

    @property
    def names(self) -> list[str]:
        return [f'object-{number:05}' for number in range(self.count)]

    def pieces(self) -> Iterator[bytes]:
        """An object, read from its file in the pieces that the engine writes."""
        with open(self.source, 'rb', buffering=0) as file:
            while piece := file.read(store.WRITE_SIZE):
                yield piece

    def whole(self) -> bytes:
        with open(self.source, 'rb', buffering=0) as file:
            return file.read()

    def each(self, move: Move) -> None:
        """Move all objects, as the engine does: so many threads, results in order."""
        for _ in parallel.ordered_map(move, self.names, workers=self.threads, budget=LIMIT,
                                      cost=len):
            pass

    def take(self, name: str, pieces: Iterable[bytes]) -> None:
        """Take an object that comes down: into a file, or to nowhere."""
        size = 0
        with open(os.path.join(self.target, name) if self.target else os.devnull, 'wb',
                  buffering=0) as file:
            for piece in pieces:
                size += file.write(piece)
        if size != self.size:
            raise RuntimeError(f'{size} bytes came of {self.size}')


def driver(job: Job) -> Callable[[], None]:
    """A driver's verbs, called as the engine calls them."""
    for module in job.told['imports']:
        importlib.import_module(module)
    driver_class = pkgutil.resolve_name(job.told['class'])

    def move() -> None:
        made = driver_class.make(**job.told['options'])
        try:
            container = store.Container(made, CONTAINER, retry_deadline=0.0)
            if job.way == 'up':
                container.create()
                job.each(lambda name: container.put(name, job.pieces))
                container.sync()
            else:
                job.each(functools.partial(read, container))
        finally:
            made.close()

    def read(container: store.Container, name: str) -> None:
        with container.open(name) as reader:
            job.take(name, iter(functools.partial(reader.read, READ), b''))

    return move


def requests(job: Job) -> Callable[[], None]:
    """One HTTP request an object, nothing checked: what the service and the wire allow."""
    http = importlib.import_module('requests')
    url, bucket = job.told['url'], job.told['bucket']

    def move() -> None:
        with http.Session() as session:
            session.mount('http://', http.adapters.HTTPAdapter(pool_maxsize=job.threads))
            job.each(functools.partial(post if job.way == 'up' else get, session))

    def post(session: Any, name: str) -> None:
        session.post(f'{url}/upload/storage/v1/b/{bucket}/o', data=job.whole(),
                     params={'uploadType': 'media', 'name': f'{CONTAINER}/{name}'}
                     ).raise_for_status()

    def get(session: Any, name: str) -> None:
        with session.get(f'{url}/storage/v1/b/{bucket}/o/{CONTAINER}%2F{name}',
                         params={'alt': 'media'}, stream=True) as answer:
            answer.raise_for_status()
            job.take(name, [answer.raw.read()])

    return move


def library(job: Job) -> Callable[[], None]:
    """google-cloud-storage as its documentation shows it; checksums as they are by default."""
    storage = importlib.import_module('google.cloud.storage')
    credentials = importlib.import_module('google.auth.credentials')

    def move() -> None:
        client = storage.Client(
            project='bench', credentials=credentials.AnonymousCredentials(),
            client_options={'api_endpoint': job.told['url']})
        bucket = client.bucket(job.told['bucket'])
        job.each(functools.partial(upload if job.way == 'up' else download, bucket))
        client.close()

    def upload(bucket: Any, name: str) -> None:
        bucket.blob(f'{CONTAINER}/{name}').upload_from_string(job.whole())

    def download(bucket: Any, name: str) -> None:
        job.take(name, [bucket.blob(f'{CONTAINER}/{name}').download_as_bytes()])

    return move


def cpu_seconds() -> float:
    """Of this process and of those that it waited for."""
    used = [resource.getrusage(who)
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> int:
    job = Job(**json.load(sys.stdin))
    os.environ['NO_PROXY'] = '*'
    clients = {client.__name__: client for client in (driver, requests, library)}
    begin = time.perf_counter()
    move = clients[job.client](job)
    ready, used = time.perf_counter(), cpu_seconds()
    move()
    print(json.dumps({'seconds': time.perf_counter() - ready, 'cpu': cpu_seconds() - used,
                      'imports': ready - begin}))
    return 0


if __name__ == '__main__':
    sys.exit(main())
