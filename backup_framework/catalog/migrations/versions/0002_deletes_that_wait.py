"""Deletes that wait until running backups have ended."""

from alembic import op
import sqlalchemy as sa

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('backups', sa.Column('waits_for', sa.Text()))
