"""Splitting a create into parts, and a part's end: each one step, if it is still the caller's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from backup_framework.catalog import jobs, operations, parts
from backup_framework.model import Extent, Job


def split(connection: sa.Connection, operation: operations.Running, common: Mapping[str, Any],
          extents: Sequence[Extent]) -> list[Job]:
    """See `Catalog.split`."""
    operations.check_mine(connection, operation)
    create = jobs.get(connection, str(operation.job_id))
    jobs.change_arguments(connection, create.id, {'split': common})
    # The change holds the row, so it does not end from here on.
    jobs.require_open(connection, create.id)
    parts.add(connection, create.id, extents)
    made = [Job(kind=parts.KIND, project_id=create.project_id, user_id=create.user_id,
                request_id=create.request_id, backup_id=create.backup_id,
                volume_id=create.volume_id, backend=create.backend, source=create.source,
                total=extent.length, arguments={'create': create.id, 'number': number})
            for number, extent in enumerate(extents, 1)]
    for job in made:
        jobs.add(connection, job)
    return made


def end(connection: sa.Connection, operation: operations.Running, job: Job, result: str) -> bool:
    """See `Catalog.end_part`."""
    operations.check_mine(connection, operation)
    ready = parts.end(connection, job, result)
    operations.end(connection, operation)
    return ready
