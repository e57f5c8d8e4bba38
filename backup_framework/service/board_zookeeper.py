"""TaskFlow's board on ZooKeeper: a claim lasts as long as the session of its worker."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from typing import Any

from kazoo.exceptions import ConnectionLoss, KazooException
from kazoo.handlers.threading import KazooTimeoutError
from taskflow.jobs.backends.impl_zookeeper import ZookeeperJobBoard


class ZooKeeperBoard(ZookeeperJobBoard):  # type: ignore[misc]
    """Its client keeps the session alive, and connects anew by itself."""

    ERRORS = (KazooException, KazooTimeoutError)

    def __init__(self, name: str, conf: dict[str, Any], timeout: float) -> None:
        # A server of today does not tell its version without being told to, and is new enough.
        super().__init__(name, {'check_compatible': False} | conf, emit_notifications=False)
        self._timeout = timeout

    def connect(self) -> None:
        super().connect(self._timeout)

    def failed(self) -> None:
        """Nothing is to be done."""

    def post(self, *args: Any, **kwargs: Any) -> Any:
        self._make_sure()
        return super().post(*args, **kwargs)

    def postings(self) -> list[Any]:
        self._make_sure()
        return list(self._fetch_jobs(ensure_fresh=True))

    def _make_sure(self) -> None:
        """A server that lost everything has no such board; what it had is remembered else."""
        self._require_connection()
        self._client.ensure_path(self.path)

    @contextlib.contextmanager
    def _wrap(self, *about: Any, **more: Any) -> Iterator[None]:
        self._require_connection()
        with super()._wrap(*about, **more):
            yield

    def _require_connection(self) -> None:
        """The client would wait until the server is back."""
        if not self._client.connected:
            raise ConnectionLoss('the connection is lost')

    def claim_for(self, posting: Any, who: str, ttl: int) -> None:
        self.claim(posting, who)

    def extend(self, posting: Any, who: str, ttl: int) -> bool:
        return bool(self.find_owner(posting) == who)
