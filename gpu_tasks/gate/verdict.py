"""What follows from the gate's judgement, and from a person's word against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bulkhead.gate_overrides import GateOverride

_LONGEST = 200


@dataclass(frozen=True)
class GateVerdict:
    """Whether a candidate passes.

    Attributes:
        refusals: why it is refused; empty where it passes by itself.
        override: that its tags hold, whether it was needed or not; None where there is none.
        override_used: whether it passes by that alone.
    """

    refusals: Sequence[str]
    override: GateOverride | None
    override_used: bool

    @property
    def passed(self) -> bool:
        """Whether it passes."""
        return self.override_used or not self.refusals

    def evidence(self) -> dict[str, Any]:
        """What every later evidence of the model says of its override; nothing where there is none."""
        document: dict[str, Any] = {}
        if self.override is not None:
            document["gate_override"] = self.override.sentence()[:_LONGEST]
        if self.override_used:
            document["overridden"] = self.refusals[0][:_LONGEST]
        return document

    def details(self) -> dict[str, Any]:
        """The same for MLflow, whole."""
        override = self.override.model_dump(mode="json") if self.override is not None else None
        return {"passed": self.passed, "refusals": list(self.refusals), "override": override}


def decide(refusals: Sequence[str], override: GateOverride | None, now: datetime) -> GateVerdict:
    """Decide.

    Args:
        refusals: why the candidate is refused.
        override: a person's word that it may pass; None for none.
        now: the time, in UTC.
    """
    if not refusals or override is None:
        return GateVerdict(refusals, override, override_used=False)
    if override.active(now):
        return GateVerdict(refusals, override, override_used=True)
    expired = f"an override has expired ({override.sentence()}); run 'bulkhead gate override' again if it is to hold"
    return GateVerdict([*refusals, expired], override, override_used=False)
