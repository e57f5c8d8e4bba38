"""The tables of the catalog.

Types are those that SQLite, PostgreSQL and MySQL have in common. Times are text of one width
(`2024-05-06T07:08:09.000010`, UTC), because the three disagree on zones and on microseconds; such
text sorts as the times do. Nothing is a foreign key: a record may name a parent or a volume that
only the store of another installation knows.

A change here needs a new file in `migrations/versions` and its name in `REVISION`.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext import compiler

REVISION = '0004'
"""The newest file of `migrations/versions`: what `create` makes."""

NAME_LENGTH = 255
TIME_LENGTH = 26
DAMAGE_LENGTH = 8192
"""Of a kind of text that may have a default in MySQL too."""

metadata = sa.MetaData(naming_convention={
    'ix': 'ix_%(table_name)s_%(column_0_name)s',
    'uq': 'uq_%(table_name)s_%(column_0_name)s',
    'pk': 'pk_%(table_name)s',
})


class LongText(sa.Text):
    """Text that MySQL would cut at 64 KiB, such as records to be imported."""


@compiler.compiles(LongText, 'mysql', 'mariadb')
def _long(*_: Any, **__: Any) -> str:
    return 'MEDIUMTEXT'


def _name(column: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(column, sa.String(NAME_LENGTH), **options)


def _time(column: str) -> sa.Column[str]:
    return sa.Column(column, sa.String(TIME_LENGTH))


def _json(column: str) -> sa.Column[str]:
    return sa.Column(column, sa.Text, nullable=False)


# `waits_for` is no field of the record. Where the manifest of a backup was deleted while others
# were running, it has their ids as JSON: objects are deleted when these have ended.
backups = sa.Table(
    'backups', metadata,
    _name('id', primary_key=True),
    _name('volume_id', nullable=False, index=True),
    sa.Column('status', sa.String(32), nullable=False, index=True),
    _name('display_name', index=True),
    sa.Column('display_description', sa.Text),
    sa.Column('container', sa.Text),
    sa.Column('service_metadata', sa.Text),
    _name('parent_id', index=True),
    _name('snapshot_id'),
    sa.Column('size', sa.BigInteger, nullable=False),
    sa.Column('object_count', sa.BigInteger, nullable=False),
    sa.Column('fail_reason', sa.Text),
    _json('metadata'),
    _time('created_at'),
    _time('updated_at'),
    _time('data_timestamp'),
    _name('service'),
    _name('host'),
    _name('availability_zone'),
    _name('user_id'),
    _name('project_id', index=True),
    _name('encryption_key_id'),
    _name('backend'),
    _name('format'),
    sa.Column('size_bytes', sa.BigInteger),
    sa.Column('stored_bytes', sa.BigInteger),
    _name('owner'),
    _json('warnings'),
    sa.Column('waits_for', sa.Text),
    sa.Column('manifest_digest', sa.String(64)),
    _time('verified_at'),
    sa.Column('verified_how', sa.String(32)),
    _time('fully_verified_at'),
    # A default, because older records have none and the column may not be null.
    sa.Column('damage', sa.String(DAMAGE_LENGTH), nullable=False, server_default='[]'),
)

# Objects of a container that a verification found damaged, and that nothing new may refer to.
bad_objects = sa.Table(
    'bad_objects', metadata,
    _name('backend', primary_key=True),
    _name('container', primary_key=True),
    _name('name', primary_key=True),
    sa.Column('found_at', sa.String(TIME_LENGTH), nullable=False),
)

# Names are unique among the volumes without a source: those of sources may be called alike.
volumes = sa.Table(
    'volumes', metadata,
    _name('id', primary_key=True),
    _name('name', index=True),
    sa.Column('path', sa.Text),
    sa.Column('size_bytes', sa.BigInteger),
    _time('created_at'),
    _time('updated_at'),
    _json('base'),
    _json('metadata'),
    _json('image_metadata'),
    _name('source', index=True),
    sa.Column('source_id', sa.Text),
    _name('project_id', index=True),
    _name('availability_zone'),
    sa.Column('description', sa.Text),
    sa.Column('status', sa.String(32), nullable=False, server_default='available'),
    sa.Column('bootable', sa.Boolean, nullable=False, server_default=sa.false()),
    _time('offered_at'),
)

snapshots = sa.Table(
    'snapshots', metadata,
    _name('id', primary_key=True),
    _name('volume_id', nullable=False, index=True),
    sa.Column('source_id', sa.Text),
    _name('name'),
    sa.Column('description', sa.Text),
    sa.Column('status', sa.String(32), nullable=False),
    sa.Column('size_bytes', sa.BigInteger),
    _time('created_at'),
    _json('metadata'),
)

# What was accepted. A job that has not ended belongs to the service, which decides who runs it.
jobs = sa.Table(
    'jobs', metadata,
    _name('id', primary_key=True),
    sa.Column('kind', sa.String(32), nullable=False),
    _name('project_id', index=True),
    _name('user_id'),
    _name('request_id'),
    _name('backup_id', index=True),
    _name('volume_id', index=True),
    _name('backend'),
    _name('source'),
    sa.Column('state', sa.String(32), nullable=False, index=True),
    _time('created_at'),
    _time('started_at'),
    _time('ended_at'),
    _name('host'),
    sa.Column('attempts', sa.BigInteger, nullable=False),
    sa.Column('phase', sa.String(32)),
    sa.Column('done', sa.BigInteger, nullable=False),
    sa.Column('total', sa.BigInteger),
    sa.Column('fail_reason', sa.Text),
    sa.Column('arguments', LongText, nullable=False),
)

# The ranges of a volume that several workers back up together; `job_id` is of the create, which
# waits until each has a result, or one has failed.
parts = sa.Table(
    'parts', metadata,
    _name('job_id', primary_key=True),
    sa.Column('number', sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column('offset', sa.BigInteger, nullable=False),
    sa.Column('length', sa.BigInteger, nullable=False),
    sa.Column('result', sa.Text),
    sa.Column('fail_reason', sa.Text),
)

services = sa.Table(
    'services', metadata,
    _name('id', primary_key=True),
    _name('binary', nullable=False),
    _name('host', nullable=False),
    _name('zone'),
    _time('started_at'),
    _time('seen_at'),
    sa.Column('disabled', sa.Boolean, nullable=False),
    sa.Column('disabled_reason', sa.Text),
    _json('sources'),
    _json('backends'),
)

schedules = sa.Table(
    'schedules', metadata,
    _name('name', primary_key=True),
    sa.Column('next_at', sa.String(TIME_LENGTH), nullable=False),
)

settings = sa.Table(
    'settings', metadata,
    _name('name', primary_key=True),
    sa.Column('value', sa.Text, nullable=False),
)

# `exclusive` is what a second operation of the same kind runs into: `create:<volume id>` or
# `delete:<backup id>`, and null for operations that may run side by side.
operations = sa.Table(
    'operations', metadata,
    _name('id', primary_key=True),
    sa.Column('kind', sa.String(32), nullable=False),
    _name('backup_id', index=True),
    _name('volume_id'),
    sa.Column('exclusive', sa.String(NAME_LENGTH + 32), unique=True),
    _name('installation', nullable=False),
    _name('host', nullable=False),
    sa.Column('pid', sa.BigInteger, nullable=False),
    sa.Column('started_at', sa.String(TIME_LENGTH), nullable=False),
    sa.Column('lease_until', sa.String(TIME_LENGTH), nullable=False),
    _name('lock_file', nullable=False),
    sa.Column('detail', sa.Text),
    _name('job_id', index=True),
)

# Apart from `metadata`, because alembic compares that with what its migrations make.
_version_metadata = sa.MetaData()
alembic_version = sa.Table(
    'alembic_version', _version_metadata,
    sa.Column('version_num', sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint('version_num', name='alembic_version_pkc'),
)


def create(connection: sa.Connection) -> None:
    """Make the tables as of REVISION, in the caller's transaction and without alembic."""
    if connection.dialect.name in ('mysql', 'mariadb'):
        # Its usual collation holds `a` and `A` to be one name.
        for table in metadata.tables.values():
            table.dialect_options['mysql']['collate'] = 'utf8mb4_bin'
    metadata.create_all(connection)
    _version_metadata.create_all(connection)
    connection.execute(alembic_version.insert().values(version_num=REVISION))
