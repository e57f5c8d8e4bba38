"""Tables of another library in the database of the catalog: an engine for it, its tables made."""

from __future__ import annotations

from collections.abc import Callable
import sqlite3
import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

_ATTEMPTS = 8

Describe = Callable[[sa.MetaData], object]
"""Puts the library's tables into the metadata."""


def engine_of(engine: sa.Engine, describe: Describe) -> sa.Engine:
    """What to hand to the library.

    Its own migrations are not used: where they are alembic's they would write into the table
    `alembic_version` of the catalog.

    :param engine: of the catalog; on a server its connections are shared.
    """
    if engine.dialect.name == 'sqlite':
        sa.event.listen(engine, 'connect', _prepare)
        # Who begins by reading and goes on by writing would fail beside another one.
        made = engine.execution_options(bf_writes=True)
    else:
        made = engine.execution_options(isolation_level='READ COMMITTED')
    metadata = sa.MetaData()
    describe(metadata)
    _make(made, metadata)
    return made


def _prepare(connection: sqlite3.Connection, record: Any) -> None:
    # So that what belongs to a deleted row goes with it.
    connection.execute('PRAGMA foreign_keys=ON')
    # A power cut may take the last commit back, which costs less than one more wait for the disk.
    connection.execute('PRAGMA synchronous=FULL')


def _make(engine: sa.Engine, metadata: sa.MetaData) -> None:
    """Make the tables that are missing; several processes may do so at once."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with engine.begin() as connection:
                metadata.create_all(connection)
            return
        except exc.DBAPIError:
            # Another process made one of them since this one looked.
            if attempt == _ATTEMPTS:
                raise
            time.sleep(0.05 * attempt)
