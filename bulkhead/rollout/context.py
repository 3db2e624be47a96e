"""One rollout in one step of the reconciler, and what a step can come to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bulkhead.errors import InvalidInputError
from bulkhead.ledger.tables import Rollout
from bulkhead.rollout.backend import ServingBackend
from bulkhead.rollout.plan import Plan, Step, parse_plan
from bulkhead.routers.base import Fence

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RolloutContext:
    """What every function that a step calls needs to know.

    Attributes:
        rollout: as it was read; its fence goes with every write, so that one from an older view is refused.
        plan: of the rollout.
        backend: of its service.
        clock: gives the time in UTC.
    """

    rollout: Rollout
    plan: Plan
    backend: ServingBackend
    clock: Callable[[], datetime]

    @property
    def step(self) -> Step:
        """The step of the plan at which the rollout is."""
        return self.plan.steps[self.rollout.step]

    @property
    def candidate(self) -> str:
        """Id of the revision that is rolled out."""
        return self.rollout.revision_id

    @property
    def stable(self) -> str | None:
        """Id of the revision that it is to replace; None for a service's first."""
        return self.rollout.stable_id

    @property
    def fence(self) -> Fence:
        """What a write to the router carries."""
        return Fence(self.rollout.generation, self.rollout.sequence)

    @property
    def phase_age_s(self) -> float:
        """How long the rollout has been in its phase, in seconds."""
        return self.age_s(self.rollout.phase_at)

    def age_s(self, at: datetime) -> float:
        """How long ago a time is, in seconds."""
        return (self.clock() - at).total_seconds()


class Contexts:
    """Makes contexts. A plan is read once a rollout, however many steps and passes that takes.

    Args:
        backends: where a service runs, by its name.
        clock: gives the time in UTC.
    """

    def __init__(self, backends: Callable[[str], ServingBackend], clock: Callable[[], datetime]) -> None:
        self._backends, self._clock = backends, clock
        self._plans: dict[int, tuple[dict[str, Any], Plan]] = {}

    def of(self, rollout: Rollout) -> RolloutContext:
        """The context of a rollout.

        Where its direction is final, a plan that cannot be read (an older version's, a restored backup's) is the
        default: it must not keep the traffic where it is.

        Raises:
            InvalidInputError: its plan cannot be read, and it can still be rolled back.
            NotFoundError: the configuration does not know its service.
        """
        return RolloutContext(rollout, self._plan(rollout), self._backends(rollout.service), self._clock)

    def forget_all_but(self, rollout_ids: set[int]) -> None:
        """Drop the plans of rollouts that have ended."""
        for ended in self._plans.keys() - rollout_ids:
            del self._plans[ended]

    def _plan(self, rollout: Rollout) -> Plan:
        read = self._plans.get(rollout.id)
        if read is None or read[0] != rollout.plan:  # a plan never changes; a backup that is restored may have another
            read = self._plans[rollout.id] = (rollout.plan, self._read(rollout))
        return read[1]

    def _read(self, rollout: Rollout) -> Plan:
        try:
            return parse_plan(rollout.plan)
        except InvalidInputError as error:
            if not rollout.phase.settled:
                raise
            log.warning("rollout %s: %s; its bounds are the defaults", rollout.id, error)
            return Plan()


@dataclass(frozen=True)
class Continue:
    """The phase's effect has succeeded: its successor follows.

    Attributes:
        changes: columns of the rollout to set with it.
        noted: what the event of it says besides.
        skip_to: index of the step that comes next, in place of what the table of phases has.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    noted: Mapping[str, Any] = field(default_factory=dict)
    skip_to: int | None = None


@dataclass(frozen=True)
class Abort:
    """The rollout is to be rolled back.

    Attributes:
        reason: for people.
        decision: ``rule``, and the numbers that it rests on.
    """

    reason: str
    decision: Mapping[str, Any]


@dataclass(frozen=True)
class Wait:
    """Nothing can be done yet.

    Attributes:
        reason: what is waited for, for people; the same text at every pass for as long as it is the same thing. Empty
            where it goes without saying.
        detail: the numbers of now; may be another at every pass.
    """

    reason: str = ""
    detail: str = ""


Outcome = Continue | Abort | Wait
