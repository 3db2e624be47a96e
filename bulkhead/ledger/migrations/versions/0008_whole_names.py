"""Names at the full lengths that Airflow and MLflow allow.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("isolations", "requested_by", 512),
    ("rollouts", "key", 512),
    ("rollouts", "owner", 512),
    ("intents", "key", 512),
    ("intents", "owner", 512),
    ("intents", "requested_by", 512),
    ("launches", "owner", 512),
    ("revisions", "model_name", 255),
    ("quarantines", "holder", 512),
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return  # it has no widths: a column holds what is written to it
    for table, column, width in _COLUMNS:
        op.alter_column(table, column, existing_type=sa.String(width), type_=sa.String(1024))


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    for table, column, width in _COLUMNS:
        op.alter_column(table, column, existing_type=sa.String(1024), type_=sa.String(width))
