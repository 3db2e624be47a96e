"""Columns and values by the field's own words. Events are a log, and keep the words of their day.

Revision ID: 0010
Revises: 0009
"""

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("isolations", "rung", "level"),
    ("isolations", "released_at", "ended_at"),
    ("launches", "place", "cluster_key"),
    ("quarantines", "told", "evidence"),
    ("quarantines", "shown", "applied_phase"),
    ("quarantines", "term_s", "probation_s"),
    ("quarantines", "released_at", "ended_at"),
)

_VALUES = (
    ("intents", "kind", "release", "unisolate"),
    ("quarantines", "phase", "released", "ended"),
    ("quarantines", "phase", "person", "manual"),
    ("quarantines", "applied_phase", "released", "ended"),
    ("quarantines", "applied_phase", "person", "manual"),
    ("quarantines", "action", "call", "contact-support"),
)

_PLAN = {
    "hold_s": "inconclusive_timeout_s",
    "insufficient": "on_insufficient_data",
    "blind_s": "metrics_unavailable_s",
    "blind": "on_metrics_unavailable",
    "quick_ms": "latency_floor_ms",
    "max_s": "progress_deadline_s",
}

_RULES = {"blind": "metrics-unavailable", "max-time": "progress-deadline"}
_VERDICTS = {"sick": "unhealthy", "call": "contact-support"}

_INDEXES = (
    ("isolations", "one_isolation_a_rung", ["revision_id", "rung"], "one_isolation_a_level", ["revision_id", "level"]),
    ("quarantines", "one_quarantine_a_target", ["target"], "one_quarantine_a_target", ["target"]),
)

_rollouts = sa.table(
    "rollouts", sa.column("id", sa.Integer), sa.column("plan", sa.JSON), sa.column("decision", sa.JSON)
)
_nodes = sa.table("fleet_nodes", sa.column("name", sa.String), sa.column("data", sa.JSON))


def upgrade() -> None:
    for table, before, _, _, _ in _INDEXES:
        op.drop_index(before, table)
    for table, before, after in _COLUMNS:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {before} TO {after}")
    for table, _, _, after, columns in _INDEXES:
        _unique_while_open(after, table, columns, "ended_at")
    for table, column, before, after in _VALUES:
        _replace(table, column, before, after)
    _rewrite(_PLAN, _RULES, _VERDICTS)


def downgrade() -> None:
    _rewrite(*({after: before for before, after in words.items()} for words in (_PLAN, _RULES, _VERDICTS)))
    for table, column, before, after in _VALUES:
        _replace(table, column, after, before)
    for table, _, _, after, _ in _INDEXES:
        op.drop_index(after, table)
    for table, before, after in _COLUMNS:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {after} TO {before}")
    for table, before, columns, _, _ in _INDEXES:
        _unique_while_open(before, table, columns, "released_at")


def _unique_while_open(name: str, table: str, columns: list[str], end: str) -> None:
    is_open = sa.text(f"{end} IS NULL")
    op.create_index(name, table, columns, unique=True, sqlite_where=is_open, postgresql_where=is_open)


def _replace(table: str, column: str, before: str, after: str) -> None:
    rows = sa.table(table, sa.column(column, sa.String))
    op.execute(rows.update().where(rows.c[column] == before).values({column: after}))


def _rewrite(plan: Mapping[str, str], rules: Mapping[str, str], verdicts: Mapping[str, str]) -> None:
    connection = op.get_bind()
    for row in connection.execute(sa.select(_rollouts)).all():
        steps = [_renamed(step, plan) for step in row.plan.get("steps", ())]
        changes = {"plan": {**_renamed(row.plan, plan), **({"steps": steps} if steps else {})}}
        if row.decision is not None and row.decision.get("rule") in rules:
            changes["decision"] = {**row.decision, "rule": rules[row.decision["rule"]]}
        connection.execute(_rollouts.update().where(_rollouts.c.id == row.id).values(changes))
    for row in connection.execute(sa.select(_nodes)).all():
        data = _each_text(row.data, lambda text: verdicts.get(text, text))
        connection.execute(_nodes.update().where(_nodes.c.name == row.name).values(data=data))


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in values.items()}


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    """A document whose texts, but not names, are changed: where a watch keeps how devices stand and what is to be
    done."""
    if isinstance(value, dict):
        return {name: _each_text(inner, change) for name, inner in value.items()}
    if isinstance(value, list):
        return [_each_text(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value
