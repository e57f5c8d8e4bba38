"""TaskFlow's board on Redis: claims that expire, and are extended."""

from __future__ import annotations

from typing import Any

from redis.exceptions import RedisError
from taskflow.jobs.backends.impl_redis import RedisJobBoard


class RedisBoard(RedisJobBoard):  # type: ignore[misc]
    """The server may be one, or what a Sentinel names: `sentinel=NAME` in the connection."""

    ERRORS = (RedisError,)

    def __init__(self, name: str, conf: dict[str, Any], timeout: float) -> None:
        if 'sentinel_fallbacks' in conf:
            conf = conf | {'sentinel_fallbacks': conf['sentinel_fallbacks'].split(',')}
        super().__init__(name, {'socket_timeout': timeout, 'socket_connect_timeout': timeout}
                         | conf)

    def failed(self) -> None:
        """The client connects anew by itself."""

    def postings(self) -> list[Any]:
        return list(self._fetch_jobs())

    def claim_for(self, posting: Any, who: str, ttl: int) -> None:
        self.claim(posting, who, expiry=ttl)

    def extend(self, posting: Any, who: str, ttl: int) -> bool:
        owner = self._client.get(posting.owner_key)
        return owner == self._encode_owner(who) and bool(posting.extend_expiry(ttl))
