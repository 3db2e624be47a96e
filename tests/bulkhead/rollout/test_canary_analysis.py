"""The candidate on trial: approvals, bake, pinned requests, mirrors, times, and metrics that cannot be read."""

from typing import Any

import pytest

from bulkhead.errors import UnavailableError
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.pods.outcome import Failure, FailureClass
from bulkhead.pods.status import PodPhase as PodPhase
from bulkhead.pods.status import PodStatus
from bulkhead.rollout.plan import RETURN, parse_plan
from bulkhead.routers.base import Pin
from tests.worlds import Stage


@pytest.fixture
def stage(sqlite_url: str) -> Stage:
    stage = Stage(sqlite_url)
    stage.ask("old", RETURN)
    stage.reconciler.run_once()
    return stage


def _new(stage: Stage, **plan: Any) -> Rollout:
    rollout = stage.ask("new", parse_plan({"step_s": 5, "inconclusive_timeout_s": 300, **plan}))
    stage.reconciler.run_once()
    return rollout


def _serve(stage: Stage, rollout: Rollout, seconds: float = 6, failures: int = 0, requests: int = 100) -> None:
    stage.clock.pass_by(seconds)
    if requests:
        stage.router.answer(rollout.revision_id, requests, failures)
    stage.reconciler.run_once()


def _old(stage: Stage) -> str:
    return str(stage.ledger.services.get("digits").stable_revision)


# Approval


def test_it_waits_for_a_person_and_then_goes_on(stage: Stage) -> None:
    rollout = _new(stage, steps=[{"weight": 10, "approve": True}, 100])
    _serve(stage, rollout)
    _serve(stage, rollout, seconds=3600)
    assert stage.now(rollout).phase is Phase.APPROVING
    assert (
        stage.ledger.events.select(rollout.id, "waiting")[-1].data["for"]
        == "a person to approve: bulkhead approve digits"
    )
    stage.ledger.approvals.approve(rollout.id, Request("a", "", "ada"))
    stage.reconciler.run_once()
    assert stage.weights == {rollout.revision_id: 100}


def test_it_is_judged_while_it_waits(stage: Stage) -> None:
    rollout = _new(stage, steps=[{"weight": 10, "approve": True}, 100])
    _serve(stage, rollout)
    _serve(stage, rollout, failures=50)
    assert stage.now(rollout).phase is Phase.ROLLED_BACK
    assert stage.weights == {_old(stage): 100}


def test_it_does_not_wait_for_ever(stage: Stage) -> None:
    rollout = _new(stage, steps=[{"weight": 10, "approve": True}, 100], approval_s=1000)
    _serve(stage, rollout)
    _serve(stage, rollout, seconds=1001)
    assert stage.now(rollout).reason == "nobody approved of step 1 within 1000 s"


def test_a_candidate_may_wait_for_a_person_without_any_request(stage: Stage) -> None:
    rollout = _new(stage, steps=[{"approve": True}, 100])
    _serve(stage, rollout, requests=0)
    assert stage.now(rollout).phase is Phase.APPROVING
    assert stage.now(rollout).exposed_at is None


# Promotion by a person


def _promote(stage: Stage, rollout: Rollout) -> None:
    stage.ledger.approvals.promote(rollout.id, Request("p", "urgent", "ada"))
    stage.reconciler.run_once()


@pytest.mark.parametrize("first", [10, {"weight": 10, "approve": True}, {"headers": {"x": "1"}}])
def test_promoted_it_goes_to_the_last_step_at_once_and_is_judged_there(stage: Stage, first: Any) -> None:
    rollout = _new(stage, steps=[first, {"weight": 50, "approve": True}, 100], min_requests=20)
    _promote(stage, rollout)
    now = stage.now(rollout)
    assert (now.phase, now.step, stage.weights) == (Phase.ANALYSING, 2, {rollout.revision_id: 100})
    _serve(stage, rollout, requests=19)
    assert stage.now(rollout).phase is Phase.ANALYSING, "as the plan has it for every step"
    _serve(stage, rollout, requests=1)
    assert stage.now(rollout).phase is Phase.PROMOTED
    kinds = [event.kind for event in stage.ledger.events.select(rollout.id)]
    assert kinds.count("passed") == 1 and "approving" not in kinds


