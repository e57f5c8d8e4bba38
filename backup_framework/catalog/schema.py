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

REVISION = '0003'
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
    _name('project_id'),
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

volumes = sa.Table(
    'volumes', metadata,
    _name('id', primary_key=True),
    sa.Column('name', sa.String(NAME_LENGTH), unique=True),
    sa.Column('path', sa.Text),
    sa.Column('size_bytes', sa.BigInteger),
    _time('created_at'),
    _time('updated_at'),
    _json('base'),
    _json('metadata'),
    _json('image_metadata'),
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
