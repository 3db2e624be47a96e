"""Making rollouts in a ledger."""

from typing import Any

from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.rollout.phases import following
from bulkhead.rollout.plan import Plan, parse_plan
from bulkhead.rollout.revision import RevisionSpec

PLAN = Plan(steps=(50, 100), step_s=0, min_requests=1)

UNHURRIED = {"latency_ms": 60_000.0, "latency_floor_ms": 60_000.0}
"""For plans whose candidates are real servers: what is tested is not how quick the machine is."""


def revision(name: str, service: str = "digits", **more: Any) -> RevisionSpec:
    return RevisionSpec(service, "digits", f"models:/{name}", "image", **more)


def request(
    ledger: Ledger, name: str, *, service: str = "digits", owner: str = "run", key: str | None = None, **more: Any
) -> Rollout:
    return ledger.rollouts.request(
        revision(name, service).columns(),
        PLAN.model_dump(mode="json"),
        Request(key or f"{owner}/{name}", "", "a test"),
        owner=owner,
        **more,
    )


def weights(rollout: Rollout) -> list[int]:
    return [step.weight for step in parse_plan(rollout.plan).steps]


def advance(ledger: Ledger, rollout: Rollout, until: Phase) -> Rollout:
    """Move a rollout forward by the state machine, without a world."""
    plan = parse_plan(rollout.plan)
    while rollout.phase is not until:
        phase, step = following(rollout.phase, rollout.step, plan)
        rollout = ledger.rollouts.transition(rollout, phase, str(phase), {}, step=step)
    return rollout


def promote(ledger: Ledger, name: str, service: str = "digits") -> Rollout:
    return advance(ledger, request(ledger, name, service=service, owner=f"run of {name}"), Phase.PROMOTED)