def test_promoted_where_it_waits_for_a_person_it_asks_no_more(stage: Stage) -> None:
    rollout = _new(stage, steps=[{"weight": 10, "approve": True}, 50, 100])
    _serve(stage, rollout)
    assert stage.now(rollout).phase is Phase.APPROVING
    _promote(stage, rollout)
    assert (stage.now(rollout).step, stage.weights) == (2, {rollout.revision_id: 100})


def test_a_last_step_that_asks_for_a_person_does_so_after_a_promotion(stage: Stage) -> None:
    rollout = _new(stage, steps=[10, 50, {"weight": 100, "approve": True}])
    _promote(stage, rollout)
    _serve(stage, rollout)
    assert (stage.now(rollout).phase, stage.now(rollout).step) == (Phase.APPROVING, 2)


def test_what_fails_is_not_promoted_but_rolled_back(stage: Stage) -> None:
    rollout = _new(stage, steps=[10, 50, 100])
    stage.router.answer(rollout.revision_id, 100, 50)
    _promote(stage, rollout)
    assert (stage.now(rollout).phase, stage.weights) == (Phase.ROLLED_BACK, {_old(stage): 100})
    assert all(event.data.get("weight") != 100 for event in stage.ledger.events.select(rollout.id))


def test_what_fails_after_a_promotion_is_rolled_back(stage: Stage) -> None:
    rollout = _new(stage, steps=[10, 50, 100])
    _promote(stage, rollout)
    _serve(stage, rollout, failures=50)
    assert (stage.now(rollout).phase, stage.weights) == (Phase.ROLLED_BACK, {_old(stage): 100})


def test_nothing_is_promoted_that_cannot_be_judged_now(stage: Stage) -> None:
    rollout = _new(stage, steps=[10, 100])
    stage.router.up = False
    _promote(stage, rollout)
    assert (stage.now(rollout).phase, stage.now(rollout).step) == (Phase.ANALYSING, 0)
    stage.router.up = True
    stage.clock.pass_by(6)
    stage.reconciler.run_once()
    assert stage.weights == {rollout.revision_id: 100}


# Bake


def test_stable_stays_warm_until_the_bake_is_over(stage: Stage) -> None:
    old = _old(stage)
    rollout = _new(stage, steps=[100], bake_s=60)
    _serve(stage, rollout)
    assert stage.now(rollout).phase is Phase.BAKING
    assert stage.registry.alias == stage.registry.versions[rollout.revision_id]
    assert old in stage.workloads.servers and old in stage.router.read("digits")[1].endpoints
    _serve(stage, rollout, seconds=61)
    assert stage.now(rollout).phase is Phase.PROMOTED
    assert old not in stage.workloads.servers


def test_what_turns_bad_in_the_bake_goes_back_with_the_alias(stage: Stage) -> None:
    old = _old(stage)
    rollout = _new(stage, steps=[100], bake_s=60)
    _serve(stage, rollout)
    _serve(stage, rollout, failures=60)
    assert stage.now(rollout).phase is Phase.ROLLED_BACK
    assert stage.weights == {old: 100}
    assert stage.registry.alias == stage.registry.versions[old]
    assert stage.ledger.services.get("digits").stable_revision == old


def test_a_quiet_bake_is_no_failure(stage: Stage) -> None:
    rollout = _new(stage, steps=[100], bake_s=3600)
    _serve(stage, rollout)
    _serve(stage, rollout, seconds=3601, requests=0)
    assert stage.now(rollout).phase is Phase.PROMOTED


def test_a_bake_waits_for_metrics_longer_than_a_step(stage: Stage) -> None:
    rollout = _new(stage, steps=[100], bake_s=3600)
    _serve(stage, rollout)
    stage.router.up = False
    _serve(stage, rollout, seconds=3000)
    assert stage.now(rollout).phase is Phase.BAKING


# Pinned requests


