"""The running processes of the service, and whether they get work."""

from __future__ import annotations

from typing import Any

from backup_framework.api import policy, views
from backup_framework.api.requests import Request, query_of
from backup_framework.exceptions import NotFound
from backup_framework.service.dispatch import is_up


def index(request: Request) -> dict[str, Any]:
    """All of them, or those of a host or a kind."""
    policy.check(request.context, 'volume_extension:services:index')
    query = query_of(request)
    found = [each for each in request.catalog.services()
             if all(getattr(each, name) == query.get(name, getattr(each, name))
                    for name in ('binary', 'host'))]
    patience = request.configuration.service().down_time
    return {'services': [views.service(request, each, is_up(each, patience)) for each in found]}


def enable(request: Request) -> dict[str, Any]:
    """Give it work again."""
    return _switch(request, disabled=False)


def disable(request: Request) -> dict[str, Any]:
    """Give it no more work; what it does goes on."""
    reason = request.document.get('disabled_reason')
    answer = _switch(request, disabled=True, reason=reason)
    return answer if reason is None else answer | {'disabled_reason': reason}


def _switch(request: Request, *, disabled: bool, reason: str | None = None) -> dict[str, Any]:
    policy.check(request.context, 'volume_extension:services:update')
    wanted = request.document
    host, binary = wanted['host'], wanted.get('binary') or wanted['service']
    found = [each for each in request.catalog.services()
             if (each.host, each.binary) == (host, binary)]
    if not found:
        raise NotFound(f'Service {binary} could not be found on host {host}.')
    for each in found:
        request.catalog.set_service(each.id, disabled, reason)
    return {'host': host, 'binary': wanted.get('binary', ''), 'disabled': disabled,
            'service': wanted.get('service', ''), 'status': 'disabled' if disabled else 'enabled'}
