"""What the workers tell of the backends, put together."""

from __future__ import annotations

from collections.abc import Collection, Iterable
import dataclasses
from typing import Any

from backup_framework.model import Service
from backup_framework.service.dispatch import WORKER, is_up


@dataclasses.dataclass(frozen=True)
class Backend:
    """
    :ivar ok: whether a living worker found that it works; None where nobody has looked.
    :ivar error: what one found that it does not work for.
    :ivar reports: of each living worker: host, ok, error, free_bytes and checked_at.
    """

    name: str
    driver: str | None
    ok: bool | None
    error: str | None
    free_bytes: int | None
    checked_at: str | None
    reports: list[dict[str, Any]]


def known(services: Iterable[Service], configured: Collection[str], down_time: float
          ) -> list[Backend]:
    """All that a living worker has or that are configured here, by name."""
    reports: dict[str, list[dict[str, Any]]] = {name: [] for name in configured}
    for service in services:
        if service.binary == WORKER and is_up(service, down_time):
            for name, told in service.backends.items():
                reports.setdefault(name, []).append({'host': service.host, **told})
    return [_together(name, reports[name]) for name in sorted(reports)]


def _together(name: str, reports: list[dict[str, Any]]) -> Backend:
    """What the newest report that counts says: one that works counts more than one that fails."""
    ordered = sorted(reports, key=lambda told: (told['ok'] is not None, bool(told['ok']),
                                                told['checked_at'] or ''))
    best = ordered[-1] if ordered else {}
    failed = [told['error'] for told in ordered if told['error']]
    return Backend(name, best.get('driver'), best.get('ok'), failed[-1] if failed else None,
                   best.get('free_bytes'), best.get('checked_at'), reports)
