"""The ledger's tables. ``migrations/`` builds them; a test compares the two."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Enum, Float, ForeignKey, Index, Integer, String, UniqueConstraint, false, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.columns import KEY_BYTES, Document, Exact, ExactName, Identifier, Instructions, UtcDateTime, Words


class Base(DeclarativeBase):
    """Declarative base."""

    type_annotation_map: ClassVar = {datetime: UtcDateTime, dict[str, Any]: Document}


class Phase(enum.StrEnum):
    """Where a rollout stands. ``bulkhead.rollout.phases`` says what leads from one to the next."""

    REQUESTED = "requested"
    REGISTERED = "registered"
    LAUNCHED = "launched"
    SHIFTING = "shifting"
    ANALYSING = "analysing"
    APPROVING = "approving"
    PROMOTING = "promoting"
    BAKING = "baking"
    RETIRING = "retiring"
    PROMOTED = "promoted"
    RESTORING = "restoring"
    UNALIASING = "unaliasing"
    DRAINING = "draining"
    ROLLED_BACK = "rolled_back"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in (Phase.PROMOTED, Phase.ROLLED_BACK)

    @property
    def returning(self) -> bool:
        """Whether a rollback has been decided."""
        return self in (Phase.RESTORING, Phase.UNALIASING, Phase.DRAINING, Phase.ROLLED_BACK)

    @property
    def at_step(self) -> bool:
        """Whether the candidate has what a step of its plan gives it, and stays there for now."""
        return self in (Phase.ANALYSING, Phase.APPROVING)

    @property
    def settled(self) -> bool:
        """Whether the direction is final: it returns already, or the candidate has become the stable revision."""
        return self.returning or self in (Phase.RETIRING, Phase.PROMOTED)


def _named(kind: type[enum.StrEnum]) -> Enum:
    """A column that holds a member's value as text."""
    return Enum(
        kind, native_enum=False, length=16, values_callable=lambda members: [member.value for member in members]
    )


class Service(Base):
    """A model endpoint by name; ``generation`` only grows and fences every write to the world.

    ``held_by`` is the reconciler that acts on it now; ``renewals`` grows for as long as that one lives.
    """

    __tablename__ = "services"

    name: Mapped[str] = mapped_column(Identifier(63), primary_key=True)
    generation: Mapped[int] = mapped_column(Integer)
    stable_revision: Mapped[str | None] = mapped_column(ForeignKey("revisions.id"))
    held_by: Mapped[str | None] = mapped_column(Identifier(255))
    renewals: Mapped[int] = mapped_column(Integer, default=0, server_default="0")


class Revision(Base):
    """One immutable deployable of a service. ``model_version`` is filled in later, once."""

    __tablename__ = "revisions"

    id: Mapped[str] = mapped_column(Identifier(63), primary_key=True)
    service: Mapped[str] = mapped_column(Identifier(63), index=True)
    model_name: Mapped[str] = mapped_column(ExactName("model_name", KEY_BYTES))
    model_uri: Mapped[str] = mapped_column(Exact("model_uri"))
    model_version: Mapped[str | None] = mapped_column(Identifier(32))
    image: Mapped[str] = mapped_column(Exact("image"))
    serve: Mapped[dict[str, Any]] = mapped_column(Instructions("serve"))
    evidence: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Isolation(Base):
    """One level of a revision's isolation, in force until it is ended.

    ``applied_at`` says that the world shows it, ``gone_at`` that the world shows it no more.
    """

    __tablename__ = "isolations"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    revision_id: Mapped[str] = mapped_column(ForeignKey("revisions.id"))
    level: Mapped[IsolationLevel] = mapped_column(_named(IsolationLevel))
    reason: Mapped[str] = mapped_column(Words)
    requested_by: Mapped[str] = mapped_column(Identifier(KEY_BYTES))
    created_at: Mapped[datetime]
    applied_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    gone_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "one_isolation_a_level",
            "revision_id",
            "level",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
    )