def test_requests_of_one_tenant_go_first(stage: Stage) -> None:
    rollout = _new(stage, steps=[{"headers": {"x-tenant": "acme"}}, 100])
    _, split = stage.router.read("digits")
    assert split.weights == {_old(stage): 100}
    assert split.pin == Pin(rollout.revision_id, {"x-tenant": "acme"})
    assert stage.now(rollout).exposed_at is not None
    _serve(stage, rollout, failures=30)
    assert str(stage.now(rollout).reason).startswith("for x-tenant: acme 30 of 100 (30.0%) requests failed")
    assert stage.router.read("digits")[1].pin is None


# Times


def test_the_whole_way_may_take_so_long(stage: Stage) -> None:
    rollout = _new(stage, steps=[10, 100], step_s=100, progress_deadline_s=150)
    _serve(stage, rollout, seconds=101)
    assert stage.now(rollout).step == 1
    _serve(stage, rollout, seconds=60)
    assert stage.now(rollout).reason == "not at 100 % after 150 s in all"


def test_without_evidence_it_goes_on_only_where_the_plan_says_so(stage: Stage) -> None:
    rollout = _new(stage, steps=[10, 100], on_insufficient_data="promote")
    _serve(stage, rollout, seconds=301, requests=3)
    assert (stage.now(rollout).step, stage.weights) == (1, {rollout.revision_id: 100})
    assert stage.ledger.events.select(rollout.id, "passed")[0].data["rule"] == "min-requests"


def test_with_unclear_evidence_it_goes_back_whatever_the_plan_says(stage: Stage) -> None:
    rollout = _new(stage, steps=[10, 100], on_insufficient_data="promote")
    _serve(stage, rollout, seconds=301, requests=50, failures=1)
    assert stage.now(rollout).phase is Phase.ROLLED_BACK
    assert "over the limit, but not yet statistically significant" in str(stage.now(rollout).reason)


# Metrics that cannot be read


@pytest.mark.parametrize(("on_metrics_unavailable", "end"), [("hold", Phase.ANALYSING), ("roll-back", Phase.RESTORING)])
def test_metrics_that_stay_unreadable_are_held_or_not(stage: Stage, on_metrics_unavailable: str, end: Phase) -> None:
    rollout = _new(stage, steps=[10, 100], on_metrics_unavailable=on_metrics_unavailable, metrics_unavailable_s=60)
    _serve(stage, rollout, seconds=50, requests=1)
    stage.router.up = False
    _serve(stage, rollout, seconds=50, requests=0)
    assert stage.now(rollout).phase is Phase.ANALYSING
    _serve(stage, rollout, seconds=20, requests=0)
    assert stage.now(rollout).phase is end


# An objective


def test_an_error_budget_that_burns_too_fast_is_a_failure(stage: Stage) -> None:
    rollout = _new(stage, steps=[100], step_s=600, objective=0.999, max_error_rate=0.5)
    for _ in range(60):
        _serve(stage, rollout, seconds=5, requests=100, failures=10)
    done = stage.now(rollout)
    assert done.phase is Phase.ROLLED_BACK
    assert "the error budget of 99.900% burns" in str(done.reason)


# Ground truth


def _measure(stage: Stage, rollout: Rollout, **metrics: float) -> None:
    stage.registry.metrics[stage.registry.versions[rollout.revision_id]] = metrics


def test_ground_truth_that_comes_during_the_bake_takes_it_back(stage: Stage) -> None:
    rollout = _new(stage, steps=[100], bake_s=3600, truth={"live_accuracy": {"at_least": 0.9}})
    _serve(stage, rollout)
    assert stage.now(rollout).phase is Phase.BAKING
    _measure(stage, rollout, live_accuracy=0.95)
    _serve(stage, rollout, seconds=60)
    assert stage.now(rollout).phase is Phase.BAKING
    _measure(stage, rollout, live_accuracy=0.7)
    _serve(stage, rollout, seconds=60)
    ended = stage.now(rollout)
    assert ended.phase is Phase.ROLLED_BACK
    assert ended.reason == "at 100 % of the traffic live_accuracy is 0.7, at least 0.9 was asked for"


