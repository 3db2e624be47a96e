"""Which task runs which pod.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

from bulkhead.ledger.columns import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "launches",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("access", sa.JSON, nullable=False),
        sa.Column("place", sa.String(64), nullable=False),
        sa.Column("namespace", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("pod", sa.String(253), nullable=False),
        sa.Column("owner", sa.String(512), nullable=False, index=True),
        sa.Column("instance", sa.String(1024), nullable=False, index=True),
        sa.Column("task", sa.JSON, nullable=False),
        sa.Column("keep", sa.String(16), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("ended_at", UtcDateTime),
        sa.Column("reason", sa.Text),
        sa.Column("gone_at", UtcDateTime),
        sa.UniqueConstraint("place", "namespace", "pod", name="one_launch_a_pod"),
    )
    left = sa.text("gone_at IS NULL")
    op.create_index("open_launches", "launches", ["id"], sqlite_where=left, postgresql_where=left)


def downgrade() -> None:
    op.drop_table("launches")
