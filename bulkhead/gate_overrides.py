"""A person's word that a model may pass the gate although it was refused: for a time, with a name and a reason.

The ledger has it: ``bulkhead gate override`` writes it there, and the evaluate task tells its pod. A tag of the model
in MLflow shows it to people; the gate does not go by that, since a training may tag its own model.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from bulkhead.errors import InvalidInputError
from bulkhead.text import bounded

OVERRIDE_TAG = "bulkhead.gate.override"
"""Tag of a model, or of a model version, for people; its value is a ``GateOverride`` as JSON."""

LONGEST = timedelta(days=30)
"""That an override may hold: what is to pass for longer needs other limits."""

_LONGEST_TEXT = 500

Moment = Annotated[AwareDatetime, AfterValidator(lambda at: at.astimezone(UTC))]


class GateOverride(BaseModel):
    """An override.

    Attributes:
        by: who lets the model pass.
        reason: why.
        at: since when, in UTC.
        until: until when, in UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    at: Moment
    until: Moment

    def active(self, now: datetime) -> bool:
        """Whether it holds at a time."""
        return self.at <= now < self.until

    def sentence(self) -> str:
        """For people and for the evidence."""
        return f"{self.by} lets it pass until {self.until:%Y-%m-%d %H:%M} UTC: {self.reason}"


def override(by: str, reason: str, now: datetime, until: datetime) -> GateOverride:
    """A new override.

    Args:
        by: see ``GateOverride``.
        reason: see ``GateOverride``.
        now: the time.
        until: see ``GateOverride``.

    Raises:
        InvalidInputError: it has no reason, ends in the past, or holds for too long.
    """
    if not reason.strip():
        raise InvalidInputError("reason", reason, "say why: it is shown in every later evidence")
    if not now < until <= now + LONGEST:
        remedy = f"give a time within {LONGEST.days} days from now, such as {now + timedelta(days=2):%Y-%m-%dT%H:%M}"
        raise InvalidInputError("until", until.isoformat(timespec="minutes"), remedy)
    return GateOverride(by=bounded(by, _LONGEST_TEXT), reason=bounded(reason, _LONGEST_TEXT), at=now, until=until)
