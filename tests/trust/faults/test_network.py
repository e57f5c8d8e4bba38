"""The network goes away in the middle of a backup or of a restore, over SFTP and to GCS.

What the drivers do at each packet and each request stands in the tests of the plugins; here whole
operations meet a connection that is cut, reset, half closed or swallowed at every k-th byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import io
from typing import Any, Protocol
import urllib.parse
import uuid

from backup_framework_gcs.driver import GCSBackupDriver
from backup_framework_sftp.driver import SFTPBackupDriver
import pytest

from backup_framework import exceptions, model
from backup_framework.driver import chunked
from plugins.gcs.tests import misbehaving
from tests.patience import soon
from tests.unit.driver import chains
from tools.servers import proxy, sshd

TIMEOUT, PATIENCE = 1.5, 30.0
BOUND = TIMEOUT + 5
DATA = chains.make_bytes(60_000)
OPTIONS: dict[str, Any] = {'chunk_size': 16384, 'block_size': 4096, 'workers': 0,
                           'retry_deadline': 0.0, 'container': 'box'}
ACTS = ('cut', 'reset', 'half_close', 'swallow')
OPERATIONS = ('backup', 'restore')
WAYS: tuple[proxy.Way, ...] = ('up', 'down')

Case = tuple[str, str, proxy.Way, int]


class Make(Protocol):
    """Makes a driver of a store: through the proxy, or straight."""

    def __call__(self, through: bool, timeout: float = PATIENCE) -> chunked.ChunkedBackupDriver: ...


@dataclasses.dataclass
class Line:
    """A store behind a proxy, with a backup in it, and the same store without the proxy."""

    make: Make
    between: proxy.Proxy

    def __post_init__(self) -> None:
        with contextlib.closing(self.make(False)) as direct:
            self.kept = chains.take(direct, DATA)

    def operate(self, operation: str, timeout: float) -> model.Backup:
        """Over a connection of its own."""
        with contextlib.closing(self.make(True, timeout)) as driver:
            if operation == 'restore':
                assert chains.bring_back(driver, self.kept) == DATA
                return self.kept
            record = chains.record()
            self.begun = record
            for field, value in driver.backup(record, io.BytesIO(DATA[::-1])).items():
                setattr(record, field, value)
            return record

    def traffic(self, operation: str) -> dict[proxy.Way, int]:
        before = dict(self.between.passed)
        self.operate(operation, PATIENCE)
        return {way: self.between.passed[way] - before[way] for way in WAYS}

    def strike(self, case: Case) -> bool:
        """Whether the operation failed."""
        operation, act, way, after = case
        outcomes: list[tuple[model.Backup, bool]] = []

        def meet() -> None:
            getattr(self.between, act)(after, way)
            try:
                outcomes.append((self.operate(operation, TIMEOUT), False))
            except exceptions.StoreError:
                outcomes.append((self.begun, True))
            finally:
                self.between.heal()

        soon(meet, BOUND)
        with contextlib.closing(self.make(False)) as direct:
            assert chains.bring_back(direct, self.kept) == DATA
            if operation == 'backup':
                for made, failed in outcomes:
                    self._check_made(direct, made, failed)
        return outcomes[-1][1]

    def _check_made(self, direct: chunked.ChunkedBackupDriver, made: model.Backup, failed: bool
                    ) -> None:
        if made.service_metadata in direct.prefixes('box'):
            assert chains.bring_back(direct, made) == DATA[::-1]
        else:
            assert failed, 'it is done, and not there'
        direct.delete_backup(made)
        left = direct.get_container_entries('box', str(made.service_metadata))
        assert not list(left)


@pytest.fixture(scope='module', params=['sftp', 'gcs'])
def line(request: pytest.FixtureRequest, require_part: Callable[[str, str], None]
         ) -> Iterator[Line]:
    with contextlib.ExitStack() as stack:
        yield (_sftp if request.param == 'sftp' else _gcs)(stack, require_part)


def _sftp(stack: contextlib.ExitStack, require_part: Callable[[str, str], None]) -> Line:
    try:
        server = stack.enter_context(sshd.serving())
    except sshd.Missing as error:
        require_part('sshd', str(error))
    between = stack.enter_context(proxy.before(server.host, server.port))
    server.is_also_at(between.port)
    path = f'{server.path}/{uuid.uuid4().hex}'

    def make(through: bool, timeout: float = PATIENCE) -> chunked.ChunkedBackupDriver:
        port = {'port': between.port} if through else {}
        options = server.options(path=path, use_agent=False, timeout=timeout, **port)
        return SFTPBackupDriver.make(**options, **OPTIONS)

    return Line(make, between)


def _gcs(stack: contextlib.ExitStack, _: object) -> Line:
    server = stack.enter_context(misbehaving.server('bucket'))
    server.breaks_off = True
    port = urllib.parse.urlsplit(server.url).port
    assert port
    between = stack.enter_context(proxy.before('127.0.0.1', port))

    def make(through: bool, timeout: float = PATIENCE) -> chunked.ChunkedBackupDriver:
        url = f'http://127.0.0.1:{between.port}' if through else server.url
        return GCSBackupDriver.make(bucket='bucket', endpoint=url, anonymous=True,
                                    timeout=timeout, **OPTIONS)

    return Line(make, between)


def cases(line: Line, places: int) -> Iterator[Case]:
    for operation in OPERATIONS:
        for way, total in line.traffic(operation).items():
            for act in ACTS:
                # Each silence costs the whole timeout.
                step = max(1, total // (places // 4 if act == 'swallow' else places))
                for after in range(0, total, step):
                    yield operation, act, way, after


def visit(line: Line, places: int) -> tuple[int, int]:
    count = failures = 0
    for case in cases(line, places):
        count += 1
        try:
            failures += line.strike(case)
        except Exception as error:
            raise AssertionError(f'{case}: {error!r}') from error
    return count, failures


@pytest.mark.long
def test_a_connection_that_ends_at_every_kth_byte(line: Line) -> None:
    count, failures = visit(line, 40)
    assert count >= 500 and failures >= 300


def test_a_connection_that_ends_somewhere(line: Line) -> None:
    """The plugins' own tests cut at more places, one object at a time."""
    for operation in OPERATIONS:
        middle = line.traffic(operation)['up' if operation == 'backup' else 'down'] // 2
        for act in ('reset', 'half_close'):
            line.strike((operation, act, 'up' if operation == 'backup' else 'down', middle))