def test_a_step_that_requires_it_waits_for_it(stage: Stage) -> None:
    truth = {"live_accuracy": {"at_least": 0.9, "required": True}}
    rollout = _new(stage, steps=[10, 100], truth=truth)
    _serve(stage, rollout)
    assert stage.now(rollout).step == 0
    assert stage.ledger.events.select(rollout.id, "waiting")[-1].data["for"] == "hold: no-ground-truth"
    _measure(stage, rollout, live_accuracy=0.95)
    _serve(stage, rollout, seconds=20)
    assert stage.now(rollout).step == 1


def test_a_registry_that_is_away_leaves_the_rest_of_the_judgement(stage: Stage) -> None:
    rollout = _new(stage, steps=[10, 100], truth={"live_accuracy": {"at_least": 0.9}})
    stage.registry.broken = UnavailableError("MLflow is away")
    _serve(stage, rollout, failures=50)
    assert stage.weights == {_old(stage): 100}
    assert stage.now(rollout).decision["rule"] == "errors"


def test_the_registry_is_not_asked_at_every_look(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(stage.registry, "measured", lambda *_: asked.append("") or {})
    rollout = _new(stage, steps=[10, 100], step_s=600, truth={"live_accuracy": {"at_least": 0.9}})
    for _ in range(60):
        _serve(stage, rollout, seconds=0.5)
    assert len(asked) == 6  # of both revisions, at 0, 15 and 30 s


# Starting

NO_GPU = Failure(failure_class=FailureClass.UNSCHEDULABLE, kind="gpu", message="3 Insufficient nvidia.com/gpu")
WAITS = PodStatus(PodPhase.PENDING, message="pod x: 3 Insufficient nvidia.com/gpu", failure=NO_GPU)


def _starting(stage: Stage) -> Rollout:
    stage.workloads.ready = False
    rollout = _new(stage, ready_s=60)
    assert stage.now(rollout).phase is Phase.LAUNCHED
    return rollout


def test_a_candidate_that_is_not_ready_in_time_goes_back_without_having_had_traffic(stage: Stage) -> None:
    rollout = _starting(stage)
    stage.clock.pass_by(61)
    stage.reconciler.run_once()
    assert stage.now(rollout).reason == "the candidate was not ready after 60 s"
    assert all(share == {rollout.stable_id: 100} for share in stage.router.history)


def test_a_candidate_whose_node_is_still_to_come_is_waited_for_and_told_of(stage: Stage) -> None:
    rollout = _starting(stage)
    stage.workloads.servers[rollout.revision_id] = WAITS
    stage.clock.pass_by(59)
    stage.reconciler.run_once()
    assert stage.now(rollout).phase is Phase.LAUNCHED
    stage.clock.pass_by(2)
    stage.reconciler.run_once()
    assert stage.now(rollout).reason == f"the candidate was not ready after 60 s: {WAITS.message}"


def test_a_candidate_that_dies_at_its_start_goes_back_with_its_own_words(stage: Stage) -> None:
    rollout = _starting(stage)
    why = Failure(failure_class=FailureClass.APPLICATION, message="no module named digits")
    stage.workloads.servers[rollout.revision_id] = PodStatus(PodPhase.FAILED, failure=why)
    stage.reconciler.run_once()
    assert "did not start: application: no module named digits" in str(stage.now(rollout).reason)


@pytest.mark.parametrize("status", [PodStatus(PodPhase.FAILED, message="killed"), WAITS], ids=["dead", "cannot start"])
def test_a_candidate_that_answers_no_more_under_traffic_goes_back_without_waiting_for_statistics(
    stage: Stage, status: PodStatus
) -> None:
    rollout = _new(stage)
    assert stage.now(rollout).phase is Phase.ANALYSING
    stage.workloads.servers[rollout.revision_id] = status
    stage.reconciler.run_once()
    assert stage.now(rollout).reason == f"the candidate stopped serving: {status.message}"
    assert stage.weights == {rollout.stable_id: 100}
