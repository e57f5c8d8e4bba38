"""What all tests share: parts that a machine may lack."""

from __future__ import annotations

from collections.abc import Callable
import os

import pytest

try:
    from hypothesis import settings
except ImportError:  # the tests that use it say so
    pass
else:
    # An example is slow where the machine pauses; what is always slow meets the time of the test.
    settings.register_profile('ours', deadline=None)
    settings.load_profile('ours')

BUILT_AT_FIRST_USE = {'cinder', 'clients', 'keystone', 'samples'}
"""Fixtures that may install programs (tests/environments.py), or wait for who does."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test comes first has the time for that."""
    for item in items:
        if BUILT_AT_FIRST_USE.intersection(getattr(item, 'fixturenames', ())):
            item.add_marker(pytest.mark.timeout(1200))


@pytest.fixture(scope='session')
def require_part() -> Callable[[str, str], None]:
    """Gives `require_part(part, reason)`, which skips a test, or fails it in CI.

    Call it when a real part that can be installed is absent. BF_REQUIRE names, joined by commas,
    the parts that must not be skipped. What the kernel of a machine lacks is no such part: use
    `pytest.skip` for that.
    """
    return _require_part


def _require_part(part: str, reason: str) -> None:
    required = os.environ.get('BF_REQUIRE', '').split(',')
    if part in [name.strip() for name in required]:
        pytest.fail(f'{part} is required: {reason}', pytrace=False)
    pytest.skip(f'{part}: {reason}')
