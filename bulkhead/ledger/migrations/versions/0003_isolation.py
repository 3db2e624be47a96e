"""Revisions that are isolated.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

from bulkhead.ledger.columns import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("revisions", sa.Column("isolated_at", UtcDateTime))
    op.add_column("revisions", sa.Column("isolated_for", sa.Text))


def downgrade() -> None:
    op.drop_column("revisions", "isolated_for")
    op.drop_column("revisions", "isolated_at")
