"""Isolations have rungs, and a life of their own.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

from bulkhead.ledger.columns import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_WAS = "before the rungs"


def upgrade() -> None:
    op.create_table(
        "isolations",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("revision_id", sa.String(63), sa.ForeignKey("revisions.id"), nullable=False),
        sa.Column("rung", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("requested_by", sa.String(512), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("applied_at", UtcDateTime),
        sa.Column("released_at", UtcDateTime),
        sa.Column("gone_at", UtcDateTime),
    )
    op.create_index(
        "one_isolation_a_rung",
        "isolations",
        ["revision_id", "rung"],
        unique=True,
        sqlite_where=sa.text("released_at IS NULL"),
        postgresql_where=sa.text("released_at IS NULL"),
    )
    for rung in ("traffic", "model"):
        op.execute(
            "INSERT INTO isolations (revision_id, rung, reason, requested_by, created_at) "
            f"SELECT id, '{rung}', COALESCE(isolated_for, ''), '{_WAS}', isolated_at "
            "FROM revisions WHERE isolated_at IS NOT NULL"
        )
    op.drop_column("revisions", "isolated_for")
    op.drop_column("revisions", "isolated_at")


def downgrade() -> None:
    op.add_column("revisions", sa.Column("isolated_at", UtcDateTime))
    op.add_column("revisions", sa.Column("isolated_for", sa.Text))
    for column, value in (("isolated_at", "created_at"), ("isolated_for", "reason")):
        op.execute(
            f"UPDATE revisions SET {column} = (SELECT {value} FROM isolations WHERE revision_id = revisions.id "
            "AND rung = 'traffic' AND released_at IS NULL)"
        )
    op.drop_table("isolations")
