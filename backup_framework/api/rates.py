"""How many requests each user of a project may make: a bucket that fills as time goes."""

from __future__ import annotations

import math
import time

import webob.exc

from backup_framework.api.context import RequestContext

BURST_SECONDS = 10
"""What was not used in the last seconds may be used at once."""

MOST_CALLERS = 10_000
"""Buckets that are kept; then those that are full again go."""


class Limiter:
    """Of one process. Each process of a service has its own.

    :param rate: requests a second; 0 for no limit.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._size = max(1.0, rate * BURST_SECONDS)
        # When each bucket would have been empty: one value, so that threads need no lock to keep it
        # whole. At worst two requests at one moment count as one.
        self._empty_at: dict[tuple[str | None, str | None], float] = {}

    def check(self, context: RequestContext) -> None:
        """Take one request out of the caller's bucket.

        :raises webob.exc.HTTPTooManyRequests: it is empty; `Retry-After` says for how long.
        """
        if not self._rate:
            return
        now = time.monotonic()
        caller = (context.project_id, context.user_id)
        since = max(self._empty_at.get(caller, -math.inf), now - self._size / self._rate)
        since += 1 / self._rate
        if since > now:
            wait = math.ceil(since - now)
            raise webob.exc.HTTPTooManyRequests(
                f'This user may make {self._rate:g} requests a second. Retry after {wait} s.',
                headers=[('Retry-After', str(wait))])
        if len(self._empty_at) >= MOST_CALLERS and caller not in self._empty_at:
            self._forget(now)
        self._empty_at[caller] = since

    def _forget(self, now: float) -> None:
        full = now - self._size / self._rate
        kept = {caller: since for caller, since in list(self._empty_at.items()) if since > full}
        self._empty_at = kept if len(kept) < MOST_CALLERS else {}
