"""The service: jobs a minute against workers, requests a second against processes of the API.

    .venv/bin/python -m benchmarks.service [--jobs 200] [--kib 256] [--workers 1 2 3]
                                           [--processes 1 2 3] [--seconds 5] [--json FILE]

Jobs are backups of small volumes, so what is measured is what a job costs besides its data: its
acceptance, the board, the flow, the records. They are asked for at once; the clock runs until the
last one is available. Requests are asked by so many clients, each a process with one connection,
as fast as they are answered. `one machine` is SQLite with the local engine; `many` is PostgreSQL
with etcd, here on the same machine as everything else, clients included: with few processors the
figures say what a machine does, and their ratios what another process on it brings.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
import concurrent.futures
import contextlib
import dataclasses
import datetime
import json
import os
from pathlib import Path
import platform
import random
import sys
import tempfile
import time
from typing import Any

from benchmarks.service import load
from tools.servers import parts
from tools.servers.installation import Installation, NotInTime, Setup, running
from tools.servers.rest import Rest

ONE, MANY = 'one machine', 'many'
LISTED = 100


@dataclasses.dataclass(frozen=True)
class Jobs:
    """So many backups with so many workers."""

    setup: str
    workers: int
    jobs: int
    accepted: float
    seconds: float

    @property
    def a_minute(self) -> float:
        return self.jobs / self.seconds * 60


@dataclasses.dataclass(frozen=True)
class Requests:
    """One kind of request to an API of so many processes."""

    setup: str
    processes: int
    request: str
    rate: load.Rate


@contextlib.contextmanager
def setups() -> Iterator[Callable[[str], Setup]]:
    """Gives empty databases and boards by the name of a set-up; engines run until the end."""
    with contextlib.ExitStack() as end:
        database = end.enter_context(parts.running(parts.PostgreSQL))
        board = end.enter_context(parts.running(parts.Etcd))
        yield lambda name: Setup() if name == ONE else Setup(database.database(), board.url)


def measure_jobs(folder: Path, name: str, setup: Setup, workers: int,
                 options: argparse.Namespace) -> Jobs:
    with running(folder, setup, workers=workers,
                 options={'DEFAULT': {'debug': False}}) as service:
        ids = offered(service, options.jobs, options.kib << 10)
        begin = time.perf_counter()

        def ask(volume: str) -> None:
            with contextlib.closing(service.client()) as rest:
                service.create(volume, rest)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(ask, ids))
        accepted = time.perf_counter() - begin
        service.until(lambda: count(service.rest, status='available') == options.jobs,
                      'all backups are available', seconds=600)
        return Jobs(name, workers, options.jobs, accepted, time.perf_counter() - begin)


def offered(service: Installation, volumes: int, size: int) -> list[str]:
    """The ids of new volumes."""
    for number in range(volumes):
        (service.volumes / f'disk{number}').write_bytes(random.Random(number).randbytes(size))

    def look() -> list[str] | None:
        found = service.rest.get('/volumes', limit=1000)['volumes']
        return [volume['id'] for volume in found] if len(found) == volumes else None
    return service.until(look, 'the volumes are offered')


def count(rest: Rest, **filters: Any) -> int:
    return int(rest.get('/backups', limit=1, with_count=True, **filters)['count'])


def measure_requests(folder: Path, name: str, setup: Setup, processes: int,
                     options: argparse.Namespace) -> Iterator[Requests]:
    more = {'DEFAULT': {'debug': False}, 'api': {'workers': processes}}
    with running(folder, setup, options=more) as service:
        ids = [service.create(volume) for volume in offered(service, LISTED, 1024)]
        service.until(lambda: count(service.rest, status='available') == LISTED,
                      'all backups are available')
        asks: dict[str, load.Ask] = {
            'show': lambda rest, number: rest.get(f'/backups/{ids[number % LISTED]}'),
            'list 10 of 100': lambda rest, number: rest.get('/backups/detail', limit=10),
            'update': lambda rest, number: rest.put(
                f'/backups/{ids[number % LISTED]}', {'backup': {'description': 'changed'}}),
        }
        for request, ask in asks.items():
            yield Requests(name, processes, request, load.measure(
                service.endpoint, ask, options.clients, options.seconds))


def job_lines(found: list[Jobs]) -> Iterator[str]:
    line = ('{:<14}' + '{:>12}' * 5).format
    yield line('set-up', 'workers', 'accepted/s', 'jobs/min', 'ms a job', 'x')
    first: dict[str, float] = {}
    for each in found:
        alone = first.setdefault(each.setup, each.a_minute)
        yield line(each.setup, each.workers, f'{each.jobs / each.accepted:.0f}',
                   f'{each.a_minute:.0f}', f'{60_000 / each.a_minute:.0f}',
                   f'{each.a_minute / alone:.2f}')


def request_lines(found: list[Requests]) -> Iterator[str]:
    line = ('{:<14}{:>12}  {:<16}' + '{:>12}' * 5).format
    yield line('set-up', 'processes', 'request', 'requests/s', 'x', 'ms, 50 %', '95 %', '99 %')
    first: dict[tuple[str, str], float] = {}
    for each in found:
        alone = first.setdefault((each.setup, each.request), each.rate.a_second)
        yield line(each.setup, each.processes, each.request, f'{each.rate.a_second:.0f}',
                   f'{each.rate.a_second / alone:.2f}',
                   *(f'{each.rate.percentile(percent) * 1000:.1f}' for percent in (50, 95, 99)))


def records(jobs: list[Jobs], requests: list[Requests], options: argparse.Namespace
            ) -> dict[str, object]:
    """What --json writes."""
    return {
        'date': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
        'python': platform.python_version(), 'processors': os.cpu_count(),
        'kib': options.kib, 'clients': options.clients,
        'jobs': [dataclasses.asdict(each) for each in jobs],
        'requests': [dataclasses.asdict(each) for each in requests]}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='benchmarks.service', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--jobs', type=int, default=200, help='at most 1000')
    parser.add_argument('--kib', type=int, default=256, help='of each volume')
    parser.add_argument('--workers', type=int, nargs='*', default=[1, 2, 3])
    parser.add_argument('--processes', type=int, nargs='*', default=[1, 2, 3])
    parser.add_argument('--clients', type=int, default=8)
    parser.add_argument('--seconds', type=float, default=5.0, help='of each kind of request')
    parser.add_argument('--json', type=Path, metavar='FILE', help='where every figure goes')
    return parser.parse_args()


def main() -> int:
    options = arguments()
    jobs: list[Jobs] = []
    requests: list[Requests] = []
    try:
        with tempfile.TemporaryDirectory(prefix='bench-service-') as directory, \
                setups() as setup:
            folders = (Path(directory) / str(number) for number in range(1000))
            for name, workers in [(ONE, 1), *((MANY, count) for count in options.workers)]:
                jobs.append(measure_jobs(next(folders), name, setup(name), workers, options))
            print(*job_lines(jobs), '', sep='\n', flush=True)
            for name in (ONE, MANY):
                for processes in options.processes:
                    requests += measure_requests(next(folders), name, setup(name), processes,
                                                 options)
            print(*request_lines(requests), sep='\n')
    except (NotInTime, parts.Missing) as error:
        print(f'the benchmark ended early: {error}', file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(records(jobs, requests, options), indent=1))
    return 0


if __name__ == '__main__':
    sys.exit(main())
