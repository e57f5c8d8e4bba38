"""What verifying found: digests of manifests, results, objects that are damaged."""

from alembic import op
import sqlalchemy as sa

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('backups', sa.Column('manifest_digest', sa.String(64)))
    op.add_column('backups', sa.Column('verified_at', sa.String(26)))
    op.add_column('backups', sa.Column('verified_how', sa.String(32)))
    op.add_column('backups', sa.Column('fully_verified_at', sa.String(26)))
    op.add_column('backups', sa.Column('damage', sa.String(8192), nullable=False,
                                       server_default='[]'))
    op.create_table(
        'bad_objects',
        sa.Column('backend', sa.String(255), nullable=False),
        sa.Column('container', sa.String(255), nullable=False),
        sa.Column('name', sa.String(255), nullable=False),
        sa.Column('found_at', sa.String(26), nullable=False),
        sa.PrimaryKeyConstraint('backend', 'container', 'name', name='pk_bad_objects'))
