"""Where jobs are posted and claimed: the jobboards of TaskFlow, with what they leave to others."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
import contextlib
import logging
import threading
import time
from typing import Any
import urllib.parse

from taskflow import exceptions as errors
from taskflow import states

from backup_framework.conf.service import JobboardConfig
from backup_framework.exceptions import ConfigurationError
from backup_framework.model import Job

LOG = logging.getLogger(__name__)

TIMEOUT = 5.0
"""Seconds that the server of a board may take to answer, or less where claims are short."""

Details = dict[str, Any]


def now() -> float:
    """The clock of claims: it goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def details_of(job: Job) -> Details:
    """What a worker has to know of a job before it claims it."""
    return {'job': job.id, 'backend': job.backend, 'source': job.source}


class Board:
    """A board of TaskFlow as conductors need it. All trouble with its server is a JobFailure.

    Connects when it is used first. Serves all threads.

    Of several postings of one job, the oldest is the only one that can be claimed: who posts a job
    again does no harm.

    :param wanted: whether this worker can do a job, of which it is told what `details_of` says.
    :ivar has_room: whether it can do any.
    :ivar untold: the uuids of postings that were not given back yet, which are not claimed again.
    """

    def __init__(self, config: JobboardConfig,
                 wanted: Callable[[Details], bool] = lambda details: True) -> None:
        """:raises ConfigurationError: the connection makes no sense, or a client is missing."""
        self.ttl = config.claim_ttl
        self.has_room: Callable[[], bool] = lambda: True
        self.untold: Container[str] = ()
        self._wanted = wanted
        # So that a worker stops in time where the server does not answer.
        timeout = min(TIMEOUT, self.ttl / 3)
        self._board = _make(*_parse(config), timeout)
        self._lock = threading.Lock()
        self._connected = False
        self._troubled = False

    @property
    def connected(self) -> bool:
        return self._connected

    def connect(self) -> None:
        """:raises JobFailure: the server does not answer."""
        with self._lock, _one_error(self._board):
            if not self._connected:
                self._board.connect()
                self._connected = True

    def close(self) -> None:
        with self._lock, contextlib.suppress(errors.JobFailure), _one_error(self._board):
            if self._connected:
                self._connected = False
                self._board.close()

    def post(self, job: Job) -> None:
        """:raises JobFailure: the board is not there; see `Dispatcher` for what is done then."""
        with self._server() as board:
            board.post(job.kind, details=details_of(job))

    def postings(self) -> list[Any]:
        """What is posted, the oldest of each job, in order. What others posted is not ours.

        :raises JobFailure:
        """
        with self._server() as board:
            found = board.postings()
        first: dict[str, Any] = {}
        for posting in sorted(found, key=lambda posting: posting.sequence):
            if 'job' in posting.details:
                first.setdefault(str(posting.details['job']), posting)
        return list(first.values())

    def iterjobs(self, only_unclaimed: bool = True, ensure_fresh: bool = True) -> Iterator[Any]:
        """What this worker can claim.

        A conductor stops looking at the first one that it does not claim, so the others must not
        be among them. While the board is not there, nothing is.
        """
        if not self.has_room():
            return
        try:
            for posting in self.postings():
                if self._wanted(posting.details) and self._is_free(posting):
                    yield posting
        except errors.JobFailure as error:
            if not self._troubled:
                LOG.warning('The jobboard cannot be read, and is tried again: %s', reason_of(error))
            self._troubled = True
        else:
            if self._troubled:
                LOG.warning('The jobboard can be read again')
            self._troubled = False

    def _is_free(self, posting: Any) -> bool:
        if posting.uuid in self.untold:
            return False
        with self._server():
            return bool(posting.state == states.UNCLAIMED)

    def claim(self, posting: Any, who: str) -> None:
        """Claim it, and note on it until when, on our clock.

        :raises UnclaimableJob: it is somebody else's, or that cannot be told.
        """
        posting.claimed_until = now() + self.ttl
        try:
            with self._server() as board:
                board.claim_for(posting, who, self.ttl)
        except errors.JobFailure as error:
            raise errors.UnclaimableJob(str(error)) from error

    def extend(self, posting: Any, who: str) -> bool:
        """Keep a claim for another `ttl`; False where it is lost.

        :raises JobFailure: that cannot be told.
        """
        with self._server() as board:
            return bool(board.extend(posting, who, self.ttl))

    def consume(self, posting: Any, who: str) -> None:
        with self._server() as board:
            board.consume(posting, who)

    def abandon(self, posting: Any, who: str) -> None:
        with self._server() as board:
            board.abandon(posting, who)

    # What a conductor does with a job whose end is not known.
    trash = abandon

    def register_entity(self, entity: object) -> None:
        """Conductors announce themselves. Here the catalog knows the workers."""

    @contextlib.contextmanager
    def _server(self) -> Iterator[Any]:
        self.connect()
        with _one_error(self._board):
            yield self._board


