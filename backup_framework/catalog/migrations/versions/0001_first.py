"""The first schema: backups, volumes, operations."""

from alembic import op
import sqlalchemy as sa

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _backups()
    _volumes()
    _operations()


def _backups() -> None:
    op.create_table(
        'backups',
        sa.Column('id', sa.String(255), nullable=False),
        sa.Column('volume_id', sa.String(255), nullable=False),
        sa.Column('status', sa.String(32), nullable=False),
        sa.Column('display_name', sa.String(255)),
        sa.Column('display_description', sa.Text()),
        sa.Column('container', sa.Text()),
        sa.Column('service_metadata', sa.Text()),
        sa.Column('parent_id', sa.String(255)),
        sa.Column('snapshot_id', sa.String(255)),
        sa.Column('size', sa.BigInteger(), nullable=False),
        sa.Column('object_count', sa.BigInteger(), nullable=False),
        sa.Column('fail_reason', sa.Text()),
        sa.Column('metadata', sa.Text(), nullable=False),
        sa.Column('created_at', sa.String(26)),
        sa.Column('updated_at', sa.String(26)),
        sa.Column('data_timestamp', sa.String(26)),
        sa.Column('service', sa.String(255)),
        sa.Column('host', sa.String(255)),
        sa.Column('availability_zone', sa.String(255)),
        sa.Column('user_id', sa.String(255)),
        sa.Column('project_id', sa.String(255)),
        sa.Column('encryption_key_id', sa.String(255)),
        sa.Column('backend', sa.String(255)),
        sa.Column('format', sa.String(255)),
        sa.Column('size_bytes', sa.BigInteger()),
        sa.Column('stored_bytes', sa.BigInteger()),
        sa.Column('owner', sa.String(255)),
        sa.Column('warnings', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('id', name='pk_backups'),
        mysql_collate='utf8mb4_bin')
    for column in ('volume_id', 'status', 'display_name', 'parent_id'):
        op.create_index(f'ix_backups_{column}', 'backups', [column])


def _volumes() -> None:
    op.create_table(
        'volumes',
        sa.Column('id', sa.String(255), nullable=False),
        sa.Column('name', sa.String(255)),
        sa.Column('path', sa.Text()),
        sa.Column('size_bytes', sa.BigInteger()),
        sa.Column('created_at', sa.String(26)),
        sa.Column('updated_at', sa.String(26)),
        sa.Column('base', sa.Text(), nullable=False),
        sa.Column('metadata', sa.Text(), nullable=False),
        sa.Column('image_metadata', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('id', name='pk_volumes'),
        sa.UniqueConstraint('name', name='uq_volumes_name'),
        mysql_collate='utf8mb4_bin')


def _operations() -> None:
    op.create_table(
        'operations',
        sa.Column('id', sa.String(255), nullable=False),
        sa.Column('kind', sa.String(32), nullable=False),
        sa.Column('backup_id', sa.String(255)),
        sa.Column('volume_id', sa.String(255)),
        sa.Column('exclusive', sa.String(287)),
        sa.Column('installation', sa.String(255), nullable=False),
        sa.Column('host', sa.String(255), nullable=False),
        sa.Column('pid', sa.BigInteger(), nullable=False),
        sa.Column('started_at', sa.String(26), nullable=False),
        sa.Column('lease_until', sa.String(26), nullable=False),
        sa.Column('lock_file', sa.String(255), nullable=False),
        sa.Column('detail', sa.Text()),
        sa.PrimaryKeyConstraint('id', name='pk_operations'),
        sa.UniqueConstraint('exclusive', name='uq_operations_exclusive'),
        mysql_collate='utf8mb4_bin')
    op.create_index('ix_operations_backup_id', 'operations', ['backup_id'])
