"""Alembic's environment: migrates over the connection that ``bulkhead.ledger.engine`` hands in."""

from alembic import context

from bulkhead.ledger.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
