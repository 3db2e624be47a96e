"""Suspicions have a table of their own, with who said it and why; a watch remembers where nodes belong.

What was suspected before is not carried over: it counts for an hour.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

from bulkhead.ledger.columns import UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "suspicions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.String(1024), nullable=False, unique=True),
        sa.Column("node", sa.String(253), nullable=False),
        sa.Column("owner", sa.String(1024), nullable=False),
        sa.Column("cause", sa.String(128), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False, index=True),
    )
    for column in (
        sa.Column("product", sa.String(128), nullable=False, server_default=""),
        sa.Column("pool", sa.String(253), nullable=False, server_default=""),
        sa.Column("usable", sa.Boolean, nullable=False, server_default=sa.false()),
    ):
        op.add_column("fleet_nodes", column)


def downgrade() -> None:
    for column in ("usable", "pool", "product"):
        op.drop_column("fleet_nodes", column)
    op.drop_table("suspicions")
