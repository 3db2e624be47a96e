"""How a fleet's devices and nodes stand is kept by columns, so that a page of them is asked for without the rest.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

from bulkhead.ledger.columns import KEY_BYTES, UtcDateTime

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_OF_NODES = (
    sa.Column("health", sa.String(16), nullable=False, server_default="unknown"),
    sa.Column("reason", sa.String(32), nullable=False, server_default=""),
    sa.Column("evidence", sa.Text, nullable=False, server_default=""),
    sa.Column("action", sa.String(32), nullable=False, server_default=""),
    sa.Column("devices", sa.Integer, nullable=False, server_default="0"),
    sa.Column("healthy", sa.Integer, nullable=False, server_default="0"),
    sa.Column("cordoned", sa.Boolean, nullable=False, server_default=sa.false()),
)


def upgrade() -> None:
    for column in _OF_NODES:
        op.add_column("fleet_nodes", column)
    op.create_index("ix_fleet_nodes_at", "fleet_nodes", ["at"])
    op.create_table(
        "fleet_devices",
        sa.Column("uuid", sa.String(253), primary_key=True),
        sa.Column("node", sa.String(253), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("health", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("job", sa.String(KEY_BYTES), nullable=False),
        sa.Column("since", UtcDateTime, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_fleet_devices_node", "fleet_devices", ["node"])
    op.create_index("ix_fleet_devices_health", "fleet_devices", ["health"])


def downgrade() -> None:
    op.drop_table("fleet_devices")
    op.drop_index("ix_fleet_nodes_at", "fleet_nodes")
    with op.batch_alter_table("fleet_nodes") as nodes:
        for column in _OF_NODES:
            nodes.drop_column(column.name)