@contextlib.contextmanager
def _one_error(board: Any) -> Iterator[None]:
    try:
        yield
    except board.ERRORS as error:
        board.failed()
        raise errors.JobFailure(str(error) or type(error).__name__) from error


def why_away(config: JobboardConfig) -> str | None:
    """Why a board cannot be used now; None where it can.

    :raises ConfigurationError: the connection makes no sense, or a client is missing.
    """
    board = Board(config)
    try:
        board.connect()
        board.postings()
    except errors.JobFailure as error:
        return reason_of(error)
    finally:
        board.close()
    return None


def reason_of(error: BaseException) -> str:
    return ' '.join((str(error.__cause__ or '') or str(error)).split())


def _parse(config: JobboardConfig) -> tuple[str, dict[str, Any]]:
    """The kind of a board, and what TaskFlow wants to be told of it.

    :raises ConfigurationError: it is no such URL. The message does not show it: it may hold a
        password.
    """
    try:
        url = urllib.parse.urlsplit(str(config.connection))
        hosts = [_host(each) for each in url.netloc.rpartition('@')[2].split(',')]
    except ValueError:
        raise _wrong('it is not like SCHEME://HOST:PORT') from None
    conf: dict[str, Any] = dict(urllib.parse.parse_qsl(url.query))
    match url.scheme:
        case 'etcd':
            conf |= {'hosts': [(host, port or 2379) for host, port in hosts], 'path': config.name}
        case 'redis' if len(hosts) == 1:
            host, port = hosts[0]
            conf |= {'host': host, 'port': port or 6379, 'namespace': config.name}
            conf |= _credentials(url)
            if url.path.strip('/'):
                conf['db'] = url.path.strip('/')
        case 'zookeeper':
            conf |= {'hosts': ','.join(f'{host}:{port or 2181}' for host, port in hosts),
                     # The server must not end a claim before the worker believes that it did.
                     'path': f'/{config.name}', 'timeout': config.claim_ttl}
        case _:
            raise _wrong('it must begin with etcd://, redis:// or zookeeper://, and only etcd and '
                         'zookeeper may have several hosts')
    return url.scheme, conf


def _host(text: str) -> tuple[str, int | None]:
    parts = urllib.parse.urlsplit(f'//{text}')
    if not parts.hostname:
        raise ValueError('no host')
    return parts.hostname, parts.port


def _credentials(url: urllib.parse.SplitResult) -> dict[str, str]:
    given = {'username': url.username, 'password': url.password}
    return {name: urllib.parse.unquote(value) for name, value in given.items() if value}


def _wrong(why: str) -> ConfigurationError:
    return ConfigurationError(f'[jobboard] connection cannot be used: {why}')


def _make(kind: str, conf: dict[str, Any], timeout: float) -> Any:
    try:
        match kind:
            case 'etcd':
                from backup_framework.service.board_etcd import EtcdBoard as Made
            case 'redis':
                from backup_framework.service.board_redis import RedisBoard as Made
            case _:
                from backup_framework.service.board_zookeeper import ZooKeeperBoard as Made
    except ImportError as error:
        raise ConfigurationError(
            f'[jobboard] connection: the client of {kind} is missing ({error}); install it with: '
            f'pip install "backup-framework[{kind}]"') from error
    try:
        return Made('backup_framework', conf, timeout)
    except ValueError as error:
        raise _wrong(str(error)) from error
