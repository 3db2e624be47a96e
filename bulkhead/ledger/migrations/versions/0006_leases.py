"""One reconciler at a time acts on a service.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("services", sa.Column("held_by", sa.String(255)))
    op.add_column("services", sa.Column("renewals", sa.Integer, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("services", "renewals")
    op.drop_column("services", "held_by")
