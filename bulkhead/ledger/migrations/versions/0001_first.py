"""The first schema.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

from bulkhead.ledger.columns import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SQLITE_APPEND_ONLY = """
CREATE TRIGGER events_no_{verb} BEFORE {verb} ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END
"""
_POSTGRES_APPEND_ONLY = (
    """
    CREATE FUNCTION events_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'events are append-only'; END $$
    """,
    """
    CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_append_only()
    """,
)


def upgrade() -> None:
    op.create_table(
        "revisions",
        sa.Column("id", sa.String(63), primary_key=True),
        sa.Column("service", sa.String(63), nullable=False, index=True),
        sa.Column("model_name", sa.String(255), nullable=False),
        sa.Column("model_uri", sa.Text, nullable=False),
        sa.Column("model_version", sa.String(32)),
        sa.Column("image", sa.Text, nullable=False),
        sa.Column("serve", sa.JSON, nullable=False),
        sa.Column("evidence", sa.JSON, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "services",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("stable_revision", sa.String(63), sa.ForeignKey("revisions.id")),
    )
    op.create_table(
        "rollouts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.String(512), nullable=False, unique=True),
        sa.Column("service", sa.String(63), sa.ForeignKey("services.name"), nullable=False),
        sa.Column("owner", sa.String(512), nullable=False, index=True),
        sa.Column("revision_id", sa.String(63), sa.ForeignKey("revisions.id"), nullable=False),
        sa.Column("stable_id", sa.String(63), sa.ForeignKey("revisions.id")),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("plan", sa.JSON, nullable=False),
        sa.Column("window", sa.JSON),
        sa.Column("reason", sa.Text),
        sa.Column("decision", sa.JSON),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("phase_at", UtcDateTime, nullable=False),
        sa.Column("exposed_at", UtcDateTime),
        sa.Column("decided_at", UtcDateTime),
        sa.Column("contained_at", UtcDateTime),
        sa.Column("ended_at", UtcDateTime),
    )
    unfinished = sa.text("ended_at IS NULL")
    op.create_index(
        "one_active_rollout_a_service",
        "rollouts",
        ["service"],
        unique=True,
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )
    op.create_table(
        "intents",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.String(512), nullable=False, unique=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("service", sa.String(63)),
        sa.Column("owner", sa.String(512), index=True),
        sa.Column("target", sa.String(255)),
        sa.Column("requested_by", sa.String(512), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("rollout_id", sa.Integer, sa.ForeignKey("rollouts.id")),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("service", sa.String(63), index=True),
        sa.Column("rollout_id", sa.Integer, index=True),
        sa.Column("kind", sa.String(48), nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        for statement in _POSTGRES_APPEND_ONLY:
            op.execute(statement)
    else:
        for verb in ("UPDATE", "DELETE"):
            op.execute(_SQLITE_APPEND_ONLY.format(verb=verb))


def downgrade() -> None:
    for table in ("events", "intents", "rollouts", "services", "revisions"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION events_append_only()")
