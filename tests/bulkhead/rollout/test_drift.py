"""Changes that others make to what serves: said, and written over or left, by policy. Over a world in memory."""

from dataclasses import replace

import pytest

from bulkhead.errors import FencedError, UnavailableError
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase
from bulkhead.routers.base import Split
from bulkhead.settings import ServicePolicy
from tests.rollouts import PLAN
from tests.worlds import Stage


@pytest.fixture
def stage(sqlite_url: str) -> Stage:
    return Stage(sqlite_url)


def _edit(stage: Stage, weights: dict[str, int]) -> None:
    """Somebody writes the router by hand, under the fence that is there."""
    fence, split = stage.router.read("digits")
    stage.router.splits["digits"] = (fence, replace(split, weights=weights))


def _drifts(stage: Stage) -> list[str]:
    return [event.data["why"] for event in stage.ledger.events.select(kind="drift", service="digits")]


def test_traffic_that_somebody_changed_is_written_again_and_told(stage: Stage) -> None:
    old = stage.stable()
    _edit(stage, {})
    stage.reconciler.run_once()
    assert stage.weights == {old: 100}
    [message] = _drifts(stage)
    assert message == f"traffic is no revision serves instead of 100 % to {old}, changed by the test"


def test_during_a_rollout_as_well_and_the_rollout_goes_on(stage: Stage) -> None:
    old = stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    assert stage.now(rollout).phase is Phase.ANALYSING
    before = stage.weights
    _edit(stage, {rollout.revision_id: 100})
    stage.reconciler.run_once()
    assert stage.weights == before and before[old] > 0
    assert len(_drifts(stage)) == 1
    assert stage.now(rollout).phase is Phase.ANALYSING


def test_who_writes_it_back_at_once_is_answered_ever_more_rarely(stage: Stage) -> None:
    stage.stable()
    for _ in range(60):
        _edit(stage, {})
        stage.reconciler.run_once()
        stage.clock.pass_by(0.5)
    assert 4 <= len(_drifts(stage)) <= 6  # at 0, 1, 3, 7, 15 seconds


def test_a_service_may_have_changes_adopted(stage: Stage) -> None:
    old = stage.stable()
    stage.policies["digits"] = ServicePolicy(drift="adopt")
    _edit(stage, {})
    for _ in range(3):
        stage.reconciler.run_once()
    assert stage.weights == {}
    assert len(_drifts(stage)) == 1
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    assert stage.weights == {rollout.revision_id: 50, old: 50}  # a rollout writes what it needs


def test_a_stable_server_that_somebody_changed_is_written_again(stage: Stage) -> None:
    old = stage.stable()
    stage.workloads.edited[old] = "spec.replicas was set by kubectl-scale"
    stage.reconciler.run_once()
    assert stage.workloads.edited == {}
    assert _drifts(stage) == ["spec.replicas was set by kubectl-scale"]


def test_a_service_that_nobody_serves_is_not_given_away(stage: Stage) -> None:
    stage.ask("new", PLAN)
    stage.ledger.rollouts.request_rollback(Request("r", "x", "cli"), service="digits")
    assert stage.reconciler.run_once() is False
    _edit(stage, {"somebody-elses": 100})
    stage.reconciler.run_once()
    assert stage.weights == {}
    assert len(_drifts(stage)) == 1


def test_who_read_the_service_before_a_promotion_brings_nothing_of_it_back(stage: Stage) -> None:
    old = stage.stable("old")
    stale = stage.ledger.services.get("digits")
    new = stage.stable("new")
    assert old not in stage.workloads.servers
    launched = list(stage.workloads.launched)
    with pytest.raises(FencedError):
        stage.another()._drift.reconcile(stale, lambda: None)
    assert stage.weights == {new: 100}
    assert stage.workloads.launched == launched


def test_who_read_a_step_before_it_was_taken_back_does_not_show_it_again(stage: Stage) -> None:
    old = stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    service, stale = stage.ledger.services.get("digits"), stage.now(rollout)
    assert stale.phase is Phase.ANALYSING
    stage.ledger.rollouts.request_rollback(Request("r", "x", "cli"), service="digits")
    stage.reconciler.run_once()
    stage.workloads.launch(stage.ledger.revisions.get(rollout.revision_id), 1)  # and its server is there yet
    with pytest.raises(FencedError):
        another = stage.another()
        another._drift.reconcile(service, lambda: another._contexts.of(stale))
    assert stage.weights == {old: 100}


@pytest.mark.parametrize("resync_s", [0.0, 10.0])
def test_a_clock_that_is_set_back_leaves_no_change_of_others_standing(stage: Stage, resync_s: float) -> None:
    old = stage.stable()
    stage.backend = replace(stage.backend, resync_s=resync_s)
    for _ in range(2):  # the second time there is an earlier repair, too
        _edit(stage, {})
        stage.reconciler.run_once()
        assert stage.weights == {old: 100}
        stage.clock.pass_by(-400)


def test_a_backend_is_polled_once_in_its_period(stage: Stage) -> None:
    old = stage.stable()
    stage.backend = replace(stage.backend, resync_s=10.0)
    stage.reconciler.run_once()
    _edit(stage, {})
    stage.clock.pass_by(9)
    stage.reconciler.run_once()
    assert stage.weights == {}
    stage.clock.pass_by(1)
    stage.reconciler.run_once()
    assert stage.weights == {old: 100}


def test_what_does_not_answer_is_asked_ever_more_rarely_and_keeps_nobody_waiting(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stable = stage.stable()
    asked: list[str] = []

    def away(revision_id: str) -> None:
        asked.append(revision_id)
        raise UnavailableError("the cluster does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(stage.workloads, "find", away)
        for _ in range(240):
            stage.reconciler.run_once()
            stage.clock.pass_by(0.5)
    assert 8 <= len(asked) <= 13  # after 1, 2, 4, 8 and then every 15 seconds, for two minutes
    _edit(stage, {})
    stage.clock.pass_by(15)
    stage.reconciler.run_once()
    assert stage.weights == {stable: 100}


def test_the_same_ways_are_the_same_whatever_else_is_known() -> None:
    split = Split({"a": 1, "b": 2}, {"a": 100, "b": 0})
    assert split.routes_as(Split({"a": 1}, {"a": 100}))
    assert not split.routes_as(Split({"a": 1, "b": 2}, {"a": 90, "b": 10}))
