"""What the reconciler does about revisions that are isolated, over a world in memory."""

import pytest

from bulkhead.errors import UnavailableError
from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.rollout.plan import Plan
from bulkhead.rollout.returning import request_return
from bulkhead.settings import ServicePorts
from tests.worlds import Stage

PLAN = Plan(steps=(10, 100), step_s=5, min_requests=20)


@pytest.fixture
def stage(sqlite_url: str) -> Stage:
    return Stage(sqlite_url)


def _isolate(stage: Stage, revision_id: str) -> None:
    stage.ledger.isolations.isolate(revision_id, Request(f"isolate {revision_id}", "it leaks", "a test"))


def _shown(stage: Stage, revision_id: str) -> dict[str, bool]:
    return {
        str(isolation.level): isolation.applied_at is not None
        for isolation in stage.ledger.isolations.levels(revision_id)
    }


def _settle(stage: Stage) -> None:
    while stage.reconciler.run_once():
        stage.clock.pass_by(1)


def test_a_candidate_that_is_isolated_loses_its_traffic(stage: Stage) -> None:
    old = stage.stable("old")
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    assert stage.weights[rollout.revision_id] == 10
    _isolate(stage, rollout.revision_id)
    _settle(stage)
    assert stage.weights == {old: 100}
    assert (stage.now(rollout).phase, stage.now(rollout).reason) == (Phase.ROLLED_BACK, "it was isolated: it leaks")


def test_a_stable_revision_that_is_isolated_gives_way_to_the_one_before(stage: Stage) -> None:
    old, new = stage.stable("old"), stage.stable("new")
    _isolate(stage, new)
    _settle(stage)
    assert stage.weights == {old: 100}
    assert stage.ledger.services.get("digits").stable_revision == old
    _settle(stage)
    assert len(stage.ledger.rollouts.latest()) == 3, "once"


def test_it_goes_past_every_one_that_is_isolated(stage: Stage) -> None:
    oldest, old, new = (stage.stable(name) for name in ("oldest", "old", "new"))
    _isolate(stage, old)
    _isolate(stage, new)
    _settle(stage)
    assert stage.weights == {oldest: 100}


def test_where_nothing_is_left_the_stable_one_goes_on_serving_and_it_is_said(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    only = stage.stable("only")
    _isolate(stage, only)
    _settle(stage)
    assert stage.weights == {only: 100}
    stage.reconciler.run_once()
    assert caplog.text.count("its stable revision is isolated and goes on serving") == 1, "once, not at every poll"


def test_an_earlier_revision_is_given_the_traffic_again(stage: Stage) -> None:
    old, new = stage.stable("old"), stage.stable("new")
    assert stage.weights == {new: 100}
    request_return(stage.ledger, old, Request("k", "", "a test"))
    _settle(stage)
    assert stage.weights == {old: 100}


# What the world shows of it


def test_its_model_is_tagged_and_its_traffic_gone_before_that_is_written(stage: Stage) -> None:
    stage.stable("old")
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    _isolate(stage, rollout.revision_id)
    assert _shown(stage, rollout.revision_id) == {"traffic": False, "model": False}
    _settle(stage)
    stage.reconciler.run_once()
    assert _shown(stage, rollout.revision_id) == {"traffic": True, "model": True}
    assert stage.registry.forbidden == {"models:/new": "it leaks"}
    stage.ledger.isolations.unisolate(rollout.revision_id, Request("r", "mended", "ada"))
    stage.reconciler.run_once()
    assert stage.registry.forbidden == {}
    assert stage.ledger.isolations.unapplied() == []


def test_a_registry_that_is_away_keeps_nobody_from_their_traffic_and_is_tried_again(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    old = stage.stable("old")
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    stage.registry.broken = UnavailableError("MLflow is away")
    _isolate(stage, rollout.revision_id)
    for _ in range(3):
        stage.reconciler.run_once()
        stage.clock.pass_by(10)
    assert stage.weights == {old: 100}
    assert _shown(stage, rollout.revision_id) == {"traffic": True, "model": False}
    assert caplog.text.count("MLflow is away") == 1
    stage.registry.broken = None
    stage.clock.pass_by(60)
    stage.reconciler.run_once()
    assert _shown(stage, rollout.revision_id)["model"]


def test_a_registry_that_is_away_is_not_asked_at_every_look(stage: Stage) -> None:
    only = stage.stable("only")
    stage.registry.broken = UnavailableError("MLflow is away")
    _isolate(stage, only)
    stage.reconciler.run_once()
    stage.registry.broken = None
    stage.reconciler.run_once()
    assert not _shown(stage, only)["model"]
    stage.clock.pass_by(3)
    stage.reconciler.run_once()
    assert _shown(stage, only)["model"]


def test_evidence_is_taken_before_its_pod_goes(stage: Stage) -> None:
    old = stage.stable("old")
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    stage.registry.broken = UnavailableError("MLflow is away")
    stage.ledger.isolations.isolate(rollout.revision_id, Request("i", "look at it", "ada"), levels=[IsolationLevel.POD])
    for _ in range(3):
        stage.reconciler.run_once()
    assert stage.weights == {old: 100}
    assert rollout.revision_id in stage.workloads.servers
    stage.registry.broken = None
    stage.clock.pass_by(60)
    _settle(stage)
    stage.reconciler.run_once()
    assert rollout.revision_id not in stage.workloads.servers
    (bundle,) = stage.registry.bundles.values()
    assert bundle["server.log"] == "its termination message"
    assert "look at it" in bundle["rollouts.json"]


# By policy


def _fail(stage: Stage, plan: Plan = PLAN) -> Rollout:
    stage.stable("old")
    rollout = stage.ask("new", plan)
    stage.reconciler.run_once()
    stage.router.answer(rollout.revision_id, 50, failures=50)
    _settle(stage)
    return rollout


@pytest.mark.parametrize(("rule", "isolated"), [("errors", True), ("latency", False)])
def test_what_failed_by_a_rule_is_isolated_as_far_as_the_policy_says(stage: Stage, rule: str, isolated: bool) -> None:
    stage.policies["digits"] = ServicePorts(port=1, admin_port=2, isolation={rule: (IsolationLevel.MODEL,)})
    rollout = _fail(stage)
    assert stage.now(rollout).phase is Phase.ROLLED_BACK
    assert bool(_shown(stage, rollout.revision_id)) is isolated
    assert bool(stage.registry.forbidden) is isolated


def test_a_spent_budget_is_said_and_keeps_nobody_from_the_rollback(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.policies["digits"] = ServicePorts(port=1, admin_port=2, isolation={"errors": ()}, max_isolated=1)
    other = stage.stable("other")
    _isolate(stage, other)
    rollout = _fail(stage)
    assert stage.now(rollout).phase is Phase.ROLLED_BACK
    assert "1 revisions are isolated and the budget is 1" in caplog.text
