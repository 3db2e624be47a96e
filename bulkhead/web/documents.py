"""The documents of the JSON API. What serves a revision (its environment may hold secrets) is in none of them."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from bulkhead.isolation_levels import DEFAULT, IsolationLevel

LONGEST_ID = 2**31 - 1
"""Largest id of a row that any of the ledger's databases gives."""

Item = TypeVar("Item")
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]


class ApiDocument(BaseModel):
    """Base of all of them."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class Attention(enum.StrEnum):
    """Whether a service wants a person, the most urgent first."""

    APPROVAL = "approval"
    """Its release waits for a person to approve."""
    FAILING = "failing"
    """Something fails that is tried again and again."""
    ROLLED_BACK = "rolled-back"
    """Its latest release was rolled back; nothing is in progress."""
    DEVICES = "devices"
    """A device under its pods is unhealthy."""
    ISOLATED = "isolated"
    """A revision is isolated until a person releases it."""
    NONE = "none"


class Role(enum.StrEnum):
    """What a revision is to its service."""

    STABLE = "stable"
    CANDIDATE = "candidate"


class RevisionDocument(ApiDocument):
    """One immutable deployable of a service."""

    id: str
    model_name: str = Field(description="registered model in MLflow")
    model_version: str | None = Field(description="its version there; none before it is registered")
    model_uri: str
    image: str
    created_at: datetime


class ShareDocument(ApiDocument):
    """What a revision has of a service's traffic, as the ledger has decided it."""

    revision: str
    percent: int = Field(ge=0, le=100)
    role: Role


class ReleaseSummary(ApiDocument):
    """One rollout of a revision."""

    id: int
    service: str
    revision: str
    model_name: str
    model_version: str | None
    stable: str | None = Field(description="the revision that it is to replace; none for a service's first")
    phase: str
    step: int = Field(description="of the plan, from 1")
    steps: int = Field(description="how many the plan has; 0 where it cannot be read")
    dag_id: str | None = Field(description="of the DAG run that asked for it, where one did")
    run_id: str | None
    requested_at: datetime
    phase_at: datetime = Field(description="since when it is in its phase")
    decided_at: datetime | None = Field(description="when it was decided to roll it back")
    contained_at: datetime | None = Field(description="when the router confirmed that all traffic was back")
    ended_at: datetime | None
    reason: str | None = Field(description="why it was rolled back")
    words: str | None = Field(description="how it has ended, in a sentence; none while it is in progress")


class EventDocument(ApiDocument):
    """What happened in a rollout."""

    id: int
    at: datetime
    kind: str
    words: str | None = Field(description="as a sentence; none where another event tells the same")
    data: Mapping[str, Any]


class StepDocument(ApiDocument):
    """One step of a plan."""

    weight: int = Field(description="percent of the traffic")
    mirror: int = Field(description="percent of the requests that are shown to the candidate as well")
    approve: bool = Field(description="whether a person has to approve before it goes on")
    words: str = Field(description="all of it, for people")


class ActionKind(enum.StrEnum):
    """What a person can do about a release."""

    APPROVE = "approve"
    """Let it go on from the step at which it waits."""
    PROMOTE = "promote"
    """Have it go to the last step of its plan at once."""
    ROLL_BACK = "rollback"
    """Return its traffic to what served before."""
    RETURN = "return"
    """Give all of the traffic to its revision again."""
    ISOLATE = "isolate"
    UNISOLATE = "unisolate"


class LevelDocument(ApiDocument):
    """How far a revision can be isolated."""

    level: IsolationLevel
    touches: str = Field(description="what that changes, for people")


class ActionDocument(ApiDocument):
    """What can be done about a release now."""

    kind: ActionKind = Field(description="last part of the path to which it is posted")
    words: str = Field(description="what it will touch, in a sentence")
    command: str = Field(description="the same on the command line")
    step: int | None = Field(default=None, description="that would be approved, from 1")
    levels: Sequence[LevelDocument] = Field(default=(), description="to choose from; traffic is always one of them")


class IsolationDocument(ApiDocument):
    """A level at which a revision is isolated."""

    level: IsolationLevel
    reason: str
    requested_by: str
    created_at: datetime
    applied_at: datetime | None = Field(description="since when the world shows it; none: not yet")


