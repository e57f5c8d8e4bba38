"""Removing the temporary objects that killed operations left in a store."""

from __future__ import annotations

from backup_framework import model, store
from backup_framework.manager.context import Context
from backup_framework.model import Status

GRACE = 3600.0
"""Seconds for which a temporary object may not have been written to, and still be in use."""


def clean(context: Context, backend: str, older_than: float = GRACE) -> int:
    """Remove temporary objects last written more than `older_than` seconds ago; how many.

    What a backup of this catalog that is running now may have written is kept in any case; the
    age protects those of other installations that share the store.
    """
    driver = context.drivers.chunked(backend, 'be cleaned')
    driver.before_operation('delete')
    running = _running(context, backend)
    if any(seconds < GRACE for seconds in running):
        # The clock was set back while a backup is running, so the age of what it writes is not
        # known.
        return 0
    age = max([older_than, *running])
    calls = store.Calls(driver, retry_deadline=driver.settings.retry_deadline)
    return calls.retry(lambda: driver.remove_temporary(age))


def _running(context: Context, backend: str) -> list[float]:
    """Seconds since the backups began that are running, and some for clocks that differ."""
    now = model.utcnow()
    return [(now - backup.created_at).total_seconds() + GRACE
            for backup in context.catalog.backups(backend=backend, status=Status.CREATING)
            if backup.created_at]
