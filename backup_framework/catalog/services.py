"""What the processes of the service tell of themselves, when schedules are due, settings."""

from __future__ import annotations

import datetime

import sqlalchemy as sa

from backup_framework import exceptions
from backup_framework.catalog import records, schema
from backup_framework.model import Service, utcnow

_table = schema.services
_schedules = schema.schedules
_settings = schema.settings

OWNER = 'owner'
"""The setting with the id that containers belong to."""

_SETS = ('disabled', 'disabled_reason')
"""What others say of a service, and not it itself."""


def beat(service: Service) -> sa.Update:
    """See `Catalog.beat`."""
    service.seen_at = utcnow()
    told = {name: value for name, value in records.new_service(service).items()
            if name not in ('id', *_SETS)}
    return _table.update().where(_table.c.id == service.id).values(told)


def add(connection: sa.Connection, service: Service) -> None:
    if not connection.execute(beat(service)).rowcount:
        connection.execute(_table.insert().values(records.new_service(service)))


def every(connection: sa.Connection) -> list[Service]:
    chosen = sa.select(_table).order_by(_table.c.binary, _table.c.host, _table.c.id)
    return [records.service(row) for row in connection.execute(chosen).mappings()]


def change(connection: sa.Connection, service_id: str, disabled: bool, reason: str | None) -> None:
    changed = connection.execute(_table.update().where(_table.c.id == service_id).values(
        disabled=disabled, disabled_reason=reason))
    if not changed.rowcount:
        raise exceptions.NotFound(f'there is no service {service_id}')


def remove(connection: sa.Connection, service_id: str) -> None:
    connection.execute(_table.delete().where(_table.c.id == service_id))


def purge(connection: sa.Connection, before: datetime.datetime) -> None:
    """Forget those that have not been seen since; one that was disabled stays so."""
    connection.execute(_table.delete().where(
        _table.c.seen_at < records.time_text(before), _table.c.disabled.is_(False)))


def due(connection: sa.Connection, name: str, now: datetime.datetime,
        next_at: datetime.datetime, until: datetime.datetime) -> bool:
    """See `Catalog.due`."""
    text = records.time_text(next_at)
    mine = _schedules.c.name == name
    known = connection.scalar(sa.select(_schedules.c.next_at).where(mine))
    if known is None:
        connection.execute(_schedules.insert().values(name=name, next_at=text))
        return False
    is_due: bool = known <= records.time_text(now)
    if is_due:
        text = records.time_text(until)
    if is_due or text < known:
        connection.execute(_schedules.update().where(mine).values(next_at=text))
    return is_due


def next_runs(connection: sa.Connection) -> dict[str, datetime.datetime]:
    return {row.name: records.text_time(row.next_at)
            for row in connection.execute(sa.select(_schedules))}


def setting(connection: sa.Connection, name: str) -> str | None:
    found: str | None = connection.scalar(
        sa.select(_settings.c.value).where(_settings.c.name == name))
    return found


def keep(connection: sa.Connection, name: str, value: str) -> str:
    """What is kept under a name: this, if nothing was."""
    known = setting(connection, name)
    if known is None:
        connection.execute(_settings.insert().values(name=name, value=value))
    return value if known is None else known
