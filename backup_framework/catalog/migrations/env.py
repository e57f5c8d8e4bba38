"""Run by alembic, with the connection and the transaction that the catalog opened."""

from alembic import context

from backup_framework.catalog import schema

context.configure(connection=context.config.attributes['connection'],
                  target_metadata=schema.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