class ReleaseDocument(ReleaseSummary):
    """One rollout with its way, its evidence and its events."""

    plan: Sequence[StepDocument]
    candidate: RevisionDocument
    replaces: RevisionDocument | None
    serves: bool = Field(description="whether its revision is the service's stable one now")
    nodes: Sequence[str] = Field(description="on which its pods ran when its server became ready")
    devices: Sequence[str] = Field(description="UUIDs of those that they had then, as far as a watch knew")
    run_url: str = Field(description="of the model's run in MLflow's UI; empty where it is not known")
    model_url: str = Field(description="of the model's version there; empty where it is not known")
    decision: Mapping[str, Any] | None = Field(description="the rule that decided against it, and the numbers")
    evidence: Mapping[str, Any] = Field(description="what spoke for it: the gate's metrics, the data's hash")
    isolated: Sequence[IsolationDocument] = Field(description="levels at which its revision is isolated")
    events: Sequence[EventDocument]
    actions: Sequence[ActionDocument] = Field(description="what can be done now, the most likely first")


class PointDocument(ApiDocument):
    """What a release's revision has of the traffic from a moment on."""

    at: datetime
    percent: int = Field(ge=0, le=100)


class MomentDocument(ApiDocument):
    """When something was decided."""

    at: datetime
    words: str


class ArmDocument(ApiDocument):
    """What was counted of a revision since the step began."""

    requests: int
    failures: int
    slow: int
    p99_ms: float | None = Field(description="at most; none where that is not known")


class MeasurementDocument(ApiDocument):
    """What was measured while a step was judged."""

    at: datetime
    step: int = Field(description="of the plan, from 1; what is counted begins anew with each")
    window_s: float = Field(description="since the step began, in seconds")
    candidate: ArmDocument | None = Field(description="none where it could not be read")
    stable: ArmDocument | None
    evidence: Mapping[str, float] = Field(description="against the candidate, by rule: at 1 it is rolled back")


class CourseDocument(ApiDocument):
    """How a release went over time. Measurements are kept of each service's latest releases."""

    service: str
    split: Sequence[PointDocument]
    moments: Sequence[MomentDocument]
    measurements: Sequence[MeasurementDocument]


class ServedDevices(ApiDocument):
    """The devices that a service's pods have, as the fleet's watch has found them."""

    count: int
    by_health: Mapping[str, int]


class ServiceDocument(ApiDocument):
    """A service: what serves, what is in progress, and whether it wants a person."""

    name: str
    stable: RevisionDocument | None
    split: Sequence[ShareDocument]
    release: ReleaseSummary | None = Field(description="in progress")
    last: ReleaseSummary | None = Field(description="the latest that has ended")
    failing: Mapping[str, str] = Field(description="the error by the work that it ends")
    isolated: Sequence[str] = Field(description="isolated revisions")
    devices: ServedDevices | None = Field(description="none where no watch knows who has which")
    attention: Attention
    why: str | None = Field(description="what a person is wanted for, in a sentence")


class Page(ApiDocument, Generic[Item]):
    """Part of a list."""

    items: Sequence[Item]
    total: int | None = Field(description="of all pages; none where that is not counted")
    next: int | None = Field(description="what to give to have the following page; none at the end")


class ActionRequest(ApiDocument):
    """What every action wants to know."""

    reason: Reason = Field(description="for whoever reads what happened: why it is done")


class ApproveRequest(ActionRequest):
    """That a step is approved."""

    step: int = Field(ge=1, le=10_000, description="at which the release waits, from 1; another is refused")


class IsolateRequest(ActionRequest):
    """That a revision is isolated."""

    levels: Sequence[IsolationLevel] = Field(default=DEFAULT, max_length=len(IsolationLevel))


class Recorded(ApiDocument):
    """What an action has led to. It is kept, whatever becomes of the caller; the reconciler does the rest."""

    words: str
    release: int = Field(description="that shows what becomes of it: the one it was asked of, or one that returns")


class Permission(ApiDocument):
    """Whether who asks may act on a release."""

    person: str
    dag_id: str | None = Field(description="that one has to be allowed to edit; none: every DAG")
    allowed: bool


class Trouble(ApiDocument):
    """Why a request has no answer."""

    error: str
