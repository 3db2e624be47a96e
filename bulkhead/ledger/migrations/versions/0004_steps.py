"""Plans have steps, of which a weight is one part.

Revision ID: 0004
Revises: 0003
"""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_rollouts = sa.table("rollouts", sa.column("id", sa.Integer), sa.column("plan", sa.JSON))


def upgrade() -> None:
    _rewrite(lambda plan: {"steps": [{"weight": weight} for weight in plan.pop("weights")], **plan}, "weights")


def downgrade() -> None:
    """What a plan of weights cannot say is lost: mirrors, headers, approvals and times of single steps."""

    def weights(plan: dict[str, Any]) -> dict[str, Any]:
        steps = plan.pop("steps")
        return {"weights": sorted({step["weight"] for step in steps} - {0}), **plan}

    _rewrite(weights, "steps")


def _rewrite(change: Callable[[dict[str, Any]], dict[str, Any]], having: str) -> None:
    connection = op.get_bind()
    for row in connection.execute(sa.select(_rollouts)).all():
        if having in row.plan:
            connection.execute(_rollouts.update().where(_rollouts.c.id == row.id).values(plan=change(dict(row.plan))))
