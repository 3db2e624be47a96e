"""Quarantines of devices and nodes, and what a watch of a fleet remembers.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

from bulkhead.ledger.columns import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "quarantines",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("target", sa.String(253), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("node", sa.String(253), nullable=False, index=True),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("pool", sa.String(253), nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("told", sa.Text, nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("holder", sa.String(512), nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("shown", sa.String(16)),
        sa.Column("term_s", sa.Float, nullable=False),
        sa.Column("relapses", sa.Integer, nullable=False),
        sa.Column("opened_at", UtcDateTime, nullable=False),
        sa.Column("phase_at", UtcDateTime, nullable=False),
        sa.Column("passed_at", UtcDateTime),
        sa.Column("released_at", UtcDateTime),
    )
    where = sa.text("released_at IS NULL")
    op.create_index(
        "one_quarantine_a_target", "quarantines", ["target"], unique=True, sqlite_where=where, postgresql_where=where
    )
    op.create_table(
        "fleet_nodes",
        sa.Column("name", sa.String(253), primary_key=True),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("fleet_nodes")
    op.drop_table("quarantines")
