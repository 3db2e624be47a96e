"""What was measured of a release while it was judged is kept.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

from bulkhead.ledger.columns import UtcDateTime

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "measurements",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("rollout_id", sa.Integer, sa.ForeignKey("rollouts.id"), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("numbers", sa.JSON, nullable=False),
    )
    op.create_index("ix_measurements_rollout_id", "measurements", ["rollout_id"])


def downgrade() -> None:
    op.drop_table("measurements")
