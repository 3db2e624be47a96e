"""Devices under a revision's pods: looked at before its model is blamed, and kept away from work by two levels."""

from __future__ import annotations

from typing import Any

import pytest

from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, QuarantinePhase
from bulkhead.rollout.plan import Plan
from bulkhead.settings import ServicePolicy
from tests.worlds import Stage

PLAN = Plan(steps=[10, 100], step_s=30)


@pytest.fixture
def stage(sqlite_url: str) -> Stage:
    return Stage(sqlite_url)


def device(node: str, health: str, job: str = "") -> dict[str, Any]:
    known = {"uuid": f"GPU-{node}", "node": node, "model": "H100", "pci": ""}
    return {"device": known, "window": {}, "verdict": {"health": health, "text": "Xid 79", "job": job}}


def watch(stage: Stage, **devices: dict[str, Any]) -> None:
    """What the fleet's watch leaves, by UUID."""
    for uuid, one in devices.items():
        stage.fleet.remember({one["device"]["node"]: {uuid: one}})


def on_trial(stage: Stage) -> Any:
    stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    assert stage.now(rollout).phase is Phase.ANALYSING
    return rollout


def settle(stage: Stage) -> None:
    while stage.reconciler.run_once():
        stage.clock.pass_by(1)


def test_an_unhealthy_device_under_the_candidate_takes_it_back_and_says_so(stage: Stage) -> None:
    rollout = on_trial(stage)
    node = f"node-of-{rollout.revision_id}"
    watch(stage, GPU=device(node, "unhealthy", f"ml/{rollout.revision_id}"))
    stage.clock.pass_by(6)
    watch(stage, GPU=device(node, "unhealthy", f"ml/{rollout.revision_id}"))
    stage.reconciler.run_once()
    now = stage.now(rollout)
    assert now.phase is Phase.ROLLED_BACK
    assert now.decision == {"rule": "device"}
    assert f"GPU of {node}: Xid 79" in (now.reason or "")


@pytest.mark.parametrize(("health", "job"), [("suspect", None), ("unknown", None), ("unhealthy", "ml/somebody-else")])
def test_what_is_not_unhealthy_or_another_pods_is_no_reason(stage: Stage, health: str, job: str | None) -> None:
    rollout = on_trial(stage)
    node = f"node-of-{rollout.revision_id}"
    stage.clock.pass_by(6)
    watch(stage, GPU=device(node, health, job or f"ml/{rollout.revision_id}"))
    stage.reconciler.run_once()
    assert stage.now(rollout).phase is Phase.ANALYSING


def test_what_a_watch_left_long_ago_is_not_believed(stage: Stage) -> None:
    rollout = on_trial(stage)
    watch(stage, GPU=device(f"node-of-{rollout.revision_id}", "unhealthy", f"ml/{rollout.revision_id}"))
    stage.clock.pass_by(700)
    assert stage.devices.fault(stage.workloads.placement(rollout.revision_id)) is None


def test_a_node_in_quarantine_under_the_candidate_is_a_fault(stage: Stage) -> None:
    rollout = on_trial(stage)
    placement = stage.workloads.placement(rollout.revision_id)
    stage.ledger.isolations.isolate(
        rollout.revision_id, Request("k", "it burns", "a test"), levels=[IsolationLevel.NODE]
    )
    stage.reconciler.run_once()
    assert "it burns" in (stage.devices.fault(placement) or "")


@pytest.mark.parametrize(("level", "target"), [(IsolationLevel.NODE, "node-of-{0}"), (IsolationLevel.DEVICE, "GPU")])
def test_a_level_asks_for_a_quarantine_and_its_release_takes_it_back(
    stage: Stage, level: IsolationLevel, target: str
) -> None:
    rollout = on_trial(stage)
    revision = rollout.revision_id
    watch(stage, GPU=device(f"node-of-{revision}", "healthy", f"ml/{revision}"), OTHER=device("elsewhere", "healthy"))
    stage.ledger.isolations.isolate(revision, Request("k", "it burns", "a test"), levels=[level])
    settle(stage)
    (held,) = stage.quarantines.open_ones()
    assert (held.target, held.phase) == (target.format(revision), QuarantinePhase.HELD)
    assert "it burns" in held.evidence
    assert stage.now(rollout).phase is Phase.ROLLED_BACK
    stage.ledger.isolations.unisolate(revision, Request("r", "mended", "a test"))
    stage.reconciler.run_once()
    assert stage.quarantines.open_ones() == []


def test_a_level_keeps_to_the_budget(stage: Stage) -> None:
    rollout = on_trial(stage)
    watch(stage, GPU=device(f"node-of-{rollout.revision_id}", "healthy"))  # the last node of its model
    stage.ledger.isolations.isolate(
        rollout.revision_id, Request("k", "it burns", "a test"), levels=[IsolationLevel.NODE]
    )
    settle(stage)
    assert stage.quarantines.open_ones() == []
    assert stage.now(rollout).phase is Phase.ROLLED_BACK


def test_a_service_may_have_its_devices_isolated_by_policy(stage: Stage) -> None:
    stage.policies["digits"] = ServicePolicy(isolation={"device": (IsolationLevel.NODE,)})
    rollout = on_trial(stage)
    node = f"node-of-{rollout.revision_id}"
    stage.clock.pass_by(6)
    watch(stage, GPU=device(node, "unhealthy", f"ml/{rollout.revision_id}"), OTHER=device("elsewhere", "healthy"))
    stage.reconciler.run_once()
    assert [quarantine.target for quarantine in stage.quarantines.open_ones()] == [node]
