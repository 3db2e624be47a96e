"""What the reconciler does about revisions that are isolated, over a world in memory."""

import pytest

from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.rollout.plan import RETURN, Plan
from bulkhead.rollout.returning import request_return
from tests.rollouts import revision
from tests.worlds import Stage

PLAN = Plan(steps=(10, 100), step_s=5, min_requests=20)


@pytest.fixture
def stage(sqlite_url: str) -> Stage:
    return Stage(sqlite_url)


def _ask(stage: Stage, name: str, plan: Plan) -> Rollout:
    data = plan.model_dump(mode="json")
    return stage.ledger.request_rollout(revision(name).columns(), data, key=name, owner=name, requested_by="a test")


def _stable(stage: Stage, name: str) -> str:
    rollout = _ask(stage, name, RETURN)
    stage.reconciler.run_once()
    assert stage.now(rollout).phase is Phase.PROMOTED
    return rollout.revision_id


def _isolate(stage: Stage, revision_id: str) -> None:
    stage.ledger.isolate(revision_id, key=f"isolate {revision_id}", reason="it leaks", requested_by="a test")


def _settle(stage: Stage) -> None:
    while stage.reconciler.run_once():
        stage.clock.pass_by(1)


def test_a_candidate_that_is_isolated_loses_its_traffic(stage: Stage) -> None:
    old = _stable(stage, "old")
    rollout = _ask(stage, "new", PLAN)
    stage.reconciler.run_once()
    assert stage.weights[rollout.revision_id] == 10
    _isolate(stage, rollout.revision_id)
    _settle(stage)
    assert stage.weights == {old: 100}
    assert (stage.now(rollout).phase, stage.now(rollout).reason) == (Phase.ROLLED_BACK, "it was isolated: it leaks")


def test_a_stable_revision_that_is_isolated_gives_way_to_the_one_before(stage: Stage) -> None:
    old, new = _stable(stage, "old"), _stable(stage, "new")
    _isolate(stage, new)
    _settle(stage)
    assert stage.weights == {old: 100}
    assert stage.ledger.service("digits").stable_revision == old
    _settle(stage)
    assert len(stage.ledger.rollouts()) == 3, "once"


def test_it_goes_past_every_one_that_is_isolated(stage: Stage) -> None:
    oldest, old, new = (_stable(stage, name) for name in ("oldest", "old", "new"))
    _isolate(stage, old)
    _isolate(stage, new)
    _settle(stage)
    assert stage.weights == {oldest: 100}


def test_where_nothing_is_left_the_stable_one_goes_on_serving_and_it_is_said(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    only = _stable(stage, "only")
    _isolate(stage, only)
    _settle(stage)
    assert stage.weights == {only: 100}
    assert "its stable revision is isolated and goes on serving" in caplog.text


def test_an_earlier_revision_is_given_the_traffic_again(stage: Stage) -> None:
    old, new = _stable(stage, "old"), _stable(stage, "new")
    assert stage.weights == {new: 100}
    request_return(stage.ledger, old, key="k", requested_by="a test")
    _settle(stage)
    assert stage.weights == {old: 100}
