"""Run by Alembic. The connection comes with a transaction around everything: see `ponder.serve.storage.migrate`."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=True,  # Alembic thinks SQLite cannot; it can, where the driver begins no transactions by itself
)
context.run_migrations()
