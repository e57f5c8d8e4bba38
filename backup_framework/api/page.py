"""The status page: one file, read-only; what it shows it asks for as anybody does."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources
import re

import webob

from backup_framework.api.requests import Request


def show(request: Request) -> webob.Response:
    """The page itself, which holds nothing of any project."""
    page = _page()
    response = webob.Response(page, content_type='text/html', charset='utf-8')
    response.headers['Content-Security-Policy'] = _policy()
    response.headers['X-Content-Type-Options'] = 'nosniff'
    response.headers['Referrer-Policy'] = 'no-referrer'
    response.cache_control = 'no-cache'
    return response


@functools.cache
def _page() -> bytes:
    return resources.files(__package__).joinpath('status.html').read_bytes()


@functools.cache
def _policy() -> str:
    """Nothing but its own script and style runs in it, whatever names of backups hold."""
    return (f"default-src 'none'; script-src {_digest(b'script')}; style-src {_digest(b'style')}; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'")


def _digest(element: bytes) -> str:
    found = re.search(b'<%s>(.*?)</%s>' % (element, element), _page(), re.DOTALL)
    assert found is not None
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1]).digest()).decode()}'"
