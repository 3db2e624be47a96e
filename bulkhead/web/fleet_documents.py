"""The JSON API's documents about nodes and devices."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import Field

from bulkhead.health.verdict import Health
from bulkhead.ledger.tables import QuarantinePhase
from bulkhead.web.documents import ApiDocument


class Stand(ApiDocument):
    """How a node or a device stands, as the fleet's watch has found it."""

    health: str
    reason: str = Field(description="code of what decided")
    evidence: str = Field(description="in words and numbers")
    action: str = Field(description="what is to be done")
    quarantine: QuarantinePhase | None = Field(description="of it, or of its node; none where it is in none")


class DeviceDocument(Stand):
    """A device."""

    uuid: str
    node: str
    model: str
    job: str = Field(description="the pod that has it, as namespace/name, or empty")
    since: datetime = Field(description="it stands so")
    at: datetime = Field(description="when a watch has looked at it last")


class NodeDocument(Stand):
    """A node."""

    name: str
    product: str = Field(description="of its devices, or empty")
    pool: str
    devices: int
    healthy: int = Field(description="of those")
    cordoned: bool
    at: datetime


class QuarantineDocument(ApiDocument):
    """What is kept away from work, or is back and watched."""

    target: str = Field(description="UUID of the device, or name of the node")
    kind: str
    node: str
    model: str
    size: int = Field(description="how many devices that takes out of work")
    phase: QuarantinePhase
    applied_phase: QuarantinePhase | None = Field(description="that the cluster shows")
    evidence: str
    action: str
    holder: str
    relapses: int
    opened_at: datetime
    phase_at: datetime


class ModelDocument(ApiDocument):
    """The devices of one model."""

    model: str
    devices: int
    healthy: int
    away: int = Field(description="kept away from work by quarantines")
    budget: int = Field(description="how many may be at once, but for what persons start")


class WaitsFor(enum.StrEnum):
    """Why something about the fleet wants a person."""

    BUDGET = "budget"
    """It is unhealthy, and the budget leaves it at work."""
    RELAPSES = "relapses"
    """It has relapsed so often that only a person ends its quarantine."""


class WaitingDocument(ApiDocument):
    """What waits for a person."""

    target: str
    waits_for: WaitsFor
    why: str
    since: datetime
    command: str = Field(description="what a person can do, on the command line")


class FleetDocument(ApiDocument):
    """How a fleet stands."""

    looked_at: datetime | None = Field(description="when a watch has left something last; none where none ever has")
    current: bool = Field(description="whether that is so late that it is believed")
    devices: Mapping[Health, int]
    nodes: Mapping[Health, int]
    models: Sequence[ModelDocument]
    quarantines: int
    waiting: Sequence[WaitingDocument]
