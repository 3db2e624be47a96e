"""A rollout remembers the trace of its request, and is found by its service.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rollouts", sa.Column("trace", sa.String(64)))
    op.create_index("ix_rollouts_service", "rollouts", ["service"])


def downgrade() -> None:
    op.drop_index("ix_rollouts_service", "rollouts")
    op.drop_column("rollouts", "trace")
