"""Making rollouts in a ledger."""

from typing import Any

from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.rollout.machine import following
from bulkhead.rollout.plan import Plan
from bulkhead.rollout.revision import RevisionSpec

PLAN = Plan(weights=(50, 100), step_s=0, min_requests=1)


def revision(name: str, service: str = "digits", **more: Any) -> RevisionSpec:
    return RevisionSpec(service, "digits", f"models:/{name}", "image", **more)


def request(
    ledger: Ledger, name: str, *, service: str = "digits", owner: str = "run", key: str | None = None, **more: Any
) -> Rollout:
    return ledger.request_rollout(
        revision(name, service).columns(),
        PLAN.model_dump(mode="json"),
        key=key or f"{owner}/{name}",
        owner=owner,
        requested_by="a test",
        **more,
    )


def advance(ledger: Ledger, rollout: Rollout, until: Phase) -> Rollout:
    """Move a rollout forward by the state machine, without a world."""
    steps = len(rollout.plan["weights"])
    while rollout.phase is not until:
        phase, step = following(rollout.phase, rollout.step, steps)
        rollout = ledger.transition(rollout, phase, str(phase), {}, step=step)
    return rollout


def promote(ledger: Ledger, name: str, service: str = "digits") -> Rollout:
    return advance(ledger, request(ledger, name, service=service, owner=f"run of {name}"), Phase.PROMOTED)
