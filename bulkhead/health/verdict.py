"""How a device or a node stands, and why."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from bulkhead.health.observation import Device
from bulkhead.xids import RecommendedAction


class Health(enum.StrEnum):
    """How it stands."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    """Something speaks against it, and not enough to take it out of work."""

    UNKNOWN = "unknown"
    """No source says, or none that can be believed. Not healthy, and no reason to isolate it."""

    UNHEALTHY = "unhealthy"

    @property
    def weight(self) -> int:
        """Which of several findings decides: the gravest."""
        return _ORDER[self]


_ORDER = {health: index for index, health in enumerate(Health)}


class Reason(enum.StrEnum):
    """What decided."""

    NOTHING = "nothing"
    STALE = "stale"
    FROZEN = "frozen"
    NO_DATA = "no-data"
    GONE = "gone"
    XID = "xid"
    APPLICATION = "application"
    RECOVERY = "recovery"
    ECC = "ecc"
    ROW_REMAP = "row-remap"
    HEAT = "heat"
    POWER = "power"
    PCIE = "pcie"
    NVLINK = "nvlink"
    HUNG = "hung"
    SLOW = "slow"
    DOUBTED = "doubted"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class DeviceFinding:
    """What one rule found.

    Attributes:
        health: that it amounts to.
        reason: the rule.
        text: the evidence, in words and numbers.
        action: what is to be done.
        confidence: from 0 to 1.
        at: when it was last so, in seconds since 1970.
    """

    health: Health
    reason: Reason
    text: str
    action: RecommendedAction = RecommendedAction.NONE
    confidence: float = 1.0
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class DeviceVerdict:
    """How a device stands.

    Attributes:
        device: which.
        health: how.
        reason: what decided.
        text: the evidence, in words and numbers.
        action: what is to be done.
        confidence: from 0 to 1.
        since: it stands so, in seconds since 1970.
        evidence_at: when what decided was last so.
        job: who has it, or empty.
        age_s: of what it was judged by, in seconds.
    """

    device: Device
    health: Health
    reason: Reason
    text: str
    action: RecommendedAction
    confidence: float
    since: float
    evidence_at: float
    job: str = ""
    age_s: float = 0.0


@dataclass(frozen=True)
class NodeVerdict:
    """How a node stands.

    Attributes:
        node: by name.
        health: how.
        reason: what decided.
        text: the evidence.
        action: what is to be done.
        devices: how many it has.
        healthy: how many of those are.
        pool: it belongs to, or empty.
        cordoned: whether new pods are kept away already.
        evidence_at: when what decided was last so, in seconds since 1970.
        product: of its devices, or empty.
    """

    node: str
    health: Health
    reason: Reason
    text: str
    action: RecommendedAction
    devices: int
    healthy: int
    pool: str = ""
    cordoned: bool = False
    evidence_at: float = 0.0
    product: str = ""

    @property
    def usable(self) -> bool:
        """Whether new pods can go there: it is seen, and not cordoned."""
        return self.health is not Health.UNKNOWN and not self.cordoned


@dataclass(frozen=True)
class Assessment:
    """How a fleet stands.

    Attributes:
        at: seconds since 1970.
        devices: by UUID.
        nodes: by name.
        problems: how often something was not understood, by source and kind.
        failed: why a source said nothing, by source.
    """

    at: float
    devices: dict[str, DeviceVerdict] = field(default_factory=dict)
    nodes: dict[str, NodeVerdict] = field(default_factory=dict)
    problems: dict[str, dict[str, int]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