class Rollout(Base):
    """The way of one revision to all of a service's traffic, or back. ``trace`` is its request's ``traceparent``."""

    __tablename__ = "rollouts"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    key: Mapped[str] = mapped_column(Identifier(KEY_BYTES), unique=True)
    service: Mapped[str] = mapped_column(ForeignKey("services.name"), index=True)
    owner: Mapped[str] = mapped_column(Identifier(KEY_BYTES), index=True)
    revision_id: Mapped[str] = mapped_column(ForeignKey("revisions.id"))
    stable_id: Mapped[str | None] = mapped_column(ForeignKey("revisions.id"))
    generation: Mapped[int]
    sequence: Mapped[int]
    phase: Mapped[Phase] = mapped_column(_named(Phase))
    step: Mapped[int]
    plan: Mapped[dict[str, Any]] = mapped_column(Instructions("plan"))
    window: Mapped[dict[str, Any] | None]
    reason: Mapped[str | None] = mapped_column(Words)
    decision: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    phase_at: Mapped[datetime]
    exposed_at: Mapped[datetime | None]
    decided_at: Mapped[datetime | None]
    contained_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    trace: Mapped[str | None] = mapped_column(Identifier(64))

    @property
    def may_skip(self) -> bool:
        """Whether it is at a step of its plan that is not the last one."""
        return self.phase.at_step and self.step + 1 < len(self.plan.get("steps", ()))

    __table_args__ = (
        # The database itself allows one rollout in progress a service, whatever the code does.
        Index(
            "one_active_rollout_a_service",
            "service",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
    )


class Intent(Base):
    """That a change was asked for; written before anything is."""

    __tablename__ = "intents"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    key: Mapped[str] = mapped_column(Identifier(KEY_BYTES), unique=True)
    kind: Mapped[str] = mapped_column(Identifier(32))
    service: Mapped[str | None] = mapped_column(Identifier(63))
    owner: Mapped[str | None] = mapped_column(Identifier(KEY_BYTES), index=True)
    target: Mapped[str | None] = mapped_column(Identifier(255))
    requested_by: Mapped[str] = mapped_column(Identifier(KEY_BYTES))
    reason: Mapped[str] = mapped_column(Words)
    rollout_id: Mapped[int | None] = mapped_column(ForeignKey("rollouts.id"))
    created_at: Mapped[datetime]


class Event(Base):
    """What happened. The database refuses to change or delete a row (triggers, see the first migration)."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime]
    service: Mapped[str | None] = mapped_column(Identifier(63), index=True)
    rollout_id: Mapped[int | None] = mapped_column(Integer, index=True)
    kind: Mapped[str] = mapped_column(Identifier(48), index=True)
    data: Mapped[dict[str, Any]]


class Launch(Base):
    """That a task runs a pod; written before the pod is created, so that no pod is unknown.

    ``ended_at`` says that no task waits for the pod any more, ``gone_at`` that this has been seen to.
    """

    __tablename__ = "launches"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    access: Mapped[dict[str, Any]] = mapped_column(Instructions("access"))
    cluster_key: Mapped[str] = mapped_column(Identifier(64))
    namespace: Mapped[str] = mapped_column(Identifier(63))
    kind: Mapped[str] = mapped_column(String(16))
    pod: Mapped[str] = mapped_column(Identifier(253))
    owner: Mapped[str] = mapped_column(Identifier(KEY_BYTES), index=True)
    instance: Mapped[str] = mapped_column(Identifier(KEY_BYTES), index=True)
    task: Mapped[dict[str, Any]] = mapped_column(Instructions("task"))
    keep: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    reason: Mapped[str | None] = mapped_column(Words)
    gone_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("cluster_key", "namespace", "pod", name="one_launch_a_pod"),
        Index("open_launches", "id", sqlite_where=text("gone_at IS NULL"), postgresql_where=text("gone_at IS NULL")),
    )


class QuarantinePhase(enum.StrEnum):
    """Where a quarantine stands."""

    HELD = "held"
    """Kept away from work, until a diagnostic passes."""

    MANUAL = "manual"
    """Kept away from work, until a person ends it: it has relapsed too often."""

    PROBATION = "probation"
    """Back at work, and watched."""

    ENDED = "ended"

    @property
    def holds(self) -> bool:
        """Whether it keeps its target away from work."""
        return self in (QuarantinePhase.HELD, QuarantinePhase.MANUAL)


class Measurement(Base):
    """What was measured of a rollout's candidate, and of stable beside it, since its step began."""

    __tablename__ = "measurements"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    rollout_id: Mapped[int] = mapped_column(ForeignKey("rollouts.id"), index=True)
    at: Mapped[datetime]
    step: Mapped[int]
    numbers: Mapped[dict[str, Any]]


class Quarantine(Base):
    """A lease on a bad device or node, in force until it is ended.

    ``applied_phase`` is the phase that the world shows; ``passed_at`` says when a diagnostic passed last.
    """

    __tablename__ = "quarantines"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    target: Mapped[str] = mapped_column(Identifier(253))
    kind: Mapped[str] = mapped_column(String(8))
    node: Mapped[str] = mapped_column(Identifier(253), index=True)
    model: Mapped[str] = mapped_column(Identifier(128))
    pool: Mapped[str] = mapped_column(Identifier(253))
    size: Mapped[int]
    reason: Mapped[str] = mapped_column(Identifier(32))
    evidence: Mapped[str] = mapped_column(Words)
    action: Mapped[str] = mapped_column(Identifier(32))
    holder: Mapped[str] = mapped_column(Identifier(KEY_BYTES))
    phase: Mapped[QuarantinePhase] = mapped_column(_named(QuarantinePhase))
    applied_phase: Mapped[QuarantinePhase | None] = mapped_column(_named(QuarantinePhase))
    probation_s: Mapped[float] = mapped_column(Float)
    relapses: Mapped[int]
    opened_at: Mapped[datetime]
    phase_at: Mapped[datetime]
    passed_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "one_quarantine_a_target",
            "target",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
    )


