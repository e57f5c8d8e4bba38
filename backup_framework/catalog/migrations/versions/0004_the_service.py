"""The service: jobs, the processes that run them, and the volumes that they reach."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index('ix_backups_project_id', 'backups', ['project_id'])
    op.add_column('operations', sa.Column('job_id', sa.String(255)))
    op.create_index('ix_operations_job_id', 'operations', ['job_id'])
    _volumes()
    _snapshots()
    _jobs()
    _services()


def _volumes() -> None:
    with op.batch_alter_table('volumes') as volumes:
        volumes.drop_constraint('uq_volumes_name', type_='unique')
        volumes.add_column(sa.Column('source', sa.String(255)))
        volumes.add_column(sa.Column('source_id', sa.Text()))
        volumes.add_column(sa.Column('project_id', sa.String(255)))
        volumes.add_column(sa.Column('availability_zone', sa.String(255)))
        volumes.add_column(sa.Column('description', sa.Text()))
        volumes.add_column(sa.Column('status', sa.String(32), nullable=False,
                                     server_default='available'))
        volumes.add_column(sa.Column('bootable', sa.Boolean(), nullable=False,
                                     server_default=sa.false()))
        volumes.add_column(sa.Column('offered_at', sa.String(26)))
    for name in ('name', 'source', 'project_id'):
        op.create_index(f'ix_volumes_{name}', 'volumes', [name])


def _snapshots() -> None:
    op.create_table(
        'snapshots',
        sa.Column('id', sa.String(255), nullable=False),
        sa.Column('volume_id', sa.String(255), nullable=False),
        sa.Column('source_id', sa.Text()),
        sa.Column('name', sa.String(255)),
        sa.Column('description', sa.Text()),
        sa.Column('status', sa.String(32), nullable=False),
        sa.Column('size_bytes', sa.BigInteger()),
        sa.Column('created_at', sa.String(26)),
        sa.Column('metadata', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('id', name='pk_snapshots'),
        mysql_collate='utf8mb4_bin')
    op.create_index('ix_snapshots_volume_id', 'snapshots', ['volume_id'])


def _jobs() -> None:
    op.create_table(
        'jobs',
        sa.Column('id', sa.String(255), nullable=False),
        sa.Column('kind', sa.String(32), nullable=False),
        sa.Column('project_id', sa.String(255)),
        sa.Column('user_id', sa.String(255)),
        sa.Column('request_id', sa.String(255)),
        sa.Column('backup_id', sa.String(255)),
        sa.Column('volume_id', sa.String(255)),
        sa.Column('backend', sa.String(255)),
        sa.Column('source', sa.String(255)),
        sa.Column('state', sa.String(32), nullable=False),
        sa.Column('created_at', sa.String(26)),
        sa.Column('started_at', sa.String(26)),
        sa.Column('ended_at', sa.String(26)),
        sa.Column('host', sa.String(255)),
        sa.Column('attempts', sa.BigInteger(), nullable=False),
        sa.Column('phase', sa.String(32)),
        sa.Column('done', sa.BigInteger(), nullable=False),
        sa.Column('total', sa.BigInteger()),
        sa.Column('fail_reason', sa.Text()),
        sa.Column('arguments', sa.Text().with_variant(mysql.MEDIUMTEXT(), 'mysql', 'mariadb'),
                  nullable=False),
        sa.PrimaryKeyConstraint('id', name='pk_jobs'),
        mysql_collate='utf8mb4_bin')
    for column in ('project_id', 'backup_id', 'volume_id', 'state'):
        op.create_index(f'ix_jobs_{column}', 'jobs', [column])
    op.create_table(
        'parts',
        sa.Column('job_id', sa.String(255), nullable=False),
        sa.Column('number', sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column('offset', sa.BigInteger(), nullable=False),
        sa.Column('length', sa.BigInteger(), nullable=False),
        sa.Column('result', sa.Text()),
        sa.Column('fail_reason', sa.Text()),
        sa.PrimaryKeyConstraint('job_id', 'number', name='pk_parts'),
        mysql_collate='utf8mb4_bin')


def _services() -> None:
    op.create_table(
        'services',
        sa.Column('id', sa.String(255), nullable=False),
        sa.Column('binary', sa.String(255), nullable=False),
        sa.Column('host', sa.String(255), nullable=False),
        sa.Column('zone', sa.String(255)),
        sa.Column('started_at', sa.String(26)),
        sa.Column('seen_at', sa.String(26)),
        sa.Column('disabled', sa.Boolean(), nullable=False),
        sa.Column('disabled_reason', sa.Text()),
        sa.Column('sources', sa.Text(), nullable=False),
        sa.Column('backends', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('id', name='pk_services'),
        mysql_collate='utf8mb4_bin')
    op.create_table(
        'schedules',
        sa.Column('name', sa.String(255), nullable=False),
        sa.Column('next_at', sa.String(26), nullable=False),
        sa.PrimaryKeyConstraint('name', name='pk_schedules'),
        mysql_collate='utf8mb4_bin')
    op.create_table(
        'settings',
        sa.Column('name', sa.String(255), nullable=False),
        sa.Column('value', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('name', name='pk_settings'),
        mysql_collate='utf8mb4_bin')
