"""TaskFlow's board on ZooKeeper: a claim lasts as long as the session of its worker."""

from __future__ import annotations

from typing import Any

from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError
from taskflow.jobs.backends.impl_zookeeper import ZookeeperJobBoard


class ZooKeeperBoard(ZookeeperJobBoard):  # type: ignore[misc]
    """Its client keeps the session alive, and connects anew by itself."""

    ERRORS = (KazooException, KazooTimeoutError)

    def __init__(self, name: str, conf: dict[str, Any], timeout: float) -> None:
        # A server of today does not tell its version without being told to, and is new enough.
        super().__init__(name, {'check_compatible': False} | conf)

    def failed(self) -> None:
        """Nothing is to be done."""

    def postings(self) -> list[Any]:
        return list(self._fetch_jobs(ensure_fresh=True))

    def claim_for(self, posting: Any, who: str, ttl: int) -> None:
        self.claim(posting, who)

    def extend(self, posting: Any, who: str, ttl: int) -> bool:
        return bool(self.find_owner(posting) == who)