class FleetNode(Base):
    """How a node stands, and what a watch remembers of its devices for the next one.

    ``usable`` says that new pods can go there, as far as the watch knows: it is seen, and not cordoned.
    """

    __tablename__ = "fleet_nodes"

    name: Mapped[str] = mapped_column(Identifier(253), primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    data: Mapped[dict[str, Any]]
    product: Mapped[str] = mapped_column(Identifier(128), default="", server_default="")
    pool: Mapped[str] = mapped_column(Identifier(253), default="", server_default="")
    usable: Mapped[bool] = mapped_column(default=False, server_default=false())
    health: Mapped[str] = mapped_column(Identifier(16), server_default="unknown")
    reason: Mapped[str] = mapped_column(Identifier(32), server_default="")
    evidence: Mapped[str] = mapped_column(Words, server_default="")
    action: Mapped[str] = mapped_column(Identifier(32), server_default="")
    devices: Mapped[int] = mapped_column(server_default="0")
    healthy: Mapped[int] = mapped_column(server_default="0")
    cordoned: Mapped[bool] = mapped_column(server_default=false())


class FleetDevice(Base):
    """How a device stands, as a watch has found it at ``at``. ``job`` is the pod that has it, as ``namespace/name``."""

    __tablename__ = "fleet_devices"

    uuid: Mapped[str] = mapped_column(Identifier(253), primary_key=True)
    node: Mapped[str] = mapped_column(Identifier(253), index=True)
    model: Mapped[str] = mapped_column(Identifier(128))
    health: Mapped[str] = mapped_column(Identifier(16), index=True)
    reason: Mapped[str] = mapped_column(Identifier(32))
    evidence: Mapped[str] = mapped_column(Words)
    action: Mapped[str] = mapped_column(Identifier(32))
    job: Mapped[str] = mapped_column(Identifier(KEY_BYTES))
    since: Mapped[datetime]
    at: Mapped[datetime]


class Suspicion(Base):
    """That a task's pod failed by what looked like a fault of its node's device; ``owner`` is the task's DAG."""

    __tablename__ = "suspicions"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    key: Mapped[str] = mapped_column(Identifier(KEY_BYTES), unique=True)
    node: Mapped[str] = mapped_column(Identifier(253))
    owner: Mapped[str] = mapped_column(Identifier(KEY_BYTES))
    cause: Mapped[str] = mapped_column(Identifier(128))
    reason: Mapped[str] = mapped_column(Words)
    at: Mapped[datetime] = mapped_column(index=True)
