"""Small texts that an installation keeps for its later commands."""

from __future__ import annotations

import sqlalchemy as sa

from backup_framework.catalog import schema

_table = schema.notes


def get(connection: sa.Connection, installation: str, name: str) -> str | None:
    value: str | None = connection.scalar(
        sa.select(_table.c.value).where(*_key(installation, name)))
    return value


def put(connection: sa.Connection, installation: str, name: str, value: str | None) -> None:
    connection.execute(_table.delete().where(*_key(installation, name)))
    if value is not None:
        connection.execute(_table.insert().values(
            installation=installation, name=name, value=value))


def _key(installation: str, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return _table.c.installation == installation, _table.c.name == name
